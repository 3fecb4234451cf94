/* Which snapshots a retention policy keeps, and why. Pure: no clock, no files.
 *
 * Snapshots come in the order in which they were made, which their owner knows without a clock (a sequence number).
 * Their times only say which hour, day, week (from Monday), month or year they belong to. Of each of the last N periods
 * that have a snapshot the newest is kept. Those dated after now always stay, and fill no period: one clock that was
 * wrong must not cost the others their place.
 */
#ifndef VMKIT_BASE_RETAIN_H
#define VMKIT_BASE_RETAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "libcommon/base/err.h"

struct retain_policy {
	unsigned last, hourly, daily, weekly, monthly, yearly;
	uint64_t within_ms;
	const char *const *tags; /* borrowed: a snapshot with one of them is kept */
	size_t n_tags;
	bool newest; /* the newest is kept in any case, whatever its date */
	bool local;  /* periods are those of the local time zone; else of UTC */
};

enum retain_reason {
	RETAIN_LAST = 1,
	RETAIN_HOURLY = 2,
	RETAIN_DAILY = 4,
	RETAIN_WEEKLY = 8,
	RETAIN_MONTHLY = 16,
	RETAIN_YEARLY = 32,
	RETAIN_WITHIN = 64,
	RETAIN_FUTURE = 128, /* dated after now: the clock is not to be trusted */
	RETAIN_TAG = 256,
	RETAIN_NEWEST = 512,
};
enum { RETAIN_REASONS = 10 };

/** struct retain_item - one snapshot; tags are borrowed */
struct retain_item {
	time_t time;
	const char *const *tags;
	size_t n_tags;
};

/** retain_is_empty() - no rule keeps anything (.newest and .local are no rules) */
bool retain_is_empty(const struct retain_policy *p);

/**
 * retain_plan() - which of @items are kept
 * @items: oldest first, of one machine or disk
 * @ret_reasons: room for @n; a set of enum retain_reason each, 0: nothing keeps it
 */
int retain_plan(const struct retain_item *items, size_t n, const struct retain_policy *p,
		time_t now, unsigned *ret_reasons, struct err *err);

/** retain_reason_name() - the @i-th reason of RETAIN_REASONS as a word, when it is in @reasons, else NULL; static */
const char *retain_reason_name(unsigned reasons, unsigned i);

#endif
