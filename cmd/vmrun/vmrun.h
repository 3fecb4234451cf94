/* The verbs of vmrun, one file each, and what they share. */
#ifndef VMKIT_CMD_VMRUN_H
#define VMKIT_CMD_VMRUN_H

#include "libcommon/cli/cli.h"

extern const struct verb verb_run;

#endif
