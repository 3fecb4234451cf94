/* The files that changed between two states of a disk, for vmsnap diff --files. */
#ifndef VMKIT_CMD_VMSNAP_DIFF_FILES_H
#define VMKIT_CMD_VMSNAP_DIFF_FILES_H

#include "libcommon/cli/cli.h"
#include "libcommon/image/changes.h"
#include "libcommon/image/image.h"

/**
 * diff_files() - printed, or appended to @list
 * @changed: where the disks differ
 * @null_end: paths alone, as they are, each ended by a NUL byte
 * ERR_DIFFERS when a file system that is not read here has changed: all others are told
 */
int diff_files(struct image *a, struct image *b, const struct changes *changed, json_t *list,
	       bool null_end, struct err *err);

#endif
