/* Running a command and waiting for it; a signal that asks us to stop goes to it too. For `vmbackup run`. */
#ifndef VMKIT_CMD_VMBACKUP_CHILD_H
#define VMKIT_CMD_VMBACKUP_CHILD_H

#include <stdbool.h>

#include "libcommon/base/err.h"

struct child_opts {
	bool last; /* a signal that came before does not end it */
	int keep; /* a descriptor that it inherits, so that a lock outlives us as long as it does; -1: none */
};

/**
 * child_run() - run argv[0], standard input from /dev/null; it gets SIGTERM when we are killed
 * @ret_output: its standard output, owned, at most 1 MiB of it; NULL: it goes where ours does
 * @ret_status: its exit status, 128+N after signal N
 * Return: 0 however it ended; -1 when it could not be started
 */
int child_run(char *const *argv, const struct child_opts *opts, char **ret_output, int *ret_status,
	      struct err *err);

#endif
