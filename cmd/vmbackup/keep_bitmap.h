/* backup --keep-bitmap: a dirty bitmap in each qcow2 image that tells the next backup what changed. qemu-img makes it, and
 * QEMU keeps it up to date whenever it writes to the image. */
#ifndef VMKIT_CMD_VMBACKUP_KEEP_BITMAP_H
#define VMKIT_CMD_VMBACKUP_KEEP_BITMAP_H

#include "cmd/vmbackup/vmbackup.h"

/**
 * keep_bitmap_begin() - before the image is opened to be read: see that a bitmap is there that began with what will be read
 * @ret: its name, owned; NULL: none, and why was said. The one that the last snapshot of the disk began with stays, for
 * this backup; when nothing was written since it is the same
 */
void keep_bitmap_begin(struct repo *repo, const char *vm, const char *disk, const char *path,
		       const struct image_open_opts *opts, char **ret);

/** keep_bitmap_end() - the snapshot is there: others of this repository in the image are not needed any more */
void keep_bitmap_end(struct repo *repo, const char *disk, const char *path,
		     const struct image_open_opts *opts, const char *name);

#endif
