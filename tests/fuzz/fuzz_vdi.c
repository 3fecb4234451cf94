/* A hostile VDI image: info, all extents, some reads, check, writing is refused (memory is read only). */
#include <stdint.h>
#include <stdlib.h>

#include "libcommon/image/image.h"
#include "libcommon/image/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EXTENTS_MOST = 4096, READ_MOST = 1 << 20, CHUNK = 1 << 16 };

static struct image *open_input(const uint8_t *data, size_t size, unsigned flags)
{
	struct image_open_opts opts = {.format = "vdi", .flags = flags};
	struct image *img = NULL;
	struct bfile *file;

	if (bfile_of_memory(&file, data, size, NULL) || image_open_bfile(&img, file, &opts, NULL))
		return NULL;
	return img;
}

/* Extents begin where they were asked for, advance, and stay inside the disk and the file */
static void walk(struct image *img)
{
	static uint8_t buf[CHUNK];
	uint64_t off = 0, end = image_size(img), read = 0;

	for (int i = 0; i < EXTENTS_MOST && off < end; i++) {
		struct extent e;

		if (image_extent(img, off, end - off, &e, NULL)) {
			off += end - off > CHUNK ? CHUNK : end - off;
			continue;
		}
		if (e.off != off || !e.len || e.len > end - off)
			abort();
		if (e.kind == EXTENT_DATA) {
			size_t n = e.len < CHUNK ? (size_t)e.len : CHUNK;

			if (!e.file || e.host_off > bfile_size(e.file) ||
			    e.len > bfile_size(e.file) - e.host_off)
				abort();
			/* What is inside the file can be read */
			if (read < READ_MOST && image_read(img, buf, off, n, NULL))
				abort();
			read += n;
		}
		off += e.len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image_check_result res;
	struct image *img = open_input(data, size, IMAGE_INFO);

	if (img) {
		json_t *info = NULL;

		if (!image_info(img, &info, NULL))
			json_decref(info);
		image_close(img);
	}
	img = open_input(data, size, IMAGE_NO_BACKING);
	if (img) {
		walk(img);
		image_close(img);
	}
	img = open_input(data, size, IMAGE_CHECK);
	if (img) {
		(void)image_check(img, 0, NULL, NULL, &res, NULL);
		image_close(img);
	}
	/* With the map in memory; nothing can be written */
	img = open_input(data, size, IMAGE_RDWR | IMAGE_NO_BACKING);
	if (img) {
		(void)image_write(img, "x", 0, image_size(img) ? 1 : 0, NULL);
		walk(img);
		image_close(img);
	}
	return 0;
}
