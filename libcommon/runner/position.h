/* Where a disk stands: sizes and times of the files that it is read from. A saved machine's memory fits no other bytes. */
#ifndef VMKIT_RUNNER_POSITION_H
#define VMKIT_RUNNER_POSITION_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "libcommon/base/err.h"

struct image;

/**
 * position_get() - of all files of an image's chain, flushed before
 * *@ret: [{size, mtime_ns}...], owned; empty when the disk is not read from files (NBD): then only its size can be compared
 */
int position_get(struct image *img, json_t **ret, struct err *err);

/** position_of() - the same of the image @name that nobody writes to, settled; @format: NULL: probed; @allow: folders where
 *  backing files may lie too */
int position_of(const char *name, const char *format, const char *const *allow, size_t n_allow,
		json_t **ret, struct err *err);

/** position_check() - is it where it was? @then: what position_get() said, or hostile; ERR_DIFFERS, the error names the image */
int position_check(struct image *img, const json_t *then, struct err *err);

/** position_stands() - position_of() compared: *@ret: @name is where @then says, or that lies below new files that hold nothing */
int position_stands(const char *name, const char *format, const char *const *allow, size_t n_allow,
		    const json_t *then, bool *ret, struct err *err);

/** position_settle() - return when a write from now on has another time than all files have */
void position_settle(const json_t *position);

#endif
