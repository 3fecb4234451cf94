/* The bulk writer, driven as the engine drives it; qemu-img is the oracle for what it made. */
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
#include <unistd.h>
#include <zlib.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/iszero.h"
#include "libcommon/image/format/qcow2/bulk_writer.h"

#define SIZE (7ULL << 20)

static char dir[] = "/tmp/qcow2-write-XXXXXX";
static uint64_t seed = 1;

static uint32_t rnd(void)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(seed >> 33);
}

/* zeros, text and noise in runs of odd lengths */
static void fill(uint8_t *p, size_t len)
{
	for (size_t at = 0; at < len;) {
		size_t n = min_u64(len - at, 300 + rnd() % 90000);
		unsigned kind = rnd() % 4;

		for (size_t i = 0; i < n && kind; i++)
			p[at + i] = kind == 1 ? (uint8_t)rnd()
					      : (uint8_t)("vmkit image "[i % 12] + rnd() % kind);
		at += n;
	}
}

static int sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int sh(const char *fmt, ...)
{
	char cmd[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	return system(cmd); /* NOLINT: a test's own commands */
}

static void put_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
}

/* As the engine: units of granules that are not all zero, zeros told above a backing file. */
static void bulk_write(const char *path, const uint8_t *data, const struct bulk_params *p,
		       struct bfile *src, uint64_t *ret_granules)
{
	struct err err = ERR_INIT;
	struct bulk b = {.ops = &qcow2_bulk_ops, .params = p};
	struct bulk_unit u = {.data = calloc(1, BULK_UNIT_MAX)};
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_int_equal(bfile_of_fd(&b.file, fd, path, true, &err), 0);
	if (b.ops->begin(&b, &err) < 0 || b.ops->unit_init(&b, &u, &err) < 0)
		fail_msg("%s", err.message);
	*ret_granules = 0;
	for (uint64_t off = 0; off < p->size; off += u.len) {
		u.off = off;
		u.len = min_u64(p->size - off, max_u64(b.granule, 1 << 20));
		if (src) {
			u.src = src;
			u.src_off = off;
		} else {
			memset(u.data, 0, BULK_UNIT_MAX);
			memcpy(u.data, data + off, u.len);
		}
		for (uint64_t g = 0; g < u.len; g += b.granule)
			*ret_granules += !is_zero(data + off + g, min_u64(b.granule, u.len - g));
		int r = is_zero(data + off, u.len)
				? b.ops->place_zero(&b, off, u.len, &err)
				: b.ops->encode(&b, &u, &err) | b.ops->place(&b, &u, &err) |
					  b.ops->store(&b, &u, &err);
		if (r < 0)
			fail_msg("%s", err.message);
	}
	if (b.ops->finish(&b, &err) < 0)
		fail_msg("%s", err.message);
	b.committed = true; /* what the engine says once the image has its name */
	b.ops->unit_free(&b, &u);
	b.ops->abort(&b);
	free(u.data);
	free(u.encoded);
	bfile_close(b.file);
}

static void check_one(const struct image_option_value *o, size_t n, enum codec codec, int level,
		      bool backing, bool use_src)
{
	char raw[64], out[64], base[64];
	uint64_t size = SIZE - 512 * (rnd() % 50), granules, required, full;
	uint8_t *data = calloc(1, SIZE);
	struct err err = ERR_INIT;
	struct stat st;
	struct bulk_params p = {
		.size = size,
		.options = o,
		.n_options = n,
		.compress = codec != CODEC_NONE,
		.compress_codec = codec,
		.compress_level = level,
		.backing_name = backing ? "base.raw" : NULL,
		.backing_format = backing ? "raw" : NULL,
		.target_is_zero = true,
		.threads = 1,
		.target_path = out,
	};
	struct bfile *src = NULL;

	snprintf(raw, sizeof(raw), "%s/a.raw", dir);
	snprintf(out, sizeof(out), "%s/a.qcow2", dir);
	snprintf(base, sizeof(base), "%s/base.raw", dir);
	unlink(raw);
	if (backing)
		memset(data, 7, size), put_file(base, data, size), memset(data, 0, size);
	fill(data, size);
	memset(data + (3 << 20), 0, 3 << 20);
	put_file(raw, data, size);
	if (use_src)
		assert_int_equal(bfile_open(&src, raw, 0, &err), 0);
	bulk_write(out, data, &p, src, &granules);
	bfile_close(src);
	if (sh("qemu-img check -q %s > %s/log 2>&1 && "
	       "qemu-img compare -q -f raw -F qcow2 %s %s >> %s/log 2>&1",
	       out, dir, raw, out, dir)) {
		sh("head -5 %s/log >&2", dir);
		for (size_t i = 0; i < n; i++)
			print_message("%s=%s\n", o[i].name, o[i].value);
		fail_msg("codec %d level %d backing %d src %d", (int)codec, level, backing,
			 use_src);
	}
	assert_int_equal(stat(out, &st), 0);
	assert_int_equal(st.st_size % 512, 0);
	if (!codec && !backing && !use_src && !bulk_option(&p, "data_file")) {
		uint32_t g = bulk_option(&p, "cluster_size") ? (uint32_t)atoi(o[0].value) : 65536;

		assert_int_equal(qcow2_bulk_ops.measure(&p, granules, g, &required, &full, &err),
				 0);
		if (g >= 65536) /* one L2 table then, so that it cannot matter where data lies */
			assert_int_equal(required, st.st_size);
		assert_true(full >= required);
	}
	free(data);
}

#define OPTS(...) ((const struct image_option_value[]){__VA_ARGS__})

static void test_cluster_sizes(void **state)
{
	(void)state;
	for (unsigned bits = 9; bits <= 21; bits++) {
		char text[16];

		snprintf(text, sizeof(text), "%u", 1U << bits);
		for (int k = (int)bits & 1; k < 4; k += 2) {
			check_one(OPTS({"cluster_size", text}), 1, CODEC_NONE, 0, k & 1, k & 2);
			check_one(OPTS({"cluster_size", text}, {"compat", "0.10"}), 2, CODEC_NONE,
				  0, k & 1, k & 2);
		}
		check_one(OPTS({"cluster_size", text}), 1, CODEC_ZSTD, 0, bits & 1, false);
		check_one(OPTS({"cluster_size", text}), 1, CODEC_DEFLATE, 0, bits & 1, false);
		check_one(OPTS({"cluster_size", text}, {"compat", "v2"}), 2, CODEC_DEFLATE, 6, true,
			  false);
		check_one(OPTS({"cluster_size", text}, {"preallocation", "metadata"}), 2,
			  CODEC_NONE, 0, false, false);
		if (bits >= 14)
			for (int c = 0; c <= CODEC_ZSTD; c += CODEC_ZSTD)
				check_one(OPTS({"cluster_size", text}, {"extended_l2", "on"}), 2,
					  (enum codec)c, 0, bits & 1, false);
	}
}

static void test_refcount_widths(void **state)
{
	static const char *const widths[] = {"1", "2", "4", "8", "16", "32", "64"};

	(void)state;
	for (unsigned i = 0; i < 7; i++) {
		check_one(OPTS({"cluster_size", "4096"}, {"refcount_bits", widths[i]}), 2,
			  CODEC_ZSTD, 1, false, false);
		check_one(OPTS({"cluster_size", "512"}, {"refcount_bits", widths[i]}), 2,
			  CODEC_NONE, 0, true, false);
		check_one(OPTS({"refcount_bits", widths[i]}, {"lazy_refcounts", "on"}), 2,
			  CODEC_DEFLATE, 9, true, false);
	}
}

static void test_data_file(void **state)
{
	(void)state;
	char name[64];

	/* QEMU takes a relative name from its current folder, we from the image's: an absolute one suits both */
	snprintf(name, sizeof(name), "%s/data", dir);
	for (int k = 0; k < 4; k++) {
		sh("rm -f %s/data", dir);
		check_one(OPTS({"data_file", name}, {"data_file_raw", k & 1 ? "on" : "off"}), 2,
			  CODEC_NONE, 0, false, k & 2);
		if (k & 1)
			assert_int_equal(sh("cmp %s/data %s/a.raw", dir, dir), 0);
	}
}

static void test_preallocation(void **state)
{
	(void)state;
	check_one(OPTS({"cluster_size", "65536"}, {"preallocation", "falloc"}), 2, CODEC_NONE, 0,
		  false, false);
	check_one(OPTS({"cluster_size", "65536"}, {"preallocation", "full"}), 2, CODEC_NONE, 0,
		  false, true);
}

/* Readers inflate as a stream with a window of 4 KiB: nothing may reach back further. */
static void test_window(void **state)
{
	static uint8_t data[65536], packed[65536], back[65536];
	struct err err = ERR_INIT;

	(void)state;
	for (int level = 0; level <= 9; level++) {
		struct qcow2_compressors pool;
		struct qcow2_compressor *c;
		size_t n;

		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = i < 6000 ? (uint8_t)rnd() : data[i - 6000 + (i / 9000) * 100];
		for (size_t i = 20000; i < 60000; i++)
			data[i] = "abcdefgh"[rnd() % 8];
		qcow2_compressors_init(&pool, CODEC_DEFLATE, level, sizeof(data));
		assert_int_equal(qcow2_compressor_take(&pool, 1, &c, &err), 0);
		assert_int_equal(qcow2_compress(c, data, sizeof(data), packed, &n, &err), 0);
		assert_true(n > 0 && n < sizeof(data));

		z_stream z = {
			.next_in = packed, .avail_in = (uInt)n, .next_out = back, .avail_out = 100};

		assert_int_equal(inflateInit2(&z, -12), Z_OK);
		int r = inflate(&z, Z_NO_FLUSH);

		while (r == Z_OK && z.total_out < sizeof(back)) {
			z.avail_out = (uInt)min_u64(100, sizeof(back) - z.total_out);
			r = inflate(&z, Z_NO_FLUSH);
		}
		assert_int_equal(z.total_out, sizeof(back));
		assert_memory_equal(back, data, sizeof(back));
		inflateEnd(&z);
		qcow2_compressor_give(&pool, c);
		qcow2_compressors_release(&pool);
	}
}

static void refuse(const struct image_option_value *o, size_t n, uint64_t size)
{
	struct err err = ERR_INIT;
	struct bulk_params p = {.size = size, .options = o, .n_options = n};
	struct qcow2_bulk_options parsed;

	assert_int_equal(qcow2_bulk_options_parse(&p, &parsed, &err), -1);
	assert_int_equal(err.code, ERR_USAGE);
	assert_true(err.message[0]);
}

static void test_refused(void **state)
{
	(void)state;
	refuse(OPTS({"cluster_size", "513"}), 1, SIZE);
	refuse(OPTS({"cluster_size", "4M"}), 1, SIZE);
	refuse(OPTS({"refcount_bits", "3"}), 1, SIZE);
	refuse(OPTS({"compat", "v2"}, {"refcount_bits", "8"}), 2, SIZE);
	refuse(OPTS({"compat", "v2"}, {"compression_type", "zstd"}), 2, SIZE);
	refuse(OPTS({"extended_l2", "on"}, {"cluster_size", "8k"}), 2, SIZE);
	refuse(OPTS({"extended_l2", "maybe"}), 1, SIZE);
	refuse(OPTS({"data_file_raw", "on"}), 1, SIZE);
	refuse(OPTS({"cluster_size", "512"}), 1, 1ULL << 40);
	refuse(NULL, 0, UINT64_MAX - 5);
}

static int setup(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return sh("rm -rf %s", dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_window),		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_data_file),	cmocka_unit_test(test_preallocation),
		cmocka_unit_test(test_refcount_widths), cmocka_unit_test(test_cluster_sizes),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
