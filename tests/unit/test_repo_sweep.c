/* A flipped byte anywhere in a repository: verify reports it, or it changes nothing; what is read is right or refused, and
 * with parity a flip in a pack is healed by reading. */
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#include "libcommon/base/outfile.h"
#include "tests/unit/repo_store_util.h"

enum { SIZE = 17 << 20, FILES_MAX = 64, POSITIONS = 40, SNAPSHOTS = 2 };

static uint8_t *content[SNAPSHOTS], *got;
static char files[FILES_MAX][200], original[128];
static uint64_t sizes[FILES_MAX];
static size_t n_files;

static void fill(uint8_t *p, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		p[i] = (uint8_t)(seed >> 56);
	}
}

static void backup(struct repo *r, const uint8_t *data)
{
	struct backup_disk disk = {.name = "vda"};
	const struct backup_opts opts = {.vm = "m", .disks = &disk, .n_disks = 1, .threads = 1};
	struct backup_stats stats;
	char image[100];

	snprintf(image, sizeof(image), "%s/a.raw", folder);
	disk.source = image;
	must(outfile_write(image, data, SIZE, OUTFILE_FORCE, &err));
	must(image_open(&disk.image, image, NULL, &err));
	must(repo_backup(r, &opts, &stats, &err));
	image_close(disk.image);
}

static int note(const char *name, const struct stat *st, int type, struct FTW *ftw)
{
	(void)ftw;
	if (type == FTW_F && n_files < FILES_MAX) {
		snprintf(files[n_files], sizeof(files[0]), "%s", name + strlen(path));
		sizes[n_files++] = (uint64_t)st->st_size;
	}
	return 0;
}

/* Two snapshots, in two regions, sharing one; every class of object that a backup makes. */
static void make_original(unsigned parity)
{
	struct repo *r;

	repo_parity = parity;
	make_repo(parity ? "with" : "without", false);
	r = open_repo();
	for (unsigned i = 0; i < SNAPSHOTS; i++)
		backup(r, content[i]);
	repo_close(r);
	memcpy(original, path, sizeof(path));
	n_files = 0;
	assert_int_equal(nftw(path, note, 8, FTW_PHYS), 0);
	snprintf(path, sizeof(path), "%s/copy", folder);
}

static void fresh_copy(void)
{
	char command[400];

	snprintf(command, sizeof(command), "rm -rf %s && cp -a %s %s", path, original, path);
	assert_int_equal(system(command), 0);
}

static void flip(size_t file, uint64_t off)
{
	char name[400];
	uint8_t b;
	int fd;

	snprintf(name, sizeof(name), "%s%s", path, files[file]);
	fd = open(name, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &b, 1, (off_t)off), 1);
	b = (uint8_t)~b;
	assert_int_equal(pwrite(fd, &b, 1, (off_t)off), 1);
	close(fd);
}

static bool is_refusal(const struct err *e)
{
	return e->code == ERR_CORRUPT || e->code == ERR_UNSUPPORTED || e->code == ERR_NOT_FOUND ||
	       e->code == ERR_DENIED;
}

/* Return: snapshots that could be read; none of them wrongly */
static unsigned read_all(struct repo *r)
{
	struct snapshot *list;
	size_t n, damaged;
	unsigned right = 0;

	must(repo_list(r, NULL, &list, &n, &damaged, &err));
	assert_int_equal(n + damaged, SNAPSHOTS);
	for (size_t i = 0; i < n; i++) {
		struct err e = ERR_INIT;
		struct image *img;

		must(repo_open_disk(r, &list[i], NULL, &img, &err));
		if (image_read(img, got, 0, SIZE, &e))
			assert_true(is_refusal(&e));
		else if (memcmp(got, content[list[i].seq - 1], SIZE))
			fail_msg("wrong data");
		else
			right++;
		image_close(img);
	}
	snapshots_free(list, n);
	return right;
}

static void check(size_t file, uint64_t off, unsigned parity)
{
	const struct verify_opts opts = {.threads = 1};
	struct verify_result res;
	struct repo *r;
	bool pack = !strncmp(files[file], "/packs/", 7);
	unsigned right;

	fresh_copy();
	flip(file, off);
	err_clear(&err);
	if (repo_open(&r, path, &key_source, &err)) {
		assert_true(is_refusal(&err));
		assert_string_equal(files[file], "/config");
		return;
	}
	must(repo_verify(r, &opts, &res, &err));
	repo_close(r);
	r = open_repo();
	right = read_all(r);
	repo_close(r);
	if (!res.faults && right < SNAPSHOTS)
		fail_msg("%s, byte %llu: verify saw nothing", files[file], (unsigned long long)off);
	/* no byte of these is without a meaning */
	if (pack && !res.faults)
		fail_msg("%s, byte %llu: harmless?", files[file], (unsigned long long)off);
	if (pack && parity)
		assert_int_equal(right, SNAPSHOTS);
}

static void sweep(unsigned parity)
{
	make_original(parity);
	assert_true(n_files >= 7); /* config, and two each of packs, runs, manifests */
	for (size_t i = 0; i < n_files; i++)
		for (unsigned k = 0; k < POSITIONS; k++)
			check(i,
			      k < 4 ? sizes[i] - 1 - k * 7 : sizes[i] * (k - 4) / (POSITIONS - 4),
			      parity);
}

static void test_without_parity(void **state)
{
	(void)state;
	sweep(0);
}

static void test_with_parity(void **state)
{
	(void)state;
	sweep(4);
}

static int setup(void **state)
{
	for (unsigned i = 0; i < SNAPSHOTS; i++) {
		content[i] = calloc(1, SIZE);
		if (!content[i])
			return -1;
		fill(content[i], 100000, 7);
		fill(content[i] + (16 << 20) + 50000, 60000, 8 + i);
	}
	got = malloc(SIZE);
	return got ? make_folder(state) : -1;
}

static int teardown(void **state)
{
	free(content[0]);
	free(content[1]);
	free(got);
	return remove_folder(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_parity),
		cmocka_unit_test(test_with_parity),
	};

	return cmocka_run_group_tests_name("repo sweep", tests, setup, teardown);
}
