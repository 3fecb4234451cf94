/* A moving window over a table of the file. */
#include "libcommon/image/format/qcow2/tape.h"

#include <inttypes.h>
#include <stdlib.h>

#include "libcommon/base/checked.h"

int tape_init(struct tape *t, struct bfile *file, uint64_t end, struct err *err)
{
	*t = (struct tape){.file = file, .end = min_u64(end, bfile_size(file))};
	t->window = malloc(TAPE_WINDOW);
	return t->window ? 0 : err_nomem(err);
}

void tape_release(struct tape *t)
{
	free(t->window);
	t->window = NULL;
}

int tape_get(struct tape *t, uint64_t off, size_t len, const uint8_t **ret, struct err *err)
{
	if (len > TAPE_WINDOW || !range_inside(off, len, t->end))
		return err_set(err, ERR_CORRUPT,
			       "entry of %zu bytes at offset %" PRIu64
			       " crosses the end of its table at %" PRIu64,
			       len, off, t->end);
	if (off < t->at || off + len > t->at + t->filled) {
		size_t n = (size_t)min_u64(TAPE_WINDOW, t->end - off);

		t->filled = 0;
		if (bfile_pread(t->file, t->window, n, off, err))
			return -1;
		t->at = off;
		t->filled = n;
	}
	*ret = t->window + (off - t->at);
	return 0;
}
