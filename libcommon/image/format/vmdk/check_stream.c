/* Check of streamOptimized extents: the row of markers, and what the grains decode to. */
#include "libcommon/image/format/vmdk/check.h"

#include <inttypes.h>
#include <stdlib.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/codec.h"

struct walk {
	uint64_t pos;	 /* of the next marker */
	uint64_t grains; /* seen */
	uint64_t next;	 /* sector that the next grain has at least */
	bool ended, broken;
};

/* A grain: they ascend, as long as the disk is written from its beginning to its end */
static void walk_grain(struct vmdk_check *c, struct walk *w, uint64_t lba, uint32_t len)
{
	if (lba % (c->x->grain / VMDK_SECTOR) || lba >= c->x->capacity / VMDK_SECTOR) {
		vmdk_fault(c, "the marker at offset %" PRIu64 " is of sector %" PRIu64, w->pos,
			   lba);
	} else if (lba < w->next) {
		vmdk_fault(c,
			   "the grain of sector %" PRIu64 " at offset %" PRIu64 " comes too late",
			   lba, w->pos);
	} else {
		w->next = lba + 1;
	}
	w->grains++;
	w->pos += round_up(12 + (uint64_t)len, VMDK_SECTOR);
}

static void walk_other(struct vmdk_check *c, struct walk *w, uint32_t type, uint64_t sectors)
{
	uint64_t left = (bfile_size(c->x->file) - w->pos) / VMDK_SECTOR - 1;

	if (type == MARKER_EOS) {
		w->ended = true;
	} else if (type > MARKER_FOOTER || !sectors || sectors > left) {
		vmdk_fault(c,
			   "the marker at offset %" PRIu64 " is of type %" PRIu32 " and %" PRIu64
			   " sectors",
			   w->pos, type, sectors);
		w->broken = true;
	} else {
		w->pos += (1 + sectors) * VMDK_SECTOR;
	}
}

int vmdk_check_markers(struct vmdk_check *c, struct err *err)
{
	uint64_t size = bfile_size(c->x->file);
	struct walk w = {0};

	if (!u64_mul(c->x->h.overhead, VMDK_SECTOR, &w.pos) || w.pos >= size || !w.pos) {
		vmdk_fault(c, "the header says that grains begin at sector %" PRIu64,
			   c->x->h.overhead);
		return 0;
	}
	while (!w.ended && !w.broken) {
		uint8_t m[16];

		if (!range_inside(w.pos, VMDK_SECTOR, size)) {
			vmdk_fault(c, "the stream ends at offset %" PRIu64 ", without a mark",
				   size);
			return 0;
		}
		if (stop_check(err) < 0 || bfile_pread(c->x->file, m, sizeof(m), w.pos, err) < 0)
			return -1;
		if (get_le32(m + 8))
			walk_grain(c, &w, get_le64(m), get_le32(m + 8));
		else
			walk_other(c, &w, get_le32(m + 12), get_le64(m));
	}
	c->res->image_end = max_u64(c->res->image_end, min_u64(w.pos + VMDK_SECTOR, size));
	if (w.ended && w.grains != c->n_used)
		vmdk_fault(c, "the stream has %" PRIu64 " grains, the tables name %zu of them",
			   w.grains, c->n_used);
	return 0;
}

struct deep {
	struct vmdk_check *c;
	char (*why)[120]; /* of each grain; empty: good */
	size_t first;
};

static int decode_grain(void *ctx, size_t i, unsigned worker, struct err *err)
{
	struct deep *d = ctx;
	struct vmdk_extent *x = d->c->x;
	const struct vmdk_used *u = &d->c->used[d->first + i];
	uint64_t off, len;
	size_t got = 0, need = (size_t)min_u64(x->grain, x->capacity - u->no * x->grain);
	struct err local = ERR_INIT;
	CLEANUP_FREE uint8_t *packed = NULL, *plain = NULL;

	(void)worker;
	d->why[i][0] = '\0';
	if (stop_check(err) < 0)
		return -1;
	if (vmdk_marker_read(x, u->off, u->no, &off, &len, &local) < 0)
		goto bad;
	packed = malloc(len);
	plain = malloc(x->grain);
	if (!packed || !plain)
		return err_nomem(err);
	if (bfile_pread_padded(x->file, packed, (size_t)len, off, &local) < 0 ||
	    codec_decode(CODEC_ZLIB, packed, (size_t)len, plain, x->grain, &got, &local) < 0)
		goto bad;
	if (got >= need)
		return 0;
	err_set(&local, ERR_CORRUPT, "it decodes to %zu bytes instead of %zu", got, need);
bad:
	if (local.code == ERR_NO_MEMORY)
		return err_nomem(err);
	for (size_t n = 0; n + 1 < sizeof(d->why[i]); n++) {
		d->why[i][n] = local.message[n];
		d->why[i][n + 1] = '\0';
		if (!local.message[n])
			break;
	}
	return 0;
}

int vmdk_check_decode(struct vmdk_check *c, struct err *err)
{
	enum { BATCH = 1024 };
	CLEANUP_FREE char(*why)[120] = calloc(BATCH, sizeof(*why));
	struct deep d = {.c = c, .why = why};

	if (!why)
		return err_nomem(err);
	for (; d.first < c->n_used; d.first += BATCH) {
		size_t n = (size_t)min_u64(BATCH, c->n_used - d.first);

		if (parallel_for(n, threads_default(), decode_grain, &d, err) < 0)
			return -1;
		for (size_t i = 0; i < n; i++)
			if (why[i][0])
				vmdk_fault(c,
					   "grain %" PRIu64 " at offset %" PRIu64
					   " cannot be decoded: %s",
					   c->used[d.first + i].no, c->used[d.first + i].off,
					   why[i]);
	}
	return 0;
}
