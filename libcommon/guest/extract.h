/* Files of a disk, copied out: into a folder, or as a tar archive. */
#ifndef VMKIT_GUEST_EXTRACT_H
#define VMKIT_GUEST_EXTRACT_H

#include "libcommon/base/progress.h"
#include "libcommon/guest/guest.h"

struct extract_opts {
	bool force;		   /* files that exist are replaced */
	struct progress *progress; /* may be NULL */
};

struct extract_stats {
	uint64_t entries, bytes; /* bytes: of files, without holes */
	uint64_t skipped;	 /* devices, sockets, pipes: not made in a folder */
};

/**
 * guest_extract() - @place and all below it into the folder @dir
 * @dir: is made when it is missing; a root's entries come into it, all else as one entry with its own name
 * @stats: added to
 *
 * Nothing outside of @dir is written, whatever names and links the disk holds. Contents, holes, permissions (no set-id
 * bits), times, symbolic and hard links are kept; owners are not. Return: 0, or -1: ERR_EXISTS, ERR_CORRUPT, ...
 */
int guest_extract(struct guest *g, const struct guest_place *place, const char *dir,
		  const struct extract_opts *opts, struct extract_stats *stats, struct err *err);

/**
 * guest_tar() - @places as one pax archive to @fd: owners, devices and holes too
 * Names in it are those that guest_extract() would make.
 */
int guest_tar(struct guest *g, const struct guest_place *places, size_t n, int fd,
	      const struct extract_opts *opts, struct extract_stats *stats, struct err *err);

/**
 * guest_get() - what `vmimg get` and `vmbackup get` do: @specs into the folder @target, or as a tar archive to @fd where that is "-"
 * A symbolic link that is named stays one, unless a "/" behind it asks for more. ERR_DIFFERS: some were left out
 */
int guest_get(struct guest *g, char *const *specs, size_t n, const char *target, int fd,
	      const struct extract_opts *opts, struct err *err);

/** guest_copy_out() - a file's bytes to @fd at its position, holes as zeros: `cat` */
int guest_copy_out(struct fs *fs, struct fs_node *node, int fd, struct err *err);

#endif
