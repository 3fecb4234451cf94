/* Hostile images of the formats that are only read: "parallels", "qed", "qcow", "dmg": info, extents, reads, check. */
#include <stdint.h>
#include <stdlib.h>

#include "libcommon/image/image.h"
#include "libcommon/image/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EXTENTS_MOST = 2048, READ_MOST = 1 << 20, CHUNK = 1 << 16 };

static struct image *open_input(const char *format, const uint8_t *data, size_t size,
				unsigned flags)
{
	struct image_open_opts opts = {.format = format, .flags = flags | IMAGE_NO_BACKING};
	struct image *img = NULL;
	struct bfile *file;

	if (bfile_of_memory(&file, data, size, NULL) || image_open_bfile(&img, file, &opts, NULL))
		return NULL;
	return img;
}

/* Extents begin where they were asked for, advance, and stay inside the disk */
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
		if (e.kind == EXTENT_DATA && read < READ_MOST) {
			size_t n = e.len < CHUNK ? (size_t)e.len : CHUNK;

			(void)image_read(img, buf, off + (e.len - n) / 2, n, NULL);
			read += n;
		}
		off += e.len;
	}
}

static void try_format(const char *format, const uint8_t *data, size_t size)
{
	struct image *img = open_input(format, data, size, IMAGE_INFO);
	struct image_check_result res;
	json_t *info = NULL;

	if (!img)
		return;
	if (!image_info(img, &info, NULL))
		json_decref(info);
	image_close(img);
	img = open_input(format, data, size, 0);
	if (!img)
		return;
	walk(img);
	(void)image_check(img, CHECK_DEEP, NULL, NULL, &res, NULL);
	image_close(img);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const formats[] = {"parallels", "qed", "qcow", "dmg"};

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		try_format(formats[i], data, size);
	return 0;
}
