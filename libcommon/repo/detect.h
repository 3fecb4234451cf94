/* What changed in a disk since a snapshot of it, by the cheapest source that cannot be wrong. For backup.c.
 *
 * In this order: what the caller knows (a checkpoint); the files are the same ones, with the same times; a dirty bitmap in the image
 * began with the snapshot; the disk is an overlay on what was backed up, so what the overlay holds is what changed; a reflink clone was kept then, and what no longer lies where it lies in the clone
 * changed. What is in doubt is no answer: then the disk is scanned.
 */
#ifndef VMKIT_REPO_DETECT_H
#define VMKIT_REPO_DETECT_H

#include "libcommon/image/changes.h"
#include "libcommon/repo/repo.h"

struct detect {
	struct image *image;
	const struct backup_disk *disk; /* whose caller may know the changes: the best source */
	const char *name;		/* of the disk */
	const struct snapshot *older;	/* of the machine, in order of seq */
	size_t n_older;
	const struct snapshot_file *files; /* as source_files() says now */
	size_t n_files;
	uint64_t size;
	/* Is the parent's tree all there? Asked before a parent is used */
	bool (*is_whole)(void *ctx, const struct snapshot_disk *parent);
	void *ctx;
	/* ---- */
	const struct snapshot_disk
		*parent; /* what the answer is relative to; else the newest, NULL: none */
	const char *how; /* "unchanged file", "dirty bitmap", "overlay", "reflink clone"; "scan" */
	const struct changes *changes; /* NULL: nothing changed, or with "scan" unknown */
	struct changes *own;	       /* they, owned by the caller; NULL: they are the disk's */
};

/** detect_changes() - Return: 0 with an answer, which may be "scan"; -1 only without memory */
int detect_changes(struct detect *d, struct err *err);

#endif
