/* Another size for a VHDX. What is new is written where nothing leads yet and made durable; then the size, and the place of
 * a table that had to move, change in one transaction of the log. So a crash leaves the old disk or the new one.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/cache.h"
#include "libcommon/image/format/vhdx/writer.h"

enum { CHUNK = 64 << 10, REGION_ENTRY = 32, REGION_ENTRIES = 16 };

/* How the disk will be */
struct target {
	uint64_t size, blocks, entries;
	struct vhdx_region bat;
};

/* The rest of the last block may hold anything, also where bits say that it is here. */
static int clear_tail(struct image *img, struct err *err)
{
	struct vhdx *v = img->priv;
	uint64_t in = img->size % v->block_size, entry, at;
	unsigned state;

	if (!in)
		return 0;
	if (vhdx_bat_entry(v, vhdx_bat_index(v, img->size / v->block_size), &entry, err) < 0)
		return -1;
	state = entry & VHDX_STATE_MASK;
	at = entry & VHDX_OFFSET;
	if ((state != VHDX_FULL && state != VHDX_PARTIAL) || at + in >= bfile_size(img->file))
		return 0;
	return bfile_zero(img->file, at + in,
			  min_u64(v->block_size - in, bfile_size(img->file) - at - in), !v->fixed,
			  err);
}

/* Entries [from, to) of the table that will be @bat: no block, and for a fixed disk the places from @place on */
static int fill_entries(struct image *img, const struct vhdx_region *bat, uint64_t from,
			uint64_t to, uint64_t place, struct err *err)
{
	const struct vhdx *v = img->priv;
	CLEANUP_FREE uint8_t *buf = NULL;

	if (from >= to)
		return 0;
	if (!place)
		return bfile_zero(img->file, bat->offset + 8 * from, 8 * (to - from), false, err);
	buf = malloc(CHUNK);
	if (!buf)
		return err_nomem(err);
	while (from < to) {
		size_t n = (size_t)min_u64(CHUNK / 8, to - from);

		memset(buf, 0, CHUNK);
		for (size_t i = 0; i < n; i++) {
			if (vhdx_is_bitmap(v, from + i))
				continue;
			put_le64(buf + 8 * i, place | VHDX_FULL);
			place += v->block_size;
		}
		if (bfile_pwrite(img->file, buf, 8 * n, bat->offset + 8 * from, err) < 0)
			return -1;
		from += n;
	}
	return 0;
}

/* The table gets a place with more room; the old one stays as it is */
static int copy_table(struct image *img, struct target *t, struct err *err)
{
	struct vhdx *v = img->priv;
	CLEANUP_FREE uint8_t *buf = malloc(CHUNK);
	uint64_t len = round_up(8 * t->entries, VHDX_MIB), bytes = 8 * v->bat_entries;

	if (!buf)
		return err_nomem(err);
	if (vhdx_make_place(img, len, &t->bat.offset, err) < 0)
		return -1;
	t->bat.length = (uint32_t)len;
	for (uint64_t at = 0; at < bytes; at += CHUNK) {
		size_t n = (size_t)min_u64(CHUNK, bytes - at);

		if (bfile_pread(v->file, buf, n, v->bat_region.offset + at, err) < 0 ||
		    bfile_pwrite(img->file, buf, n, t->bat.offset + at, err) < 0)
			return -1;
	}
	return 0;
}

/* Both region tables name the new place: entries and sums are in their first sectors */
static int patch_regions(struct image *img, const struct target *t, struct err *err)
{
	const struct vhdx *v = img->priv;
	CLEANUP_FREE uint8_t *p = malloc(VHDX_TABLE_BYTES);
	uint64_t good = VHDX_REGIONS_AT + (v->regions_valid[0] ? 0 : VHDX_TABLE_BYTES);

	if (!p)
		return err_nomem(err);
	if (bfile_pread(img->file, p, VHDX_TABLE_BYTES, good, err) < 0)
		return -1;
	for (uint32_t i = 0; i < get_le32(p + 8); i++) {
		uint8_t *e = p + REGION_ENTRIES + (size_t)i * REGION_ENTRY;
		struct vhdx_guid g;

		memcpy(g.b, e, sizeof(g.b));
		if (!vhdx_guid_is(&g, GUID_BAT))
			continue;
		put_le64(e + 16, t->bat.offset);
		put_le32(e + 24, t->bat.length);
	}
	put_le32(p + VHDX_CHECKSUM_AT, vhdx_crc(0, p, VHDX_TABLE_BYTES, VHDX_CHECKSUM_AT));
	for (uint64_t i = 0; i < 2; i++)
		for (uint64_t at = 0; at < VHDX_TABLE_BYTES; at += VHDX_LOG_SECTOR) {
			uint64_t to = VHDX_REGIONS_AT + i * VHDX_TABLE_BYTES + at;
			uint8_t old[VHDX_LOG_SECTOR];

			if (bfile_pread(img->file, old, sizeof(old), to, err) < 0)
				return -1;
			if (memcmp(old, p + at, sizeof(old)) != 0 &&
			    vhdx_patch(img, NULL, to, p + at, sizeof(old), err) < 0)
				return -1;
		}
	return 0;
}

/* One transaction, after all that it leads to */
static int switch_to(struct image *img, const struct target *t, struct err *err)
{
	struct vhdx *v = img->priv;
	uint8_t size[8];

	put_le64(size, t->size);
	if (vhdx_patch(img, NULL, v->size_at, size, sizeof(size), err) < 0 ||
	    (t->bat.offset != v->bat_region.offset && patch_regions(img, t, err) < 0) ||
	    vhdx_commit(img, err) < 0)
		return -1;
	v->regions_valid[0] = v->regions_valid[1] = true;
	pthread_rwlock_wrlock(&v->writer->lock);
	v->bat_region = t->bat;
	v->blocks = t->blocks;
	v->bat_entries = t->entries;
	img->size = t->size;
	table_cache_drop(v->bat); /* entries were written past it */
	pthread_rwlock_unlock(&v->writer->lock);
	return 0;
}

/* All that the new size leads to. Nobody looks there before it does. */
static int make_room(struct image *img, struct target *t, struct err *err)
{
	struct vhdx *v = img->priv;
	uint64_t place = 0;

	if (clear_tail(img, err) < 0)
		return -1;
	if (8 * t->entries > v->bat_region.length && copy_table(img, t, err) < 0)
		return -1;
	if (v->fixed && t->blocks > v->blocks &&
	    vhdx_make_place(img, (t->blocks - v->blocks) * v->block_size, &place, err) < 0)
		return -1;
	/* Blocks of a chunk begun before have entries that are unused. */
	if (v->has_parent &&
	    fill_entries(img, &t->bat, vhdx_bat_index(v, v->blocks - 1) + 1,
			 min_u64(vhdx_bat_index(v, t->blocks - 1) + 1, v->bat_entries - 1), 0,
			 err) < 0)
		return -1;
	return fill_entries(img, &t->bat, v->bat_entries, t->entries, place, err);
}

static int grow(struct image *img, struct target *t, struct err *err)
{
	uint64_t old = bfile_size(img->file);

	if (img->backing && image_size(img->backing) > img->size)
		return err_set(err, ERR_UNSUPPORTED,
			       "the parent is larger than this disk: what lies behind its end "
			       "would come to light");
	if (make_room(img, t, err) == 0)
		return switch_to(img, t, err);
	/* A full disk, most likely: nothing leads to what was added */
	if (!img->file->is_blockdev)
		(void)bfile_truncate(img->file, old, NULL);
	return -1;
}

static int shrink(struct image *img, struct target *t, struct err *err)
{
	struct vhdx *v = img->priv;
	uint64_t old = v->bat_entries, behind = vhdx_bat_index(v, t->blocks - 1) + 1;

	if (switch_to(img, t, err) < 0)
		return -1;
	/* Entries of blocks that are gone; that of the last chunk's bitmap stays */
	if ((v->has_parent &&
	     fill_entries(img, &v->bat_region, behind, t->entries - 1, 0, err) < 0) ||
	    fill_entries(img, &v->bat_region, t->entries, old, 0, err) < 0 ||
	    bfile_flush(img->file, err) < 0)
		return -1;
	table_cache_drop(v->bat);
	if (vhdx_find_end(img, err) < 0)
		return -1;
	if (!img->file->is_blockdev && v->writer->end < bfile_size(img->file) &&
	    bfile_truncate(img->file, v->writer->end, err) < 0)
		return -1;
	__atomic_store_n(&v->writer->over.size, bfile_size(img->file), __ATOMIC_RELAXED);
	return 0;
}

static int resize(struct image *img, uint64_t size, struct err *err)
{
	struct vhdx *v = img->priv;
	struct target t = {.size = size, .bat = v->bat_region};
	int rc;

	t.blocks = div_up(size, v->block_size);
	t.entries = vhdx_bat_entries(t.blocks, v->chunk_blocks, v->has_parent);
	if (vhdx_begin_change(img, err) < 0 || vhdx_commit(img, err) < 0)
		return -1;
	rc = size < img->size ? shrink(img, &t, err) : grow(img, &t, err);
	return rc;
}

int vhdx_resize(struct image *img, uint64_t size, struct err *err)
{
	struct vhdx *v = img->priv;
	int rc;

	if (!size || size > VHDX_MOST_BYTES || size % v->logical_sector)
		return err_set(err, ERR_USAGE,
			       "%" PRIu64 " bytes: a number of sectors up to 64 TiB is wanted",
			       size);
	if (size == img->size)
		return 0;
	pthread_mutex_lock(&v->writer->slow);
	rc = resize(img, size, err);
	if (rc < 0)
		v->writer->failed = true;
	pthread_mutex_unlock(&v->writer->slow);
	return rc;
}
