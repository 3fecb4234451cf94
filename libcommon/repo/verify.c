/* Verification: the store's objects first, then every snapshot's tree, so that a fault is named by the snapshot, the
 * disk and the bytes that it costs.
 *
 * Subtrees found whole are remembered by their id: what snapshots share is walked once. Subtrees with faults are
 * walked for every snapshot that has them.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/repo/delta.h"
#include "libcommon/repo/id_set.h"
#include "libcommon/repo/manifest.h"
#include "libcommon/repo/names.h"
#include "libcommon/repo/tree.h"

enum { SENTENCE_MAX = 1400 };

struct verify {
	struct store *st;
	const struct verify_opts *opts;
	struct verify_result *res;
	unsigned threads;
	bool read_chunks;      /* of one snapshot: the store's packs are not read as a whole */
	struct id_set clean;   /* pages below which nothing is wrong; the walking thread's alone */
	uint8_t **bufs;	       /* one a worker */
	pthread_mutex_t lock;  /* guards all below, and report() */
	struct id_set counted; /* blobs whose fault is counted */
	bool failed;	       /* without memory to count */
};

/* The disk that is walked. */
struct walk {
	struct verify *v;
	const struct snapshot *snap;
	const struct snapshot_disk *disk;
	bool faults; /* guarded by v->lock */
};

static void report(struct verify *v, const char *sentence)
{
	if (v->opts->report)
		v->opts->report(v->opts->ctx, sentence);
}

static void count_fault(struct verify *v, const struct repo_id *id)
{
	int added = id_set_add(&v->counted, id, NULL);

	if (added < 0)
		v->failed = true;
	v->res->faults += added > 0;
}

static void on_bad(void *ctx, const struct repo_id *id, enum blob_type type, const char *why)
{
	struct verify *v = ctx;

	/* The ranges it costs are named by the walk; an object that nobody needs is still a fault. */
	(void)type;
	(void)why;
	pthread_mutex_lock(&v->lock);
	count_fault(v, id);
	pthread_mutex_unlock(&v->lock);
}

static void on_fault(void *ctx, const char *sentence)
{
	struct verify *v = ctx;

	pthread_mutex_lock(&v->lock);
	v->res->faults++;
	report(v, sentence);
	pthread_mutex_unlock(&v->lock);
}

static void on_healed(void *ctx, const char *sentence)
{
	struct verify *v = ctx;

	if (v->opts->healed)
		v->opts->healed(v->opts->ctx, sentence);
}

static void lost(struct walk *w, uint64_t off, uint64_t len, const struct repo_id *id,
		 const char *why)
{
	char text[SENTENCE_MAX], short_id[9];

	(void)snprintf(text, sizeof(text),
		       "snapshot %s@%s disk %s: bytes %" PRIu64 "-%" PRIu64 " (%" PRIu64
		       " bytes): %s",
		       w->snap->vm, snapshot_short_id(&w->snap->id, short_id), w->disk->name, off,
		       off + len - 1, len, why);
	pthread_mutex_lock(&w->v->lock);
	w->faults = true;
	if (id)
		count_fault(w->v, id);
	report(w->v, text);
	pthread_mutex_unlock(&w->v->lock);
}

/* What cannot be looked at for other reasons than damage ends the verification. */
static bool is_damage(const struct err *err)
{
	return err->code != ERR_CANCELLED && err->code != ERR_NO_MEMORY &&
	       err->code != ERR_NO_SPACE;
}

static int check_chunk(struct verify *v, const struct page_chunk *c, uint8_t *buf, bool *ret_ok,
		       char why[SENTENCE_MAX], struct err *err)
{
	struct err e = ERR_INIT;

	/* Blobs were looked at with their packs, but not what deltas give. */
	if (!v->read_chunks && (v->opts->quick || v->opts->shares || !c->delta.len)) {
		*ret_ok = chunk_has(v->st, c, store_has_copy);
		if (!*ret_ok)
			(void)snprintf(why, SENTENCE_MAX, "chunk missing or damaged");
		return 0;
	}
	*ret_ok = chunk_get(v->st, c, 0, buf, c->len, &e) == 0;
	if (*ret_ok || is_damage(&e)) {
		(void)snprintf(why, SENTENCE_MAX, "%s", e.message);
		return 0;
	}
	if (err)
		*err = e;
	return -1;
}

/* Neighbours that are lost for the same reason are one range. */
static int check_chunks(struct walk *w, const struct page *p, uint64_t base, uint8_t *buf,
			bool *ret_ok, struct err *err)
{
	char why[SENTENCE_MAX], first_why[SENTENCE_MAX] = "";
	uint64_t from = 0, to = 0;

	*ret_ok = true;
	for (size_t i = 0; i < p->n; i++) {
		const struct page_chunk *c = &p->chunks[i];
		bool ok;

		if (check_chunk(w->v, c, buf, &ok, why, err) < 0)
			return -1;
		if (ok)
			continue;
		*ret_ok = false;
		pthread_mutex_lock(&w->v->lock);
		count_fault(w->v, &c->id);
		pthread_mutex_unlock(&w->v->lock);
		if (to > from && (base + c->off != to || strcmp(why, first_why) != 0)) {
			lost(w, from, to - from, NULL, first_why);
			to = from = 0;
		}
		if (to == from) {
			from = base + c->off;
			memcpy(first_why, why, sizeof(why));
		}
		to = base + c->off + c->len;
	}
	if (to > from)
		lost(w, from, to - from, NULL, first_why);
	return 0;
}

/* The bytes of the disk that a subtree answers for. */
static uint64_t subtree_bytes(const struct walk *w, unsigned level, uint64_t region)
{
	uint64_t off = region * CHUNK_REGION;

	return min_u64((uint64_t)CHUNK_REGION << (8 * level), w->disk->size - off);
}

/* Load a page; one that cannot be had is a fault, and *@ret is NULL then. */
static int load(struct walk *w, const struct repo_id *id, unsigned level, uint64_t region,
		struct page **ret, struct err *err)
{
	struct err why = ERR_INIT;
	char text[SENTENCE_MAX];

	*ret = NULL;
	if (page_load(w->v->st, id, level, ret, &why) == 0)
		return 0;
	if (!is_damage(&why)) {
		if (err)
			*err = why;
		return -1;
	}
	(void)snprintf(text, sizeof(text), "page of the tree: %s", why.message);
	lost(w, region * CHUNK_REGION, subtree_bytes(w, level, region), id, text);
	return 0;
}

struct leaf_job {
	struct repo_id id;
	uint64_t region;
	bool ok;
};

struct leaves {
	struct walk *w;
	struct leaf_job jobs[PAGE_FANOUT];
	size_t n;
};

static int check_leaf(void *ctx, size_t i, unsigned worker, struct err *err)
{
	struct leaves *l = ctx;
	struct leaf_job *job = &l->jobs[i];
	struct walk *w = l->w;
	uint64_t base = job->region * CHUNK_REGION;
	struct page *p;
	int rc;

	job->ok = false;
	if (load(w, &job->id, 0, job->region, &p, err) < 0)
		return -1;
	if (!p)
		return 0;
	if (p->chunks[p->n - 1].off + p->chunks[p->n - 1].len > subtree_bytes(w, 0, job->region)) {
		lost(w, base, subtree_bytes(w, 0, job->region), &job->id,
		     "page is longer than the disk");
		page_free(p);
		return 0;
	}
	rc = check_chunks(w, p, base, w->v->bufs[worker], &job->ok, err);
	page_free(p);
	return rc;
}

/* All leaves below one interior page, on all threads. */
static int check_leaves(struct leaves *l, bool *ret_ok, struct err *err)
{
	struct verify *v = l->w->v;

	if (l->n && parallel_for(l->n, v->threads, check_leaf, l, err) < 0)
		return -1;
	for (size_t i = 0; i < l->n; i++) {
		*ret_ok &= l->jobs[i].ok;
		if (l->jobs[i].ok && id_set_add(&v->clean, &l->jobs[i].id, err) < 0)
			return -1;
	}
	return 0;
}

static int walk_page(struct walk *w, const struct repo_id *id, unsigned level, uint64_t region,
		     bool *ret_ok, struct err *err);

static int walk_children(struct walk *w, const struct page *p, uint64_t region, bool *ret_ok,
			 struct err *err)
{
	uint64_t step = 1ULL << (8 * (p->level - 1)), regions = tree_regions(w->disk->size);
	CLEANUP_FREE struct leaves *l = calloc(1, sizeof(*l));

	if (!l)
		return err_nomem(err);
	l->w = w;
	for (unsigned i = 0; i < PAGE_FANOUT; i++) {
		const struct repo_id *id = &p->children[i];
		uint64_t at = region + i * step;
		bool ok = true;

		if (id_is_none(id) || id_set_has(&w->v->clean, id))
			continue;
		if (at >= regions) {
			lost(w, region * CHUNK_REGION, subtree_bytes(w, p->level, region), NULL,
			     "page of the tree has children behind the end of the disk");
			*ret_ok = false;
			return 0;
		}
		if (p->level == 1)
			l->jobs[l->n++] = (struct leaf_job){*id, at, false};
		else if (walk_page(w, id, p->level - 1, at, &ok, err) < 0)
			return -1;
		*ret_ok &= ok;
	}
	return check_leaves(l, ret_ok, err);
}

static int walk_page(struct walk *w, const struct repo_id *id, unsigned level, uint64_t region,
		     bool *ret_ok, struct err *err)
{
	struct page *p;
	int rc;

	*ret_ok = true;
	if (id_is_none(id) || id_set_has(&w->v->clean, id))
		return 0;
	if (level == 0) {
		CLEANUP_FREE struct leaves *l = calloc(1, sizeof(*l));

		if (!l)
			return err_nomem(err);
		l->w = w;
		l->n = 1;
		l->jobs[0] = (struct leaf_job){*id, region, false};
		return check_leaves(l, ret_ok, err);
	}
	if (load(w, id, level, region, &p, err) < 0)
		return -1;
	if (!p) {
		*ret_ok = false;
		return 0;
	}
	rc = walk_children(w, p, region, ret_ok, err);
	page_free(p);
	if (rc == 0 && *ret_ok && id_set_add(&w->v->clean, id, err) < 0)
		rc = -1;
	return rc;
}

static int walk_snapshot(struct verify *v, const struct snapshot *s, struct err *err)
{
	bool damaged = false;

	v->res->snapshots++;
	for (size_t i = 0; i < s->n_disks; i++) {
		const struct snapshot_disk *d = &s->disks[i];
		struct walk w = {.v = v, .snap = s, .disk = d};
		bool ok = true;

		/* A shared subtree may lie at another place of a shorter disk, where it would stick out; sizes
		 * are checked by pages that hold data, and those are cheap: only whole equal disks share roots. */
		if (d->size && walk_page(&w, &d->root, d->tree_levels, 0, &ok, err) < 0)
			return -1;
		damaged |= !ok;
	}
	v->res->damaged_snapshots += damaged;
	return 0;
}

static int walk_all(struct verify *v, struct err *err)
{
	char **names;
	size_t n;
	int rc = 0;

	if (store_object_list(v->st, "snapshots/", &names, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n && rc == 0; i++) {
		struct err why = ERR_INIT;
		struct snapshot s;

		if (manifest_read(v->st, names[i], &s, &why) == 0) {
			rc = walk_snapshot(v, &s, err);
			manifest_clear(&s);
		} else if (!is_damage(&why)) {
			if (err)
				*err = why;
			rc = -1;
		} else if (why.code != ERR_NOT_FOUND) { /* else it was removed meanwhile */
			char text[SENTENCE_MAX];

			(void)snprintf(text, sizeof(text), "%s: %s", names[i], why.message);
			v->res->damaged_snapshots++;
			on_fault(v, text);
		}
	}
	names_free(names, n);
	return rc;
}

static int verify_store(struct verify *v, struct err *err)
{
	const struct store_verify sv = {
		.share = v->opts->share,
		.shares = v->opts->shares,
		.share_parts = v->opts->share_parts,
		.quick = v->opts->quick,
		.threads = v->threads,
		.progress = v->opts->progress,
		.heal = v->opts->heal,
		.healed = on_healed,
		.bad = on_bad,
		.fault = on_fault,
		.ctx = v,
	};

	return store_verify(v->st, &sv, v->res, err);
}

static int verify_one(struct verify *v, struct repo *repo, struct err *err)
{
	struct snapshot *s;
	int rc;

	if (repo_find(repo, v->opts->spec, &s, err) < 0)
		return -1;
	v->read_chunks = !v->opts->quick;
	rc = walk_snapshot(v, s, err);
	snapshots_free(s, 1);
	return rc;
}

static int run(struct verify *v, struct repo *repo, struct err *err)
{
	v->bufs = calloc(v->threads, sizeof(*v->bufs));
	for (unsigned i = 0; v->bufs && i < v->threads; i++)
		if (!(v->bufs[i] = malloc(BLOB_MAX)))
			return err_nomem(err);
	if (!v->bufs)
		return err_nomem(err);
	if (v->opts->spec)
		return verify_one(v, repo, err);
	if (verify_store(v, err) < 0)
		return -1;
	return walk_all(v, err);
}

int repo_verify(struct repo *repo, const struct verify_opts *opts, struct verify_result *ret,
		struct err *err)
{
	struct verify v = {
		.st = repo_store(repo),
		.opts = opts,
		.res = ret,
		.threads = opts->threads ? opts->threads : threads_default(),
	};
	uint64_t healed;
	int rc;

	*ret = (struct verify_result){0};
	pthread_mutex_init(&v.lock, NULL);
	store_set_healing(v.st, opts->heal);
	store_set_local(v.st, false);
	healed = store_healed(v.st);
	rc = run(&v, repo, err);
	store_set_healing(v.st, true);
	store_set_local(v.st, true);
	ret->healed = store_healed(v.st) - healed;
	if (rc == 0 && v.failed)
		rc = err_nomem(err);
	for (unsigned i = 0; v.bufs && i < v.threads; i++)
		free(v.bufs[i]);
	free(v.bufs);
	id_set_clear(&v.clean);
	id_set_clear(&v.counted);
	pthread_mutex_destroy(&v.lock);
	return rc;
}
