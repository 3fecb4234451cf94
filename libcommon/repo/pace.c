/* A rate for many threads: see pace.h. */
#include "libcommon/repo/pace.h"

#include <time.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/stop.h"

enum { SLICE_NS = 100000000 };

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Each move books its time; who is early sleeps. */
void pace_wait(struct pace *p, size_t len)
{
	int64_t at, start;

	if (!p->limit)
		return;
	at = now_ns();
	pthread_mutex_lock(&p->lock);
	start = p->free_ns > at ? p->free_ns : at;
	p->free_ns = start + (int64_t)((double)len * 1e9 / (double)p->limit);
	pthread_mutex_unlock(&p->lock);
	for (; at < start && !stop_requested(); at = now_ns()) {
		struct timespec nap = {.tv_nsec = (long)min_u64((uint64_t)(start - at), SLICE_NS)};

		(void)nanosleep(&nap, NULL);
	}
}
