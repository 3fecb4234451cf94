/* Being stopped: see stop.h. */
#include "libcommon/base/stop.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "libcommon/base/clock.h"
#include "libcommon/base/err.h"

static atomic_int stop_number; /* lock-free, so handlers may write it */
static atomic_bool deferred;

void stop_request(int signal_number)
{
	int none = 0;

	atomic_compare_exchange_strong(&stop_number, &none, signal_number);
}

bool stop_requested(void)
{
	return atomic_load_explicit(&stop_number, memory_order_relaxed) != 0 &&
	       !atomic_load_explicit(&deferred, memory_order_relaxed);
}

int stop_signal(void)
{
	return atomic_load(&stop_number);
}

int stop_check(struct err *err)
{
	if (!stop_requested())
		return 0;
	return err_set(err, ERR_CANCELLED, "stopped by signal %d (%s)", stop_signal(),
		       strsignal(stop_signal()));
}

/* In pieces: a signal may have come just before. */
int stop_sleep(uint64_t ms, struct err *err)
{
	struct timespec now, end = clock_after(CLOCK_MONOTONIC, ms), piece = {.tv_nsec = 50000000};

	do {
		if (stop_check(err) < 0)
			return -1;
		(void)clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec > end.tv_sec ||
		    (now.tv_sec == end.tv_sec && now.tv_nsec >= end.tv_nsec))
			return 0;
	} while (nanosleep(&piece, NULL) == 0 || errno == EINTR);
	return 0;
}

bool stop_defer(bool on)
{
	return atomic_exchange(&deferred, on);
}

void stop_reset(void)
{
	atomic_store(&deferred, false);
	atomic_store(&stop_number, 0);
}
