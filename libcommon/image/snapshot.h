/* Internal snapshots of an image: made, taken away, gone back to. Only formats whose files carry several states
 * (qcow2) can; reading one is image_open_opts.snapshot, listing them image_info().
 *
 * Each of these is one change of the image: at any moment the file holds the old or the new set of snapshots. What a
 * killed writer leaves are clusters that nothing names (leaks), which image_check() gives back.
 */
#ifndef VMKIT_IMAGE_SNAPSHOT_H
#define VMKIT_IMAGE_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "libcommon/base/err.h"

struct image;

struct snapshot_ops {
	int (*create)(struct image *img, const char *name, uint32_t sec, uint32_t nsec,
		      struct err *err);
	int (*remove)(struct image *img, const char *name, struct err *err);
	int (*revert)(struct image *img, const char *name, struct err *err);
};

/** image_can_snapshot() - the format has internal snapshots that we can write */
bool image_can_snapshot(const struct image *img);

/** image_snapshot_create() - keep the present state as @name; @sec, @nsec: its date; the image is open for writing;
 *  ERR_EXISTS when there is a snapshot of that name */
int image_snapshot_create(struct image *img, const char *name, uint32_t sec, uint32_t nsec,
			  struct err *err);

/** image_snapshot_remove() - the other snapshots and the present state stay as they are; ERR_NOT_FOUND */
int image_snapshot_remove(struct image *img, const char *name, struct err *err);

/** image_snapshot_revert() - the snapshot's content and size become the present state; it stays; ERR_NOT_FOUND */
int image_snapshot_revert(struct image *img, const char *name, struct err *err);

#endif
