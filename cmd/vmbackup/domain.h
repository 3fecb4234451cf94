/* backup --domain: the disks of a libvirt machine, running or not. domain.c decides, live.c reads a running one. */
#ifndef VMKIT_CMD_VMBACKUP_DOMAIN_H
#define VMKIT_CMD_VMBACKUP_DOMAIN_H

#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/host/disks.h"
#include "libcommon/host/guard.h"

struct domain_args {
	const char *name; /* of the domain, or its UUID; NULL: no --domain */
	const char *uri, *quiesce, *scratch;
	struct opt_list exclude;
	bool no_full, no_checkpoint;
};

/** struct domain_report - what came of it besides the numbers; domain_report_release() */
struct domain_report {
	char *name;		 /* of the domain */
	const char *state;	 /* static */
	const char *consistency; /* static */
	bool frozen;
	double freeze_ms;
	char checkpoint[64]; /* "": none */
	char **disks;	     /* names */
	bool *incremental;
	size_t n_disks;
};
void domain_report_release(struct domain_report *r);

/** domain_backup() - as @a says; @opts has all but machine, disks, and the name when that is NULL: the domain's then */
int domain_backup(const struct domain_args *a, struct backup_opts *opts,
		  const struct image_open_opts *open, struct backup_stats *ret,
		  struct domain_report *ret_report, struct err *err);

/** struct domain_run - one run, for domain.c and live.c */
struct domain_run {
	const struct domain_args *a;
	struct backup_opts *opts;
	struct guard *guard;
	struct repo *repo;
	struct host *host;
	struct domain *domain;
	struct domain_disk *disks;
	struct backup_disk *out; /* one a disk; names are theirs, images owned */
	size_t n, all;		 /* disks from n on are left out */
	struct domain_report *report;
};

/** live_backup() - a domain that QEMU runs */
int live_backup(struct domain_run *r, struct backup_stats *ret, struct err *err);

#endif
