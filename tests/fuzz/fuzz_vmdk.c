/* A hostile VMDK: its descriptor as such; info, all extents, up to 1 MiB of reads, check with decoding. */
#include <stdint.h>
#include <stdlib.h>

#include "libcommon/image/format/vmdk/vmdk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EXTENTS_MOST = 4096, READ_MOST = 1 << 20, CHUNK = 1 << 16 };

static struct image *open_input(const uint8_t *data, size_t size, unsigned flags)
{
	struct image_open_opts opts = {.format = "vmdk", .flags = flags};
	struct image *img = NULL;
	struct bfile *file;

	if (bfile_of_memory(&file, data, size, NULL) || image_open_bfile(&img, file, &opts, NULL))
		return NULL;
	return img;
}

/* What an extent says must hold: it begins where it was asked for, advances, and data have a place */
static void walk(struct image *img)
{
	uint64_t off = 0, end = image_size(img);

	for (int i = 0; i < EXTENTS_MOST && off < end; i++) {
		struct extent e;

		if (image_extent(img, off, end - off, &e, NULL)) {
			off += end - off > CHUNK ? CHUNK : end - off;
			continue;
		}
		if (e.off != off || !e.len || e.len > end - off)
			abort();
		if (e.kind == EXTENT_DATA && !e.file)
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
		/* The first half MiB, then over the whole disk */
		off += done < READ_MOST / 2 ? CHUNK : end / 8 + 1;
	}
}

static void parse_text(const uint8_t *data, size_t size)
{
	struct vmdk_descriptor d;

	(void)vmdk_is_descriptor(data, size);
	if (vmdk_descriptor_parse((const char *)data, size, &d, NULL) == 0)
		vmdk_descriptor_release(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image_check_result res;
	struct image *img = open_input(data, size, IMAGE_INFO);

	parse_text(data, size);
	if (img) {
		json_t *info = NULL;

		if (!image_info(img, &info, NULL))
			json_decref(info);
		image_close(img);
	}
	img = open_input(data, size, IMAGE_NO_BACKING);
	if (img) {
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
