/* Profiles of `vmbackup run`: what to back up where, what to keep, what to check.
 *
 *	# a comment
 *	repository = /backup/vms
 *	keep_daily = 7
 *	verify = 10%
 *	[web]
 *	disk = /var/lib/libvirt/images/web.qcow2
 *	disk = data=/dev/vg/web
 */
#ifndef VMKIT_CMD_VMBACKUP_PROFILE_H
#define VMKIT_CMD_VMBACKUP_PROFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "libcommon/base/err.h"

/** struct words - the words of a command; owned strings */
struct words {
	char **items;
	size_t n;
};

/** struct profile_machine - a section */
struct profile_machine {
	char *name;
	struct words options; /* "--tag=nightly" and others, as backup takes them */
	struct words disks;
	bool domain; /* the options name a libvirt machine; there are no disks then */
};

struct profile {
	char *path;
	struct words common; /* options of every verb: "--repository=..." */
	struct words backup; /* of every machine's backup */
	struct words keep;   /* of prune; none: nothing is removed */
	char *verify;	     /* "quick", "all", a share; NULL: not at all */
	char *password_file, *password_command;
	char *before, *after; /* shell commands */
	char *metrics;
	struct profile_machine *machines;
	size_t n_machines;
};

/** profile_read() - ERR_NOT_FOUND; ERR_USAGE with the line; @ret is owned: profile_free() */
int profile_read(const char *path, struct profile *ret, struct err *err);
void profile_free(struct profile *p);

/** words_add() - a copy of @word; 0 or -1 */
int words_add(struct words *w, const char *word, struct err *err);
void words_free(struct words *w);

#endif
