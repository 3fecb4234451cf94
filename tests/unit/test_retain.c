/* base: which snapshots a retention policy keeps, and why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libcommon/base/retain.h"

enum { HOUR = 3600, DAY = 24 * HOUR };
/* Monday, 2 February 2026, 12:00 UTC */
#define NOW ((time_t)1770033600)

static void plan(const time_t *times, size_t n, const struct retain_policy *p, unsigned *why)
{
	struct retain_item items[16] = {{0}};

	for (size_t i = 0; i < n; i++)
		items[i].time = times[i];
	assert_int_equal(retain_plan(items, n, p, NOW, why, NULL), 0);
}

static void keeps_nothing_without_a_rule(void **state)
{
	const time_t t[] = {NOW - DAY, NOW, NOW + 1};
	unsigned why[3];

	(void)state;
	plan(t, 3, &(struct retain_policy){0}, why);
	assert_int_equal(why[0], 0);
	assert_int_equal(why[1], 0);
	assert_int_equal(why[2], RETAIN_FUTURE);
	plan(t, 0, &(struct retain_policy){.last = 1}, why);
}

static void last_and_within(void **state)
{
	const time_t t[] = {NOW - 3 * DAY, NOW - 2 * DAY, NOW - DAY, NOW};
	unsigned why[4];

	(void)state;
	plan(t, 4, &(struct retain_policy){.last = 2, .within_ms = 2ULL * DAY * 1000}, why);
	assert_int_equal(why[0], 0);
	assert_int_equal(why[1], RETAIN_WITHIN);
	assert_int_equal(why[2], RETAIN_WITHIN | RETAIN_LAST);
	assert_int_equal(why[3], RETAIN_WITHIN | RETAIN_LAST);
}

/* The newest of each period, and only periods that have one count */
static void periods(void **state)
{
	const time_t t[] = {NOW - 400 * DAY, NOW - 40 * DAY, NOW - 9 * DAY, NOW - 2 * DAY - HOUR,
			    NOW - 2 * DAY,   NOW - DAY,	     NOW - 1800,    NOW};
	unsigned why[8];

	(void)state;
	plan(t, 8, &(struct retain_policy){.daily = 3}, why);
	const unsigned daily[] = {0, 0, 0, 0, 4, 4, 0, 4};

	for (size_t i = 0; i < 8; i++)
		assert_int_equal(why[i], daily[i]);
	/* NOW is a Monday: the day before is another week */
	plan(t, 8, &(struct retain_policy){.weekly = 2}, why);
	assert_int_equal(why[7], RETAIN_WEEKLY);
	assert_int_equal(why[6], 0);
	assert_int_equal(why[5], RETAIN_WEEKLY);
	assert_int_equal(why[4], 0);
	plan(t, 8, &(struct retain_policy){.monthly = 9, .yearly = 9}, why);
	/* 29 December 2024: the newest of its month and of its year */
	assert_int_equal(why[0], RETAIN_MONTHLY | RETAIN_YEARLY);
}

static void hourly(void **state)
{
	const time_t t[] = {NOW - 2 * HOUR, NOW - HOUR - 60, NOW - 1800, NOW - 60, NOW};
	unsigned why[5];

	(void)state;
	plan(t, 5, &(struct retain_policy){.hourly = 2}, why);
	assert_int_equal(why[4], RETAIN_HOURLY);
	assert_int_equal(why[3], RETAIN_HOURLY);
	assert_int_equal(why[2], 0);
	assert_int_equal(why[1], 0);
	assert_int_equal(why[0], 0);
}

/* The order is that of the list: a clock that was set back and forth neither hides a snapshot nor fills a period twice. */
static void order_is_not_the_clocks(void **state)
{
	const time_t t[] = {NOW - 3 * DAY, NOW - DAY, NOW - 3 * DAY, NOW - DAY, NOW - 300 * DAY};
	unsigned why[5];

	(void)state;
	plan(t, 5, &(struct retain_policy){.daily = 3, .last = 1}, why);
	assert_int_equal(why[4], RETAIN_DAILY | RETAIN_LAST);
	assert_int_equal(why[3], RETAIN_DAILY);
	assert_int_equal(why[2], RETAIN_DAILY);
	assert_int_equal(why[1], 0);
	assert_int_equal(why[0], 0);
}

/* One snapshot of a clock that was a year ahead costs the others nothing. */
static void the_future_fills_no_period(void **state)
{
	const time_t t[] = {NOW - DAY, NOW, NOW + 400 * DAY};
	unsigned why[3];

	(void)state;
	plan(t, 3, &(struct retain_policy){.last = 2, .yearly = 1}, why);
	assert_int_equal(why[2], RETAIN_FUTURE);
	assert_int_equal(why[1], RETAIN_LAST | RETAIN_YEARLY);
	assert_int_equal(why[0], RETAIN_LAST);
}

static void tags_and_the_newest(void **state)
{
	const char *const wanted[] = {"golden", "release"};
	const char *const a[] = {"x", "golden"}, *const b[] = {"gold"};
	const struct retain_item items[] = {
		{NOW - 3 * DAY, a, 2}, {NOW - DAY, b, 1}, {NOW, NULL, 0}};
	unsigned why[3];

	(void)state;
	assert_int_equal(
		retain_plan(items, 3,
			    &(struct retain_policy){.tags = wanted, .n_tags = 2, .newest = true},
			    NOW, why, NULL),
		0);
	assert_int_equal(why[0], RETAIN_TAG);
	assert_int_equal(why[1], 0);
	assert_int_equal(why[2], RETAIN_NEWEST);
}

static void emptiness_and_words(void **state)
{
	(void)state;
	assert_true(retain_is_empty(&(struct retain_policy){.newest = true, .local = true}));
	assert_false(retain_is_empty(&(struct retain_policy){.within_ms = 1}));
	assert_false(retain_is_empty(&(struct retain_policy){.n_tags = 1}));
	assert_string_equal(retain_reason_name(RETAIN_LAST | RETAIN_NEWEST, 0), "last");
	assert_string_equal(retain_reason_name(RETAIN_LAST | RETAIN_NEWEST, 9), "newest");
	assert_null(retain_reason_name(RETAIN_LAST, 1));
	assert_null(retain_reason_name(~0U, RETAIN_REASONS));
}

/* Half an hour before and after noon in UTC: one day there, two where noon is midnight */
static void zones(void **state)
{
	const time_t t[] = {NOW - DAY - HOUR / 2, NOW - DAY + HOUR / 2};
	struct retain_policy p = {.daily = 2};
	unsigned why[2];

	(void)state;
	setenv("TZ", "XXX+12", 1); /* UTC's noon is midnight there */
	tzset();
	plan(t, 2, &p, why);
	assert_int_equal(why[0], 0);
	assert_int_equal(why[1], RETAIN_DAILY);
	p.local = true;
	plan(t, 2, &p, why);
	assert_int_equal(why[0], RETAIN_DAILY);
	setenv("TZ", "UTC", 1);
	tzset();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_nothing_without_a_rule),
		cmocka_unit_test(last_and_within),
		cmocka_unit_test(periods),
		cmocka_unit_test(hourly),
		cmocka_unit_test(order_is_not_the_clocks),
		cmocka_unit_test(the_future_fills_no_period),
		cmocka_unit_test(tags_and_the_newest),
		cmocka_unit_test(emptiness_and_words),
		cmocka_unit_test(zones),
	};

	setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
