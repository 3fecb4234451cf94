/* A hostile VHD: info, all extents, up to 1 MiB of reads, check and deep check. The differencing part never opens a
 * parent: there is no folder that a name could lead to. */
#include <stdint.h>
#include <stdlib.h>

#include "libcommon/image/image.h"
#include "libcommon/image/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EXTENTS_MOST = 4096, READ_MOST = 1 << 20, CHUNK = 1 << 16 };

static struct image *open_input(const uint8_t *data, size_t size, unsigned flags)
{
	struct image_open_opts opts = {.format = "vhd", .flags = flags};
	struct image *img = NULL;
	struct bfile *file;

	if (bfile_of_memory(&file, data, size, NULL) || image_open_bfile(&img, file, &opts, NULL))
		return NULL;
	return img;
}

/* What an extent says must hold: it begins where it was asked for, advances, and stays inside disk and file */
static void walk(struct image *img)
{
	uint64_t off = 0, end = image_size(img);

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
		off += e.len;
	}
}

static void read_some(struct image *img)
{
	static uint8_t buf[CHUNK];
	uint64_t off = 0, end = image_size(img);

	for (uint64_t done = 0; done < READ_MOST && off < end; done += CHUNK) {
		size_t n = end - off < CHUNK ? (size_t)(end - off) : CHUNK;

		(void)image_read(img, buf, off, n, NULL);
		off += done < READ_MOST / 2 ? CHUNK : end / 8 + 1;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned flags[] = {0, IMAGE_NO_BACKING};
	struct image_check_result res;
	struct image *img = open_input(data, size, IMAGE_INFO);

	if (img) {
		json_t *info = NULL;

		if (!image_info(img, &info, NULL))
			json_decref(info);
		image_close(img);
	}
	for (int i = 0; i < 2; i++) {
		img = open_input(data, size, flags[i]);
		if (!img)
			continue;
		walk(img);
		read_some(img);
		image_close(img);
	}
	img = open_input(data, size, IMAGE_CHECK);
	if (img) {
		(void)image_check(img, CHECK_DEEP, NULL, NULL, &res, NULL);
		image_close(img);
	}
	return 0;
}
