/* A disk made larger or smaller together with its partition table. */
#ifndef VMKIT_IMAGE_DISK_RESIZE_H
#define VMKIT_IMAGE_DISK_RESIZE_H

#include "libcommon/image/disk/partition.h"
#include "libcommon/image/image.h"

struct disk_resize_opts {
	bool shrink;	 /* a smaller size is meant */
	bool force;	 /* no guard: partitions and data behind the new end are lost */
	bool keep_table; /* leave the partition table alone */
	bool dry_run;	 /* look and refuse, write nothing */
};

struct disk_resize_result {
	uint64_t old_size, new_size;
	enum partition_scheme scheme;
	uint64_t partitions_end; /* of the last one; 0: none */
	bool table_moved;	 /* (dry run: would be) */
};

/**
 * disk_resize() - image_resize(), guarded
 * @img: open for writing (also with dry_run, to learn about locks)
 *
 * A smaller size is refused (ERR_USAGE) without opts->shrink; when a partition, or the table itself, would not fit;
 * and, where there is no table, when what would be cut off is not all zero. A GPT is
 * moved before shrinking and after growing, so that it is good at any moment.
 */
int disk_resize(struct image *img, uint64_t size, const struct disk_resize_opts *opts,
		struct disk_resize_result *ret, struct err *err);

#endif
