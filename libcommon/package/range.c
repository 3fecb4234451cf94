/* Files made of pieces of other files, and temporary ones: see range.h. */
#include "libcommon/package/range.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/stop.h"

struct range {
	struct bfile **owned;
	size_t n_owned, n_parts;
	struct {
		struct range_part part;
		uint64_t start; /* in the whole */
	} parts[];
};

static int range_pread(struct bfile *f, void *buf, size_t len, uint64_t off, struct err *err)
{
	const struct range *r = f->priv;
	size_t low = 0, high = r->n_parts;
	uint8_t *p = buf;

	if (!range_inside(off, len, f->size))
		return err_set(err, ERR_CORRUPT,
			       "ends at offset %" PRIu64 ", %zu bytes are wanted at %" PRIu64,
			       f->size, len, off);
	while (high - low > 1) { /* the last part that starts at or before off */
		size_t mid = low + (high - low) / 2;

		if (r->parts[mid].start <= off)
			low = mid;
		else
			high = mid;
	}
	for (; len; low++) {
		const struct range_part *part = &r->parts[low].part;
		uint64_t at = off - r->parts[low].start;
		size_t n = (size_t)min_u64(len, part->len - at);

		if (n && bfile_pread(part->file, p, n, part->off + at, err) < 0)
			return -1;
		p += n;
		off += n;
		len -= n;
	}
	return 0;
}

static void range_close(struct bfile *f)
{
	struct range *r = f->priv;

	for (size_t i = 0; i < r->n_owned; i++)
		bfile_close(r->owned[i]);
	free(r->owned);
	free(r);
}

static const struct bfile_ops range_ops = {
	.name = "range",
	.pread = range_pread,
	.close = range_close,
};

int range_file(struct bfile **ret, const char *name, const struct range_part *parts, size_t n_parts,
	       struct bfile *const *owned, size_t n_owned, struct err *err)
{
	CLEANUP_FREE struct range *r = calloc(1, sizeof(*r) + (n_parts + 1) * sizeof(r->parts[0]));
	CLEANUP_FREE struct bfile *f = calloc(1, sizeof(*f));
	CLEANUP_FREE struct bfile **list = calloc(n_owned + 1, sizeof(struct bfile *));
	uint64_t size = 0;

	if (!r || !f || !list || !(f->name = strdup(name)))
		return err_nomem(err);
	for (size_t i = 0; i < n_parts; i++) {
		r->parts[i].part = parts[i];
		r->parts[i].start = size;
		if (!range_inside(parts[i].off, parts[i].len, bfile_size(parts[i].file)) ||
		    !u64_add(size, parts[i].len, &size)) {
			free(f->name);
			return err_set(err, ERR_CORRUPT,
				       "%" PRIu64 " bytes at offset %" PRIu64
				       " do not lie in the file",
				       parts[i].len, parts[i].off);
		}
	}
	for (size_t i = 0; i < n_owned; i++)
		list[i] = owned[i];
	r->n_parts = n_parts;
	r->n_owned = n_owned;
	r->owned = steal_ptr(&list);
	f->ops = &range_ops;
	f->fd = -1; /* its offsets are not those of a descriptor */
	f->size = size;
	f->priv = steal_ptr(&r);
	*ret = steal_ptr(&f);
	return 0;
}

int spool_pipe(int fd, const char *name, struct bfile **ret_file, struct err *err)
{
	enum { CHUNK = 1 << 20 };
	CLEANUP_FREE uint8_t *buf = malloc(CHUNK);
	CLEANUP_CLOSE int out = -1;
	uint64_t off = 0;

	if (!buf)
		return err_nomem(err);
	if (io_nameless(&out, err) < 0)
		return -1;
	for (;;) {
		ssize_t n = io_read_upto(fd, buf, CHUNK, err);

		if (n < 0 || stop_check(err) < 0 || io_pwrite(out, buf, (size_t)n, off, err) < 0)
			return err_prefix(err, "spooling %s", name);
		off += (uint64_t)n;
		if (n < CHUNK)
			break;
	}
	return bfile_of_fd(ret_file, steal_fd(&out), name, false, err);
}
