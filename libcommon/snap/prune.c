/* Which snapshots a policy keeps, and why. */
#include <stdint.h>
#include <string.h>

#include "libcommon/snap/snap.h"

/* A number that is the same for all times of a period and differs between neighbouring ones */
static int64_t period_of(time_t t, enum snap_reason r)
{
	struct tm tm = {0};
	int64_t year, day;

	if (!localtime_r(&t, &tm))
		return (int64_t)t;
	year = tm.tm_year;
	day = year * 366 + tm.tm_yday;
	switch (r) {
	case SNAP_KEEP_HOURLY:
		return day * 24 + tm.tm_hour;
	case SNAP_KEEP_DAILY:
		return day;
	case SNAP_KEEP_WEEKLY: {
		/* The Monday of its week, as a day since the epoch */
		struct tm monday = tm;

		monday.tm_mday -= (tm.tm_wday + 6) % 7;
		monday.tm_hour = 12;
		monday.tm_min = monday.tm_sec = 0;
		monday.tm_isdst = 0;
		return (int64_t)timegm(&monday) / 86400;
	}
	case SNAP_KEEP_MONTHLY:
		return year * 12 + tm.tm_mon;
	default:
		return year;
	}
}

void snap_prune_plan(const time_t *times, size_t n, const struct snap_policy *p, time_t now,
		     unsigned *ret_reasons)
{
	const struct {
		enum snap_reason reason;
		unsigned count;
	} rules[] = {{SNAP_KEEP_HOURLY, p->hourly},
		     {SNAP_KEEP_DAILY, p->daily},
		     {SNAP_KEEP_WEEKLY, p->weekly},
		     {SNAP_KEEP_MONTHLY, p->monthly},
		     {SNAP_KEEP_YEARLY, p->yearly}};
	unsigned left[sizeof(rules) / sizeof(rules[0])], last = p->last;
	int64_t seen[sizeof(rules) / sizeof(rules[0])];

	for (size_t r = 0; r < sizeof(rules) / sizeof(rules[0]); r++) {
		left[r] = rules[r].count;
		seen[r] = INT64_MIN;
	}
	memset(ret_reasons, 0, n * sizeof(*ret_reasons));
	for (size_t i = n; i-- > 0;) {
		time_t t = times[i];

		if (t > now) {
			ret_reasons[i] = SNAP_KEEP_FUTURE;
			continue;
		}
		if (last) {
			last--;
			ret_reasons[i] |= SNAP_KEEP_LAST;
		}
		if (p->within_ms && (uint64_t)(now - t) <= p->within_ms / 1000)
			ret_reasons[i] |= SNAP_KEEP_WITHIN;
		for (size_t r = 0; r < sizeof(rules) / sizeof(rules[0]); r++) {
			int64_t period = left[r] ? period_of(t, rules[r].reason) : 0;

			if (!left[r] || period == seen[r])
				continue;
			seen[r] = period;
			left[r]--;
			ret_reasons[i] |= (unsigned)rules[r].reason;
		}
	}
}
