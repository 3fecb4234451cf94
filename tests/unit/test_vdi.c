/* VDI: probing, the header there and back, UUIDs as text, runs of map entries, extents of a small image. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libcommon/base/bytes.h"
#include "libcommon/image/format/vdi/vdi.h"

enum { BLOCK = 4096, DATA = 1024 };

static struct vdi_header whole_header(uint32_t blocks)
{
	return (struct vdi_header){.type = VDI_DYNAMIC,
				   .map_offset = VDI_HEADER_SIZE,
				   .data_offset = DATA,
				   .block_size = BLOCK,
				   .blocks = blocks,
				   .allocated = 1,
				   .size = (uint64_t)blocks * BLOCK - 512,
				   .uuid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
				   .comment = "a comment"};
}

static void test_probe(void **state)
{
	const struct image_format *f;
	struct vdi_header h = whole_header(4);
	uint8_t raw[VDI_HEADER_SIZE];

	(void)state;
	assert_int_equal(image_format_find(&f, "vdi", NULL), 0);
	assert_ptr_equal(f, &image_format_vdi);
	vdi_header_build(&h, raw);
	assert_int_equal(f->probe(raw, sizeof(raw), NULL, 0, 0), 100);
	assert_int_equal(f->probe(raw, 71, NULL, 0, 0), 0);
	put_le32(raw + 68, 2);
	assert_true(f->probe(raw, sizeof(raw), NULL, 0, 0) > 0); /* refused by its version */
	raw[64] ^= 1;
	assert_int_equal(f->probe(raw, sizeof(raw), NULL, 0, 0), 0);
}

static void test_header(void **state)
{
	struct vdi_header h = whole_header(4), got;
	uint8_t raw[VDI_HEADER_SIZE];
	struct err err = ERR_INIT;

	(void)state;
	vdi_header_build(&h, raw);
	assert_int_equal(vdi_header_parse(raw, &got, &err), 0);
	assert_memory_equal(&h.uuid, &got.uuid, 16);
	assert_string_equal(got.comment, "a comment");
	assert_int_equal(got.size, h.size);
	assert_int_equal(got.blocks, 4);
	assert_int_equal(got.allocated, 1);
	assert_int_equal(got.data_offset, DATA);
}

static void refused(size_t field, uint32_t value, enum err_code code)
{
	struct vdi_header h = whole_header(4), got;
	uint8_t raw[VDI_HEADER_SIZE];
	struct err err = ERR_INIT;

	vdi_header_build(&h, raw);
	put_le32(raw + field, value);
	assert_int_equal(vdi_header_parse(raw, &got, &err), -1);
	assert_int_equal(err.code, code);
}

static void test_bounds(void **state)
{
	(void)state;
	refused(64, 0, ERR_CORRUPT);
	refused(68, 0x20000, ERR_UNSUPPORTED);
	refused(72, 100, ERR_CORRUPT);
	refused(76, VDI_UNDO, ERR_UNSUPPORTED);
	refused(76, VDI_DIFF, ERR_CORRUPT); /* no parent */
	refused(340, 0, ERR_CORRUPT);
	refused(340, 513, ERR_CORRUPT);
	refused(340, 0xfffffe00, ERR_CORRUPT);
	refused(344, 512, ERR_CORRUPT);
	refused(360, 4096, ERR_UNSUPPORTED);
	refused(372, 0x80000000, ERR_CORRUPT); /* upper half of the size */
	refused(376, 0, ERR_UNSUPPORTED);
	refused(376, 5000, ERR_UNSUPPORTED);
	refused(376, 1U << 31, ERR_UNSUPPORTED);
	refused(380, 512, ERR_UNSUPPORTED);
	refused(384, 3, ERR_CORRUPT);
	refused(384, 0xffffffff, ERR_CORRUPT);
}

static void test_uuid(void **state)
{
	static const uint8_t uuid[16] = {0x78, 0x56, 0x34, 0x12, 0xbc, 0x9a, 0xf0, 0xde,
					 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
	char text[VDI_UUID_TEXT];
	uint8_t once[16], twice[16];

	(void)state;
	assert_string_equal(vdi_uuid_text(uuid, text), "12345678-9abc-def0-0123-456789abcdef");
	vdi_uuid_swap(uuid, once);
	vdi_uuid_swap(once, twice);
	assert_memory_equal(uuid, twice, 16);
	assert_false(vdi_uuid_none(uuid));
	assert_true(vdi_uuid_none((const uint8_t[16]){0}));
}

static void test_run(void **state)
{
	static const uint32_t entries[] = {3,	     4,	       5,	 VDI_NONE,
					   VDI_NONE, VDI_ZERO, VDI_LAST, VDI_ZERO};
	uint8_t e[sizeof(entries)];

	(void)state;
	for (size_t i = 0; i < 8; i++)
		put_le32(e + 4 * i, entries[i]);
	assert_int_equal(vdi_run(e, 8), 3);
	assert_int_equal(vdi_run(e, 2), 2);
	assert_int_equal(vdi_run(e + 12, 5), 2);
	assert_int_equal(vdi_run(e + 20, 3), 1);
	/* The greatest index is not followed by the mark for zeros */
	assert_int_equal(vdi_run(e + 24, 2), 1);
}

static struct image *open_memory(const uint8_t *data, size_t len, unsigned flags)
{
	struct image_open_opts opts = {.flags = flags};
	struct image *img = NULL;
	struct bfile *file;

	assert_int_equal(bfile_of_memory(&file, data, len, NULL), 0);
	return image_open_bfile(&img, file, &opts, NULL) ? NULL : img;
}

static void test_extents(void **state)
{
	static const uint32_t entries[] = {VDI_NONE, 1, 2, VDI_ZERO, 0};
	struct vdi_header h = whole_header(5);
	size_t len = DATA + 3 * BLOCK;
	uint8_t *file = calloc(1, len), byte;
	struct image *img;
	struct extent e;

	(void)state;
	assert_non_null(file);
	vdi_header_build(&h, file);
	for (size_t i = 0; i < 5; i++)
		put_le32(file + VDI_HEADER_SIZE + 4 * i, entries[i]);
	memset(file + DATA + 2 * BLOCK, 7, BLOCK);
	img = open_memory(file, len, 0);
	assert_non_null(img);
	assert_int_equal(image_extent(img, 0, 1 << 20, &e, NULL), 0);
	assert_int_equal(e.kind, EXTENT_UNALLOCATED);
	assert_int_equal(e.len, BLOCK);
	assert_int_equal(image_extent(img, BLOCK + 100, 1 << 20, &e, NULL), 0);
	assert_int_equal(e.kind, EXTENT_DATA);
	assert_int_equal(e.len, 2 * BLOCK - 100); /* two blocks side by side */
	assert_int_equal(e.host_off, DATA + BLOCK + 100);
	assert_int_equal(image_extent(img, 3 * BLOCK, 1 << 20, &e, NULL), 0);
	assert_int_equal(e.kind, EXTENT_ZERO);
	assert_int_equal(image_extent(img, 4 * BLOCK, 1 << 20, &e, NULL), 0);
	assert_int_equal(e.len, BLOCK - 512); /* the disk ends in it */
	assert_int_equal(image_read(img, &byte, 2 * BLOCK, 1, NULL), 0);
	assert_int_equal(byte, 7);
	image_close(img);
	/* A file that ends in a block: what is there can be read, the rest is missing */
	img = open_memory(file, len - 100, 0);
	assert_non_null(img);
	assert_int_equal(image_read(img, &byte, 3 * BLOCK - 101, 1, NULL), 0);
	assert_int_equal(image_read(img, &byte, 3 * BLOCK - 100, 1, NULL), -1);
	image_close(img);
	/* One place for two blocks: reading goes on, writing does not */
	put_le32(file + VDI_HEADER_SIZE, 1);
	img = open_memory(file, len, 0);
	assert_non_null(img);
	image_close(img);
	assert_null(open_memory(file, len, IMAGE_RDWR));
	free(file);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_probe),  cmocka_unit_test(test_header),
		cmocka_unit_test(test_bounds), cmocka_unit_test(test_uuid),
		cmocka_unit_test(test_run),    cmocka_unit_test(test_extents),
	};

	return cmocka_run_group_tests_name("vdi", tests, NULL, NULL);
}
