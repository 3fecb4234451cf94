/* A bounded cache of metadata table slices, shared by all reading threads of one image.
 *
 * A slice is @slice_size bytes of the file at a multiple of it. Reading happens outside the lock: one thread
 * loads a slice, others that want the same wait for it, the rest go on.
 */
#ifndef VMKIT_IMAGE_CACHE_H
#define VMKIT_IMAGE_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"

struct bfile;
struct table_cache;

/** table_cache_new() - @slots slices of @slice_size bytes (a power of two), memory taken as used */
int table_cache_new(struct table_cache **ret, struct bfile *file, size_t slice_size, unsigned slots,
		    struct err *err);
void table_cache_free(struct table_cache *c);

/**
 * table_cache_get() - the slice that holds file offset @off, pinned until table_cache_put()
 * @ret: borrowed; points at byte @off inside the slice; @ret_len: bytes from there to the slice's end
 * Return: 0 or -1 (ERR_CORRUPT when the file ends before @off + 1; a short last slice is zero-padded)
 */
int table_cache_get(struct table_cache *c, uint64_t off, const uint8_t **ret, size_t *ret_len,
		    struct err *err);
void table_cache_put(struct table_cache *c, const uint8_t *ptr);

/** table_cache_update() - a writer changed [off, off + len) on disk: fix or drop cached slices */
void table_cache_update(struct table_cache *c, uint64_t off, const void *bytes, size_t len);

/** table_cache_drop() - forget everything that is not pinned */
void table_cache_drop(struct table_cache *c);

#endif
