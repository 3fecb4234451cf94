/* The header of dynamic and differencing VHDs, and the names under which a differencing one knows its parent. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/vhd/vhd.h"
#include "libcommon/image/utf16.h"

#define COOKIE "cxsparse"

enum { CHECKSUM_AT = 36, NAME_AT = 64, LOCATORS_AT = 576, LOCATOR_BYTES = 24 };

/* Below it a bitmap would take a larger part of the file than is sane; above, one read of bits too much */
enum { LEAST_BLOCK = 4096, MOST_BLOCK = 256 << 20 };

bool vhd_beside_header(const struct vhd *v, uint64_t off, uint64_t len)
{
	uint64_t at = v->footer.data_offset;

	return off >= VHD_SECTOR && (off >= at + VHD_HEADER_BYTES || range_inside(off, len, at));
}

static int check_header(const struct vhd_header *h, const struct vhd *v, uint64_t size,
			uint64_t file_size, struct err *err)
{
	uint64_t entries;

	if (!is_pow2(h->block_size) || h->block_size < LEAST_BLOCK || h->block_size > MOST_BLOCK)
		return err_set(err, ERR_CORRUPT,
			       "blocks of %" PRIu32
			       " bytes: a power of two from %d to %d is wanted",
			       h->block_size, LEAST_BLOCK, MOST_BLOCK);
	if (size > VHD_MOST_BYTES * 2)
		return err_set(err, ERR_CORRUPT, "a disk of %" PRIu64 " bytes is impossible", size);
	entries = div_up(size, h->block_size);
	if (h->max_entries < entries)
		return err_set(err, ERR_CORRUPT,
			       "the block allocation table has %" PRIu32
			       " entries, a disk of %" PRIu64 " bytes needs %" PRIu64,
			       h->max_entries, size, entries);
	if (h->bat_offset % VHD_SECTOR || !vhd_beside_header(v, h->bat_offset, 4 * entries) ||
	    !range_inside(h->bat_offset, 4 * entries, file_size))
		return err_set(err, ERR_CORRUPT,
			       "the block allocation table of %" PRIu64 " bytes at offset %" PRIu64
			       " is not inside the file (%" PRIu64 " bytes) or not aligned",
			       4 * entries, h->bat_offset, file_size);
	return 0;
}

int vhd_header_read(struct image *img, struct vhd *v, struct err *err)
{
	uint8_t *p = v->header_bytes;
	struct vhd_header *h = &v->header;
	uint64_t at = v->footer.data_offset, file_size = bfile_size(img->file);

	if (!range_inside(at, VHD_HEADER_BYTES, file_size))
		return err_set(err, ERR_CORRUPT,
			       "the header lies at offset %" PRIu64
			       ", beyond the end of the file (%" PRIu64 " bytes)",
			       at, file_size);
	if (bfile_pread(img->file, p, VHD_HEADER_BYTES, at, err) < 0)
		return -1;
	if (memcmp(p, COOKIE, 8) != 0)
		return err_set(err, ERR_CORRUPT, "there is no header at offset %" PRIu64, at);
	if (get_be32(p + CHECKSUM_AT) != vhd_checksum(p, VHD_HEADER_BYTES, CHECKSUM_AT))
		return err_set(err, ERR_CORRUPT,
			       "the checksum of the header at offset %" PRIu64 " is wrong", at);
	if (get_be32(p + 24) >> 16 != 1)
		return err_set(err, ERR_UNSUPPORTED,
			       "version %" PRIu32 ".%" PRIu32 " of the header",
			       get_be32(p + 24) >> 16, get_be32(p + 24) & 0xffff);
	h->bat_offset = get_be64(p + 16);
	h->max_entries = get_be32(p + 28);
	h->block_size = get_be32(p + 32);
	memcpy(h->parent_uuid, p + 40, 16);
	h->parent_time = get_be32(p + 56);
	for (size_t i = 0; i < VHD_LOCATORS; i++) {
		const uint8_t *l = p + LOCATORS_AT + i * LOCATOR_BYTES;

		/* Their space is in sectors or in bytes, as writers please; the length is certain. */
		h->locators[i].code = get_be32(l);
		h->locators[i].length = get_be32(l + 8);
		h->locators[i].offset = get_be64(l + 16);
	}
	if (check_header(h, v, img->size, file_size, err) < 0)
		return -1;
	v->entries = (uint32_t)div_up(img->size, h->block_size);
	v->bitmap_size = (uint32_t)round_up(h->block_size / VHD_SECTOR / 8, VHD_SECTOR);
	return v->footer.type == VHD_DIFFERENCING
		       ? utf16_to_utf8(p + NAME_AT, VHD_NAME_BYTES, true, &h->parent_name, err)
		       : 0;
}

void vhd_header_encode(const struct vhd_header *h, uint8_t p[VHD_HEADER_BYTES])
{
	uint8_t name[VHD_NAME_BYTES];

	memcpy(name, p + NAME_AT, sizeof(name)); /* the caller has put it there */
	memset(p, 0, VHD_HEADER_BYTES);
	memcpy(p + NAME_AT, name, sizeof(name));
	memcpy(p, COOKIE, 8);
	put_be64(p + 8, VHD_NO_OFFSET);
	put_be64(p + 16, h->bat_offset);
	put_be32(p + 24, 0x00010000);
	put_be32(p + 28, h->max_entries);
	put_be32(p + 32, h->block_size);
	memcpy(p + 40, h->parent_uuid, 16);
	put_be32(p + 56, h->parent_time);
	for (size_t i = 0; i < VHD_LOCATORS; i++) {
		uint8_t *l = p + LOCATORS_AT + i * LOCATOR_BYTES;

		if (!h->locators[i].code)
			continue;
		put_be32(l, h->locators[i].code);
		put_be32(l + 4, (uint32_t)round_up(h->locators[i].length, VHD_SECTOR));
		put_be32(l + 8, h->locators[i].length);
		put_be64(l + 16, h->locators[i].offset);
	}
	put_be32(p + CHECKSUM_AT, vhd_checksum(p, VHD_HEADER_BYTES, CHECKSUM_AT));
}

/* "C:\disks\a.vhd" is "a.vhd" here, ".\x\a.vhd" is "x/a.vhd", "/x/a.vhd" stays */
static void to_unix(char *name, bool absolute)
{
	const char *from = name;
	char *slash;
	bool drive = name[0] && name[1] == ':', unc = name[0] == '\\';

	for (char *c = name; *c; c++)
		if (*c == '\\')
			*c = '/';
	if (drive || (absolute && unc)) {
		slash = strrchr(name, '/');
		from = slash ? slash + 1 : name + (drive ? 2 : 0);
	}
	while (from[0] == '.' && from[1] == '/')
		from += 2;
	memmove(name, from, strlen(from) + 1);
}

/* Return: 1 added, 0 nothing there, -1 */
static int locator_name(struct image *img, const struct vhd_locator *l, char **ret, struct err *err)
{
	CLEANUP_FREE uint8_t *bytes = NULL;

	if (!l->length || l->length > VHD_LOCATOR_MOST ||
	    !range_inside(l->offset, l->length, bfile_size(img->file)))
		return 0;
	bytes = malloc(l->length);
	if (!bytes)
		return err_nomem(err);
	if (bfile_pread(img->file, bytes, l->length, l->offset, err) < 0 ||
	    utf16_to_utf8(bytes, l->length, false, ret, err) < 0)
		return -1;
	to_unix(*ret, l->code == VHD_LOCATOR_W2KU);
	return 1;
}

static void add_name(char **names, unsigned most, unsigned *n, char *name)
{
	bool known = !*name || *n == most;

	for (unsigned i = 0; i < *n; i++)
		known |= !strcmp(names[i], name);
	if (known)
		free(name);
	else
		names[(*n)++] = name;
}

int vhd_parent_names(struct image *img, const struct vhd *v, char **names, unsigned most,
		     unsigned *ret_n, struct err *err)
{
	static const uint32_t order[] = {VHD_LOCATOR_W2RU, VHD_LOCATOR_W2KU};
	const struct vhd_header *h = &v->header;
	char *name;

	*ret_n = 0;
	for (size_t k = 0; k < 2 * (size_t)VHD_LOCATORS; k++) {
		const struct vhd_locator *l = &h->locators[k % VHD_LOCATORS];
		int rc = l->code == order[k / VHD_LOCATORS] ? locator_name(img, l, &name, err) : 0;

		if (rc > 0)
			add_name(names, most, ret_n, name);
		if (rc < 0)
			goto failed;
	}
	if (h->parent_name) {
		name = strdup(h->parent_name);
		if (!name) {
			err_nomem(err);
			goto failed;
		}
		to_unix(name, true);
		add_name(names, most, ret_n, name);
	}
	return 0;
failed:
	while (*ret_n)
		free(names[--*ret_n]);
	return -1;
}

int vhd_uuid_of(struct bfile *file, uint8_t ret[16], uint32_t *ret_time, struct err *err)
{
	uint8_t tail[VHD_SECTOR], *at = tail;
	uint64_t size = bfile_size(file);

	if (size < VHD_SECTOR)
		return err_set(err, ERR_CORRUPT, "is no VHD: it has %" PRIu64 " bytes", size);
	if (bfile_pread(file, tail, sizeof(tail), size - VHD_SECTOR, err) < 0)
		return -1;
	if (!vhd_footer_valid(at, VHD_SECTOR)) {
		at = tail + 1;
		if (!vhd_footer_valid(at, VHD_SECTOR - 1)) {
			at = tail;
			if (bfile_pread(file, tail, sizeof(tail), 0, err) < 0)
				return -1;
			if (!vhd_footer_valid(tail, VHD_SECTOR))
				return err_set(err, ERR_CORRUPT,
					       "is no VHD: it has no valid footer");
		}
	}
	memcpy(ret, at + 68, 16);
	*ret_time = get_be32(at + 24);
	return 0;
}
