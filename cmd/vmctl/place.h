/* Where a host's disks lie, and what its processor can: for create and clone. */
#ifndef VMKIT_CMD_VMCTL_PLACE_H
#define VMKIT_CMD_VMCTL_PLACE_H

#include "libcommon/host/host.h"

/** place_is_local() - do files of this machine mean the same to the host? */
bool place_is_local(const struct host *h);

/** place_is_builtin() - are its machines those that vmrun runs? */
bool place_is_builtin(const struct host *h);

/** place_disk() - "DIR/NAME.SUFFIX"; @dir NULL: where libvirt keeps images of such a connection; owned */
int place_disk(const struct host *h, const char *dir, const char *name, const char *suffix,
	       char **ret, struct err *err);

/** place_network() - what a new machine is connected to when nobody says; static */
const char *place_network(const struct host *h);

/** place_accel() - "kvm" when the host offers it and the processor has what it needs, else "qemu"; owned */
int place_accel(struct host *h, char **ret, struct err *err);

/** place_uuid(), place_mac() - new ones, at random */
int place_uuid(char ret[UUID_TEXT_MAX], struct err *err);
int place_mac(char ret[18], struct err *err);

#endif
