/* What the arguments of a verb mean: disk files, or a libvirt domain's disks (-c, or a URI with a name). */
#ifndef VMKIT_CMD_VMSNAP_DOMAIN_H
#define VMKIT_CMD_VMSNAP_DOMAIN_H

#include "libcommon/host/host.h"
#include "libcommon/host/snapshot.h"
#include "libcommon/snap/snap.h"

extern const char *vmsnap_connect; /* -c */

/* Option of the verbs that make a running domain move data */
#define RATE_OPTION(field)                                                                         \
	{                                                                                          \
		0, "rate-limit", OPT_SIZE, (field),                                                \
			.arg = "SIZE",                                                             \
			.help = "let a running domain move SIZE bytes a second at most"            \
	}

struct disk_set {
	char **paths; /* of the disks' files */
	size_t n;
	/* NULL: disk files were named */
	struct host *host;
	struct domain *domain;
	struct domain_disk *disks; /* n of them */
	bool running;		   /* or paused: QEMU has the disks open */
	struct snap_known *known;  /* disks of the host's other domains; only for changes */
	size_t n_known;
	uint64_t rate; /* of block jobs, bytes a second; 0: no limit */
};

/** is_domain() - @arg names a libvirt domain; *@ret_uri: owned, NULL: libvirt's default */
bool is_domain(const char *arg, char **ret_uri, const char **ret_name);

/** disks_open() - @args: @n disk files, or one domain; ERR_USAGE for several domains; @change: what a domain's definition says
 *  of chains, which will not be true any more, is dropped */
int disks_open(struct disk_set *ret, char **args, size_t n, bool change, struct err *err);
void disks_close(struct disk_set *t);

/** struct one - a disk that is open, and the domain it is of */
struct one {
	struct disk_set set;
	size_t i; /* which of them */
};

/** one_open() - a disk file, or DOMAIN[:TARGET]; @change: as above; one_close() */
int one_open(struct one *ret, const char *arg, bool change, struct err *err);
void one_close(struct one *o);
const char *one_path(const struct one *o);
const char *one_target(const struct one *o); /* "" for a disk file */

/** snaps_open(), one_snap() - snapshots of the disks, for changes, with what is known; snap_set_close(), snap_close() */
int snaps_open(struct disk_set *t, struct snap_disk ***ret, struct err *err);
int one_snap(struct one *o, struct snap_disk **ret, struct err *err);

/* For disks_open() and disks_close() */
int known_find(struct disk_set *t, struct err *err);
void known_free(struct disk_set *t);

/** one_disk() - a disk file, or DOMAIN[:TARGET]; owned; @change: as above */
int one_disk(const char *arg, bool change, char **ret_path, struct err *err);

/** disks_refuse() - what would be lost, or leave the machine off, when its disks are changed (@revert: go back; @in_place:
 *  they stay the same files, over the same ones) */
int disks_refuse(const struct disk_set *t, bool revert, bool in_place, struct err *err);

enum quiesce { QUIESCE_AUTO, QUIESCE_REQUIRE, QUIESCE_NO };

struct guard;

struct live_opts {
	enum quiesce quiesce;
	struct guard *guard; /* NULL for QUIESCE_NO */
	bool memory;	     /* is kept as well: then nothing has to stand still */
	struct progress *progress;
};

/** live_create() - snapshot @name of the running machine's @disks, which are open
 *  ERR_DIFFERS when it is made, but did not stand still as required; *@ret_frozen: it did */
int live_create(struct disk_set *t, struct snap_disk **disks, const char *name,
		const struct live_opts *opts, bool *ret_frozen, struct err *err);

/** still_create() - the same of a machine with domain_can_hold(), by any engine; @memory is kept; *@ret_ms: as long it stood still */
int still_create(struct disk_set *t, struct snap_disk **disks, const char *name,
		 enum snap_engine engine, bool memory, double *ret_ms, struct err *err);

/** still_recover() - after what its disks need: one that a killed still_create() left off, or still, goes on; @unchanged: the
 *  user says that nobody else wrote to its disks */
int still_recover(struct disk_set *t, bool unchanged, enum snap_recovered *ret, struct err *err);

/** live_overlay() - a running machine's memory is written to @file, and it goes on in @overlays; NULL: disks alone */
int live_overlay(struct disk_set *t, char *const *overlays, const char *file,
		 struct progress *progress, struct err *err);

/** live_memory_fits() - ERR_NO_SPACE when the machine's memory may not fit where @path lies */
int live_memory_fits(struct disk_set *t, const char *path, struct err *err);

/** live_restore_xml() - what restores the machine of @t from the memory that snapshot @name of @disks has, and can it; both
 *  owned, NULL: it has none; the XML of a machine with domain_can_hold(): always */
int live_restore_xml(struct disk_set *t, struct snap_disk *const *disks, const char *name,
		     char **ret_file, char **ret_xml, struct err *err);

/**
 * remove_snapshot() - as snap_delete(), by the machine when it runs: of its chain's files, each snapshot and the present state
 * show what they showed
 * @target: the disk of @t that @d is
 *
 * Once begun it is finished by live_recover(), also after ERR_CANCELLED.
 */
int remove_snapshot(struct disk_set *t, const char *target, struct snap_disk *d, const char *name,
		    struct progress *progress, struct err *err);

/** targets_of() - which disk of the domain each of @disks is, "" for disk files; in that order; owned (free), the names borrowed */
const char **targets_of(const struct disk_set *t, struct snap_disk *const *disks, struct err *err);

/** live_recover() - of a domain: what the machine says of an interrupted live_create() or remove_snapshot(), which is finished */
int live_recover(struct disk_set *t, struct progress *progress, enum snap_recovered *ret,
		 struct err *err);
int live_recover_fold(struct disk_set *t, size_t i, struct progress *progress,
		      enum snap_recovered *ret, struct err *err);

#endif
