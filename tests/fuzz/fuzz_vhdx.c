/* A hostile VHDX. Its tables lie at whole MiB and carry checksums, both of which stop a fuzzer; so an input is made of
 * small pieces, and this target puts them where they belong and sums them again:
 *
 *	input = be16 MiB of the file, less one | pieces: be32 offset in units of 512 bytes, be16 length, bytes
 *
 * Sums are made of both headers, both region tables, and of log entries that are whole.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/image/format/vhdx/vhdx.h"
#include "libcommon/image/image.h"
#include "libcommon/image/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EXTENTS_MOST = 1024, READ_MOST = 1 << 19, CHUNK = 1 << 16, MIB_MOST = 12, PIECE = 6 };

static struct image *open_input(const uint8_t *data, size_t size, unsigned flags)
{
	struct image_open_opts opts = {.format = "vhdx", .flags = flags};
	struct image *img = NULL;
	struct bfile *file;

	if (bfile_of_memory(&file, data, size, NULL) || image_open_bfile(&img, file, &opts, NULL))
		return NULL;
	return img;
}

static void walk(struct image *img)
{
	static uint8_t buf[CHUNK];
	uint64_t off = 0, end = image_size(img), left = READ_MOST;

	for (int i = 0; i < EXTENTS_MOST && off < end; i++) {
		struct extent e;

		if (image_extent(img, off, end - off, &e, NULL)) {
			off += end - off > 65536 ? 65536 : end - off;
			continue;
		}
		if (e.off != off || !e.len || e.len > end - off)
			abort();
		if (e.file && e.kind == EXTENT_DATA &&
		    (e.host_off > bfile_size(e.file) || e.len > bfile_size(e.file) - e.host_off))
			abort();
		if (left && e.kind == EXTENT_DATA) {
			size_t n = e.len < CHUNK ? (size_t)e.len : CHUNK;

			(void)image_read(img, buf, off, n, NULL);
			left -= n < left ? n : left;
		}
		off += e.len;
	}
}

static void sum_again(uint8_t *p, size_t size)
{
	static const struct {
		uint32_t at, len;
	} sums[] = {{0x10000, 4096}, {0x20000, 4096}, {0x30000, 65536}, {0x40000, 65536}};

	for (size_t i = 0; i < 4; i++)
		put_le32(p + sums[i].at + 4, vhdx_crc(0, p + sums[i].at, sums[i].len, 4));
	for (size_t at = 1 << 20; at + 4096 <= size && at < 2 << 20; at += 4096) {
		uint32_t len = get_le32(p + at + 8);

		if (!memcmp(p + at, "loge", 4) && len && len <= 65536 && len <= size - at)
			put_le32(p + at + 4, vhdx_crc(0, p + at, len, 4));
	}
}

static uint8_t file[MIB_MOST
		    << 20]; /* zero between runs: clearing all of it would take most of the time */

/* Put the pieces where they belong, or zeros in their places */
static void scatter(const uint8_t *data, size_t size, size_t file_size, bool clear)
{
	for (size_t at = 2; at + PIECE <= size;) {
		uint64_t where = (uint64_t)get_be32(data + at) * 512;
		size_t n = get_be16(data + at + 4);

		at += PIECE;
		if (n > size - at)
			n = size - at;
		if (where < file_size && n <= file_size - where) {
			if (clear)
				memset(file + where, 0, n);
			else
				memcpy(file + where, data + at, n);
		}
		at += n;
	}
	for (size_t at = 0x10000; clear && at < 0x50000; at += 0x10000)
		memset(file + at, 0, 8);
	for (size_t at = 1 << 20; clear && at < 2 << 20; at += 4096)
		memset(file + at, 0, 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image_check_result res;
	struct image *img;
	size_t file_size;

	if (size < 2)
		return 0;
	file_size = (get_be16(data) % MIB_MOST + 1UL) << 20;
	scatter(data, size, file_size, false);
	memcpy(file, VHDX_FILE_ID, 8);
	sum_again(file, file_size);
	img = open_input(file, file_size, IMAGE_INFO);
	if (img) {
		json_t *info = NULL;

		if (!image_info(img, &info, NULL))
			json_decref(info);
		image_close(img);
	}
	img = open_input(file, file_size, IMAGE_NO_BACKING);
	if (img) {
		walk(img);
		image_close(img);
	}
	img = open_input(file, file_size, IMAGE_CHECK);
	if (img) {
		(void)image_check(img, CHECK_DEEP, NULL, NULL, &res, NULL);
		image_close(img);
	}
	/* Nothing can be written: what is looked at before the first change, and after a failed one */
	img = open_input(file, file_size, IMAGE_RDWR | IMAGE_NO_BACKING);
	if (img) {
		(void)image_write(img, "x", 0, 1, NULL);
		walk(img);
		image_close(img);
	}
	scatter(data, size, file_size, true);
	return 0;
}
