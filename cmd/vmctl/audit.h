/* What vmctl did, by whom: a log that is only added to. */
#ifndef VMKIT_CMD_VMCTL_AUDIT_H
#define VMKIT_CMD_VMCTL_AUDIT_H

#include "cmd/vmctl/vmctl.h"

/** audit_done() - struct program's .done: a record of a verb that changes something */
void audit_done(const struct cli *cli, int argc, char **argv, int rc, const struct err *err);

/** audit_action() - a record of what vmctl watch did; @action: as it is told, borrowed. Any thread */
void audit_action(const json_t *action);

/** audit_path() - where the log is: audit_log of the configuration, else in the user's state; owned; NULL: nowhere */
char *audit_path(void);

/** audit_chain() - what the record @line (@len bytes, without "chain" of its own) is sealed with, after @previous */
int audit_chain(const char *previous, const char *line, size_t len, char ret[65], struct err *err);

#endif
