/* Partition tables in memory: CRC, bounds that a header must not cross, what is no table at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libcommon/base/bytes.h"
#include "libcommon/image/disk/partition.h"
#include "libcommon/image/protocol.h"

enum { SECTORS = 128 };

static uint8_t disk[SECTORS * 512];

static int read_disk(struct partition_table *t, struct err *err)
{
	const struct image_open_opts opts = {.format = "raw"};
	struct image *img;
	struct bfile *file;

	assert_int_equal(bfile_of_memory(&file, disk, sizeof(disk), err), 0);
	assert_int_equal(image_open_bfile(&img, file, &opts, err), 0);

	int rc = partition_table_read(img, t, err);

	image_close(img);
	return rc;
}

/* A GPT with 4 entries of 128 bytes; the first goes from sector 10 to 19 */
static void make_gpt(void)
{
	uint8_t *h = disk + 512, *e = disk + 1024;

	memset(disk, 0, sizeof(disk));
	disk[510] = 0x55;
	disk[511] = 0xaa;
	disk[446 + 4] = 0xee;
	put_le32(disk + 446 + 8, 1);
	put_le32(disk + 446 + 12, SECTORS - 1);
	memset(e, 7, 32);
	put_le64(e + 32, 10);
	put_le64(e + 40, 19);
	memcpy(h, "EFI PART", 8);
	put_le32(h + 12, 92);
	put_le64(h + 24, 1);
	put_le64(h + 32, SECTORS - 1);
	put_le64(h + 40, 3);
	put_le64(h + 48, SECTORS - 3);
	put_le64(h + 72, 2);
	put_le32(h + 80, 4);
	put_le32(h + 84, 128);
}

static void seal(void)
{
	uint8_t *h = disk + 512;
	uint64_t len = (uint64_t)get_le32(h + 80) * get_le32(h + 84);

	if (len <= sizeof(disk) - 1024)
		put_le32(h + 88, gpt_crc32(disk + 1024, (size_t)len));
	put_le32(h + 16, 0);
	put_le32(h + 16, gpt_crc32(h, 92));
}

static void test_crc(void **state)
{
	(void)state;
	assert_int_equal(gpt_crc32("123456789", 9), 0xcbf43926);
	assert_int_equal(gpt_crc32("", 0), 0);
}

static void test_gpt(void **state)
{
	struct err err = ERR_INIT;
	struct partition_table t;

	(void)state;
	make_gpt();
	seal();
	assert_int_equal(read_disk(&t, &err), 0);
	assert_int_equal(t.scheme, PARTITIONS_GPT);
	assert_int_equal(t.n, 1);
	assert_int_equal(t.parts[0].number, 1);
	assert_int_equal(t.parts[0].off, 5120);
	assert_int_equal(t.parts[0].len, 5120);
	assert_true(t.primary_good);
	assert_false(t.backup_good);
	assert_int_equal(partition_least_size(&t), (20 + 2) * 512);
	assert_int_equal(partition_room(&t, 100 * 512), 98 * 512);
	assert_int_equal(partition_room(&t, 512), 0);
	partition_table_release(&t);
}

/* Each of these breaks a bound while the CRCs fit. */
static void test_bounds(void **state)
{
	static const struct {
		size_t at;
		uint64_t value;
		bool wide;
	} bad[] = {
		{12, 91, false},	 {12, 513, false},	 {24, 2, true},
		{40, 1, true},		 {48, 2, true},		 {48, UINT64_MAX, true},
		{72, SECTORS, true},	 {72, UINT64_MAX, true}, {80, 0, false},
		{80, 0x7fffffff, false}, {84, 127, false},	 {84, 8192, false},
		{84, 0x80000000, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = ERR_INIT;
		struct partition_table t;

		make_gpt();
		if (bad[i].wide)
			put_le64(disk + 512 + bad[i].at, bad[i].value);
		else
			put_le32(disk + 512 + bad[i].at, (uint32_t)bad[i].value);
		seal();
		assert_int_equal(read_disk(&t, &err), -1);
		assert_int_equal(err.code, ERR_CORRUPT);
	}
}

static void test_entries(void **state)
{
	struct err err = ERR_INIT;
	struct partition_table t;

	(void)state;
	make_gpt();
	put_le64(disk + 1024 + 40, 9); /* ends before it begins */
	seal();
	assert_int_equal(read_disk(&t, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	make_gpt();
	put_le64(disk + 1024 + 40, UINT64_MAX);
	seal();
	assert_int_equal(read_disk(&t, &err), -1);
	make_gpt();
	put_le64(disk + 512 + 40, 2); /* the first usable sector holds the entries */
	seal();
	assert_int_equal(read_disk(&t, &err), -1);
}

/* A boot sector of a file system has the signature of an MBR, and code where its entries would be. */
static void test_no_table(void **state)
{
	struct err err = ERR_INIT;
	struct partition_table t;

	(void)state;
	memset(disk, 0, sizeof(disk));
	assert_int_equal(read_disk(&t, &err), 0);
	assert_int_equal(t.scheme, PARTITIONS_NONE);
	memset(disk + 446, 0x41, 64);
	disk[510] = 0x55;
	disk[511] = 0xaa;
	assert_int_equal(read_disk(&t, &err), 0);
	assert_int_equal(t.scheme, PARTITIONS_NONE);
	assert_int_equal(partition_least_size(&t), 0);
	memset(disk + 446, 0, 64);
	disk[450] = 0x83;
	put_le32(disk + 454, 2);
	put_le32(disk + 458, 0xffffffff);
	assert_int_equal(read_disk(&t, &err), 0);
	assert_int_equal(t.scheme, PARTITIONS_MBR);
	assert_int_equal(partition_least_size(&t), (2 + 0xffffffffULL) * 512);
	partition_table_release(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc),	 cmocka_unit_test(test_gpt),
		cmocka_unit_test(test_bounds),	 cmocka_unit_test(test_entries),
		cmocka_unit_test(test_no_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
