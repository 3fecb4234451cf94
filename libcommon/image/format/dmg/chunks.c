/* Block tables of a DMG: read as they come out of the property list, checked, sorted. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/image/format/dmg/dmg.h"

enum {
	TABLE_HEADER = 204,
	ENTRY = 40,
	CHUNKS_MOST = 1 << 22,	/* 1 TiB of chunks of 256 KiB */
	DECODED_MOST = 4 << 20, /* of one compressed chunk; makers use 256 KiB to 1 MiB */
};

/* Types of entries */
enum { ZERO = 0, PLAIN = 1, IGNORED = 2 };
#define COMPRESSED_FIRST 0x80000004U /* of five */
#define COMMENT		 0x7ffffffeU
#define TERMINATOR	 0xffffffffU

struct table {
	struct dmg *d;
	struct bfile *file;
	uint8_t buf[TABLE_HEADER]; /* what is not whole yet: the header, then an entry */
	size_t have;
	bool in_entries;
	uint64_t first;	 /* sector */
	uint64_t stored; /* offset of its data in the file */
	uint32_t left;	 /* entries to come */
	uint32_t index;	 /* of the next entry */
};

static int bad(const struct table *t, const char *what, uint64_t figure, struct err *err)
{
	return err_set(err, ERR_CORRUPT,
		       "entry %" PRIu32 " of the block table of sector %" PRIu64 " has %s %" PRIu64,
		       t->index, t->first, what, figure);
}

static int table_begin(void *ctx, struct err *err)
{
	struct table *t = ctx;

	(void)err;
	t->have = 0;
	t->in_entries = false;
	t->left = t->index = 0;
	return 0;
}

static int take_header(struct table *t, struct err *err)
{
	const uint8_t *p = t->buf;

	if (memcmp(p, "mish", 4) != 0)
		return err_set(err, ERR_CORRUPT, "a block table without its signature");
	t->first = get_be64(p + 8);
	if (!u64_add(t->d->data_offset, get_be64(p + 24), &t->stored))
		return bad(t, "data at offset", get_be64(p + 24), err);
	t->left = get_be32(p + 200);
	return 0;
}

static int add_chunk(struct dmg *d, const struct dmg_chunk *c, struct err *err)
{
	if (d->n_chunks == d->room) {
		size_t room = d->room ? 2 * d->room : 64;
		struct dmg_chunk *more;

		if (room > CHUNKS_MOST)
			return err_set(err, ERR_UNSUPPORTED, "more than %zu chunks", d->room);
		more = reallocarray(d->chunks, room, sizeof(*more));
		if (!more)
			return err_nomem(err);
		d->chunks = more;
		d->room = room;
	}
	d->chunks[d->n_chunks++] = *c;
	d->kinds |= 1U << c->kind;
	return 0;
}

static int check_chunk(const struct table *t, const struct dmg_chunk *c, struct err *err)
{
	uint64_t bytes = c->sectors * DMG_SECTOR; /* bounded by the caller */

	if (!range_inside(c->off, c->len, bfile_size(t->file)))
		return err_set(err, ERR_CORRUPT,
			       "%" PRIu64 " bytes of sector %" PRIu64
			       " are said to lie at offset %" PRIu64 " of a file of %" PRIu64
			       " bytes",
			       c->len, c->sector, c->off, bfile_size(t->file));
	if (c->kind == DMG_RAW)
		return c->len == bytes ? 0 : bad(t, "plain bytes:", c->len, err);
	if (bytes > DECODED_MOST)
		return err_set(err, ERR_UNSUPPORTED, "compressed chunks of %" PRIu64 " bytes",
			       bytes);
	/* No codec makes more than a little more of what it cannot compress */
	return c->len <= bytes + bytes / 8 + 4096 ? 0 : bad(t, "compressed bytes:", c->len, err);
}

static int take_entry(struct table *t, struct err *err)
{
	static const enum dmg_kind kinds[] = {DMG_ADC, DMG_ZLIB, DMG_BZIP2, DMG_LZFSE, DMG_LZMA};
	const uint8_t *p = t->buf;
	uint32_t type = get_be32(p);
	struct dmg_chunk c = {.sectors = get_be64(p + 16), .len = get_be64(p + 32)};
	uint64_t end;

	if (type == COMMENT || type == TERMINATOR || !c.sectors)
		return 0;
	if (!u64_add(t->first, get_be64(p + 8), &c.sector) || !u64_add(c.sector, c.sectors, &end) ||
	    end > INT64_MAX / DMG_SECTOR)
		return bad(t, "a number of sectors:", c.sectors, err);
	t->d->sectors = max_u64(t->d->sectors, end);
	if (type == ZERO || type == IGNORED)
		return 0;
	if (type == PLAIN)
		c.kind = DMG_RAW;
	else if (type >= COMPRESSED_FIRST &&
		 type - COMPRESSED_FIRST < sizeof(kinds) / sizeof(*kinds))
		c.kind = kinds[type - COMPRESSED_FIRST];
	else
		return err_set(err, ERR_UNSUPPORTED, "chunks of type %#" PRIx32, type);
	if (!u64_add(t->stored, get_be64(p + 24), &c.off))
		return bad(t, "data at offset", get_be64(p + 24), err);
	return check_chunk(t, &c, err) < 0 ? -1 : add_chunk(t->d, &c, err);
}

static int table_bytes(void *ctx, const uint8_t *p, size_t n, struct err *err)
{
	struct table *t = ctx;

	while (n && (!t->in_entries || t->left)) {
		size_t want = t->in_entries ? ENTRY : TABLE_HEADER;
		size_t take = (size_t)min_u64(n, want - t->have);

		memcpy(t->buf + t->have, p, take);
		t->have += take;
		p += take;
		n -= take;
		if (t->have < want)
			break;
		t->have = 0;
		if (!t->in_entries) {
			if (take_header(t, err) < 0)
				return -1;
			t->in_entries = true;
			continue;
		}
		if (take_entry(t, err) < 0)
			return -1;
		t->index++;
		t->left--;
	}
	return 0;
}

static int table_end(void *ctx, struct err *err)
{
	const struct table *t = ctx;

	if (t->in_entries && !t->left)
		return 0;
	return err_set(err, ERR_CORRUPT, "a block table ends before its entry %" PRIu32, t->index);
}

static int by_sector(const void *a, const void *b)
{
	const struct dmg_chunk *x = a, *y = b;

	return (x->sector > y->sector) - (x->sector < y->sector);
}

int dmg_chunks_read(struct bfile *file, struct dmg *d, struct err *err)
{
	struct table t = {.d = d, .file = file};
	const struct dmg_data out = {table_begin, table_bytes, table_end, &t};
	bool sorted = true;

	if (dmg_plist_read(file, d->plist_offset, d->plist_len, &out, err) < 0)
		return -1;
	for (size_t i = 1; i < d->n_chunks && sorted; i++)
		sorted = d->chunks[i - 1].sector <= d->chunks[i].sector;
	if (!sorted)
		qsort(d->chunks, d->n_chunks, sizeof(*d->chunks), by_sector);
	for (size_t i = 1; i < d->n_chunks; i++)
		if (d->chunks[i - 1].sector + d->chunks[i - 1].sectors > d->chunks[i].sector)
			return err_set(err, ERR_CORRUPT,
				       "two chunks have sector %" PRIu64 " of the disk",
				       d->chunks[i].sector);
	return 0;
}

const struct dmg_chunk *dmg_chunk_at(const struct dmg *d, uint64_t sector)
{
	size_t lo = 0, hi = d->n_chunks;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (d->chunks[mid].sector + d->chunks[mid].sectors <= sector)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < d->n_chunks ? &d->chunks[lo] : NULL;
}
