/* Becoming nbdkit with our plugin (cmd/vmimg/plugin): what `vmimg serve` and `vmbackup serve` share.
 *
 * Calling sequence: nbdkit_check() before anything is opened, a look at the image, nbdkit_exec(), which returns on failure
 * only.
 */
#ifndef VMKIT_CLI_NBDKIT_H
#define VMKIT_CLI_NBDKIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"

struct nbdkit_serve {
	const char *image; /* as image_open() takes it */
	unsigned flags;	   /* enum image_open_flags */
	const char *format, *snapshot;
	const char *const *allow; /* folders of backing files */
	size_t n_allow;
	const char *socket, *export_name; /* NULL: none */
	unsigned port;			  /* 0: none */
	bool writable, cow, with_parent, once;
	uint64_t idle_ms;
	char **command; /* the words after --; NULL: none */
	int n_command;
	const char *const *settings; /* of the plugin, "KEY=VALUE", NULL-terminated; NULL: none */
	char *passphrase; /* for the plugin; owned: cleansed before nbdkit runs; NULL: none */
};

/** nbdkit_check() - what excludes each other, what is missing: ERR_USAGE */
int nbdkit_check(const struct nbdkit_serve *s, struct err *err);

/** nbdkit_exec() - make way for the socket and become nbdkit; Return: -1 */
int nbdkit_exec(struct nbdkit_serve *s, struct err *err);

#endif
