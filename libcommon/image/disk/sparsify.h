/* What the file systems of a disk do not use is given back, or left out of a copy. */
#ifndef VMKIT_IMAGE_DISK_SPARSIFY_H
#define VMKIT_IMAGE_DISK_SPARSIFY_H

#include "libcommon/base/progress.h"
#include "libcommon/image/disk/freemap.h"

struct sparsify_part {
	unsigned number; /* 0: the disk has no partitions */
	uint64_t off, len;
	const char *filesystem; /* static; "unknown", "empty" */
	uint64_t free_bytes;
};

struct sparsify_plan {
	enum partition_scheme scheme;
	struct sparsify_part *parts;
	size_t n;
	struct freemap map; /* ascending and apart */
};

/**
 * sparsify_plan() - read the free maps of all partitions, or of those in @numbers (@n_numbers 0: all)
 * Writes nothing. ERR_UNSUPPORTED: a file system was not unmounted cleanly; ERR_CORRUPT: it contradicts itself,
 * or partitions lie over each other; ERR_NOT_FOUND: no such partition. sparsify_release() after success.
 */
int sparsify_plan(struct image *img, const unsigned *numbers, size_t n_numbers,
		  struct sparsify_plan *ret, struct err *err);
void sparsify_release(struct sparsify_plan *p);

/** sparsify_in_place() - discard what is free; ERR_UNSUPPORTED for formats that cannot */
int sparsify_in_place(struct image *img, const struct sparsify_plan *p, struct progress *progress,
		      struct err *err);

/**
 * sparsify_view() - an image that shows @img with zeros where @p says free, for image_copy()
 * @img: consumed, on failure too; @p: borrowed, must outlive the view
 */
int sparsify_view(struct image *img, const struct sparsify_plan *p, struct image **ret,
		  struct err *err);

/** sparsify_allocated() - storage in use by the file of @img */
uint64_t sparsify_allocated(const struct image *img);

#endif
