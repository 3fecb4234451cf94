/* A snapshot's disk as a struct image, for repo_open_disk() and register.c. */
#ifndef VMKIT_REPO_DISK_IMAGE_H
#define VMKIT_REPO_DISK_IMAGE_H

#include "libcommon/image/image.h"
#include "libcommon/repo/repo.h"
#include "libcommon/repo/tree.h"

/**
 * disk_image_new() - read-only, any thread
 * @owned: closed with the image (owned from now on, on success only); NULL: @repo outlives the image
 */
int disk_image_new(struct image **ret, struct repo *repo, struct repo *owned,
		   const struct tree *tree, const char *name, struct err *err);

/** snapshot_find_disk() - by name; NULL: the only one; ERR_NOT_FOUND, ERR_USAGE when there are several */
int snapshot_find_disk(const struct snapshot *snap, const char *disk,
		       const struct snapshot_disk **ret, struct err *err);

#endif
