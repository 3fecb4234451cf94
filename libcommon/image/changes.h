/* What of a disk may have changed since some moment: ranges from a dirty bitmap or from a comparison of extents.
 *
 * Made by one thread in ascending order, then only read, by any number of threads.
 */
#ifndef VMKIT_IMAGE_CHANGES_H
#define VMKIT_IMAGE_CHANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "libcommon/base/err.h"

struct changes;

/** changes_new() - nothing has changed yet; *@ret is owned: changes_free() */
int changes_new(struct changes **ret, struct err *err);
void changes_free(struct changes *c); /* NULL is fine */

/** changes_add() - [off, off + len) may differ; not below the end of what was added before. Beyond 1 Mi ranges those
 *  that lie close together become one */
int changes_add(struct changes *c, uint64_t off, uint64_t len, struct err *err);

/** changes_next() - the first byte at or behind @off that may differ; UINT64_MAX: none */
uint64_t changes_next(const struct changes *c, uint64_t off);

/** changes_run() - the first range that ends behind @off; false: none */
bool changes_run(const struct changes *c, uint64_t off, uint64_t *ret_start, uint64_t *ret_end);

/** changes_touch() - does any of [off, off + len) differ? */
bool changes_touch(const struct changes *c, uint64_t off, uint64_t len);

/** changes_bytes() - in all */
uint64_t changes_bytes(const struct changes *c);

#endif
