/* The file system of `vmbackup mount`, through libfuse3: threads of its own answer the kernel until mount_fs_stop(). */
#ifndef VMKIT_CMD_VMBACKUP_MOUNT_FUSE_H
#define VMKIT_CMD_VMBACKUP_MOUNT_FUSE_H

#include "cmd/vmbackup/mount_tree.h"

struct mount_fs;

/** mount_fs_check() - is there libfuse3, and /dev/fuse? ERR_UNSUPPORTED */
int mount_fs_check(struct err *err);

/**
 * mount_fs_start() - mount @tree, read-only, at @dir
 * @repo: with @tree outlives the mount. *@ret is owned: mount_fs_stop()
 * Return: 0 with the files there; -1: ERR_UNSUPPORTED, and whatever a thread cannot be started for
 */
int mount_fs_start(struct mount_fs **ret, struct repo *repo, const struct mount_tree *tree,
		   const char *dir, struct err *err);

/** mount_fs_gone() - a descriptor that is readable once somebody else has unmounted it; borrowed */
int mount_fs_gone(const struct mount_fs *fs);

/** mount_fs_stop() - unmount: at once, even when files are open (reading them ends with ENOTCONN); frees @fs */
void mount_fs_stop(struct mount_fs *fs);

#endif
