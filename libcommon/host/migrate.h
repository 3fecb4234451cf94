/* Moving a running machine to another host. */
#ifndef VMKIT_HOST_MIGRATE_H
#define VMKIT_HOST_MIGRATE_H

#include "libcommon/host/host.h"

/** struct migration - how; zeroed: shared storage, directly, no limits */
struct migration {
	const char *to_uri; /* of the target's daemon, as the source reaches it; for peer_to_peer */
	const char *
		data_uri; /* "tcp://10.0.0.2", "unix:///PATH": where memory goes; NULL: libvirt's choice */
	const char *disks_uri;	  /* the same for disks, with unix sockets; NULL */
	const char *xml;	  /* as it is to run there; NULL: as here */
	const char *config_xml;	  /* as it is to be defined there; NULL: as here */
	const char *const *disks; /* that are copied: "vda"; none: all that can be written */
	size_t n_disks;
	uint64_t bandwidth; /* bytes a second; 0: no limit */
	bool peer_to_peer;  /* the daemons talk to each other; else all goes through us */
	bool copy_disks, auto_converge, unsafe;
};

/** struct migration_state - of a job under way, or of the one that ended */
struct migration_state {
	uint64_t total, done, remaining; /* bytes, memory and disks */
	double seconds, downtime_ms;	 /* downtime: 0 while it is under way */
};

/** domain_migrate_check() - can the two drivers do it at all? To be asked before anything below; ERR_UNSUPPORTED */
int domain_migrate_check(struct domain *d, struct host *to, struct err *err);

/**
 * domain_migrate() - until it is there; any thread
 * Return: 0, the machine runs on @to and no more here; -1: it does not (see domain_state() on both)
 */
int domain_migrate(struct domain *d, struct host *to, const struct migration *m, struct err *err);

/** domain_migrate_alive() - is the target's daemon still there? Told by the socket and keep-alive, without a question */
bool domain_migrate_alive(struct host *to);

/** domain_migrate_cancel() - from another thread */
int domain_migrate_cancel(struct domain *d, struct err *err);

/** domain_migrate_suspend() - the processors wait, so that what is left to send no longer grows */
int domain_migrate_suspend(struct domain *d, struct err *err);

/** domain_migrate_state() - @completed: of the last one, asked of the target's domain */
int domain_migrate_state(struct domain *d, bool completed, struct migration_state *ret,
			 struct err *err);

/** domain_migratable_xml() - what migration.xml may be a change of; owned */
int domain_migratable_xml(struct domain *d, char **ret, struct err *err);

#endif
