/* Statistics as Prometheus takes them. */
#ifndef VMKIT_CMD_VMCTL_STATS_H
#define VMKIT_CMD_VMCTL_STATS_H

#include <stdio.h>

#include "cmd/vmctl/vmctl.h"

/** stats_prometheus() - the text format, version 0.0.4: hosts that failed too, as vm_host_up 0 */
void stats_prometheus(FILE *out, const struct vmctl_answer *answers, size_t n);

#endif
