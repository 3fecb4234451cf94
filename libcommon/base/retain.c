/* The retention policy: see retain.h. */
#include "libcommon/base/retain.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"

enum { PERIODS = 5 };

/* One rule over calendar periods, and the periods that it has kept one of. */
struct rule {
	enum retain_reason reason;
	unsigned left;
	int64_t *seen;
	size_t n_seen;
};

bool retain_is_empty(const struct retain_policy *p)
{
	return !p->last && !p->hourly && !p->daily && !p->weekly && !p->monthly && !p->yearly &&
	       !p->within_ms && !p->n_tags;
}

/* A number that is the same for all times of a period, and another for any other period */
static int64_t period_of(time_t t, enum retain_reason r, bool local)
{
	struct tm tm = {0};
	int64_t year, day;

	if (!(local ? localtime_r(&t, &tm) : gmtime_r(&t, &tm)))
		return (int64_t)t;
	year = tm.tm_year;
	day = year * 366 + tm.tm_yday;
	switch (r) {
	case RETAIN_HOURLY:
		return day * 24 + tm.tm_hour;
	case RETAIN_DAILY:
		return day;
	case RETAIN_WEEKLY: {
		/* The Monday of its week, as a day since the epoch */
		struct tm monday = tm;

		monday.tm_mday -= (tm.tm_wday + 6) % 7;
		monday.tm_hour = 12;
		monday.tm_min = monday.tm_sec = 0;
		monday.tm_isdst = 0;
		return (int64_t)timegm(&monday) / 86400;
	}
	case RETAIN_MONTHLY:
		return year * 12 + tm.tm_mon;
	default:
		return year;
	}
}

/* Times may jump back and forth where clocks were set: a period counts once wherever it comes up again. */
static bool first_of_period(struct rule *r, int64_t period)
{
	if (!r->left)
		return false;
	for (size_t i = r->n_seen; i-- > 0;)
		if (r->seen[i] == period)
			return false;
	r->seen[r->n_seen++] = period;
	r->left--;
	return true;
}

static bool has_tag(const struct retain_item *item, const struct retain_policy *p)
{
	for (size_t i = 0; i < p->n_tags; i++)
		for (size_t k = 0; k < item->n_tags; k++)
			if (!strcmp(p->tags[i], item->tags[k]))
				return true;
	return false;
}

static unsigned judge(const struct retain_item *item, const struct retain_policy *p, time_t now,
		      struct rule rules[PERIODS], unsigned *last)
{
	unsigned why = has_tag(item, p) ? RETAIN_TAG : 0;

	if (item->time > now)
		return why | RETAIN_FUTURE;
	if (*last) {
		(*last)--;
		why |= RETAIN_LAST;
	}
	if (p->within_ms && (uint64_t)(now - item->time) <= p->within_ms / 1000)
		why |= RETAIN_WITHIN;
	for (size_t r = 0; r < PERIODS; r++)
		if (rules[r].left &&
		    first_of_period(&rules[r], period_of(item->time, rules[r].reason, p->local)))
			why |= (unsigned)rules[r].reason;
	return why;
}

int retain_plan(const struct retain_item *items, size_t n, const struct retain_policy *p,
		time_t now, unsigned *ret_reasons, struct err *err)
{
	struct rule rules[PERIODS] = {{RETAIN_HOURLY, p->hourly, NULL, 0},
				      {RETAIN_DAILY, p->daily, NULL, 0},
				      {RETAIN_WEEKLY, p->weekly, NULL, 0},
				      {RETAIN_MONTHLY, p->monthly, NULL, 0},
				      {RETAIN_YEARLY, p->yearly, NULL, 0}};
	CLEANUP_FREE int64_t *seen = calloc(n + 1, PERIODS * sizeof(*seen));
	unsigned last = p->last;

	if (!seen)
		return err_nomem(err);
	for (size_t r = 0; r < PERIODS; r++)
		rules[r].seen = seen + r * n;
	for (size_t i = n; i-- > 0;)
		ret_reasons[i] = judge(&items[i], p, now, rules, &last);
	if (n && p->newest)
		ret_reasons[n - 1] |= RETAIN_NEWEST;
	return 0;
}

const char *retain_reason_name(unsigned reasons, unsigned i)
{
	static const char *const names[RETAIN_REASONS] = {
		"last",	   "hourly", "daily",  "weekly",
		"monthly", "yearly", "within", "dated in the future",
		"tag",	   "newest"};

	return i < RETAIN_REASONS && reasons & 1U << i ? names[i] : NULL;
}
