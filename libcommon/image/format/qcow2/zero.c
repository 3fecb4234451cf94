/* Zeroes and discard: flags in tables where a cluster or subcluster is covered whole, bytes where it is not. */
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/image/format/qcow2/writer.h"

#define ALL_ZERO 0xffffffff00000000ULL
#define BATCH	 16384U /* clusters under one hold of the lock */

static int unmap_data(struct qcow2_writer *w, uint64_t guest, struct err *err)
{
	uint64_t size = w->img->size;

	if (!w->q->data_file || guest >= size)
		return 0;
	return bfile_zero(w->q->data_file, guest, min_u64(w->q->cluster_size, size - guest), true,
			  err);
}

/* What an entry becomes; false: it stays */
static bool zeroed(const struct qcow2_writer *w, uint64_t entry, uint64_t bitmap, enum zero_how how,
		   uint64_t *ret_entry, uint64_t *ret_bitmap, bool *ret_keep)
{
	const struct qcow2 *q = w->q;
	struct qcow2_cluster c;

	qcow2_decode(q, entry, &c);

	bool here = c.kind == QCOW2_NORMAL || c.kind == QCOW2_ZERO_ALLOC;
	bool nothing = c.kind == QCOW2_UNALLOCATED && !bitmap;

	*ret_keep = false;
	*ret_entry = *ret_bitmap = 0;
	if (how == ZERO_FORGET || q->h.version < 3)
		return entry || bitmap;
	if (nothing && (!w->img->backing_name || how == ZERO_DISCARD))
		return false;
	if (q->extended_l2)
		*ret_bitmap = ALL_ZERO;
	else
		*ret_entry = QCOW2_FLAG_ZERO;
	if (how == ZERO_KEEP && here && entry & QCOW2_FLAG_COPIED) {
		*ret_keep = true;
		*ret_entry |= entry;
	}
	return *ret_entry != entry || *ret_bitmap != bitmap;
}

int qcow2_zero_locked(struct qcow2_writer *w, uint64_t first, uint64_t count, enum zero_how how,
		      struct err *err)
{
	const struct qcow2 *q = w->q;
	uint64_t per_table = 1ULL << q->l2_bits, slot, entry, bitmap, new_entry, new_bitmap;
	bool over_backing = w->img->backing_name && (how == ZERO_KEEP || how == ZERO_UNMAP), keep;

	for (uint64_t g = first; g < first + count; g++) {
		if (qcow2_l2_slot(w, g, false, &slot, err) < 0)
			return -1;
		if (!slot && !over_backing) {
			g |= per_table - 1;
			continue;
		}
		entry = bitmap = 0;
		if (slot && qcow2_l2_read(w, slot, &entry, &bitmap, err) < 0)
			return -1;
		if (!zeroed(w, entry, bitmap, how, &new_entry, &new_bitmap, &keep))
			continue;
		if (qcow2_l2_slot(w, g, true, &slot, err) < 0 ||
		    (!keep && qcow2_l2_release(w, entry, true, err) < 0) ||
		    (!keep && unmap_data(w, g << q->h.cluster_bits, err) < 0) ||
		    qcow2_l2_write(w, slot, new_entry, new_bitmap, err) < 0)
			return -1;
	}
	return 0;
}

static int zero_clusters(struct qcow2_writer *w, uint64_t first, uint64_t end, enum zero_how how,
			 struct err *err)
{
	for (uint64_t n; first < end; first += n) {
		n = min_u64(BATCH, end - first);
		pthread_rwlock_wrlock(&w->lock);
		int r = qcow2_begin_change(w, err) < 0 ||
					qcow2_zero_locked(w, first, n, how, err) < 0 ||
					qcow2_writer_bound(w, err) < 0
				? -1
				: 0;
		pthread_rwlock_unlock(&w->lock);
		if (r < 0)
			return -1;
	}
	return 0;
}

static int write_zero_bytes(struct image *img, uint64_t off, uint64_t len, struct err *err)
{
	static const uint8_t zeros[1 << 16];

	for (uint64_t n; len; off += n, len -= n) {
		n = min_u64(len, sizeof(zeros));
		if (qcow2_write(img, zeros, off, (size_t)n, err) < 0)
			return -1;
	}
	return 0;
}

/* Does it read as zero already? An answer from the tables alone */
static bool reads_zero(struct image *img, uint64_t off, uint64_t len)
{
	struct extent e;

	for (; len; off += e.len, len -= e.len)
		if (image_extent(img, off, len, &e, NULL) < 0 || e.kind == EXTENT_DATA)
			return false;
	return true;
}

/* Whole subclusters of one cluster: their bits. *@ret_done false: a compressed cluster has no such bits */
static int zero_subclusters(struct qcow2_writer *w, uint64_t off, uint64_t len, bool *ret_done,
			    struct err *err)
{
	const struct qcow2 *q = w->q;
	unsigned shift = q->h.cluster_bits - 5;
	uint64_t in = off & (q->cluster_size - 1), slot, entry, bitmap;
	uint64_t mask = (1ULL << ((in + len) >> shift)) - (1ULL << (in >> shift));

	*ret_done = false;
	if (qcow2_begin_change(w, err) < 0 ||
	    qcow2_l2_slot(w, off >> q->h.cluster_bits, true, &slot, err) < 0 ||
	    qcow2_l2_read(w, slot, &entry, &bitmap, err) < 0)
		return -1;
	if (entry & QCOW2_FLAG_COMPRESSED)
		return 0;
	*ret_done = true;
	bitmap = (bitmap & ~mask) | mask << 32;
	return qcow2_l2_write(w, slot, entry, bitmap, err) < 0 ? -1 : qcow2_writer_bound(w, err);
}

/* Part of one cluster */
static int zero_part(struct image *img, uint64_t off, uint64_t len, struct err *err)
{
	struct qcow2 *q = img->priv;
	struct qcow2_writer *w = q->writer;
	uint64_t sub = q->cluster_size / 32, from = round_up(off, sub),
		 to = round_down(off + len, sub);
	bool done = false;

	if (!len || reads_zero(img, off, len))
		return 0;
	if (!q->extended_l2 || from >= to)
		return write_zero_bytes(img, off, len, err);
	pthread_rwlock_wrlock(&w->lock);
	int r = zero_subclusters(w, from, to - from, &done, err);

	pthread_rwlock_unlock(&w->lock);
	if (r < 0)
		return -1;
	if (!done)
		return write_zero_bytes(img, off, len, err);
	return write_zero_bytes(img, off, from - off, err) < 0
		       ? -1
		       : write_zero_bytes(img, to, off + len - to, err);
}

static int begin(struct qcow2_writer *w, struct err *err)
{
	pthread_rwlock_wrlock(&w->lock);
	int r = qcow2_begin_change(w, err);

	pthread_rwlock_unlock(&w->lock);
	return r;
}

static bool keeps_raw(const struct qcow2 *q)
{
	return q->data_file && q->h.autoclear & QCOW2_AUTOCLEAR_DATA_RAW;
}

/* Whole clusters of a range; the disk's end counts as a cluster's */
static void whole_clusters(const struct image *img, uint64_t off, uint64_t end, uint64_t *ret_first,
			   uint64_t *ret_end)
{
	uint64_t cs = img->cluster_size;

	*ret_first = div_up(off, cs);
	*ret_end = end == img->size ? div_up(end, cs) : end / cs;
}

int qcow2_write_zeroes(struct image *img, uint64_t off, uint64_t len, bool may_unmap,
		       struct err *err)
{
	struct qcow2 *q = img->priv;
	struct qcow2_writer *w = q->writer;
	uint64_t cs = q->cluster_size, end = off + len, first, last;

	if (keeps_raw(q) &&
	    !img->backing_name) /* what is not allocated reads as zero, the rest from the file */
		return begin(w, err) < 0 ? -1 : bfile_zero(q->data_file, off, len, may_unmap, err);
	if (keeps_raw(q) || (q->h.version < 3 && (img->backing_name || !may_unmap)))
		return write_zero_bytes(img, off, len, err);
	whole_clusters(img, off, end, &first, &last);
	if (first >= last) {
		uint64_t cut = min_u64(end, first * cs); /* at most one boundary lies inside */

		return zero_part(img, off, cut - off, err) < 0
			       ? -1
			       : zero_part(img, cut, end - cut, err);
	}
	if (zero_part(img, off, first * cs - off, err) < 0 ||
	    zero_clusters(w, first, last, may_unmap ? ZERO_UNMAP : ZERO_KEEP, err) < 0)
		return -1;
	return end > last * cs ? zero_part(img, last * cs, end - last * cs, err) : 0;
}

int qcow2_discard(struct image *img, uint64_t off, uint64_t len, struct err *err)
{
	struct qcow2 *q = img->priv;
	uint64_t first, last;

	if (keeps_raw(q))
		return img->backing_name ? 0 : qcow2_write_zeroes(img, off, len, true, err);
	if (q->h.version < 3 && img->backing_name)
		return 0; /* without a zero flag the backing file's old content would come back */
	whole_clusters(img, off, off + len, &first, &last);
	return first < last ? zero_clusters(q->writer, first, last, ZERO_DISCARD, err) : 0;
}

int qcow2_forget(struct image *img, uint64_t off, uint64_t len, struct err *err)
{
	struct qcow2 *q = img->priv;
	uint64_t first, last;

	whole_clusters(img, off, off + len, &first, &last);
	return first < last ? zero_clusters(q->writer, first, last, ZERO_FORGET, err) : 0;
}
