/* Clusters of the file: finding free ones, giving them back; the L2 entries that name them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/qcow2/writer.h"

/* Refcounts that are 0 for what is certainly in use: writing there would destroy the image */
static int check_free(const struct qcow2_writer *w, uint64_t cluster, struct err *err)
{
	const struct qcow2_header *h = &w->q->h;
	uint64_t off = cluster << h->cluster_bits;
	const char *what = NULL;

	if (!cluster)
		what = "header";
	else if (off >= h->l1_offset && off < h->l1_offset + 8ULL * h->l1_entries)
		what = "L1 table";
	else if (off >= h->reftable_offset &&
		 off < h->reftable_offset + ((uint64_t)h->reftable_clusters << h->cluster_bits))
		what = "refcount table";
	else if (h->nb_snapshots && off == h->snapshots_offset)
		what = "snapshot table";
	if (!what)
		return 0;
	err_set(err, ERR_CORRUPT, "the %s at offset %" PRIu64 " has refcount 0", what, off);
	return err_hint(err, "vmimg check --repair mends refcounts");
}

static int take(struct qcow2_writer *w, uint64_t first, uint64_t n, struct err *err)
{
	for (uint64_t i = 0; i < n; i++)
		if (check_free(w, first + i, err) < 0 ||
		    qcow2_refcount_add(w, first + i, 1, NULL, err) < 0)
			return -1;
	return 0;
}

/* A run that spans refcount blocks: behind all blocks there are, with the new blocks behind the run */
static int take_beyond(struct qcow2_writer *w, uint64_t want, uint64_t *ret_first, struct err *err)
{
	unsigned bits = qcow2_refblock_bits(w);
	uint64_t last, blocks = 0, n;

	for (;;) {
		last = w->reftable_entries;
		while (last && !w->reftable[last - 1])
			last--;
		while ((n = div_up(want + blocks, 1ULL << bits)) != blocks)
			blocks = n;
		if (last + blocks <= w->reftable_entries)
			break;
		if (qcow2_reftable_reach(w, last + blocks, err) < 0)
			return -1;
	}
	*ret_first = last << bits;
	for (uint64_t i = 0; i < blocks; i++)
		if (qcow2_refcount_block_at(w, last + i, *ret_first + want + i, err) < 0)
			return -1;
	return take(w, *ret_first, want + blocks, err);
}

int qcow2_alloc(struct qcow2_writer *w, uint64_t want, bool whole, uint64_t *ret_first,
		uint64_t *ret_n, struct err *err)
{
	uint64_t c = w->hint, n = 0, count, entries = w->reftable_entries;
	bool first_free = true;

	if (whole && want > 1 && want >= (1ULL << qcow2_refblock_bits(w)) / 2) {
		*ret_n = want;
		return take_beyond(w, want, ret_first, err);
	}
	while (n < want) {
		/* A new block takes the first cluster of what it describes: a run ends before it */
		if (n && !((c + n) & ((1ULL << qcow2_refblock_bits(w)) - 1)) && !whole)
			break;
		if (qcow2_refcount_block(w, c + n, err) < 0 ||
		    qcow2_refcount_get(w, c + n, &count, err) < 0)
			return -1;
		if (entries != w->reftable_entries) {
			/* The refcount table moved, perhaps to where our run was to be */
			entries = w->reftable_entries;
			first_free = true;
			c = w->hint;
			n = 0;
			continue;
		}
		if (!count) {
			n++;
			continue;
		}
		if (n && !whole)
			break;
		first_free = first_free && !n;
		c += n + 1;
		n = 0;
	}
	if (take(w, c, n, err) < 0)
		return -1;
	if (first_free)
		w->hint = c + n;
	*ret_first = c;
	*ret_n = n;
	return 0;
}

int qcow2_free_later(struct qcow2_writer *w, uint64_t first, uint64_t count, bool punch,
		     struct err *err)
{
	struct pending_free *last = w->n_frees ? &w->frees[w->n_frees - 1] : NULL;

	if (last && last->first + last->count == first && last->punch == punch) {
		last->count += count;
		return 0;
	}
	if (w->n_frees == w->room_frees) {
		size_t room = w->room_frees ? 2 * w->room_frees : 64;
		struct pending_free *p = reallocarray(w->frees, room, sizeof(*p));

		if (!p)
			return err_nomem(err);
		w->frees = p;
		w->room_frees = room;
	}
	w->frees[w->n_frees++] = (struct pending_free){first, count, punch};
	return 0;
}

static int apply_one(struct qcow2_writer *w, const struct pending_free *f, struct err *err)
{
	unsigned bits = w->q->h.cluster_bits;
	uint64_t run = 0, left;

	for (uint64_t i = 0; i <= f->count; i++) {
		left = 1;
		if (i < f->count && qcow2_refcount_add(w, f->first + i, -1, &left, err) < 0)
			return -1;
		if (!left && f->punch) {
			run++;
			continue;
		}
		if (run && bfile_zero(w->img->file, (f->first + i - run) << bits, run << bits, true,
				      err) < 0)
			return -1;
		run = 0;
	}
	return 0;
}

int qcow2_apply_frees(struct qcow2_writer *w, struct err *err)
{
	for (size_t i = 0; i < w->n_frees; i++)
		if (apply_one(w, &w->frees[i], err) < 0)
			return -1;
	w->n_frees = 0;
	return 0;
}

static int new_l2(struct qcow2_writer *w, uint64_t l1_slot, const uint8_t *content,
		  uint64_t *ret_off, struct err *err)
{
	uint64_t first, n, end;
	uint8_t be[8];

	if (qcow2_alloc(w, 1, true, &first, &n, err) < 0)
		return -1;
	*ret_off = first << w->q->h.cluster_bits;
	end = *ret_off + w->q->cluster_size;
	/* Readers hold a table's place against the size of the file */
	if (!w->img->file->is_blockdev && bfile_size(w->img->file) < end &&
	    bfile_truncate(w->img->file, end, err) < 0)
		return -1;
	if (qcow2_meta_fresh(w, META_L2, *ret_off, content, w->q->cluster_size, err) < 0)
		return -1;
	put_be64(be, *ret_off | QCOW2_FLAG_COPIED);
	return qcow2_meta_put(w, META_L1, l1_slot, be, 8, err);
}

static int copy_l2(struct qcow2_writer *w, uint64_t l1_slot, uint64_t old, uint64_t *ret_off,
		   struct err *err)
{
	CLEANUP_FREE uint8_t *table = malloc(w->q->cluster_size);

	if (!table)
		return err_nomem(err);
	if (bfile_pread(&w->meta_file, table, w->q->cluster_size, old, err) < 0 ||
	    new_l2(w, l1_slot, table, ret_off, err) < 0)
		return -1;
	return qcow2_free_later(w, old >> w->q->h.cluster_bits, 1, false, err);
}

static int read_be64s(struct table_cache *c, uint64_t off, uint64_t *a, uint64_t *b,
		      struct err *err)
{
	const uint8_t *p;
	size_t n;

	if (table_cache_get(c, off, &p, &n, err) < 0)
		return -1;
	*a = get_be64(p);
	if (b)
		*b = get_be64(p + 8);
	table_cache_put(c, p);
	return 0;
}

int qcow2_l2_slot(struct qcow2_writer *w, uint64_t guest_cluster, bool make, uint64_t *ret_off,
		  struct err *err)
{
	const struct qcow2 *q = w->q;
	uint64_t index = guest_cluster >> q->l2_bits, l1_slot = q->l1_offset + 8 * index, entry,
		 off;

	*ret_off = 0;
	if (index >= q->l1_entries)
		return err_set(err, ERR_CORRUPT, "the L1 table ends after %" PRIu32 " entries",
			       q->l1_entries);
	if (read_be64s(q->l1_cache, l1_slot, &entry, NULL, err) < 0)
		return err_prefix(err, "L1 table");
	off = entry & QCOW2_OFFSET_MASK;
	if (off & (q->cluster_size - 1) ||
	    (off && !range_inside(off, q->cluster_size, bfile_size(w->img->file))))
		return err_set(err, ERR_CORRUPT,
			       "entry %" PRIu64 " of the L1 table names offset %" PRIu64, index,
			       off);
	if (!off && !make)
		return 0;
	if (!off) {
		if (new_l2(w, l1_slot, NULL, &off, err) < 0)
			return -1;
	} else if (make && !(entry & QCOW2_FLAG_COPIED) &&
		   copy_l2(w, l1_slot, off, &off, err) < 0) {
		return -1;
	}
	*ret_off = off + (guest_cluster & ((1ULL << q->l2_bits) - 1)) * q->l2_entry_size;
	return 0;
}

int qcow2_l2_read(struct qcow2_writer *w, uint64_t slot, uint64_t *ret_entry, uint64_t *ret_bitmap,
		  struct err *err)
{
	*ret_bitmap = 0;
	return read_be64s(w->q->l2_cache, slot, ret_entry, w->q->extended_l2 ? ret_bitmap : NULL,
			  err);
}

int qcow2_l2_write(struct qcow2_writer *w, uint64_t slot, uint64_t entry, uint64_t bitmap,
		   struct err *err)
{
	uint8_t be[16];

	put_be64(be, entry);
	put_be64(be + 8, bitmap);
	return qcow2_meta_put(w, META_L2, slot, be, w->q->l2_entry_size, err);
}

int qcow2_l2_release(struct qcow2_writer *w, uint64_t entry, bool punch, struct err *err)
{
	unsigned bits = w->q->h.cluster_bits;
	struct qcow2_cluster c;

	qcow2_decode(w->q, entry, &c);
	if (c.kind == QCOW2_UNALLOCATED || c.kind == QCOW2_ZERO_PLAIN || w->q->data_file)
		return 0;
	if (c.kind != QCOW2_COMPRESSED)
		return qcow2_free_later(w, c.host_off >> bits, 1, punch, err);

	uint64_t last = (c.host_off + c.host_len - 1) >> bits;

	for (uint64_t i = c.host_off >> bits; i <= last; i++)
		if (qcow2_free_later(w, i, 1, punch, err) < 0)
			return -1;
	return 0;
}
