/* Random writes to flat extents and to hosted sparse ones that are not compressed.
 *
 * Grains never move, so allocated ones are written in place with no lock. A new grain is appended to the file: data first,
 * then the entries of both tables. What a table names must be there after a power cut too. Over a parent the data are
 * made durable before the entry, since the grain shows bytes of the parent that no guest wrote; without one it is enough
 * that the file is long enough: it is made longer, durably, some way ahead.
 *
 * The first change gives the disk a new content ID, by which children of what it was are told, and marks hosted extents
 * as open until they are closed.
 */
#include "libcommon/image/format/vmdk/write.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/cache.h"

enum { AHEAD = 16 << 20 };

struct vmdk_writer {
	pthread_mutex_t lock; /* guards all below, and allocation */
	uint64_t cid_at;      /* of the digits in img->file */
	unsigned cid_digits;  /* 1 to 8: QEMU writes no leading zeros */
	bool started;
	uint64_t *next; /* of each extent: where the next grain goes */
};

/* The digits behind "CID=" at the beginning of a line; they are written over, as many as there are */
int vmdk_find_cid(struct image *img, struct err *err)
{
	const struct vmdk *v = img->priv;
	struct vmdk_writer *w = v->writer;
	size_t len = (size_t)v->desc_room;
	CLEANUP_FREE char *text = malloc(len + 1);

	if (!text)
		return err_nomem(err);
	if (bfile_pread(img->file, text, len, v->desc_off, err) < 0)
		return -1;
	text[len] = '\0';
	for (char *p = text; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		size_t digits =
			strncasecmp(p, "CID=", 4) ? 0 : strspn(p + 4, "0123456789abcdefABCDEF");

		if (digits < 1 || digits > 8)
			continue;
		w->cid_digits = (unsigned)digits;
		w->cid_at = v->desc_off + (uint64_t)(p + 4 - text);
		return 0;
	}
	return err_set(err, ERR_UNSUPPORTED,
		       "the descriptor has no content ID that can be changed");
}

static int check_extent(const struct vmdk_extent *x, struct err *err)
{
	if (x->access != VMDK_RW)
		return err_set(err, ERR_UNSUPPORTED, "an extent is for reading only");
	if (x->kind == VMDK_FLAT)
		return 0;
	if (x->kind != VMDK_SPARSE || x->compressed || x->h.version > 2)
		return err_set(err, ERR_UNSUPPORTED, "%s VMDKs can only be read",
			       x->kind == VMDK_SPARSE ? "compressed or tracked"
			       : x->kind == VMDK_ZERO ? "partly empty"
			       : x->kind == VMDK_COWD ? "vmfsSparse"
						      : "seSparse");
	return 0;
}

int vmdk_writer_open(struct image *img, struct err *err)
{
	struct vmdk *v = img->priv;
	struct vmdk_writer *w;

	if (!v->has_descriptor)
		return err_set(err, ERR_UNSUPPORTED, "a single extent can only be read");
	for (size_t i = 0; i < v->n_extents; i++)
		if (check_extent(&v->extents[i], err) < 0)
			return -1;
	w = calloc(1, sizeof(*w));
	if (!w)
		return err_nomem(err);
	pthread_mutex_init(&w->lock, NULL);
	v->writer = w;
	w->next = calloc(v->n_extents + 1, sizeof(*w->next));
	if (!w->next)
		return err_nomem(err);
	for (size_t i = 0; i < v->n_extents; i++)
		if (v->extents[i].kind == VMDK_SPARSE &&
		    !u64_round_up(bfile_size(v->extents[i].file), v->extents[i].grain, &w->next[i]))
			return err_set(err, ERR_CORRUPT, "the file is too long");
	return vmdk_find_cid(img, err);
}

static int mark(struct vmdk *v, bool unclean, struct err *err)
{
	uint8_t byte = unclean;

	for (size_t i = 0; i < v->n_extents; i++)
		if (v->extents[i].kind == VMDK_SPARSE &&
		    bfile_pwrite(v->extents[i].file, &byte, 1, VMDK_UNCLEAN_AT, err) < 0)
			return -1;
	return 0;
}

/* With the lock held */
static int start(struct image *img, struct err *err)
{
	struct vmdk *v = img->priv;
	struct vmdk_writer *w = v->writer;
	char text[16];
	uint32_t cid;

	if (w->started)
		return 0;
	if (getrandom(&cid, sizeof(cid), 0) != sizeof(cid))
		return err_sys(err, "cannot get random bytes");
	cid %= 0xfffffffeU; /* the two highest have meanings */
	if (w->cid_digits < 8)
		cid &= (UINT32_C(1) << 4 * w->cid_digits) - 1;
	if (cid == v->d.cid)
		cid ^= 1;
	(void)snprintf(text, sizeof(text), "%0*" PRIx32, (int)w->cid_digits, cid);
	/* The mark that explains what an interruption left goes at the end */
	for (size_t i = 0; i < v->n_extents; i++)
		if (vmdk_settle_copies(&v->extents[i], err) < 0)
			return -1;
	if (mark(v, true, err) < 0 ||
	    bfile_pwrite(img->file, text, w->cid_digits, w->cid_at, err) < 0 ||
	    bfile_flush(img->file, err) < 0)
		return -1;
	v->d.cid = cid;
	w->started = true;
	return 0;
}

int vmdk_begin_change(struct image *img, struct err *err)
{
	struct vmdk_writer *w = ((struct vmdk *)img->priv)->writer;

	pthread_mutex_lock(&w->lock);

	int rc = start(img, err);

	pthread_mutex_unlock(&w->lock);
	return rc;
}

uint64_t vmdk_extent_end(const struct vmdk *v, size_t i)
{
	return v->writer->next[i];
}

/* Grains begin at multiples of their size here. */
void vmdk_set_extent_end(struct vmdk *v, size_t i, uint64_t end)
{
	v->writer->next[i] = round_up(end, v->extents[i].grain);
}

int vmdk_flush(struct image *img, struct err *err)
{
	struct vmdk *v = img->priv;

	for (size_t i = 0; i < v->n_files; i++)
		if (bfile_flush(v->files[i], err) < 0)
			return -1;
	return bfile_flush(img->file, err);
}

/* The room that was taken ahead is given back, the mark goes */
int vmdk_settle(struct image *img, struct err *err)
{
	struct vmdk *v = img->priv;
	struct vmdk_writer *w = v->writer;
	int rc = 0;

	pthread_mutex_lock(&w->lock);
	for (size_t i = 0; rc == 0 && w->started && i < v->n_extents; i++)
		if (v->extents[i].kind == VMDK_SPARSE &&
		    bfile_size(v->extents[i].file) > w->next[i])
			rc = bfile_truncate(v->extents[i].file, w->next[i], err);
	if (rc == 0 && w->started)
		rc = vmdk_flush(img, err) < 0 || mark(v, false, err) < 0 ? -1
									 : vmdk_flush(img, err);
	if (rc == 0)
		w->started = false;
	pthread_mutex_unlock(&w->lock);
	return rc;
}

/* No error can be told here: who cares flushed before. The mark stays when something failed. */
void vmdk_writer_close(struct image *img)
{
	struct vmdk *v = img->priv;
	struct vmdk_writer *w = v->writer;

	if (!w)
		return;
	(void)vmdk_settle(img, NULL);
	pthread_mutex_destroy(&w->lock);
	free(w->next);
	free(w);
	v->writer = NULL;
}

/* What the table says of a grain; *@ret_slot: file offset of its entry */
static int look(struct vmdk_extent *x, uint64_t no, enum vmdk_grain *ret, uint64_t *ret_host,
		uint64_t *ret_slot, struct err *err)
{
	uint64_t table, e;

	if (!vmdk_dir_at(x, x->gd_off, no / x->gtes, &table) || !table)
		return err_set(err, ERR_CORRUPT,
			       "grain directory at offset %" PRIu64 ", entry %" PRIu64
			       ": it names no table to write to",
			       x->gd_off, no / x->gtes);
	*ret_slot = table + no % x->gtes * 4;
	if (vmdk_entry_read(x, *ret_slot, &e, err) < 0)
		return -1;
	*ret = vmdk_decode_entry(x, e, ret_host);
	if (*ret == GRAIN_BAD)
		return err_set(err, ERR_CORRUPT,
			       "grain table entry at offset %" PRIu64 " leads outside of the file",
			       *ret_slot);
	return 0;
}

static int set_entry(struct vmdk_extent *x, uint64_t slot, uint32_t sector, struct err *err)
{
	uint8_t e[4];

	put_le32(e, sector);
	if (bfile_pwrite(x->file, e, sizeof(e), slot, err) < 0)
		return -1;
	table_cache_update(x->cache, slot, e, sizeof(e));
	return 0;
}

/* The redundant one first: readers look at the other */
static int publish(struct vmdk_extent *x, uint64_t no, uint64_t slot, uint32_t sector,
		   struct err *err)
{
	uint64_t copy;

	if (x->rgd_off && vmdk_dir_at(x, x->rgd_off, no / x->gtes, &copy) && copy &&
	    set_entry(x, copy + no % x->gtes * 4, sector, err) < 0)
		return -1;
	return set_entry(x, slot, sector, err);
}

int vmdk_forget_grain(struct vmdk_extent *x, uint64_t no, struct err *err)
{
	uint64_t host, slot;
	enum vmdk_grain g;

	if (look(x, no, &g, &host, &slot, err) < 0)
		return -1;
	return g == GRAIN_NONE ? 0 : publish(x, no, slot, 0, err);
}

/* With the lock held: the grain with @n bytes at @in of it new, the rest as it was */
static int add_grain(struct image *img, struct vmdk_extent *x, uint64_t no, uint64_t slot,
		     const uint8_t *buf, size_t in, size_t n, struct err *err)
{
	struct vmdk *v = img->priv;
	struct vmdk_writer *w = v->writer;
	uint64_t *next = &w->next[x - v->extents], host = *next;
	uint64_t start_ = x->start + no * x->grain;
	size_t have = (size_t)min_u64(x->grain, x->start + x->len - start_);
	CLEANUP_FREE uint8_t *grain = NULL;

	if (host / VMDK_SECTOR > UINT32_MAX)
		return err_set(err, ERR_NO_SPACE, "a sparse extent cannot be longer than 2 TiB");
	grain = calloc(1, x->grain);
	if (!grain)
		return err_nomem(err);
	if ((in || n < have) && image_read(img, grain, start_, have, err) < 0)
		return -1;
	memcpy(grain + in, buf, n);
	if (!img->backing && bfile_size(x->file) < host + x->grain &&
	    (bfile_truncate(x->file, host + AHEAD + x->grain, err) < 0 ||
	     bfile_flush(x->file, err) < 0))
		return -1;
	if (bfile_pwrite(x->file, grain, x->grain, host, err) < 0 ||
	    (img->backing && bfile_flush(x->file, err) < 0))
		return -1;
	*next += x->grain;
	return publish(x, no, slot, (uint32_t)(host / VMDK_SECTOR), err);
}

/* @n bytes inside one grain */
static int write_piece(struct image *img, struct vmdk_extent *x, const uint8_t *buf, uint64_t rel,
		       size_t n, struct err *err)
{
	struct vmdk_writer *w = ((struct vmdk *)img->priv)->writer;
	uint64_t no = rel / x->grain, host, slot;
	size_t in = (size_t)(rel & (x->grain - 1));
	enum vmdk_grain g;
	int rc;

	if (look(x, no, &g, &host, &slot, err) < 0)
		return -1;
	if (g != GRAIN_DATA) {
		pthread_mutex_lock(&w->lock);
		rc = look(x, no, &g, &host, &slot, err); /* another thread may have been first */
		if (rc == 0 && g != GRAIN_DATA)
			rc = add_grain(img, x, no, slot, buf, in, n, err);
		pthread_mutex_unlock(&w->lock);
		if (rc < 0 || g != GRAIN_DATA)
			return rc;
	}
	return bfile_pwrite(x->file, buf, n, host + in, err);
}

int vmdk_write(struct image *img, const void *buf, uint64_t off, size_t len, struct err *err)
{
	struct vmdk *v = img->priv;
	const uint8_t *p = buf;

	if (vmdk_begin_change(img, err) < 0)
		return -1;
	while (len) {
		struct vmdk_extent *x = vmdk_extent_at(v, off);
		uint64_t rel = off - x->start, room = x->len - rel;
		size_t n;
		int rc;

		if (x->kind == VMDK_SPARSE)
			room = min_u64(room, x->grain - (rel & (x->grain - 1)));
		n = (size_t)min_u64(len, room);
		rc = x->kind == VMDK_SPARSE ? write_piece(img, x, p, rel, n, err)
					    : bfile_pwrite(x->file, p, n, x->flat_off + rel, err);
		if (rc < 0)
			return -1;
		p += n;
		off += n;
		len -= n;
	}
	return 0;
}

/* Zeros inside one grain: what reads as zero already costs nothing */
static int zero_piece(struct image *img, struct vmdk_extent *x, uint64_t off, size_t n,
		      bool may_unmap, struct err *err)
{
	uint64_t rel = off - x->start, no = rel / x->grain, host, slot;
	CLEANUP_FREE uint8_t *zeros = NULL;
	enum vmdk_grain g;

	if (look(x, no, &g, &host, &slot, err) < 0)
		return -1;
	if (g == GRAIN_DATA)
		return bfile_zero(x->file, host + (rel & (x->grain - 1)), n, may_unmap, err);
	if (g == GRAIN_ZERO || !img->backing)
		return 0;
	zeros = calloc(1, n);
	if (!zeros)
		return err_nomem(err);
	return write_piece(img, x, zeros, rel, n, err);
}

int vmdk_write_zeroes(struct image *img, uint64_t off, uint64_t len, bool may_unmap,
		      struct err *err)
{
	struct vmdk *v = img->priv;

	if (vmdk_begin_change(img, err) < 0)
		return -1;
	while (len) {
		struct vmdk_extent *x = vmdk_extent_at(v, off);
		uint64_t rel = off - x->start, n = min_u64(len, x->len - rel);
		int rc;

		if (x->kind == VMDK_SPARSE)
			n = min_u64(n, x->grain - (rel & (x->grain - 1)));
		rc = x->kind == VMDK_SPARSE
			     ? zero_piece(img, x, off, (size_t)n, may_unmap, err)
			     : bfile_zero(x->file, x->flat_off + rel, n, may_unmap, err);
		if (rc < 0)
			return -1;
		off += n;
		len -= n;
	}
	return 0;
}
