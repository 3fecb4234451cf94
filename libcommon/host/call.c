/* Calls with an end: see call.h. */
#include "libcommon/host/call.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "libcommon/base/clock.h"
#include "libcommon/base/stop.h"

struct call {
	int (*fn)(void *arg, struct err *err);
	void (*drop)(void *arg);
	void *arg;
	struct err err;
	int rc;
	pthread_mutex_t lock; /* guards the two below */
	pthread_cond_t ended;
	bool done, lost;
};

static void call_free(struct call *c)
{
	pthread_cond_destroy(&c->ended);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static void *call_thread(void *arg)
{
	struct call *c = arg;
	bool lost;

	c->rc = c->fn(c->arg, &c->err);
	(void)pthread_mutex_lock(&c->lock);
	c->done = true;
	lost = c->lost;
	(void)pthread_cond_signal(&c->ended);
	(void)pthread_mutex_unlock(&c->lock);
	if (lost) {
		c->drop(c->arg);
		call_free(c);
	}
	return NULL;
}

/* In pieces, so that a signal ends it. Return: did it end? The lock is held. */
static bool wait_done(struct call *c, uint64_t timeout_ms)
{
	for (uint64_t waited = 0; !c->done && waited < timeout_ms && !stop_requested();
	     waited += 50) {
		struct timespec until = clock_after(CLOCK_MONOTONIC, 50);

		(void)pthread_cond_timedwait(&c->ended, &c->lock, &until);
	}
	return c->done;
}

static struct call *call_new(void)
{
	struct call *c = calloc(1, sizeof(*c));
	pthread_condattr_t attr;

	if (!c)
		return NULL;
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&c->ended, &attr);
	(void)pthread_condattr_destroy(&attr);
	(void)pthread_mutex_init(&c->lock, NULL);
	return c;
}

int call_within(int (*fn)(void *arg, struct err *err), void (*drop)(void *arg), void *arg,
		uint64_t timeout_ms, bool *ret_lost, struct err *err)
{
	struct call *c = call_new();
	pthread_t thread;
	int rc;

	*ret_lost = false;
	if (!c)
		return err_nomem(err);
	c->fn = fn;
	c->drop = drop;
	c->arg = arg;
	rc = pthread_create(&thread, NULL, call_thread, c);
	if (rc != 0) {
		errno = rc;
		call_free(c);
		return err_sys(err, "cannot start a thread");
	}
	(void)pthread_mutex_lock(&c->lock);
	if (!wait_done(c, timeout_ms)) {
		c->lost = *ret_lost = true;
		(void)pthread_mutex_unlock(&c->lock);
		(void)pthread_detach(thread);
		if (stop_check(err) < 0)
			return -1;
		return err_set(err, ERR_CONNECTION, "no answer within %.3g s",
			       (double)timeout_ms / 1000);
	}
	(void)pthread_mutex_unlock(&c->lock);
	(void)pthread_join(thread, NULL);
	rc = c->rc;
	if (rc < 0 && err)
		*err = c->err;
	call_free(c);
	return rc;
}
