/* Being stopped: see stop.h. */
#include "libcommon/base/stop.h"

#include <stdatomic.h>
#include <string.h>

#include "libcommon/base/err.h"

static atomic_int stop_number; /* lock-free, so handlers may write it */

void stop_request(int signal_number)
{
	int none = 0;

	atomic_compare_exchange_strong(&stop_number, &none, signal_number);
}

bool stop_requested(void)
{
	return atomic_load_explicit(&stop_number, memory_order_relaxed) != 0;
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

void stop_reset(void)
{
	atomic_store(&stop_number, 0);
}
