/* Running a command and waiting for it; a signal that asks us to stop goes to it too. For `vmbackup run`. */
#ifndef VMKIT_CMD_VMBACKUP_CHILD_H
#define VMKIT_CMD_VMBACKUP_CHILD_H

#include <stdbool.h>

#include "libcommon/base/err.h"

/**
 * child_run() - run argv[0], standard input from /dev/null
 * @last: a signal that came before does not end it
 * @ret_output: its standard output, owned, at most 1 MiB of it; NULL: it goes where ours does
 * @ret_status: its exit status, 128+N after signal N
 * Return: 0 however it ended; -1 when it could not be started
 */
int child_run(char *const *argv, bool last, char **ret_output, int *ret_status, struct err *err);

#endif
