/* The definition of a new machine. */
#ifndef VMKIT_CMD_VMCTL_CREATE_H
#define VMKIT_CMD_VMCTL_CREATE_H

#include "libcommon/host/host.h"

enum { NEW_DISKS_MAX = 24, NEW_NICS_MAX = 16 };

struct new_disk {
	const char *file; /* whole name; qcow2 */
	const char *bus;  /* "virtio", "sata", "scsi", "ide" */
};

struct new_nic {
	const char *network; /* "user", "bridge:NAME", or a network of libvirt */
	const char *model;
	char mac[18];
};

/* What --kernel, --initrd, --append and --accel are in the tables of create and import: OPTIONS is a struct with a field
 * for each */
#define NEW_BOOT_OPTIONS(OPTIONS, KERNEL_HELP)                                                     \
	{.name = "kernel",                                                                         \
	 .type = OPT_STRING,                                                                       \
	 .value = &(OPTIONS).kernel,                                                               \
	 .arg = "FILE",                                                                            \
	 .help = KERNEL_HELP,                                                                      \
	 .complete = COMPLETE_FILE},                                                               \
		{.name = "initrd",                                                                 \
		 .type = OPT_STRING,                                                               \
		 .value = &(OPTIONS).initrd,                                                       \
		 .arg = "FILE",                                                                    \
		 .help = "with --kernel: the first root file system",                              \
		 .complete = COMPLETE_FILE},                                                       \
		{.name = "append",                                                                 \
		 .type = OPT_STRING,                                                               \
		 .value = &(OPTIONS).append,                                                       \
		 .arg = "STRING",                                                                  \
		 .help = "with --kernel: its command line"},                                       \
	{                                                                                          \
		.name = "accel", .type = OPT_CHOICE, .value = &(OPTIONS).accel, .arg = "HOW",      \
		.choices = "auto|kvm|tcg",                                                         \
		.help = "hardware virtualization or none (default: auto)"                          \
	}

/** struct new_machine - all borrowed, but for type; NULL: has none */
struct new_machine {
	const char *name;
	char *type; /* "kvm", "qemu" */
	char uuid[UUID_TEXT_MAX];
	uint64_t memory;
	unsigned cpus;
	struct new_disk disks[NEW_DISKS_MAX];
	size_t n_disks;
	const char *seed; /* whole name; ISO */
	const char *kernel, *initrd, *append;
	struct new_nic nics[NEW_NICS_MAX];
	size_t n_nics;
	bool efi, secure;
};

/** new_machine_xml() - owned; NULL without memory */
char *new_machine_xml(const struct new_machine *m);

#endif
