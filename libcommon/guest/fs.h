/* A file system inside of a volume, read only: no mount, no root, no other program.
 *
 * A kind of file system is a struct fs_ops: it lists folders, describes nodes, and says where the bytes of a file lie; the
 * rest (reading, holes, symbolic links) is common. All bytes are hostile: names are checked, runs are held against the
 * volume, loops end. One thread a handle.
 */
#ifndef VMKIT_GUEST_FS_H
#define VMKIT_GUEST_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/image/disk/freemap.h"

enum {
	FS_NAME_MOST = 1023, /* bytes of one name: 255 UTF-16 units take 765 */
	FS_LINK_MOST = 4095, /* bytes a symbolic link holds */
};

enum fs_type {
	FS_FILE,
	FS_DIR,
	FS_SYMLINK,
	FS_CHAR,
	FS_BLOCK,
	FS_FIFO,
	FS_SOCKET,
	FS_UNKNOWN,
};

/** struct fs_node - what a name stands for; beyond @type only after fs_fill() */
struct fs_node {
	uint64_t id; /* the same node, the same id */
	enum fs_type type;
	bool filled;
	uint32_t mode; /* 07777 */
	uint32_t uid, gid, links, major, minor;
	uint64_t size;
	int64_t mtime; /* seconds since 1970 */
	uint32_t mtime_ns;
	uint64_t start; /* the file system's own */
};

struct fs_entry {
	char *name; /* neither empty, ".", ".." nor with a "/" */
	struct fs_node node;
};

/** struct fs_list - a folder's entries, sorted by their bytes */
struct fs_list {
	struct fs_entry *entries;
	size_t n, room;
};

/** struct fs_run - bytes [off, off + len) of a file lie at @place of the volume; what no run holds is zero */
struct fs_run {
	uint64_t off, len, place;
};

struct fs_map {
	struct fs_run *runs; /* ascending, apart, inside the volume */
	size_t n, room;
	uint8_t *
		bytes; /* the file by itself, where the file system keeps it in the node; else NULL */
	uint64_t size;
	bool remote; /* ops->read() has the bytes, of this node */
	struct fs_node node;
};

struct fs;

struct fs_ops {
	const char *name;
	int (*open)(struct fs *fs, struct err *err); /* sets priv; frees it itself on failure */
	void (*close)(struct fs *fs);
	int (*root)(struct fs *fs, struct fs_node *ret, struct err *err);
	int (*list)(struct fs *fs, const struct fs_node *dir, struct fs_list *ret, struct err *err);
	int (*fill)(struct fs *fs, struct fs_node *node, struct err *err);
	int (*map)(struct fs *fs, const struct fs_node *node, struct fs_map *ret, struct err *err);
	/* For maps that are remote; NULL: the kind has none */
	int (*read)(struct fs *fs, const struct fs_node *node, void *buf, uint64_t off, size_t len,
		    struct err *err);
	/* Find one name without reading all others; NULL: the list is searched. *@ret_found */
	int (*lookup)(struct fs *fs, const struct fs_node *dir, const char *name,
		      struct fs_node *ret, bool *ret_found, struct err *err);
	bool ignores_case; /* of ASCII letters */
};

struct fs {
	const struct fs_ops *ops;
	struct volume v;
	void *priv;
};

extern const struct fs_ops fs_ext, fs_fat, fs_xfs;

/** fs_is_read() - a family that fs_open() knows */
bool fs_is_read(const char *family);

/**
 * fs_open() - the file system of @v; *@ret is owned: fs_close()
 * @v: copied; its image is borrowed
 * Return: 0, or -1: ERR_UNSUPPORTED: of a kind that is not read here, ERR_CORRUPT
 */
int fs_open(struct fs **ret, const struct volume *v, struct err *err);
void fs_close(struct fs *fs);

int fs_root(struct fs *fs, struct fs_node *ret, struct err *err);

/** fs_list() - of a folder; fs_list_release() after success */
int fs_list(struct fs *fs, const struct fs_node *dir, struct fs_list *ret, struct err *err);
void fs_list_release(struct fs_list *l);

/** fs_lookup() - *@ret_found: @name is in @dir and *@ret is what it stands for */
int fs_lookup(struct fs *fs, const struct fs_node *dir, const char *name, struct fs_node *ret,
	      bool *ret_found, struct err *err);

/** fs_fill() - all fields of @node */
int fs_fill(struct fs *fs, struct fs_node *node, struct err *err);

/** fs_map() - where a file (or the text of a symbolic link) lies; fs_map_release() after success */
int fs_map(struct fs *fs, struct fs_node *node, struct fs_map *ret, struct err *err);
void fs_map_release(struct fs_map *m);

/** fs_read() - [off, off + len) of a mapped file, inside of its size; holes are zeros */
int fs_read(struct fs *fs, const struct fs_map *m, void *buf, uint64_t off, size_t len,
	    struct err *err);

/** fs_data() - the first data at or behind @off: *@ret_len bytes from *@ret_off on; 0: there is none up to the size */
void fs_data(const struct fs_map *m, uint64_t off, uint64_t *ret_off, uint64_t *ret_len);

/** fs_readlink() - *@ret is owned; without a NUL inside */
int fs_readlink(struct fs *fs, struct fs_node *node, char **ret, struct err *err);

/** fs_load() - a whole file of at most @most bytes (ERR_UNSUPPORTED above) with a NUL behind it; *@ret is owned */
int fs_load(struct fs *fs, struct fs_node *node, size_t most, char **ret, size_t *ret_len,
	    struct err *err);

/* ---- for kinds of file systems */

/** fs_list_add() - @name of @len bytes is checked: ERR_CORRUPT; "." and ".." are left out */
int fs_list_add(struct fs_list *l, const char *name, size_t len, const struct fs_node *node,
		struct err *err);

/** fs_map_add() - checked: ascending, inside the volume; what follows the last run joins it */
int fs_map_add(struct fs_map *m, const struct volume *v, uint64_t off, uint64_t place, uint64_t len,
	       struct err *err);

#endif
