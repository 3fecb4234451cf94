/* What is used of libguestfs.so.0, which is loaded when it is needed: there is no header of it to build with. The
 * library promises to keep these as they are (guestfs(3), "API versioning").
 */
#ifndef VMKIT_GUEST_APPLIANCE_LIB_H
#define VMKIT_GUEST_APPLIANCE_LIB_H

#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"

typedef struct guestfs_h guestfs_h;

/* Optional arguments of guestfs_add_drive_opts(), ended by -1 */
enum { DRIVE_READONLY = 0, DRIVE_FORMAT = 1, DRIVE_PROTOCOL = 5, DRIVE_SERVER = 6 };

struct guestfs_dirent {
	int64_t ino;
	char ftyp;
	char *name;
};

struct guestfs_dirent_list {
	uint32_t len;
	struct guestfs_dirent *val;
};

struct guestfs_statns {
	int64_t dev, ino, mode, nlink, uid, gid, rdev, size, blksize, blocks;
	int64_t atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns;
	int64_t spare[6];
};

struct guestfs_statns_list {
	uint32_t len;
	struct guestfs_statns *val;
};

/* X(result, name, arguments) */
#define GUESTFS_FUNCTIONS(X)                                                                       \
	X(guestfs_h *, create, (void))                                                             \
	X(void, close, (guestfs_h *))                                                              \
	X(void, set_error_handler,                                                                 \
	  (guestfs_h *, void (*)(guestfs_h *, void *, const char *), void *))                      \
	X(const char *, last_error, (guestfs_h *))                                                 \
	X(int, last_errno, (guestfs_h *))                                                          \
	X(int, set_backend, (guestfs_h *, const char *))                                           \
	X(int, set_backend_setting, (guestfs_h *, const char *, const char *))                     \
	X(int, add_drive_opts, (guestfs_h *, const char *, ...))                                   \
	X(int, launch, (guestfs_h *))                                                              \
	X(int64_t, blockdev_getsize64, (guestfs_h *, const char *))                                \
	X(int, mkmountpoint, (guestfs_h *, const char *))                                          \
	X(int, mount_ro, (guestfs_h *, const char *, const char *))                                \
	X(struct guestfs_dirent_list *, readdir, (guestfs_h *, const char *))                      \
	X(void, free_dirent_list, (struct guestfs_dirent_list *))                                  \
	X(struct guestfs_statns *, lstatns, (guestfs_h *, const char *))                           \
	X(void, free_statns, (struct guestfs_statns *))                                            \
	X(struct guestfs_statns_list *, lstatnslist, (guestfs_h *, const char *, char *const *))   \
	X(void, free_statns_list, (struct guestfs_statns_list *))                                  \
	X(char *, pread, (guestfs_h *, const char *, int, int64_t, size_t *))                      \
	X(char *, readlink, (guestfs_h *, const char *))                                           \
	X(char **, inspect_os, (guestfs_h *))                                                      \
	X(char *, inspect_get_product_name, (guestfs_h *, const char *))                           \
	X(char *, inspect_get_distro, (guestfs_h *, const char *))                                 \
	X(char *, inspect_get_type, (guestfs_h *, const char *))                                   \
	X(char *, inspect_get_hostname, (guestfs_h *, const char *))                               \
	X(char *, inspect_get_arch, (guestfs_h *, const char *))                                   \
	X(int, inspect_get_major_version, (guestfs_h *, const char *))                             \
	X(int, inspect_get_minor_version, (guestfs_h *, const char *))

struct guestfs_lib {
#define GUESTFS_MEMBER(result, name, arguments) result(*name) arguments;
	GUESTFS_FUNCTIONS(GUESTFS_MEMBER)
#undef GUESTFS_MEMBER
};

/** guestfs_lib() - loaded at the first call, kept to the end; NULL: ERR_UNSUPPORTED. One thread */
const struct guestfs_lib *guestfs_lib(struct err *err);

/** struct appliance, for appliance.c and fs_appliance.c */
struct appliance {
	const struct guestfs_lib *lib;
	guestfs_h *g;
	struct {
		int volume;
		char *mountable;
	} roots[16]; /* where appliance_inspect() found systems */
	size_t n_roots;
	unsigned n_points; /* mount points made */
};

/** appliance_error() - what the library said last, as ours */
int appliance_error(struct appliance *a, struct err *err);

#endif
