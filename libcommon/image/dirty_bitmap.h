/* Persistent dirty bitmaps: what an image says of itself that was written since some moment. qcow2 alone has them. */
#ifndef VMKIT_IMAGE_DIRTY_BITMAP_H
#define VMKIT_IMAGE_DIRTY_BITMAP_H

#include "libcommon/image/changes.h"

struct image;

/**
 * image_dirty_bitmap() - add to @ret (empty) what the bitmap @name of the image marks
 *
 * Only one that cannot have missed a write: the last writer kept the image's bitmaps, and this one's flags are exactly
 * "auto". Return: 0, or -1: ERR_NOT_FOUND, ERR_UNSUPPORTED when it is in doubt, ERR_CORRUPT
 */
int image_dirty_bitmap(struct image *img, const char *name, struct changes *ret, struct err *err);

#endif
