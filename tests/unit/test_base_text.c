/* libcommon/base: errors, sizes, durations, checked arithmetic, zero detection, digests, bytes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/clock.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/err.h"
#include "libcommon/base/holes.h"
#include "libcommon/base/iszero.h"
#include "libcommon/base/size.h"
#include "libcommon/base/stop.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void test_err_sentences(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(err_set(&err, ERR_CORRUPT, "table %d is bad", 7), -1);
	assert_string_equal(err.message, "table 7 is bad");
	err_hint(&err, "look at %s", "it");
	err_object(&err, "base.img");
	err_object(&err, "top.img"); /* the deeper name stays */
	assert_string_equal(err.object, "base.img");
	err_prefix(&err, "backing file of %s", "top.img");
	assert_string_equal(err.message, "backing file of top.img: base.img: table 7 is bad");
	assert_string_equal(err.object, "");
	assert_string_equal(err.hint, "look at it");
	err_set(&err, ERR_BUSY, "x");
	assert_string_equal(err.hint, "");
	err_clear(&err);
	assert_int_equal(err.code, ERR_NONE);
	assert_int_equal(err_set(NULL, ERR_BUSY, "x"), -1);
	assert_int_equal(err_prefix(NULL, "x"), -1);
	assert_int_equal(err_object(NULL, "x"), -1);
	assert_int_equal(err_hint(NULL, "x"), -1);
	assert_int_equal(err_sys(NULL, "x"), -1);
}

static void test_err_long(void **state)
{
	struct err err = ERR_INIT;
	char *longer = malloc(5001);

	(void)state;
	memset(longer, 'x', 5000);
	longer[5000] = '\0';
	err_set(&err, ERR_FAILED, "%s", longer);
	assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
	err_prefix(&err, "%s", longer);
	err_object(&err, longer);
	err_hint(&err, "%s", longer);
	errno = EIO;
	err_sys(&err, "%s", longer);
	assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
	free(longer);
}

static void test_err_sys(void **state)
{
	static const struct {
		int number;
		enum err_code code;
	} cases[] = {{ENOSPC, ERR_NO_SPACE},  {EDQUOT, ERR_NO_SPACE}, {ENOENT, ERR_NOT_FOUND},
		     {EACCES, ERR_DENIED},    {EPERM, ERR_DENIED},    {EROFS, ERR_DENIED},
		     {EEXIST, ERR_EXISTS},    {EBUSY, ERR_BUSY},      {ETXTBSY, ERR_BUSY},
		     {ENOMEM, ERR_NO_MEMORY}, {EPIPE, ERR_PIPE},      {EIO, ERR_FAILED}};
	struct err err;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		errno = cases[i].number;
		assert_int_equal(err_sys(&err, "cannot %s", "do it"), -1);
		assert_int_equal(errno, cases[i].number);
		assert_int_equal(err.code, cases[i].code);
		assert_int_equal(err.sys, cases[i].number);
		assert_memory_equal(err.message, "cannot do it: ", 14);
	}
}

static void test_err_statuses(void **state)
{
	static const int statuses[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};

	(void)state;
	for (size_t i = 0; i < COUNT(statuses); i++)
		assert_int_equal(err_status((enum err_code)i), statuses[i]);
	assert_int_equal(err_status(ERR_NO_MEMORY), 1);
	assert_int_equal(err_status(ERR_PIPE), 141);
	stop_reset();
	assert_int_equal(stop_check(NULL), 0);
	stop_request(15);
	stop_request(2); /* the first one stays */
	assert_int_equal(err_status(ERR_CANCELLED), 143);
	assert_int_equal(stop_check(NULL), -1);
	stop_reset();
	assert_int_equal(err_status((enum err_code)999), 1);
	assert_string_equal(err_code_name(ERR_NOT_FOUND), "not_found");
	for (int i = 0; i < ERR_CODE_COUNT; i++)
		assert_non_null(err_code_name((enum err_code)i));
}

static void test_size_parse(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {{"0", 0},
		    {"4096", 4096},
		    {"1k", 1024},
		    {"1K", 1024},
		    {"64kB", 65536},
		    {"16MiB", 16 << 20},
		    {"1.5G", 3ULL << 29},
		    {"0.5k", 512},
		    {"2T", 2ULL << 40},
		    {"3p", 3ULL << 50},
		    {"7E", 7ULL << 60},
		    {"12b", 12},
		    {"9223372036854775807", INT64_MAX},
		    {"1.000k", 1024},
		    {"007", 7}};
	static const char *const bad[] = {"",
					  " ",
					  "-1",
					  "+1",
					  " 1",
					  "1 ",
					  "1 k",
					  "k",
					  ".5k",
					  "1.",
					  "1.k",
					  "1.5",
					  "0.3k",
					  "1x",
					  "1kk",
					  "1ki",
					  "1kiBs",
					  "1bB",
					  "0x10",
					  "1e3",
					  "inf",
					  "nan",
					  "8E",
					  "9223372036854775808",
					  "18446744073709551616",
					  "99999999999999999999999G",
					  "1.0000001M",
					  "1,5k",
					  "1..5k"};
	struct err err;
	uint64_t v;

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		assert_int_equal(size_parse(good[i].text, &v, &err), 0);
		assert_int_equal(v, good[i].bytes);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		if (size_parse(bad[i], &v, &err) == 0)
			fail_msg("'%s' was taken for %llu", bad[i], (unsigned long long)v);
		assert_int_equal(err.code, ERR_USAGE);
	}
}

static void test_size_format(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {{0, "0 B"},
		     {1, "1 B"},
		     {1023, "1023 B"},
		     {1024, "1.00 KiB"},
		     {10234, "9.99 KiB"},
		     {10240, "10.0 KiB"},
		     {102297, "99.9 KiB"},
		     {102400, "100 KiB"},
		     {1048575, "1.00 MiB"},
		     {1ULL << 30, "1.00 GiB"},
		     {UINT64_MAX, "16.0 EiB"}};
	char buf[SIZE_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_string_equal(size_format(cases[i].bytes, buf), cases[i].text);
}

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {{"90", 90000},     {"0.5", 500},	   {"250ms", 250},
		    {"15m", 900000},   {"15min", 900000},  {"2h", 7200000},
		    {"7d", 604800000}, {"4w", 2419200000}, {"1.5h", 5400000}};
	static const char *const bad[] = {"",	 "s",	"1y",	   "-1s",
					  "1 s", "1ss", "0.0001s", "99999999999999999999w"};
	struct err err;
	char buf[SIZE_TEXT_MAX];
	uint64_t v;

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		assert_int_equal(duration_parse(good[i].text, &v, &err), 0);
		assert_int_equal(v, good[i].ms);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		assert_int_equal(duration_parse(bad[i], &v, &err), -1);
		assert_int_equal(err.code, ERR_USAGE);
	}
	assert_string_equal(duration_format(0.42, buf), "0.42 s");
	assert_string_equal(duration_format(12.34, buf), "12.3 s");
	assert_string_equal(duration_format(59.96, buf), "1 min 0 s");
	assert_string_equal(duration_format(200, buf), "3 min 20 s");
	assert_string_equal(duration_format(7500, buf), "2 h 5 min");
}

static void test_checked(void **state)
{
	uint64_t v;
	size_t s;

	(void)state;
	assert_true(u64_add(UINT64_MAX - 1, 1, &v));
	assert_int_equal(v, UINT64_MAX);
	assert_false(u64_add(UINT64_MAX, 1, &v));
	assert_true(u64_mul(1ULL << 32, (1ULL << 32) - 1, &v));
	assert_false(u64_mul(1ULL << 32, 1ULL << 32, &v));
	assert_false(size_mul(SIZE_MAX, 2, &s));
	assert_true(range_inside(0, 10, 10));
	assert_true(range_inside(10, 0, 10));
	assert_false(range_inside(11, 0, 10));
	assert_false(range_inside(5, UINT64_MAX, 10));
	assert_false(range_inside(UINT64_MAX, 2, 10));
	assert_false(is_pow2(0));
	assert_true(is_pow2(1ULL << 63));
	assert_false(is_pow2(6));
	assert_int_equal(log2_u64(1), 0);
	assert_int_equal(log2_u64(UINT64_MAX), 63);
	assert_int_equal(round_down(4097, 4096), 4096);
	assert_int_equal(round_up(4097, 4096), 8192);
	assert_true(u64_round_up(UINT64_MAX - 4095, 4096, &v));
	assert_false(u64_round_up(UINT64_MAX - 4094, 4096, &v));
	assert_int_equal(div_up(UINT64_MAX, 2), 1ULL << 63);
	assert_int_equal(div_up(0, 7), 0);
}

static void test_is_zero(void **state)
{
	unsigned char buf[600];

	(void)state;
	memset(buf, 0, sizeof(buf));
	/* Every length, and one byte set at every place in it and just outside. */
	for (size_t len = 0; len <= 520; len++) {
		size_t step = len > 70 ? 13 : 1;

		assert_true(is_zero(buf + 3, len));
		buf[2] = buf[3 + len] = 1;
		assert_true(is_zero(buf + 3, len));
		buf[2] = buf[3 + len] = 0;
		for (size_t i = 0; i < len; i += step) {
			buf[3 + i] = 0x80;
			assert_false(is_zero(buf + 3, len));
			buf[3 + i] = 0;
		}
	}
}

static void test_bytes(void **state)
{
	uint8_t b[9] = {0xff};

	(void)state;
	put_be32(b + 1, 0x01020304);
	assert_memory_equal(b + 1, "\1\2\3\4", 4);
	assert_int_equal(get_le32(b + 1), 0x04030201);
	put_le64(b + 1, 0x0102030405060708);
	assert_int_equal(get_be64(b + 1), 0x0807060504030201);
	put_be16(b + 1, 0xabcd);
	assert_int_equal(get_be16(b + 1), 0xabcd);
}

static void assert_digest(const char *name, const char *data, const char *hex)
{
	char got[DIGEST_HEX_MAX];
	struct digest *d;
	struct err err;

	assert_int_equal(digest_new(&d, name, &err), 0);
	assert_string_equal(digest_name(d), name);
	assert_int_equal(digest_update(d, data, strlen(data), &err), 0);
	assert_int_equal(digest_final(d, got, &err), 0);
	assert_string_equal(got, hex);
	digest_free(d);
}

/* Known answers: FIPS 180-4, RFC 1321, RFC 7693 for "abc". */
static void test_digests(void **state)
{
	static const uint8_t zeros[100000];
	char a[DIGEST_HEX_MAX], b[DIGEST_HEX_MAX];
	struct digest *d;
	struct err err = ERR_INIT;

	(void)state;
	assert_digest("md5", "abc", "900150983cd24fb0d6963f7d28e17f72");
	assert_digest("sha1", "abc", "a9993e364706816aba3e25717850c26c9cd0d89d");
	assert_digest("sha256", "abc",
		      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_digest("blake2b", "abc",
		      "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
		      "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923");
	assert_int_equal(digest_new(&d, "crc7", &err), -1);
	assert_int_equal(err.code, ERR_USAGE);

	assert_int_equal(digest_new(&d, "sha256", &err), 0);
	assert_int_equal(digest_update(d, zeros, sizeof(zeros), &err), 0);
	assert_int_equal(digest_final(d, a, &err), 0);
	digest_free(d);
	assert_int_equal(digest_new(&d, "sha256", &err), 0);
	assert_int_equal(digest_zeros(d, sizeof(zeros), &err), 0);
	assert_int_equal(digest_final(d, b, &err), 0);
	digest_free(d);
	assert_string_equal(a, b);
	digest_free(NULL);
}

static void test_hex(void **state)
{
	uint8_t bytes[3];
	char text[7];

	(void)state;
	hex_encode("\x01\xab\xff", 3, text);
	assert_string_equal(text, "01abff");
	assert_int_equal(hex_decode("01abff", bytes, 3), 0);
	assert_memory_equal(bytes, "\x01\xab\xff", 3);
	assert_int_equal(hex_decode("01abf", bytes, 3), -1);
	assert_int_equal(hex_decode("01abff0", bytes, 3), -1);
	assert_int_equal(hex_decode("01abfg", bytes, 3), -1);
	assert_int_equal(hex_decode("", bytes, 0), 0);
}

static void test_clock(void **state)
{
	struct tm tm = {.tm_hour = 7};
	time_t t;

	(void)state;
	assert_int_equal(clock_fields("2026-11-23", 10, &tm), 0);
	assert_int_equal(tm.tm_hour, 7);
	assert_int_equal(tm.tm_mon, 10);
	assert_int_equal(clock_fields("2026-11-23 10:05", 16, &tm), 1);
	assert_int_equal(tm.tm_hour, 10);
	assert_int_equal(clock_fields("2026-11-23T10:05:59", 19, &tm), 2);
	assert_int_equal(tm.tm_sec, 59);
	assert_int_equal(clock_fields("2026-13-23", 10, &tm), -1);
	assert_int_equal(clock_fields("2026-11-23T24:05", 16, &tm), -1);
	assert_int_equal(clock_fields("2026-1a-23", 10, &tm), -1);
	assert_int_equal(clock_fields("2026-11-2", 9, &tm), -1);
	assert_int_equal(clock_parse_utc("1970-01-02T00:00:01Z", &t), 0);
	assert_int_equal(t, 86401);
	assert_int_equal(clock_parse_utc("1970-01-02 00:00:01Z", &t), -1);
	assert_int_equal(clock_parse_utc("1970-01-02T00:00:01", &t), -1);
}

/* The releases that have the fix: 2.1.14 and 2.2.2, both of 30 November 2023, and what came after. */
static void test_zfs_versions(void **state)
{
	static const struct {
		const char *text;
		bool told;
	} cases[] = {
		{"0.8.6-1", false},  {"2.0.7-1", false}, {"2.1.11-1", false}, {"2.1.13", false},
		{"2.1.14-1", true},  {"2.2.0-1", false}, {"2.2.1", false},    {"2.2.2-3", true},
		{"2.3.0-rc1", true}, {"3.0.0", true},	 {"", false},	      {"next", false},
		{"2.2", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(holes_zfs_version(cases[i].text), cases[i].told);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zfs_versions),  cmocka_unit_test(test_clock),
		cmocka_unit_test(test_err_sentences), cmocka_unit_test(test_err_long),
		cmocka_unit_test(test_err_sys),	      cmocka_unit_test(test_err_statuses),
		cmocka_unit_test(test_size_parse),    cmocka_unit_test(test_size_format),
		cmocka_unit_test(test_durations),     cmocka_unit_test(test_checked),
		cmocka_unit_test(test_is_zero),	      cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_digests),	      cmocka_unit_test(test_hex),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
