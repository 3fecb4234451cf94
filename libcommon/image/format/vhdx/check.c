/* Check of a VHDX: both headers, both region tables, an empty log, the BAT against the file and against itself.
 *
 * Mended without guessing are: the log, which is replayed; a header and a region table, from the other one.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/cache.h"
#include "libcommon/image/format/vhdx/vhdx.h"

enum { REPORTS_MOST = 1000 };

enum span_kind {
	SPAN_TABLE,
	SPAN_BLOCK,
	SPAN_RESERVED, /* named by an entry that says that nothing is there: it may be another's by now */
};

/* What lies somewhere in the file */
struct span {
	uint64_t off, len;
	enum span_kind kind;
};

struct check {
	struct image *img;
	struct vhdx *v;
	struct image_check_result res;
	void (*report)(void *ctx, const char *sentence);
	void *ctx;
	unsigned reported;
	struct span *spans;
	size_t n, room, most;
	uint64_t partial; /* entry of a block whose bitmap has to come; UINT64_MAX: none */
};

static void tell(struct check *c, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));
static void tell(struct check *c, const char *fmt, va_list ap)
{
	char sentence[300];

	if (!c->report || c->reported > REPORTS_MOST)
		return;
	if (c->reported++ == REPORTS_MOST) {
		c->report(c->ctx, "there are more faults, which are counted but not listed");
		return;
	}
	(void)vsnprintf(sentence, sizeof(sentence), fmt, ap);
	c->report(c->ctx, sentence);
}

static void fault(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fault(struct check *c, const char *fmt, ...)
{
	va_list ap;

	c->res.corruptions++;
	va_start(ap, fmt);
	tell(c, fmt, ap);
	va_end(ap);
}

static void fixed(struct check *c)
{
	c->res.corruptions--;
	c->res.corruptions_fixed++;
}

/* ---- the first MiB */

static int check_log(struct check *c, bool repair, struct err *err)
{
	struct vhdx *v = c->v;

	if (!v->log)
		return 0;
	fault(c, "the log holds %" PRIu64 " changes: the image was not closed",
	      vhdx_log_changes(v->log));
	if (!repair)
		return 0;
	if (vhdx_replay(c->img, v, err) < 0)
		return -1;
	/* The caches and sizes were taken from what the log made of the file: the same bytes */
	table_cache_free(v->bat);
	table_cache_free(v->bitmaps);
	v->bat = v->bitmaps = NULL;
	vhdx_log_free(v->log);
	v->log = NULL;
	v->file = c->img->file;
	fixed(c);
	return vhdx_open_caches(v, err);
}

static int check_headers(struct check *c, bool repair, struct err *err)
{
	struct vhdx *v = c->v;

	for (unsigned i = 0; i < 2; i++) {
		if (v->header_valid[i])
			continue;
		fault(c, "the header at offset %u is damaged", VHDX_HEADER_AT * (1U + i));
		if (!repair)
			continue;
		if (vhdx_header_update(c->img->file, v, err) < 0)
			return -1;
		fixed(c);
	}
	return 0;
}

static int copy_regions(struct check *c, unsigned from, struct err *err)
{
	CLEANUP_FREE uint8_t *p = malloc(VHDX_TABLE_BYTES);
	uint64_t at[2] = {VHDX_REGIONS_AT, VHDX_REGIONS_AT + VHDX_TABLE_BYTES};

	if (!p)
		return err_nomem(err);
	if (bfile_pread(c->img->file, p, VHDX_TABLE_BYTES, at[from], err) < 0 ||
	    bfile_pwrite(c->img->file, p, VHDX_TABLE_BYTES, at[!from], err) < 0)
		return -1;
	return bfile_flush(c->img->file, err);
}

static int check_regions(struct check *c, bool repair, struct err *err)
{
	struct vhdx *v = c->v;

	if (v->regions_differ) {
		fault(c, "the region tables at offsets 196608 and 262144 differ");
		return 0; /* which is right is not known */
	}
	for (unsigned i = 0; i < 2; i++) {
		if (v->regions_valid[i])
			continue;
		fault(c, "the region table at offset %u is damaged",
		      VHDX_REGIONS_AT + VHDX_TABLE_BYTES * i);
		if (!repair)
			continue;
		if (copy_regions(c, !i, err) < 0)
			return -1;
		fixed(c);
	}
	return 0;
}

/* ---- the BAT */

static int add_span(struct check *c, uint64_t off, uint64_t len, enum span_kind kind,
		    struct err *err)
{
	if (c->n > c->most) /* some overlap for certain: the first of them tell */
		return 0;
	if (c->n == c->room) {
		size_t room = c->room ? 2 * c->room : 256;
		struct span *more = reallocarray(c->spans, room, sizeof(*more));

		if (!more)
			return err_nomem(err);
		c->spans = more;
		c->room = room;
	}
	c->spans[c->n++] = (struct span){off, len, kind};
	c->res.image_end = max_u64(c->res.image_end, off + len);
	return 0;
}

static int check_place(struct check *c, uint64_t index, uint64_t entry, uint64_t len,
		       struct err *err)
{
	uint64_t at = entry & VHDX_OFFSET, size = bfile_size(c->v->file);

	if (at < VHDX_MIB || !range_inside(at, len, size)) {
		fault(c,
		      "entry %" PRIu64 " of the block allocation table: %" PRIu64
		      " bytes at offset %" PRIu64 " are not inside the file (%" PRIu64 " bytes)",
		      index, len, at, size);
		return 0;
	}
	return add_span(c, at, len, SPAN_BLOCK, err);
}

static int check_block(struct check *c, uint64_t index, uint64_t entry, struct err *err)
{
	struct vhdx *v = c->v;

	switch ((enum vhdx_state)(entry & VHDX_STATE_MASK)) {
	case VHDX_NOT_PRESENT:
	case VHDX_UNDEFINED:
	case VHDX_ZERO:
	case VHDX_UNMAPPED:
		if ((entry & VHDX_OFFSET) >= VHDX_MIB &&
		    range_inside(entry & VHDX_OFFSET, v->block_size, bfile_size(v->file)))
			return add_span(c, entry & VHDX_OFFSET, v->block_size, SPAN_RESERVED, err);
		return 0;
	case VHDX_PARTIAL:
		if (!v->has_parent)
			break;
		/* fall through */
	case VHDX_FULL:
		c->res.allocated_clusters++;
		return check_place(c, index, entry, v->block_size, err);
	}
	fault(c, "entry %" PRIu64 " of the block allocation table has the state %u", index,
	      (unsigned)(entry & VHDX_STATE_MASK));
	return 0;
}

static int check_bitmap(struct check *c, uint64_t index, uint64_t entry, struct err *err)
{
	unsigned state = entry & VHDX_STATE_MASK;

	if (state == VHDX_FULL && c->v->has_parent)
		return check_place(c, index, entry, VHDX_MIB, err);
	if (state != VHDX_NOT_PRESENT)
		fault(c,
		      "entry %" PRIu64
		      " of the block allocation table, of a bitmap, has the state %u",
		      index, state);
	return 0;
}

static int check_entry(struct check *c, uint64_t index, uint64_t entry, struct err *err)
{
	if (entry & VHDX_RESERVED)
		fault(c, "entry %" PRIu64 " of the block allocation table has reserved bits set",
		      index);
	return vhdx_is_bitmap(c->v, index) ? check_bitmap(c, index, entry, err)
					   : check_block(c, index, entry, err);
}

/* A block that is here in part needs the bitmap of its chunk, whose entry comes later */
static int check_one(void *ctx, uint64_t index, uint64_t entry, struct err *err)
{
	struct check *c = ctx;
	unsigned state = entry & VHDX_STATE_MASK;

	if (check_entry(c, index, entry, err) < 0)
		return -1;
	if (!vhdx_is_bitmap(c->v, index)) {
		if (c->v->has_parent && state == VHDX_PARTIAL)
			c->partial = index;
		return 0;
	}
	if (c->partial != UINT64_MAX && state != VHDX_FULL)
		fault(c,
		      "entry %" PRIu64 " of the block allocation table is of a block "
		      "that is here in part, but there is no bitmap for it",
		      c->partial);
	c->partial = UINT64_MAX;
	return 0;
}

static int by_offset(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

/* Writers leave room behind the tables; between blocks they do not */
static void check_overlaps(struct check *c)
{
	struct span last = {0};

	qsort(c->spans, c->n, sizeof(*c->spans), by_offset);
	for (size_t i = 0; i < c->n; i++) {
		const struct span *s = &c->spans[i];
		uint64_t end = last.off + last.len;

		if (s->off < end && s->kind != SPAN_RESERVED && last.kind != SPAN_RESERVED)
			fault(c, "two blocks or tables lie over each other at offset %" PRIu64,
			      s->off);
		if (s->off > end && last.kind != SPAN_TABLE)
			c->res.leaks += (s->off - end) / c->v->block_size;
		if (s->off + s->len >= end)
			last = *s;
	}
	if (bfile_size(c->v->file) > last.off + last.len && last.kind != SPAN_TABLE)
		c->res.leaks += (bfile_size(c->v->file) - last.off - last.len) / c->v->block_size;
	/* A fixed disk has its space set aside, also where QEMU's entries do not say what for */
	if (c->v->fixed)
		c->res.leaks = 0;
	if (c->res.leaks && c->report) {
		char sentence[120];

		(void)snprintf(sentence, sizeof(sentence),
			       "space for %" PRIu64 " blocks is not used by any", c->res.leaks);
		c->report(c->ctx, sentence);
	}
}

static int check_log_place(struct check *c, struct err *err)
{
	const struct vhdx_header *h = &c->v->header;

	if (!h->log_length)
		return 0;
	if (h->log_offset >= VHDX_MIB &&
	    range_inside(h->log_offset, h->log_length, bfile_size(c->v->file)))
		return add_span(c, h->log_offset, h->log_length, SPAN_TABLE, err);
	fault(c, "the log of %" PRIu32 " bytes at offset %" PRIu64 " is not inside the file",
	      h->log_length, h->log_offset);
	return 0;
}

static int check_all(struct check *c, bool repair, struct err *err)
{
	struct vhdx *v = c->v;

	if (check_log(c, repair, err) < 0 || check_headers(c, repair, err) < 0 ||
	    check_regions(c, repair, err) < 0)
		return -1;
	c->res.total_clusters = v->blocks;
	c->most = (size_t)(bfile_size(v->file) / VHDX_MIB) + 8;
	if (add_span(c, 0, VHDX_MIB, SPAN_TABLE, err) < 0 || check_log_place(c, err) < 0 ||
	    add_span(c, v->metadata.offset, v->metadata.length, SPAN_TABLE, err) < 0 ||
	    add_span(c, v->bat_region.offset, v->bat_region.length, SPAN_TABLE, err) < 0 ||
	    vhdx_each_entry(v, check_one, c, err) < 0)
		return -1;
	check_overlaps(c);
	return 0;
}

int vhdx_check(struct image *img, unsigned flags, void (*report)(void *, const char *), void *ctx,
	       struct image_check_result *ret, struct err *err)
{
	struct check c = {
		.img = img, .v = img->priv, .report = report, .ctx = ctx, .partial = UINT64_MAX};
	int rc = check_all(&c, flags & CHECK_REPAIR_ALL, err);

	free(c.spans);
	*ret = c.res;
	return rc;
}
