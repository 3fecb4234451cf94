/* Plans, options of new images, the rate limit: what the engine decides before a byte is copied. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/image/copy/parts.h"

#define KIB 1024ULL
#define MIB (1024 * KIB)

/* A sparse file of @size with data at the given block numbers (of 4 KiB), ended by -1. */
static struct image *sparse_image(uint64_t size, const int *blocks)
{
	char path[] = "/var/tmp/engine-plan-XXXXXX";
	struct image_open_opts opts = {.format = "raw", .flags = IMAGE_NO_LOCK};
	struct err err = ERR_INIT;
	struct bfile *file;
	struct image *img;
	uint8_t data[4096];
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	(void)unlink(path);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	memset(data, 0xa5, sizeof(data));
	for (; *blocks >= 0; blocks++) {
		uint64_t off = (uint64_t)*blocks * 4096;
		size_t n = (size_t)min_u64(sizeof(data), size - off);

		assert_int_equal(pwrite(fd, data, n, (off_t)off), n);
	}
	assert_int_equal(bfile_of_fd(&file, fd, "plan", false, &err), 0);
	assert_int_equal(image_open_bfile(&img, file, &opts, &err), 0);
	return img;
}

/* Every run ascends, is aligned, and what is not covered reads as zero. */
static uint64_t check_plan(struct plan *p, unsigned *ret_units)
{
	struct unit u = {0};
	struct err err = ERR_INIT;
	uint64_t at = 0, data = 0;
	int rc;

	*ret_units = 0;
	while ((rc = plan_next(p, &u, &err)) == 1) {
		++*ret_units;
		assert_true(u.bytes <= p->unit_bytes);
		for (unsigned i = 0; i < u.n_runs; i++) {
			const struct run *r = &u.runs[i];

			assert_true(r->off >= at && r->len > 0);
			assert_int_equal(r->off % p->granule, 0);
			at = r->off + r->len;
			assert_true(at % p->granule == 0 || at == p->disk_size);
			if (r->kind == RUN_DATA)
				data += r->len;
		}
	}
	assert_int_equal(rc, 0);
	unit_release(&u, NULL);
	return data;
}

static void test_scattered(void **state)
{
	static int blocks[2001];
	struct plan p;
	unsigned units;

	(void)state;
	for (int i = 0; i < 2000; i++)
		blocks[i] = i * 100;
	blocks[2000] = -1;

	struct image *img = sparse_image(1024 * MIB, blocks);

	plan_init(&p, img, 4096);
	assert_int_equal(check_plan(&p, &units), 2000 * 4096);
	assert_true(units <= 2000 / RUNS_MAX * 2 + 1); /* not a unit a block */

	/* A coarse granule: whole clusters, neighbours of one cluster together. */
	plan_init(&p, img, 1 << 20);
	assert_int_equal(check_plan(&p, &units), 781 * MIB);
	image_close(img);
}

static void test_ends(void **state)
{
	static const int blocks[] = {0, 3, 4, 1000, -1};
	const uint64_t size = 1000 * 4096 + 17;
	struct image *img = sparse_image(size, blocks);
	struct plan p;
	unsigned units;

	(void)state;
	plan_init(&p, img, 4096);
	p.gap_max = 0;
	assert_int_equal(check_plan(&p, &units), 3 * 4096 + 17);
	plan_init(&p, img, 65536);
	/* the last granule is a part of one: 1000 * 4096 + 17 - 62 * 65536 */
	assert_int_equal(check_plan(&p, &units), 65536 + size - 62 * 65536);
	image_close(img);
}

static void test_zero_runs(void **state)
{
	static const int blocks[] = {1, 300, -1};
	struct image *img = sparse_image(4 * MIB, blocks);
	struct unit u = {0};
	struct err err = ERR_INIT;
	struct plan p;
	uint64_t zeros = 0, at = 0;

	(void)state;
	plan_init(&p, img, 65536);
	p.want_zeros = true;
	while (plan_next(&p, &u, &err) == 1)
		for (unsigned i = 0; i < u.n_runs; i++) {
			assert_int_equal(u.runs[i].off, at); /* nothing is left out */
			at += u.runs[i].len;
			if (u.runs[i].kind == RUN_ZERO)
				zeros += u.runs[i].len;
		}
	assert_int_equal(at, 4 * MIB);
	assert_int_equal(zeros, 4 * MIB - 2 * 65536);
	unit_release(&u, NULL);
	image_close(img);
}

static void test_over_base(void **state)
{
	static const int a[] = {1, 20, 300, -1}, b[] = {2, 40, 300, -1};
	struct image *img = sparse_image(4 * MIB, a), *base = sparse_image(2 * MIB, b);
	struct unit u = {0};
	struct err err = ERR_INIT;
	struct plan p;
	uint8_t seen[64] = {0};

	(void)state;
	plan_init(&p, img, 65536);
	p.base = base;
	p.base_size = image_size(base);
	p.want_zeros = true;
	while (plan_next(&p, &u, &err) == 1)
		for (unsigned i = 0; i < u.n_runs; i++)
			for (uint64_t g = u.runs[i].off / 65536;
			     g < div_up(u.runs[i].off + u.runs[i].len, 65536); g++)
				seen[g] = u.runs[i].kind == RUN_ZERO ? 'z' : 'd';
	assert_int_equal(seen[0], 'd'); /* both have data there */
	assert_int_equal(seen[1], 'd'); /* block 20 of the source */
	assert_int_equal(seen[2], 'd'); /* block 40 of the base alone, in the middle of a granule */
	assert_int_equal(seen[18], 'd'); /* block 300 of both, in different files */
	assert_int_equal(seen[3], 0);
	assert_int_equal(seen[63], 0); /* beyond the base, zero in both */
	unit_release(&u, NULL);

	/* An image over itself: nothing to do, without reading. */
	plan_init(&p, img, 65536);
	p.base = img;
	p.base_size = image_size(img);
	p.want_zeros = true;
	memset(&u, 0, sizeof(u));
	assert_int_equal(plan_next(&p, &u, &err), 0);
	unit_release(&u, NULL);
	image_close(img);
	image_close(base);
}

static void test_clone_runs(void **state)
{
	static int blocks[1025];
	struct unit u = {0};
	struct err err = ERR_INIT;
	struct plan p;
	struct stat st;
	uint64_t cloned = 0, data = 0;

	(void)state;
	assert_int_equal(stat("/var/tmp", &st), 0); /* where sparse_image() is */
	for (int i = 0; i < 1024; i++)
		blocks[i] = i + 3; /* begins and ends inside granules */
	blocks[1024] = -1;

	struct image *img = sparse_image(16 * MIB, blocks);

	plan_init(&p, img, 65536);
	p.clone = true;
	p.clone_dev = st.st_dev;
	while (plan_next(&p, &u, &err) == 1)
		for (unsigned i = 0; i < u.n_runs; i++) {
			const struct run *r = &u.runs[i];

			*(r->kind == RUN_CLONE ? &cloned : &data) += r->len;
			if (r->kind == RUN_CLONE) {
				assert_true(r->len <= BULK_UNIT_MAX);
				assert_int_equal(u.parts[r->first_part].host_off, r->off);
			}
		}
	assert_int_equal(cloned, 63 * 65536);
	assert_int_equal(data, 2 * 65536);
	unit_release(&u, NULL);
	image_close(img);
}

static const struct image_option options[] = {{"flag", OPTION_BOOL, "", NULL},
					      {"size", OPTION_SIZE, "", NULL},
					      {"pick", OPTION_CHOICE, "", "one|two"},
					      {"text", OPTION_STRING, "", NULL},
					      {0}};

static int check(const char *name, const char *value)
{
	const struct image_format format = {.name = "test", .create_options = options};
	const struct image_option_value v = {name, value};
	const struct bulk_params p = {.options = &v, .n_options = 1};

	return bulk_check_options(&format, &p, NULL);
}

static void test_options(void **state)
{
	const struct image_format none = {.name = "none"};
	const struct image_option_value twice[] = {{"flag", "on"}, {"flag", "off"}};
	const struct bulk_params p = {.options = twice, .n_options = 2};
	const struct image_format format = {.name = "test", .create_options = options};
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(check("flag", "on"), 0);
	assert_int_equal(check("flag", "maybe"), -1);
	assert_int_equal(check("flag", ""), -1);
	assert_int_equal(check("size", "64k"), 0);
	assert_int_equal(check("size", "lots"), -1);
	assert_int_equal(check("pick", "two"), 0);
	assert_int_equal(check("pick", "on"), -1);
	assert_int_equal(check("pick", "one|two"), -1);
	assert_int_equal(check("text", ""), 0);
	assert_int_equal(check("other", "x"), -1);
	assert_int_equal(bulk_check_options(&format, &p, &err), -1);
	assert_int_equal(err.code, ERR_USAGE);
	assert_int_equal(bulk_check_options(&none, &p, NULL), -1);
	assert_string_equal(bulk_option(&p, "flag"), "on");
	assert_null(bulk_option(&p, "size"));
}

static void test_rate(void **state)
{
	struct rate none = {0}, slow = {.limit = 1 << 30};

	(void)state;
	assert_int_equal(rate_wait(&none, UINT64_MAX, NULL), 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(rate_wait(&slow, 1 << 20, NULL), 0);
	assert_int_equal(slow.spent, 10 << 20);
}

/* Where blocks cannot be shared the file is left alone: ext4 writes one that was cut to nothing to the disk at its end */
static void no_clone_without_a_trace(void **state)
{
	static const int blocks[] = {0, -1};
	struct image *img = sparse_image(1 * MIB, blocks);
	char path[] = "/var/tmp/engine-plan-XXXXXX";
	const struct timespec tick = {.tv_nsec = 20000000};
	struct stat before, after;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	(void)unlink(path);
	assert_int_equal(fstat(fd, &before), 0);
	(void)nanosleep(&tick, NULL);
	if (!target_can_clone(img, fd)) {
		assert_int_equal(fstat(fd, &after), 0);
		assert_memory_equal(&after.st_ctim, &before.st_ctim, sizeof(after.st_ctim));
	}
	(void)close(fd);
	image_close(img);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scattered),  cmocka_unit_test(test_ends),
		cmocka_unit_test(test_zero_runs),  cmocka_unit_test(test_over_base),
		cmocka_unit_test(test_clone_runs), cmocka_unit_test(test_options),
		cmocka_unit_test(test_rate),	   cmocka_unit_test(no_clone_without_a_trace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
