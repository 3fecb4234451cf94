/* An image in memory: for fuzz targets and tests. Read only. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/protocol/backends.h"

static int memory_pread(struct bfile *f, void *buf, size_t len, uint64_t off, struct err *err)
{
	if (!range_inside(off, len, f->size))
		return err_set(err, ERR_CORRUPT,
			       "file ends at offset %" PRIu64 ", %zu bytes are wanted at %" PRIu64,
			       f->size, len, off);
	if (len)
		memcpy(buf, (const uint8_t *)f->priv + off, len);
	return 0;
}

static void memory_close(struct bfile *f)
{
	(void)f; /* the bytes are the caller's */
}

int bfile_of_memory(struct bfile **ret, const void *data, size_t len, struct err *err)
{
	CLEANUP_FREE struct bfile *f = calloc(1, sizeof(*f));
	CLEANUP_FREE char *name = strdup("memory");

	if (!f || !name)
		return err_nomem(err);
	f->ops = &bfile_memory_ops;
	f->name = steal_ptr(&name);
	f->fd = -1;
	f->size = len;
	memcpy(&f->priv, &data, sizeof(data)); /* never written through: writable is false */
	*ret = steal_ptr(&f);
	return 0;
}

const struct bfile_ops bfile_memory_ops = {
	.name = "memory",
	.pread = memory_pread,
	.close = memory_close,
};
