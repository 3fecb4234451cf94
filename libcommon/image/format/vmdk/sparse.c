/* Hosted sparse extents: the header of 512 bytes, and what must hold of it. */
#include <inttypes.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/image/format/vmdk/vmdk.h"

int vmdk_header_kind(const uint8_t *sector, size_t len)
{
	if (len >= 4 && !memcmp(sector, "KDMV", 4))
		return VMDK_SPARSE;
	if (len >= 4 && !memcmp(sector, "COWD", 4))
		return VMDK_COWD;
	if (len >= 8 && get_le64(sector) == VMDK_SESPARSE_MAGIC)
		return VMDK_SESPARSE;
	return -1;
}

int vmdk_header_decode(const uint8_t *s, struct vmdk_header *h, struct err *err)
{
	if (memcmp(s, "KDMV", 4))
		return err_set(err, ERR_CORRUPT, "has no header of a sparse extent");
	*h = (struct vmdk_header){
		.version = get_le32(s + 4),
		.flags = get_le32(s + 8),
		.capacity = get_le64(s + 12),
		.grain_sectors = get_le64(s + 20),
		.desc_offset = get_le64(s + 28),
		.desc_sectors = get_le64(s + 36),
		.gtes = get_le32(s + 44),
		.rgd_offset = get_le64(s + 48),
		.gd_offset = get_le64(s + 56),
		.overhead = get_le64(s + 64),
		.unclean = s[VMDK_UNCLEAN_AT],
		.algorithm = get_le16(s + 77),
	};
	if (h->version < 1 || h->version > 3)
		return err_set(err, ERR_UNSUPPORTED, "VMDK version %" PRIu32 " (1 to 3 are known)",
			       h->version);
	/* FTP in text mode; zero where a writer left the test out in spite of the flag */
	if ((h->flags & VMDK_NEWLINES) && memcmp(s + 73, "\n \r\n", 4) &&
	    memcmp(s + 73, "\0\0\0\0", 4))
		return err_set(
			err, ERR_CORRUPT,
			"line ends at offset 73 were changed: the file was transferred as text");
	if ((h->flags & VMDK_COMPRESSED) && h->algorithm != 1)
		return err_set(err, ERR_UNSUPPORTED, "compression algorithm %u", h->algorithm);
	return 0;
}

void vmdk_header_encode(const struct vmdk_header *h, uint8_t s[VMDK_SECTOR])
{
	memset(s, 0, VMDK_SECTOR);
	memcpy(s, "KDMV", 4);
	put_le32(s + 4, h->version);
	put_le32(s + 8, h->flags);
	put_le64(s + 12, h->capacity);
	put_le64(s + 20, h->grain_sectors);
	put_le64(s + 28, h->desc_offset);
	put_le64(s + 36, h->desc_sectors);
	put_le32(s + 44, h->gtes);
	put_le64(s + 48, h->rgd_offset);
	put_le64(s + 56, h->gd_offset);
	put_le64(s + 64, h->overhead);
	s[VMDK_UNCLEAN_AT] = h->unclean;
	memcpy(s + 73, "\n \r\n", 4);
	put_le16(s + 77, h->algorithm);
}

int vmdk_geometry_check(struct vmdk_extent *x, uint64_t capacity_sectors, uint64_t grain_sectors,
			uint32_t gtes, struct err *err)
{
	if (capacity_sectors > INT64_MAX / VMDK_SECTOR)
		return err_set(err, ERR_CORRUPT, "claims %" PRIu64 " sectors", capacity_sectors);
	if (!is_pow2(grain_sectors) || grain_sectors > VMDK_GRAIN_MAX / VMDK_SECTOR)
		return err_set(err, ERR_CORRUPT, "claims grains of %" PRIu64 " sectors",
			       grain_sectors);
	if (!gtes || gtes > 65536)
		return err_set(err, ERR_CORRUPT, "claims grain tables of %" PRIu32 " entries",
			       gtes);
	x->capacity = capacity_sectors * VMDK_SECTOR;
	x->grain = grain_sectors * VMDK_SECTOR;
	x->gtes = gtes;
	x->gd_entries = div_up(x->capacity, x->grain * gtes);
	return 0;
}

/* Sector @off to bytes, if a directory of this extent there lies inside the file */
static bool directory_fits(const struct vmdk_extent *x, uint64_t off, uint64_t *ret)
{
	return u64_mul(off, VMDK_SECTOR, ret) && *ret >= VMDK_SECTOR &&
	       range_inside(*ret, x->gd_entries * 4, bfile_size(x->file));
}

int vmdk_sparse_open(struct vmdk_extent *x, bool full, struct err *err)
{
	uint8_t sector[VMDK_SECTOR];

	if (bfile_pread(x->file, sector, sizeof(sector), 0, err) < 0 ||
	    vmdk_header_decode(sector, &x->h, err) < 0)
		return -1;
	if (full && x->h.gd_offset == VMDK_GD_AT_END && x->h.capacity &&
	    vmdk_stream_footer(x, err) < 0)
		return -1;
	x->footer = get_le64(sector + 56) == VMDK_GD_AT_END;
	x->compressed = x->h.flags & VMDK_COMPRESSED;
	x->markers = x->h.flags & VMDK_MARKERS;
	if (vmdk_geometry_check(x, x->h.capacity, x->h.grain_sectors, x->h.gtes, err) < 0)
		return -1;
	if (x->compressed && x->grain > VMDK_PACKED_MAX)
		return err_set(err, ERR_UNSUPPORTED, "compressed grains of %" PRIu64 " bytes",
			       x->grain);
	if (!full)
		return 0;

	bool gd = directory_fits(x, x->h.gd_offset, &x->gd_off);
	bool rgd = (x->h.flags & VMDK_RGD) && directory_fits(x, x->h.rgd_offset, &x->rgd_off);

	if (!rgd)
		x->rgd_off = 0;
	if (!gd && !rgd)
		return err_set(err, ERR_CORRUPT,
			       "the grain directory of %" PRIu64 " entries at sector %" PRIu64
			       " lies outside of the file",
			       x->gd_entries, x->h.gd_offset);
	if (!gd) {
		x->gd_off = x->rgd_off;
		x->rgd_off = 0;
	}
	return 0;
}
