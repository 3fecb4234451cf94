/* What machines and hosts have used and have. */
#ifndef VMKIT_HOST_STATS_H
#define VMKIT_HOST_STATS_H

#include "libcommon/host/host.h"

/** host_stats() - every machine, as in docs/schema/vmctl-stats.json; a busy one is not waited for; owned */
int host_stats(struct host *h, json_t **ret, struct err *err);

/** host_node() - the host itself, as in docs/schema/vmctl-hosts.json; what it does not tell is null; owned */
int host_node(struct host *h, json_t **ret, struct err *err);

#endif
