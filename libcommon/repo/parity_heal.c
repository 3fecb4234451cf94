/* Healing a pack in memory by its parity: see parity.h. */
#include <inttypes.h>
#include <isa-l/erasure_code.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/repo/parity_map.h"

enum { GF_TABLE = 32, SHARDS_ALL = 2 * PARITY_SHARDS };

struct healer {
	uint8_t *buf;
	struct parity_map map;
	struct parity_report *report;
	uint8_t *matrix;
	uint8_t *good; /* a byte a hash: is that block right? */
	uint8_t *out;  /* PARITY_SHARDS blocks */
	uint8_t *decode, *invert, *select, *tables;
	uint64_t from, to; /* blocks of the pack: a run of bad ones that is not in ranges yet */
};

/* Where in the pack the block of hash @i lies */
static uint64_t place(const struct parity_shape *s, uint32_t i)
{
	return i < s->data ? i : (uint64_t)i + s->map;
}

static uint8_t *block_of(const struct healer *h, uint32_t i)
{
	return h->buf + place(&h->map.shape, i) * PARITY_BLOCK;
}

static void flush_range(struct healer *h)
{
	char *text = h->report->ranges;
	size_t used = strlen(text), room = sizeof(h->report->ranges);

	if (h->to == h->from)
		return;
	if (used + 60 < room)
		(void)snprintf(text + used, room - used, "%s%" PRIu64 "-%" PRIu64, used ? ", " : "",
			       h->from * PARITY_BLOCK, h->to * PARITY_BLOCK - 1);
	else if (used + 5 < room && text[used - 1] != '.')
		(void)snprintf(text + used, room - used, ", ...");
	h->from = h->to = 0;
}

static void note_bad(struct healer *h, uint64_t block, uint64_t n)
{
	h->report->bad += n;
	if (h->to != block || h->to == h->from) {
		flush_range(h);
		h->from = block;
	}
	h->to = block + n;
}

/* Shard @i of column @j: its hash's number, or UINT32_MAX for what is behind the last data block: zeros */
static uint32_t shard_block(const struct parity_shape *s, uint32_t i, uint32_t j)
{
	uint32_t b = i * s->stride + j;

	if (i >= s->shards)
		return s->data + (i - s->shards) * s->stride + j;
	return b < s->data ? b : UINT32_MAX;
}

static const uint8_t zeros[PARITY_BLOCK];

/* Solve the column for its bad data blocks, of which there are @n in @bad, from the first shards that are good. */
static void solve(struct healer *h, uint32_t j, const uint32_t *bad, uint32_t n)
{
	const struct parity_shape *s = &h->map.shape;
	uint32_t k = s->shards, rows = 0;
	uint8_t *src[PARITY_SHARDS], *dst[PARITY_SHARDS];

	for (uint32_t i = 0; i < k + s->extra && rows < k; i++) {
		uint32_t b = shard_block(s, i, j);

		if (b != UINT32_MAX && !h->good[b])
			continue;
		memcpy(h->decode + (size_t)rows * k, h->matrix + (size_t)i * k, k);
		/* the cast: ISA-L's prototype has no const, and it only reads */
		src[rows++] = b == UINT32_MAX ? (uint8_t *)(uintptr_t)zeros : block_of(h, b);
	}
	if (rows < k || gf_invert_matrix(h->decode, h->invert, (int)k) != 0)
		return;
	for (uint32_t i = 0; i < n; i++) {
		memcpy(h->select + (size_t)i * k, h->invert + (size_t)bad[i] * k, k);
		dst[i] = h->out + (size_t)i * PARITY_BLOCK;
	}
	ec_init_tables((int)k, (int)n, h->select, h->tables);
	ec_encode_data(PARITY_BLOCK, (int)k, (int)n, h->tables, src, dst);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t b = shard_block(s, bad[i], j);

		if (parity_hash(dst[i]) != h->map.hashes[b])
			continue;
		memcpy(block_of(h, b), dst[i], PARITY_BLOCK);
		h->good[b] = 1;
	}
}

/* Extra blocks are made again when all data of the column is right. */
static void encode(struct healer *h, uint32_t j)
{
	const struct parity_shape *s = &h->map.shape;
	uint8_t *src[PARITY_SHARDS], *dst[PARITY_SHARDS];

	for (uint32_t i = 0; i < s->shards; i++) {
		uint32_t b = shard_block(s, i, j);

		if (b != UINT32_MAX && !h->good[b])
			return;
		src[i] = b == UINT32_MAX ? (uint8_t *)(uintptr_t)zeros : block_of(h, b);
	}
	for (uint32_t e = 0; e < s->extra; e++)
		dst[e] = h->out + (size_t)e * PARITY_BLOCK;
	ec_init_tables((int)s->shards, (int)s->extra, h->matrix + (size_t)s->shards * s->shards,
		       h->tables);
	ec_encode_data(PARITY_BLOCK, (int)s->shards, (int)s->extra, h->tables, src, dst);
	for (uint32_t e = 0; e < s->extra; e++) {
		uint32_t b = shard_block(s, s->shards + e, j);

		if (h->good[b] || parity_hash(dst[e]) != h->map.hashes[b])
			continue;
		memcpy(block_of(h, b), dst[e], PARITY_BLOCK);
		h->good[b] = 1;
	}
}

static void heal_column(struct healer *h, uint32_t j)
{
	const struct parity_shape *s = &h->map.shape;
	uint32_t bad[SHARDS_ALL], n = 0, n_data = 0;

	for (uint32_t i = 0; i < s->shards + s->extra; i++) {
		uint32_t b = shard_block(s, i, j);

		if (b == UINT32_MAX || h->good[b])
			continue;
		bad[n++] = i;
		n_data += i < s->shards;
	}
	if (n_data && n <= s->extra)
		solve(h, j, bad, n_data);
	if (n > n_data)
		encode(h, j);
}

/* A good map of the pack, at one of the two places where its shape says that it lies. Return: 1, 0, -1 */
static int find_map(const uint8_t *buf, size_t len, const uint8_t id[PACK_ID],
		    struct parity_map *ret, struct err *err)
{
	for (size_t off = PARITY_BLOCK; off < len; off += PARITY_BLOCK) {
		struct parity_shape s;
		uint64_t first, bytes;
		int rc;

		if (!parity_map_shape(buf + off, len - off, id, &s))
			continue;
		first = (uint64_t)s.data * PARITY_BLOCK;
		bytes = (uint64_t)s.map * PARITY_BLOCK;
		if (!range_inside(off, bytes, len) || parity_end(&s) > PARITY_PACK_MAX ||
		    (off != first && off != parity_end(&s) - bytes))
			continue;
		rc = parity_map_decode(buf + off, &s, ret, err);
		if (rc)
			return rc;
	}
	return 0;
}

static int healer_init(struct healer *h, struct err *err)
{
	const struct parity_shape *s = &h->map.shape;
	size_t k = s->shards;

	h->matrix = parity_matrix(s, err);
	h->good = malloc(parity_hashes(s));
	h->out = malloc((size_t)PARITY_SHARDS * PARITY_BLOCK);
	h->decode = malloc(k * k);
	h->invert = malloc(k * k);
	h->select = malloc(k * k);
	h->tables = malloc(GF_TABLE * k * k);
	return h->matrix && h->good && h->out && h->decode && h->invert && h->select && h->tables
		       ? 0
		       : err_nomem(err);
}

static void healer_free(struct healer *h)
{
	free(h->map.hashes);
	free(h->matrix);
	free(h->good);
	free(h->out);
	free(h->decode);
	free(h->invert);
	free(h->select);
	free(h->tables);
}

static void look(struct healer *h)
{
	const struct parity_shape *s = &h->map.shape;

	for (uint32_t i = 0; i < parity_hashes(s); i++) {
		h->good[i] = parity_hash(block_of(h, i)) == h->map.hashes[i];
		if (!h->good[i])
			note_bad(h, place(s, i), 1);
	}
}

static int heal_maps(struct healer *h, const uint8_t id[PACK_ID], struct err *err)
{
	const struct parity_shape *s = &h->map.shape;
	size_t bytes = (size_t)s->map * PARITY_BLOCK;
	const uint64_t at[2] = {s->data, parity_end(s) / PARITY_BLOCK - s->map};
	CLEANUP_FREE uint8_t *map = NULL;

	if (parity_map_encode(&h->map, id, &map, err))
		return -1;
	for (int i = 0; i < 2; i++) {
		uint8_t *there = h->buf + at[i] * PARITY_BLOCK;

		if (memcmp(there, map, bytes) == 0)
			continue;
		note_bad(h, at[i], s->map);
		memcpy(there, map, bytes);
	}
	flush_range(h);
	return 0;
}

/* What of the parity was cut off is there again, as zeros that have the wrong hashes. */
static int lengthen(uint8_t **buf, size_t *len, uint64_t end, struct err *err)
{
	uint8_t *more;

	if (*len >= end)
		return 0;
	more = realloc(*buf, end);
	if (!more)
		return err_nomem(err);
	memset(more + *len, 0, end - *len);
	*buf = more;
	*len = end;
	return 0;
}

int parity_heal(uint8_t **buf, size_t *len, const uint8_t id[PACK_ID], struct parity_report *ret,
		struct err *err)
{
	struct healer h = {.report = ret};
	const struct parity_shape *s = &h.map.shape;
	int rc;

	memset(ret, 0, sizeof(*ret));
	rc = find_map(*buf, *len, id, &h.map, err);
	if (rc <= 0)
		return rc;
	ret->found = true;
	ret->data_end = (uint64_t)s->data * PARITY_BLOCK;
	ret->end = parity_end(s);
	rc = lengthen(buf, len, ret->end, err) || healer_init(&h, err) ? -1 : 0;
	if (!rc) {
		h.buf = *buf;
		look(&h);
		for (uint32_t j = 0; j < s->stride && ret->bad; j++)
			heal_column(&h, j);
		rc = heal_maps(&h, id, err);
		for (uint32_t i = 0; i < parity_hashes(s) && !rc; i++)
			ret->left += !h.good[i];
	}
	healer_free(&h);
	return rc;
}
