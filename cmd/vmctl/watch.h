/* Between the verb (watch.c) and what it does to the machines of one host (watch_host.c). */
#ifndef VMKIT_CMD_VMCTL_WATCH_H
#define VMKIT_CMD_VMCTL_WATCH_H

#include "cmd/vmctl/vmctl.h"
#include "libcommon/host/policy.h"

/** struct watch_opts - what is asked for; not changed once threads run */
struct watch_opts {
	struct backoff_opts restart;
	uint64_t interval_ms, space, least_memory, reserve;
	bool no_restart, no_resume, balance, scale, dry_run, once;
	unsigned least_cpus, scale_at;
	char **machines; /* none: all */
	int machines_n;
	/* An action, as in docs/schema/vmctl-watch.json; consumed. Any thread */
	void (*tell)(json_t *action);
	bool (*ending)(void);
};

/** watch_host() - until o->ending(), or once; a host that is lost is tried again.
 *  Return: 0, or -1 when it was never reached */
int watch_host(const struct watch_opts *o, const char *uri, const char *name, struct err *err);

#endif
