/* Removing packs: see collect.h for the order, store_epoch.c for why it is safe. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/log.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/base/stop.h"
#include "libcommon/repo/store_collect_private.h"

enum { POLL_MS = 50, POLL_MOST_MS = 2000 };

/* Store anew what is needed of a frame. Return: 0, 1 when it cannot be read: the pack stays, -1 */
static int empty_frame(struct collection *c, const struct pack_contents *pc,
		       const struct pack_frame *f, unsigned worker, struct err *err)
{
	enum blob_type type = (enum blob_type)f->header.type;

	for (uint32_t i = f->first; i < f->first + f->n; i++) {
		const struct frame_blob *b = &pc->blobs[i];
		bool is_new;

		if (!collect_live(c, &b->id) || store_has(c->st, &b->id))
			continue;
		if (!c->writer || b->len > BLOB_MAX)
			return 1;
		if (stop_check(err))
			return -1;
		if (store_get(c->st, type, &b->id, c->bufs[worker], b->len, err)) {
			if (!read_is_damage(err) && err->code != ERR_NOT_FOUND)
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

/* What read_table() finds, but for a table and an error */
enum { TABLE_DAMAGED = 1, TABLE_NOT_GIVEN };

/* The pack's own table has the last word, not the index. Return: 0, TABLE_DAMAGED (or there is no pack), TABLE_NOT_GIVEN (by
 * the disk, which may give it again), -1 */
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
		return TABLE_DAMAGED;
	if (read_is_damage(&why)) {
		log_warning("%s", why.message);
		return TABLE_NOT_GIVEN;
	}
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
	const struct store_writer_opts o = {.workers = c->o->threads};
	struct store_writer *w;
	uint64_t total = 0, stored = 0;
	bool any = false;
	int rc;

	for (size_t i = 0; i < c->n_chosen; i++) {
		total += c->chosen[i]->size;
		any |= c->chosen[i]->live > 0;
	}
	progress_begin(c->o->progress, "rewrite", total);
	/* A writer needs some room, if only to begin. */
	if (any && store_writer_new(&c->writer, c->st, &o, err))
		return -1;
	rc = parallel_for(c->n_chosen, c->o->threads, empty_pack, c, err);
	w = c->writer;
	c->writer = NULL;
	if (rc)
		store_writer_discard(w);
	else if (w)
		rc = store_writer_finish(w, &stored, err);
	c->res->new_bytes += stored;
	return rc;
}

/* Nothing that is in the chosen packs counts as present for this process, so that what is needed is stored anew; then
 * all that is needed lies elsewhere too, and the others are told. */
static int condemn(struct collection *c, struct err *err)
{
	CLEANUP_FREE uint8_t *ids = NULL;
	size_t n;
	int rc;

	ids = chosen_ids(c, &n);
	if (!ids || epoch_condemn(c->st, ids, n, err))
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
	/* To ask may cost a request: the longer it takes, the less often. */
	for (uint64_t waited = 0, nap_ms = POLL_MS;; waited += nap_ms) {
		struct timespec nap;
		bool any;

		if (stop_check(err) ||
		    backend_sessions_before(c->st->backend, c->st->epoch, &any, err))
			return -1;
		*ret_alone = !any;
		if (!any || waited >= c->o->wait_ms)
			return 0;
		if (!waited)
			log_info("waiting for processes that began before");
		nap_ms = waited / 16 > POLL_MS ? waited / 16 : POLL_MS;
		if (nap_ms > POLL_MOST_MS)
			nap_ms = POLL_MOST_MS;
		if (nap_ms > c->o->wait_ms - waited)
			nap_ms = c->o->wait_ms - waited;
		nap = (struct timespec){.tv_sec = (time_t)(nap_ms / 1000),
					.tv_nsec = (long)(nap_ms % 1000) * 1000000};
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
	}
}

/* Needed, and nowhere else than in what is condemned */
static bool is_last_copy(const struct collection *c, const struct index_entry *e)
{
	return epoch_condemned(c->st, e->place.pack) && collect_live(c, &e->id) &&
	       !store_has(c->st, &e->id);
}

static int suspect_last(struct collection *c, const struct index_entry *e, struct err *err)
{
	return is_last_copy(c, e) && id_set_add(&c->suspects, &e->id, err) < 0 ? -1 : 0;
}

/* collect_find() finds condemned packs only where they are listed, so this looks at a list of its own. */
static int let_off(struct collection *c, const struct index_entry *e, struct err *err)
{
	struct pack_use *u = collect_find(c, e->place.pack);

	(void)err;
	if (u && is_last_copy(c, e))
		u->go = false;
	return 0;
}

/* Who knows that a pack is condemned leaves it out of the runs that it merges, so the index does not tell all that
 * these packs hold: their tables do. */
static int each_condemned(struct collection *c, collect_entry_fn *fn, struct err *err)
{
	if (collect_each(c, NULL, fn, err))
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
		if (rc == TABLE_NOT_GIVEN) /* nobody knows what the last copy of is in it */
			c->packs[i].go = false;
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
	return c->suspects.n && (collect_confirm(c, err) || each_condemned(c, let_off, err)) ? -1
											     : 0;
}

static int remove_packs(struct collection *c, struct err *err)
{
	for (size_t i = 0; i < c->n; i++) {
		char name[PACK_NAME_MAX];

		if (!c->packs[i].go || c->packs[i].gone)
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

	if (store_refresh(c->st, err) || collect_list(c, err) || let_off_needed(c, err))
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
	return c->o->ops->mark(c->o->ctx, collect_blobs(c->st), err);
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
		return err_hint(err, "the next prune removes what this one condemned; on an S3 API "
				     "vmbackup unlock says whose they are");
	}
	return mark(c, err) || sweep(c, err) ? -1 : 0;
}

static int make_buffers(struct collection *c, struct err *err)
{
	c->bufs = calloc(c->o->threads, sizeof(*c->bufs));
	for (unsigned i = 0; c->bufs && i < c->o->threads; i++)
		if (!(c->bufs[i] = malloc(BLOB_MAX)))
			return err_nomem(err);
	return c->bufs ? 0 : err_nomem(err);
}

/* What is left of an attempt to rewrite packs goes; from now on only packs go of which nothing is needed. */
static int without_rewriting(struct collection *c, const struct err *why, struct err *err)
{
	log_info("no packs are rewritten: %s", why->message);
	c->no_rewriting = true;
	return epoch_condemn(c->st, NULL, 0, err) || store_adopt_tight(c->st, err) ? -1 : 0;
}

/* Packs go in as many rounds as the room for rewriting them asks for: nearly always one. */
static int rounds(struct collection *c, struct err *err)
{
	for (;;) {
		uint64_t removed = c->res->removed;
		struct err why = ERR_INIT;

		if (mark(c, err) || collect_choose(c, err))
			return -1;
		if (!c->n_chosen)
			break;
		if (condemn(c, &why)) {
			if (why.code == ERR_NO_SPACE && !c->no_rewriting) {
				if (without_rewriting(c, &why, err))
					return -1;
				continue;
			}
			*err = why;
			return -1;
		}
		if (second_phase(c, err))
			return -1;
		if (!c->left_out || c->res->pending)
			return 0;
		if (c->res->removed == removed)
			break; /* all of them turned out to be needed */
	}
	if (!c->left_out)
		return 0;
	err_set(err, ERR_NO_SPACE, "%zu packs are to be rewritten, and there is no room for it",
		c->left_out);
	return err_hint(err, "forget more, make some room, or say --max-unused 100");
}

/* Runs that were given up for want of room */
static int index_again(struct collection *c, struct err *err)
{
	struct err why = ERR_INIT;

	if (!c->st->n_extra || !store_adopt(c->st, &why) || why.code == ERR_NO_SPACE)
		return 0;
	*err = why;
	return -1;
}

static int begin(struct collection *c, struct err *err)
{
	if (store_can_collect(c->st, err))
		return -1;
	if (c->o->dry_run)
		return store_refresh(c->st, err) || store_rescan(c->st, err) < 0 ? -1 : 0;
	/* Another collector may have worked since the repository was opened: what it condemned then may be let off by now,
	 * and be counted on by sessions that this one would not wait for. */
	return backend_collector(c->st->backend, err) || epoch_begin(c->st, err) ||
			       store_refresh(c->st, err) || store_adopt_tight(c->st, err)
		       ? -1
		       : 0;
}

static int collect(struct collection *c, struct err *err)
{
	if (make_buffers(c, err) || begin(c, err) || collect_list(c, err))
		return -1;
	for (size_t i = 0; i < c->n; i++) {
		c->res->packs += !c->packs[i].gone;
		c->res->pack_bytes += c->packs[i].size;
	}
	if (c->o->dry_run) {
		if (mark(c, err) || collect_choose(c, err))
			return -1;
		collect_estimate(c);
		return 0;
	}
	if (c->st->n_condemned && (second_phase(c, err) || c->res->pending))
		return c->res->pending && !err->code ? 0 : -1;
	return rounds(c, err) || index_again(c, err) ? -1 : 0;
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
