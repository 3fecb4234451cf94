/* snap: names and the policy of prune; the engines are tested with real disks in tests/bats/vmsnap.bats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libcommon/snap/snap.h"

static void names(void **state)
{
	static const char *const good[] = {"a", "before-upgrade", "2026-11-23T10:00", "_x.y+z",
					   "1a"};
	static const char *const bad[] = {"",	".a",  "-a",	   "a/b", "a b",
					  "12", "a@b", "\xc3\xa4", "a\n"};
	char longest[SNAP_NAME_MAX + 2];
	struct err err = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(snap_name_check(good[i], &err), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(snap_name_check(bad[i], &err), -1);
		assert_int_equal(err.code, ERR_USAGE);
	}
	memset(longest, 'a', sizeof(longest));
	longest[SNAP_NAME_MAX + 1] = '\0';
	assert_int_equal(snap_name_check(longest, &err), -1);
	longest[SNAP_NAME_MAX] = '\0';
	assert_int_equal(snap_name_check(longest, &err), 0);
}

enum { HOUR = 3600, DAY = 24 * HOUR };
/* Monday, 2 February 2026, 12:00 UTC */
#define NOW ((time_t)1770033600)

static void keeps_nothing_without_a_rule(void **state)
{
	const time_t t[] = {NOW - DAY, NOW, NOW + 1};
	unsigned why[3];

	(void)state;
	snap_prune_plan(t, 3, &(struct snap_policy){0}, NOW, why);
	assert_int_equal(why[0], 0);
	assert_int_equal(why[1], 0);
	assert_int_equal(why[2], SNAP_KEEP_FUTURE);
	snap_prune_plan(t, 0, &(struct snap_policy){.last = 1}, NOW, why);
}

static void last_and_within(void **state)
{
	const time_t t[] = {NOW - 3 * DAY, NOW - 2 * DAY, NOW - DAY, NOW};
	unsigned why[4];

	(void)state;
	snap_prune_plan(t, 4, &(struct snap_policy){.last = 2, .within_ms = 2ULL * DAY * 1000}, NOW,
			why);
	assert_int_equal(why[0], 0);
	assert_int_equal(why[1], SNAP_KEEP_WITHIN);
	assert_int_equal(why[2], SNAP_KEEP_WITHIN | SNAP_KEEP_LAST);
	assert_int_equal(why[3], SNAP_KEEP_WITHIN | SNAP_KEEP_LAST);
}

/* The newest of each period, and only periods that have one count */
static void periods(void **state)
{
	const time_t t[] = {NOW - 400 * DAY, NOW - 40 * DAY, NOW - 9 * DAY, NOW - 2 * DAY - HOUR,
			    NOW - 2 * DAY,   NOW - DAY,	     NOW - 1800,    NOW};
	unsigned why[8];

	(void)state;
	snap_prune_plan(t, 8, &(struct snap_policy){.daily = 3}, NOW, why);
	const unsigned daily[] = {0, 0, 0, 0, 4, 4, 0, 4};

	for (size_t i = 0; i < 8; i++)
		assert_int_equal(why[i], daily[i]);
	/* NOW is a Monday: the day before is another week */
	snap_prune_plan(t, 8, &(struct snap_policy){.weekly = 2}, NOW, why);
	assert_int_equal(why[7], SNAP_KEEP_WEEKLY);
	assert_int_equal(why[6], 0);
	assert_int_equal(why[5], SNAP_KEEP_WEEKLY);
	assert_int_equal(why[4], 0);
	snap_prune_plan(t, 8, &(struct snap_policy){.monthly = 9, .yearly = 9}, NOW, why);
	/* 29 December 2024: the newest of its month and of its year */
	assert_int_equal(why[0], SNAP_KEEP_MONTHLY | SNAP_KEEP_YEARLY);
}

static void hourly(void **state)
{
	const time_t t[] = {NOW - 2 * HOUR, NOW - HOUR - 60, NOW - 1800, NOW - 60, NOW};
	unsigned why[5];

	(void)state;
	snap_prune_plan(t, 5, &(struct snap_policy){.hourly = 2}, NOW, why);
	assert_int_equal(why[4], SNAP_KEEP_HOURLY);
	assert_int_equal(why[3], SNAP_KEEP_HOURLY);
	assert_int_equal(why[2], 0);
	assert_int_equal(why[1], 0);
	assert_int_equal(why[0], 0);
}

static void refuses_what_is_no_file(void **state)
{
	struct snap_disk *d;
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(snap_open(&d, "qemu:///system/web", true, &err), -1);
	assert_int_equal(err.code, ERR_UNSUPPORTED);
	err_clear(&err);
	assert_int_equal(snap_open(&d, "/dev/null", false, &err), -1);
	assert_int_equal(err.code, ERR_UNSUPPORTED);
	err_clear(&err);
	assert_int_equal(snap_open(&d, "/nonexistent/disk", false, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
	snap_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),	   cmocka_unit_test(keeps_nothing_without_a_rule),
		cmocka_unit_test(last_and_within), cmocka_unit_test(periods),
		cmocka_unit_test(hourly),	   cmocka_unit_test(refuses_what_is_no_file),
	};

	setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
