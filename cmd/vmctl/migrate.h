/* What migrate.c and migrate_plan.c share. */
#ifndef VMKIT_CMD_VMCTL_MIGRATE_H
#define VMKIT_CMD_VMCTL_MIGRATE_H

#include "libcommon/host/disks.h"
#include "libcommon/host/migrate.h"

/** struct migrate_args - of the command line */
struct migrate_args {
	const char *storage, *disk_dir, *data_uri, *on_timeout;
	uint64_t timeout, bandwidth;
	bool check, peer_to_peer, auto_converge, unsafe;
};

/** struct migrate_plan - what is going to be done; migrate_plan_release() */
struct migrate_plan {
	struct migration m;
	char *xml, *config_xml;
	struct domain_disk *disks; /* of the machine here */
	size_t n_disks;
	char **targets; /* where they lie there; those that were made for it are removed after a failure */
	bool *made;
	const char **names;
};

/**
 * migrate_plan() - is it possible? The first thing that is in the way is the error
 * @make: make image files for disks that are copied, where the target's files are this machine's
 */
int migrate_plan(struct migrate_plan *ret, struct domain *d, struct host *to, const char *to_uri,
		 const struct migrate_args *a, bool make, struct err *err);
void migrate_plan_release(struct migrate_plan *p, bool failed);

#endif
