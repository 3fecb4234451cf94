/* The metadata region of a VHDX: sizes, sectors, the disk's id, the parent locator. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/vhdx/vhdx.h"

enum {
	ITEMS_MOST = 2047,
	ENTRY_BYTES = 32,
	ITEM_MOST = 1 << 20,
	FLAG_USER = 1,
	FLAG_REQUIRED = 4,
	LEAVE_ALLOCATED = 1,
	HAS_PARENT = 2,
};

enum item { FILE_PARAMS, DISK_SIZE, DISK_ID, LOGICAL, PHYSICAL, LOCATOR, ITEMS };

static const struct {
	const char *guid, *what;
	uint32_t length; /* 0: any */
	bool needed;
} items[ITEMS] = {
	[FILE_PARAMS] = {GUID_FILE_PARAMS, "file parameters", 8, true},
	[DISK_SIZE] = {GUID_DISK_SIZE, "virtual disk size", 8, true},
	[DISK_ID] = {GUID_DISK_ID, "virtual disk id", 16, false},
	[LOGICAL] = {GUID_LOGICAL, "logical sector size", 4, true},
	[PHYSICAL] = {GUID_PHYSICAL, "physical sector size", 4, false},
	[LOCATOR] = {GUID_LOCATOR, "parent locator", 0, false},
};

struct place {
	uint32_t offset, length; /* in the region; length 0: not there */
};

static int find_item(struct vhdx *v, const uint8_t *e, uint64_t at, struct place *found,
		     struct err *err)
{
	struct vhdx_guid g;
	uint32_t flags = get_le32(e + 24);
	char text[VHDX_GUID_TEXT];
	enum item i = FILE_PARAMS;

	memcpy(g.b, e, 16);
	if (get_le32(e + 20) &&
	    range_inside(get_le32(e + 16), get_le32(e + 20), v->metadata.length))
		v->metadata_end = (uint32_t)max_u64(v->metadata_end,
						    (uint64_t)get_le32(e + 16) + get_le32(e + 20));
	while (i < ITEMS && (flags & FLAG_USER || !vhdx_guid_is(&g, items[i].guid)))
		i++;
	if (i == ITEMS) {
		if (flags & FLAG_REQUIRED)
			return err_set(err, ERR_UNSUPPORTED,
				       "the metadata item %s is required, but not known to this "
				       "program",
				       vhdx_guid_text(&g, text));
		return 0;
	}
	if (found[i].length)
		return err_set(err, ERR_CORRUPT, "the %s stands there twice", items[i].what);
	if (i == LOCATOR)
		v->locator_entry = at;
	found[i] = (struct place){.offset = get_le32(e + 16), .length = get_le32(e + 20)};
	return 0;
}

static int read_table(struct vhdx *v, struct place found[ITEMS], struct err *err)
{
	CLEANUP_FREE uint8_t *p = malloc(VHDX_TABLE_BYTES);
	uint16_t n;

	if (!p)
		return err_nomem(err);
	if (bfile_pread(v->file, p, VHDX_TABLE_BYTES, v->metadata.offset, err) < 0)
		return -1;
	n = get_le16(p + 10);
	if (memcmp(p, "metadata", 8) != 0)
		return err_set(err, ERR_CORRUPT, "there is no metadata table at offset %" PRIu64,
			       v->metadata.offset);
	if (n > ITEMS_MOST)
		return err_set(err, ERR_CORRUPT, "the metadata table has %" PRIu16 " entries", n);
	for (size_t i = 0; i < n; i++)
		if (find_item(v, p + 32 + i * ENTRY_BYTES,
			      v->metadata.offset + 32 + i * ENTRY_BYTES, found, err) < 0)
			return -1;
	for (enum item i = FILE_PARAMS; i < ITEMS; i++) {
		struct place *f = &found[i];

		if (!f->length && items[i].needed)
			return err_set(err, ERR_CORRUPT, "the %s is missing", items[i].what);
		if (!f->length)
			continue;
		if (f->length > ITEM_MOST || (items[i].length && f->length < items[i].length) ||
		    f->offset < VHDX_TABLE_BYTES ||
		    !range_inside(f->offset, f->length, v->metadata.length))
			return err_set(err, ERR_CORRUPT,
				       "the %s, %" PRIu32 " bytes at offset %" PRIu32
				       " of the metadata region, is out of bounds",
				       items[i].what, f->length, f->offset);
	}
	return 0;
}

static int read_item(struct vhdx *v, const struct place *f, void *buf, size_t len, struct err *err)
{
	if (!f->length)
		return 0;
	return bfile_pread(v->file, buf, len, v->metadata.offset + f->offset, err);
}

static int check_sizes(struct vhdx *v, uint64_t size, struct err *err)
{
	if (!is_pow2(v->block_size) || v->block_size < VHDX_MIB || v->block_size > 256 * VHDX_MIB)
		return err_set(err, ERR_CORRUPT,
			       "blocks of %" PRIu32
			       " bytes: a power of two from 1 to 256 MiB is wanted",
			       v->block_size);
	if (v->logical_sector != 512 && v->logical_sector != 4096)
		return err_set(err, ERR_CORRUPT,
			       "logical sectors of %" PRIu32 " bytes: 512 or 4096 is wanted",
			       v->logical_sector);
	if (v->physical_sector && v->physical_sector != 512 && v->physical_sector != 4096)
		return err_set(err, ERR_CORRUPT,
			       "physical sectors of %" PRIu32 " bytes: 512 or 4096 is wanted",
			       v->physical_sector);
	if (!size || size > VHDX_MOST_BYTES || size % v->logical_sector)
		return err_set(err, ERR_CORRUPT,
			       "a disk of %" PRIu64
			       " bytes: a number of sectors up to 64 TiB is wanted",
			       size);
	v->blocks = div_up(size, v->block_size);
	v->chunk_blocks = vhdx_chunk_blocks(v->block_size, v->logical_sector);
	v->bat_entries = vhdx_bat_entries(v->blocks, v->chunk_blocks, v->has_parent);
	if (v->bat_entries * 8 > v->bat_region.length)
		return err_set(err, ERR_CORRUPT,
			       "the block allocation table has %" PRIu32
			       " bytes, the disk needs %" PRIu64,
			       v->bat_region.length, v->bat_entries * 8);
	return 0;
}

int vhdx_metadata_read(struct image *img, struct vhdx *v, struct err *err)
{
	struct place found[ITEMS] = {{0}};
	uint8_t params[8], size[8], logical[4], physical[4] = {0};
	CLEANUP_FREE uint8_t *locator = NULL;

	if (read_table(v, found, err) < 0 ||
	    read_item(v, &found[FILE_PARAMS], params, 8, err) < 0 ||
	    read_item(v, &found[DISK_SIZE], size, 8, err) < 0 ||
	    read_item(v, &found[LOGICAL], logical, 4, err) < 0 ||
	    read_item(v, &found[PHYSICAL], physical, 4, err) < 0 ||
	    read_item(v, &found[DISK_ID], v->disk_id.b, 16, err) < 0)
		return -1;
	v->size_at = v->metadata.offset + found[DISK_SIZE].offset;
	v->has_disk_id = found[DISK_ID].length;
	v->block_size = get_le32(params);
	v->fixed = get_le32(params + 4) & LEAVE_ALLOCATED;
	v->has_parent = get_le32(params + 4) & HAS_PARENT;
	v->logical_sector = get_le32(logical);
	v->physical_sector = get_le32(physical);
	img->sector_size = v->logical_sector;
	img->size = get_le64(size);
	if (check_sizes(v, img->size, err) < 0)
		return -1;
	img->cluster_size = v->block_size;
	if (!v->has_parent)
		return 0;
	if (!found[LOCATOR].length)
		return err_set(err, ERR_CORRUPT, "a differencing disk without a parent locator");
	locator = malloc(found[LOCATOR].length);
	if (!locator)
		return err_nomem(err);
	if (read_item(v, &found[LOCATOR], locator, found[LOCATOR].length, err) < 0)
		return -1;
	v->locator_at = v->metadata.offset + found[LOCATOR].offset;
	v->locator_bytes = found[LOCATOR].length;
	return vhdx_locator_parse(v, locator, found[LOCATOR].length, err);
}
