/* Changed ranges: the set itself, and backups that read little more than what a set names, against a model. */
#include "libcommon/image/changes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "libcommon/base/outfile.h"
#include "libcommon/repo/chunker.h"
#include "libcommon/repo/repo.h"

enum { SIZE = (40 << 20) + 1234, GRAIN = 64 << 10, ROUNDS = 12 };

static char dir[] = "/tmp/vmkit-changes-XXXXXX";
static char repo_path[64], image_path[64];
static uint8_t *content;
static struct repo *repo;
static uint64_t state = 11;

static uint64_t next(uint64_t below)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (state >> 24) % below;
}

static int make(void **unused)
{
	const struct repo_init_opts init = {.encrypt = false};
	struct err err = ERR_INIT;

	(void)unused;
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(repo_path, sizeof(repo_path), "%s/repo", dir);
	(void)snprintf(image_path, sizeof(image_path), "%s/a.raw", dir);
	content = calloc(1, SIZE);
	if (!content)
		return -1;
	/* Data, short zeros in it, long ones, a region of zeros. */
	for (size_t i = 0; i < SIZE; i++)
		if ((i >> 14) % 5 != 3 && (i >> 20) % 7 != 2 && (i < 16 << 20 || i > 32 << 20))
			content[i] = (uint8_t)next(256);
	return repo_init(repo_path, &init, NULL, &err) < 0 ||
			       repo_open(&repo, repo_path, NULL, &err) < 0
		       ? -1
		       : 0;
}

static int clean(void **unused)
{
	char command[128];

	(void)unused;
	repo_close(repo);
	free(content);
	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static struct backup_stats backup(const struct changes *changes, const struct repo_id *base)
{
	struct backup_disk disk = {.name = "vda",
				   .source = image_path,
				   .changes = changes,
				   .changes_from = "checkpoint"};
	struct backup_opts opts = {.vm = "m", .disks = &disk, .n_disks = 1, .threads = 2};
	struct backup_stats stats = {0};
	struct err err = ERR_INIT;

	if (base)
		disk.base = *base;
	if (outfile_write(image_path, content, SIZE, OUTFILE_FORCE, &err) < 0 ||
	    image_open(&disk.image, image_path, NULL, &err) < 0 ||
	    repo_backup(repo, &opts, &stats, &err) < 0)
		fail_msg("%s: %s", err.object, err.message);
	image_close(disk.image);
	return stats;
}

static void check_snapshot(const char *change_source)
{
	struct err err = ERR_INIT;
	struct snapshot *s;
	struct image *img;
	char *disk = NULL;
	uint8_t *buf = malloc(SIZE);

	assert_non_null(buf);
	assert_int_equal(repo_find_disk(repo, "m@latest", &s, &disk, &err), 0);
	assert_string_equal(s->disks[0].change_source, change_source);
	assert_int_equal(repo_open_disk(repo, s, "vda", &img, &err), 0);
	assert_int_equal(image_read(img, buf, 0, SIZE, &err), 0);
	assert_memory_equal(buf, content, SIZE);
	image_close(img);
	snapshots_free(s, 1);
	free(disk);
	free(buf);
}

/* A few grains of the disk get other bytes, or zeros; the set says which. */
static struct changes *change(unsigned n)
{
	struct err err = ERR_INIT;
	struct changes *c;
	uint64_t off = 0;

	assert_int_equal(changes_new(&c, &err), 0);
	for (unsigned i = 0; i < n; i++) {
		uint64_t len = GRAIN * (1 + next(4)), write;
		bool zero = next(3) == 0;

		off += GRAIN * next(2 * SIZE / GRAIN / n);
		if (off >= SIZE)
			break;
		if (len > SIZE - off)
			len = SIZE - off;
		assert_int_equal(changes_add(c, off, len, &err), 0);
		write = next(len);
		for (uint64_t k = write; k < len; k++)
			content[off + k] = zero ? 0 : (uint8_t)next(256);
		off += len;
	}
	return c;
}

static void test_backups(void **unused)
{
	struct repo_id base = backup(NULL, NULL).snapshot, nobody = {{1}};

	(void)unused;
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned n = i == 0 ? 0 : (unsigned)next(12) + 1;
		struct changes *c = n ? change(n) : NULL;
		struct err err = ERR_INIT;

		if (!n)
			assert_int_equal(changes_new(&c, &err), 0);
		struct backup_stats s = backup(c, &base);

		/* The file is a new one each time, so nothing but the set says that anything is as it was. */
		assert_true(s.read_bytes <= changes_bytes(c) + n * 4ULL * CHUNK_MAX);
		check_snapshot("checkpoint");
		base = s.snapshot;
		changes_free(c);
	}

	/* A base that is gone, and one of another snapshot's: all is read. */
	struct changes *c = change(3);

	assert_true(backup(c, &nobody).read_bytes > SIZE / 4);
	check_snapshot("scan");
	changes_free(c);
}

static int no(void *ctx, struct err *err)
{
	(void)ctx;
	return err_set(err, ERR_FAILED, "no");
}

static void test_confirm(void **unused)
{
	struct backup_disk disk = {.name = "vda"};
	struct backup_opts opts = {.vm = "n", .disks = &disk, .n_disks = 1, .confirm = no};
	struct backup_stats stats;
	struct err err = ERR_INIT;
	struct snapshot *list;
	size_t n;

	(void)unused;
	assert_int_equal(image_open(&disk.image, image_path, NULL, &err), 0);
	assert_int_equal(repo_backup(repo, &opts, &stats, &err), -1);
	assert_string_equal(err.message, "no");
	assert_int_equal(repo_list(repo, "n", &list, &n, NULL, &err), 0);
	assert_int_equal(n, 0);
	snapshots_free(list, n);
	image_close(disk.image);
}

static void test_set(void **unused)
{
	struct err err = ERR_INIT;
	struct changes *c;

	(void)unused;
	assert_int_equal(changes_new(&c, &err), 0);
	assert_false(changes_touch(c, 0, UINT64_MAX));
	assert_int_equal(changes_add(c, 100, 50, &err), 0);
	assert_int_equal(changes_add(c, 150, 50, &err), 0);
	assert_int_equal(changes_add(c, 300, 1, &err), 0);
	assert_int_equal(changes_add(c, 299, 5, &err), -1);
	assert_int_equal(changes_add(c, 400, UINT64_MAX, &err), -1);
	assert_int_equal(changes_bytes(c), 101);
	assert_false(changes_touch(c, 0, 100));
	assert_true(changes_touch(c, 0, 101));
	assert_true(changes_touch(c, 199, 1));
	assert_false(changes_touch(c, 200, 100));
	assert_true(changes_touch(c, 200, 101));
	assert_false(changes_touch(c, 301, 1000));
	assert_false(changes_touch(c, 100, 0));
	changes_free(c);
}

static void test_many(void **unused)
{
	struct err err = ERR_INIT;
	struct changes *c;

	(void)unused;
	assert_int_equal(changes_new(&c, &err), 0);
	for (uint64_t i = 0; i < 1200000; i++)
		assert_int_equal(changes_add(c, i * (256 << 10), 4096, &err), 0);
	for (uint64_t i = 0; i < 1200000; i += 999)
		assert_true(changes_touch(c, i * (256 << 10), 1));
	assert_false(changes_touch(c, 1200000ULL * (256 << 10), 1));
	changes_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_backups),
		cmocka_unit_test(test_confirm),
	};

	return cmocka_run_group_tests(tests, make, clean);
}
