/* Guest offset to host offset: the BAT, then the bits of a block's bitmap.
 *
 * A sector whose bit is 0 is not here: the parent has it, or it reads as zero. QEMU looks at the bits neither of
 * dynamic nor of differencing disks; the specification says that they tell, and XenServer writes dynamic disks whose
 * bits are not all set.
 */
#include <inttypes.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/image/blocks.h"
#include "libcommon/image/cache.h"
#include "libcommon/image/format/vhd/writer.h"

int vhd_bat_entry(struct vhd *v, uint32_t block, uint32_t *ret, uint32_t *ret_run, struct err *err)
{
	const uint8_t *p;
	size_t room;
	uint32_t n = 1;

	if (v->writer) {
		const uint32_t *bat = v->writer->bat;

		*ret = bat[block];
		while (*ret == VHD_UNUSED && block + n < v->entries && bat[block + n] == VHD_UNUSED)
			n++;
		*ret_run = n;
		return 0;
	}
	if (table_cache_get(v->bat, v->header.bat_offset + 4ULL * block, &p, &room, err) < 0)
		return err_prefix(err, "block allocation table");
	*ret = get_be32(p);
	while (*ret == VHD_UNUSED && 4ULL * n + 4 <= room && block + n < v->entries &&
	       get_be32(p + 4ULL * n) == VHD_UNUSED)
		n++;
	table_cache_put(v->bat, p);
	*ret_run = n;
	return 0;
}

uint32_t vhd_bits_run(const uint8_t *bits, uint32_t first, uint32_t end, bool *ret_set)
{
	bool set = bits[first / 8] >> (7 - first % 8) & 1;
	uint8_t whole = set ? 0xff : 0;
	uint32_t i = first;

	*ret_set = set;
	while (i < end) {
		if (i % 8 == 0 && end - i >= 8 && bits[i / 8] == whole) {
			i += 8;
			continue;
		}
		if ((bits[i / 8] >> (7 - i % 8) & 1) != set)
			break;
		i++;
	}
	return (i < end ? i : end) - first;
}

/* The run of alike bits at sector @first of the block whose bitmap lies at @at */
static int bits_at(struct vhd *v, uint32_t block, uint64_t at, uint32_t first, uint32_t sectors,
		   uint32_t *ret_run, bool *ret_set, struct err *err)
{
	const struct vhd_bits *dirty = v->writer ? vhd_pending_bits(v->writer, block) : NULL;
	const uint8_t *p;
	uint32_t in_byte = first % 8, end;
	size_t room;

	if (dirty) {
		*ret_run = vhd_bits_run(dirty->bits, first, sectors, ret_set);
		return 0;
	}
	if (table_cache_get(v->bitmaps, at + first / 8, &p, &room, err) < 0)
		return err_prefix(err, "bitmap of block %" PRIu32, block);
	end = (uint32_t)min_u64(sectors - first + in_byte, 8ULL * room);
	*ret_run = vhd_bits_run(p, in_byte, end, ret_set);
	table_cache_put(v->bitmaps, p);
	return 0;
}

static int map_block(struct image *img, struct vhd *v, uint64_t off, uint64_t max,
		     struct extent *ret, struct err *err)
{
	uint32_t block_size = v->header.block_size, entry, run, count = 0;
	uint32_t block = (uint32_t)(off / block_size), in = (uint32_t)(off % block_size);
	uint64_t at, file_size = bfile_size(img->file);
	bool set;

	if (vhd_bat_entry(v, block, &entry, &run, err) < 0)
		return -1;
	if (entry == VHD_UNUSED) {
		ret->kind = EXTENT_UNALLOCATED;
		ret->len = min_u64(max, (uint64_t)run * block_size - in);
		return 0;
	}
	at = (uint64_t)entry * VHD_SECTOR;
	if (!range_inside(at, v->bitmap_size, file_size) ||
	    !vhd_beside_header(v, at, v->bitmap_size))
		return err_set(err, ERR_CORRUPT,
			       "block %" PRIu32 " lies at offset %" PRIu64
			       ": not inside the file's %" PRIu64 " bytes",
			       block, at, file_size);
	if (bits_at(v, block, at, in / VHD_SECTOR, block_size / VHD_SECTOR, &count, &set, err) < 0)
		return -1;
	ret->len = min_u64(max, (uint64_t)count * VHD_SECTOR - in % VHD_SECTOR);
	ret->kind = EXTENT_UNALLOCATED;
	if (!set)
		return 0;
	ret->kind = EXTENT_DATA;
	ret->file = img->file;
	ret->host_off = at + v->bitmap_size + in;
	if (ret->host_off >= file_size)
		return err_set(err, ERR_CORRUPT,
			       "the file ends at offset %" PRIu64 ", bytes of block %" PRIu32
			       " lie behind it, at %" PRIu64,
			       file_size, block, ret->host_off);
	ret->len = min_u64(ret->len, file_size - ret->host_off);
	ret->host_len = ret->len;
	return 0;
}

int vhd_map(struct image *img, uint64_t off, uint64_t max, struct extent *ret, struct err *err)
{
	struct vhd *v = img->priv;
	int rc;

	max = min_u64(max, img->size - off);
	if (v->footer.type == VHD_FIXED) {
		bool data;

		/* Holes of the file are zeros of the disk */
		if (bfile_map(img->file, off, max, &data, &ret->len, err) < 0)
			return -1;
		ret->len = min_u64(ret->len, max);
		ret->kind = data ? EXTENT_DATA : EXTENT_ZERO;
		ret->file = data ? img->file : NULL;
		ret->host_off = data ? off : 0;
		ret->host_len = data ? ret->len : 0;
		return 0;
	}
	if (v->writer)
		pthread_rwlock_rdlock(&v->writer->lock);
	rc = map_block(img, v, off, max, ret, err);
	if (v->writer)
		pthread_rwlock_unlock(&v->writer->lock);
	/* A writer asks where it can write */
	return rc < 0 || v->writer ? rc : blocks_see_holes(ret, err);
}
