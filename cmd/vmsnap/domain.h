/* What the arguments of a verb mean: disk files, or a libvirt domain's disks (-c, or a URI with a name). */
#ifndef VMKIT_CMD_VMSNAP_DOMAIN_H
#define VMKIT_CMD_VMSNAP_DOMAIN_H

#include "libcommon/host/host.h"
#include "libcommon/host/snapshot.h"
#include "libcommon/snap/snap.h"

extern const char *vmsnap_connect; /* -c */

struct disk_set {
	char **paths; /* of the disks' files */
	size_t n;
	/* NULL: disk files were named */
	struct host *host;
	struct domain *domain;
	struct domain_disk *disks; /* n of them */
	bool running;		   /* or paused: QEMU has the disks open */
};

/** is_domain() - @arg names a libvirt domain; *@ret_uri: owned, NULL: libvirt's default */
bool is_domain(const char *arg, char **ret_uri, const char **ret_name);

/** disks_open() - @args: @n disk files, or one domain; ERR_USAGE for several domains; @change: what a domain's definition says
 *  of chains, which will not be true any more, is dropped */
int disks_open(struct disk_set *ret, char **args, size_t n, bool change, struct err *err);
void disks_close(struct disk_set *t);

/** one_disk() - a disk file, or DOMAIN[:TARGET]; owned; @change: as above */
int one_disk(const char *arg, bool change, char **ret_path, struct err *err);

/** disks_refuse() - what would be lost, or leave the machine off, when its disks are changed (@revert: go back) */
int disks_refuse(const struct disk_set *t, bool revert, struct err *err);

enum quiesce { QUIESCE_AUTO, QUIESCE_REQUIRE, QUIESCE_NO };

struct guard;

/** live_create() - snapshot @name of the running machine's @disks, which are open; @guard: NULL for QUIESCE_NO
 *  ERR_DIFFERS when it is made, but did not stand still as required; *@ret_frozen: it did */
int live_create(struct disk_set *t, struct snap_disk **disks, const char *name, enum quiesce how,
		struct guard *guard, bool *ret_frozen, struct err *err);

/** live_recover() - of a domain: what the machine says of an interrupted live_create() */
int live_recover(struct disk_set *t, enum snap_recovered *ret, struct err *err);

#endif
