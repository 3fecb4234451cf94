/* What a machine is, apart from any hypervisor: the common ground of OVF descriptors, libvirt domains and options.
 *
 * Plain data. A zeroed struct machine is valid and says nothing; strings are owned by the struct, NULL when not
 * known.
 */
#ifndef VMKIT_PACKAGE_MACHINE_H
#define VMKIT_PACKAGE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"

enum machine_firmware { FIRMWARE_UNKNOWN, FIRMWARE_BIOS, FIRMWARE_EFI, FIRMWARE_EFI_SECURE };
enum machine_bus { BUS_SCSI, BUS_SATA, BUS_IDE };

struct machine_nic {
	char *network; /* name of the network it is connected to */
	char *model;   /* "E1000", "VmxNet3", ... as the descriptor has it */
	char *mac;
};

struct machine_disk {
	char *disk;	      /* id of the disk in the package */
	char *name;	      /* as people see it: "Hard disk 1" */
	enum machine_bus bus; /* for writing */
};

struct machine {
	char *name;
	unsigned cpus;	 /* 0: not said */
	uint64_t memory; /* bytes; 0: not said */
	enum machine_firmware firmware;
	char *os;	/* "Debian 64-bit", or what the descriptor calls it */
	unsigned os_id; /* CIM number of the operating system; 0: not said */
	char *hardware; /* virtual system type: "vmx-14" */
	struct machine_nic *nics;
	size_t n_nics;
	struct machine_disk *disks;
	size_t n_disks;
};

#define MACHINE_NICS_MAX   64U
#define MACHINE_DISKS_MAX  256U
#define MACHINE_CPUS_MAX   65536U
#define MACHINE_MEMORY_MAX (1ULL << 50)

/** machine_release() - free what it holds, not the struct */
void machine_release(struct machine *m);

/** machine_add_nic() - zeroed, at the end; NULL: no memory or more than MACHINE_NICS_MAX, and @err says which */
struct machine_nic *machine_add_nic(struct machine *m, struct err *err);
struct machine_disk *machine_add_disk(struct machine *m, struct err *err);

/** machine_firmware_name() - "bios", "efi", "efi-secure"; NULL when unknown; static */
const char *machine_firmware_name(enum machine_firmware f);

/**
 * machine_set_os() - by a name of the table ("debian", "windows2019"), or a CIM number
 * Return: 0 or -1 (ERR_USAGE, the hint lists the names)
 */
int machine_set_os(struct machine *m, const char *name, struct err *err);

/** machine_vmware_os() - VMware's name for @os_id; "otherGuest64" when none fits; static */
const char *machine_vmware_os(const struct machine *m);

/**
 * machine_of_domain() - add what a libvirt domain's XML says: name, memory, cpus, firmware, NICs, buses of the disks
 * @m: what is set in it already stays
 */
int machine_of_domain(struct machine *m, const char *xml, size_t len, struct err *err);

#endif
