/* Random writes: in place where a sector is here already, else into a new block or with a new bit. See writer.h. */
#include "libcommon/image/format/vhd/writer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/iszero.h"
#include "libcommon/image/blocks.h"
#include "libcommon/image/cache.h"

enum {
	BAT_PER_SECTOR = VHD_SECTOR / 4,
	FILE_BLOCK = 4096,
	BAT_MOST = 16 << 20,
	AHEAD = 16 << 20,
	AHEAD_PART = 16 /* or this part of the file, if that is more */
};

void vhd_find_end(const struct vhd *v, struct vhd_writer *w)
{
	const struct vhd_header *h = &v->header;
	uint64_t end = h->bat_offset + round_up(4ULL * v->entries, VHD_SECTOR);

	end = max_u64(end, v->footer.data_offset + VHD_HEADER_BYTES);
	for (size_t i = 0; i < VHD_LOCATORS; i++)
		if (h->locators[i].code && h->locators[i].offset < v->footer_off)
			end = max_u64(end, round_up(h->locators[i].offset + h->locators[i].length,
						    VHD_SECTOR));
	for (uint32_t i = 0; i < v->entries; i++)
		if (w->bat[i] != VHD_UNUSED)
			end = max_u64(end, (uint64_t)w->bat[i] * VHD_SECTOR + v->bitmap_size +
						   v->header.block_size);
	w->next = end;
}

static int load_bat(struct image *img, struct vhd *v, struct vhd_writer *w, struct err *err)
{

	if (v->entries > BAT_MOST)
		return err_set(err, ERR_UNSUPPORTED,
			       "blocks of %" PRIu32 " bytes are too small to write to such a disk",
			       v->header.block_size);
	w->bat_room = (uint32_t)round_up(v->entries, BAT_PER_SECTOR);
	w->bat = calloc(w->bat_room + 1U, 4);
	w->bat_dirty = calloc(w->bat_room / BAT_PER_SECTOR + 1, 1);
	if (!w->bat || !w->bat_dirty)
		return err_nomem(err);
	if (bfile_pread(img->file, w->bat, 4 * (size_t)v->entries, v->header.bat_offset, err) < 0)
		return -1;
	for (uint32_t i = 0; i < v->entries; i++)
		w->bat[i] = be32toh(w->bat[i]);
	for (uint32_t i = v->entries; i < w->bat_room; i++)
		w->bat[i] = VHD_UNUSED;
	vhd_find_end(v, w);
	w->stale = bfile_size(img->file);
	/* A last block that the file holds in part must not be written into the next */
	if (w->next > v->footer_off)
		return err_set(err, ERR_CORRUPT,
			       "a block ends at offset %" PRIu64
			       ", behind the end of data at %" PRIu64,
			       w->next, v->footer_off);
	return 0;
}

/* The one at the end may be lost; a resize that was cut short leaves two that differ */
static int mend_footers(struct image *img, struct vhd *v, struct err *err)
{
	uint8_t copy[VHD_SECTOR];

	if (v->footer_missing && vhd_put_footer(img, err) < 0)
		return -1;
	if (v->footer.type == VHD_FIXED)
		return 0;
	if (bfile_pread(img->file, copy, sizeof(copy), 0, err) < 0)
		return -1;
	return memcmp(copy, v->footer_bytes, sizeof(copy))
		       ? bfile_pwrite(img->file, v->footer_bytes, VHD_SECTOR, 0, err)
		       : 0;
}

int vhd_open_writer(struct image *img, struct err *err)
{
	struct vhd *v = img->priv;
	struct vhd_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return err_nomem(err);
	pthread_mutex_init(&w->slow, NULL);
	pthread_rwlock_init(&w->lock, NULL);
	v->writer = w;
	if (v->footer.type != VHD_FIXED && load_bat(img, v, w, err) < 0) {
		vhd_close_writer(img);
		return -1;
	}
	/* Mended before anything is added behind it */
	if (mend_footers(img, v, err) < 0) {
		vhd_close_writer(img);
		return -1;
	}
	return 0;
}

void vhd_close_writer(struct image *img)
{
	struct vhd *v = img->priv;
	struct vhd_writer *w = v->writer;

	if (!w)
		return;
	/* Nobody can be told of an error here: who cares flushed before */
	if (w->bat && !w->failed && (w->tables_dirty || w->ahead))
		(void)vhd_settle(img, NULL);
	for (unsigned i = 0; i < w->n_pending; i++)
		free(w->pending[i].bits);
	free(w->bat);
	free(w->bat_dirty);
	pthread_rwlock_destroy(&w->lock);
	pthread_mutex_destroy(&w->slow);
	free(w);
	v->writer = NULL;
}

const struct vhd_bits *vhd_pending_bits(const struct vhd_writer *w, uint32_t block)
{
	for (unsigned i = 0; i < w->n_pending; i++)
		if (w->pending[i].block == block)
			return &w->pending[i];
	return NULL;
}

int vhd_put_footer(struct image *img, struct err *err)
{
	struct vhd *v = img->priv;

	if (bfile_pwrite(img->file, v->footer_bytes, VHD_SECTOR, v->footer_off, err) < 0)
		return -1;
	v->footer_missing = false;
	return 0;
}

static int write_bat(struct image *img, struct err *err)
{
	struct vhd *v = img->priv;
	struct vhd_writer *w = v->writer;

	for (uint32_t s = 0; s < w->bat_room / BAT_PER_SECTOR; s++) {
		uint8_t sector[VHD_SECTOR];
		uint32_t first = s * BAT_PER_SECTOR;
		uint32_t n = (uint32_t)min_u64(v->entries - first, BAT_PER_SECTOR);

		if (!w->bat_dirty[s])
			continue;
		for (uint32_t i = 0; i < n; i++)
			put_be32(sector + 4 * (size_t)i, w->bat[first + i]);
		if (bfile_pwrite(img->file, sector, 4 * (size_t)n,
				 v->header.bat_offset + 4ULL * first, err) < 0)
			return -1;
		w->bat_dirty[s] = 0;
	}
	return 0;
}

static int write_bits(struct image *img, struct err *err)
{
	struct vhd *v = img->priv;
	struct vhd_writer *w = v->writer;
	int rc = 0;

	for (unsigned i = 0; i < w->n_pending && rc == 0; i++) {
		uint64_t at = (uint64_t)w->bat[w->pending[i].block] * VHD_SECTOR;

		rc = bfile_pwrite(img->file, w->pending[i].bits, v->bitmap_size, at, err);
		if (rc == 0)
			table_cache_update(v->bitmaps, at, w->pending[i].bits, v->bitmap_size);
	}
	if (rc < 0)
		return -1;
	pthread_rwlock_wrlock(&w->lock);
	for (unsigned i = 0; i < w->n_pending; i++)
		free(w->pending[i].bits);
	w->n_pending = 0;
	pthread_rwlock_unlock(&w->lock);
	return 0;
}

int vhd_write_tables(struct image *img, struct err *err)
{
	struct vhd *v = img->priv;
	struct vhd_writer *w = v->writer;

	if (!w->tables_dirty)
		return 0;
	if (bfile_flush(img->file, err) < 0 || write_bits(img, err) < 0 ||
	    write_bat(img, err) < 0 || bfile_flush(img->file, err) < 0) {
		w->failed = true;
		return -1;
	}
	w->tables_dirty = false;
	return 0;
}

int vhd_flush(struct image *img, struct err *err)
{
	struct vhd *v = img->priv;
	struct vhd_writer *w = v->writer;
	int rc = 0;

	pthread_mutex_lock(&w->slow);
	if (w->failed)
		rc = err_set(err, ERR_FAILED, "an earlier write of tables failed");
	else if (w->tables_dirty)
		rc = vhd_write_tables(img, err);
	else
		rc = bfile_flush(img->file, err);
	pthread_mutex_unlock(&w->slow);
	return rc;
}

int vhd_take(struct image *img, uint64_t end, struct err *err)
{
	struct vhd *v = img->priv;
	struct vhd_writer *w = v->writer;
	uint64_t old = v->footer_off;

	if (end > v->footer_off) {
		v->footer_off = round_up(end + max_u64(AHEAD, end / AHEAD_PART), FILE_BLOCK);
		if (vhd_put_footer(img, err) < 0 || bfile_flush(img->file, err) < 0) {
			v->footer_off = old;
			return -1;
		}
		w->stale = max_u64(w->stale, old + VHD_SECTOR);
	}
	if (w->next < w->stale &&
	    bfile_zero(img->file, w->next, min_u64(w->stale, end) - w->next, true, err) < 0)
		return -1;
	w->next = end;
	w->ahead = true;
	return 0;
}

int vhd_cut(struct image *img, struct err *err)
{
	struct vhd *v = img->priv;
	struct vhd_writer *w = v->writer;

	w->ahead = false;
	if (w->next == v->footer_off)
		return 0;
	v->footer_off = w->next;
	if (vhd_put_footer(img, err) < 0 || bfile_flush(img->file, err) < 0)
		return -1;
	return bfile_truncate(img->file, v->footer_off + VHD_SECTOR, err);
}

int vhd_settle(struct image *img, struct err *err)
{
	struct vhd_writer *w = ((struct vhd *)img->priv)->writer;
	int rc = vhd_flush(img, err);

	pthread_mutex_lock(&w->slow);
	if (rc == 0 && w->ahead && vhd_cut(img, err) < 0) {
		w->failed = true;
		rc = -1;
	}
	pthread_mutex_unlock(&w->slow);
	return rc;
}

/* A place for @block behind the last one: bitmap, block. The bytes between read as zero. */
static int new_block(struct image *img, struct vhd *v, uint32_t block, struct err *err)
{
	struct vhd_writer *w = v->writer;
	uint64_t data = round_up(w->next + v->bitmap_size, FILE_BLOCK), at = data - v->bitmap_size;
	CLEANUP_FREE uint8_t *bits = NULL;

	if (at / VHD_SECTOR >= VHD_UNUSED)
		return err_set(err, ERR_NO_SPACE, "the file cannot hold more than 2 TiB");
	bits = malloc(v->bitmap_size);
	if (!bits)
		return err_nomem(err);
	memset(bits, v->footer.type == VHD_DYNAMIC ? 0xff : 0, v->bitmap_size);
	if (vhd_take(img, data + v->header.block_size, err) < 0 ||
	    bfile_pwrite(img->file, bits, v->bitmap_size, at, err) < 0) {
		w->failed = true;
		return -1;
	}
	table_cache_update(v->bitmaps, at, bits, v->bitmap_size);
	pthread_rwlock_wrlock(&w->lock);
	w->bat[block] = (uint32_t)(at / VHD_SECTOR);
	w->bat_dirty[block / BAT_PER_SECTOR] = 1;
	w->tables_dirty = true;
	pthread_rwlock_unlock(&w->lock);
	return 0;
}

/* The bits of @block, to be changed under the write lock */
static int pending(struct image *img, struct vhd *v, uint32_t block, struct vhd_bits **ret,
		   struct err *err)
{
	struct vhd_writer *w = v->writer;
	CLEANUP_FREE uint8_t *bits = NULL;

	for (unsigned i = 0; i < w->n_pending; i++)
		if (w->pending[i].block == block) {
			*ret = &w->pending[i];
			return 0;
		}
	if (w->n_pending == VHD_PENDING_MOST && vhd_write_tables(img, err) < 0)
		return -1;
	bits = malloc(v->bitmap_size);
	if (!bits)
		return err_nomem(err);
	if (bfile_pread(img->file, bits, v->bitmap_size, (uint64_t)w->bat[block] * VHD_SECTOR,
			err) < 0)
		return -1;
	pthread_rwlock_wrlock(&w->lock);
	w->pending[w->n_pending] = (struct vhd_bits){.block = block, .bits = steal_ptr(&bits)};
	*ret = &w->pending[w->n_pending++];
	w->tables_dirty = true;
	pthread_rwlock_unlock(&w->lock);
	return 0;
}

/* Whole sectors that are not here yet, inside one block */
static int write_sectors(struct image *img, const uint8_t *buf, uint64_t off, size_t len,
			 struct err *err)
{
	struct vhd *v = img->priv;
	struct vhd_writer *w = v->writer;
	uint32_t block = (uint32_t)(off / v->header.block_size);
	uint64_t in = off % v->header.block_size, host;
	struct vhd_bits *b = NULL;

	if (w->bat[block] == VHD_UNUSED && new_block(img, v, block, err) < 0)
		return -1;
	host = (uint64_t)w->bat[block] * VHD_SECTOR + v->bitmap_size + in;
	if (!range_inside(host, len, v->footer_off))
		return err_set(err, ERR_CORRUPT, "block %" PRIu32 " lies at offset %" PRIu64, block,
			       host);
	if (bfile_pwrite(img->file, buf, len, host, err) < 0)
		return -1;
	if (v->footer.type == VHD_DYNAMIC) { /* new blocks have all their bits */
		struct extent e = {0};

		if (vhd_map(img, off, len, &e, err) < 0)
			return -1;
		if (e.kind == EXTENT_DATA && e.len == len)
			return 0;
	}
	if (pending(img, v, block, &b, err) < 0)
		return -1;
	pthread_rwlock_wrlock(&w->lock);
	for (uint64_t s = in / VHD_SECTOR; s < (in + len) / VHD_SECTOR; s++)
		b->bits[s / 8] |= (uint8_t)(0x80 >> s % 8);
	pthread_rwlock_unlock(&w->lock);
	return 0;
}

/* [off, off + len) inside one block, no sector of it here yet: what shares one comes from the old content */
static int write_new(struct image *img, const uint8_t *buf, uint64_t off, size_t len,
		     struct err *err)
{
	CLEANUP_FREE uint8_t *whole = NULL;

	if (blocks_whole_sectors(img, VHD_SECTOR, buf, &off, &len, &whole, err) < 0)
		return -1;
	return write_sectors(img, whole ? whole : buf, off, len, err);
}

static int write_slow(struct image *img, const uint8_t *buf, uint64_t off, size_t len,
		      size_t *ret_done, struct err *err)
{
	struct vhd *v = img->priv;
	uint64_t left = v->header.block_size - off % v->header.block_size;
	struct extent e = {0};

	if (v->writer->failed)
		return err_set(err, ERR_FAILED, "an earlier write failed: open the image again");
	/* Another writer may have been here while we waited */
	if (vhd_map(img, off, min_u64(len, left), &e, err) < 0)
		return -1;
	*ret_done = (size_t)e.len;
	if (e.kind == EXTENT_DATA)
		return bfile_pwrite(img->file, buf, (size_t)e.len, e.host_off, err);
	return write_new(img, buf, off, (size_t)e.len, err);
}

int vhd_write(struct image *img, const void *buf, uint64_t off, size_t len, struct err *err)
{
	struct vhd *v = img->priv;

	if (v->footer.type == VHD_FIXED)
		return bfile_pwrite(img->file, buf, len, off, err);
	return blocks_write(img, buf, off, len, &v->writer->slow, vhd_map, write_slow, err);
}

int vhd_write_zeroes(struct image *img, uint64_t off, uint64_t len, bool may_unmap, struct err *err)
{
	static const uint8_t zeros[64 << 10];
	struct vhd *v = img->priv;

	if (v->footer.type == VHD_FIXED)
		return bfile_zero(img->file, off, len, may_unmap, err);
	while (len) {
		struct extent e = {0};
		uint64_t n;

		if (vhd_map(img, off, len, &e, err) < 0)
			return -1;
		n = e.len;
		if (e.kind == EXTENT_DATA) {
			if (bfile_zero(img->file, e.host_off, n, may_unmap, err) < 0)
				return -1;
		} else if (img->backing) {
			n = min_u64(n, sizeof(zeros));
			if (vhd_write(img, zeros, off, (size_t)n, err) < 0)
				return -1;
		}
		off += n;
		len -= n;
	}
	return 0;
}
