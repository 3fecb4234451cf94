/* Bulk writing of raw: holes stay in a new file, a device is zeroed where nothing is written, preallocation. */
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

#include "libcommon/base/iszero.h"
#include "libcommon/image/format.h"

static char path[] = "/tmp/vmkit-rawbulk-XXXXXX";
static uint8_t unit_data[1 << 16], back[3 << 20];

enum { SIZE = (2 << 20) + 777, UNIT_AT = 1 << 20, UNIT_LEN = 1 << 16 };

/* Writes one unit at 1 MiB whose middle is zero, and finishes. */
static void write_disk(struct bfile *f, struct bulk_params *p)
{
	const struct image_format *raw;
	struct err err = ERR_INIT;
	struct bulk b = {.params = p, .file = f};
	struct bulk_unit u = {.off = UNIT_AT, .len = UNIT_LEN, .data = unit_data};

	assert_int_equal(image_format_find(&raw, "raw", &err), 0);
	b.ops = raw->bulk;
	memset(unit_data, 0x11, sizeof(unit_data));
	memset(unit_data + 8192, 0, 16384);
	p->size = SIZE;
	assert_int_equal(b.ops->begin(&b, &err), 0);
	assert_true(UNIT_AT % b.granule == 0);
	assert_int_equal(b.ops->place_zero(&b, 4096, 8192, &err), 0);
	assert_int_equal(b.ops->place(&b, &u, &err), 0);
	assert_int_equal(b.ops->store(&b, &u, &err), 0);
	assert_int_equal(b.ops->finish(&b, &err), 0);
	b.ops->abort(&b);
}

static void assert_content(int fd)
{
	assert_int_equal(pread(fd, back, SIZE, 0), SIZE);
	assert_memory_equal(back + UNIT_AT, unit_data, UNIT_LEN);
	memset(back + UNIT_AT, 0, UNIT_LEN);
	assert_true(is_zero(back, SIZE));
}

static struct stat write_file(struct bulk_params *p, bool dirty)
{
	struct err err = ERR_INIT;
	struct bfile *f;
	struct stat st;
	int fd = open(path, O_RDWR | O_TRUNC | O_CLOEXEC);

	assert_true(fd >= 0);
	if (dirty) {
		memset(back, 0xff, sizeof(back));
		assert_int_equal(pwrite(fd, back, SIZE, 0), SIZE);
	}
	assert_int_equal(bfile_of_fd(&f, fd, path, true, &err), 0);
	write_disk(f, p);
	assert_content(fd);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, SIZE);
	bfile_close(f);
	return st;
}

static void test_holes_stay(void **state)
{
	struct bulk_params p = {.target_is_zero = true};
	struct stat st = write_file(&p, false);

	(void)state;
	assert_in_range(st.st_blocks * 512, UNIT_LEN - 16384, UNIT_LEN + 4096);
}

static void test_not_zero_before(void **state)
{
	struct bulk_params p = {.target_is_zero = false};

	(void)state;
	write_file(&p, true);
}

static void test_preallocation(void **state)
{
	struct image_option_value full = {"preallocation", "full"},
				  falloc = {"preallocation", "falloc"};
	struct bulk_params p = {.target_is_zero = true, .options = &full, .n_options = 1};
	struct stat st;

	(void)state;
	st = write_file(&p, false);
	assert_true(st.st_blocks * 512 >= SIZE);
	p.options = &falloc;
	st = write_file(&p, false);
	assert_true(st.st_blocks * 512 >= SIZE);
}

static void test_refusals(void **state)
{
	struct bulk_params p = {.target_is_zero = true, .size = 10, .compress = true};
	struct bulk b = {.params = &p};
	const struct image_format *raw;
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(image_format_find(&raw, "raw", &err), 0);
	assert_int_equal(raw->bulk->begin(&b, &err), -1);
	assert_int_equal(err.code, ERR_UNSUPPORTED);
	p = (struct bulk_params){.size = 10, .backing_name = "x"};
	assert_int_equal(raw->bulk->begin(&b, &err), -1);
	assert_int_equal(err.code, ERR_UNSUPPORTED);
}

/* A real block device where there is one to have: a loop device full of rubbish. */
static void test_block_device(void **state)
{
	struct bulk_params p = {.target_is_zero = false};
	struct err err = ERR_INIT;
	struct bfile *f;
	char command[128], dev[64] = "";
	FILE *out;
	int fd = open(path, O_RDWR | O_TRUNC | O_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	memset(back, 0xff, sizeof(back));
	assert_int_equal(pwrite(fd, back, sizeof(back), 0), (ssize_t)sizeof(back));
	close(fd);
	(void)snprintf(command, sizeof(command), "losetup --show -f %s 2>/dev/null", path);
	out = popen(command, "re");
	if (!out || !fgets(dev, sizeof(dev), out)) {
		if (out)
			pclose(out);
		skip(); /* not root, or no loop devices */
	}
	pclose(out);
	dev[strcspn(dev, "\n")] = '\0';
	assert_int_equal(bfile_open(&f, dev, BFILE_RDWR | BFILE_LOCK_WRITE, &err), 0);
	assert_true(f->is_blockdev);
	assert_int_equal(bfile_size(f), sizeof(back));
	write_disk(f, &p);
	assert_content(f->fd);
	assert_int_equal(pread(f->fd, back, 512, SIZE),
			 512); /* behind the disk nothing is touched */
	assert_int_equal(back[511], 0xff);
	assert_int_equal(bfile_truncate(f, sizeof(back) + 1, &err), -1);
	assert_int_equal(err.code, ERR_NO_SPACE);
	bfile_close(f);
	(void)snprintf(command, sizeof(command), "losetup -d %s", dev);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_holes_stay),    cmocka_unit_test(test_not_zero_before),
		cmocka_unit_test(test_preallocation), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_block_device),
	};
	int fd = mkstemp(path);

	if (fd < 0)
		return 1;
	close(fd);

	int r = cmocka_run_group_tests(tests, NULL, NULL);

	unlink(path);
	return r;
}
