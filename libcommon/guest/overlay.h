/* Blocks that are to be written, kept in memory until all of them are known. */
#ifndef VMKIT_GUEST_OVERLAY_H
#define VMKIT_GUEST_OVERLAY_H

#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/image/disk/freemap.h"

/** struct overlay_block - block @number as it is and as it shall be */
struct overlay_block {
	uint64_t number;
	uint8_t *old, *new; /* block_size bytes each */
};

struct overlay {
	struct volume v;
	size_t block_size;
	struct overlay_block *blocks; /* ascending */
	size_t n, room;
};

/** overlay_read(), overlay_write() - any range inside the volume */
int overlay_read(struct overlay *o, void *buf, uint64_t off, size_t len, struct err *err);
int overlay_write(struct overlay *o, const void *buf, uint64_t off, size_t len, struct err *err);

/** overlay_prune() - forget blocks that are as they were */
void overlay_prune(struct overlay *o);

/** overlay_clear() - forget all; overlay_release() too */
void overlay_clear(struct overlay *o);
void overlay_release(struct overlay *o);

#endif
