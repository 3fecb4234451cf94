/* A bounded set of equal buffers under keys, loaded once however many threads ask: the common part of the
 * table cache (cache.h) and of the cache of decoded clusters (codec.h).
 *
 * Loading happens outside the lock: one thread loads, others that want the same wait, the rest go on. A buffer
 * stays while it is pinned. When all are pinned more are made, and freed as they are put back: nobody ever
 * waits for a pin. The least recently used one makes room.
 */
#ifndef VMKIT_IMAGE_SLOTS_H
#define VMKIT_IMAGE_SLOTS_H

#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"

struct slots;

struct slot_key {
	uint64_t a, b;
};

/** slots_new() - at most @count buffers of @size bytes (a power of two) stay; memory is taken as used */
int slots_new(struct slots **ret, size_t size, unsigned count, struct err *err);

/** slots_free() - nothing may be pinned; NULL is fine */
void slots_free(struct slots *s);

/**
 * slots_get() - the buffer of @key, pinned
 * @load: fills it when it is not there; any thread, no lock held
 * *@ret is borrowed and aligned to the buffer size, until slots_put() with any address inside it.
 */
int slots_get(struct slots *s, struct slot_key key,
	      int (*load)(void *ctx, struct slot_key key, void *buf, struct err *err), void *ctx,
	      const uint8_t **ret, struct err *err);
void slots_put(struct slots *s, const uint8_t *ptr);

/**
 * slots_change() - the truth behind @key has changed
 * @bytes: what is new at @at of the buffer, or NULL for anything
 *
 * Later slots_get() calls see the new bytes; who has the buffer pinned keeps the old ones.
 */
void slots_change(struct slots *s, struct slot_key key, size_t at, const void *bytes, size_t len);

/** slots_drop() - forget everything; pinned buffers are freed when put back */
void slots_drop(struct slots *s);

#endif
