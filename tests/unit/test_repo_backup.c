/* Backup and the disk image of a snapshot through the library: random reads from many threads, names, "repo:" URLs. */
#include "libcommon/repo/repo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "libcommon/base/digest.h"
#include "libcommon/base/outfile.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/repo/page_cache.h"
#include "libcommon/repo/tree.h"

enum { SIZE = (40 << 20) + 1234 };

static char dir[] = "/tmp/vmkit-repo-XXXXXX";
static char repo_path[64], image_path[64];
static uint8_t *content;
static struct repo *repo;

static int make(void **unused)
{
	const struct repo_init_opts init = {.encrypt = false};
	uint64_t state = 3;
	struct err err = ERR_INIT;

	(void)unused;
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(repo_path, sizeof(repo_path), "%s/repo", dir);
	(void)snprintf(image_path, sizeof(image_path), "%s/a.raw", dir);
	content = calloc(1, SIZE);
	if (!content)
		return -1;
	/* Data, zeros inside of it, a region of zeros, an odd end. */
	for (size_t i = 0; i < SIZE; i++) {
		state = state * 6364136223846793005ULL + 1442695040888963407ULL;
		if ((i >> 14) % 5 != 3 && (i < 17 << 20 || i > 33 << 20))
			content[i] = (uint8_t)(state >> 56);
	}
	if (outfile_write(image_path, content, SIZE, OUTFILE_FORCE, &err) < 0 ||
	    repo_init(repo_path, &init, NULL, &err) < 0 ||
	    repo_open(&repo, repo_path, NULL, &err) < 0) {
		print_error("%s: %s\n", err.object, err.message);
		return -1;
	}
	return 0;
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

static struct backup_stats backup(const char *vm, bool no_parent)
{
	struct backup_disk disk = {.name = "vda", .source = image_path};
	struct backup_opts opts = {
		.vm = vm, .disks = &disk, .n_disks = 1, .threads = 3, .no_parent = no_parent};
	struct backup_stats stats = {0};
	struct err err = ERR_INIT;

	if (image_open(&disk.image, image_path, NULL, &err) < 0 ||
	    repo_backup(repo, &opts, &stats, &err) < 0)
		fail_msg("%s: %s", err.object, err.message);
	image_close(disk.image);
	return stats;
}

static int random_reads(void *ctx, size_t i, unsigned worker, struct err *err)
{
	struct image *img = ctx;
	uint64_t state = i * 977 + 5;
	uint8_t *buf = malloc(1 << 20);

	(void)worker;
	for (unsigned n = 0; n < 60; n++) {
		state = state * 6364136223846793005ULL + 1442695040888963407ULL;
		uint64_t off = (state >> 20) % SIZE;
		size_t len = (size_t)(state >> 8) % (n % 8 ? 9000 : 1 << 20);

		if (len > SIZE - off)
			len = (size_t)(SIZE - off);
		if (image_read(img, buf, off, len, err) < 0 ||
		    memcmp(buf, content + off, len) != 0) {
			free(buf);
			return -1;
		}
	}
	free(buf);
	return 0;
}

static void check_image(struct image *img)
{
	struct err err = ERR_INIT;
	uint64_t zero = 0;

	assert_int_equal(image_size(img), SIZE);
	for (uint64_t off = 0; off < SIZE;) {
		struct extent e;

		assert_int_equal(image_extent(img, off, UINT64_MAX, &e, &err), 0);
		if (e.kind != EXTENT_DATA) {
			for (uint64_t i = 0; i < e.len; i++)
				assert_int_equal(content[off + i], 0);
			zero += e.len;
		}
		off += e.len;
	}
	assert_true(zero > 20 << 20);
	if (parallel_for(8, 4, random_reads, img, &err) < 0)
		fail_msg("%s", err.message);
}

static void test_disk_image(void **unused)
{
	struct backup_stats first = backup("one", false), again = backup("one", true);
	struct err err = ERR_INIT;
	struct snapshot *s;
	struct image *img;

	(void)unused;
	assert_int_equal(first.virtual_bytes, SIZE);
	assert_true(first.new_bytes > 15 << 20);
	assert_int_equal(again.new_bytes, 0);
	assert_int_equal(again.stored_bytes, 0);
	assert_int_equal(repo_find(repo, "one@latest", &s, &err), 0);
	assert_memory_equal(&s->id, &again.snapshot, sizeof(s->id));
	assert_true(s->has_parent);
	assert_memory_equal(&s->parent, &first.snapshot, sizeof(s->id));
	assert_int_equal(repo_open_disk(repo, s, NULL, &img, &err), 0);
	check_image(img);
	image_close(img);
	assert_int_equal(repo_open_disk(repo, s, "vdb", &img, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
	snapshots_free(s, 1);
}

static void refuse(const char *spec, enum err_code code)
{
	struct err err = ERR_INIT;
	struct snapshot *s;

	if (repo_find(repo, spec, &s, &err) == 0)
		fail_msg("%s was found", spec);
	if (err.code != code)
		fail_msg("%s: %s", spec, err.message);
}

static void test_find(void **unused)
{
	struct backup_stats one = backup("two", false);
	struct err err = ERR_INIT;
	char hex[65], spec[128], *disk;
	struct snapshot *s;

	(void)unused;
	hex_encode(one.snapshot.bytes, 32, hex);
	(void)snprintf(spec, sizeof(spec), "two@%.10s:vda", hex);
	assert_int_equal(repo_find_disk(repo, spec, &s, &disk, &err), 0);
	assert_string_equal(disk, "vda");
	free(disk);
	snapshots_free(s, 1);
	(void)snprintf(spec, sizeof(spec), "two@2099-01-01T10:00:vda");
	assert_int_equal(repo_find_disk(repo, spec, &s, &disk, &err), 0);
	assert_string_equal(disk, "vda");
	free(disk);
	snapshots_free(s, 1);
	assert_int_equal(repo_find_disk(repo, "two@2099-01-01T10:00:00", &s, &disk, &err), 0);
	assert_null(disk);
	snapshots_free(s, 1);
	assert_int_equal(repo_find(repo, hex, &s, &err), 0);
	snapshots_free(s, 1);
	(void)snprintf(spec, sizeof(spec), "other@%s", hex);
	refuse(spec, ERR_NOT_FOUND);
	(void)snprintf(spec, sizeof(spec), "two@%.3s", hex);
	refuse(spec, ERR_USAGE);
	refuse("two@2001-02-03", ERR_NOT_FOUND);
	refuse("two@2001-02-33", ERR_USAGE);
	refuse("two@2001-02-03Z", ERR_USAGE);
	refuse("two@", ERR_USAGE);
	refuse("@latest", ERR_NOT_FOUND);
	refuse("nobody", ERR_NOT_FOUND);
	refuse("", ERR_USAGE);
}

static void refuse_name(const char *name, const struct image_open_opts *opts, enum err_code code)
{
	struct err err = ERR_INIT;
	struct image *img;

	assert_int_equal(image_open(&img, name, opts, &err), -1);
	if (err.code != code)
		fail_msg("%s: %s", name, err.message);
}

static void test_register(void **unused)
{
	const struct image_open_opts writing = {.flags = IMAGE_RDWR};
	struct err err = ERR_INIT;
	struct image *img;
	char name[128];

	(void)unused;
	backup("three", false);
	repo_register(NULL);
	(void)snprintf(name, sizeof(name), "repo:%s#three@latest:vda", repo_path);
	if (image_open(&img, name, NULL, &err) < 0)
		fail_msg("%s: %s", err.object, err.message);
	assert_string_equal(image_format_name(img), "repo");
	check_image(img);
	image_close(img);
	refuse_name(name, &writing, ERR_USAGE);
	refuse_name("repo:", NULL, ERR_USAGE);
	refuse_name("repo:/nowhere", NULL, ERR_USAGE);
	refuse_name("repo:/nowhere#x", NULL, ERR_NOT_FOUND);
	(void)snprintf(name, sizeof(name), "repo:%s#four", repo_path);
	refuse_name(name, NULL, ERR_NOT_FOUND);
}

static void test_bad_options(void **unused)
{
	struct backup_disk disk = {.name = "v/da"};
	struct backup_opts opts = {.vm = "x", .disks = &disk, .n_disks = 1};
	struct backup_stats stats;
	struct err err = ERR_INIT;

	(void)unused;
	assert_int_equal(repo_backup(repo, &opts, &stats, &err), -1);
	assert_int_equal(err.code, ERR_USAGE);
	opts.n_disks = 0;
	assert_int_equal(repo_backup(repo, &opts, &stats, &err), -1);
	assert_int_equal(err.code, ERR_USAGE);
	opts.vm = "";
	assert_int_equal(repo_backup(repo, &opts, &stats, &err), -1);
	assert_int_equal(err.code, ERR_USAGE);
}

/* A page that can be read and must not be counted on: the next backup may not take anything from this tree. */
static void test_whole_trees(void **unused)
{
	struct store *st = repo_store(repo);
	struct err err = ERR_INIT;
	struct snapshot *s;
	struct repo_id leaf;
	struct page *p;
	struct tree t;

	(void)unused;
	(void)backup("whole", true);
	assert_int_equal(repo_find(repo, "whole", &s, &err), 0);
	t = (struct tree){s->disks[0].root, s->disks[0].tree_levels, s->disks[0].size};
	assert_true(tree_is_whole(st, &t));
	assert_true(t.levels == 1);
	assert_int_equal(page_load(st, &t.root, t.levels, &p, &err), 0);
	leaf = p->children[2];
	page_free(p);
	assert_int_equal(store_mark_bad(st, &leaf, &err), 0);
	assert_int_equal(page_load(st, &leaf, 0, &p, &err), 0);
	page_free(p);
	assert_false(tree_is_whole(st, &t));
	snapshots_free(s, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_disk_image),  cmocka_unit_test(test_find),
		cmocka_unit_test(test_register),    cmocka_unit_test(test_bad_options),
		cmocka_unit_test(test_whole_trees),
	};

	return cmocka_run_group_tests(tests, make, clean);
}
