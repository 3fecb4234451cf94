/* Removing packs: see collect.h for the order, store_epoch.c for why it is safe. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/log.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/base/stop.h"
#include "libcommon/repo/collect.h"
#include "libcommon/repo/store_private.h"

enum { SUSPECTS_MAX = 1 << 20, MOSTLY_DEAD = 8, POLL_MS = 50, READS = 3 };

/* One pack that is there; bytes are plain ones, as the index knows them. */
struct pack_use {
	uint8_t id[PACK_ID];
	uint64_t live, dead, size;
	bool go; /* one worker a pack clears it */
};

struct collection {
	struct store *st;
	const struct collect_opts *o;
	struct prune_result *res;
	struct pack_use *packs; /* by id */
	size_t n, cap;
	struct id_set suspects;
	struct store_writer *writer; /* while packs are emptied */
	uint8_t **bufs;		     /* BLOB_MAX, one a worker */
	struct pack_use **chosen;
	size_t n_chosen;
};

static int compare_use(const void *a, const void *b)
{
	return memcmp(((const struct pack_use *)a)->id, ((const struct pack_use *)b)->id, PACK_ID);
}

static struct pack_use *find_use(const struct collection *c, const uint8_t id[PACK_ID])
{
	struct pack_use key;

	memcpy(key.id, id, PACK_ID);
	return c->n ? bsearch(&key, c->packs, c->n, sizeof(key), compare_use) : NULL;
}

static uint64_t pack_size(struct store *st, const char *name)
{
	struct backend_object *o;
	struct err why = ERR_INIT;
	uint64_t size;

	if (backend_open(st->backend, name, &o, &size, &why))
		return 0;
	backend_object_close(o);
	return size;
}

static int list_one(void *ctx, const char *name, struct err *err)
{
	struct collection *c = ctx;
	uint8_t id[PACK_ID];

	if (!pack_name_decode(name, id))
		return 0;
	if (c->n == c->cap) {
		size_t cap = c->cap ? 2 * c->cap : 256;
		struct pack_use *p = reallocarray(c->packs, cap, sizeof(*p));

		if (!p)
			return err_nomem(err);
		c->packs = p;
		c->cap = cap;
	}
	c->packs[c->n] = (struct pack_use){.size = pack_size(c->st, name)};
	memcpy(c->packs[c->n++].id, id, PACK_ID);
	return 0;
}

static int list_packs(struct collection *c, struct err *err)
{
	c->n = 0;
	if (backend_list(c->st->backend, "packs", list_one, c, err))
		return -1;
	if (c->n)
		qsort(c->packs, c->n, sizeof(*c->packs), compare_use);
	return 0;
}

static uint64_t index_blobs(struct store *st)
{
	uint64_t n = 0;

	for (size_t i = 0; i < st->n_runs; i++)
		n += st->runs[i]->n_entries;
	return n;
}

typedef int entry_fn(struct collection *c, const struct index_entry *e, struct err *err);

static int each_of_run(struct collection *c, struct run *r, entry_fn *fn, struct err *err)
{
	struct index_entry entries[INDEX_BLOCK_ENTRIES];
	size_t n;

	for (uint32_t block = 0; block < r->n_blocks; block++) {
		if (stop_check(err) || run_block(r, block, entries, &n, err))
			return -1;
		for (size_t i = 0; i < n; i++)
			if (fn(c, &entries[i], err))
				return -1;
	}
	return 0;
}

/* All that the index knows. @begin: what is counted starts anew when a damaged run is replaced by its packs' tables. */
static int each_entry(struct collection *c, void (*begin)(struct collection *c), entry_fn *fn,
		      struct err *err)
{
	for (unsigned attempt = 0; attempt < READS; attempt++) {
		int rc = 0;

		if (begin)
			begin(c);
		for (size_t i = 0; i < c->st->n_runs && !rc; i++)
			if (!atomic_load(&c->st->runs[i]->damaged))
				rc = each_of_run(c, c->st->runs[i], fn, err);
		if (!rc || err->code != ERR_CORRUPT)
			return rc;
		log_warning("%s", err->message);
		err_clear(err);
		if (c->o->dry_run || store_adopt(c->st, err))
			break;
	}
	if (err->code)
		return -1;
	return err_set(err, ERR_CORRUPT, "the index is damaged: the next backup repairs it");
}

static bool is_live(const struct collection *c, const struct repo_id *id)
{
	return c->o->ops->live(c->o->ctx, id);
}

static void count_begin(struct collection *c)
{
	for (size_t i = 0; i < c->n; i++)
		c->packs[i].live = c->packs[i].dead = 0;
}

/* A damaged copy of what is whole elsewhere is of no use. */
static int count_one(struct collection *c, const struct index_entry *e, struct err *err)
{
	struct pack_use *u = find_use(c, e->place.pack);

	(void)err;
	if (!u)
		return 0;
	if (is_live(c, &e->id) &&
	    !(bad_has(c->st, &e->id, e->place.pack) && store_has(c->st, &e->id)))
		u->live += e->place.len;
	else
		u->dead += e->place.len;
	return 0;
}

/* What little is needed of packs that are mostly dead may be false hits. */
static int suspect_one(struct collection *c, const struct index_entry *e, struct err *err)
{
	const struct pack_use *u = find_use(c, e->place.pack);

	if (!u || c->suspects.n >= SUSPECTS_MAX || u->live > (u->live + u->dead) / MOSTLY_DEAD ||
	    !is_live(c, &e->id))
		return 0;
	return id_set_add(&c->suspects, &e->id, err) < 0 ? -1 : 0;
}

static int confirm(struct collection *c, struct err *err)
{
	int rc = c->o->ops->confirm(c->o->ctx, &c->suspects, err);

	id_set_clear(&c->suspects);
	return rc;
}

static int choose(struct collection *c, struct err *err)
{
	if (list_packs(c, err) || each_entry(c, count_begin, count_one, err) ||
	    each_entry(c, NULL, suspect_one, err) ||
	    (c->suspects.n && (confirm(c, err) || each_entry(c, count_begin, count_one, err))))
		return -1;
	c->chosen = calloc(c->n + 1, sizeof(struct pack_use *));
	if (!c->chosen)
		return err_nomem(err);
	for (size_t i = 0; i < c->n; i++) {
		struct pack_use *u = &c->packs[i];
		uint64_t all = u->live + u->dead;

		u->go = u->dead &&
			(!u->live || (double)u->dead * 100 > (double)all * c->o->max_unused);
		if (u->go)
			c->chosen[c->n_chosen++] = u;
	}
	return 0;
}

static void estimate(struct collection *c)
{
	for (size_t i = 0; i < c->n_chosen; i++) {
		const struct pack_use *u = c->chosen[i];
		double live = (double)u->live / (double)(u->live + u->dead);

		c->res->removed++;
		c->res->removed_bytes += u->size;
		c->res->rewritten += u->live > 0;
		c->res->new_bytes += (uint64_t)((double)u->size * live);
	}
}

/* Store anew what is needed of a frame. Return: 0, 1 when it cannot be read: the pack stays, -1 */
static int empty_frame(struct collection *c, const struct pack_contents *pc,
		       const struct pack_frame *f, unsigned worker, struct err *err)
{
	enum blob_type type = f->header.type == BLOB_PAGE ? BLOB_PAGE : BLOB_CHUNK;

	for (uint32_t i = f->first; i < f->first + f->n; i++) {
		const struct frame_blob *b = &pc->blobs[i];
		bool is_new;

		if (!is_live(c, &b->id) || store_has(c->st, &b->id))
			continue;
		if (f->header.type != type || b->len > BLOB_MAX)
			return 1;
		if (stop_check(err))
			return -1;
		if (store_get(c->st, type, &b->id, c->bufs[worker], b->len, err)) {
			if (err->code != ERR_CORRUPT && err->code != ERR_NOT_FOUND)
				return -1;
			log_warning("%s", err->message);
			err_clear(err);
			return 1;
		}
		if (store_put(c->writer, worker, type, &b->id, c->bufs[worker], b->len, &is_new,
			      err))
			return -1;
	}
	return 0;
}

/* The pack's own table has the last word, not the index. Return: 0, 1 when it cannot be read, -1 */
static int read_table(struct collection *c, const uint8_t id[PACK_ID], struct pack_contents *ret,
		      struct err *err)
{
	struct err why = ERR_INIT;
	struct pack_reader r;
	int rc = pack_reader_open(&r, c->st->backend, c->st->crypto, id, &why);

	if (!rc) {
		rc = pack_read_table(c->st->crypto, &r.src, ret, NULL, &why);
		pack_reader_close(&r);
	}
	if (!rc)
		return 0;
	if (why.code == ERR_CORRUPT || why.code == ERR_NOT_FOUND)
		return 1;
	*err = why;
	return -1;
}

static int empty_pack(void *ctx, size_t i, unsigned worker, struct err *err)
{
	struct collection *c = ctx;
	struct pack_use *u = c->chosen[i];
	struct pack_contents pc = {0};
	int rc;

	progress_add(c->o->progress, u->size);
	rc = read_table(c, u->id, &pc, err);
	if (rc < 0)
		return -1;
	if (rc) {
		u->go = !u->live; /* damaged, and the index knows of nothing in it that is needed */
		return 0;
	}
	for (size_t k = 0; k < pc.n_frames && !rc; k++)
		rc = empty_frame(c, &pc, &pc.frames[k], worker, err);
	pack_contents_free(&pc);
	if (rc > 0)
		u->go = false;
	return rc < 0 ? -1 : 0;
}

/* Sorted ids of the chosen packs that may go. */
static uint8_t *chosen_ids(const struct collection *c, size_t *ret_n)
{
	uint8_t *ids = malloc(c->n_chosen * PACK_ID + 1);

	*ret_n = 0;
	for (size_t i = 0; ids && i < c->n_chosen; i++)
		if (c->chosen[i]->go)
			memcpy(ids + PACK_ID * (*ret_n)++, c->chosen[i]->id, PACK_ID);
	return ids;
}

static int empty_all(struct collection *c, struct err *err)
{
	const struct store_writer_opts w = {.workers = c->o->threads};
	uint64_t total = 0;
	int rc;

	for (size_t i = 0; i < c->n_chosen; i++)
		total += c->chosen[i]->size;
	progress_begin(c->o->progress, "rewrite", total);
	if (store_writer_new(&c->writer, c->st, &w, err))
		return -1;
	rc = parallel_for(c->n_chosen, c->o->threads, empty_pack, c, err);
	if (rc) {
		store_writer_discard(c->writer);
		return -1;
	}
	return store_writer_finish(c->writer, &c->res->new_bytes, err);
}

/* Nothing that is in the chosen packs counts as present for this process, so that what is needed is stored anew; then
 * all that is needed lies elsewhere too, and the others are told. */
static int condemn(struct collection *c, struct err *err)
{
	CLEANUP_FREE uint8_t *ids = NULL;
	size_t n;
	int rc;

	ids = chosen_ids(c, &n);
	c->bufs = calloc(c->o->threads, sizeof(*c->bufs));
	if (!ids || !c->bufs || epoch_condemn(c->st, ids, n, err))
		return err_nomem(err);
	for (unsigned i = 0; i < c->o->threads; i++)
		if (!(c->bufs[i] = malloc(BLOB_MAX)))
			return err_nomem(err);
	if (empty_all(c, err))
		return -1;
	free(ids);
	ids = chosen_ids(c, &n);
	if (!ids)
		return err_nomem(err);
	rc = epoch_publish(c->st, ids, n, err);
	for (size_t i = 0; i < c->n_chosen; i++)
		c->res->rewritten += c->chosen[i]->go && c->chosen[i]->live;
	return rc;
}

/* Until nobody lives who does not know the epoch. */
static int wait_for_sessions(struct collection *c, bool *ret_alone, struct err *err)
{
	const struct timespec nap = {.tv_nsec = POLL_MS * 1000000L};

	for (uint64_t waited = 0;; waited += POLL_MS) {
		bool any;

		if (stop_check(err) ||
		    backend_sessions_before(c->st->backend, c->st->epoch, &any, err))
			return -1;
		*ret_alone = !any;
		if (!any || waited >= c->o->wait_ms)
			return 0;
		if (!waited)
			log_info("waiting for processes that began before");
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
	}
}

/* Needed, and nowhere else than in what is condemned */
static bool is_last_copy(const struct collection *c, const struct index_entry *e)
{
	return epoch_condemned(c->st, e->place.pack) && is_live(c, &e->id) &&
	       !store_has(c->st, &e->id);
}

static int suspect_last(struct collection *c, const struct index_entry *e, struct err *err)
{
	return is_last_copy(c, e) && id_set_add(&c->suspects, &e->id, err) < 0 ? -1 : 0;
}

/* find_use() finds condemned packs only where they are listed, so this looks at a list of its own. */
static int let_off(struct collection *c, const struct index_entry *e, struct err *err)
{
	struct pack_use *u = find_use(c, e->place.pack);

	(void)err;
	if (u && is_last_copy(c, e))
		u->go = false;
	return 0;
}

/* Who knows that a pack is condemned leaves it out of the runs that it merges, so the index does not tell all that
 * these packs hold: their tables do. */
static int each_condemned(struct collection *c, entry_fn *fn, struct err *err)
{
	if (each_entry(c, NULL, fn, err))
		return -1;
	for (size_t i = 0; i < c->n; i++) {
		struct index_entry e = {0};
		struct pack_contents pc = {0};
		int rc;

		if (!epoch_condemned(c->st, c->packs[i].id))
			continue;
		memcpy(e.place.pack, c->packs[i].id, PACK_ID);
		rc = stop_check(err) ? -1 : read_table(c, c->packs[i].id, &pc, err);
		for (size_t k = 0; k < pc.n_blobs && !rc; k++) {
			e.id = pc.blobs[k].id;
			rc = fn(c, &e, err);
		}
		pack_contents_free(&pc);
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* Snapshots that came since the packs were chosen may need some of them. */
static int let_off_needed(struct collection *c, struct err *err)
{
	for (size_t i = 0; i < c->n; i++)
		c->packs[i].go = epoch_condemned(c->st, c->packs[i].id);
	if (each_condemned(c, suspect_last, err))
		return -1;
	return c->suspects.n && (confirm(c, err) || each_condemned(c, let_off, err)) ? -1 : 0;
}

static int remove_packs(struct collection *c, struct err *err)
{
	for (size_t i = 0; i < c->n; i++) {
		char name[PACK_NAME_MAX];

		if (!c->packs[i].go)
			continue;
		pack_name(c->packs[i].id, name);
		if (stop_check(err) || backend_remove(c->st->backend, name, err))
			return -1;
		c->res->removed++;
		c->res->removed_bytes += c->packs[i].size;
	}
	return 0;
}

/* All sessions know what is condemned, and all that was committed by others is marked. */
static int sweep(struct collection *c, struct err *err)
{
	CLEANUP_FREE uint8_t *ids = NULL;
	size_t n = 0;

	if (store_refresh(c->st, err) || list_packs(c, err) || let_off_needed(c, err))
		return -1;
	ids = malloc(c->n * PACK_ID + 1);
	if (!ids)
		return err_nomem(err);
	for (size_t i = 0; i < c->n; i++)
		if (c->packs[i].go)
			memcpy(ids + PACK_ID * n++, c->packs[i].id, PACK_ID);
	progress_begin(c->o->progress, "remove", n);
	if (store_drop_packs(c->st, ids, n, err) || remove_packs(c, err) ||
	    bad_drop_packs(c->st, ids, n, err))
		return -1;
	return epoch_publish(c->st, NULL, 0, err);
}

static int mark(struct collection *c, struct err *err)
{
	return c->o->ops->mark(c->o->ctx, index_blobs(c->st), err);
}

/* What is condemned goes when nobody lives who does not know it; else it stays for the next collection. */
static int second_phase(struct collection *c, struct err *err)
{
	bool alone;

	if (wait_for_sessions(c, &alone, err))
		return -1;
	if (!alone) {
		c->res->pending = c->st->n_condemned;
		if (!c->o->wait_ms)
			return 0;
		err_set(err, ERR_BUSY, "processes that began before still use the repository");
		return err_hint(err, "the next prune removes what this one condemned");
	}
	return mark(c, err) || sweep(c, err) ? -1 : 0;
}

static int collect(struct collection *c, struct err *err)
{
	if (store_can_collect(c->st, err))
		return -1;
	/* Another collector may have worked since the repository was opened: what it condemned then may be let off by now,
	 * and be counted on by sessions that this one would not wait for. */
	if (!c->o->dry_run && (backend_collector(c->st->backend, err) || epoch_begin(c->st, err)))
		return -1;
	if (store_refresh(c->st, err) || (!c->o->dry_run && store_adopt(c->st, err)) ||
	    list_packs(c, err))
		return -1;
	c->res->packs = c->n;
	for (size_t i = 0; i < c->n; i++)
		c->res->pack_bytes += c->packs[i].size;
	if (!c->o->dry_run && c->st->n_condemned && (second_phase(c, err) || c->res->pending))
		return c->res->pending && !err->code ? 0 : -1;
	if (mark(c, err) || choose(c, err))
		return -1;
	if (c->o->dry_run) {
		estimate(c);
		return 0;
	}
	return c->n_chosen && (condemn(c, err) || second_phase(c, err)) ? -1 : 0;
}

int store_can_collect(struct store *st, struct err *err)
{
	return st->backend->ops->collector
		       ? 0
		       : err_set(err, ERR_UNSUPPORTED,
				 "nothing can be collected in a repository of this kind");
}

int store_collect(struct store *st, const struct collect_opts *o, struct prune_result *ret,
		  struct err *err)
{
	struct collection c = {.st = st, .o = o, .res = ret};
	int rc;

	st->collecting = true;
	rc = collect(&c, err);
	st->collecting = false;
	for (unsigned i = 0; c.bufs && i < o->threads; i++)
		free(c.bufs[i]);
	free(c.bufs);
	free(c.packs);
	free(c.chosen);
	id_set_clear(&c.suspects);
	return rc;
}
