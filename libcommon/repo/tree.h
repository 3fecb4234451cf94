/* The tree of pages that is a disk: leaves are regions of 16 MiB, interior pages have up to 256 children.
 *
 * The height follows from the disk's size alone. A subtree of zeros is absent; equal subtrees have equal ids, so
 * what did not change since another snapshot is not stored again.
 */
#ifndef VMKIT_REPO_TREE_H
#define VMKIT_REPO_TREE_H

#include "libcommon/repo/page_cache.h"

struct tree {
	struct repo_id root; /* none: all zeros */
	unsigned levels;     /* interior levels above the leaves */
	uint64_t size;	     /* bytes of the disk */
};

#define TREE_DISK_MAX (1ULL << 56) /* 256^4 regions of 16 MiB */

uint64_t tree_regions(uint64_t size);
unsigned tree_levels(uint64_t size); /* size at most TREE_DISK_MAX */

/** tree_leaf() - the page of a region, through @cache; *@ret NULL when it is all zeros, else page_cache_put() */
int tree_leaf(const struct tree *t, struct page_cache *cache, uint64_t region,
	      const struct page **ret, struct err *err);

/** tree_leaf_id() - its id alone, which is none when it is all zeros; the leaf is not read */
int tree_leaf_id(const struct tree *t, struct page_cache *cache, uint64_t region,
		 struct repo_id *ret, struct err *err);

/** tree_is_whole() - every page can be read, and every page and chunk is present, not condemned and not known to be damaged */
bool tree_is_whole(struct store *st, const struct tree *t);

struct tree_builder;

/** tree_builder_new() - @regions: as tree_regions() */
int tree_builder_new(struct tree_builder **ret, uint64_t regions, struct err *err);

/** tree_builder_grow() - room for @regions; one caller alone (streams) */
int tree_builder_grow(struct tree_builder *b, uint64_t regions, struct err *err);

/** tree_builder_set() - the leaf of @region; any thread, each region once */
int tree_builder_set(struct tree_builder *b, uint64_t region, const struct repo_id *leaf,
		     struct err *err);

/** tree_builder_finish() - interior pages, bottom up; @put stores a page's bytes and gives its id */
int tree_builder_finish(struct tree_builder *b, uint64_t size,
			int (*put)(void *ctx, const uint8_t *data, size_t len, struct repo_id *ret,
				   struct err *err),
			void *ctx, struct tree *ret, struct err *err);
void tree_builder_free(struct tree_builder *b);

#endif
