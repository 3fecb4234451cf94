/* Check of a VMDK: directories and tables against each other, grains against the file and against each other.
 *
 * Tables and grains cannot together be longer than the file: what is more overlaps. So neither memory nor time follow
 * from a number in the file, but from its size.
 */
#include "libcommon/image/format/vmdk/check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"

#define REPORT_MOST 1000U

static void tell(struct vmdk_check *c, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));
static void tell(struct vmdk_check *c, const char *fmt, va_list ap)
{
	char sentence[512];
	size_t n = 0;

	if (!c->report || c->reported > REPORT_MOST)
		return;
	if (c->reported++ == REPORT_MOST) {
		c->report(c->report_ctx, "there are more faults, which are counted but not listed");
		return;
	}
	if (c->name)
		n = min_u64((uint64_t)snprintf(sentence, sizeof(sentence), "%.200s: ", c->name),
			    250);
	(void)vsnprintf(sentence + n, sizeof(sentence) - n, fmt, ap);
	c->report(c->report_ctx, sentence);
}

void vmdk_fault(struct vmdk_check *c, const char *fmt, ...)
{
	va_list ap;

	c->res->corruptions++;
	va_start(ap, fmt);
	tell(c, fmt, ap);
	va_end(ap);
}

/* What a power cut leaves, of no harm: @mended says whether it is there no more */
static void leak(struct vmdk_check *c, bool mended, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void leak(struct vmdk_check *c, bool mended, const char *fmt, ...)
{
	va_list ap;

	c->res->leaks += !mended;
	c->res->leaks_fixed += mended;
	va_start(ap, fmt);
	tell(c, fmt, ap);
	va_end(ap);
}

static int add_used(struct vmdk_check *c, uint64_t off, uint64_t no, struct err *err)
{
	if (c->n_used == c->used_room) {
		size_t room = c->used_room ? 2 * c->used_room : 1024;
		struct vmdk_used *more = reallocarray(c->used, room, sizeof(*more));

		if (!more)
			return err_nomem(err);
		c->used = more;
		c->used_room = room;
	}
	c->used[c->n_used++] = (struct vmdk_used){off, no};
	return 0;
}

/* Bytes that a grain must have in the file; the disk may end inside the last one */
static uint64_t grain_need(const struct vmdk_extent *x, uint64_t no)
{
	return x->compressed ? 1 : min_u64(x->grain, x->capacity - no * x->grain);
}

/* Return: 1 go on, 0 there are more grains than the file has room for, -1 */
static int check_entry(struct vmdk_check *c, uint64_t table, uint64_t no, uint64_t entry,
		       struct err *err)
{
	struct vmdk_extent *x = c->x;
	uint64_t off, size = bfile_size(x->file), end;

	switch (vmdk_decode_entry(x, entry, &off)) {
	case GRAIN_NONE:
	case GRAIN_ZERO:
		return 1;
	case GRAIN_BAD:
		vmdk_fault(c,
			   "grain table at offset %" PRIu64 ", entry %" PRIu64 ": %#" PRIx64
			   " leads outside of the file",
			   table, no % x->gtes, entry);
		return 1;
	case GRAIN_DATA:
		break;
	}
	end = off + grain_need(x, no);
	if (end > size)
		vmdk_fault(c,
			   "grain %" PRIu64 " at offset %" PRIu64
			   " goes beyond the end of the file (%" PRIu64 " bytes)",
			   no, off, size);
	if (c->n_used >= size / (x->compressed ? VMDK_SECTOR : x->grain) + 1) {
		vmdk_fault(c, "there are more grains than the file has room for: they overlap");
		return 0;
	}
	c->res->allocated_clusters++;
	c->res->compressed_clusters += x->compressed;
	if (!x->compressed && c->n_used && c->used[c->n_used - 1].off + x->grain != off)
		c->res->fragmented_clusters++;
	c->res->image_end = max_u64(c->res->image_end, min_u64(end, size));
	return add_used(c, off, no, err) < 0 ? -1 : 1;
}

/* Tables are read whole: @dir is the directory that names this one. Return: 1 read, 0 none or damaged, -1 */
static int read_table(struct vmdk_check *c, uint64_t dir, uint64_t index, uint8_t *buf,
		      uint64_t *ret_off, struct err *err)
{
	struct vmdk_extent *x = c->x;
	unsigned size = vmdk_entry_size(x);
	uint8_t entry[8] = {0};
	uint64_t raw;

	if (bfile_pread(x->file, entry, size, dir + index * size, err) < 0)
		return -1;
	raw = vmdk_entry_get(x, entry);
	if (!vmdk_decode_dir(x, raw, ret_off)) {
		vmdk_fault(c,
			   "grain directory at offset %" PRIu64 ", entry %" PRIu64 ": %#" PRIx64
			   " leads outside of the file",
			   dir, index, raw);
		return 0;
	}
	if (!*ret_off)
		return 0;
	return bfile_pread(x->file, buf, (size_t)x->gtes * size, *ret_off, err) < 0 ? -1 : 1;
}

/* Both copies of a table. Entries that can only be right in one of them are mended. */
static int compare_tables(struct vmdk_check *c, uint64_t index, uint64_t table, uint8_t *a,
			  uint64_t other, uint8_t *b, struct err *err)
{
	const struct vmdk_extent *x = c->x;
	unsigned size = vmdk_entry_size(x);
	uint64_t mended, settled;
	uint32_t i = 0;

	while (i < x->gtes && memcmp(a + (size_t)i * size, b + (size_t)i * size, size) == 0)
		i++;
	if (i == x->gtes)
		return 0;
	if (vmdk_settle_tables(c, a, other, b, &settled, &mended, err) < 0)
		return -1;
	if (settled) {
		leak(c, mended,
		     "grain table %" PRIu64 " and its redundant copy differ at entry %" PRIu32
		     ": only one of them has the last change",
		     index, i);
		return 0;
	}
	if (vmdk_mend_tables(c, table, a, other, b, &mended, err) < 0)
		return -1;
	vmdk_fault(c, "grain table %" PRIu64 " and its redundant copy differ at entry %" PRIu32,
		   index, i);
	if (mended)
		vmdk_mended(c);
	return 0;
}

/* Only one directory names the table: @other, which holds @copy. */
static int lost_table(struct vmdk_check *c, uint64_t dir, uint64_t index, uint64_t other,
		      const uint8_t *copy, bool damaged, struct err *err)
{
	bool mended;

	if (vmdk_mend_directory(c, dir, index, other, copy, &mended, err) < 0)
		return -1;
	vmdk_fault(c, "grain table %" PRIu64 " is only in one of the two directories", index);
	if (mended)
		vmdk_mended(c);
	if (mended && damaged) /* told by read_table() */
		vmdk_mended(c);
	return 0;
}

static int check_table(struct vmdk_check *c, uint64_t index, uint8_t *buf, uint8_t *copy,
		       struct err *err)
{
	struct vmdk_extent *x = c->x;
	unsigned size = vmdk_entry_size(x);
	uint64_t table = 0, other = 0, first = index * x->gtes, faults = c->res->corruptions;
	int rc = read_table(c, x->gd_off, index, buf, &table, err);
	int second = x->rgd_off ? read_table(c, x->rgd_off, index, copy, &other, err) : 0;
	bool damaged = c->res->corruptions > faults;

	if (rc < 0 || second < 0)
		return -1;
	if (rc && second && compare_tables(c, index, table, buf, other, copy, err) < 0)
		return -1;
	if (x->rgd_off && rc != second &&
	    lost_table(c, rc ? x->rgd_off : x->gd_off, index, rc ? table : other, rc ? buf : copy,
		       damaged, err) < 0)
		return -1;
	if (!rc && second) { /* as readers do */
		memcpy(buf, copy, (size_t)x->gtes * size);
		table = other;
		rc = 1;
	}
	for (uint32_t i = 0; rc > 0 && i < x->gtes && (first + i) * x->grain < x->capacity; i++)
		rc = check_entry(c, table, first + i, vmdk_entry_get(x, buf + (size_t)i * size),
				 err);
	return rc;
}

static int by_offset(const void *a, const void *b)
{
	uint64_t x = ((const struct vmdk_used *)a)->off, y = ((const struct vmdk_used *)b)->off;

	return x < y ? -1 : x > y;
}

static void check_overlap(struct vmdk_check *c)
{
	uint64_t len = c->x->compressed ? VMDK_SECTOR : c->x->grain;

	if (c->n_used) /* there may be no list at all */
		qsort(c->used, c->n_used, sizeof(*c->used), by_offset);
	for (size_t i = 1; i < c->n_used; i++)
		if (c->used[i].off - c->used[i - 1].off < len)
			vmdk_fault(c,
				   "grains %" PRIu64 " and %" PRIu64 " share bytes at offset "
				   "%" PRIu64,
				   c->used[i - 1].no, c->used[i].no, c->used[i].off);
}

static int check_tables(struct vmdk_check *c, struct err *err)
{
	struct vmdk_extent *x = c->x;
	size_t len = (size_t)x->gtes * vmdk_entry_size(x);
	CLEANUP_FREE uint8_t *buf = malloc(len), *copy = malloc(len);
	uint64_t budget = bfile_size(x->file) / len + 1, table;

	if (!buf || !copy)
		return err_nomem(err);
	for (uint64_t i = 0; i < x->gd_entries; i++) {
		int rc;

		if (i % 64 == 0 && stop_check(err) < 0)
			return -1;
		/* Entries that name no table cost nothing but their own bytes */
		if (vmdk_table_at(x, i, &table, NULL) == 0 && table && budget-- == 0) {
			vmdk_fault(c, "there are more grain tables than the file has room for: "
				      "they overlap");
			break;
		}
		rc = check_table(c, i, buf, copy, err);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int check_extent(struct vmdk_check *c, struct err *err)
{
	struct vmdk_extent *x = c->x;
	uint64_t faults = c->res->corruptions;
	bool closed = true;

	c->n_used = 0;
	c->res->total_clusters += div_up(x->capacity, x->grain);
	if (check_tables(c, err) < 0)
		return -1;
	check_overlap(c);
	if (x->kind == VMDK_SPARSE && x->h.unclean) {
		if (vmdk_mend_mark(c, faults == c->res->corruptions, &closed, err) < 0)
			return -1;
		leak(c, closed, "the extent was not closed after the last writing");
	}
	if (!x->compressed)
		return 0;
	if (x->footer && x->markers && vmdk_check_markers(c, err) < 0)
		return -1;
	return c->flags & CHECK_DEEP ? vmdk_check_decode(c, err) : 0;
}

int vmdk_check(struct image *img, unsigned flags, void (*report)(void *, const char *), void *ctx,
	       struct image_check_result *ret, struct err *err)
{
	struct vmdk *v = img->priv;
	struct vmdk_check c = {.flags = flags, .res = ret, .report = report, .report_ctx = ctx};
	int rc = 0;

	for (size_t i = 0; i < v->n_extents && rc == 0; i++) {
		c.x = &v->extents[i];
		if (!c.x->cache)
			continue; /* flat ones were found long enough at open */
		c.name = c.x->file != img->file ? c.x->file->name : NULL;
		rc = check_extent(&c, err);
		if (rc == 0 && (ret->corruptions_fixed || ret->leaks_fixed))
			rc = bfile_flush(c.x->file, err);
	}
	free(c.used);
	return rc;
}
