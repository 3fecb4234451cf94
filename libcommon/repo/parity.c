/* Making and checking the parity of a pack: see parity.h. Healing is parity_heal.c. */
#include "libcommon/repo/parity.h"

#include <isa-l/erasure_code.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/iszero.h"
#include "libcommon/repo/parity_map.h"

enum {
	PIECE = 256 << 10,  /* read at once */
	DATA_MAX = 1 << 20, /* blocks: a pack has less than 4 GiB */
	HASH_OFF = 56,
	GF_TABLE = 32, /* ISA-L: bytes a coefficient */
};

static const char magic[8] = {'V', 'M', 'K', 'I', 'T', 'P', 'A', 'R'};

static uint32_t map_blocks(const struct parity_shape *s)
{
	return (uint32_t)div_up(PARITY_HEAD + (uint64_t)parity_hashes(s) * 4, PARITY_BLOCK);
}

void parity_shape(uint64_t end, unsigned percent, struct parity_shape *ret)
{
	uint32_t data = (uint32_t)div_up(end, PARITY_BLOCK);

	ret->data = data;
	ret->stride = (uint32_t)div_up(data, PARITY_SHARDS);
	ret->shards = (uint32_t)div_up(data, ret->stride);
	ret->extra = (uint32_t)div_up((uint64_t)ret->shards * percent, 100);
	ret->map = map_blocks(ret);
}

uint64_t parity_end(const struct parity_shape *s)
{
	return ((uint64_t)s->data + 2ULL * s->map + (uint64_t)s->extra * s->stride) * PARITY_BLOCK;
}

uint32_t parity_hash(const uint8_t block[PARITY_BLOCK])
{
	return (uint32_t)XXH3_64bits(block, PARITY_BLOCK);
}

int parity_map_encode(const struct parity_map *m, const uint8_t id[PACK_ID], uint8_t **ret,
		      struct err *err)
{
	const struct parity_shape *s = &m->shape;
	size_t len = (size_t)s->map * PARITY_BLOCK;
	uint8_t *p = calloc(1, len);

	if (!p)
		return err_nomem(err);
	memcpy(p, magic, sizeof(magic));
	put_le32(p + 8, 1);
	put_le32(p + 12, s->data);
	put_le32(p + 16, s->stride);
	put_le16(p + 20, (uint16_t)s->shards);
	put_le16(p + 22, (uint16_t)s->extra);
	memcpy(p + 24, id, PACK_ID);
	for (uint32_t i = 0; i < parity_hashes(s); i++)
		put_le32(p + PARITY_HEAD + (size_t)i * 4, m->hashes[i]);
	put_le64(p + HASH_OFF, XXH3_64bits(p, len));
	*ret = p;
	return 0;
}

bool parity_map_shape(const uint8_t *p, size_t len, const uint8_t id[PACK_ID],
		      struct parity_shape *ret)
{
	struct parity_shape s;

	if (len < PARITY_HEAD || memcmp(p, magic, sizeof(magic)) || get_le32(p + 8) != 1 ||
	    memcmp(p + 24, id, PACK_ID) || !is_zero(p + 40, 16))
		return false;
	s = (struct parity_shape){.data = get_le32(p + 12),
				  .stride = get_le32(p + 16),
				  .shards = get_le16(p + 20),
				  .extra = get_le16(p + 22)};
	if (!s.data || s.data > DATA_MAX || !s.stride || s.stride > s.data ||
	    s.shards > PARITY_SHARDS || !s.extra || s.extra > s.shards ||
	    s.shards != div_up(s.data, s.stride))
		return false;
	s.map = map_blocks(&s);
	*ret = s;
	return true;
}

int parity_map_decode(const uint8_t *p, const struct parity_shape *shape, struct parity_map *ret,
		      struct err *err)
{
	size_t len = (size_t)shape->map * PARITY_BLOCK;
	uint32_t n = parity_hashes(shape);
	CLEANUP_FREE uint8_t *copy = malloc(len);
	uint32_t *hashes = malloc((size_t)n * sizeof(*hashes));

	if (!copy || !hashes) {
		free(hashes);
		return err_nomem(err);
	}
	memcpy(copy, p, len);
	put_le64(copy + HASH_OFF, 0);
	if (XXH3_64bits(copy, len) != get_le64(p + HASH_OFF)) {
		free(hashes);
		return 0;
	}
	for (uint32_t i = 0; i < n; i++)
		hashes[i] = get_le32(p + PARITY_HEAD + (size_t)i * 4);
	*ret = (struct parity_map){*shape, hashes};
	return 1;
}

uint8_t *parity_matrix(const struct parity_shape *s, struct err *err)
{
	uint8_t *a = malloc((size_t)(s->shards + s->extra) * s->shards);

	if (!a)
		err_nomem(err);
	else
		gf_gen_cauchy1_matrix(a, (int)(s->shards + s->extra), (int)s->shards);
	return a;
}

/* What parity_make() works with. */
struct making {
	struct pack_source *src;
	uint64_t end;
	struct parity_map map;
	uint8_t *matrix, *tables, *piece;
	uint8_t *extra; /* extra * stride blocks, shard by shard */
};

static void making_free(struct making *m)
{
	free(m->map.hashes);
	free(m->matrix);
	free(m->tables);
	free(m->piece);
	free(m->extra);
}

static int making_init(struct making *m, struct err *err)
{
	const struct parity_shape *s = &m->map.shape;

	m->matrix = parity_matrix(s, err);
	m->tables = malloc((size_t)GF_TABLE * s->shards * s->extra);
	m->piece = malloc(PIECE);
	m->extra = calloc((size_t)s->extra * s->stride, PARITY_BLOCK);
	m->map.hashes = calloc(parity_hashes(s), sizeof(*m->map.hashes));
	if (!m->matrix || !m->tables || !m->piece || !m->extra || !m->map.hashes)
		return err_nomem(err);
	ec_init_tables((int)s->shards, (int)s->extra, m->matrix + (size_t)s->shards * s->shards,
		       m->tables);
	return 0;
}

/* Bytes of the pack, zeros behind @end */
static int read_padded(struct making *m, uint64_t off, size_t len, struct err *err)
{
	size_t have = off < m->end ? (size_t)min_u64(len, m->end - off) : 0;

	memset(m->piece + have, 0, len - have);
	return have ? m->src->read(m->src->ctx, off, m->piece, have, err) : 0;
}

/* Shard @i flows into all extra shards. */
static int add_shard(struct making *m, uint32_t i, struct err *err)
{
	const struct parity_shape *s = &m->map.shape;
	uint32_t first = i * s->stride, n = (uint32_t)min_u64(s->stride, s->data - first);

	for (uint32_t done = 0, now; done < n; done += now) {
		uint8_t *coding[PARITY_SHARDS];

		now = (uint32_t)min_u64(PIECE / PARITY_BLOCK, n - done);
		if (read_padded(m, (uint64_t)(first + done) * PARITY_BLOCK,
				(size_t)now * PARITY_BLOCK, err))
			return -1;
		for (uint32_t b = 0; b < now; b++)
			m->map.hashes[first + done + b] =
				parity_hash(m->piece + (size_t)b * PARITY_BLOCK);
		for (uint32_t e = 0; e < s->extra; e++)
			coding[e] = m->extra + ((size_t)e * s->stride + done) * PARITY_BLOCK;
		ec_encode_data_update((int)(now * PARITY_BLOCK), (int)s->shards, (int)s->extra,
				      (int)i, m->tables, m->piece, coding);
	}
	return 0;
}

int parity_make(struct pack_source *src, uint64_t end, unsigned percent,
		int (*put)(void *ctx, uint64_t off, const void *buf, size_t len, struct err *err),
		void *ctx, uint64_t *ret_end, struct err *err)
{
	struct making m = {.src = src, .end = end};
	struct parity_shape *s = &m.map.shape;
	CLEANUP_FREE uint8_t *map = NULL;
	size_t map_len, extra_len;
	uint64_t off;
	int rc;

	*ret_end = end;
	if (!percent)
		return 0;
	parity_shape(end, percent, s);
	rc = making_init(&m, err);
	for (uint32_t i = 0; i < s->shards && !rc; i++)
		rc = add_shard(&m, i, err);
	for (uint32_t i = 0; i < s->extra * s->stride && !rc; i++)
		m.map.hashes[s->data + i] = parity_hash(m.extra + (size_t)i * PARITY_BLOCK);
	if (!rc)
		rc = parity_map_encode(&m.map, src->id, &map, err);
	off = (uint64_t)s->data * PARITY_BLOCK;
	map_len = (size_t)s->map * PARITY_BLOCK;
	extra_len = (size_t)s->extra * s->stride * PARITY_BLOCK;
	if (!rc)
		rc = put(ctx, off, map, map_len, err) ||
				     put(ctx, off + map_len, m.extra, extra_len, err) ||
				     put(ctx, off + map_len + extra_len, map, map_len, err)
			     ? -1
			     : 0;
	if (!rc)
		*ret_end = parity_end(s);
	making_free(&m);
	return rc;
}

/* The map that begins at block @at. Return: 1, 0 when there is no good one, -1 */
static int read_map(struct pack_source *src, uint64_t off, uint64_t limit, struct parity_map *ret,
		    struct err *err)
{
	uint8_t head[PARITY_HEAD];
	CLEANUP_FREE uint8_t *p = NULL;
	struct parity_shape s;
	size_t len;

	if (!range_inside(off, PARITY_HEAD, limit))
		return 0;
	if (src->read(src->ctx, off, head, sizeof(head), err))
		return -1;
	if (!parity_map_shape(head, sizeof(head), src->id, &s))
		return 0;
	len = (size_t)s.map * PARITY_BLOCK;
	if (!range_inside(off, len, limit))
		return 0;
	p = malloc(len);
	if (!p)
		return err_nomem(err);
	if (src->read(src->ctx, off, p, len, err))
		return -1;
	return parity_map_decode(p, &s, ret, err);
}

/* Blocks [@first, @first + @n) of the pack against @hashes */
static int check_blocks(struct pack_source *src, uint64_t first, uint32_t n, const uint32_t *hashes,
			uint8_t *piece, uint64_t *ret_bad, struct err *err)
{
	for (uint32_t done = 0, now; done < n; done += now) {
		now = (uint32_t)min_u64(PIECE / PARITY_BLOCK, n - done);
		if (src->read(src->ctx, (first + done) * PARITY_BLOCK, piece,
			      (size_t)now * PARITY_BLOCK, err))
			return -1;
		for (uint32_t b = 0; b < now; b++)
			*ret_bad +=
				parity_hash(piece + (size_t)b * PARITY_BLOCK) != hashes[done + b];
	}
	return 0;
}

int parity_check(struct pack_source *src, uint64_t frames_end, uint64_t table, uint64_t *ret_bad,
		 struct err *err)
{
	CLEANUP_FREE uint8_t *piece = malloc(PIECE);
	uint64_t off = round_up(frames_end, PARITY_BLOCK);
	struct parity_map map;
	struct parity_shape s;
	int rc;

	*ret_bad = 0;
	if (!piece)
		return err_nomem(err);
	if (table == frames_end)
		return 0;
	*ret_bad = 1;
	rc = read_map(src, off, table, &map, err);
	if (rc <= 0)
		return rc;
	s = map.shape;
	if ((uint64_t)s.data * PARITY_BLOCK != off || parity_end(&s) != table) {
		free(map.hashes);
		return 0;
	}
	*ret_bad = 0;
	rc = check_blocks(src, 0, s.data, map.hashes, piece, ret_bad, err) ||
			     check_blocks(src, s.data + s.map, s.extra * s.stride,
					  map.hashes + s.data, piece, ret_bad, err)
		     ? -1
		     : 0;
	free(map.hashes);
	if (rc)
		return rc;
	rc = read_map(src, table - (uint64_t)s.map * PARITY_BLOCK, table, &map, err);
	if (rc > 0)
		free(map.hashes);
	*ret_bad += rc == 0;
	return rc < 0 ? -1 : 0;
}
