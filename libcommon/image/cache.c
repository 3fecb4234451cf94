/* The cache of metadata table slices: see cache.h. */
#include "libcommon/image/cache.h"

#include <inttypes.h>
#include <stdlib.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/protocol.h"
#include "libcommon/image/slots.h"

struct table_cache {
	struct slots *slots;
	struct bfile *file; /* borrowed */
	size_t slice_size;
};

int table_cache_new(struct table_cache **ret, struct bfile *file, size_t slice_size, unsigned slots,
		    struct err *err)
{
	CLEANUP_FREE struct table_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return err_nomem(err);
	if (slots_new(&c->slots, slice_size, slots, err) < 0)
		return -1;
	c->file = file;
	c->slice_size = slice_size;
	*ret = steal_ptr(&c);
	return 0;
}

void table_cache_free(struct table_cache *c)
{
	if (!c)
		return;
	slots_free(c->slots);
	free(c);
}

static int load_slice(void *ctx, struct slot_key key, void *buf, struct err *err)
{
	struct table_cache *c = ctx;

	return bfile_pread_padded(c->file, buf, c->slice_size, key.a, err);
}

int table_cache_get(struct table_cache *c, uint64_t off, const uint8_t **ret, size_t *ret_len,
		    struct err *err)
{
	uint64_t start = round_down(off, c->slice_size);
	uint64_t size = bfile_size(c->file);
	const uint8_t *slice;

	if (off >= size) {
		err_set(err, ERR_CORRUPT,
			"file ends at offset %" PRIu64 ", a table is wanted at %" PRIu64, size,
			off);
		return err_object(err, c->file->name);
	}
	if (slots_get(c->slots, (struct slot_key){start, 0}, load_slice, c, &slice, err) < 0)
		return -1;
	*ret = slice + (off - start);
	*ret_len = c->slice_size - (size_t)(off - start);
	return 0;
}

void table_cache_put(struct table_cache *c, const uint8_t *ptr)
{
	slots_put(c->slots, ptr);
}

void table_cache_update(struct table_cache *c, uint64_t off, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	while (len) {
		uint64_t start = round_down(off, c->slice_size);
		size_t at = (size_t)(off - start);
		size_t n = (size_t)min_u64(len, c->slice_size - at);

		slots_change(c->slots, (struct slot_key){start, 0}, at, p, n);
		off += n;
		p += n;
		len -= n;
	}
}

void table_cache_drop(struct table_cache *c)
{
	slots_drop(c->slots);
}
