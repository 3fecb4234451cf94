/* The end of patience: see grace.h. */
#include "libcommon/runner/grace.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "libcommon/base/clock.h"
#include "libcommon/base/stop.h"

static void *wait_for_end(void *arg)
{
	struct grace *g = arg;
	struct timespec until = clock_after(CLOCK_REALTIME, g->ms);

	(void)pthread_mutex_lock(&g->lock);
	while (!g->over && pthread_cond_timedwait(&g->done, &g->lock, &until) != ETIMEDOUT)
		;
	g->cut = !g->over;
	(void)pthread_mutex_unlock(&g->lock);
	if (g->cut)
		stop_request(SIGALRM);
	return NULL;
}

void grace_start(struct grace *g, uint64_t ms)
{
	*g = (struct grace){.ms = ms};
	(void)pthread_mutex_init(&g->lock, NULL);
	(void)pthread_cond_init(&g->done, NULL);
	g->running = pthread_create(&g->thread, NULL, wait_for_end, g) == 0;
}

bool grace_end(struct grace *g)
{
	if (!g->running)
		return false;
	(void)pthread_mutex_lock(&g->lock);
	g->over = true;
	(void)pthread_cond_signal(&g->done);
	(void)pthread_mutex_unlock(&g->lock);
	(void)pthread_join(g->thread, NULL);
	g->running = false;
	return g->cut;
}
