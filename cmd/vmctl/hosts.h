/* Which hosts are meant: what main.c's options set for hosts.c. */
#ifndef VMKIT_CMD_VMCTL_HOSTS_H
#define VMKIT_CMD_VMCTL_HOSTS_H

#include "libcommon/cli/cli.h"

extern struct opt_list vmctl_hosts_named;
extern const char *vmctl_hosts_default;
extern uint64_t vmctl_host_timeout; /* milliseconds */

#endif
