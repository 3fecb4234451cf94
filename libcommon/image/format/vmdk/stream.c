/* streamOptimized: the footer at the end that says what the header could not, and the markers of grains. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/image/format/vmdk/vmdk.h"

/* Some copiers pad files: the footer is looked for in so many bytes before the end. */
enum { FOOTER_SEARCH = 64 << 10, MARKER_HEAD = 12 };

static bool is_footer(const uint8_t *p)
{
	return get_le32(p + 8) == 0 && get_le32(p + 12) == MARKER_FOOTER &&
	       !memcmp(p + VMDK_SECTOR, "KDMV", 4);
}

int vmdk_stream_footer(struct vmdk_extent *x, struct err *err)
{
	static const char truncated[] =
		"there is no footer at the end (%" PRIu64 "): the stream was cut off";
	uint64_t size = round_down(bfile_size(x->file), VMDK_SECTOR);
	size_t len = (size_t)min_u64(size, FOOTER_SEARCH);
	struct vmdk_header h, footer;
	uint8_t *buf = NULL;
	bool found = false;

	if (len < 3 * VMDK_SECTOR)
		return err_set(err, ERR_CORRUPT, truncated, size);
	buf = malloc(len);
	if (!buf)
		return err_nomem(err);
	if (bfile_pread(x->file, buf, len, size - len, err) < 0) {
		free(buf);
		return -1;
	}
	for (size_t at = len - 3 * VMDK_SECTOR; !found; at -= VMDK_SECTOR) {
		found = is_footer(buf + at) &&
			vmdk_header_decode(buf + at + VMDK_SECTOR, &footer, NULL) == 0;
		if (at == 0)
			break;
	}
	free(buf);
	if (!found)
		return err_set(err, ERR_CORRUPT, truncated, size);
	h = x->h;
	if (footer.gd_offset == VMDK_GD_AT_END)
		return err_set(err, ERR_CORRUPT, "the footer does not say where the directory is");
	if (footer.grain_sectors != h.grain_sectors || footer.gtes != h.gtes ||
	    ((footer.flags ^ h.flags) & (VMDK_COMPRESSED | VMDK_MARKERS)))
		return err_set(err, ERR_CORRUPT, "header and footer contradict each other");
	x->h = footer;
	/* Where the text is the header knows: some writers leave it out of the footer. */
	x->h.desc_offset = h.desc_offset;
	x->h.desc_sectors = h.desc_sectors;
	return 0;
}

int vmdk_marker_read(const struct vmdk_extent *x, uint64_t off, uint64_t grain_no,
		     uint64_t *ret_off, uint64_t *ret_len, struct err *err)
{
	uint64_t size = bfile_size(x->file);
	uint8_t head[MARKER_HEAD];

	if (!x->markers) { /* the stream says itself where it ends */
		*ret_off = off;
		*ret_len = min_u64(2 * x->grain, size - off);
		return 0;
	}
	if (size - off <= MARKER_HEAD)
		return err_set(err, ERR_CORRUPT, "the file ends in the marker at offset %" PRIu64,
			       off);
	if (bfile_pread(x->file, head, sizeof(head), off, err) < 0)
		return -1;

	uint64_t lba = get_le64(head), want = grain_no * (x->grain / VMDK_SECTOR);
	uint32_t len = get_le32(head + 8);

	if (lba != want)
		return err_set(err, ERR_CORRUPT,
			       "the grain at offset %" PRIu64 " is that of sector %" PRIu64
			       ", not %" PRIu64,
			       off, lba, want);
	if (!len || len > 2 * x->grain || len > size - off - MARKER_HEAD)
		return err_set(err, ERR_CORRUPT,
			       "the grain at offset %" PRIu64 " claims %" PRIu32 " bytes", off,
			       len);
	*ret_off = off + MARKER_HEAD;
	*ret_len = len;
	return 0;
}
