/* Files made of pieces of other files: a member of an OVA, the chunks of a disk. */
#ifndef VMKIT_PACKAGE_RANGE_H
#define VMKIT_PACKAGE_RANGE_H

#include "libcommon/image/protocol.h"

/** struct range_part - bytes [off, off + len) of @file */
struct range_part {
	struct bfile *file;
	uint64_t off, len;
};

/**
 * range_file() - the parts one behind the other, read only
 * @parts: copied; each lies inside its file
 * @owned: files that are closed with it; consumed on success
 */
int range_file(struct bfile **ret, const char *name, const struct range_part *parts, size_t n_parts,
	       struct bfile *const *owned, size_t n_owned, struct err *err);

/** spool_pipe() - the rest of @fd into a nameless file; *@ret_file is owned */
int spool_pipe(int fd, const char *name, struct bfile **ret_file, struct err *err);

#endif
