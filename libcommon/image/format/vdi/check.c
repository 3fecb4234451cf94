/* Check of a VDI file: every index once and inside the file, all of the file used, the count in the header right.
 *
 * Mended is what follows from the map: the count, and blocks of the file that no entry names: blocks from the end
 * are moved into their places and the file is cut. Two entries with one index cannot be mended without guessing.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/vdi/vdi.h"

enum { REPORT_MOST = 1000, PIECE = 64 << 10, MAP_MOST = 64 << 20 };

struct vdi_check {
	struct image *img;
	const struct vdi_header *h;
	struct image_check_result *res;
	uint32_t room;	/* blocks that the file has place for */
	uint8_t *used;	/* a bit an index below room */
	uint32_t end;	/* behind the greatest index in use */
	uint32_t count; /* indices in use */
	void (*report)(void *, const char *);
	void *ctx;
	unsigned reported;
};

static void tell(struct vdi_check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void tell(struct vdi_check *c, const char *fmt, ...)
{
	char sentence[256];
	va_list ap;

	if (!c->report || c->reported > REPORT_MOST)
		return;
	if (c->reported++ == REPORT_MOST) {
		c->report(c->ctx, "there are more faults, which are counted but not listed");
		return;
	}
	va_start(ap, fmt);
	(void)vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	c->report(c->ctx, sentence);
}

static void check_entry(struct vdi_check *c, uint32_t block, uint32_t e, uint32_t *last)
{
	if (e > VDI_LAST)
		return;
	if (e >= c->room) {
		c->res->corruptions++;
		tell(c,
		     "block %" PRIu32 " of the disk lies at offset %" PRIu64
		     ", the file ends before its end, at %" PRIu64,
		     block, vdi_host(c->h, e), bfile_size(c->img->file));
		return;
	}
	if (c->used[e / 8] >> e % 8 & 1) {
		c->res->corruptions++;
		tell(c,
		     "block %" PRIu32 " of the disk lies at offset %" PRIu64
		     ", where another one lies",
		     block, vdi_host(c->h, e));
		return;
	}
	c->used[e / 8] |= (uint8_t)(1 << e % 8);
	c->res->fragmented_clusters += c->count && e != *last + 1;
	c->count++;
	*last = e;
	if (e >= c->end)
		c->end = e + 1;
}

static int walk_map(struct vdi_check *c, struct err *err)
{
	CLEANUP_FREE uint8_t *piece = malloc(PIECE);
	uint32_t last = 0;

	if (!piece)
		return err_nomem(err);
	for (uint32_t i = 0; i < c->h->blocks;) {
		uint32_t n = (uint32_t)min_u64(PIECE / 4, c->h->blocks - i);

		if (bfile_pread(c->img->file, piece, 4 * (size_t)n, c->h->map_offset + 4ULL * i,
				err) < 0)
			return -1;
		for (uint32_t k = 0; k < n; k++)
			check_entry(c, i + k, get_le32(piece + 4 * (size_t)k), &last);
		i += n;
	}
	return 0;
}

static bool is_used(const struct vdi_check *c, uint32_t index)
{
	return c->used[index / 8] >> index % 8 & 1;
}

static int copy_block(struct vdi_check *c, uint32_t from, uint32_t to, uint8_t *buf,
		      struct err *err)
{
	uint64_t src = vdi_host(c->h, from), dst = vdi_host(c->h, to);

	for (uint32_t at = 0; at < c->h->block_size; at += PIECE) {
		size_t n = (size_t)min_u64(PIECE, c->h->block_size - at);

		if (bfile_pread(c->img->file, buf, n, src + at, err) < 0 ||
		    bfile_pwrite(c->img->file, buf, n, dst + at, err) < 0)
			return -1;
	}
	return 0;
}

/* Blocks from the end into places that no entry names; the map is written when the copies are on the disk, so what is
 * on the disk is whole at any time. Changes @map and c->end. */
static int move_down(struct vdi_check *c, uint8_t *map, uint32_t *owner, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(PIECE);
	uint32_t to = 0;

	if (!buf)
		return err_nomem(err);
	for (uint32_t i = 0; i < c->h->blocks; i++)
		if (get_le32(map + 4 * (size_t)i) <= VDI_LAST)
			owner[get_le32(map + 4 * (size_t)i)] = i;
	for (uint32_t from = c->end; from-- > c->count;) {
		if (!is_used(c, from))
			continue;
		while (is_used(c, to))
			to++;
		if (copy_block(c, from, to, buf, err) < 0)
			return -1;
		put_le32(map + 4 * (size_t)owner[from], to++);
	}
	c->end = c->count;
	if (bfile_flush(c->img->file, err) < 0 ||
	    bfile_pwrite(c->img->file, map, 4 * (size_t)c->h->blocks, c->h->map_offset, err) < 0)
		return -1;
	return bfile_flush(c->img->file, err);
}

static int compact(struct vdi_check *c, struct err *err)
{
	size_t bytes = 4 * (size_t)c->h->blocks;

	if (bytes > MAP_MOST)
		return err_set(err, ERR_UNSUPPORTED, "mending an image of %" PRIu32 " blocks",
			       c->h->blocks);

	CLEANUP_FREE uint8_t *map = malloc(bytes + 1);
	CLEANUP_FREE uint32_t *owner = NULL;

	if (!map)
		return err_nomem(err);
	if (bfile_pread(c->img->file, map, bytes, c->h->map_offset, err) < 0)
		return -1;
	owner = calloc((size_t)c->end + 1, sizeof(*owner));
	if (!owner)
		return err_nomem(err);
	return move_down(c, map, owner, err);
}

static int write_count(struct vdi_check *c, struct err *err)
{
	uint8_t count[4];

	put_le32(count, c->end);
	if (bfile_pwrite(c->img->file, count, 4, VDI_OFF_ALLOCATED, err) < 0)
		return -1;
	return bfile_flush(c->img->file, err);
}

static int repair(struct vdi_check *c, unsigned flags, bool wrong_count, struct err *err)
{
	struct image_check_result *res = c->res;
	bool sound = res->corruptions == wrong_count; /* of the map */
	bool cut = res->leaks && sound;

	if (cut && c->end > c->count && compact(c, err) < 0)
		return -1;
	/* Moved blocks leave the count too high; else it is only mended when all is to be */
	if ((cut || (wrong_count && flags & CHECK_REPAIR_ALL)) && write_count(c, err) < 0)
		return -1;
	if (wrong_count && (cut || flags & CHECK_REPAIR_ALL)) {
		res->corruptions--;
		res->corruptions_fixed++;
	}
	if (cut) {
		if (!c->img->file->is_blockdev &&
		    bfile_truncate(c->img->file, vdi_host(c->h, c->end), err) < 0)
			return -1;
		res->leaks_fixed = res->leaks;
		res->leaks = 0;
	}
	return bfile_flush(c->img->file, err);
}

static int check_all(struct vdi_check *c, unsigned flags, struct err *err)
{
	struct image_check_result *res = c->res;
	uint64_t wasted;
	bool wrong_count;

	if (walk_map(c, err) < 0)
		return -1;
	res->total_clusters = c->h->blocks;
	res->allocated_clusters = c->count;
	/* A device has any size. What is counted and not used, maybe not there yet, comes of a power cut: it is space, and
	 * nobody who allocates by the count is led astray */
	wasted = c->img->file->is_blockdev ? c->end : c->room;
	if (c->h->allocated <= c->h->blocks)
		wasted = max_u64(wasted, c->h->allocated);
	res->leaks = wasted - c->count;
	if (res->leaks)
		tell(c, "%" PRIu64 " blocks of the file are not in use", res->leaks);
	wrong_count = c->h->allocated < c->end || c->h->allocated > wasted;
	res->corruptions += wrong_count;
	if (c->h->allocated != c->end)
		tell(c, "the header counts %" PRIu32 " blocks, the map %" PRIu32, c->h->allocated,
		     c->end);
	if (flags & (CHECK_REPAIR_LEAKS | CHECK_REPAIR_ALL) &&
	    repair(c, flags, wrong_count, err) < 0)
		return -1;
	res->image_end = vdi_host(c->h, c->end);
	return 0;
}

int vdi_check(struct image *img, unsigned flags, void (*report)(void *, const char *), void *ctx,
	      struct image_check_result *ret, struct err *err)
{
	struct vdi *v = img->priv;
	uint64_t size = bfile_size(img->file), data = v->h.data_offset;
	struct vdi_check c = {.img = img, .h = &v->h, .res = ret, .report = report, .ctx = ctx};
	int r;

	c.room = size > data ? (uint32_t)min_u64((size - data) / v->h.block_size, VDI_LAST) : 0;
	c.used = calloc(1, (size_t)c.room / 8 + 1);
	if (!c.used)
		return err_nomem(err);
	r = check_all(&c, flags, err);
	free(c.used);
	return r;
}
