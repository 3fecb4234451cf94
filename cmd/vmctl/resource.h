/* What vmctl net and vmctl pool share. */
#ifndef VMKIT_CMD_VMCTL_RESOURCE_H
#define VMKIT_CMD_VMCTL_RESOURCE_H

#include "cmd/vmctl/vmctl.h"
#include "libcommon/host/resource.h"

struct resource_verb {
	enum resource_kind kind;
	const char *const *headers, *const *keys; /* of the table; sizes as people read them */
	const char *alignment;
	bool autostart; /* --autostart of create */
	/* The definition that create makes of the options; owned */
	int (*define)(const char *name, char **ret, struct err *err);
};

/** resource_run() - ACTION [NAME...]: list, info, create, ensure, start, stop, autostart, no-autostart, delete, refresh, volumes */
int resource_run(const struct resource_verb *v, struct cli *cli, int argc, char **argv,
		 struct err *err);

/** xml_piece() - "BEFORE text AFTER" escaped, or nothing for NULL; false without memory */
bool xml_piece(FILE *f, const char *before, const char *text, const char *after);

#endif
