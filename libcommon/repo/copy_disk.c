/* One disk into another repository: see copy_disk.h.
 *
 * Ids, marks and the bounds of chunks depend on a repository's keys, so what is new is read, and stored as a backup to
 * the other repository would store it: it finds there what other machines' backups brought, and makes deltas on the
 * machine's older snapshot. What an earlier copy brought is known by pairs of leaves and not read again.
 */
#include "libcommon/repo/copy_disk.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/repo/region.h"

struct leaf_pair {
	struct repo_id ours, theirs; /* ours none: free */
};

void leaf_map_free(struct leaf_map *m)
{
	free(m->slots);
	memset(m, 0, sizeof(*m));
}

static struct leaf_pair *find(const struct leaf_map *m, const struct repo_id *ours)
{
	uint64_t h;
	size_t i;

	memcpy(&h, ours->bytes, sizeof(h));
	for (i = h & (m->room - 1); !id_is_none(&m->slots[i].ours); i = (i + 1) & (m->room - 1))
		if (memcmp(&m->slots[i].ours, ours, sizeof(*ours)) == 0)
			break;
	return &m->slots[i];
}

static int grow(struct leaf_map *m, struct err *err)
{
	struct leaf_map more = {.room = m->room ? 2 * m->room : 256, .n = m->n};

	more.slots = calloc(more.room, sizeof(*more.slots));
	if (!more.slots)
		return err_nomem(err);
	for (size_t i = 0; i < m->room; i++)
		if (!id_is_none(&m->slots[i].ours))
			*find(&more, &m->slots[i].ours) = m->slots[i];
	free(m->slots);
	*m = more;
	return 0;
}

/* The leaves of a tree that are there, in order of their regions. */
struct leaf {
	uint64_t region;
	struct repo_id id;
};

struct leaf_list {
	struct leaf *items;
	size_t n, room;
};

static int add_leaf(struct leaf_list *l, const struct repo_id *id, uint64_t region, struct err *err)
{
	if (l->n == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		struct leaf *more = reallocarray(l->items, room, sizeof(*more));

		if (!more)
			return err_nomem(err);
		l->items = more;
		l->room = room;
	}
	l->items[l->n++] = (struct leaf){region, *id};
	return 0;
}

static int list_leaves(struct store *st, const struct repo_id *id, unsigned level, uint64_t region,
		       uint64_t regions, struct leaf_list *l, struct err *err)
{
	struct page *p;
	int rc = 0;

	if (id_is_none(id))
		return 0;
	if (region >= regions)
		return err_set(err, ERR_CORRUPT,
			       "page of the tree lies behind the end of the disk");
	if (level == 0)
		return add_leaf(l, id, region, err);
	if (page_load(st, id, level, &p, err) < 0)
		return err_prefix(err, "page of the tree");
	for (unsigned i = 0; i < PAGE_FANOUT && rc == 0; i++)
		rc = list_leaves(st, &p->children[i], level - 1,
				 region + i * (1ULL << (8 * (level - 1))), regions, l, err);
	page_free(p);
	return rc;
}

static int tree_leaves(struct store *st, const struct tree *t, struct leaf_list *l, struct err *err)
{
	return list_leaves(st, &t->root, t->levels, 0, tree_regions(t->size), l, err);
}

static int learn(struct leaf_map *m, const struct leaf_list *a, const struct leaf_list *b,
		 struct err *err)
{
	for (size_t i = 0, j = 0; i < a->n && j < b->n;) {
		if (a->items[i].region != b->items[j].region) {
			if (a->items[i].region < b->items[j].region)
				i++;
			else
				j++;
			continue;
		}
		if (2 * (m->n + 1) > m->room && grow(m, err) < 0)
			return -1;

		struct leaf_pair *p = find(m, &a->items[i].id);

		m->n += id_is_none(&p->ours);
		*p = (struct leaf_pair){a->items[i++].id, b->items[j++].id};
	}
	return 0;
}

int leaf_map_learn(struct leaf_map *m, struct store *from, const struct tree *ours,
		   struct store *to, const struct tree *theirs, struct err *err)
{
	struct leaf_list a = {0}, b = {0};
	int rc = tree_leaves(from, ours, &a, err) < 0 || tree_leaves(to, theirs, &b, err) < 0 ||
				 learn(m, &a, &b, err) < 0
			 ? -1
			 : 0;

	free(a.items);
	free(b.items);
	return rc;
}

/* The regions that must be read. */
struct regions {
	struct scan scan;
	struct scan_worker *workers;
	struct leaf_list todo;
};

static int one_region(void *ctx, size_t i, unsigned worker, struct err *err)
{
	struct regions *r = ctx;

	return scan_region(&r->scan, &r->workers[worker], worker, r->todo.items[i].region, err);
}

/* What is known takes its place in the tree; the rest stays in the list. */
static int place_known(struct disk_copy *d, struct regions *r, struct err *err)
{
	struct leaf_list *l = &r->todo;
	size_t left = 0;

	for (size_t i = 0; i < l->n; i++) {
		const struct leaf_pair *p = d->map->room ? find(d->map, &l->items[i].id) : NULL;

		if (!p || id_is_none(&p->ours))
			l->items[left++] = l->items[i];
		else if (tree_builder_set(r->scan.builder, l->items[i].region, &p->theirs, err) < 0)
			return -1;
	}
	l->n = left;
	/* holes and what is known: no work; each region that is read tells of itself */
	for (size_t i = 0; i < left; i++)
		d->read_bytes +=
			min_u64(CHUNK_REGION, d->ours.size - l->items[i].region * CHUNK_REGION);
	progress_add(d->progress, d->ours.size - d->read_bytes);
	return 0;
}

static int prepare(struct disk_copy *d, struct regions *r, struct err *err)
{
	const struct store_writer_opts opts = {.level = d->level, .workers = d->threads};
	const uint8_t *secret;
	size_t len;

	secret = store_chunker_secret(d->to, &len);
	r->workers = calloc(d->threads, sizeof(*r->workers));
	if (!r->workers)
		return err_nomem(err);
	for (unsigned i = 0; i < d->threads; i++)
		if (scan_worker_init(&r->workers[i], err) < 0)
			return -1;
	if ((d->like || d->parent) && page_cache_new(&r->scan.cache, d->to, d->threads, err) < 0)
		return -1;
	return chunker_init(&r->scan.chunker, secret, len, err) < 0 ||
			       tree_builder_new(&r->scan.builder, tree_regions(d->ours.size), err) <
				       0 ||
			       tree_leaves(d->from, &d->ours, &r->todo, err) < 0 ||
			       place_known(d, r, err) < 0
		       ? -1
		       : store_writer_new(&r->scan.writer, d->to, &opts, err);
}

int disk_copy_run(struct disk_copy *d, struct err *err)
{
	struct regions r = {
		.scan = {.st = d->to,
			 .image = d->image,
			 .size = d->ours.size,
			 .progress = d->progress,
			 .like = d->like,
			 .parent = d->parent,
			 .trust_parent = d->parent != NULL,
			 .look_up = !d->trust_parent,
			 .level = d->level ? d->level : (int)store_compression_level(d->to),
			 .pace = PACE_INIT(d->rate_limit)}};
	int rc;

	rc = prepare(d, &r, err);
	if (rc == 0 && r.todo.n)
		rc = parallel_for(r.todo.n, d->threads, one_region, &r, err);
	if (rc == 0)
		rc = tree_builder_finish(r.scan.builder, d->ours.size, scan_put_page, &r.scan,
					 &d->theirs, err);
	if (rc == 0)
		rc = store_writer_finish(steal_ptr(&r.scan.writer), &d->stored_bytes, err);
	if (r.scan.writer)
		store_writer_discard(r.scan.writer);
	d->read_bytes = r.scan.read_bytes;
	d->new_bytes = r.scan.new_bytes;
	for (unsigned i = 0; r.workers && i < d->threads; i++)
		scan_worker_free(&r.workers[i]);
	free(r.workers);
	free(r.todo.items);
	tree_builder_free(r.scan.builder);
	page_cache_free(r.scan.cache);
	return rc;
}
