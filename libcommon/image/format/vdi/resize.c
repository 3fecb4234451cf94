/* Another size for a VDI. What is new is durable before the one sector of the header names it, so a crash leaves the old
 * disk or the new one.
 *
 * Growing: a map that has no room before the data gets the place of the first blocks, which move to the end of the file.
 * Shrinking: blocks from the end fill the places of those that go, because others take the count of blocks for the next
 * free place.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/format/vdi/writer.h"

static int write_header(struct image *img, const struct vdi_header *h, struct err *err)
{
	uint8_t raw[VDI_HEADER_SIZE], new[VDI_HEADER_SIZE];

	/* What we do not know of a header stays as it is. */
	if (bfile_flush(img->file, err) < 0 || bfile_pread(img->file, raw, sizeof(raw), 0, err) < 0)
		return -1;
	vdi_header_build(h, new);
	memcpy(raw + 340, new + 340, 8); /* offsets of map and data */
	memcpy(raw + 368, new + 368, 8); /* size */
	memcpy(raw + 384, new + 384, 8); /* blocks, and how many have a place */
	memset(raw + 348, 0, 12);	 /* geometry: none, as in images that VirtualBox makes */
	if (get_le32(raw + 72) >= 400)
		memset(raw + 456, 0, 12);
	if (bfile_pwrite(img->file, raw, sizeof(raw), 0, err) < 0)
		return -1;
	return bfile_flush(img->file, err);
}

static int copy_block(struct image *img, uint32_t from, uint32_t to, uint8_t *buf, struct err *err)
{
	const struct vdi_header *h = &((struct vdi *)img->priv)->h;

	if (stop_check(err) < 0 ||
	    bfile_pread(img->file, buf, h->block_size, vdi_host(h, from), err) < 0)
		return -1;
	return bfile_pwrite(img->file, buf, h->block_size, vdi_host(h, to), err);
}

/* ---- growing */

/* Entries for @blocks blocks, the new ones without a place */
static int more_entries(struct vdi_writer *w, uint32_t blocks, uint32_t old, struct err *err)
{
	size_t pages = (size_t)div_up(4ULL * blocks, VDI_MAP_PAGE);
	uint8_t *map = calloc(pages + 1, VDI_MAP_PAGE), *dirty = calloc(pages + 1, 1);

	if (!map || !dirty) {
		free(map);
		free(dirty);
		return err_nomem(err);
	}
	memcpy(map, w->map, 4 * (size_t)old);
	memset(dirty, 1, pages);
	free(w->map);
	free(w->dirty);
	w->map = map;
	w->dirty = dirty;
	w->pages = pages;
	for (uint32_t i = old; i < blocks; i++)
		vdi_set_entry(w, i, VDI_NONE);
	return 0;
}

/* The first @n places become free: their blocks move to the end */
static int clear_first(struct image *img, uint32_t n, struct err *err)
{
	struct vdi *v = img->priv;
	struct vdi_writer *w = v->writer;
	CLEANUP_FREE uint8_t *buf = malloc(v->h.block_size);

	if (!buf)
		return err_nomem(err);
	if (w->next < n)
		w->next = n;
	for (uint32_t i = 0; i < v->h.blocks; i++) {
		uint32_t from = vdi_entry_at(w, i);

		if (from >= n)
			continue;
		if (w->next > VDI_LAST)
			return err_set(err, ERR_UNSUPPORTED,
				       "the image has no more places for blocks");
		if (vdi_make_place(img, vdi_host(&v->h, w->next), err) < 0 ||
		    copy_block(img, from, w->next, buf, err) < 0)
			return -1;
		vdi_set_entry(w, i, w->next++);
	}
	if (vdi_save_map(img, err) < 0)
		return -1;
	return bfile_flush(img->file, err);
}

/* In the place of the first blocks, the map's entries count from behind it. *@h: as the header will be */
static int move_map(struct image *img, struct vdi_header *h, struct err *err)
{
	struct vdi *v = img->priv;
	struct vdi_writer *w = v->writer;
	uint32_t n = (uint32_t)div_up(4ULL * h->blocks, h->block_size);

	if (h->data_offset + (uint64_t)n * h->block_size > UINT32_MAX)
		return err_set(err, ERR_UNSUPPORTED, "the block map has no room");
	if (clear_first(img, n, err) < 0 || more_entries(w, h->blocks, v->h.blocks, err) < 0)
		return -1;
	for (uint32_t i = 0; i < v->h.blocks; i++)
		if (vdi_entry_at(w, i) <= VDI_LAST)
			vdi_set_entry(w, i, vdi_entry_at(w, i) - n);
	w->next -= n;
	h->map_offset = h->data_offset;
	h->data_offset += n * h->block_size;
	return 0;
}

/* The rest of the last block may hold anything. */
static int clear_tail(struct image *img, struct err *err)
{
	struct vdi *v = img->priv;
	uint32_t in = (uint32_t)(img->size % v->h.block_size), entry;

	if (!in)
		return 0;
	entry = vdi_entry_at(v->writer, (uint32_t)(img->size / v->h.block_size));
	return entry > VDI_LAST ? 0
				: bfile_zero(img->file, vdi_host(&v->h, entry) + in,
					     v->h.block_size - in, true, err);
}

/* Static images have a place for every block */
static int place_all(struct image *img, const struct vdi_header *h, uint32_t old, struct err *err)
{
	struct vdi_writer *w = ((struct vdi *)img->priv)->writer;

	for (uint32_t i = old; i < h->blocks; i++) {
		if (w->next > VDI_LAST)
			return err_set(err, ERR_UNSUPPORTED,
				       "the image has no more places for blocks");
		vdi_set_entry(w, i, w->next++);
	}
	return bfile_truncate(img->file, max_u64(bfile_size(img->file), vdi_host(h, w->next)), err);
}

static int grow(struct image *img, uint64_t size, struct err *err)
{
	struct vdi *v = img->priv;
	struct vdi_writer *w = v->writer;
	struct vdi_header h = v->h;
	uint32_t old = v->h.blocks;

	h.size = size;
	h.blocks = max_u64(old, div_up(size, h.block_size)) > VDI_LAST
			   ? VDI_LAST
			   : (uint32_t)max_u64(old, div_up(size, h.block_size));
	if (div_up(size, h.block_size) > h.blocks || 4ULL * h.blocks > VDI_MAP_MOST)
		return err_set(err, ERR_UNSUPPORTED, "a disk of more than %u blocks",
			       VDI_MAP_MOST / 4);
	if (clear_tail(img, err) < 0)
		return -1;
	if (h.map_offset + 4ULL * h.blocks > h.data_offset) {
		if (move_map(img, &h, err) < 0)
			return -1;
	} else if (more_entries(w, h.blocks, old, err) < 0) {
		return -1;
	}
	if (h.type == VDI_STATIC && place_all(img, &h, old, err) < 0)
		return -1;
	/* Behind the old map, or elsewhere: nobody looks there before the header says so. */
	h.allocated = w->next;
	if (bfile_pwrite(img->file, w->map, 4 * (size_t)h.blocks, h.map_offset, err) < 0 ||
	    write_header(img, &h, err) < 0)
		return -1;
	v->h = h;
	memset(w->dirty, 0, w->pages);
	w->unsaved = false;
	return 0;
}

/* ---- shrinking */

/* *@owner: which block has a place; VDI_NONE: nobody's. Return: how many are somebody's */
static uint32_t owners(const struct vdi *v, uint32_t *owner)
{
	uint32_t n = 0;

	memset(owner, 0xff, 4 * (size_t)v->writer->next);
	for (uint32_t i = 0; i < v->h.blocks; i++) {
		uint32_t e = vdi_entry_at(v->writer, i);

		if (e <= VDI_LAST) {
			owner[e] = i;
			n++;
		}
	}
	return n;
}

/* Blocks beyond the first @n places move into those that are free */
static int fill_holes(struct image *img, const uint32_t *owner, uint32_t n, struct err *err)
{
	struct vdi *v = img->priv;
	CLEANUP_FREE uint8_t *buf = malloc(v->h.block_size);
	uint32_t hole = 0;

	if (!buf)
		return err_nomem(err);
	for (uint32_t from = n; from < v->writer->next; from++) {
		if (owner[from] == VDI_NONE)
			continue;
		while (owner[hole] != VDI_NONE)
			hole++;
		if (copy_block(img, from, hole, buf, err) < 0)
			return -1;
		vdi_set_entry(v->writer, owner[from], hole++);
	}
	return 0;
}

static int shrink(struct image *img, uint64_t size, struct err *err)
{
	struct vdi *v = img->priv;
	struct vdi_writer *w = v->writer;
	struct vdi_header h = v->h;
	CLEANUP_FREE uint32_t *owner = malloc(4 * (size_t)w->next + 4);
	uint32_t n;

	if (!owner)
		return err_nomem(err);
	h.size = size;
	h.blocks = (uint32_t)div_up(size, h.block_size);
	h.allocated = w->next;
	if (write_header(img, &h, err) < 0)
		return -1;
	v->h = h;
	n = owners(v, owner);
	/* The count stays until no entry is beyond it, on the disk. */
	if (fill_holes(img, owner, n, err) < 0 || vdi_save_map(img, err) < 0 ||
	    bfile_flush(img->file, err) < 0)
		return -1;
	w->next = n;
	if (vdi_save_map(img, err) < 0 || bfile_flush(img->file, err) < 0)
		return -1;
	return bfile_truncate(img->file, vdi_host(&v->h, n), err);
}

int vdi_resize(struct image *img, uint64_t size, struct err *err)
{
	struct vdi *v = img->priv;
	int rc;

	if (size % 512 || !size)
		return err_set(err, ERR_USAGE, "%" PRIu64 " bytes are not a number of sectors",
			       size);
	if (v->h.type == VDI_DIFF || !v->writer)
		return err_set(err, ERR_UNSUPPORTED,
			       "a differencing image has the size of its parent");
	if (size == img->size)
		return 0;
	pthread_rwlock_wrlock(&v->writer->lock);
	rc = vdi_begin_change(img, err);
	if (rc == 0 && v->writer->unsaved)
		rc = vdi_save_map(img, err);
	if (rc == 0)
		rc = size < img->size ? shrink(img, size, err) : grow(img, size, err);
	if (rc == 0) {
		img->size = size;
	} else {
		v->writer->failed = true;
		v->writer->unsaved = false;
	}
	pthread_rwlock_unlock(&v->writer->lock);
	return rc;
}
