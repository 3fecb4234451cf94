/* Building and walking the tree of pages: see tree.h. */
#include "libcommon/repo/tree.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/repo/delta.h"

uint64_t tree_regions(uint64_t size)
{
	return div_up(size, CHUNK_REGION);
}

unsigned tree_levels(uint64_t size)
{
	uint64_t regions = tree_regions(size);
	unsigned levels = 0;

	for (; regions > 1; regions = div_up(regions, PAGE_FANOUT))
		levels++;
	return levels;
}

int tree_leaf(const struct tree *t, struct page_cache *cache, uint64_t region,
	      const struct page **ret, struct err *err)
{
	struct repo_id id = t->root;

	*ret = NULL;
	for (unsigned level = t->levels; !id_is_none(&id); level--) {
		const struct page *p;

		if (page_cache_get(cache, &id, level, &p, err) < 0)
			return -1;
		if (level == 0) {
			*ret = p;
			return 0;
		}
		id = p->children[region >> (8 * (level - 1)) & (PAGE_FANOUT - 1)];
		page_cache_put(cache, p);
	}
	return 0;
}

int tree_leaf_id(const struct tree *t, struct page_cache *cache, uint64_t region,
		 struct repo_id *ret, struct err *err)
{
	struct repo_id id = t->root;

	for (unsigned level = t->levels; level > 0 && !id_is_none(&id); level--) {
		const struct page *p;

		if (page_cache_get(cache, &id, level, &p, err) < 0)
			return -1;
		id = p->children[region >> (8 * (level - 1)) & (PAGE_FANOUT - 1)];
		page_cache_put(cache, p);
	}
	*ret = id;
	return 0;
}

/* A page that can be read may be condemned all the same, or be known to be damaged: the copy that a writer must not count
 * on is no better for being in a cache. */
static bool subtree_is_whole(struct store *st, struct page_cache *cache, const struct repo_id *id,
			     unsigned level)
{
	const struct page *p;
	bool whole = true;

	if (id_is_none(id))
		return true;
	if (!store_has(st, id) || page_cache_get(cache, id, level, &p, NULL) < 0)
		return false;
	for (size_t i = 0; level == 0 && whole && i < p->n; i++)
		whole = chunk_has(st, &p->chunks[i], store_has);
	for (unsigned i = 0; level > 0 && whole && i < PAGE_FANOUT; i++)
		whole = subtree_is_whole(st, cache, &p->children[i], level - 1);
	page_cache_put(cache, p);
	return whole;
}

bool tree_is_whole(struct store *st, const struct tree *t)
{
	struct page_cache *cache;
	bool whole;

	if (page_cache_new(&cache, st, 2 * PAGE_LEVELS_MAX, NULL) < 0)
		return false;
	whole = !t->size || subtree_is_whole(st, cache, &t->root, t->levels);
	page_cache_free(cache);
	return whole;
}

/* Leaf ids in groups of one interior page each, made when the first leaf comes: a huge disk that is mostly holes
 * costs 8 bytes for each 4 GiB. */
struct group {
	struct repo_id ids[PAGE_FANOUT];
};

struct tree_builder {
	_Atomic(struct group *) *groups;
	uint64_t n; /* groups */
};

int tree_builder_new(struct tree_builder **ret, uint64_t regions, struct err *err)
{
	struct tree_builder *b = calloc(1, sizeof(*b));

	if (!b)
		return err_nomem(err);
	if (tree_builder_grow(b, regions, err) < 0) {
		free(b);
		return -1;
	}
	*ret = b;
	return 0;
}

int tree_builder_grow(struct tree_builder *b, uint64_t regions, struct err *err)
{
	uint64_t n = div_up(regions, PAGE_FANOUT);
	size_t bytes;

	if (n <= b->n && b->groups)
		return 0;
	if (n == 0)
		n = 1;
	if (!size_mul(n, sizeof(*b->groups), &bytes))
		return err_nomem(err);

	_Atomic(struct group *) *more = calloc(1, bytes);

	if (!more)
		return err_nomem(err);
	for (uint64_t i = 0; i < b->n; i++)
		more[i] = b->groups[i];
	free(b->groups);
	b->groups = more;
	b->n = n;
	return 0;
}

int tree_builder_set(struct tree_builder *b, uint64_t region, const struct repo_id *leaf,
		     struct err *err)
{
	_Atomic(struct group *) *slot = &b->groups[region / PAGE_FANOUT];
	struct group *g = atomic_load(slot);

	if (!g) {
		struct group *fresh = calloc(1, sizeof(*fresh));

		if (!fresh)
			return err_nomem(err);
		if (atomic_compare_exchange_strong(slot, &g, fresh))
			g = fresh;
		else
			free(fresh); /* another thread was first; g is its group */
	}
	g->ids[region % PAGE_FANOUT] = *leaf;
	return 0;
}

typedef int put_fn(void *ctx, const uint8_t *data, size_t len, struct repo_id *ret,
		   struct err *err);

static int put_interior(unsigned level, const struct repo_id *children, put_fn *put, void *ctx,
			uint8_t *buf, struct repo_id *ret, struct err *err)
{
	bool any = false;

	for (unsigned i = 0; i < PAGE_FANOUT && !any; i++)
		any = !id_is_none(&children[i]);
	memset(ret, 0, sizeof(*ret));
	if (!any)
		return 0;
	return put(ctx, buf, page_encode_interior(level, children, buf), ret, err);
}

/* One level: @n children in @ids (padded to whole pages) become n/256 ids at the front of it. */
static int build_level(unsigned level, struct repo_id *ids, uint64_t n, put_fn *put, void *ctx,
		       uint8_t *buf, struct err *err)
{
	for (uint64_t i = 0; i * PAGE_FANOUT < n; i++) {
		struct repo_id id;

		if (put_interior(level, ids + i * PAGE_FANOUT, put, ctx, buf, &id, err) < 0)
			return -1;
		ids[i] = id;
	}

	uint64_t left = div_up(n, PAGE_FANOUT);
	uint64_t padded = round_up(left, PAGE_FANOUT);

	for (uint64_t i = left; i < padded && i < round_up(n, PAGE_FANOUT); i++)
		memset(&ids[i], 0, sizeof(ids[i]));
	return 0;
}

int tree_builder_finish(struct tree_builder *b, uint64_t size, put_fn *put, void *ctx,
			struct tree *ret, struct err *err)
{
	uint64_t n = div_up(tree_regions(size), PAGE_FANOUT);
	CLEANUP_FREE uint8_t *buf = malloc(PAGE_BYTES_MAX);
	CLEANUP_FREE struct repo_id *ids = calloc(round_up(n + 1, PAGE_FANOUT), sizeof(*ids));

	if (!buf || !ids)
		return err_nomem(err);
	*ret = (struct tree){.size = size, .levels = tree_levels(size)};
	if (ret->levels == 0) {
		struct group *g = atomic_load(&b->groups[0]);

		if (g)
			ret->root = g->ids[0];
		return 0;
	}
	for (uint64_t i = 0; i < n; i++) {
		struct group *g = atomic_load(&b->groups[i]);

		if (g && put_interior(1, g->ids, put, ctx, buf, &ids[i], err) < 0)
			return -1;
	}
	for (unsigned level = 2; level <= ret->levels; level++) {
		if (build_level(level, ids, n, put, ctx, buf, err) < 0)
			return -1;
		n = div_up(n, PAGE_FANOUT);
	}
	ret->root = ids[0];
	return 0;
}

void tree_builder_free(struct tree_builder *b)
{
	if (!b)
		return;
	for (uint64_t i = 0; i < b->n; i++)
		free(atomic_load(&b->groups[i]));
	free(b->groups);
	free(b);
}
