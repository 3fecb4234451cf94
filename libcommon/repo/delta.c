/* Deltas: see delta.h. */
#include "libcommon/repo/delta.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"

enum {
	WINDOW_LOG = 21,     /* bases and chunk together */
	SURE = 32,	     /* a delta of less than one part in so many needs no other opinion */
	WORTH_NUMERATOR = 2, /* else it must be so many times smaller than the chunk alone */
};

struct delta_maker {
	ZSTD_CCtx *cctx;
	ZSTD_DCtx *dctx;
	uint8_t *prefix, *packed, *check;
};

int delta_maker_new(struct delta_maker **ret, int level, struct err *err)
{
	struct delta_maker *m = calloc(1, sizeof(*m));

	if (!m)
		return err_nomem(err);
	m->cctx = ZSTD_createCCtx();
	m->dctx = ZSTD_createDCtx();
	m->prefix = malloc(BLOB_MAX);
	m->packed = malloc(ZSTD_compressBound(CHUNK_MAX));
	m->check = malloc(ZSTD_compressBound(CHUNK_MAX));
	if (!m->cctx || !m->dctx || !m->prefix || !m->packed || !m->check ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(m->cctx, ZSTD_c_compressionLevel, level)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(m->cctx, ZSTD_c_windowLog, WINDOW_LOG))) {
		delta_maker_free(m);
		return err_nomem(err);
	}
	*ret = m;
	return 0;
}

void delta_maker_free(struct delta_maker *m)
{
	if (!m)
		return;
	ZSTD_freeCCtx(m->cctx);
	ZSTD_freeDCtx(m->dctx);
	free(m->prefix);
	free(m->packed);
	free(m->check);
	free(m);
}

/* Return: false when there is no room for it */
static bool add_base(struct page_delta *d, const struct repo_id *id, uint32_t len, uint64_t *sum)
{
	for (uint32_t i = 0; i < d->n_bases; i++)
		if (memcmp(&d->bases[i].id, id, sizeof(*id)) == 0)
			return true;
	if (d->n_bases == PAGE_BASES_MAX || *sum + len > BLOB_MAX)
		return false;
	d->bases[d->n_bases++] = (struct page_base){*id, len};
	*sum += len;
	return true;
}

bool delta_choose(struct store *st, const struct page *older, uint32_t off, uint32_t len,
		  struct page_delta *ret)
{
	bool room = true;
	uint64_t sum = 0;

	*ret = (struct page_delta){0};
	if (!older || !store_takes_deltas(st))
		return false;
	for (size_t i = page_find(older, off);
	     room && i < older->n && older->chunks[i].off < off + len; i++) {
		const struct page_chunk *c = &older->chunks[i];

		for (uint32_t k = 0; room && k < c->delta.n_bases; k++)
			room = add_base(ret, &c->delta.bases[k].id, c->delta.bases[k].len, &sum);
		if (!c->delta.len)
			room = add_base(ret, &c->id, c->len, &sum);
	}
	for (uint32_t i = 0; i < ret->n_bases; i++)
		if (!store_has(st, &ret->bases[i].id))
			return false;
	return ret->n_bases > 0;
}

static int read_bases(struct store *st, const struct page_delta *d, uint8_t *buf, size_t *ret_len,
		      struct err *err)
{
	*ret_len = 0;
	for (uint32_t i = 0; i < d->n_bases; i++) {
		if (store_get(st, BLOB_CHUNK, &d->bases[i].id, buf + *ret_len, d->bases[i].len,
			      err) < 0)
			return -1;
		*ret_len += d->bases[i].len;
	}
	return 0;
}

static bool is_damage(const struct err *err)
{
	return err->code == ERR_CORRUPT || err->code == ERR_NOT_FOUND;
}

static int expand(ZSTD_DCtx *dctx, const uint8_t *prefix, size_t prefix_len, const uint8_t *packed,
		  size_t packed_len, uint8_t *out, size_t len, struct err *err)
{
	size_t n = ZSTD_DCtx_refPrefix(dctx, prefix, prefix_len);

	if (!ZSTD_isError(n))
		n = ZSTD_decompressDCtx(dctx, out, len, packed, packed_len);
	if (ZSTD_isError(n))
		return err_set(err, ERR_CORRUPT, "delta: zstd: %s", ZSTD_getErrorName(n));
	return n == len ? 0
			: err_set(err, ERR_CORRUPT, "a delta gives %zu bytes where %zu belong", n,
				  len);
}

/* Small enough beside what the chunk would take alone? */
static bool is_worth_it(struct delta_maker *m, size_t packed, const uint8_t *data, size_t len)
{
	size_t alone;

	if (packed <= len / SURE)
		return true;
	(void)ZSTD_CCtx_reset(m->cctx, ZSTD_reset_session_only);
	alone = ZSTD_compress2(m->cctx, m->check, ZSTD_compressBound(CHUNK_MAX), data, len);
	if (ZSTD_isError(alone) || alone > len)
		alone = len;
	return packed * WORTH_NUMERATOR <= alone;
}

int delta_make(struct delta_maker *m, struct store *st, struct page_delta *d, const uint8_t *data,
	       size_t len, const uint8_t **ret, struct err *err)
{
	struct err why = ERR_INIT;
	size_t prefix, n;

	if (len > CHUNK_MAX)
		return 0;
	if (read_bases(st, d, m->prefix, &prefix, &why) < 0) {
		if (is_damage(&why))
			return 0;
		*err = why;
		return -1;
	}
	/* An earlier one may have ended in the middle, for want of room. */
	(void)ZSTD_CCtx_reset(m->cctx, ZSTD_reset_session_only);
	n = ZSTD_CCtx_refPrefix(m->cctx, m->prefix, prefix);
	if (!ZSTD_isError(n))
		n = ZSTD_compress2(m->cctx, m->packed, ZSTD_compressBound(CHUNK_MAX), data, len);
	if (ZSTD_isError(n))
		return err_set(err, ERR_FAILED, "zstd: %s", ZSTD_getErrorName(n));
	/* As with frames: what does not give the same bytes again is found now, not at restore. */
	if (expand(m->dctx, m->prefix, prefix, m->packed, n, m->check, len, &why) < 0 ||
	    memcmp(m->check, data, len) != 0)
		return err_set(err, ERR_FAILED,
			       "what was compressed does not decompress to the same bytes: the "
			       "memory of this machine may be bad");
	if (!is_worth_it(m, n, data, len))
		return 0;
	d->len = (uint32_t)n;
	*ret = m->packed;
	return store_id(st, BLOB_DELTA, m->packed, n, &d->id, err) < 0 ? -1 : 1;
}

static int get_delta(struct store *st, const struct page_chunk *c, uint8_t *out, struct err *err)
{
	CLEANUP_FREE uint8_t *prefix = malloc(BLOB_MAX);
	CLEANUP_FREE uint8_t *packed = malloc(c->delta.len);
	ZSTD_DCtx *dctx = ZSTD_createDCtx();
	struct repo_id id;
	size_t n;
	int rc = prefix && packed && dctx ? 0 : err_nomem(err);

	if (rc == 0)
		rc = store_get(st, BLOB_DELTA, &c->delta.id, packed, c->delta.len, err);
	if (rc == 0)
		rc = read_bases(st, &c->delta, prefix, &n, err);
	if (rc == 0)
		rc = expand(dctx, prefix, n, packed, c->delta.len, out, c->len, err);
	if (rc == 0)
		rc = store_id(st, BLOB_CHUNK, out, c->len, &id, err);
	if (rc == 0 && memcmp(&id, &c->id, sizeof(id)) != 0)
		rc = err_set(err, ERR_CORRUPT, "a delta gives another chunk than its id says");
	ZSTD_freeDCtx(dctx);
	return rc;
}

int chunk_get(struct store *st, const struct page_chunk *c, size_t off, void *buf, size_t len,
	      struct err *err)
{
	CLEANUP_FREE uint8_t *whole = NULL;

	if (!c->delta.len)
		return store_get_range(st, BLOB_CHUNK, &c->id, c->len, off, buf, len, err);
	if (!range_inside(off, len, c->len))
		return err_set(err, ERR_USAGE, "%zu bytes at %zu of a chunk of %u", len, off,
			       c->len);
	if (len == c->len)
		return get_delta(st, c, buf, err);
	whole = malloc(c->len);
	if (!whole)
		return err_nomem(err);
	if (get_delta(st, c, whole, err) < 0)
		return -1;
	memcpy(buf, whole + off, len);
	return 0;
}

bool chunk_has(struct store *st, const struct page_chunk *c,
	       bool (*has)(struct store *st, const struct repo_id *id))
{
	for (uint32_t i = 0; i < c->delta.n_bases; i++)
		if (!has(st, &c->delta.bases[i].id))
			return false;
	return has(st, c->delta.len ? &c->delta.id : &c->id);
}
