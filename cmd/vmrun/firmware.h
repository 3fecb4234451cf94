/* What starts a disk: --firmware and --firmware-vars. */
#ifndef VMKIT_CMD_VMRUN_FIRMWARE_H
#define VMKIT_CMD_VMRUN_FIRMWARE_H

#include <stdbool.h>

#include "libcommon/base/err.h"

struct image;

/* Zeroed before */
struct firmware_choice {
	const char *path;	/* NULL: a kernel starts the machine */
	const char *vars_begin; /* a file that its variables begin as; NULL: none */
	char *found;		/* owned: what ->vars_begin may point to */
	struct image *vars;	/* owned: those that stay */
};

/** firmware_choose() - @what: "bios", "uefi" or a file's name, NULL: a BIOS; @vars: where variables stay, NULL: nowhere */
int firmware_choose(struct firmware_choice *c, const char *what, const char *vars, struct err *err);

/** firmware_open_vars() - the file is made if it is not there, opened and locked; nothing when @vars is NULL */
int firmware_open_vars(struct firmware_choice *c, const char *vars, struct err *err);
void firmware_release(struct firmware_choice *c);

#endif
