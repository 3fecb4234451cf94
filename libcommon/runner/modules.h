/* Which modules a kernel needs to be loaded for some names, from modules.dep and modules.builtin of its folder. */
#ifndef VMKIT_RUNNER_MODULES_H
#define VMKIT_RUNNER_MODULES_H

#include <stdbool.h>
#include <stddef.h>

#include "libcommon/base/err.h"

enum { MODULES_MAX = 64, KERNEL_VERSION_MAX = 128 };

struct modules {
	char *path[MODULES_MAX]; /* relative to the folder, in the order of loading; owned */
	size_t n;
};

/** modules_add() - @name ("virtio_blk") and what it depends on; nothing when the kernel has it built in, or nobody knows it
 * @folder: such as /lib/modules/6.1.0; one that has no modules.dep means that all is built in
 */
int modules_add(struct modules *m, const char *folder, const char *name, struct err *err);
void modules_free(struct modules *m);

/** modules_has() - does a kernel with this folder know @name, as a module or built in? Also when nobody can tell */
bool modules_has(const char *folder, const char *name);

/** kernel_version() - the release that a bzImage names in its header ("6.1.0-56-cloud-amd64"); "" when it names none */
int kernel_version(const char *kernel, char ret[KERNEL_VERSION_MAX], struct err *err);

#endif
