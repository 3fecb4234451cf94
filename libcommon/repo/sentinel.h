/* Bits of our own in a dirty bitmap, so that one that was cleared is found out.
 *
 * A bitmap that somebody reset marks only what was written since, and says nothing of that. So the ones that we make begin
 * with a few dozen bits set at places that follow from the bitmap's name: while they are all set, nobody cleared it.
 */
#ifndef VMKIT_REPO_SENTINEL_H
#define VMKIT_REPO_SENTINEL_H

#include <stdbool.h>

#include "libcommon/image/changes.h"

enum { SENTINELS_MAX = 64, SENTINEL_GRANULE = 64 << 10, SENTINEL_NAME_MAX = 48 };

/** sentinel_prefix() - of the names of the bitmaps of one repository; @uuid: its 32 digits */
void sentinel_prefix(const char *uuid, char ret[SENTINEL_NAME_MAX]);

/** sentinel_is_ours() - a bitmap with sentinels, of any repository? */
bool sentinel_is_ours(const char *name);

/** sentinel_places() - offsets of granules of a disk of @size bytes, ascending, each once; Return: how many, 0: none or failure */
unsigned sentinel_places(const char *name, uint64_t size, uint64_t ret[SENTINELS_MAX]);

/** sentinel_all_set() - are they among @c? *@ret_others: is anything else? */
bool sentinel_all_set(const char *name, uint64_t size, const struct changes *c, bool *ret_others);

#endif
