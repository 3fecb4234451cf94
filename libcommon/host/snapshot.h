/* What snapshots ask of a machine: its disks, and to go on in overlays. */
#ifndef VMKIT_HOST_SNAPSHOT_H
#define VMKIT_HOST_SNAPSHOT_H

#include "libcommon/host/disks.h"
#include "libcommon/host/host.h"

/**
 * domain_files() - the disks that it may write to, as they are when it runs, else as they will be; owned: domain_disks_free()
 * ERR_UNSUPPORTED for a disk that is no file: a set without it would not be the machine
 */
int domain_files(struct domain *d, bool running, struct domain_disk **ret, size_t *ret_n,
		 struct err *err);

/**
 * domain_forget_chains() - what its definition says of backing files is dropped: libvirt reads the headers then
 * After a live snapshot it is written there, and does not follow when files of the chain go or get other names; an empty
 * element would hide a backing file from the guest. A machine that is not persistent has no definition: nothing is done.
 */
int domain_forget_chains(struct domain *d, struct err *err);

/**
 * domain_overlay() - the running machine goes on in new qcow2 overlays, at one moment for all disks
 * @disks: all of them; @overlays: paths where nothing is yet, one each
 *
 * Nothing of it is kept by libvirt as a snapshot. All or none; after ERR_CONNECTION only domain_files() knows.
 */
int domain_overlay(struct domain *d, const struct domain_disk *disks, const char *const *overlays,
		   size_t n, struct err *err);

#endif
