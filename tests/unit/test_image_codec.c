/* codec.h: decoding what other libraries made, with padding, cut and damaged; the shared cache under threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

#include "libcommon/image/codec.h"
#include "libcommon/image/protocol.h"

enum { UNIT = 65536 };

static uint8_t plain[UNIT], packed[2 * UNIT], out[2 * UNIT];

static void make_plain(unsigned seed)
{
	for (size_t i = 0; i < UNIT; i++) {
		seed = seed * 1103515245 + 12345;
		plain[i] = i % 3 ? (uint8_t)(seed >> 24) & 15 : 'x';
	}
}

static size_t pack(enum codec codec, size_t len)
{
	if (codec == CODEC_ZSTD)
		return ZSTD_compress(packed, sizeof(packed), plain, len, 3);

	z_stream z = {.next_in = plain,
		      .avail_in = (uInt)len,
		      .next_out = packed,
		      .avail_out = sizeof(packed)};

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, codec == CODEC_ZLIB ? 15 : -12, 8, 0),
			 Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	(void)deflateEnd(&z);
	return z.total_out;
}

static const enum codec codecs[] = {CODEC_DEFLATE, CODEC_ZLIB, CODEC_ZSTD};

static void test_decode(void **state)
{
	struct err err = ERR_INIT;
	size_t got;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		make_plain((unsigned)i);
		memset(packed, 0, sizeof(packed));

		size_t n = pack(codecs[i], UNIT);

		/* exact; with zero padding; with rubbish behind */
		assert_int_equal(codec_decode(codecs[i], packed, n, out, UNIT, &got, &err), 0);
		assert_int_equal(got, UNIT);
		assert_memory_equal(out, plain, UNIT);
		assert_int_equal(codec_decode(codecs[i], packed, n + 511, out, UNIT, &got, &err),
				 0);
		assert_memory_equal(out, plain, UNIT);
		memset(packed + n, 0xff, 300);
		assert_int_equal(codec_decode(codecs[i], packed, n + 300, out, UNIT, &got, &err),
				 0);
		assert_memory_equal(out, plain, UNIT);

		/* cut in the middle, or of nothing at all */
		assert_int_equal(codec_decode(codecs[i], packed, n / 2, out, UNIT, &got, &err), -1);
		assert_int_equal(err.code, ERR_CORRUPT);

		/* shorter than the unit: says so */
		n = pack(codecs[i], 1000);
		assert_int_equal(codec_decode(codecs[i], packed, n, out, UNIT, &got, &err), 0);
		assert_int_equal(got, 1000);
	}
	assert_int_equal(codec_decode(CODEC_OPAQUE, packed, 10, out, UNIT, &got, &err), -1);
}

/* As QEMU: a full unit is enough, even if the stream's last bytes were cut off or it would go on. */
static void test_lenient(void **state)
{
	struct err err = ERR_INIT;
	size_t got, n;

	(void)state;
	make_plain(4);
	n = pack(CODEC_DEFLATE, UNIT);
	assert_int_equal(codec_decode(CODEC_DEFLATE, packed, n, out, UNIT / 2, &got, &err), 0);
	assert_int_equal(got, UNIT / 2);
	assert_memory_equal(out, plain, UNIT / 2);
	memset(plain, 'a', UNIT); /* the end-of-block code is in the last byte or two */
	n = pack(CODEC_DEFLATE, UNIT);
	assert_int_equal(codec_decode(CODEC_DEFLATE, packed, n, out, UNIT, &got, &err), 0);
}

static void test_two_frames(void **state)
{
	struct err err = ERR_INIT;
	size_t got, n, m;

	(void)state;
	make_plain(5);
	n = ZSTD_compress(packed, sizeof(packed), plain, UNIT / 2, 1);
	m = ZSTD_compress(packed + n, sizeof(packed) - n, plain + UNIT / 2, UNIT / 2, 1);
	memset(packed + n + m, 0, 100);
	assert_int_equal(codec_decode(CODEC_ZSTD, packed, n + m + 100, out, UNIT, &got, &err), 0);
	assert_int_equal(got, UNIT);
	assert_memory_equal(out, plain, UNIT);
}

/* Damage in any byte: an error or other bytes, never more than a unit; for the sanitizers. */
static void test_damage(void **state)
{
	struct err err = ERR_INIT;
	size_t got;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		make_plain(6);

		size_t n = pack(codecs[i], 4096);

		for (size_t k = 0; k < n; k++) {
			packed[k] ^= (uint8_t)(1U << (k & 7));
			if (codec_decode(codecs[i], packed, n, out, 4096, &got, &err) == 0)
				assert_in_range(got, 0, 4096);
			packed[k] ^= (uint8_t)(1U << (k & 7));
		}
	}
}

enum { UNITS = 8, PLACE = UNIT }; /* each unit's stream at a multiple of 64 KiB */

static uint8_t file_bytes[UNITS * PLACE];
static size_t stored[UNITS];

struct reading {
	struct codec_cache *cache;
	struct bfile *file;
	unsigned seed;
};

static void *read_randomly(void *arg)
{
	struct reading *r = arg;
	uint8_t buf[3000], want[UNIT];
	unsigned state = r->seed;
	struct err err;

	for (int i = 0; i < 1500; i++) {
		state = state * 1103515245 + 12345;

		unsigned u = (state >> 16) % UNITS, at = (state >> 8) % (UNIT - sizeof(buf));
		struct extent e = {.kind = EXTENT_DATA,
				   .codec = CODEC_DEFLATE,
				   .file = r->file,
				   .host_off = (uint64_t)u * PLACE,
				   .host_len = stored[u]};

		memset(want, (int)u + 1, sizeof(want));
		if (codec_read(r->cache, &e, UNIT, buf, at, sizeof(buf), &err) < 0 ||
		    memcmp(buf, want, sizeof(buf)) != 0)
			return r;
	}
	return NULL;
}

static void make_file(void)
{
	for (unsigned u = 0; u < UNITS; u++) {
		memset(plain, (int)u + 1, UNIT);
		stored[u] = pack(CODEC_DEFLATE, UNIT);
		memcpy(file_bytes + u * PLACE, packed, stored[u]);
	}
}

static void test_threads(void **state)
{
	struct reading r[4];
	struct err err = ERR_INIT;
	struct codec_cache *c;
	struct bfile *f;
	pthread_t t[4];
	void *bad;

	(void)state;
	make_file();
	assert_int_equal(bfile_of_memory(&f, file_bytes, sizeof(file_bytes), &err), 0);
	assert_int_equal(codec_cache_new(&c, UNIT, &err), 0);
	for (unsigned i = 0; i < 4; i++) {
		r[i] = (struct reading){c, f, i};
		assert_int_equal(pthread_create(&t[i], NULL, read_randomly, &r[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	codec_cache_drop(c);
	codec_cache_free(c);
	bfile_close(f);
}

static void test_hostile_lengths(void **state)
{
	struct err err = ERR_INIT;
	struct codec_cache *c;
	struct bfile *f;
	struct extent e = {.kind = EXTENT_DATA, .codec = CODEC_DEFLATE, .host_len = UINT64_MAX};

	(void)state;
	make_file();
	assert_int_equal(bfile_of_memory(&f, file_bytes, sizeof(file_bytes), &err), 0);
	assert_int_equal(codec_cache_new(&c, UNIT, &err), 0);
	e.file = f;
	assert_int_equal(codec_read(c, &e, UNIT, out, 0, UNIT, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	e.host_len = 512;
	e.host_off = UINT64_MAX - 100;
	assert_int_equal(codec_read(c, &e, UNIT, out, 5, 10, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	codec_cache_free(c);
	assert_int_equal(codec_cache_new(&c, 3, &err), -1);
	assert_int_equal(codec_cache_new(&c, 1U << 31, &err), -1);
	bfile_close(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decode),	   cmocka_unit_test(test_lenient),
		cmocka_unit_test(test_two_frames), cmocka_unit_test(test_damage),
		cmocka_unit_test(test_threads),	   cmocka_unit_test(test_hostile_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
