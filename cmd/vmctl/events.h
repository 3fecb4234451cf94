/* Between the verb (events.c) and the threads that listen to hosts (events_follow.c): one queue of events. */
#ifndef VMKIT_CMD_VMCTL_EVENTS_H
#define VMKIT_CMD_VMCTL_EVENTS_H

#include "cmd/vmctl/vmctl.h"

/** struct follow - what is asked for; must live until the process ends, since a thread may be stuck in a call */
struct follow {
	bool present; /* the state of each machine at the start too, not only after a new connection */
	unsigned
		queue_max; /* events that wait to be printed; more are dropped, and the states told again */
	/* Is it worth queueing? @machine, @uuid: NULL for what happens to the host. Any thread */
	bool (*wanted)(const char *kind, const char *machine, const char *uuid);
};

/** follow_start() - a thread for each host. Once a process; @hosts as @f */
int follow_start(const struct follow *f, const struct vmctl_answer *hosts, size_t n,
		 struct err *err);

/** follow_next() - the oldest event, as in docs/schema/vmctl-events.json; waits at most @wait_ms; owned; NULL: none */
json_t *follow_next(unsigned wait_ms);

/** follow_verdict() - the error when no host could be reached at the start, else 0 */
int follow_verdict(struct err *err);

/** follow_stop() - end the threads. Return: did all of them end within a second? Else @hosts are still in use */
bool follow_stop(void);

#endif
