/* Many threads write, zero, read and flush one qcow2 image; their ranges share clusters but do not overlap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/image/image.h"

#define THREADS 4
#define STRIPE	5120
#define SLOTS	300

static struct image *img;

static void *work(void *arg)
{
	unsigned id = *(unsigned *)arg, s = id * 77 + 1;
	uint8_t want[STRIPE], got[STRIPE];
	struct err err = ERR_INIT;

	for (int i = 0; i < 1000; i++) {
		s = s * 1103515245 + 12345;

		uint64_t slot = (uint64_t)((s >> 8) % SLOTS) * THREADS + id;
		bool zero = (s >> 4) % 8 == 0;

		memset(want, zero ? 0 : (int)(1 + slot % 251), STRIPE);
		if ((zero ? image_write_zeroes(img, slot * STRIPE, STRIPE, true, &err)
			  : image_write(img, want, slot * STRIPE, STRIPE, &err)) < 0 ||
		    image_read(img, got, slot * STRIPE, STRIPE, &err) < 0 ||
		    (i % 200 == 0 && image_flush(img, &err) < 0))
			return strdup(err.message);
		if (memcmp(want, got, STRIPE) != 0)
			return strdup("read something else than was written");
	}
	return NULL;
}

static void test_threads(void **state)
{
	static const char *const options[] = {"cluster_size=65536", "cluster_size=4096",
					      "extended_l2=on", "lazy_refcounts=on"};

	(void)state;
	for (unsigned o = 0; o < 4; o++) {
		char dir[] = "/tmp/qcow2-threads-XXXXXX", path[64], cmd[256];
		struct image_open_opts opts = {.flags = IMAGE_RDWR};
		struct err err = ERR_INIT;
		pthread_t t[THREADS];
		unsigned id[THREADS];

		assert_non_null(mkdtemp(dir));
		snprintf(path, sizeof(path), "%s/a.qcow2", dir);
		snprintf(cmd, sizeof(cmd), "qemu-img create -q -f qcow2 -o %s %s 8M", options[o],
			 path);
		assert_int_equal(system(cmd), 0); /* NOLINT: a test's own command */
		assert_int_equal(image_open(&img, path, &opts, &err), 0);
		for (unsigned i = 0; i < THREADS; i++) {
			id[i] = i;
			assert_int_equal(pthread_create(&t[i], NULL, work, &id[i]), 0);
		}
		for (unsigned i = 0; i < THREADS; i++) {
			void *failure;

			pthread_join(t[i], &failure);
			if (failure)
				fail_msg("%s: %s", options[o], (char *)failure);
		}
		assert_int_equal(image_flush(img, &err), 0);
		image_close(img);
		snprintf(cmd, sizeof(cmd), "qemu-img check -q %s && rm -r %s", path, dir);
		assert_int_equal(system(cmd), 0); /* NOLINT: as above */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
