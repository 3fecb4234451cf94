/* Formats that are only read: probing, and small images in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libcommon/base/bytes.h"
#include "libcommon/image/format.h"
#include "libcommon/image/format/dmg/dmg.h"

static int probe(const char *format, const uint8_t *head, size_t len, const uint8_t *tail)
{
	const struct image_format *f;

	assert_int_equal(image_format_find(&f, format, NULL), 0);
	return f->probe(head, len, tail, tail ? 512 : 0, 0);
}

static void test_probe(void **state)
{
	static const char *const formats[] = {"parallels", "qed", "qcow", "dmg"};
	uint8_t zeros[512] = {0}, head[512] = {0}, tail[512] = "koly";

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(probe(formats[i], zeros, sizeof(zeros), zeros), 0);
		assert_int_equal(probe(formats[i], zeros, 0, NULL), 0);
	}
	memcpy(head, "WithoutFreeSpace\2", 17);
	assert_int_equal(probe("parallels", head, sizeof(head), NULL), 100);
	memcpy(head, "WithouFreSpacExt\2", 17);
	assert_int_equal(probe("parallels", head, sizeof(head), NULL), 100);
	assert_int_equal(probe("parallels", head, 63, NULL), 0);
	memcpy(head, "QED\0", 4);
	assert_int_equal(probe("qed", head, sizeof(head), NULL), 100);
	memcpy(head, "QFI\373\0\0\0\1", 8);
	assert_int_equal(probe("qcow", head, sizeof(head), NULL), 100);
	head[7] = 2; /* qcow2's */
	assert_int_equal(probe("qcow", head, sizeof(head), NULL), 0);
	assert_int_equal(probe("dmg", head, sizeof(head), tail), 100);
	assert_int_equal(probe("dmg", head, sizeof(head), NULL), 0);
	assert_true(probe("dmg", (const uint8_t *)"encrcdsa", 8, NULL) > 0);
}

static struct image *open_memory(const uint8_t *data, size_t len, struct err *err)
{
	struct image *img = NULL;
	struct bfile *file;

	assert_int_equal(bfile_of_memory(&file, data, len, NULL), 0);
	return image_open_bfile(&img, file, NULL, err) ? NULL : img;
}

/* A table of clusters of 3 sectors, in sectors: 0 and 1 side by side, 2 absent, 3 somewhere else */
static void test_parallels(void **state)
{
	uint8_t file[12 * 512] = "WithoutFreeSpace\2", byte;
	struct err err = ERR_INIT;
	struct extent e;
	struct image *img;

	(void)state;
	put_le32(file + 28, 3);
	put_le32(file + 32, 4);
	put_le64(file + 36, 11 | 1ULL << 32);
	put_le32(file + 64, 1);
	put_le32(file + 68, 4);
	put_le32(file + 76, 9);
	file[9 * 512 + 1000] = 77;
	img = open_memory(file, sizeof(file), &err);
	assert_non_null(img);
	assert_int_equal(image_size(img), 11 * 512);
	assert_int_equal(image_extent(img, 512, 11 * 512, &e, NULL), 0);
	assert_int_equal(e.len, 5 * 512);
	assert_int_equal(e.host_off, 1024);
	assert_int_equal(image_extent(img, 6 * 512, 5 * 512, &e, NULL), 0);
	assert_int_equal(e.kind, EXTENT_UNALLOCATED);
	assert_int_equal(e.len, 3 * 512);
	assert_int_equal(image_read(img, &byte, 9 * 512 + 1000, 1, NULL), 0);
	assert_int_equal(byte, 77);
	image_close(img);
	/* Table entries whose sum would wrap are not side by side */
	put_le32(file + 64, 0xfffffffe);
	put_le32(file + 68, 1);
	img = open_memory(file, sizeof(file), &err);
	assert_non_null(img);
	assert_int_equal(image_extent(img, 0, 11 * 512, &e, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	image_close(img);
}

static void test_qcow(void **state)
{
	static uint8_t file[4096];
	struct extent e;
	struct image *img;

	(void)state;
	memcpy(file, "QFI\373\0\0\0\1", 8);
	put_be64(file + 24, 4 * 512);
	file[32] = 9;
	file[33] = 6;
	put_be64(file + 40, 48);
	put_be64(file + 48, 512);   /* L2 */
	put_be64(file + 512, 1024); /* plain, two of them */
	put_be64(file + 520, 1536);
	put_be64(file + 528, 1ULL << 63 | 100ULL << 54 | 2055); /* deflated: 100 bytes */
	img = open_memory(file, sizeof(file), NULL);
	assert_non_null(img);
	assert_string_equal(image_format_name(img), "qcow");
	assert_int_equal(image_extent(img, 100, 2048 - 100, &e, NULL), 0);
	assert_int_equal(e.len, 1024 - 100);
	assert_int_equal(e.host_off, 1124);
	assert_int_equal(image_extent(img, 1024, 1024, &e, NULL), 0);
	assert_int_equal(e.codec, CODEC_DEFLATE);
	assert_int_equal(e.host_off, 2055);
	assert_int_equal(e.host_len, 100);
	assert_int_equal(e.len, 512);
	assert_int_equal(image_extent(img, 1536, 512, &e, NULL), 0);
	assert_int_equal(e.kind, EXTENT_UNALLOCATED);
	image_close(img);
}

static void test_qed(void **state)
{
	static uint8_t file[5 * 4096];
	struct extent e;
	struct image *img;

	(void)state;
	memcpy(file, "QED\0", 4);
	put_le32(file + 4, 4096);
	put_le32(file + 8, 1);
	put_le32(file + 12, 1);
	put_le64(file + 40, 4096);
	put_le64(file + 48, 4 * 4096 - 512);
	put_le64(file + 4096, 2 * 4096);
	put_le64(file + 2 * 4096, 3 * 4096);
	put_le64(file + 2 * 4096 + 8, 4 * 4096);
	put_le64(file + 2 * 4096 + 16, 1); /* zero cluster */
	img = open_memory(file, sizeof(file), NULL);
	assert_non_null(img);
	assert_int_equal(image_extent(img, 10, 1 << 20, &e, NULL), 0);
	assert_int_equal(e.len, 2 * 4096 - 10);
	assert_int_equal(e.host_off, 3 * 4096 + 10);
	assert_int_equal(image_extent(img, 2 * 4096, 1 << 20, &e, NULL), 0);
	assert_int_equal(e.kind, EXTENT_ZERO);
	assert_int_equal(image_extent(img, 3 * 4096, 1 << 20, &e, NULL), 0);
	assert_int_equal(e.kind, EXTENT_UNALLOCATED);
	assert_int_equal(e.len, 4096 - 512);
	image_close(img);
}

/* ---- the property list */

struct collected {
	char text[64];
	size_t n;
	unsigned begun, ended;
};

static int begin(void *ctx, struct err *err)
{
	(void)err;
	((struct collected *)ctx)->begun++;
	return 0;
}

static int bytes(void *ctx, const uint8_t *p, size_t n, struct err *err)
{
	struct collected *c = ctx;

	(void)err;
	assert_true(c->n + n < sizeof(c->text));
	memcpy(c->text + c->n, p, n);
	c->n += n;
	return 0;
}

static int end(void *ctx, struct err *err)
{
	(void)err;
	((struct collected *)ctx)->ended++;
	return 0;
}

static int read_list(const char *xml, struct collected *c, struct err *err)
{
	const struct dmg_data out = {begin, bytes, end, c};
	struct bfile *file;
	int rc;

	*c = (struct collected){0};
	assert_int_equal(bfile_of_memory(&file, xml, strlen(xml), NULL), 0);
	rc = dmg_plist_read(file, 0, strlen(xml), &out, err);
	bfile_close(file);
	return rc;
}

static void test_plist(void **state)
{
	static const char *const broken[] = {
		"",
		"<",
		"<!--",
		"<key>blkx</key><array>",
		"<key>blkx</key><array/>",
		"<key>blkx</key><array><key>Data</key><data>ab",
		"<key>blkx</key><array><key>Data</key><data>a*b</data></array>",
		"<key>blkx</key><array><key>Data</key><data>YQ==YQ</data></array>"};
	struct err err = ERR_INIT;
	struct collected c;

	(void)state;
	assert_int_equal(
		read_list("<plist><key>plst</key><array><key>Data</key><data>eA==</data></array>"
			  "<!-- <key>blkx</key><array> --><key> blkx</key><key>blkx</key><array>"
			  "<dict><key>Data</key><data>\n\taGVs\n bG8=\n</data>"
			  "<key>Other</key><data>eHg=</data><array><dict/></array></dict>"
			  "<dict><key>Data</key><data>IQ</data></dict></array>"
			  "<key>blkx</key><array><key>Data</key><data>eA==</data></array>",
			  &c, &err),
		0);
	assert_int_equal(c.begun, 2);
	assert_int_equal(c.ended, 2);
	assert_string_equal(c.text, "hello!");
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		assert_int_equal(read_list(broken[i], &c, &err), -1);
		assert_int_equal(err.code, ERR_CORRUPT);
	}
}

static void test_chunk_at(void **state)
{
	struct dmg_chunk chunks[] = {{.sector = 5, .sectors = 5}, {.sector = 20, .sectors = 1}};
	struct dmg d = {.chunks = chunks, .n_chunks = 2};

	(void)state;
	assert_ptr_equal(dmg_chunk_at(&d, 0), &chunks[0]);
	assert_ptr_equal(dmg_chunk_at(&d, 9), &chunks[0]);
	assert_ptr_equal(dmg_chunk_at(&d, 10), &chunks[1]);
	assert_ptr_equal(dmg_chunk_at(&d, 20), &chunks[1]);
	assert_null(dmg_chunk_at(&d, 21));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_probe), cmocka_unit_test(test_parallels),
		cmocka_unit_test(test_qcow),  cmocka_unit_test(test_qed),
		cmocka_unit_test(test_plist), cmocka_unit_test(test_chunk_at),
	};

	return cmocka_run_group_tests_name("legacy", tests, NULL, NULL);
}
