/* image.h over raw: reading, writing, extents, probing, spooling, refusals. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "libcommon/image/format.h"
#include "libcommon/image/image.h"
#include "libcommon/image/protocol.h"

static char path[] = "/tmp/vmkit-image-XXXXXX";

enum { SIZE = 1000001 }; /* no multiple of anything */

static void fresh_file(void)
{
	int fd = open(path, O_RDWR | O_TRUNC | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	assert_int_equal(pwrite(fd, "abc", 3, 500000), 3);
	close(fd);
}

static struct image *open_it(unsigned flags)
{
	struct image_open_opts opts = {.format = "raw", .flags = flags};
	struct err err = ERR_INIT;
	struct image *img;

	if (image_open(&img, path, &opts, &err) < 0)
		fail_msg("%s", err.message);
	return img;
}

static void test_read(void **state)
{
	struct err err = ERR_INIT;
	char buf[16];

	(void)state;
	fresh_file();

	struct image *img = open_it(0);

	assert_int_equal(image_size(img), SIZE);
	assert_string_equal(image_format_name(img), "raw");
	assert_false(image_is_stream(img));
	assert_int_equal(image_read(img, buf, 499998, 7, &err), 0);
	assert_memory_equal(buf, "\0\0abc\0\0", 7);
	assert_int_equal(image_read(img, buf, SIZE - 1, 1, &err), 0);
	assert_int_equal(image_read(img, buf, SIZE, 0, &err), 0);
	assert_int_equal(image_read(img, buf, SIZE, 1, &err), -1);
	assert_int_equal(err.code, ERR_USAGE);
	assert_int_equal(image_read(img, buf, UINT64_MAX, 2, &err), -1);
	assert_int_equal(image_write(img, buf, 0, 1, &err), -1);
	assert_int_equal(err.code, ERR_USAGE);
	image_close(img);
}

static void test_extents(void **state)
{
	struct err err = ERR_INIT;
	struct extent e;
	uint64_t off = 0, data = 0;

	(void)state;
	fresh_file();

	struct image *img = open_it(IMAGE_RDWR);

	while (off < SIZE) {
		assert_int_equal(image_extent(img, off, UINT64_MAX, &e, &err), 0);
		assert_int_equal(e.off, off);
		assert_true(e.len > 0 && e.len <= SIZE - off);
		assert_true(e.kind == EXTENT_DATA || e.kind == EXTENT_ZERO);
		assert_ptr_equal(e.layer, img);
		if (e.kind == EXTENT_DATA) {
			assert_true(off <= 500000 && off + e.len >= 500003);
			assert_int_equal(e.host_off, off);
			assert_non_null(e.file);
			data += e.len;
		} else {
			assert_null(e.file);
		}
		off += e.len;
	}
	assert_in_range(data, 3, 65536);
	assert_int_equal(image_extent(img, 10, 1, &e, &err), 0);
	assert_int_equal(e.len, 1);
	assert_int_equal(image_extent(img, SIZE, 1, &e, &err), -1);

	/* What was a hole is data once written, and the memo knows it. */
	assert_int_equal(e.kind, EXTENT_ZERO);
	assert_int_equal(image_write(img, "x", 10, 1, &err), 0);
	assert_int_equal(image_extent(img, 10, 1, &e, &err), 0);
	assert_int_equal(e.kind, EXTENT_DATA);
	image_close(img);
}

static void test_write(void **state)
{
	struct err err = ERR_INIT;
	char buf[8];
	struct stat st;

	(void)state;
	fresh_file();

	struct image *img = open_it(IMAGE_RDWR);

	assert_int_equal(image_write(img, "12345678", SIZE - 8, 8, &err), 0);
	assert_int_equal(image_write(img, "12345678", SIZE - 7, 8, &err), -1);
	assert_int_equal(image_write_zeroes(img, 500001, 1, false, &err), 0);
	assert_int_equal(image_write_zeroes(img, 0, 4096, true, &err), 0);
	assert_int_equal(image_discard(img, 0, 65536, &err), 0);
	assert_int_equal(image_flush(img, &err), 0);
	assert_int_equal(image_read(img, buf, 500000, 3, &err), 0);
	assert_memory_equal(buf, "a\0c", 3);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, SIZE);
	assert_int_equal(image_resize(img, SIZE + 1000, &err), 0);
	assert_int_equal(image_read(img, buf, SIZE - 1, 8, &err), 0);
	assert_memory_equal(buf, "8\0\0\0\0\0\0\0", 8);
	assert_int_equal(image_resize(img, 3, &err), 0);
	assert_int_equal(image_size(img), 3);
	assert_int_equal(image_resize(img, UINT64_MAX, &err), -1);
	image_close(img);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 3);
}

static void test_refusals(void **state)
{
	struct image_open_opts opts = {.format = "qcow3"};
	struct err err = ERR_INIT;
	struct image *img = NULL;

	(void)state;
	fresh_file();
	assert_int_equal(image_open(&img, path, &opts, &err), -1);
	assert_int_equal(err.code, ERR_USAGE);
	assert_non_null(strstr(err.hint, "qcow2"));
	opts = (struct image_open_opts){.format = "qcow2"};
	assert_int_equal(image_open(&img, path, &opts, &err), -1);
	opts = (struct image_open_opts){.format = "raw", .snapshot = "x"};
	assert_int_equal(image_open(&img, path, &opts, &err), -1);
	opts = (struct image_open_opts){.flags = IMAGE_RDWR | IMAGE_SHARED};
	assert_int_equal(image_open(&img, path, &opts, &err), -1);
	assert_int_equal(err.code, ERR_USAGE);
	assert_int_equal(image_open(&img, "/nonexistent/x", NULL, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
	assert_string_equal(err.object, "/nonexistent/x");
	assert_int_equal(image_open(&img, "ftp://x/y", NULL, &err), -1);
	assert_int_equal(err.code, ERR_UNSUPPORTED);
	assert_int_equal(image_open(&img, "/dev/null", NULL, &err), -1);
	assert_int_equal(err.code, ERR_UNSUPPORTED);
	assert_int_equal(image_open(&img, "/tmp", NULL, &err), -1);
	assert_int_equal(err.code, ERR_UNSUPPORTED);
	assert_null(img);
	assert_int_equal(image_open(&img, path, NULL, NULL), 0); /* no err object wanted */
	image_close(img);
	image_close(NULL);
}

static int open_test_scheme(struct image **ret, const char *name,
			    const struct image_open_opts *opts, struct err *err)
{
	(void)ret, (void)opts;
	return err_set(err, ERR_CONNECTION, "asked for %s", name);
}

static void test_scheme(void **state)
{
	struct err err = ERR_INIT;
	struct image *img;

	(void)state;
	image_register_opener("test:", open_test_scheme);
	image_register_opener("test:", open_test_scheme);
	assert_int_equal(image_open(&img, "test:a@b", NULL, &err), -1);
	assert_int_equal(err.code, ERR_CONNECTION);
	assert_string_equal(err.message, "asked for test:a@b");
}

static void test_memory(void **state)
{
	uint8_t data[3000] = {[2999] = 9};
	struct err err = ERR_INIT;
	struct bfile *f;
	struct image *img;
	uint8_t b = 0;

	(void)state;
	assert_int_equal(bfile_of_memory(&f, data, sizeof(data), &err), 0);
	assert_int_equal(image_open_bfile(&img, f, NULL, &err), 0);
	assert_int_equal(image_size(img), 3000);
	assert_int_equal(image_read(img, &b, 2999, 1, &err), 0);
	assert_int_equal(b, 9);
	image_close(img);

	/* An empty file is an empty disk. */
	assert_int_equal(bfile_of_memory(&f, data, 0, &err), 0);
	assert_int_equal(image_open_bfile(&img, f, NULL, &err), 0);
	assert_int_equal(image_size(img), 0);
	image_close(img);
}

/* A pipe on standard input: raw is streamed, what was peeked at for probing comes first. */
static void test_stream(void **state)
{
	struct err err = ERR_INIT;
	int p[2], saved = dup(STDIN_FILENO);
	struct image *img;
	struct extent e;
	static uint8_t buf[70000];
	pid_t child;

	(void)state;
	assert_int_equal(pipe(p), 0);
	child = fork();
	if (child == 0) {
		memset(buf, 0x5a, sizeof(buf));
		close(p[0]);
		for (int i = 0; i < 3; i++)
			if (write(p[1], buf, sizeof(buf)) != (ssize_t)sizeof(buf))
				_exit(1);
		_exit(0);
	}
	close(p[1]);
	assert_int_equal(dup2(p[0], STDIN_FILENO), STDIN_FILENO);
	close(p[0]);
	assert_int_equal(image_open(&img, "-", NULL, &err), 0);
	dup2(saved, STDIN_FILENO);
	close(saved);
	assert_true(image_is_stream(img));
	assert_true(image_size(img) == IMAGE_SIZE_UNKNOWN);
	assert_int_equal(image_read(img, buf, 0, 1, &err), -1);
	assert_int_equal(image_extent(img, 0, 1, &e, &err), -1);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(image_read_stream(img, buf, sizeof(buf), &err), sizeof(buf));
		for (size_t k = 0; k < sizeof(buf); k++)
			assert_int_equal(buf[k], 0x5a);
	}
	assert_int_equal(image_read_stream(img, buf, 10, &err), 0);
	assert_int_equal(image_size(img), 3 * sizeof(buf));

	json_t *info;

	assert_int_equal(image_info(img, &info, &err), 0);
	json_decref(info);
	image_close(img);
}

static void test_info(void **state)
{
	struct err err = ERR_INIT;
	json_t *info;

	(void)state;
	fresh_file();

	struct image *img = open_it(IMAGE_INFO);

	assert_int_equal(image_info(img, &info, &err), 0);
	assert_string_equal(json_string_value(json_object_get(info, "format")), "raw");
	assert_string_equal(json_string_value(json_object_get(info, "name")), path);
	assert_int_equal(json_integer_value(json_object_get(info, "virtual_size")), SIZE);
	assert_in_range(json_integer_value(json_object_get(info, "actual_size")), 512, 65536);
	json_decref(info);

	struct image_check_result res;

	assert_int_equal(image_check(img, 0, NULL, NULL, &res, &err), -1);
	assert_int_equal(err.code, ERR_UNSUPPORTED);
	image_close(img);
}

static void test_table(void **state)
{
	(void)state;
	assert_string_equal(image_format_of_suffix("/a.b/disk.QCOW2")->name, "qcow2");
	assert_string_equal(image_format_of_suffix("x.img")->name, "raw");
	assert_null(image_format_of_suffix("/a.qcow2/disk"));
	assert_null(image_format_of_suffix("disk.txt"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),   cmocka_unit_test(test_extents),
		cmocka_unit_test(test_write),  cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_scheme), cmocka_unit_test(test_memory),
		cmocka_unit_test(test_stream), cmocka_unit_test(test_info),
		cmocka_unit_test(test_table),
	};
	int fd = mkstemp(path);

	if (fd < 0)
		return 1;
	close(fd);

	int r = cmocka_run_group_tests(tests, NULL, NULL);

	unlink(path);
	return r;
}
