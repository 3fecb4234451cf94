/* libcommon/base: the ordered parallel pipeline: order, bounds, failures, stopping, at several thread counts. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "libcommon/base/err.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/base/stop.h"

enum { UNITS = 500, MOST_DEPTH = 16 };

struct unit {
	unsigned number;
	uint64_t value;
	char *buffer;
};

struct job {
	unsigned next, committed, count;
	int fail_produce, fail_work, fail_commit, fail_store, stop_at; /* unit number, -1 none */
	atomic_int made, freed, live, most_live, stored;
	uint64_t sum; /* over what commit saw, order-sensitive */
};

static int init(void *ctx, void *unit, struct err *err)
{
	struct job *j = ctx;
	struct unit *u = unit;

	assert_null(u->buffer); /* zeroed */
	u->buffer = malloc(64);
	atomic_fetch_add(&j->made, 1);
	return u->buffer ? 0 : err_nomem(err);
}

static void release(void *ctx, void *unit)
{
	struct job *j = ctx;
	struct unit *u = unit;

	free(u->buffer);
	atomic_fetch_add(&j->freed, 1);
}

static int maybe_fail(int at, unsigned number, const char *stage, struct err *err)
{
	return at == (int)number ? err_set(err, ERR_CORRUPT, "%s %u", stage, number) : 0;
}

static int produce(void *ctx, void *unit, struct err *err)
{
	struct job *j = ctx;
	struct unit *u = unit;
	int live = atomic_fetch_add(&j->live, 1) + 1;

	if (live > atomic_load(&j->most_live))
		atomic_store(&j->most_live, live);
	if (j->next == j->count)
		return 0;
	u->number = j->next++;
	if (j->stop_at == (int)u->number)
		stop_request(SIGTERM);
	return maybe_fail(j->fail_produce, u->number, "produce", err) < 0 ? -1 : 1;
}

static int work(void *ctx, void *unit, struct err *err)
{
	struct job *j = ctx;
	struct unit *u = unit;

	u->value = u->number * 2654435761U;
	for (unsigned i = 0; i < (u->number * 7919U) % 5000;
	     i++) /* uneven, so that threads overtake */
		u->value = u->value * 6364136223846793005U + 1;
	memset(u->buffer, (int)u->value, 64);
	return maybe_fail(j->fail_work, u->number, "work", err);
}

static int commit(void *ctx, void *unit, struct err *err)
{
	struct job *j = ctx;
	struct unit *u = unit;

	if (u->number != j->committed++)
		return err_set(err, ERR_FAILED, "out of order");
	j->sum = j->sum * 31 + u->value;
	return maybe_fail(j->fail_commit, u->number, "commit", err);
}

static int store(void *ctx, void *unit, struct err *err)
{
	struct job *j = ctx;
	struct unit *u = unit;

	atomic_fetch_add(&j->stored, 1);
	atomic_fetch_sub(&j->live, 1);
	return maybe_fail(j->fail_store, u->number, "store", err);
}

static const struct pipeline_ops ops = {
	.unit_size = sizeof(struct unit),
	.unit_init = init,
	.unit_free = release,
	.produce = produce,
	.work = work,
	.commit = commit,
	.store = store,
};

static struct job fresh(void)
{
	stop_reset();
	return (struct job){.count = UNITS,
			    .fail_produce = -1,
			    .fail_work = -1,
			    .fail_commit = -1,
			    .fail_store = -1,
			    .stop_at = -1};
}

static void test_order(void **state)
{
	uint64_t sum = 0;

	(void)state;
	for (unsigned threads = 1; threads <= 8; threads++)
		for (unsigned depth = 1; depth <= MOST_DEPTH; depth *= 4) {
			struct job j = fresh();
			struct err err = ERR_INIT;

			assert_int_equal(pipeline_run(&ops, &j, threads, depth, &err), 0);
			assert_int_equal(j.committed, UNITS);
			assert_int_equal(j.stored, UNITS);
			assert_int_equal(j.made, depth);
			assert_int_equal(j.freed, depth);
			assert_true(j.most_live <= (int)depth);
			if (sum)
				assert_int_equal(j.sum, sum);
			sum = j.sum;
		}
}

static void test_empty_and_missing_stages(void **state)
{
	const struct pipeline_ops bare = {.unit_size = sizeof(struct unit), .produce = produce};
	struct job j = fresh();

	(void)state;
	j.count = 0;
	assert_int_equal(pipeline_run(&ops, &j, 3, 0, NULL), 0);
	assert_int_equal(j.committed, 0);
	j = fresh();
	assert_int_equal(pipeline_run(&bare, &j, 3, 0, NULL), 0);
	assert_int_equal(j.next, UNITS);
}

/* A stage of unit 100 fails; the sentence is that unit's, no later one is committed, all is freed. */
static void test_failures(void **state)
{
	static const char *const stages[] = {"produce 100", "work 100", "commit 100", "store 100"};

	(void)state;
	for (unsigned stage = 0; stage < 4; stage++)
		for (unsigned threads = 1; threads <= 4; threads++) {
			struct job j = fresh();
			struct err err = ERR_INIT;
			int *at[] = {&j.fail_produce, &j.fail_work, &j.fail_commit, &j.fail_store};

			*at[stage] = 100;
			assert_int_equal(pipeline_run(&ops, &j, threads, 0, &err), -1);
			assert_string_equal(err.message, stages[stage]);
			assert_int_equal(err.code, ERR_CORRUPT);
			assert_int_equal(j.made, j.freed);
			if (stage < 2)
				assert_true(j.committed <= 100);
			assert_true(j.next < UNITS);
		}
}

/* Of two failures the lower unit's is told, whichever thread meets the other first. */
static void test_lowest_failure(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++) {
		struct job j = fresh();
		struct err err = ERR_INIT;

		j.fail_store = 100;
		j.fail_work = 101;
		assert_int_equal(pipeline_run(&ops, &j, 1, 0, &err), -1);
		assert_true(!strcmp(err.message, "store 100") || !strcmp(err.message, "work 101"));
		j = fresh();
		j.fail_work = 101;
		j.fail_commit = 40;
		assert_int_equal(pipeline_run(&ops, &j, 4, 4, &err), -1);
		assert_string_equal(err.message, "commit 40"); /* 101 is beyond the depth of 4 */
	}
}

static void test_stop(void **state)
{
	(void)state;
	for (unsigned threads = 1; threads <= 4; threads += 3) {
		struct job j = fresh();
		struct err err = ERR_INIT;

		j.stop_at = 50;
		assert_int_equal(pipeline_run(&ops, &j, threads, 0, &err), -1);
		assert_int_equal(err.code, ERR_CANCELLED);
		assert_true(j.next < 60);
		assert_int_equal(j.made, j.freed);
	}
	stop_reset();
}

struct loop {
	atomic_int seen[1000];
	atomic_uint most_worker;
	size_t fail_at;
};

static int body(void *ctx, size_t i, unsigned worker, struct err *err)
{
	struct loop *l = ctx;

	atomic_fetch_add(&l->seen[i], 1);
	if (worker > atomic_load(&l->most_worker))
		atomic_store(&l->most_worker, worker);
	return i >= l->fail_at ? err_set(err, ERR_FAILED, "at %zu", i) : 0;
}

static void test_parallel_for(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	for (unsigned threads = 1; threads <= 5; threads++) {
		struct loop l = {.fail_at = SIZE_MAX};

		assert_int_equal(parallel_for(1000, threads, body, &l, &err), 0);
		for (size_t i = 0; i < 1000; i++)
			assert_int_equal(l.seen[i], 1);
		assert_true(l.most_worker < threads);
		l = (struct loop){.fail_at = 300};
		assert_int_equal(parallel_for(1000, threads, body, &l, &err), -1);
		assert_string_equal(err.message, "at 300");
		assert_int_equal(l.seen[999], 0);
	}
	assert_int_equal(parallel_for(0, 3, body, NULL, &err), 0);
	assert_true(threads_default() >= 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),	 cmocka_unit_test(test_empty_and_missing_stages),
		cmocka_unit_test(test_failures), cmocka_unit_test(test_lowest_failure),
		cmocka_unit_test(test_stop),	 cmocka_unit_test(test_parallel_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
