/* A limit on bytes a second: the one thread that plans waits. */
#include <time.h>

#include "libcommon/base/stop.h"
#include "libcommon/image/copy/parts.h"

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

int rate_wait(struct rate *r, uint64_t bytes, struct err *err)
{
	if (r->limit == 0)
		return 0;

	uint64_t now = now_ns();

	if (r->since_ns == 0)
		r->since_ns = now;
	r->spent += bytes;

	/* Whole seconds apart, so that nothing overflows at any rate. */
	uint64_t due = r->since_ns + r->spent / r->limit * 1000000000U +
		       (uint64_t)((double)(r->spent % r->limit) / (double)r->limit * 1e9);

	/* A source that was slow for a while may not catch up later: the past second counts, no more. */
	if (due + 1000000000U < now) {
		r->since_ns = now;
		r->spent = 0;
		return 0;
	}
	while (now < due) {
		uint64_t left = due - now;
		struct timespec ts = {.tv_nsec = (long)(left < 100000000U ? left : 100000000U)};

		if (stop_check(err) < 0)
			return -1;
		nanosleep(&ts, NULL);
		now = now_ns();
	}
	return 0;
}
