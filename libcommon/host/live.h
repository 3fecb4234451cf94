/* Reading the disks of a running machine as they were at one moment: libvirt's backup job in pull mode, and the
 * checkpoints that make the next one incremental.
 *
 *	domain_backup_begin(d, &job, err)	the moment; QEMU serves it over NBD on @job->socket from now on
 *	...					nbd+unix:///vda?socket=...; changes: LIVE_BITMAP of the export
 *	domain_backup_socket(d, &socket, err)	still the same job? Only then what was read is what it was then
 *	domain_backup_end(d, err)
 */
#ifndef VMKIT_HOST_LIVE_H
#define VMKIT_HOST_LIVE_H

#include "libcommon/host/host.h"

#define LIVE_BITMAP "qemu:dirty-bitmap:vmkit-changes"

/** struct live_disk - one of all disks of the machine */
struct live_disk {
	const char *target;
	const char *since; /* a checkpoint: its changes are exported; NULL: not wanted */
	const char *
		scratch; /* file that takes what the guest overwrites meanwhile; NULL: the disk is left out */
	bool checkpoint; /* it gets the new one (qcow2 alone can have any) */
};

struct live_job {
	const char *socket;	/* that QEMU makes: its user writes the folder */
	const char *checkpoint; /* the new one's name; NULL: none */
	const struct live_disk *disks;
	size_t n_disks;
};

/**
 * domain_backup_begin() - all disks at one moment
 *
 * Return: 0, or -1: ERR_BASE_GONE (a checkpoint that is named is not there, or its bitmap is broken: the sentence has the
 * disk in quotes where libvirt says it), ERR_BUSY, ERR_UNSUPPORTED, ...
 */
int domain_backup_begin(struct domain *d, const struct live_job *job, struct err *err);

/** domain_backup_socket() - where the backup job that runs serves; owned; NULL: none runs. "" for one without */
int domain_backup_socket(struct domain *d, char **ret, struct err *err);

/** domain_backup_end() - ends the backup job; it is fine when none runs */
int domain_backup_end(struct domain *d, struct err *err);

/** domain_checkpoints() - their names; owned: names one by one, and the list */
int domain_checkpoints(struct domain *d, char ***ret, size_t *ret_n, struct err *err);

/** domain_checkpoint_delete() - with its bitmaps, or when these are broken the record alone; fine when it is gone */
int domain_checkpoint_delete(struct domain *d, const char *name, struct err *err);

#endif
