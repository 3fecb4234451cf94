/* The tables of a new VHDX, all but the BAT: file identifier, headers, region tables, metadata. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/vhdx/vhdx.h"
#include "libcommon/image/utf16.h"

enum {
	CREATOR_AT = 8,
	PAIRS = 2,
	ITEM_FLAG_DISK = 2,
	ITEM_FLAG_REQUIRED = 4,
	LOCATOR_MOST = 128 << 10,
};

static int put_utf16(uint8_t *p, size_t room, const char *text, size_t *ret_len, struct err *err)
{
	CLEANUP_FREE uint8_t *bytes = NULL;

	if (utf8_to_utf16(text, false, &bytes, ret_len, err) < 0)
		return -1;
	if (*ret_len > room || *ret_len > UINT16_MAX)
		return err_set(err, ERR_USAGE, "the name of the parent is too long for a VHDX");
	memcpy(p, bytes, *ret_len);
	return 0;
}

static void put_region(uint8_t *e, const char *guid, uint64_t offset, uint64_t length)
{
	vhdx_guid_put(e, guid);
	put_le64(e + 16, offset);
	put_le32(e + 24, (uint32_t)length);
	put_le32(e + 28, 1); /* required */
}

static int write_head(struct bfile *file, const struct vhdx_ids *ids, uint64_t bat_bytes,
		      struct err *err)
{
	struct vhdx_header h = {.sequence = 1,
				.file_write = ids->file_write,
				.data_write = ids->data_write,
				.version = 1,
				.log_length = VHDX_MIB,
				.log_offset = VHDX_LOG_AT};
	CLEANUP_FREE uint8_t *p = calloc(1, VHDX_MIB);
	uint8_t *table = p ? p + VHDX_REGIONS_AT : NULL;
	size_t len;

	if (!p)
		return err_nomem(err);
	memcpy(p, VHDX_FILE_ID, 8);
	if (put_utf16(p + CREATOR_AT, 512, "vmkit", &len, err) < 0)
		return -1;
	for (size_t i = 0; i < 2; i++, h.sequence++)
		vhdx_header_encode(&h, p + VHDX_HEADER_AT * (1 + i));
	memcpy(table, "regi", 4);
	put_le32(table + 8, 2);
	put_region(table + 16, GUID_BAT, VHDX_BAT_AT, bat_bytes);
	put_region(table + 48, GUID_METADATA, VHDX_METADATA_AT, VHDX_MIB);
	put_le32(table + 4, vhdx_crc(0, table, VHDX_TABLE_BYTES, 4));
	memcpy(table + VHDX_TABLE_BYTES, table, VHDX_TABLE_BYTES);
	return bfile_pwrite(file, p, VHDX_REGIONS_AT + 2 * (size_t)VHDX_TABLE_BYTES, 0, err);
}

/* An item at *@at of the region @p, listed as number *@n */
static uint8_t *add_item(uint8_t *p, unsigned *n, size_t *at, const char *guid, size_t len,
			 uint32_t flags)
{
	uint8_t *e = p + 32 + 32 * (size_t)(*n)++, *item = p + *at;

	vhdx_guid_put(e, guid);
	put_le32(e + 16, (uint32_t)*at);
	put_le32(e + 20, (uint32_t)len);
	put_le32(e + 24, flags);
	put_le16(p + 10, (uint16_t)*n);
	*at += len;
	return item;
}

/* Keys and values follow the pairs. Return: bytes, or -1 */
ssize_t vhdx_make_locator(uint8_t *p, size_t room, const struct vhdx_parent *parent,
			  struct err *err)
{
	char guid[VHDX_GUID_TEXT], linkage[VHDX_GUID_TEXT + 2];
	bool absolute = parent->name[0] == '/';
	size_t path_len = strlen(parent->name) + 3, at = 20 + 12 * PAIRS;
	CLEANUP_FREE char *path = malloc(path_len);

	if (!path)
		return err_nomem(err);
	(void)snprintf(path, path_len, "%s%s", absolute ? "" : ".\\", parent->name);
	for (char *c = path; *c && !absolute; c++)
		if (*c == '/')
			*c = '\\';
	(void)snprintf(linkage, sizeof(linkage), "{%s}", vhdx_guid_text(&parent->identity, guid));

	const char *const pairs[PAIRS][2] = {
		{"parent_linkage", linkage},
		{absolute ? "absolute_win32_path" : "relative_path", path}};

	vhdx_guid_put(p, GUID_LOCATOR_VHDX);
	put_le16(p + 18, PAIRS);
	for (size_t i = 0; i < PAIRS; i++)
		for (size_t j = 0; j < 2; j++) {
			uint8_t *e = p + 20 + 12 * i;
			size_t len;

			if (put_utf16(p + at, room - at, pairs[i][j], &len, err) < 0)
				return -1;
			put_le32(e + 4 * j, (uint32_t)at);
			put_le16(e + 8 + 2 * j, (uint16_t)len);
			at += len;
		}
	return (ssize_t)at;
}

static int write_metadata(struct bfile *file, const struct vhdx_options *o,
			  const struct vhdx_ids *ids, const struct vhdx_parent *parent,
			  struct err *err)
{
	const uint32_t disk = ITEM_FLAG_DISK | ITEM_FLAG_REQUIRED;
	CLEANUP_FREE uint8_t *p = calloc(1, VHDX_TABLE_BYTES + LOCATOR_MOST + 4096);
	size_t at = VHDX_TABLE_BYTES;
	unsigned n = 0;
	uint8_t *item;

	if (!p)
		return err_nomem(err);
	memcpy(p, "metadata", 8);
	item = add_item(p, &n, &at, GUID_FILE_PARAMS, 8, ITEM_FLAG_REQUIRED);
	put_le32(item, o->block_size);
	put_le32(item + 4, (o->fixed ? 1U : 0) | (o->has_parent ? 2U : 0));
	put_le64(add_item(p, &n, &at, GUID_DISK_SIZE, 8, disk), o->size);
	memcpy(add_item(p, &n, &at, GUID_DISK_ID, 16, disk), ids->disk.b, 16);
	put_le32(add_item(p, &n, &at, GUID_LOGICAL, 4, disk), o->logical_sector);
	put_le32(add_item(p, &n, &at, GUID_PHYSICAL, 4, disk), o->physical_sector);
	if (parent->name) {
		ssize_t len = vhdx_make_locator(p + at, LOCATOR_MOST, parent, err);

		if (len < 0)
			return -1;
		(void)add_item(p, &n, &at, GUID_LOCATOR, (size_t)len, ITEM_FLAG_REQUIRED);
	}
	return bfile_pwrite(file, p, at, VHDX_METADATA_AT, err);
}

int vhdx_write_tables(struct bfile *file, const struct vhdx_options *o, const struct vhdx_ids *ids,
		      const struct vhdx_parent *parent, uint64_t bat_bytes, struct err *err)
{
	if (write_metadata(file, o, ids, parent, err) < 0)
		return -1;
	return write_head(file, ids, bat_bytes, err);
}
