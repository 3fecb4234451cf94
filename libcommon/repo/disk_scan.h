/* Reading one disk into the store: all regions on all threads, or a stream in order. For backup.c. */
#ifndef VMKIT_REPO_DISK_SCAN_H
#define VMKIT_REPO_DISK_SCAN_H

#include "libcommon/base/progress.h"
#include "libcommon/image/changes.h"
#include "libcommon/image/image.h"
#include "libcommon/repo/tree.h"

/** struct disk_scan - what to do, and below the line what came of it */
struct disk_scan {
	struct store *st;
	struct image *image;
	uint64_t size; /* IMAGE_SIZE_UNKNOWN: a stream */
	int level;
	unsigned threads; /* at least 1 */
	bool dry_run, trust_parent;
	const struct tree *parent; /* NULL: none */
	const struct changes
		*changes; /* since @parent; NULL: not known. Needs trust_parent and the same size */
	uint64_t parent_data_bytes;
	uint64_t rate_limit;
	struct progress *progress;
	/* ---- */
	struct tree tree; /* its blobs are durable, unless it was a dry run */
	uint64_t data_bytes, read_bytes, new_bytes, stored_bytes, chunks, new_chunks;
};

/** disk_scan_run() - Return: 0 or -1; after a failure what whole packs hold is adopted by the next run */
int disk_scan_run(struct disk_scan *d, struct err *err);

#endif
