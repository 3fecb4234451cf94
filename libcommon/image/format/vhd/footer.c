/* The footer of a VHD: 512 bytes at the end of the file, 511 in those of old Virtual PC.
 *
 * How large is the disk? The footer says it twice, and programs differ: Virtual PC and old QEMU take the geometry
 * (CHS), Hyper-V and all others current_size. As QEMU decides, the creator tells which; the largest geometry that
 * there is (127 GiB) stands for "at least", so then it is current_size as well.
 */
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/image/format/vhd/vhd.h"

#define COOKIE "conectix"

enum { CHECKSUM_AT = 64, OLD_BYTES = 511 };

#define MOST_GEOMETRY (65535ULL * 16 * 255)

uint32_t vhd_checksum(const uint8_t *p, size_t len, size_t at)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		if (i < at || i >= at + 4)
			sum += p[i];
	return ~sum;
}

bool vhd_has_cookie(const uint8_t *p, size_t len)
{
	return len >= OLD_BYTES && !memcmp(p, COOKIE, 8);
}

bool vhd_footer_valid(const uint8_t *p, size_t len)
{
	return vhd_has_cookie(p, len) &&
	       get_be32(p + CHECKSUM_AT) == vhd_checksum(p, len, CHECKSUM_AT);
}

static void copy_tag(char shown[5], char raw[4], const uint8_t *p)
{
	memcpy(raw, p, 4);
	for (int i = 0; i < 4; i++)
		shown[i] = p[i] >= 0x20 && p[i] < 0x7f ? (char)p[i] : '\0';
	shown[4] = '\0';
}

void vhd_footer_parse(const uint8_t p[VHD_SECTOR], struct vhd_footer *f)
{
	*f = (struct vhd_footer){.features = get_be32(p + 8),
				 .version = get_be32(p + 12),
				 .data_offset = get_be64(p + 16),
				 .timestamp = get_be32(p + 24),
				 .creator_version = get_be32(p + 32),
				 .original_size = get_be64(p + 40),
				 .current_size = get_be64(p + 48),
				 .cylinders = get_be16(p + 56),
				 .heads = p[58],
				 .sectors = p[59],
				 .type = get_be32(p + 60),
				 .saved_state = p[84]};
	copy_tag(f->creator, f->creator_raw, p + 28);
	copy_tag(f->creator_os, f->creator_os_raw, p + 36);
	memcpy(f->uuid, p + 68, 16);
}

void vhd_footer_encode(const struct vhd_footer *f, uint8_t p[VHD_SECTOR])
{
	memset(p, 0, VHD_SECTOR);
	memcpy(p, COOKIE, 8);
	put_be32(p + 8, f->features);
	put_be32(p + 12, f->version);
	put_be64(p + 16, f->data_offset);
	put_be32(p + 24, f->timestamp);
	memcpy(p + 28, f->creator_raw, 4);
	put_be32(p + 32, f->creator_version);
	memcpy(p + 36, f->creator_os_raw, 4);
	put_be64(p + 40, f->original_size);
	put_be64(p + 48, f->current_size);
	put_be16(p + 56, f->cylinders);
	p[58] = f->heads;
	p[59] = f->sectors;
	put_be32(p + 60, f->type);
	memcpy(p + 68, f->uuid, 16);
	p[84] = f->saved_state;
	put_be32(p + CHECKSUM_AT, vhd_checksum(p, VHD_SECTOR, CHECKSUM_AT));
}

void vhd_geometry(uint64_t sectors, uint16_t *ret_cylinders, uint8_t *ret_heads,
		  uint8_t *ret_sectors)
{
	uint64_t per_track, heads, tracks;

	if (sectors > MOST_GEOMETRY)
		sectors = MOST_GEOMETRY;
	if (sectors >= 65535ULL * 16 * 63) {
		per_track = 255;
		heads = 16;
		tracks = sectors / per_track;
	} else {
		per_track = 17;
		tracks = sectors / per_track;
		heads = (tracks + 1023) / 1024;
		if (heads < 4)
			heads = 4;
		if (tracks >= heads * 1024 || heads > 16) {
			per_track = 31;
			heads = 16;
			tracks = sectors / per_track;
		}
		if (tracks >= heads * 1024) {
			per_track = 63;
			heads = 16;
			tracks = sectors / per_track;
		}
	}
	*ret_cylinders = (uint16_t)(tracks / heads);
	*ret_heads = (uint8_t)heads;
	*ret_sectors = (uint8_t)per_track;
}

bool vhd_size_by_chs(const struct vhd_footer *f)
{
	/* These take current_size: Hyper-V, QEMU with force_size, Disk2vhd, XenServer, XenConvert, Azure */
	static const char by_size[][5] = {"win ", "qem2", "d2v ", "tap\0", "CTXS", "wa\0\0"};
	uint64_t chs = (uint64_t)f->cylinders * f->heads * f->sectors;

	for (size_t i = 0; i < sizeof(by_size) / sizeof(by_size[0]); i++)
		if (!memcmp(f->creator_raw, by_size[i], 4))
			return false;
	return chs && chs < MOST_GEOMETRY;
}

uint64_t vhd_size_of(const struct vhd_footer *f)
{
	if (vhd_size_by_chs(f))
		return (uint64_t)f->cylinders * f->heads * f->sectors * VHD_SECTOR;
	return f->current_size / VHD_SECTOR * VHD_SECTOR;
}
