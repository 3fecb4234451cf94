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

/* The same for a caller that knows which ranges can differ (page trees do): */
struct differ;

/** differ_new() - @a, @b: borrowed; *@ret: differ_free() */
int differ_new(struct differ **ret, struct image *a, struct image *b, diff_fn *fn, void *ctx,
	       struct err *err);
void differ_free(struct differ *d);

/** differ_range() - compare the bytes of [off, off + len); ranges ascend, @off is a multiple of DIFF_BLOCK */
int differ_range(struct differ *d, uint64_t off, uint64_t len, struct err *err);

/** differ_finish() - tell of the last range */
int differ_finish(struct differ *d, struct err *err);

#endif
