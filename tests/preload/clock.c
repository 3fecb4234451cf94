/* clock.so: another time of day for one process. TEST_TIME=SECONDS (since 1970) LD_PRELOAD=clock.so PROGRAM ... */
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
