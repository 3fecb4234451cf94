/* What snapshots need: the mark phase of a collection.
 *
 * Needed blobs go into a Bloom filter, 12 bits each (0.5 % false hits with six bits in blocks of 64 bytes), so that
 * memory is 20 MB a TiB; pages, which are few, into an exact set, so that what snapshots share is walked once. Where a false
 * hit would keep a pack, the collector asks for the truth about the ids in question, which costs another walk.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/base/stop.h"
#include "libcommon/repo/collect.h"
#include "libcommon/repo/index_format.h"
#include "libcommon/repo/manifest.h"
#include "libcommon/repo/tree.h"

enum { BITS = 12, SPARE_BLOBS = 1 << 16 };

struct marks {
	struct repo *repo;
	const struct prune_opts *opts;
	uint64_t *filter, n_filter;
	struct id_set pages, suspects, confirmed;
	uint64_t *seen; /* numbers of snapshots, ascending */
	size_t n_seen;
	uint64_t needed;
};

static int visit(struct marks *m, const struct repo_id *id, struct err *err)
{
	if (!index_filter_has(m->filter, m->n_filter, id)) {
		index_filter_add(m->filter, m->n_filter, id);
		m->needed++;
	}
	return id_set_has(&m->suspects, id) && id_set_add(&m->confirmed, id, err) < 0 ? -1 : 0;
}

/* A delta needs its bases, and not the blob that the chunk would be. */
static int visit_chunk(struct marks *m, const struct page_chunk *c, struct err *err)
{
	int rc = visit(m, c->delta.len ? &c->delta.id : &c->id, err);

	for (uint32_t i = 0; i < c->delta.n_bases && rc == 0; i++)
		rc = visit(m, &c->delta.bases[i].id, err);
	return rc;
}

static int walk(struct marks *m, const struct repo_id *id, unsigned level, struct err *err)
{
	struct page *p;
	int rc, added;

	if (id_is_none(id))
		return 0;
	added = id_set_add(&m->pages, id, err);
	if (added <= 0)
		return added;
	if (stop_check(err) < 0 || visit(m, id, err) < 0 ||
	    page_load(repo_store(m->repo), id, level, &p, err) < 0)
		return -1;
	rc = 0;
	for (size_t i = 0; level == 0 && i < p->n && rc == 0; i++)
		rc = visit_chunk(m, &p->chunks[i], err);
	for (unsigned i = 0; level > 0 && i < PAGE_FANOUT && rc == 0; i++)
		rc = walk(m, &p->children[i], level - 1, err);
	page_free(p);
	return rc;
}

static int walk_snapshot(struct marks *m, const struct snapshot *s, struct err *err)
{
	for (size_t i = 0; i < s->n_disks; i++) {
		const struct snapshot_disk *d = &s->disks[i];
		char id[9];

		if (!d->size || walk(m, &d->root, d->tree_levels, err) == 0)
			continue;
		if (err->code == ERR_NOT_FOUND)
			err->code = ERR_CORRUPT;
		err_prefix(err, "snapshot %s@%s disk %s", s->vm, snapshot_short_id(&s->id, id),
			   d->name);
		if (err->code == ERR_CORRUPT)
			(void)err_hint(err, "nothing is removed while it is not known what this "
					    "snapshot needs: repair it, or forget it");
		return -1;
	}
	progress_add(m->opts->progress, 1);
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static bool listed(const uint64_t *list, size_t n, uint64_t seq)
{
	return n && bsearch(&seq, list, n, sizeof(seq), by_number);
}

static bool is_gone(const struct marks *m, uint64_t seq)
{
	for (size_t i = 0; i < m->opts->n_without; i++)
		if (m->opts->without[i] == seq)
			return true;
	return false;
}

/* All snapshots, or those that were not seen. */
static int walk_all(struct marks *m, bool again, struct err *err)
{
	struct snapshot *list;
	size_t n, damaged, added = 0;
	uint64_t *seen;
	int rc = 0;

	if (repo_list(m->repo, NULL, &list, &n, &damaged, err) < 0)
		return -1;
	if (damaged) {
		snapshots_free(list, n);
		err_set(err, ERR_CORRUPT,
			"%zu snapshots cannot be read: nothing is removed while it is not known "
			"what they need",
			damaged);
		return err_hint(err, "vmbackup forget --unreadable gives them up");
	}
	progress_begin(m->opts->progress, "mark", n);
	store_set_small_cache(repo_store(m->repo), true);
	seen = reallocarray(m->seen, m->n_seen + n + 1, sizeof(*seen));
	if (seen)
		m->seen = seen;
	else
		rc = err_nomem(err);
	for (size_t i = 0; i < n && rc == 0; i++) {
		bool known = listed(m->seen, m->n_seen, list[i].seq);

		if (is_gone(m, list[i].seq) || (known && !again))
			continue;
		rc = walk_snapshot(m, &list[i], err);
		if (!known)
			m->seen[m->n_seen + added++] = list[i].seq;
	}
	store_set_small_cache(repo_store(m->repo), false);
	snapshots_free(list, n);
	if (rc < 0)
		return -1;
	m->n_seen += added;
	if (m->n_seen)
		qsort(m->seen, m->n_seen, sizeof(*m->seen), by_number);
	return 0;
}

static int mark(void *ctx, uint64_t blobs, struct err *err)
{
	struct marks *m = ctx;

	if (!m->filter) {
		m->n_filter = div_up((blobs + SPARE_BLOBS) * BITS, 512);
		m->filter = calloc(m->n_filter, 64);
		if (!m->filter)
			return err_nomem(err);
	}
	return walk_all(m, false, err);
}

static bool live(void *ctx, const struct repo_id *id)
{
	struct marks *m = ctx;

	return id_set_has(&m->suspects, id) ? id_set_has(&m->confirmed, id)
					    : index_filter_has(m->filter, m->n_filter, id);
}

static int confirm(void *ctx, const struct id_set *suspects, struct err *err)
{
	struct marks *m = ctx;

	id_set_clear(&m->confirmed);
	id_set_clear(&m->pages);
	for (size_t i = 0; i < suspects->room; i++)
		if (!id_is_none(&suspects->slots[i]) &&
		    id_set_add(&m->suspects, &suspects->slots[i], err) < 0)
			return -1;
	return walk_all(m, true, err);
}

int repo_can_prune(struct repo *repo, struct err *err)
{
	return store_can_collect(repo_store(repo), err);
}

int repo_prune(struct repo *repo, const struct prune_opts *opts, struct prune_result *ret,
	       struct err *err)
{
	static const struct collect_ops ops = {.mark = mark, .live = live, .confirm = confirm};
	struct marks m = {.repo = repo, .opts = opts};
	const struct collect_opts co = {
		.ops = &ops,
		.ctx = &m,
		.max_unused = opts->max_unused,
		.threads = opts->threads ? opts->threads : threads_default(),
		.wait_ms = opts->wait_ms,
		.dry_run = opts->dry_run,
		.progress = opts->progress,
	};
	struct err why = ERR_INIT;
	int rc;

	*ret = (struct prune_result){0};
	rc = store_collect(repo_store(repo), &co, ret, err ? err : &why);
	ret->snapshots = m.n_seen;
	ret->blobs = m.needed;
	free(m.filter);
	free(m.seen);
	id_set_clear(&m.pages);
	id_set_clear(&m.suspects);
	id_set_clear(&m.confirmed);
	return rc;
}
