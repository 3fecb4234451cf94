/* The definition of a new machine. */
#ifndef VMKIT_CMD_VMCTL_CREATE_H
#define VMKIT_CMD_VMCTL_CREATE_H

#include "libcommon/host/host.h"

/** struct new_machine - all borrowed, but for type; NULL: has none */
struct new_machine {
	const char *name;
	char *type; /* "kvm", "qemu" */
	char uuid[UUID_TEXT_MAX], mac[18];
	uint64_t memory;
	unsigned cpus;
	const char *disk, *seed; /* whole names; qcow2, ISO */
	const char *kernel, *initrd, *append;
	const char *network; /* "none", "user", "bridge:NAME", or a network of libvirt */
};

/** new_machine_xml() - owned; NULL without memory */
char *new_machine_xml(const struct new_machine *m);

#endif
