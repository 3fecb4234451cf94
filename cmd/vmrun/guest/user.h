/* Who a command runs as. */
#ifndef VMKIT_CMD_VMRUN_GUEST_USER_H
#define VMKIT_CMD_VMRUN_GUEST_USER_H

#include <stdbool.h>

/**
 * user_become() - this process, and its standard streams, are @who's from now on
 * @who: a name in /etc/passwd, or a number, which need not be there: its group is the same number then
 * @home: set HOME to that of /etc/passwd
 *
 * Its groups are those of /etc/passwd and /etc/group. Return: 0, or -1 when it is not so, and why was told on standard error
 */
int user_become(const char *who, bool home);

#endif
