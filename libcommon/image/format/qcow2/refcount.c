/* Reference counts of every width, and the blocks and table that hold them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/qcow2/writer.h"

unsigned qcow2_refblock_bits(const struct qcow2_writer *w)
{
	return w->q->h.cluster_bits + 3 - w->q->h.refcount_order;
}

int qcow2_reftable_load(struct qcow2_writer *w, struct err *err)
{
	const struct qcow2_header *h = &w->q->h;
	uint64_t n = ((uint64_t)h->reftable_clusters << h->cluster_bits) / 8;

	if (n * 8 > QCOW2_MAX_REFTABLE_BYTES)
		return err_set(err, ERR_CORRUPT, "the refcount table has %" PRIu64 " entries", n);
	w->reftable = calloc(n ? n : 1, 8);
	if (!w->reftable)
		return err_nomem(err);
	if (bfile_pread_padded(w->img->file, w->reftable, n * 8, h->reftable_offset, err) < 0)
		return err_prefix(err, "refcount table");
	for (uint64_t i = 0; i < n; i++) {
		uint64_t off = be64toh(w->reftable[i]) & QCOW2_OFFSET_MASK;

		if (off & (w->q->cluster_size - 1) || off >= bfile_size(w->img->file))
			if (off)
				return err_set(err, ERR_CORRUPT,
					       "entry %" PRIu64
					       " of the refcount table names a block at "
					       "offset %" PRIu64,
					       i, off);
		w->reftable[i] = off;
	}
	w->reftable_entries = n;
	return 0;
}

/* Where the count of @cluster lies: bytes [*ret_off, + *ret_len), and for widths below 8 the shift in the byte;
 * false when no block describes it */
static bool locate(const struct qcow2_writer *w, uint64_t cluster, uint64_t *ret_off,
		   unsigned *ret_len, unsigned *ret_shift)
{
	unsigned order = w->q->h.refcount_order;
	uint64_t block = cluster >> qcow2_refblock_bits(w);
	uint64_t bit = (cluster & ((1ULL << qcow2_refblock_bits(w)) - 1)) << order;

	if (block >= w->reftable_entries || !w->reftable[block])
		return false;
	*ret_off = w->reftable[block] + bit / 8;
	*ret_len = order <= 3 ? 1 : 1U << (order - 3);
	*ret_shift = (unsigned)(bit % 8);
	return true;
}

static uint64_t mask_of(const struct qcow2_writer *w)
{
	unsigned bits = 1U << w->q->h.refcount_order;

	return bits == 64 ? UINT64_MAX : (1ULL << bits) - 1;
}

int qcow2_refcount_get(struct qcow2_writer *w, uint64_t cluster, uint64_t *ret, struct err *err)
{
	uint64_t off, v = 0;
	unsigned len, shift;
	uint8_t b[8];

	*ret = 0;
	if (!locate(w, cluster, &off, &len, &shift))
		return 0;
	if (qcow2_meta_get(w, META_REFBLOCK, off, b, len, err) < 0)
		return -1;
	for (unsigned i = 0; i < len; i++)
		v = v << 8 | b[i];
	*ret = (v >> shift) & mask_of(w);
	return 0;
}

int qcow2_refcount_add(struct qcow2_writer *w, uint64_t cluster, int delta, uint64_t *ret_new,
		       struct err *err)
{
	uint64_t off, v = 0, n, mask = mask_of(w);
	unsigned len, shift;
	uint8_t b[8];

	if (!locate(w, cluster, &off, &len, &shift))
		return err_set(err, ERR_CORRUPT,
			       "no refcount block describes the cluster at offset %" PRIu64,
			       cluster << w->q->h.cluster_bits);
	if (qcow2_meta_get(w, META_REFBLOCK, off, b, len, err) < 0)
		return -1;
	for (unsigned i = 0; i < len; i++)
		v = v << 8 | b[i];
	n = (v >> shift) & mask;
	if (delta < 0 ? n == 0 : n == mask)
		return err_set(err, ERR_CORRUPT,
			       "the refcount of the cluster at offset %" PRIu64 " is %" PRIu64
			       " and cannot be changed by %d",
			       cluster << w->q->h.cluster_bits, n, delta);
	n = delta < 0 ? n - 1 : n + 1;
	v = (v & ~(mask << shift)) | n << shift;
	for (unsigned i = len; i-- > 0; v >>= 8)
		b[i] = (uint8_t)v;
	if (ret_new)
		*ret_new = n;
	if (delta < 0 && n == 0 && cluster < w->hint)
		w->hint = cluster;
	return qcow2_meta_put(w, META_REFBLOCK, off, b, len, err);
}

/* A larger table, elsewhere. All refcounts are durable before the header names it; the old one goes after. */
static int grow_table(struct qcow2_writer *w, uint64_t block, struct err *err)
{
	struct qcow2_header *h = &w->q->h;
	uint64_t per = w->q->cluster_size / 8;
	uint64_t clusters = div_up(block + 1 + block / 2, per);
	uint64_t old_first = h->reftable_offset >> h->cluster_bits, old_n = h->reftable_clusters;
	uint64_t old_offset = h->reftable_offset, first, got;
	uint8_t fields[12];

	if (clusters * w->q->cluster_size > QCOW2_MAX_REFTABLE_BYTES)
		clusters = QCOW2_MAX_REFTABLE_BYTES / w->q->cluster_size;
	if (clusters * per <= block)
		return err_set(err, ERR_NO_SPACE,
			       "the refcount table is full: the file cannot grow");

	uint64_t *t = reallocarray(w->reftable, clusters * per, 8);

	if (!t)
		return err_nomem(err);
	memset(t + w->reftable_entries, 0, (clusters * per - w->reftable_entries) * 8);
	w->reftable = t;
	w->reftable_entries = clusters * per;
	w->growing = true;
	int r = qcow2_alloc(w, clusters, true, &first, &got, err);
	w->growing = false;
	if (r < 0)
		return -1;

	CLEANUP_FREE uint64_t *be = calloc(clusters * per, 8);

	if (!be)
		return err_nomem(err);
	for (uint64_t i = 0; i < clusters * per; i++)
		be[i] = htobe64(w->reftable[i]);
	/* Changes of the old table are in the new one whole: they need not be written where it was */
	qcow2_meta_forget(w, old_offset, old_n << h->cluster_bits);
	h->reftable_offset = first << h->cluster_bits;
	h->reftable_clusters = (uint32_t)clusters;
	if (bfile_pwrite(w->img->file, be, clusters * per * 8, h->reftable_offset, err) < 0)
		return -1;
	__atomic_store_n(&w->data_written, true, __ATOMIC_RELEASE);
	if (qcow2_writer_flush(w, true, err) < 0)
		return -1;
	put_be64(fields, h->reftable_offset);
	put_be32(fields + 8, h->reftable_clusters);
	if (bfile_pwrite(w->img->file, fields, sizeof(fields), 48, err) < 0 ||
	    bfile_flush(w->img->file, err) < 0)
		return -1;
	return qcow2_free_later(w, old_first, old_n, false, err);
}

int qcow2_reftable_reach(struct qcow2_writer *w, uint64_t block, struct err *err)
{
	if (block < w->reftable_entries)
		return 0;
	if (w->growing)
		return err_set(err, ERR_NO_SPACE,
			       "the refcount table cannot describe its own growth");
	if (grow_table(w, block, err) < 0) {
		w->failed =
			true; /* half grown: what the file says holds, what memory says does not */
		return -1;
	}
	return 0;
}

int qcow2_refcount_block_at(struct qcow2_writer *w, uint64_t block, uint64_t at, struct err *err)
{
	uint64_t off = at << w->q->h.cluster_bits;
	uint8_t be[8];

	w->reftable[block] = off;
	if (qcow2_meta_fresh(w, META_REFBLOCK, off, NULL, w->q->cluster_size, err) < 0)
		return -1;
	put_be64(be, off);
	/* A growing table is written whole from memory afterwards */
	return w->growing ? 0
			  : qcow2_meta_put(w, META_REFTABLE, w->q->h.reftable_offset + 8 * block,
					   be, 8, err);
}

int qcow2_refcount_block(struct qcow2_writer *w, uint64_t cluster, struct err *err)
{
	uint64_t block = cluster >> qcow2_refblock_bits(w), first = block << qcow2_refblock_bits(w);

	if (block < w->reftable_entries && w->reftable[block])
		return 0;
	if (cluster >> (55 - w->q->h.cluster_bits))
		return err_set(err, ERR_NO_SPACE, "the file cannot grow beyond 32 PiB");
	if (qcow2_reftable_reach(w, block, err) < 0)
		return -1;
	if (w->reftable[block])
		return 0;
	/* Its first cluster has no block, so no count, so it is free: the new block lies there and counts itself */
	if (qcow2_refcount_block_at(w, block, first, err) < 0)
		return -1;
	return qcow2_refcount_add(w, first, 1, NULL, err);
}
