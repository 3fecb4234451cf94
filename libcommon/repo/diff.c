/* Where two disks of a repository differ: subtrees of equal ids are passed over, leaves compared chunk by chunk, and
 * bytes read only where chunks differ, because chunks of other bounds may hold the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/copy/diff.h"
#include "libcommon/repo/page_cache.h"
#include "libcommon/repo/tree.h"

/* A subtree of one of the two; none: zeros */
struct node {
	struct repo_id id;
	unsigned level;
};

struct walk {
	struct store *st;
	struct differ *differ;
	struct progress *progress;
	uint64_t size, done; /* of the longer disk; what progress has been told of */
	uint64_t from, to;   /* bytes that may differ, not compared yet */
};

static int flush(struct walk *w, struct err *err)
{
	int rc = w->to > w->from ? differ_range(w->differ, w->from, w->to - w->from, err) : 0;

	w->from = w->to = 0;
	return rc;
}

static int suspect(struct walk *w, uint64_t off, uint64_t len, struct err *err)
{
	if (w->to > w->from && off <= w->to) {
		w->to = max_u64(w->to, off + len);
		return 0;
	}
	if (flush(w, err) < 0)
		return -1;
	w->from = off;
	w->to = off + len;
	return 0;
}

static void arrived(struct walk *w, uint64_t region)
{
	uint64_t off;

	if (!u64_mul(region, CHUNK_REGION, &off) || off > w->size)
		off = w->size;
	if (off > w->done)
		progress_add(w->progress, off - w->done);
	w->done = max_u64(off, w->done);
}

static int load(struct walk *w, const struct node *n, struct page **ret, struct err *err)
{
	*ret = NULL;
	return id_is_none(&n->id) ? 0 : page_load(w->st, &n->id, n->level, ret, err);
}

static bool same_chunk(const struct page_chunk *a, const struct page_chunk *b)
{
	return a->off == b->off && a->len == b->len && !memcmp(&a->id, &b->id, sizeof(a->id));
}

/* Both lists ascend: what stands in both is passed over, the rest is suspect in order of its place. */
static int compare_leaves(struct walk *w, const struct page *a, const struct page *b, uint64_t base,
			  struct err *err)
{
	size_t i = 0, j = 0, n = a ? a->n : 0, m = b ? b->n : 0;

	while (i < n || j < m) {
		const struct page_chunk *c;

		if (i < n && j < m && same_chunk(&a->chunks[i], &b->chunks[j])) {
			i++;
			j++;
			continue;
		}
		if (j == m || (i < n && a->chunks[i].off <= b->chunks[j].off))
			c = &a->chunks[i++];
		else
			c = &b->chunks[j++];
		if (suspect(w, base + c->off, c->len, err) < 0)
			return -1;
	}
	return 0;
}

/* Child @i of a page of @level; a lower tree is the first child of a page that was never written. */
static struct node child(const struct node *n, const struct page *p, unsigned level, unsigned i)
{
	struct node c = {.level = level - 1};

	if (p)
		c.id = p->children[i];
	else if (n->level < level && i == 0)
		c.id = n->id;
	if (n->level < level && i == 0)
		c.level = n->level;
	return c;
}

static int walk(struct walk *w, struct node a, struct node b, uint64_t region, struct err *err)
{
	unsigned level = a.level > b.level ? a.level : b.level;
	struct page *pa = NULL, *pb = NULL;
	int rc = 0;

	if (stop_check(err) < 0)
		return -1;
	if ((id_is_none(&a.id) && id_is_none(&b.id)) ||
	    (a.level == b.level && !memcmp(&a.id, &b.id, sizeof(a.id))))
		return 0;
	if ((a.level == level && load(w, &a, &pa, err) < 0) ||
	    (b.level == level && load(w, &b, &pb, err) < 0))
		rc = -1;
	else if (!level)
		rc = compare_leaves(w, pa, pb, region * CHUNK_REGION, err);
	for (unsigned i = 0; level && i < PAGE_FANOUT && !rc; i++) {
		uint64_t at = region + i * (1ULL << (8 * (level - 1)));

		rc = walk(w, child(&a, pa, level, i), child(&b, pb, level, i), at, err);
		arrived(w, at);
	}
	page_free(pa);
	page_free(pb);
	return rc;
}

int repo_diff(struct repo *repo, const struct snapshot *a, const struct snapshot_disk *disk_a,
	      const struct snapshot *b, const struct snapshot_disk *disk_b,
	      struct progress *progress, diff_fn *fn, void *ctx, struct err *err)
{
	struct walk w = {.st = repo_store(repo),
			 .progress = progress,
			 .size = max_u64(disk_a->size, disk_b->size)};
	struct image *image_a = NULL, *image_b = NULL;
	int rc = -1;

	progress_begin(progress, "diff", w.size);
	if (repo_open_disk(repo, a, disk_a->name, &image_a, err) == 0 &&
	    repo_open_disk(repo, b, disk_b->name, &image_b, err) == 0 &&
	    differ_new(&w.differ, image_a, image_b, fn, ctx, err) == 0)
		rc = walk(&w, (struct node){disk_a->root, disk_a->tree_levels},
			  (struct node){disk_b->root, disk_b->tree_levels}, 0, err);
	if (rc == 0)
		rc = flush(&w, err) < 0 || differ_finish(w.differ, err) < 0 ? -1 : 0;
	if (rc == 0)
		arrived(&w, tree_regions(w.size) + 1);
	differ_free(w.differ);
	image_close(image_a);
	image_close(image_b);
	return rc;
}
