/* The kernel inside of a disk that its boot loader would start: GRUB's configuration, or the entries of the Boot Loader
 * Specification (systemd, Fedora). */
#ifndef VMKIT_CMD_VMRUN_INSIDE_H
#define VMKIT_CMD_VMRUN_INSIDE_H

#include <stdbool.h>

#include "libcommon/base/err.h"

struct image;

struct inside {
	int kernel_fd, initrd_fd;    /* copies in nameless files, owned; -1: none */
	char *command;		     /* owned */
	char kernel[32], initrd[32]; /* names by which they can be opened */
};

/** inside_find() - of @img; inside_release() also after failure. ERR_NOT_FOUND, ERR_UNSUPPORTED, ERR_CORRUPT */
int inside_find(struct inside *ret, struct image *img, struct err *err);
void inside_release(struct inside *in);

/* Parts of it, for tests */

/** struct inside_entry - what a configuration says; owned: inside_entry_release() */
struct inside_entry {
	char *kernel, *options, *initrds; /* @initrds: paths with blanks between them */
};

/** inside_grub() - the entry that grub.cfg starts by default; Return: false: it names no kernel */
bool inside_grub(const char *text, struct inside_entry *ret);

/** inside_bls() - of one file of loader/entries */
bool inside_bls(const char *text, struct inside_entry *ret);
void inside_entry_release(struct inside_entry *e);

#endif
