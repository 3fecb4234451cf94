/* Check of a VHD: both footers, the header, the BAT's blocks against the file and against each other, and with --deep
 * the bitmaps of dynamic disks. Only the footers can be mended without guessing: each from the other.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/iszero.h"
#include "libcommon/image/format/vhd/vhd.h"

enum { REPORTS_MOST = 1000, CHUNK = 64 << 10 };

struct check {
	struct image *img;
	struct vhd *v;
	struct image_check_result res;
	void (*report)(void *ctx, const char *sentence);
	void *ctx;
	unsigned reported;
	uint32_t *blocks; /* BAT entries in use, sorted later */
	size_t n, room;
	uint64_t most; /* more blocks than the file has room for */
};

static void fault(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fault(struct check *c, const char *fmt, ...)
{
	char sentence[300];
	va_list ap;

	c->res.corruptions++;
	if (!c->report || c->reported > REPORTS_MOST)
		return;
	if (c->reported++ == REPORTS_MOST) {
		c->report(c->ctx, "there are more faults, which are counted but not listed");
		return;
	}
	va_start(ap, fmt);
	(void)vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	c->report(c->ctx, sentence);
}

/* ---- footers */

static int check_footers(struct check *c, bool repair, struct err *err)
{
	struct vhd *v = c->v;
	uint8_t copy[VHD_SECTOR];

	if (v->footer_missing) {
		fault(c, "the footer at offset %" PRIu64 " is missing or damaged", v->footer_off);
		if (repair &&
		    (vhd_put_footer(c->img, err) < 0 || bfile_flush(c->img->file, err) < 0))
			return -1;
		if (repair) {
			c->res.corruptions--;
			c->res.corruptions_fixed++;
		}
		return 0; /* the copy has just been used */
	}
	if (v->footer.type == VHD_FIXED)
		return 0;
	if (bfile_pread(c->img->file, copy, sizeof(copy), 0, err) < 0)
		return -1;
	if (!memcmp(copy, v->footer_bytes, sizeof(copy)))
		return 0;
	fault(c, "the copy of the footer at offset 0 %s",
	      vhd_footer_valid(copy, sizeof(copy)) ? "differs from the footer" : "is damaged");
	if (!repair)
		return 0;
	if (bfile_pwrite(c->img->file, v->footer_bytes, VHD_SECTOR, 0, err) < 0 ||
	    bfile_flush(c->img->file, err) < 0)
		return -1;
	c->res.corruptions--;
	c->res.corruptions_fixed++;
	return 0;
}

/* ---- blocks */

static int add_block(struct check *c, uint32_t entry, struct err *err)
{
	if (c->n == c->room) {
		size_t room = c->room ? 2 * c->room : 1024;
		uint32_t *more = reallocarray(c->blocks, room, sizeof(*more));

		if (!more)
			return err_nomem(err);
		c->blocks = more;
		c->room = room;
	}
	c->blocks[c->n++] = entry;
	return 0;
}

static uint64_t block_bytes(const struct vhd *v)
{
	return (uint64_t)v->bitmap_size + v->header.block_size;
}

/* In a dynamic disk a sector without its bit reads as zero here, but not in QEMU */
static int check_bits(struct check *c, uint32_t block, uint64_t at, struct err *err)
{
	struct vhd *v = c->v;
	CLEANUP_FREE uint8_t *bits = malloc(v->bitmap_size);
	uint32_t sectors = v->header.block_size / VHD_SECTOR, run;
	uint8_t sector[VHD_SECTOR];
	bool set;

	if (!bits)
		return err_nomem(err);
	if (bfile_pread(c->img->file, bits, v->bitmap_size, at, err) < 0)
		return -1;
	for (uint32_t i = 0; i < sectors; i += run) {
		run = vhd_bits_run(bits, i, sectors, &set);
		for (uint32_t s = i; !set && s < i + run; s++) {
			uint64_t where = at + v->bitmap_size + (uint64_t)s * VHD_SECTOR;

			if (bfile_pread_padded(c->img->file, sector, VHD_SECTOR, where, err) < 0)
				return -1;
			if (is_zero(sector, VHD_SECTOR))
				continue;
			fault(c,
			      "sector %" PRIu32 " of block %" PRIu32
			      " holds data, but its bit says that it was never written",
			      s, block);
			return 0;
		}
	}
	return 0;
}

static int check_entry(struct check *c, uint32_t block, uint32_t entry, bool deep, struct err *err)
{
	struct vhd *v = c->v;
	uint64_t at = (uint64_t)entry * VHD_SECTOR, end = at + block_bytes(v);
	uint64_t bat_end = v->header.bat_offset + 4ULL * v->entries;

	if (entry == VHD_UNUSED)
		return 0;
	c->res.allocated_clusters++;
	if (end > v->footer_off) {
		fault(c,
		      "block %" PRIu32 " at offset %" PRIu64
		      " ends behind the end of data at %" PRIu64,
		      block, at, v->footer_off);
		return 0;
	}
	if (!vhd_beside_header(v, at, end - at) || (at < bat_end && end > v->header.bat_offset)) {
		fault(c, "block %" PRIu32 " at offset %" PRIu64 " lies over the tables", block, at);
		return 0;
	}
	if (deep && v->footer.type == VHD_DYNAMIC && check_bits(c, block, at, err) < 0)
		return -1;
	if (c->n > c->most) /* some overlap for certain: sorting the first of them will tell */
		return 0;
	return add_block(c, entry, err);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x, y;

	memcpy(&x, a, 4);
	memcpy(&y, b, 4);
	return x < y ? -1 : x > y;
}

/* Blocks that would fit between; the table may lie there, at the end of a disk that was grown */
static uint64_t room_for(const struct vhd *v, uint64_t from, uint64_t to)
{
	uint64_t bat = v->header.bat_offset, bat_end = bat + 4ULL * v->entries;

	if (to <= from)
		return 0;
	if (bat >= to || bat_end <= from)
		return (to - from) / block_bytes(v);
	return (max_u64(bat, from) - from + to - min_u64(bat_end, to)) / block_bytes(v);
}

static void check_overlaps(struct check *c)
{
	struct vhd *v = c->v;
	uint64_t header = v->footer.data_offset, before = VHD_SECTOR;

	if (header < v->header.bat_offset)
		before = header + VHD_HEADER_BYTES;
	if (c->n)
		qsort(c->blocks, c->n, sizeof(*c->blocks), by_value);
	for (size_t i = 0; i < c->n; i++) {
		uint64_t at = (uint64_t)c->blocks[i] * VHD_SECTOR;

		if (i && at < before)
			fault(c, "two blocks lie over each other at offset %" PRIu64, at);
		else
			c->res.leaks += room_for(v, before, at);
		before = max_u64(before, at + block_bytes(v));
	}
	c->res.leaks += room_for(v, before, v->footer_off);
	c->res.image_end = max_u64(before, v->header.bat_offset + 4ULL * v->entries);
}

static int check_bat(struct check *c, bool deep, struct err *err)
{
	struct vhd *v = c->v;
	CLEANUP_FREE uint8_t *chunk = malloc(CHUNK);
	uint64_t bytes = 4ULL * v->entries;

	if (!chunk)
		return err_nomem(err);
	c->res.total_clusters = v->entries;
	c->most = bfile_size(c->img->file) / block_bytes(v) + 1;
	for (uint64_t at = 0; at < bytes; at += CHUNK) {
		size_t n = (size_t)min_u64(CHUNK, bytes - at);

		if (bfile_pread(c->img->file, chunk, n, v->header.bat_offset + at, err) < 0)
			return -1;
		for (size_t i = 0; i < n; i += 4)
			if (check_entry(c, (uint32_t)((at + i) / 4), get_be32(chunk + i), deep,
					err) < 0)
				return -1;
	}
	check_overlaps(c);
	if (c->res.leaks && c->report) {
		char sentence[160];

		(void)snprintf(sentence, sizeof(sentence),
			       "space for %" PRIu64 " blocks is not used by any", c->res.leaks);
		c->report(c->ctx, sentence);
	}
	return 0;
}

int vhd_check(struct image *img, unsigned flags, void (*report)(void *, const char *), void *ctx,
	      struct image_check_result *ret, struct err *err)
{
	struct check c = {.img = img, .v = img->priv, .report = report, .ctx = ctx};
	int rc;

	c.res.image_end = c.v->footer_off;
	rc = check_footers(&c, flags & CHECK_REPAIR_ALL, err);
	if (rc == 0 && c.v->footer.type != VHD_FIXED)
		rc = check_bat(&c, flags & CHECK_DEEP, err);
	free(c.blocks);
	*ret = c.res;
	return rc;
}
