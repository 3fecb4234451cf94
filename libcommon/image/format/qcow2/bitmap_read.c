/* The bits of one persistent bitmap, as ranges of the disk. See bitmap.c for which are to be trusted. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/changes.h"
#include "libcommon/image/format/qcow2/qcow2.h"

#define OFFSET_MASK   0x00fffffffffffe00ULL
#define ALL_ONES      1ULL
#define RESERVED_MASK (~(OFFSET_MASK | ALL_ONES))

enum { LEAST_BITS = 9, MOST_BITS = 31 };

struct wanted {
	const char *name;
	struct qcow2_bitmap found;
	unsigned hits;
};

static int look(void *ctx, const struct qcow2_bitmap *b, struct err *err)
{
	struct wanted *w = ctx;

	(void)err;
	if (strcmp(b->name, w->name) == 0) {
		w->found = *b;
		w->hits++;
	}
	return 0;
}

/* Where the flags or the form leave a doubt it has missed something. */
static int check(const struct image *img, const struct wanted *w, struct err *err)
{
	const struct qcow2_bitmap *b = &w->found;

	if (w->hits == 0)
		return err_set(err, ERR_NOT_FOUND, "the image has no bitmap %s", w->name);
	if (w->hits > 1)
		return err_set(err, ERR_CORRUPT, "%u bitmaps are called %s", w->hits, w->name);
	if (b->flags & QCOW2_BITMAP_IN_USE)
		return err_set(err, ERR_UNSUPPORTED, "bitmap %s was not saved by its last writer",
			       w->name);
	if (b->flags != QCOW2_BITMAP_AUTO || b->type != 1 || b->extra_len)
		return err_set(err, ERR_UNSUPPORTED, "bitmap %s has flags 0x%x and type %u",
			       w->name, b->flags, b->type);
	if (b->granularity_bits < LEAST_BITS || b->granularity_bits > MOST_BITS)
		return err_set(err, ERR_CORRUPT, "bitmap %s has granules of 2^%u bytes", w->name,
			       b->granularity_bits);
	(void)img;
	return 0;
}

struct bits {
	struct changes *to;
	unsigned granularity;
	uint64_t n; /* of the whole bitmap */
	uint64_t size;
};

static int add(struct bits *b, uint64_t first, uint64_t n, struct err *err)
{
	uint64_t off = first << b->granularity;

	return changes_add(b->to, off, min_u64(n << b->granularity, b->size - off), err);
}

static int add_cluster(struct bits *b, const uint8_t *bytes, uint64_t first, uint64_t n,
		       struct err *err)
{
	for (uint64_t i = 0; i < n;) {
		if (i % 8 == 0 && !bytes[i / 8]) {
			i += 8;
			continue;
		}
		if ((bytes[i / 8] >> (i % 8) & 1) && add(b, first + i, 1, err) < 0)
			return -1;
		i++;
	}
	return 0;
}

/* @n bits from @first on are what @entry of the bitmap's table says */
static int add_entry(struct image *img, struct bits *b, uint64_t entry, uint64_t first, uint64_t n,
		     uint8_t *buf, struct err *err)
{
	const struct qcow2 *q = img->priv;
	uint64_t off = entry & OFFSET_MASK;

	if ((entry & RESERVED_MASK) || (off && (entry & ALL_ONES)) || off % q->cluster_size)
		return err_set(err, ERR_CORRUPT, "entry 0x%" PRIx64 " of a bitmap's table", entry);
	if (!off)
		return entry & ALL_ONES ? add(b, first, n, err) : 0;
	return bfile_pread(img->file, buf, q->cluster_size, off, err) < 0
		       ? -1
		       : add_cluster(b, buf, first, n, err);
}

static int read_bits(struct image *img, const struct qcow2_bitmap *found, struct bits *b,
		     struct err *err)
{
	const struct qcow2 *q = img->priv;
	uint64_t per_cluster = 8ULL * q->cluster_size, entries = div_up(b->n, per_cluster);
	CLEANUP_FREE uint8_t *table = NULL;
	CLEANUP_FREE uint8_t *buf = NULL;

	if (found->table_entries != entries || found->table_offset % q->cluster_size ||
	    !range_inside(found->table_offset, 8 * entries, bfile_size(img->file)))
		return err_set(err, ERR_CORRUPT,
			       "a bitmap's table of %" PRIu32 " entries at offset %" PRIu64,
			       found->table_entries, found->table_offset);
	table = malloc((size_t)(8 * entries) + 1);
	buf = malloc(q->cluster_size);
	if (!table || !buf)
		return err_nomem(err);
	if (bfile_pread(img->file, table, (size_t)(8 * entries), found->table_offset, err) < 0)
		return -1;
	for (uint64_t i = 0; i < entries; i++)
		if (add_entry(img, b, get_be64(table + 8 * i), i * per_cluster,
			      min_u64(per_cluster, b->n - i * per_cluster), buf, err) < 0)
			return -1;
	return 0;
}

int qcow2_dirty_bitmap(struct image *img, const char *name, struct changes *ret, struct err *err)
{
	const struct qcow2 *q = img->priv;
	struct wanted w = {.name = name};
	struct bits b = {.to = ret, .size = img->size};

	if (!(q->h.autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return err_set(err, ERR_NOT_FOUND,
			       "the image has no bitmaps that its last writer kept");
	if (img->size != q->h.size)
		return err_set(err, ERR_UNSUPPORTED, "an internal snapshot has no bitmaps");
	if (qcow2_bitmaps_walk(img->file, &q->h, look, &w, err) < 0 || check(img, &w, err) < 0)
		return -1;
	b.granularity = w.found.granularity_bits;
	b.n = div_up(img->size, 1ULL << b.granularity);
	return read_bits(img, &w.found, &b, err) < 0 ? err_prefix(err, "bitmap %s", name) : 0;
}
