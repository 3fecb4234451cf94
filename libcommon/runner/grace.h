/* The end of patience: what a machine's disks are still at when its time is over gets a little more, then it is cancelled.
 *
 * A request that waits for a server asks stop_requested() (base/stop.h), and so ends by a stop_request(), whose signal number
 * no one is told. The kernel's own waits, for a file on a server say, are not ended by this.
 */
#ifndef VMKIT_RUNNER_GRACE_H
#define VMKIT_RUNNER_GRACE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct grace {
	pthread_t thread;
	bool running;
	pthread_mutex_t lock; /* guards the two below */
	bool over, cut;
	pthread_cond_t done;
	uint64_t ms;
};

/** grace_start() - @ms from now all is cancelled, unless grace_end() comes first. Without a thread for it: no bound */
void grace_start(struct grace *g, uint64_t ms);

/** grace_end() - also when it was not started (all zero); Return: true when something had to be cancelled */
bool grace_end(struct grace *g);

#endif
