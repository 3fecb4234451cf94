/* Encoding and decoding of pages: see page.h. */
#include "libcommon/repo/page.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/iszero.h"
#include "libcommon/repo/store.h"

static const uint8_t magic[4] = {'V', 'P', 'G', '1'}, magic2[4] = {'V', 'P', 'G', '2'};

enum { BITMAP = PAGE_FANOUT / 8, SIZED = sizeof(struct repo_id) + 4 };
#define WORD_ZERO 0x80000000U

bool id_is_none(const struct repo_id *id)
{
	return is_zero(id->bytes, sizeof(id->bytes));
}

static void put_header(uint8_t *p, unsigned level, uint32_t count)
{
	memcpy(p, magic, sizeof(magic));
	memset(p + 4, 0, 4);
	p[4] = (uint8_t)level;
	put_le32(p + 8, count);
}

static uint8_t *put_sized(uint8_t *p, const struct repo_id *id, uint32_t len)
{
	memcpy(p, id->bytes, sizeof(*id));
	put_le32(p + sizeof(*id), len);
	return p + SIZED;
}

/* Only where there is one: a page without deltas is the same in every version. */
static uint8_t *put_deltas(const struct page_chunk *chunks, size_t n, uint8_t *page, uint8_t *p)
{
	uint8_t *count = p;
	uint32_t deltas = 0;

	p += 4;
	for (size_t i = 0; i < n; i++) {
		const struct page_delta *d = &chunks[i].delta;

		if (!d->len)
			continue;
		put_le32(p, (uint32_t)i);
		put_le32(p + 4, d->n_bases);
		p = put_sized(p + 8, &d->id, d->len);
		for (uint32_t k = 0; k < d->n_bases; k++)
			p = put_sized(p, &d->bases[k].id, d->bases[k].len);
		deltas++;
	}
	if (!deltas)
		return count;
	put_le32(count, deltas);
	memcpy(page, magic2, sizeof(magic2));
	return p;
}

size_t page_encode_leaf(const struct page_chunk *chunks, size_t n, uint8_t *ret)
{
	uint8_t *p = ret + PAGE_HEADER;
	uint32_t at = 0, words = 0;

	for (size_t i = 0; i < n; i++) {
		if (chunks[i].off > at) {
			put_le32(p, WORD_ZERO | (chunks[i].off - at));
			p += 4;
			words++;
		}
		put_le32(p, chunks[i].len);
		p += 4;
		words++;
		at = chunks[i].off + chunks[i].len;
	}
	for (size_t i = 0; i < n; i++, p += sizeof(struct repo_id))
		memcpy(p, chunks[i].id.bytes, sizeof(struct repo_id));
	for (size_t i = 0; i < n; i++, p += PAGE_MARK)
		memcpy(p, chunks[i].mark, PAGE_MARK);
	put_header(ret, 0, words);
	return (size_t)(put_deltas(chunks, n, ret, p) - ret);
}

size_t page_encode_interior(unsigned level, const struct repo_id *children, uint8_t *ret)
{
	uint8_t *bitmap = ret + PAGE_HEADER, *p = bitmap + BITMAP;
	uint32_t count = 0;

	memset(bitmap, 0, BITMAP);
	for (unsigned i = 0; i < PAGE_FANOUT; i++) {
		if (id_is_none(&children[i]))
			continue;
		bitmap[i / 8] |= (uint8_t)(1U << (i % 8));
		memcpy(p, children[i].bytes, sizeof(struct repo_id));
		p += sizeof(struct repo_id);
		count++;
	}
	put_header(ret, level, count);
	return (size_t)(p - ret);
}

/* The lengths of a leaf: returns how many words are chunks, or -1. Only the very last chunk may end off a block:
 * it is the end of a disk whose size is no multiple of 4 KiB. */
static int check_words(const uint8_t *words, uint32_t count, uint32_t *ret_chunks, struct err *err)
{
	uint32_t at = 0, chunks = 0;
	bool was_zero = false;

	for (uint32_t i = 0; i < count; i++) {
		uint32_t w = get_le32(words + 4 * (size_t)i), len = w & ~WORD_ZERO;
		bool zero = w & WORD_ZERO, end = i + 1 == count;

		if (len == 0 || len > CHUNK_REGION - at || (!zero && len > BLOB_MAX))
			return err_set(err, ERR_CORRUPT,
				       "page: word %u has length %u at offset %u of a region", i,
				       len, at);
		if ((len % CHUNK_BLOCK && !end) || (zero && (was_zero || end)))
			return err_set(err, ERR_CORRUPT,
				       "page: word %u (%#x) is not in the one allowed form", i, w);
		at += len;
		chunks += !zero;
		was_zero = zero;
	}
	*ret_chunks = chunks;
	return 0;
}

static int decode_sized(const uint8_t *p, struct repo_id *ret, uint32_t *ret_len, struct err *err)
{
	memcpy(ret->bytes, p, sizeof(*ret));
	*ret_len = get_le32(p + sizeof(*ret));
	return *ret_len && *ret_len <= BLOB_MAX && !id_is_none(ret)
		       ? 0
		       : err_set(err, ERR_CORRUPT, "page: a delta of %u bytes", *ret_len);
}

/* One delta at @data. Return: how many bytes it takes, or -1 */
static int decode_delta(struct page *p, const uint8_t *data, size_t len, int64_t before,
			int64_t *ret_index, struct err *err)
{
	uint32_t index = len >= 8 ? get_le32(data) : 0, n = len >= 8 ? get_le32(data + 4) : 0;
	struct page_delta *d;
	uint64_t sum = 0;

	if (index >= p->n || (int64_t)index <= before || !n || n > PAGE_BASES_MAX ||
	    len < 8 + SIZED * ((size_t)n + 1))
		return err_set(err, ERR_CORRUPT, "page: delta of chunk %u with %u bases", index, n);
	d = &p->chunks[index].delta;
	if (decode_sized(data + 8, &d->id, &d->len, err) < 0)
		return -1;
	for (d->n_bases = 0; d->n_bases < n; d->n_bases++) {
		struct page_base *b = &d->bases[d->n_bases];

		if (decode_sized(data + 8 + SIZED * ((size_t)d->n_bases + 1), &b->id, &b->len,
				 err) < 0)
			return -1;
		sum += b->len;
	}
	if (sum > BLOB_MAX)
		return err_set(err, ERR_CORRUPT, "page: the bases of chunk %u are too long", index);
	*ret_index = index;
	return (int)(8 + SIZED * (n + 1));
}

static int decode_deltas(struct page *p, const uint8_t *data, size_t len, struct err *err)
{
	uint32_t count = len >= 4 ? get_le32(data) : 0;
	int64_t last = -1;
	size_t at = 4;

	if (!count)
		return err_set(err, ERR_CORRUPT, "page: no deltas in a page of deltas");
	for (uint32_t i = 0; i < count; i++) {
		int n = decode_delta(p, data + at, len - at, last, &last, err);

		if (n < 0)
			return -1;
		at += (size_t)n;
	}
	return at == len ? 0
			 : err_set(err, ERR_CORRUPT, "page: %zu bytes behind the deltas", len - at);
}

static int decode_leaf(struct page *p, const uint8_t *data, size_t len, uint32_t count,
		       struct err *err)
{
	bool with_deltas = memcmp(data, magic2, sizeof(magic2)) == 0;
	size_t need;

	uint32_t chunks = 0, at = 0;

	if (count > PAGE_WORDS_MAX || len < PAGE_HEADER + 4 * (size_t)count)
		return err_set(err, ERR_CORRUPT, "page: %u words do not fit in %zu bytes", count,
			       len);
	if (check_words(data + PAGE_HEADER, count, &chunks, err) < 0)
		return -1;
	need = PAGE_HEADER + 4 * (size_t)count +
	       (sizeof(struct repo_id) + PAGE_MARK) * (size_t)chunks;
	if (with_deltas ? len <= need : len != need)
		return err_set(err, ERR_CORRUPT, "page: %u chunks do not fit in %zu bytes", chunks,
			       len);
	p->chunks = calloc(chunks, sizeof(*p->chunks));
	if (!p->chunks)
		return err_nomem(err);

	const uint8_t *id = data + PAGE_HEADER + 4 * (size_t)count;
	const uint8_t *mark = id + sizeof(struct repo_id) * (size_t)chunks;

	for (uint32_t i = 0; i < count; i++) {
		uint32_t w = get_le32(data + PAGE_HEADER + 4 * (size_t)i);

		if (!(w & WORD_ZERO)) {
			struct page_chunk *c = &p->chunks[p->n++];

			c->off = at;
			c->len = w;
			memcpy(c->id.bytes, id, sizeof(c->id));
			id += sizeof(c->id);
			memcpy(c->mark, mark, PAGE_MARK);
			mark += PAGE_MARK;
			if (id_is_none(&c->id))
				return err_set(err, ERR_CORRUPT, "page: word %u has no id", i);
		}
		at += w & ~WORD_ZERO;
	}
	return with_deltas ? decode_deltas(p, data + need, len - need, err) : 0;
}

static int decode_interior(struct page *p, const uint8_t *data, size_t len, uint32_t count,
			   struct err *err)
{
	const uint8_t *bitmap = data + PAGE_HEADER, *id = bitmap + BITMAP;
	uint32_t bits = 0;

	if (count > PAGE_FANOUT ||
	    len != PAGE_HEADER + BITMAP + sizeof(struct repo_id) * (size_t)count)
		return err_set(err, ERR_CORRUPT, "page: %u children do not fit in %zu bytes", count,
			       len);
	for (unsigned i = 0; i < BITMAP; i++)
		bits += (uint32_t)__builtin_popcount(bitmap[i]);
	if (bits != count)
		return err_set(err, ERR_CORRUPT, "page: %u children, but %u in its bitmap", count,
			       bits);
	p->children = calloc(PAGE_FANOUT, sizeof(*p->children));
	if (!p->children)
		return err_nomem(err);
	p->n = count;
	for (unsigned i = 0; i < PAGE_FANOUT; i++) {
		if (!(bitmap[i / 8] >> (i % 8) & 1))
			continue;
		memcpy(p->children[i].bytes, id, sizeof(struct repo_id));
		id += sizeof(struct repo_id);
		if (id_is_none(&p->children[i]))
			return err_set(err, ERR_CORRUPT, "page: child %u has no id", i);
	}
	return 0;
}

int page_decode(struct page **ret, const uint8_t *data, size_t len, unsigned level, struct err *err)
{
	static const uint8_t zeros[3];

	if (len < PAGE_HEADER || len > PAGE_BYTES_MAX ||
	    (memcmp(data, magic, sizeof(magic)) != 0 &&
	     (level || memcmp(data, magic2, sizeof(magic2)) != 0)) ||
	    memcmp(data + 5, zeros, sizeof(zeros)) != 0)
		return err_set(err, ERR_CORRUPT, "page: %zu bytes without a page's header", len);
	if (data[4] != level)
		return err_set(err, ERR_CORRUPT, "page: level %u where level %u belongs", data[4],
			       level);

	uint32_t count = get_le32(data + 8);

	if (count == 0)
		return err_set(err, ERR_CORRUPT, "page: nothing in it");

	struct page *p = calloc(1, sizeof(*p));

	if (!p)
		return err_nomem(err);
	p->level = level;
	if ((level ? decode_interior(p, data, len, count, err)
		   : decode_leaf(p, data, len, count, err)) < 0) {
		page_free(p);
		return -1;
	}
	*ret = p;
	return 0;
}

void page_free(struct page *p)
{
	if (!p)
		return;
	free(p->chunks);
	free(p->children);
	free(p);
}

size_t page_find(const struct page *p, uint32_t off)
{
	size_t lo = 0, hi = p->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->chunks[mid].off + p->chunks[mid].len <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}
