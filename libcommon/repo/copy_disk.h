/* One disk of a snapshot into another repository. For copy.c. */
#ifndef VMKIT_REPO_COPY_DISK_H
#define VMKIT_REPO_COPY_DISK_H

#include "libcommon/repo/tree.h"

/** struct leaf_map - which leaf of the other repository has the content of a leaf of ours; one thread at a time */
struct leaf_map {
	struct leaf_pair *slots; /* open addressing */
	size_t n, room;
};
void leaf_map_free(struct leaf_map *m);

/** leaf_map_learn() - two trees that hold the same disk, in two stores */
int leaf_map_learn(struct leaf_map *m, struct store *from, const struct tree *ours,
		   struct store *to, const struct tree *theirs, struct err *err);

/** struct disk_copy - what to do, and below the line what came of it */
struct disk_copy {
	struct store *from, *to;
	struct image *image; /* the disk, open in @from */
	struct tree ours;
	const struct leaf_map *map;
	const struct tree *parent; /* an older disk in @to, on which deltas are made; NULL: none */
	bool trust_parent; /* what it holds is there; else it is looked up, and stored when not */
	const struct tree *
		like; /* deltas are made as this tree of @to has them, where it can be read; NULL: none */
	int level;
	unsigned threads; /* at least 1 */
	uint64_t rate_limit;
	struct progress *progress;
	/* ---- */
	struct tree theirs; /* its blobs are durable */
	uint64_t read_bytes, new_bytes, stored_bytes;
};

/** disk_copy_run() - only regions whose leaf the map does not know are read, cut again with the other repository's key,
 *  and stored where they are new */
int disk_copy_run(struct disk_copy *d, struct err *err);

#endif
