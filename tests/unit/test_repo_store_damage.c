/* One flipped bit in every kind of object: an error or nothing, never wrong data; what is stored again is healed. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/repo_store_util.h"

enum { BLOBS = 60 };

static char original[128];

static void run(const char *format, const char *a, const char *b)
{
	char command[512];

	snprintf(command, sizeof(command), "%s %s %s", format, a, b);
	assert_int_equal(system(command), 0);
}

/* The first (and only) file below a folder of the repository */
static void find_file(const char *sub, char ret[256])
{
	char command[200];
	FILE *f;

	snprintf(command, sizeof(command), "find %s/%s -type f | sort | head -1", path, sub);
	f = popen(command, "r");
	assert_non_null(f);
	assert_non_null(fgets(ret, 256, f));
	pclose(f);
	ret[strcspn(ret, "\n")] = 0;
}

static uint64_t file_size(const char *file)
{
	struct stat st;

	assert_int_equal(stat(file, &st), 0);
	return (uint64_t)st.st_size;
}

static void flip(const char *file, uint64_t off)
{
	int fd = open(file, O_RDWR);
	uint8_t b;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &b, 1, (off_t)off), 1);
	b ^= 0x10;
	assert_int_equal(pwrite(fd, &b, 1, (off_t)off), 1);
	close(fd);
}

static void fresh_copy(void)
{
	snprintf(path, sizeof(path), "%s/copy", folder);
	run("rm -rf", path, "");
	run("cp -a", original, path);
}

static void fault_seen(void *ctx, const char *sentence)
{
	assert_true(strlen(sentence) > 10);
	++*(unsigned *)ctx;
}

static unsigned verify(struct store *st, bool quick)
{
	struct verify_result res = {0};
	unsigned faults = 0;
	const struct store_verify v = {
		.threads = 2, .quick = quick, .fault = fault_seen, .ctx = &faults};

	must(store_verify(st, &v, &res, &err));
	return faults;
}

/* After @damage to the copy: reads are right or refused, verify sees it, a new backup heals it. */
static void check_heals(bool quick)
{
	struct repo *r = open_repo();
	unsigned bad, stored;

	get_range(repo_store(r), 0, BLOBS);
	repo_close(r);
	r = open_repo();
	if (!verify(repo_store(r), quick))
		fail_msg("verify saw nothing");
	repo_close(r);
	r = open_repo();
	bad = get_range(repo_store(r), 0, BLOBS);
	stored = put_range(repo_store(r), 0, BLOBS);
	if (stored < bad)
		fail_msg("%u blobs are lost, %u were stored again", bad, stored);
	assert_int_equal(get_range(repo_store(r), 0, BLOBS), 0);
	repo_close(r);
	r = open_repo();
	assert_int_equal(get_range(repo_store(r), 0, BLOBS), 0);
	repo_close(r);
}

static void flips_in(const char *sub, unsigned positions, bool quick)
{
	char file[256];
	uint64_t size;

	fresh_copy();
	find_file(sub, file);
	size = file_size(file);
	for (unsigned i = 0; i < positions; i++) {
		/* the ends of the file byte by byte, the middle in steps */
		uint64_t off = i < 24	? i * 5
			       : i < 36 ? size - 1 - (i - 24) * 4
					: size * (i - 36) / (positions - 36);

		fresh_copy();
		find_file(sub, file);
		flip(file, off);
		check_heals(quick);
	}
}

static void test_flip_pack(void **state)
{
	(void)state;
	flips_in("packs", 48, false);
}

static void test_flip_pack_quick(void **state)
{
	(void)state;
	flips_in("packs", 48, true);
}

static void test_flip_index(void **state)
{
	(void)state;
	flips_in("index", 48, true);
}

static void test_cut(void **state)
{
	static const char *const subs[] = {"packs", "index"};
	char file[256];

	(void)state;
	for (unsigned i = 0; i < 24; i++) {
		uint64_t size;

		fresh_copy();
		find_file(subs[i & 1], file);
		size = file_size(file);
		assert_int_equal(
			truncate(file, (off_t)(i < 12 ? size - 1 - i * 5 : size * (i - 12) / 12)),
			0);
		check_heals(true);
	}
}

static void test_flip_config_and_key(void **state)
{
	static const char *const subs[] = {"config", "keys"};
	char file[256];

	(void)state;
	for (unsigned i = 0; i < 2 * 128; i += 3) {
		struct repo *r;

		fresh_copy();
		find_file(subs[i & 1], file);
		flip(file, i / 2);
		err_clear(&err);
		assert_int_equal(repo_open(&r, path, &key_source, &err), -1);
		assert_true(err.code == ERR_CORRUPT || err.code == ERR_UNSUPPORTED ||
			    err.code == ERR_DENIED);
	}
}

static void test_flip_object(void **state)
{
	char file[256];
	uint64_t size;

	(void)state;
	fresh_copy();
	find_file("snapshots", file);
	size = file_size(file);
	for (uint64_t off = 0; off < size; off += 2) {
		struct repo *r;
		uint8_t *data;
		size_t len;

		fresh_copy();
		find_file("snapshots", file);
		flip(file, off);
		r = open_repo();
		assert_int_equal(
			store_object_read(repo_store(r), "snapshots/one", 4096, &data, &len, &err),
			-1);
		assert_true(err.code == ERR_CORRUPT || err.code == ERR_UNSUPPORTED);
		repo_close(r);
	}
}

static int setup(void **state)
{
	struct repo *r;

	if (make_folder(state))
		return -1;
	make_repo("original", true);
	memcpy(original, path, sizeof(path));
	r = open_repo();
	put_range(repo_store(r), 0, BLOBS);
	must(store_object_write(repo_store(r), "snapshots/one", "a manifest", 10, &err));
	repo_close(r);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flip_pack),	    cmocka_unit_test(test_flip_pack_quick),
		cmocka_unit_test(test_flip_index),	    cmocka_unit_test(test_cut),
		cmocka_unit_test(test_flip_config_and_key), cmocka_unit_test(test_flip_object),
	};

	return cmocka_run_group_tests_name("repo store damage", tests, setup, remove_folder);
}
