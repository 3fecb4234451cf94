/* The header of a VDI file, there and back. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/image/format/vdi/vdi.h"

/* Bytes of the header from its size field on, in version 1.1 */
enum { SIZE_1_1 = 400 };

void vdi_uuid_swap(const uint8_t in[16], uint8_t ret[16])
{
	/* The first three fields are little endian integers in the file, big endian in the text. */
	static const uint8_t from[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

	for (int i = 0; i < 16; i++)
		ret[i] = in[from[i]];
}

char *vdi_uuid_text(const uint8_t uuid[16], char buf[VDI_UUID_TEXT])
{
	uint8_t u[16];

	vdi_uuid_swap(uuid, u);
	(void)snprintf(buf, VDI_UUID_TEXT,
		       "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0],
		       u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12],
		       u[13], u[14], u[15]);
	return buf;
}

bool vdi_uuid_none(const uint8_t uuid[16])
{
	static const uint8_t none[16];

	return memcmp(uuid, none, 16) == 0;
}

static int check_tables(const struct vdi_header *h, struct err *err)
{
	uint64_t map_end = h->map_offset + 4ULL * h->blocks;

	if (h->map_offset % 512 || h->data_offset % 512)
		return err_set(err, ERR_CORRUPT,
			       "block map at offset %" PRIu32 " and data at %" PRIu32
			       " do not begin at sectors",
			       h->map_offset, h->data_offset);
	if (h->map_offset < VDI_HEADER_SIZE)
		return err_set(err, ERR_CORRUPT,
			       "the block map lies in the header, at offset %" PRIu32,
			       h->map_offset);
	/* Whatever comes first, the other one begins behind its end */
	if (h->blocks && h->data_offset < map_end)
		return err_set(err, ERR_CORRUPT,
			       "the block map ends at offset %" PRIu64 ", data begin at %" PRIu32,
			       map_end, h->data_offset);
	return 0;
}

static int check_sizes(const struct vdi_header *h, struct err *err)
{
	if (!is_pow2(h->block_size) || h->block_size < VDI_BLOCK_MIN ||
	    h->block_size > VDI_BLOCK_MAX)
		return err_set(err, ERR_UNSUPPORTED, "blocks of %" PRIu32 " bytes", h->block_size);
	if (h->size > INT64_MAX)
		return err_set(err, ERR_CORRUPT, "a disk of %" PRIu64 " bytes", h->size);
	if (h->blocks < div_up(h->size, h->block_size))
		return err_set(err, ERR_CORRUPT,
			       "a disk of %" PRIu64 " bytes has %" PRIu32 " blocks of %" PRIu32
			       " bytes",
			       h->size, h->blocks, h->block_size);
	if (h->blocks > VDI_LAST)
		return err_set(err, ERR_CORRUPT, "a disk of %" PRIu32 " blocks", h->blocks);
	return 0;
}

int vdi_header_parse(const uint8_t raw[VDI_HEADER_SIZE], struct vdi_header *ret, struct err *err)
{
	uint32_t version = get_le32(raw + 68), header_size = get_le32(raw + 72);

	if (get_le32(raw + 64) != VDI_SIGNATURE)
		return err_set(err, ERR_CORRUPT, "no VDI signature at offset 64");
	if (version >> 16 != 1)
		return err_set(err, ERR_UNSUPPORTED, "VDI version %" PRIu32 ".%" PRIu32,
			       version >> 16, version & 0xffff);
	/* Version 1.0 ends before the second geometry, which nobody needs */
	if (header_size < SIZE_1_1 - 16)
		return err_set(err, ERR_CORRUPT, "a header of %" PRIu32 " bytes", header_size);
	*ret = (struct vdi_header){.type = get_le32(raw + 76),
				   .flags = get_le32(raw + 80),
				   .map_offset = get_le32(raw + 340),
				   .data_offset = get_le32(raw + 344),
				   .size = get_le64(raw + 368),
				   .block_size = get_le32(raw + 376),
				   .blocks = get_le32(raw + 384),
				   .allocated = get_le32(raw + VDI_OFF_ALLOCATED)};
	memcpy(ret->comment, raw + 84, 256);
	memcpy(ret->uuid, raw + 392, 16);
	memcpy(ret->modify, raw + VDI_OFF_UUID_MODIFY, 16);
	memcpy(ret->parent, raw + 424, 16);
	memcpy(ret->parent_modify, raw + VDI_OFF_PARENT_MODIFY, 16);
	if (ret->type == VDI_UNDO || ret->type < VDI_DYNAMIC || ret->type > VDI_DIFF)
		return err_set(err, ERR_UNSUPPORTED, "VDI images of type %" PRIu32, ret->type);
	if (get_le32(raw + 360) != 512)
		return err_set(err, ERR_UNSUPPORTED, "sectors of %" PRIu32 " bytes",
			       get_le32(raw + 360));
	if (get_le32(raw + 380))
		return err_set(err, ERR_UNSUPPORTED, "blocks with %" PRIu32 " extra bytes",
			       get_le32(raw + 380));
	if (ret->type == VDI_DIFF && vdi_uuid_none(ret->parent))
		return err_set(err, ERR_CORRUPT, "a differencing image that names no parent");
	if (check_sizes(ret, err) < 0)
		return -1;
	return check_tables(ret, err);
}

void vdi_header_build(const struct vdi_header *h, uint8_t raw[VDI_HEADER_SIZE])
{
	static const char text[] = "<<< Oracle VM VirtualBox Disk Image >>>\n";

	memset(raw, 0, VDI_HEADER_SIZE);
	memcpy(raw, text, sizeof(text) - 1);
	put_le32(raw + 64, VDI_SIGNATURE);
	put_le32(raw + 68, VDI_VERSION_1_1);
	put_le32(raw + 72, SIZE_1_1);
	put_le32(raw + 76, h->type);
	put_le32(raw + 80, h->flags);
	memcpy(raw + 84, h->comment, 256);
	put_le32(raw + 340, h->map_offset);
	put_le32(raw + 344, h->data_offset);
	put_le32(raw + 360, 512);
	put_le64(raw + 368, h->size);
	put_le32(raw + 376, h->block_size);
	put_le32(raw + 384, h->blocks);
	put_le32(raw + VDI_OFF_ALLOCATED, h->allocated);
	memcpy(raw + 392, h->uuid, 16);
	memcpy(raw + VDI_OFF_UUID_MODIFY, h->modify, 16);
	memcpy(raw + 424, h->parent, 16);
	memcpy(raw + VDI_OFF_PARENT_MODIFY, h->parent_modify, 16);
}
