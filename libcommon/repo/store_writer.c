/* Adding blobs: frames of the workers' own, packs shared by all of them, index runs as packs fill up.
 *
 *	put	-> the worker's frame -> compressed, checked, sealed -> its place in the open pack (reserved under the lock,
 *		   written outside of it) -> pack full: table, fsync, name -> every RUN_FLUSH_ENTRIES blobs an index run
 *
 * The first failure is final for the writer: all later calls report it. What was written stays for adoption.
 */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/libcrypto.h"
#include "libcommon/base/log.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/repo/id_table.h"
#include "libcommon/repo/store_private.h"

enum { BLOB_TYPES = 3 };

/* A frame that fills up. */
struct builder {
	uint8_t *raw; /* FRAME_TARGET */
	size_t used, n;
	struct frame_blob *blobs; /* FRAME_BLOBS_MAX */
};

struct worker {
	struct builder builders[BLOB_TYPES];
	struct frame_codec *codec;
	uint8_t *section;
};

/* A pack that is being written; all fields but the constant ones under the writer's lock. */
struct open_pack {
	uint8_t id[PACK_ID];
	struct seal_key key;
	struct backend_writer *out;
	struct pack_contents contents;
	uint64_t next_off;
	uint32_t next_number;
	unsigned in_flight; /* frames reserved and not yet written */
	size_t blobs;	    /* reserved */
	bool full;	    /* who brings in_flight to 0 finishes the pack */
};

struct store_writer {
	struct store *store;
	struct worker *workers;
	unsigned n_workers;
	pthread_mutex_t lock; /* everything below */
	struct open_pack *pack;
	struct id_table pending;  /* put, and not in an index run yet */
	struct entry_list sealed; /* in whole packs, and not in an index run yet */
	uint64_t stored;
	struct err failed;
};

static void worker_free(struct worker *k)
{
	for (int t = 0; t < BLOB_TYPES; t++) {
		free(k->builders[t].raw);
		free(k->builders[t].blobs);
	}
	frame_codec_free(k->codec);
	free(k->section);
}

static void writer_free(struct store_writer *w)
{
	for (unsigned i = 0; i < w->n_workers; i++)
		worker_free(&w->workers[i]);
	free(w->workers);
	if (w->pack) {
		backend_writer_close(w->pack->out, w->pack->contents.n_frames > 0);
		pack_contents_free(&w->pack->contents);
		OPENSSL_cleanse(w->pack, sizeof(*w->pack));
		free(w->pack);
	}
	id_table_free(&w->pending);
	entry_list_free(&w->sealed);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* When the first blob of the type comes: a first backup has no deltas. */
static int builder_init(struct builder *b, struct err *err)
{
	if (!b->raw)
		b->raw = malloc(FRAME_TARGET);
	if (!b->blobs)
		b->blobs = malloc(FRAME_BLOBS_MAX * sizeof(struct frame_blob));
	return b->raw && b->blobs ? 0 : err_nomem(err);
}

static int worker_init(struct worker *k, int level, struct err *err)
{
	k->section = malloc(FRAME_SECTION_MAX);
	if (!k->section)
		return err_nomem(err);
	return frame_codec_new(&k->codec, level, err);
}

int store_writer_new(struct store_writer **ret, struct store *st,
		     const struct store_writer_opts *opts, struct err *err)
{
	struct store_writer *w;

	if (store_refresh(st, err) || store_adopt(st, err))
		return -1;
	w = calloc(1, sizeof(*w));
	if (!w)
		return err_nomem(err);
	pthread_mutex_init(&w->lock, NULL);
	w->store = st;
	w->n_workers = opts->workers ? opts->workers : 1;
	w->workers = calloc(w->n_workers, sizeof(*w->workers));
	if (!w->workers) {
		w->n_workers = 0;
		writer_free(w);
		return err_nomem(err);
	}
	for (unsigned i = 0; i < w->n_workers; i++)
		if (worker_init(&w->workers[i], opts->level ? opts->level : st->config.level,
				err)) {
			writer_free(w);
			return -1;
		}
	*ret = w;
	return 0;
}

static int fail(struct store_writer *w, const struct err *err)
{
	pthread_mutex_lock(&w->lock);
	if (!w->failed.code)
		w->failed = *err;
	pthread_mutex_unlock(&w->lock);
	return -1;
}

static int new_pack(struct store_writer *w, struct err *err)
{
	struct open_pack *p = calloc(1, sizeof(*p));
	uint8_t header[PACK_HEADER];
	char name[PACK_NAME_MAX];

	if (!p)
		return err_nomem(err);
	if (crypto_random(p->id, PACK_ID, err) ||
	    pack_header_encode(w->store->crypto, p->id, header, &p->key, err)) {
		free(p);
		return -1;
	}
	pack_name(p->id, name);
	if (backend_writer_new(w->store->backend, name, &p->out, err)) {
		free(p);
		return -1;
	}
	if (backend_writer_write(p->out, 0, header, sizeof(header), err)) {
		backend_writer_close(p->out, false);
		free(p);
		return -1;
	}
	p->next_off = PACK_HEADER;
	w->pack = p;
	return 0;
}

/* A run of all entries that wait; their ids need not be pending any more. */
static int flush_run(struct store_writer *w, struct entry_list *l, struct err *err)
{
	char name[INDEX_NAME_MAX];

	if (!l->n_packs)
		return 0;
	if (index_write(w->store->backend, w->store->crypto, l->entries, l->n, l->packs, l->n_packs,
			name, err) ||
	    store_add_run(w->store, name, err))
		return -1;
	pthread_mutex_lock(&w->lock);
	for (size_t i = 0; i < l->n; i++)
		id_table_remove(&w->pending, &l->entries[i].id);
	pthread_mutex_unlock(&w->lock);
	return 0;
}

/* Table, fsync, name; then its blobs wait for an index run. Consumes @p. */
static int finish_pack(struct store_writer *w, struct open_pack *p, struct err *err)
{
	struct entry_list ready = {0};
	uint64_t size;
	int rc = pack_finish(w->store->crypto, p->out, p->id, &p->contents, p->next_off,
			     w->store->config.parity, &size, err);

	if (!rc) {
		pthread_mutex_lock(&w->lock);
		w->stored += size;
		rc = entry_list_add(&w->sealed, p->id, &p->contents, err);
		if (!rc && w->sealed.n >= RUN_FLUSH_ENTRIES) {
			ready = w->sealed;
			memset(&w->sealed, 0, sizeof(w->sealed));
		}
		pthread_mutex_unlock(&w->lock);
	}
	if (!rc)
		rc = flush_run(w, &ready, err);
	entry_list_free(&ready);
	pack_contents_free(&p->contents);
	OPENSSL_cleanse(p, sizeof(*p));
	free(p);
	return rc;
}

static int reserve(struct store_writer *w, struct frame_header *h, size_t n_blobs,
		   struct open_pack **ret, uint64_t *ret_off, struct err *err)
{
	struct open_pack *p;
	int rc = 0;

	pthread_mutex_lock(&w->lock);
	if (w->failed.code) {
		*err = w->failed;
		rc = -1;
	} else if (!w->pack) {
		rc = new_pack(w, err);
	}
	if (!rc) {
		p = w->pack;
		h->number = p->next_number++;
		*ret_off = p->next_off;
		p->next_off += frame_section_len(h);
		p->blobs += n_blobs;
		p->in_flight++;
		if (p->next_off >= PACK_TARGET || p->blobs >= PACK_BLOBS_TARGET) {
			p->full = true;
			w->pack = NULL;
		}
		*ret = p;
	}
	pthread_mutex_unlock(&w->lock);
	return rc;
}

static int write_frame(struct store_writer *w, struct worker *k, struct builder *b,
		       struct frame_header *h, const uint8_t *payload, struct err *err)
{
	struct open_pack *p;
	uint64_t off;
	bool last;
	int rc;

	if (reserve(w, h, b->n, &p, &off, err))
		return -1;
	rc = frame_seal(w->store->crypto, &p->key, p->id, h, b->blobs, b->n, payload, k->section,
			err) ||
			     backend_writer_write(p->out, off, k->section, frame_section_len(h),
						  err)
		     ? -1
		     : 0;
	pthread_mutex_lock(&w->lock);
	if (!rc)
		rc = pack_contents_add(&p->contents, off, h, b->blobs, b->n, err);
	if (rc && !w->failed.code)
		w->failed = *err;
	last = --p->in_flight == 0 && p->full;
	pthread_mutex_unlock(&w->lock);
	if (!last)
		return rc;
	if (!rc)
		return finish_pack(w, p, err);
	/* A full disk: what lies in the temporary pack is adopted by the next run. */
	backend_writer_close(p->out, true);
	pack_contents_free(&p->contents);
	OPENSSL_cleanse(p, sizeof(*p));
	free(p);
	return rc;
}

static int flush_frame(struct store_writer *w, struct worker *k, enum blob_type type,
		       struct err *err)
{
	struct builder *b = &k->builders[type - 1];
	struct frame_header h = {.type = (uint8_t)type};
	const uint8_t *payload;
	size_t len;

	if (!b->n)
		return 0;
	if (frame_compress(k->codec, b->raw, b->used, &payload, &len, &h.flags, err))
		return fail(w, err);
	h.payload_len = (uint32_t)len;
	h.table_len = frame_table_len(b->n);
	if (write_frame(w, k, b, &h, payload, err))
		return fail(w, err);
	b->n = b->used = 0;
	return 0;
}

int store_put(struct store_writer *w, unsigned worker, enum blob_type type,
	      const struct repo_id *id, const void *data, size_t len, bool *ret_new,
	      struct err *err)
{
	struct worker *k = &w->workers[worker];
	struct builder *b = &k->builders[type - 1];
	int rc;

	if (!len || len > BLOB_MAX)
		return err_set(err, ERR_USAGE, "a blob of %zu bytes is not in 1 to %d", len,
			       BLOB_MAX);
	*ret_new = false;
	if (store_has(w->store, id))
		return 0;
	pthread_mutex_lock(&w->lock);
	rc = id_table_add(&w->pending, id, err);
	pthread_mutex_unlock(&w->lock);
	if (rc <= 0)
		return rc;
	*ret_new = true;
	if (builder_init(b, err) < 0)
		return fail(w, err);
	if ((b->used + len > FRAME_TARGET || b->n == FRAME_BLOBS_MAX) &&
	    flush_frame(w, k, type, err))
		return -1;
	memcpy(b->raw + b->used, data, len);
	b->used += len;
	b->blobs[b->n].id = *id;
	b->blobs[b->n++].len = (uint32_t)len;
	return 0;
}

static int flush_worker(void *ctx, size_t i, unsigned worker, struct err *err)
{
	struct store_writer *w = ctx;

	(void)worker;
	return flush_frame(w, &w->workers[i], BLOB_CHUNK, err) ||
			       flush_frame(w, &w->workers[i], BLOB_DELTA, err) ||
			       flush_frame(w, &w->workers[i], BLOB_PAGE, err)
		       ? -1
		       : 0;
}

/* Damaged runs are caches of what store_adopt() has found again by now: the next writer indexes the rest. */
static void remove_damaged_runs(struct store *st)
{
	struct err why = ERR_INIT;

	pthread_mutex_lock(&st->maintain);
	for (size_t i = 0; i < st->n_runs; i++)
		if (atomic_load(&st->runs[i]->damaged))
			(void)backend_remove(st->backend, st->runs[i]->name, &why);
	pthread_mutex_unlock(&st->maintain);
}

static int finish(struct store_writer *w, struct err *err)
{
	struct open_pack *p;

	if (w->failed.code) {
		*err = w->failed;
		return -1;
	}
	if (parallel_for(w->n_workers, w->n_workers, flush_worker, w, err))
		return -1;
	p = w->pack;
	w->pack = NULL;
	if (p && finish_pack(w, p, err))
		return -1;
	return flush_run(w, &w->sealed, err);
}

int store_writer_finish(struct store_writer *w, uint64_t *ret_stored_bytes, struct err *err)
{
	struct err why = ERR_INIT;
	int rc = finish(w, &why);

	if (!rc) {
		/* All is durable; merging is housekeeping, and its failure is not the backup's. */
		struct err merge = ERR_INIT;

		*ret_stored_bytes = w->stored;
		if (store_merge(w->store, &merge))
			log_warning("index runs are not merged: %s", merge.message);
		remove_damaged_runs(w->store);
	} else if (err) {
		*err = why;
	}
	writer_free(w);
	return rc;
}

void store_writer_discard(struct store_writer *w)
{
	if (w)
		writer_free(w);
}
