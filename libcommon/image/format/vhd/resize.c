/* Another size for a VHD. A fixed one moves its footer; a dynamic one gets a longer BAT, at the end of the file when
 * there is no room behind the old. Order: what is new is durable before the header or a footer names it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/vhd/writer.h"

enum { PER_SECTOR = VHD_SECTOR / 4 };

static void set_size(struct image *img, struct vhd *v, uint64_t size)
{
	struct vhd_footer *f = &v->footer;

	f->current_size = size;
	vhd_geometry(size / VHD_SECTOR, &f->cylinders, &f->heads, &f->sectors);
	/* Readers that trust the geometry would see another size: from here on it is current_size */
	if (vhd_size_of(f) != size) {
		memcpy(f->creator_raw, "win ", 4);
		f->creator_version = 0x000a0000;
	}
	vhd_footer_encode(f, v->footer_bytes);
	img->size = size;
}

static int resize_fixed(struct image *img, struct vhd *v, uint64_t size, struct err *err)
{
	uint64_t old_end = v->footer_off;
	int rc;

	v->footer_off = size;
	set_size(img, v, size);
	/* It has no other footer, so one is at its end at any moment */
	if (vhd_put_footer(img, err) < 0 || bfile_flush(img->file, err) < 0)
		return -1;
	rc = size > old_end ? bfile_zero(img->file, old_end, min_u64(VHD_SECTOR, size - old_end),
					 false, err)
			    : bfile_truncate(img->file, size + VHD_SECTOR, err);
	return rc < 0 ? -1 : bfile_flush(img->file, err);
}

static int write_header(struct image *img, struct vhd *v, struct err *err)
{
	vhd_header_encode(&v->header, v->header_bytes);
	return bfile_pwrite(img->file, v->header_bytes, VHD_HEADER_BYTES, v->footer.data_offset,
			    err);
}

/* Bytes that the BAT may take where it is */
static uint64_t bat_space(const struct vhd *v)
{
	uint64_t end = v->footer_off;

	for (uint32_t i = 0; i < v->entries; i++) {
		uint64_t at = (uint64_t)v->writer->bat[i] * VHD_SECTOR;

		if (v->writer->bat[i] != VHD_UNUSED && at >= v->header.bat_offset)
			end = min_u64(end, at);
	}
	for (size_t i = 0; i < VHD_LOCATORS; i++)
		if (v->header.locators[i].code &&
		    v->header.locators[i].offset >= v->header.bat_offset)
			end = min_u64(end, v->header.locators[i].offset);
	if (v->footer.data_offset > v->header.bat_offset)
		end = min_u64(end, v->footer.data_offset);
	return end - v->header.bat_offset;
}

static int more_entries(struct vhd_writer *w, uint32_t entries, uint32_t old, struct err *err)
{
	uint32_t room = (uint32_t)round_up(entries, PER_SECTOR);
	uint32_t *bat = reallocarray(w->bat, room + 1U, 4);
	uint8_t *dirty;

	if (!bat)
		return err_nomem(err);
	w->bat = bat;
	dirty = realloc(w->bat_dirty, room / PER_SECTOR + 1);
	if (!dirty)
		return err_nomem(err);
	w->bat_dirty = dirty;
	w->bat_room = room;
	for (uint32_t i = old; i < room; i++)
		bat[i] = VHD_UNUSED;
	memset(dirty, 1, room / PER_SECTOR + 1); /* all of it, maybe at a new place */
	w->tables_dirty = true;
	return 0;
}

int vhd_put_both_footers(struct image *img, struct err *err)
{
	const struct vhd *v = img->priv;

	if (bfile_flush(img->file, err) < 0 || vhd_put_footer(img, err) < 0 ||
	    bfile_pwrite(img->file, v->footer_bytes, VHD_SECTOR, 0, err) < 0)
		return -1;
	return bfile_flush(img->file, err);
}

/* What a shrunk disk loses must not come back when it grows: the rest of its last block goes now */
static int shrink_dynamic(struct image *img, struct vhd *v, uint64_t size, struct err *err)
{
	uint64_t last = size % v->header.block_size;
	uint64_t rest = last ? min_u64(v->header.block_size - last, img->size - size) : 0;

	if ((rest && vhd_write_zeroes(img, size, rest, true, err) < 0) ||
	    vhd_write_tables(img, err) < 0)
		return -1;
	set_size(img, v, size);
	if (vhd_put_both_footers(img, err) < 0)
		return -1;
	v->entries = v->header.max_entries = (uint32_t)div_up(size, v->header.block_size);
	if (write_header(img, v, err) < 0)
		return -1;
	vhd_find_end(v, v->writer);
	return bfile_flush(img->file, err) < 0 ? -1 : vhd_cut(img, err);
}

static int grow_dynamic(struct image *img, struct vhd *v, uint64_t size, struct err *err)
{
	uint32_t entries = (uint32_t)div_up(size, v->header.block_size);
	uint64_t bytes = round_up(4ULL * entries, VHD_SECTOR), at;

	if (vhd_write_tables(img, err) < 0 || more_entries(v->writer, entries, v->entries, err) < 0)
		return -1;
	at = v->header.bat_offset;
	if (bytes > bat_space(v))
		at = round_up(v->writer->next, VHD_SECTOR);
	if (at + bytes > v->writer->next && vhd_take(img, at + bytes, err) < 0)
		return -1;
	v->header.bat_offset = at;
	v->entries = v->header.max_entries = entries;
	if (vhd_write_tables(img, err) < 0 || write_header(img, v, err) < 0)
		return -1;
	set_size(img, v, size);
	return vhd_put_both_footers(img, err);
}

int vhd_resize(struct image *img, uint64_t size, struct err *err)
{
	struct vhd *v = img->priv;
	int rc;

	if (size % VHD_SECTOR || !size)
		return err_set(err, ERR_USAGE, "%" PRIu64 " bytes are not a number of sectors",
			       size);
	if (size > VHD_MOST_BYTES)
		return err_set(err, ERR_USAGE, "a VHD has at most 2040 GiB, not %" PRIu64 " bytes",
			       size);
	if (v->footer.type == VHD_DIFFERENCING)
		return err_set(err, ERR_UNSUPPORTED,
			       "a differencing disk has the size of its parent");
	if (size == img->size)
		return 0;
	pthread_mutex_lock(&v->writer->slow);
	if (v->footer.type == VHD_FIXED)
		rc = resize_fixed(img, v, size, err);
	else
		rc = size < img->size ? shrink_dynamic(img, v, size, err)
				      : grow_dynamic(img, v, size, err);
	if (rc < 0)
		v->writer->failed = true;
	pthread_mutex_unlock(&v->writer->slow);
	return rc;
}
