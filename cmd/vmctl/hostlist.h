/* The other form of vmctl hosts. */
#ifndef VMKIT_CMD_VMCTL_HOSTLIST_H
#define VMKIT_CMD_VMCTL_HOSTLIST_H

#include "cmd/vmctl/vmctl.h"

/** hosts_pacemaker() - the machines of all hosts that are meant as <resources> of a cluster, on standard output
 *  @folder: where every node has their definitions */
int hosts_pacemaker(const char *folder, struct err *err);

#endif
