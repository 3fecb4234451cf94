/* slots.h and cache.h: bounded, loaded once, never stale, from many threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "libcommon/base/bytes.h"
#include "libcommon/image/cache.h"
#include "libcommon/image/protocol.h"
#include "libcommon/image/slots.h"

struct source {
	_Atomic unsigned loads;
	_Atomic uint64_t truth; /* what load() writes into each word, plus the key */
	_Atomic unsigned fail;	/* so many loads fail */
};

static int load(void *ctx, struct slot_key key, void *buf, struct err *err)
{
	struct source *s = ctx;

	atomic_fetch_add(&s->loads, 1);
	if (atomic_load(&s->fail)) {
		atomic_fetch_sub(&s->fail, 1);
		return err_set(err, ERR_CORRUPT, "wanted to fail");
	}

	uint64_t v = atomic_load(&s->truth) + key.a;

	for (size_t i = 0; i < 64; i += 8)
		memcpy((uint8_t *)buf + i, &v, 8);
	return 0;
}

static uint64_t get(struct slots *s, struct source *src, uint64_t key)
{
	struct err err = ERR_INIT;
	const uint8_t *p;
	uint64_t v;

	assert_int_equal(slots_get(s, (struct slot_key){key, 0}, load, src, &p, &err), 0);
	memcpy(&v, p, 8);
	slots_put(s, p + 63); /* any address inside */
	return v;
}

static struct slots *make(unsigned count)
{
	struct slots *s;
	struct err err;

	assert_int_equal(slots_new(&s, 64, count, &err), 0);
	return s;
}

static void test_bounded(void **state)
{
	struct slots *s = make(4);
	struct source src = {0};

	(void)state;
	for (uint64_t k = 0; k < 4; k++)
		assert_int_equal(get(s, &src, k), k);
	assert_int_equal(src.loads, 4);
	for (uint64_t k = 0; k < 4; k++)
		assert_int_equal(get(s, &src, k), k);
	assert_int_equal(src.loads, 4);
	get(s, &src, 0); /* 1 is the oldest now */
	get(s, &src, 9);
	assert_int_equal(src.loads, 5);
	get(s, &src, 0);
	assert_int_equal(src.loads, 5);
	get(s, &src, 1);
	assert_int_equal(src.loads, 6);
	slots_free(s);
}

static void test_all_pinned(void **state)
{
	struct slots *s = make(2);
	struct source src = {0};
	const uint8_t *p[8];
	struct err err;

	(void)state;
	for (uint64_t k = 0; k < 8; k++)
		assert_int_equal(slots_get(s, (struct slot_key){k, 0}, load, &src, &p[k], &err), 0);
	for (uint64_t k = 0; k < 8; k++)
		assert_int_equal(p[k][0], k);
	for (int k = 0; k < 8; k++)
		slots_put(s, p[k]);
	for (uint64_t k = 0; k < 8; k++)
		get(s, &src, k);
	assert_in_range(src.loads, 14, 16); /* only two were kept */
	slots_free(s);
}

static void test_change(void **state)
{
	struct slots *s = make(4);
	struct source src = {.truth = 100};
	const uint8_t *p;
	struct err err;
	uint64_t v = 7;

	(void)state;
	get(s, &src, 1);
	slots_change(s, (struct slot_key){1, 0}, 0, &v, 8);
	assert_int_equal(get(s, &src, 1), 7);
	assert_int_equal(src.loads, 1);

	/* Pinned: its holder keeps the old bytes, who comes later gets the new ones. */
	assert_int_equal(slots_get(s, (struct slot_key){1, 0}, load, &src, &p, &err), 0);
	src.truth = 200;
	slots_change(s, (struct slot_key){1, 0}, 0, &v, 8);
	assert_int_equal(get_le64(p), 7);
	assert_int_equal(get(s, &src, 1), 201);
	assert_int_equal(get_le64(p), 7);
	slots_put(s, p);

	slots_change(s, (struct slot_key){55, 0}, 0, &v, 8); /* not there: nothing */
	slots_drop(s);
	src.truth = 300;
	assert_int_equal(get(s, &src, 1), 301);
	slots_free(s);
}

static void test_failure(void **state)
{
	struct slots *s = make(4);
	struct source src = {.fail = 1};
	struct err err = ERR_INIT;
	const uint8_t *p;

	(void)state;
	assert_int_equal(slots_get(s, (struct slot_key){3, 0}, load, &src, &p, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	assert_int_equal(get(s, &src, 3), 3);
	slots_free(s);
}

/* A writer raises the truth and says so; no reader may see less than what was said before it asked. */
struct race {
	struct slots *slots;
	struct source src;
	_Atomic uint64_t published;
	_Atomic bool stop;
};

static void *reader(void *arg)
{
	struct race *r = arg;

	while (!atomic_load(&r->stop)) {
		uint64_t least = atomic_load(&r->published);
		uint64_t seen = get(r->slots, &r->src, 5) - 5;

		if (seen < least)
			return r;
		get(r->slots, &r->src, least % 7 + 6); /* pushes it out now and then */
	}
	return NULL;
}

static void test_race(void **state)
{
	struct race r = {.slots = make(2)};
	pthread_t t[4];
	void *bad;

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, reader, &r), 0);
	for (uint64_t v = 1; v < 20000; v++) {
		uint64_t word = v + 5;

		atomic_store(&r.src.truth, v);
		slots_change(r.slots, (struct slot_key){5, 0}, 0, v % 3 ? &word : NULL, 8);
		atomic_store(&r.published, v);
	}
	atomic_store(&r.stop, true);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	slots_free(r.slots);
}

struct once {
	struct slots *slots;
	struct source *src;
	pthread_barrier_t *start;
};

static void *ask_once(void *arg)
{
	struct once *o = arg;

	pthread_barrier_wait(o->start);
	for (uint64_t k = 0; k < 50; k++)
		get(o->slots, o->src, k);
	return NULL;
}

static void test_loaded_once(void **state)
{
	pthread_barrier_t start;
	struct source src = {0};
	struct once o = {make(64), &src, &start};
	pthread_t t[6];

	(void)state;
	pthread_barrier_init(&start, NULL, 6);
	for (int i = 0; i < 6; i++)
		assert_int_equal(pthread_create(&t[i], NULL, ask_once, &o), 0);
	for (int i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(src.loads, 50);
	pthread_barrier_destroy(&start);
	slots_free(o.slots);
}

static void test_table_cache(void **state)
{
	uint8_t data[1000];
	struct table_cache *c;
	struct bfile *f;
	struct err err = ERR_INIT;
	const uint8_t *p;
	size_t n;

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i / 4);
	assert_int_equal(bfile_of_memory(&f, data, sizeof(data), &err), 0);
	assert_int_equal(table_cache_new(&c, f, 256, 4, &err), 0);
	assert_int_equal(table_cache_get(c, 300, &p, &n, &err), 0);
	assert_int_equal(n, 512 - 300);
	assert_memory_equal(p, data + 300, n);
	table_cache_put(c, p);

	/* The file ends in the last slice: zeros behind; nothing there at all is an error. */
	assert_int_equal(table_cache_get(c, 999, &p, &n, &err), 0);
	assert_int_equal(n, 25);
	assert_int_equal(p[0], data[999]);
	assert_int_equal(p[1], 0);
	table_cache_put(c, p);
	assert_int_equal(table_cache_get(c, 1000, &p, &n, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	assert_int_equal(table_cache_get(c, UINT64_MAX, &p, &n, &err), -1);

	/* A change over the border of two slices. */
	memset(data + 250, 0xee, 12);
	assert_int_equal(table_cache_get(c, 0, &p, &n, &err), 0);
	table_cache_put(c, p);
	table_cache_update(c, 250, data + 250, 12);
	assert_int_equal(table_cache_get(c, 255, &p, &n, &err), 0);
	assert_int_equal(p[0], 0xee);
	table_cache_put(c, p);
	assert_int_equal(table_cache_get(c, 261, &p, &n, &err), 0);
	assert_int_equal(p[0], 0xee);
	table_cache_put(c, p);
	table_cache_drop(c);
	table_cache_free(c);
	bfile_close(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bounded),	    cmocka_unit_test(test_all_pinned),
		cmocka_unit_test(test_change),	    cmocka_unit_test(test_failure),
		cmocka_unit_test(test_race),	    cmocka_unit_test(test_loaded_once),
		cmocka_unit_test(test_table_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
