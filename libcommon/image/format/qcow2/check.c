/* Check of a qcow2 file: what is used is counted and held against the refcounts that the file has.
 *
 * Corruptions are what can lose data on the next write (a refcount too low, a wrong flag, tables where they cannot
 * be); leaks only waste space. The numbers are those of qemu-img check, as far as it counts the same things. Memory
 * follows from the size of the file, never from a number in it.
 */
#include "libcommon/image/format/qcow2/check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/image/cache.h"

#define REPORT_MOST	1000U
#define BITMAP_RESERVED 0xff000000000001feULL
#define BLOCK_SLICE	4096U
#define BLOCK_SLOTS	1024U

static void tell(struct check *c, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));
static void tell(struct check *c, const char *fmt, va_list ap)
{
	char sentence[512];

	if (!c->report || c->reported > REPORT_MOST)
		return;
	if (c->reported++ == REPORT_MOST) {
		c->report(c->report_ctx, "there are more faults, which are counted but not listed");
		return;
	}
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	c->report(c->report_ctx, sentence);
}

void check_corrupt(struct check *c, const char *fmt, ...)
{
	va_list ap;

	c->res.corruptions++;
	va_start(ap, fmt);
	tell(c, fmt, ap);
	va_end(ap);
}

void check_leak(struct check *c, const char *fmt, ...)
{
	va_list ap;

	c->res.leaks++;
	va_start(ap, fmt);
	tell(c, fmt, ap);
	va_end(ap);
}

int check_mark(struct check *c, uint64_t off, uint64_t len, uint64_t weight, const char *what,
	       struct err *err)
{
	unsigned bits = c->q->h.cluster_bits;
	uint64_t end;

	if (!len)
		return 0;
	/* The file may end within its last cluster, but not before it */
	if (!u64_add(off, len, &end) ||
	    (end > c->file_size && end - c->file_size >= c->q->cluster_size)) {
		check_corrupt(c,
			      "%s of %" PRIu64 " bytes at offset %" PRIu64
			      " lies beyond the end of the file (%" PRIu64 " bytes)",
			      what, len, off, c->file_size);
		return 0;
	}
	for (uint64_t k = off >> bits; k <= (end - 1) >> bits; k++)
		if (counts_add(&c->counts, k, weight, err))
			return -1;
	return 0;
}

/* ---- bitmaps */

static int bitmap_chunk(struct check *c, const uint8_t *p, uint32_t n, uint32_t index, void *ctx,
			struct err *err)
{
	const struct qcow2_bitmap *b = ctx;

	for (uint32_t i = 0; i < n; i++) {
		uint64_t entry = get_be64(p + 8ULL * i), off = entry & QCOW2_OFFSET_MASK;

		if ((entry & BITMAP_RESERVED) || (off && (entry & 1)) || off % c->q->cluster_size) {
			check_corrupt(c,
				      "bitmap %.80s: entry %" PRIu32
				      " of its table is invalid: %#018" PRIx64,
				      b->name, index + i, entry);
			continue;
		}
		if (off && check_mark(c, off, c->q->cluster_size, 1, "bitmap cluster", err))
			return -1;
	}
	return 0;
}

struct bitmaps {
	struct check *c;
};

static int mark_bitmap(void *ctx, const struct qcow2_bitmap *b, struct err *err)
{
	struct check *c = ((struct bitmaps *)ctx)->c;
	struct qcow2_bitmap copy = *b;
	uint64_t bytes = 8ULL * b->table_entries;

	if (b->table_offset % c->q->cluster_size || bytes > c->l1_budget) {
		check_corrupt(c,
			      "bitmap %.80s: its table of %" PRIu32 " entries at offset %" PRIu64
			      " is not aligned or overlaps others",
			      b->name, b->table_entries, b->table_offset);
		c->damaged = true;
		return 0;
	}
	c->l1_budget -= bytes;
	if (check_mark(c, b->table_offset, bytes, 1, "bitmap table", err))
		return -1;
	return check_each_chunk(c, b->table_offset, b->table_entries, bitmap_chunk, &copy, err);
}

/* Without the autoclear bit they belong to nobody: what they hold is leaked, as qemu-img check says */
static int mark_bitmaps(struct check *c, struct err *err)
{
	const struct qcow2_header *h = &c->q->h;
	struct bitmaps ctx = {.c = c};
	struct err local = ERR_INIT;

	if (!h->nb_bitmaps || !(h->autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return 0;
	if (check_mark(c, h->bitmaps_dir_offset, h->bitmaps_dir_size, 1, "bitmap directory", err))
		return -1;
	if (!qcow2_bitmaps_walk(c->file, h, mark_bitmap, &ctx, &local))
		return 0;
	if (local.code != ERR_CORRUPT) {
		if (err)
			*err = local;
		return -1;
	}
	check_corrupt(c, "%s", local.message);
	c->damaged = true;
	return 0;
}

/* ---- all */

int check_init(struct check *c, struct image *img, unsigned flags, struct err *err)
{
	const struct qcow2 *q = img->priv;

	*c = (struct check){.img = img, .q = q, .file = img->file, .flags = flags};
	c->file_size = bfile_size(img->file);
	c->clusters = div_up(c->file_size, q->cluster_size);
	c->l1_budget = c->file_size + QCOW2_MAX_L1_BYTES;
	/* One more: what begins in the last cluster of a file may end in the next */
	if (counts_init(&c->counts, c->clusters + 1, err))
		return -1;
	return table_cache_new(&c->blocks, img->file, BLOCK_SLICE, BLOCK_SLOTS, err);
}

void check_release(struct check *c)
{
	counts_release(&c->counts);
	table_cache_free(c->blocks);
	free(c->l2);
	free(c->reftable);
}

int check_collect(struct check *c, struct err *err)
{
	const struct qcow2_header *h = &c->q->h;

	if (check_mark(c, 0, c->q->cluster_size, 1, "header", err) || check_mappings(c, err) ||
	    mark_bitmaps(c, err))
		return -1;
	return check_mark(c, h->luks_offset, h->luks_len, 1, "encryption header", err);
}

static int run(struct check *c, struct err *err)
{
	if (check_load_reftable(c, err) || check_collect(c, err) || check_mark_refcounts(c, err) ||
	    check_compare(c, err))
		return -1;
	return check_copied(c, err);
}

static int check_again(struct check *first, struct image_check_result *ret, struct err *err)
{
	struct image_check_result before = first->res;
	struct check c;
	int rc;

	rc = check_init(&c, first->img, first->flags, err);
	if (!rc)
		rc = run(&c, err);
	if (!rc) {
		*ret = c.res;
		ret->corruptions_fixed = before.corruptions > ret->corruptions
						 ? before.corruptions - ret->corruptions
						 : 0;
		ret->leaks_fixed = before.leaks > ret->leaks ? before.leaks - ret->leaks : 0;
	}
	check_release(&c);
	return rc;
}

/* The marks go when nothing is left that they warn of */
static int clear_marks(struct image *img, struct err *err)
{
	struct qcow2 *q = img->priv;
	uint64_t marks = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT;

	if (!(q->h.incompatible & marks))
		return 0;
	q->h.incompatible &= ~marks;
	if (qcow2_header_store_features(img->file, &q->h, err))
		return -1;
	return bfile_flush(img->file, err);
}

int qcow2_check(struct image *img, unsigned flags, void (*report)(void *, const char *), void *ctx,
		struct image_check_result *ret, struct err *err)
{
	struct qcow2 *q = img->priv;
	bool repair = flags & (CHECK_REPAIR_LEAKS | CHECK_REPAIR_ALL);
	struct check c;
	uint64_t deep = 0;
	int rc;

	if (repair && !img->file->writable)
		return err_set(err, ERR_USAGE, "the image is not open for writing");
	rc = check_init(&c, img, flags, err);
	c.report = report;
	c.report_ctx = ctx;
	if (!rc)
		rc = run(&c, err);
	if (!rc && repair)
		rc = check_repair(&c, err);
	if (!rc)
		*ret = c.res;
	if (!rc && repair && (c.res.corruptions || c.res.leaks))
		rc = check_again(&c, ret, err);
	if (repair) {
		table_cache_drop(q->l1_cache);
		table_cache_drop(q->l2_cache);
	}
	/* Mended or not: what cannot be decoded stays */
	if (!rc && (flags & CHECK_DEEP)) {
		c.res.corruptions = 0;
		rc = check_deep(&c, err);
		deep = c.res.corruptions;
		ret->corruptions += deep;
	}
	if (!rc && (flags & CHECK_REPAIR_ALL) && ret->corruptions == deep)
		rc = clear_marks(img, err);
	check_release(&c);
	return rc;
}
