/* A command in a guest: the initial RAM disk that holds it, its first process, its modules and its files. */
#ifndef VMKIT_CMD_VMRUN_COMMAND_H
#define VMKIT_CMD_VMRUN_COMMAND_H

#include <stdbool.h>

#include "libcommon/cli/cli.h"

struct command {
	char *const *args; /* NULL-terminated; borrowed, as all below */
	const char *kernel;
	const char *root; /* folder whose files are packed; NULL: none */
	const char *
		modules; /* folder with modules.dep; NULL: that of the kernel's release in /lib/modules */
	const char *folder; /* to start in; NULL: / */
	const struct opt_list *env;
	bool disks; /* the guest has some: their driver is loaded too */
};

/** command_pack() - the archive, in a nameless file: *@ret_fd is owned; Return: 0 or -1 */
int command_pack(const struct command *c, int *ret_fd, struct err *err);

#endif
