/* The chunker: boundaries, zero runs, independence of how the bytes arrive, insertion in the middle. */
#include "libcommon/repo/chunker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIZE = 8 << 20, PIECES = 4096 };

static uint8_t secret[32];
static uint64_t state = 1;

static uint8_t random_byte(void)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint8_t)(state >> 56);
}

static uint8_t *random_bytes(size_t len)
{
	uint8_t *p = malloc(len);

	assert_non_null(p);
	for (size_t i = 0; i < len; i++)
		p[i] = random_byte();
	return p;
}

static struct chunker make(void)
{
	struct chunker c;
	struct err err = ERR_INIT;

	for (size_t i = 0; i < sizeof(secret); i++)
		secret[i] = (uint8_t)(i * 7 + 1);
	assert_int_equal(chunker_init(&c, secret, sizeof(secret), &err), 0);
	return c;
}

/* Cut @len bytes, offered @step at a time; Return: number of pieces */
static size_t cut(const struct chunker *c, const uint8_t *data, size_t len, size_t step,
		  struct piece *ret)
{
	size_t at = 0, fill = 0, n = 0;

	while (at < len) {
		struct piece p;

		if (!chunker_next(c, data + at, fill - at, fill == len, &p)) {
			assert_true(fill < len);
			fill = fill + step < len ? fill + step : len;
			continue;
		}
		assert_true(p.len > 0 && p.len <= fill - at);
		assert_true(n < PIECES);
		/* A run of zeros that arrives in parts comes in parts. */
		if (n && p.zero && ret[n - 1].zero)
			ret[n - 1].len += p.len;
		else
			ret[n++] = p;
		at += p.len;
	}
	return n;
}

static void test_short_secret(void **unused)
{
	struct chunker c;
	struct err err = ERR_INIT;

	(void)unused;
	assert_int_equal(chunker_init(&c, secret, 31, &err), -1);
	assert_int_equal(err.code, ERR_FAILED);
}

static void test_lengths(void **unused)
{
	struct chunker c = make();
	uint8_t *data = random_bytes(SIZE);
	struct piece *p = calloc(PIECES, sizeof(*p));
	size_t n = cut(&c, data, SIZE, SIZE, p), sum = 0;

	(void)unused;
	for (size_t i = 0; i < n; i++) {
		assert_false(p[i].zero);
		assert_int_equal(p[i].len % CHUNK_BLOCK, 0);
		assert_true(p[i].len <= CHUNK_MAX);
		assert_true(p[i].len >= CHUNK_MIN || i + 1 == n);
		sum += p[i].len;
	}
	assert_int_equal(sum, SIZE);
	/* Mean 64 KiB, give or take what 128 samples allow. */
	assert_in_range(sum / n, 48 << 10, 84 << 10);
	free(p);
	free(data);
}

static void test_any_window(void **unused)
{
	static const size_t steps[] = {CHUNK_BLOCK, 3 * CHUNK_BLOCK, CHUNK_MAX, 1 << 20};
	struct chunker c = make();
	uint8_t *data = random_bytes(SIZE);
	struct piece *a = calloc(PIECES, sizeof(*a)), *b = calloc(PIECES, sizeof(*b));
	size_t n;

	(void)unused;
	memset(data + 100 * CHUNK_BLOCK, 0, 500 * CHUNK_BLOCK);
	memset(data + 700 * CHUNK_BLOCK, 0, CHUNK_BLOCK);
	n = cut(&c, data, SIZE, SIZE, a);
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		assert_int_equal(cut(&c, data, SIZE, steps[i], b), n);
		for (size_t k = 0; k < n; k++) {
			assert_int_equal(a[k].len, b[k].len);
			assert_int_equal(a[k].zero, b[k].zero);
		}
	}
	free(a);
	free(b);
	free(data);
}

static void test_zeros(void **unused)
{
	struct chunker c = make();
	uint8_t *data = random_bytes(64 * CHUNK_BLOCK);
	struct piece p;

	(void)unused;
	memset(data + CHUNK_BLOCK, 0, 2 * CHUNK_BLOCK);
	assert_true(chunker_next(&c, data, 64 * CHUNK_BLOCK, true, &p));
	assert_false(p.zero);
	assert_int_equal(p.len, CHUNK_BLOCK); /* zeros end a chunk, however short it is */
	assert_true(chunker_next(&c, data + p.len, 63 * CHUNK_BLOCK, true, &p));
	assert_true(p.zero);
	assert_int_equal(p.len, 2 * CHUNK_BLOCK);
	assert_false(chunker_next(&c, data, 0, true, &p));
	free(data);
}

static void test_odd_end(void **unused)
{
	struct chunker c = make();
	uint8_t *data = random_bytes(2 * CHUNK_BLOCK);
	struct piece p;

	(void)unused;
	assert_true(chunker_next(&c, data, CHUNK_BLOCK + 513, true, &p));
	assert_int_equal(p.len, CHUNK_BLOCK + 513);
	memset(data + CHUNK_BLOCK, 0, 513);
	assert_true(chunker_next(&c, data, CHUNK_BLOCK + 513, true, &p));
	assert_int_equal(p.len, CHUNK_BLOCK);
	assert_true(chunker_next(&c, data + CHUNK_BLOCK, 513, true, &p));
	assert_true(p.zero);
	assert_int_equal(p.len, 513);
	free(data);
}

/* Four blocks put in at the front: nearly all later boundaries are found again. */
static void test_shifted_content(void **unused)
{
	struct chunker c = make();
	uint8_t *data = random_bytes(SIZE);
	struct piece *a = calloc(PIECES, sizeof(*a)), *b = calloc(PIECES, sizeof(*b));
	size_t shift = 5 * CHUNK_BLOCK, na, nb, same = 0, at = 0;

	(void)unused;
	na = cut(&c, data + shift, SIZE - shift, SIZE, a);
	nb = cut(&c, data, SIZE, SIZE, b);
	for (size_t i = 0; i < nb; i++) {
		size_t other = shift;

		for (size_t k = 0; k < na; k++) {
			same += other == at && a[k].len == b[i].len;
			other += a[k].len;
		}
		at += b[i].len;
	}
	assert_true(same > nb * 3 / 4);
	free(a);
	free(b);
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_short_secret), cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_any_window),   cmocka_unit_test(test_zeros),
		cmocka_unit_test(test_odd_end),	     cmocka_unit_test(test_shifted_content),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
