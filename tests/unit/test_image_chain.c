/* Reading chains that QEMU made, from many threads at once: raw below a compressed qcow2 below a qcow2, each larger
 * than the one below. What they read must be what qemu-img says.
 */
#include <fcntl.h>
#include <pthread.h>
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
#include "libcommon/image/image.h"

static char dir[] = "/tmp/vmkit-chain-XXXXXX";

enum { TOP = (3 << 20) + 512, READS = 2000, THREADS = 4 };

static uint8_t truth[TOP];

static int sh(const char *command)
{
	char line[2048];

	(void)snprintf(line, sizeof(line), "cd %s && { %s; } >/dev/null 2>&1", dir, command);
	return system(line);
}

static char *in_dir(const char *name, char buf[64])
{
	(void)snprintf(buf, 64, "%s/%s", dir, name);
	return buf;
}

static int setup(void **state)
{
	char p[64];

	(void)state;
	if (!mkdtemp(dir) || sh("command -v qemu-img && command -v qemu-io") != 0)
		return 0; /* the tests skip */
	assert_int_equal(sh("yes base | head -c 1049088 >base.raw"), 0);
	assert_int_equal(sh("qemu-img create -f qcow2 -b base.raw -F raw mid.qcow2 2M; "
			    "for i in 1 5 9 17 20 31; do "
			    "qemu-io -c \"write -c -P $i $((i*64))k 64k\" mid.qcow2; done"),
			 0);
	assert_int_equal(sh("qemu-img create -f qcow2 -o cluster_size=4k -b mid.qcow2 -F qcow2 "
			    "top.qcow2 3146240; "
			    "qemu-io -c 'write -P 3 70000 5000' -c 'write -z 330000 70000' "
			    "-c 'write -P 4 2097000 300' -c 'write -P 5 3145728 512' top.qcow2; "
			    "qemu-img convert -O raw top.qcow2 truth.raw"),
			 0);

	int fd = open(in_dir("truth.raw", p), O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(read(fd, truth, TOP), TOP);
	close(fd);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)sh("rm -f *.raw *.qcow2");
	return rmdir(dir);
}

static struct image *open_or_skip(const char *name)
{
	struct err err = ERR_INIT;
	struct image *img;
	char p[64];

	if (access(in_dir(name, p), F_OK) != 0)
		skip();
	if (image_open(&img, p, NULL, &err) < 0)
		fail_msg("%s", err.message);
	return img;
}

struct reading {
	struct image *img;
	unsigned seed;
	char failure[256];
};

static void *read_randomly(void *arg)
{
	struct reading *r = arg;
	static __thread uint8_t buf[200000];
	unsigned state = r->seed;
	struct err err = ERR_INIT;

	for (int i = 0; i < READS; i++) {
		state = state * 1103515245 + 12345;

		size_t off = (state >> 4) % TOP, len = (state >> 12) % (i % 8 ? 5000 : sizeof(buf));

		if (len > TOP - off)
			len = TOP - off;
		if (image_read(r->img, buf, off, len, &err) < 0) {
			(void)snprintf(r->failure, sizeof(r->failure), "%.200s", err.message);
			return r;
		}
		if (len && memcmp(buf, truth + off, len) != 0) {
			(void)snprintf(r->failure, sizeof(r->failure), "%zu bytes at %zu differ",
				       len, off);
			return r;
		}
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct image *img = open_or_skip("top.qcow2");
	static struct reading r[THREADS];
	pthread_t t[THREADS];
	void *bad;

	(void)state;
	assert_int_equal(image_size(img), TOP);
	assert_non_null(image_backing(image_backing(img)));
	assert_null(image_backing(image_backing(image_backing(img))));
	for (unsigned i = 0; i < THREADS; i++) {
		r[i] = (struct reading){.img = img, .seed = i + 1};
		assert_int_equal(pthread_create(&t[i], NULL, read_randomly, &r[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(t[i], &bad);
		if (bad)
			fail_msg("%s", r[i].failure);
	}
	image_close(img);
}

/* Extents tell the same story: what is not data is zero, depth says whose it is, plain bytes lie where they say. */
static void test_extents(void **state)
{
	struct image *img = open_or_skip("top.qcow2");
	struct err err = ERR_INIT;
	unsigned seen[3] = {0}, compressed = 0;
	struct extent e;

	(void)state;
	for (uint64_t off = 0; off < TOP; off += e.len) {
		static uint8_t buf[TOP];

		assert_int_equal(image_extent(img, off, TOP - off, &e, &err), 0);
		assert_true(e.off == off && e.len > 0 && e.len <= TOP - off);
		assert_in_range(e.depth, 0, 2);
		if (e.kind != EXTENT_DATA) {
			assert_true(is_zero(truth + off, e.len));
			continue;
		}
		seen[e.depth]++;
		compressed += e.codec == CODEC_DEFLATE;
		assert_int_equal(image_read(img, buf, off, e.len, &err), 0);
		assert_memory_equal(buf, truth + off, e.len);
	}
	assert_true(seen[0] && seen[1] && seen[2] && compressed >= 4);
	image_close(img);
}

static void test_one_layer(void **state)
{
	struct image_open_opts opts = {.flags = IMAGE_NO_BACKING};
	struct err err = ERR_INIT;
	struct image *img;
	struct extent e;
	uint8_t b = 1;
	char p[64];

	(void)state;
	image_close(open_or_skip("top.qcow2"));
	assert_int_equal(image_open(&img, in_dir("top.qcow2", p), &opts, &err), 0);
	assert_null(image_backing(img));
	assert_int_equal(image_extent(img, 0, 10, &e, &err), 0);
	assert_int_equal(e.kind, EXTENT_UNALLOCATED);
	assert_int_equal(image_read(img, &b, 0, 1, &err), 0);
	assert_int_equal(b, 0);
	image_close(img);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_extents),
		cmocka_unit_test(test_one_layer),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
