/* What vmctl watch decides: when to try again, how much memory, how many processors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "libcommon/host/policy.h"

static void pauses_grow_and_end(void **state)
{
	const struct backoff_opts o = {
		.delay_ms = 100, .max_delay_ms = 300, .settle_ms = 1000, .tries = 4};
	static const uint64_t pauses[] = {100, 200, 300, 300};
	struct backoff b = {0};
	uint64_t now = 5000;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		assert_true(backoff_due(&b, &o, now));
		assert_false(backoff_gave_up(&b, &o, now));
		backoff_tried(&b, &o, now);
		assert_false(backoff_due(&b, &o, now + pauses[i] - 1));
		now += pauses[i];
	}
	assert_false(backoff_due(&b, &o, now));
	assert_false(backoff_gave_up(&b, &o, now - 1));
	assert_true(backoff_gave_up(&b, &o, now));
	assert_false(backoff_gave_up(&b, &o, now + 1)); /* said once */
}

static void what_was_well_long_enough_begins_anew(void **state)
{
	const struct backoff_opts o = {
		.delay_ms = 100, .max_delay_ms = 100, .settle_ms = 1000, .tries = 1};
	struct backoff b = {0};

	(void)state;
	backoff_tried(&b, &o, 1000);
	backoff_good(&b, &o, 1100);
	backoff_good(&b, &o, 2000);
	assert_false(backoff_due(&b, &o, 2050));
	backoff_good(&b, &o, 2100);
	assert_true(backoff_due(&b, &o, 2100));
	/* It failed in between: the time begins anew */
	backoff_tried(&b, &o, 3000);
	backoff_good(&b, &o, 3100);
	backoff_tried(&b, &o, 3500);
	backoff_good(&b, &o, 3600);
	backoff_good(&b, &o, 4500);
	assert_false(backoff_due(&b, &o, 4500));
}

enum { M = 1 << 20 };

static void memory(void **state)
{
	const struct memory_view fine = {.now = 1000 * M,
					 .least = 200 * M,
					 .most = 2000 * M,
					 .guest_total = 950 * M,
					 .guest_usable = 500 * M,
					 .host_free = 4000ULL * M,
					 .host_reserve = 1000 * M};
	struct memory_view v = fine;

	(void)state;
	assert_int_equal(policy_memory(&v), v.now);
	v.guest_usable = 50 * M; /* short: a quarter more */
	assert_int_equal(policy_memory(&v), 1250 * M);
	v.host_free = 1100 * M; /* what the host has above its reserve */
	assert_int_equal(policy_memory(&v), 1100 * M);
	v.host_free = 4000ULL * M;
	v.most = 1100 * M;
	assert_int_equal(policy_memory(&v), 1100 * M);
	v.most = 1040 * M; /* a step that is none */
	assert_int_equal(policy_memory(&v), v.now);

	v = fine;
	v.host_free = 500 * M; /* the host is short: 450 used, 675 stay */
	assert_int_equal(policy_memory(&v), 675 * M);
	v.least = 800 * M;
	assert_int_equal(policy_memory(&v), 800 * M);
	v.guest_usable = 50 * M; /* both are short: nobody gives */
	assert_int_equal(policy_memory(&v), v.now);

	v = fine;
	v.host_free = 0;
	v.guest_total = 0; /* a guest that says nothing */
	assert_int_equal(policy_memory(&v), v.now);
	v.guest_total = 10;
	v.guest_usable = 20; /* and one that lies */
	assert_int_equal(policy_memory(&v), v.now);
}

/* @percent of @cpus over a second, so many times; Return: the last answer */
static unsigned seen(struct load *l, double *used, uint64_t *now, unsigned cpus, unsigned percent,
		     unsigned times)
{
	unsigned want = cpus;

	for (unsigned i = 0; i < times && want == cpus; i++) {
		*now += 1000;
		*used += cpus * percent / 100.0;
		want = policy_cpus(l, *used, cpus, 1, 4, 80, *now);
	}
	return want;
}

static void processors(void **state)
{
	struct load l = {0};
	double used = 100;
	uint64_t now = 1000;

	(void)state;
	assert_int_equal(policy_cpus(&l, used, 2, 1, 4, 80, now), 2);
	assert_int_equal(seen(&l, &used, &now, 2, 90, 2), 2);
	assert_int_equal(seen(&l, &used, &now, 2, 50, 1), 2); /* not on end */
	assert_int_equal(seen(&l, &used, &now, 2, 90, 2), 2);
	assert_int_equal(seen(&l, &used, &now, 2, 90, 1), 3);
	/* More of them: the first sight of it counts nothing */
	assert_int_equal(seen(&l, &used, &now, 3, 90, 3), 3);
	assert_int_equal(seen(&l, &used, &now, 3, 90, 1), 4);
	assert_int_equal(seen(&l, &used, &now, 4, 100, 20), 4); /* the most */
	assert_int_equal(seen(&l, &used, &now, 4, 5, 9), 4);
	assert_int_equal(seen(&l, &used, &now, 4, 5, 1), 3);
	/* It was started anew: its counter too */
	used = 0;
	assert_int_equal(seen(&l, &used, &now, 3, 0, 10), 3);
	l = (struct load){0};
	assert_int_equal(seen(&l, &used, &now, 1, 0, 50), 1); /* never less than one */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pauses_grow_and_end),
		cmocka_unit_test(what_was_well_long_enough_begins_anew),
		cmocka_unit_test(memory),
		cmocka_unit_test(processors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
