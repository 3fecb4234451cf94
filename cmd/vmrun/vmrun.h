/* The verbs of vmrun, one file each, and what they share. */
#ifndef VMKIT_CMD_VMRUN_H
#define VMKIT_CMD_VMRUN_H

#include "libcommon/cli/cli.h"

extern const struct verb verb_run, verb_ps, verb_stop, verb_pause, verb_resume, verb_stats,
	verb_balloon, verb_attach, verb_save, verb_restore;

/* How long a machine may take to answer, ms; a pause takes three seconds of it at most */
enum { ANSWER_MS = 5000 };

#endif
