/* clock.so: other clocks for one process.
 *
 *	TEST_TIME=SECONDS LD_PRELOAD=clock.so PROGRAM ...	the time of day (since 1970)
 *	TEST_STEAL=N LD_PRELOAD=clock.so PROGRAM ...	a second passes on the clock of a thread's processor time
 *							before it is read for the Nth time, as if a hypervisor
 *							had run others
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

__attribute__((visibility("default"))) time_t time(time_t *ret)
{
	const char *fixed = getenv("TEST_TIME");
	struct timespec now = {0};

	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (fixed)
		now.tv_sec = (time_t)strtoll(fixed, NULL, 10);
	if (ret)
		*ret = now.tv_sec;
	return now.tv_sec;
}

__attribute__((visibility("default"))) int clock_gettime(clockid_t id, struct timespec *ret)
{
	static __thread long reads;
	const char *steal = getenv("TEST_STEAL");
	int rc = ((__typeof__(&clock_gettime))dlsym(RTLD_NEXT, "clock_gettime"))(id, ret);

	if (steal && id == CLOCK_THREAD_CPUTIME_ID && ++reads >= atol(steal))
		ret->tv_sec++;
	return rc;
}
