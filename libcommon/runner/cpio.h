/* Archives for the kernel's initial RAM disk: cpio, "newc" (Documentation/driver-api/early-userspace/buffer-format.rst). */
#ifndef VMKIT_RUNNER_CPIO_H
#define VMKIT_RUNNER_CPIO_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "libcommon/base/err.h"

/** struct cpio - an archive that is being written to @out; zeroed but for @out at the start */
struct cpio {
	FILE *out; /* borrowed */
	uint64_t written;
	uint32_t entries;
};

/** cpio_entry() - one file of @size bytes at @data; folders: @mode S_IFDIR, no data. @name without a slash in front */
int cpio_entry(struct cpio *c, const char *name, uint32_t mode, const void *data, size_t size,
	       struct err *err);

/** cpio_file() - the file @path as @name with @mode */
int cpio_file(struct cpio *c, const char *name, const char *path, uint32_t mode, struct err *err);

/** cpio_tree() - all below the folder @path, as the root: files, folders, links, device nodes and pipes; owners stay.
 *  What is mounted there is not entered; sockets are left out. A file that changes meanwhile is ERR_FAILED */
int cpio_tree(struct cpio *c, const char *path, struct err *err);

/** cpio_finish() - the trailer */
int cpio_finish(struct cpio *c, struct err *err);

#endif
