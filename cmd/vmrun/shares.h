/* Folders of the host in a guest: --share, and --root where that is a folder. */
#ifndef VMKIT_CMD_VMRUN_SHARES_H
#define VMKIT_CMD_VMRUN_SHARES_H

#include <stdbool.h>

#include "libcommon/cli/cli.h"
#include "libcommon/runner/runner.h"

#define ROOT_TAG "vmrun-root"

struct shares {
	struct machine_share machine[MACHINE_SHARES_MAX]; /* for machine_opts */
	char *text[MACHINE_SHARES_MAX];			  /* "DIR\0NAME\0" */
	const char *name[MACHINE_SHARES_MAX];		  /* the tag, or where a command finds it */
	bool read_only[MACHINE_SHARES_MAX];
	char tag[MACHINE_SHARES_MAX][16];
	size_t n;
};

/**
 * shares_open() - @list holds DIR[:NAME][:ro]; with @command NAME is a path in the guest (default: DIR's own), else a tag
 *	(default: share0, share1, ...)
 * @root: a folder that becomes the last of them, as ROOT_TAG; NULL: none
 *
 * Return: 0 or -1; shares_close() either way
 */
int shares_open(struct shares *s, const struct opt_list *list, bool command, const char *root,
		bool root_writable, struct err *err);

/** shares_add_saved() - one of the @total that a saved machine had, in their order; the rest as above */
int shares_add_saved(struct shares *s, size_t total, const char *dir, const char *tag,
		     bool read_only, struct err *err);
void shares_close(struct shares *s);

#endif
