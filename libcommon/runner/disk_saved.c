/* The layer of an ephemeral disk in a saved machine: written there, and read from there. See disk.h and state.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/iszero.h"
#include "libcommon/image/image.h"
#include "libcommon/runner/disk_private.h"
#include "libcommon/runner/state.h"

enum { COPY_BLOCKS = 256 };

/* The run that ends behind @block: it holds it, or is the next one. Return: its index, or n */
static size_t find(const struct disk *d, uint64_t block)
{
	size_t low = 0, high = d->saved.n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct disk_run *r = &d->saved.run[mid];

		if (r->first + r->count <= block)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

int disk_read_below(const struct disk *d, uint8_t *buf, uint64_t off, size_t len, struct err *err)
{
	for (size_t i = find(d, off / DISK_BLOCK); len;) {
		const struct disk_run *r = i < d->saved.n ? &d->saved.run[i] : NULL;
		uint64_t start = r ? r->first * DISK_BLOCK : UINT64_MAX,
			 end = r ? start + r->count * DISK_BLOCK : UINT64_MAX;
		size_t n = (size_t)min_u64(len, (off < start ? start : end) - off);

		if (off < start ? image_read(d->img, buf, off, n, err)
				: io_pread(d->saved.fd, buf, n, r->place + (off - start), err))
			return -1;
		buf += n;
		off += n;
		len -= n;
		i += off == end;
	}
	return 0;
}

static bool is_held(const struct disk *d, uint64_t block)
{
	size_t i = find(d, block);

	return disk_is_ours(d, block) || (i < d->saved.n && d->saved.run[i].first <= block);
}

/* Blocks [first, first + count), zeros as holes */
static int copy_run(const struct disk *d, struct state_writer *w, uint64_t first, uint64_t count,
		    uint8_t *buf, struct err *err)
{
	while (count) {
		uint64_t n = min_u64(count, COPY_BLOCKS), off = first * DISK_BLOCK;
		size_t len = (size_t)min_u64(n * DISK_BLOCK, d->size - off);

		if (w->give_up && w->give_up(w->ctx))
			return err_set(err, ERR_BUSY, "the machine ended while it was saved");
		if (disk_read_layered(d, buf, off, len, err) < 0)
			return -1;
		if (!is_zero(buf, len) && io_pwrite(w->fd, buf, len, w->at, err) < 0)
			return -1;
		w->at += n * DISK_BLOCK;
		first += n;
		count -= n;
	}
	return 0;
}

int disk_save_layer(struct disk *d, unsigned index, struct state_writer *w, struct state_out *o,
		    struct err *err)
{
	uint64_t blocks = div_up(d->size, DISK_BLOCK), n;
	CLEANUP_FREE uint8_t *buf = malloc((size_t)COPY_BLOCKS * DISK_BLOCK);
	size_t at;
	int rc = 0;

	if (d->mode != DISK_EPHEMERAL)
		return 0;
	if (!buf)
		return err_nomem(err);
	at = state_begin(o, "LAYR", index);
	(void)pthread_rwlock_rdlock(&d->lock);
	for (uint64_t b = 0; rc == 0 && b < blocks; b += n) {
		bool held = is_held(d, b);

		for (n = 1; b + n < blocks && is_held(d, b + n) == held; n++)
			;
		if (!held)
			continue;
		state_put_int(o, b);
		state_put_int(o, n);
		state_put_int(o, w->at);
		rc = copy_run(d, w, b, n, buf, err);
	}
	(void)pthread_rwlock_unlock(&d->lock);
	state_end(o, at);
	return rc;
}

int disk_load_layer(struct disk *d, unsigned index, const struct state *s, struct err *err)
{
	uint64_t blocks = div_up(d->size, DISK_BLOCK), next = 0;
	struct state_in in;
	size_t n;

	if (!state_find(s, "LAYR", index, &in))
		return err_set(err, ERR_CORRUPT, "its section LAYR is missing");
	if (d->mode != DISK_EPHEMERAL)
		return err_set(err, ERR_USAGE,
			       "the machine was saved with ephemeral disks: --ephemeral is wanted");
	n = in.len / sizeof(struct disk_run);
	d->saved.run = calloc(n + 1, sizeof(struct disk_run));
	if (!d->saved.run)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++) {
		struct disk_run *r = &d->saved.run[i];

		r->first = state_get_int(&in);
		r->count = state_get_int(&in);
		r->place = state_get_int(&in);
		if (r->first < next || !r->count || !range_inside(r->first, r->count, blocks) ||
		    !range_inside(r->place, r->count * DISK_BLOCK, s->sections_off))
			return err_set(err, ERR_CORRUPT, "its section LAYR is damaged");
		next = r->first + r->count;
	}
	d->saved.fd = s->fd;
	d->saved.n = n;
	return state_done(&in, "LAYR", err);
}
