/* The first MiB of a VHDX: two headers, of which the newer one counts, and two equal region tables. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/vhdx/vhdx.h"

enum { REGIONS_MOST = 2047, ENTRY_BYTES = 32 };

static struct vhdx_guid get_guid(const uint8_t *p)
{
	struct vhdx_guid g;

	memcpy(g.b, p, 16);
	return g;
}

static bool header_parse(const uint8_t *p, struct vhdx_header *h)
{
	if (memcmp(p, "head", 4) != 0 ||
	    get_le32(p + VHDX_CHECKSUM_AT) != vhdx_crc(0, p, VHDX_HEADER_BYTES, VHDX_CHECKSUM_AT))
		return false;
	*h = (struct vhdx_header){.sequence = get_le64(p + 8),
				  .file_write = get_guid(p + 16),
				  .data_write = get_guid(p + 32),
				  .log = get_guid(p + 48),
				  .log_version = get_le16(p + 64),
				  .version = get_le16(p + 66),
				  .log_length = get_le32(p + 68),
				  .log_offset = get_le64(p + 72)};
	return true;
}

void vhdx_header_encode(const struct vhdx_header *h, uint8_t p[VHDX_HEADER_BYTES])
{
	memset(p, 0, VHDX_HEADER_BYTES);
	memcpy(p, "head", 4);
	put_le64(p + 8, h->sequence);
	memcpy(p + 16, h->file_write.b, 16);
	memcpy(p + 32, h->data_write.b, 16);
	memcpy(p + 48, h->log.b, 16);
	put_le16(p + 64, h->log_version);
	put_le16(p + 66, h->version);
	put_le32(p + 68, h->log_length);
	put_le64(p + 72, h->log_offset);
	put_le32(p + VHDX_CHECKSUM_AT, vhdx_crc(0, p, VHDX_HEADER_BYTES, VHDX_CHECKSUM_AT));
}

int vhdx_headers_read(struct bfile *file, struct vhdx *v, struct err *err)
{
	uint8_t p[VHDX_HEADER_BYTES];
	bool any = false;

	if (bfile_pread(file, p, 8, 0, err) < 0)
		return -1;
	if (memcmp(p, VHDX_FILE_ID, 8) != 0)
		return err_set(err, ERR_CORRUPT, "does not begin with \"%s\"", VHDX_FILE_ID);
	for (unsigned i = 0; i < 2; i++) {
		struct vhdx_header h;

		if (bfile_pread(file, p, sizeof(p), VHDX_HEADER_AT * (1ULL + i), err) < 0)
			return -1;
		v->header_valid[i] = header_parse(p, &h);
		if (!v->header_valid[i] || (any && h.sequence <= v->header.sequence))
			continue;
		v->header = h;
		v->current = i;
		any = true;
	}
	if (!any)
		return err_set(err, ERR_CORRUPT,
			       "neither of the headers at offsets 65536 and 131072 is valid");
	if (v->header.version != 1)
		return err_set(err, ERR_UNSUPPORTED, "version %" PRIu16, v->header.version);
	return 0;
}

int vhdx_header_update(struct bfile *file, struct vhdx *v, struct err *err)
{
	uint8_t p[VHDX_HEADER_BYTES];

	for (int i = 0; i < 2; i++) {
		unsigned other = !v->current;

		v->header.sequence++;
		vhdx_header_encode(&v->header, p);
		if (bfile_pwrite(file, p, sizeof(p), VHDX_HEADER_AT * (1ULL + other), err) < 0 ||
		    bfile_flush(file, err) < 0)
			return -1;
		v->header_valid[other] = true;
		v->current = other;
	}
	return 0;
}

/* ---- regions */

static int check_region(struct vhdx *v, const struct vhdx_region *r, const char *what,
			struct err *err)
{
	uint64_t size = bfile_size(v->file), log = v->header.log_offset;

	if (!r->length)
		return err_set(err, ERR_CORRUPT, "there is no %s", what);
	if (r->offset % VHDX_MIB || r->offset < VHDX_MIB || r->length % VHDX_MIB)
		return err_set(err, ERR_CORRUPT,
			       "%s of %" PRIu32 " bytes at offset %" PRIu64
			       ": not in whole MiB behind the first",
			       what, r->length, r->offset);
	if (!range_inside(r->offset, r->length, size))
		return err_set(err, ERR_CORRUPT,
			       "%s of %" PRIu32 " bytes at offset %" PRIu64
			       " lies beyond the end of the file (%" PRIu64 " bytes)",
			       what, r->length, r->offset, size);
	if (v->header.log_length && r->offset < log + v->header.log_length &&
	    log < r->offset + r->length)
		return err_set(err, ERR_CORRUPT, "%s at offset %" PRIu64 " lies over the log", what,
			       r->offset);
	return 0;
}

static int parse_regions(struct vhdx *v, const uint8_t *p, struct err *err)
{
	uint32_t n = get_le32(p + 8);

	if (n > REGIONS_MOST)
		return err_set(err, ERR_CORRUPT, "the region table has %" PRIu32 " entries", n);
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *e = p + 16 + (size_t)i * ENTRY_BYTES;
		struct vhdx_guid g = get_guid(e);
		struct vhdx_region r = {.offset = get_le64(e + 16), .length = get_le32(e + 24)};
		struct vhdx_region *known = vhdx_guid_is(&g, GUID_BAT)	      ? &v->bat_region
					    : vhdx_guid_is(&g, GUID_METADATA) ? &v->metadata
									      : NULL;
		char text[VHDX_GUID_TEXT];

		if (!known && get_le32(e + 28) & 1)
			return err_set(err, ERR_UNSUPPORTED,
				       "the region %s is required, but not known to this program",
				       vhdx_guid_text(&g, text));
		if (known && known->length)
			return err_set(err, ERR_CORRUPT, "the region %s stands there twice",
				       vhdx_guid_text(&g, text));
		if (known)
			*known = r;
		if (range_inside(r.offset, r.length, bfile_size(v->file)))
			v->regions_end = max_u64(v->regions_end, r.offset + r.length);
	}
	if (check_region(v, &v->bat_region, "block allocation table", err) < 0 ||
	    check_region(v, &v->metadata, "metadata region", err) < 0)
		return -1;
	if (v->bat_region.offset < v->metadata.offset + v->metadata.length &&
	    v->metadata.offset < v->bat_region.offset + v->bat_region.length)
		return err_set(err, ERR_CORRUPT,
			       "metadata and block allocation table lie over each other at offset "
			       "%" PRIu64,
			       max_u64(v->bat_region.offset, v->metadata.offset));
	return 0;
}

int vhdx_regions_read(struct vhdx *v, struct err *err)
{
	CLEANUP_FREE uint8_t *p = malloc(2 * (size_t)VHDX_TABLE_BYTES);
	uint8_t *second = p ? p + VHDX_TABLE_BYTES : NULL;

	if (!p)
		return err_nomem(err);
	if (bfile_pread(v->file, p, 2 * (size_t)VHDX_TABLE_BYTES, VHDX_REGIONS_AT, err) < 0)
		return -1;
	for (size_t i = 0; i < 2; i++) {
		const uint8_t *t = p + i * VHDX_TABLE_BYTES;

		v->regions_valid[i] = !memcmp(t, "regi", 4) &&
				      get_le32(t + VHDX_CHECKSUM_AT) ==
					      vhdx_crc(0, t, VHDX_TABLE_BYTES, VHDX_CHECKSUM_AT);
	}
	if (!v->regions_valid[0] && !v->regions_valid[1])
		return err_set(
			err, ERR_CORRUPT,
			"neither of the region tables at offsets 196608 and 262144 is valid");
	v->regions_differ = v->regions_valid[0] && v->regions_valid[1] &&
			    memcmp(p, second, VHDX_TABLE_BYTES) != 0;
	v->bat_region = v->metadata = (struct vhdx_region){0};
	return parse_regions(v, v->regions_valid[0] ? p : second, err);
}
