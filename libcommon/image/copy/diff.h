/* Where two disks differ. */
#ifndef VMKIT_IMAGE_COPY_DIFF_H
#define VMKIT_IMAGE_COPY_DIFF_H

#include "libcommon/base/progress.h"
#include "libcommon/image/image.h"

enum { DIFF_BLOCK = 4096 };

/** diff_fn - [off, off + len) differs; ranges ascend and do not touch; Return: 0, or -1 to end */
typedef int diff_fn(void *ctx, uint64_t off, uint64_t len, struct err *err);

/**
 * image_diff() - call @fn for each range of blocks of DIFF_BLOCK bytes that differs
 *
 * The shorter disk is taken as followed by zeros; the last block of the longer one may be cut. What both hold at the
 * same place of the same file is not read.
 */
int image_diff(struct image *a, struct image *b, struct progress *progress, diff_fn *fn, void *ctx,
	       struct err *err);

#endif
