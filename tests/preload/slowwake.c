/* slowwake.so: who wakes others by a condition is slow to go on, so that they get far before he does what is next.
 *
 *	SLOWWAKE_MS=MILLISECONDS LD_PRELOAD=slowwake.so PROGRAM ...
 *
 * He sleeps when he has unlocked the mutex, for before that nobody is awake. Who waits himself meanwhile does not.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static __thread bool woke;

int pthread_cond_broadcast(pthread_cond_t *c)
{
	woke = true;
	return NEXT(pthread_cond_broadcast)(c);
}

int pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
	woke = false;
	return NEXT(pthread_cond_wait)(c, m);
}

int pthread_mutex_unlock(pthread_mutex_t *m)
{
	const char *ms = getenv("SLOWWAKE_MS");
	long n = ms ? atol(ms) : 0;
	const struct timespec ts = {.tv_sec = n / 1000, .tv_nsec = n % 1000 * 1000000};
	int rc = NEXT(pthread_mutex_unlock)(m);

	if (woke)
		(void)nanosleep(&ts, NULL);
	woke = false;
	return rc;
}
