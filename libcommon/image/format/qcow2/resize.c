/* Growing and shrinking. The caller has the image for itself. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/qcow2/writer.h"

/* The size, and with it where the L1 table is: bytes 24 to 47 of the header, one write */
static int store_size(struct qcow2_writer *w, uint64_t size, struct err *err)
{
	struct qcow2_header *h = &w->q->h;
	uint8_t b[24];

	put_be64(b, size);
	put_be32(b + 8, h->crypt_method);
	put_be32(b + 12, h->l1_entries);
	put_be64(b + 16, h->l1_offset);
	if (bfile_pwrite(w->img->file, b, sizeof(b), 24, err) < 0 ||
	    bfile_flush(w->img->file, err) < 0) {
		w->failed = true;
		return -1;
	}
	h->size = w->img->size = size;
	return 0;
}

/* A longer L1 table elsewhere; durable before the header names it */
static int move_l1(struct qcow2_writer *w, uint64_t entries, struct err *err)
{
	struct qcow2 *q = w->q;
	uint64_t cs = q->cluster_size, clusters = div_up(entries * 8, cs), first, n;
	uint64_t old = q->h.l1_offset, old_clusters = div_up(8ULL * q->h.l1_entries, cs);
	CLEANUP_FREE uint8_t *table = calloc(clusters, cs);

	if (!table)
		return err_nomem(err);
	if (qcow2_alloc(w, clusters, true, &first, &n, err) < 0 ||
	    bfile_pread(&w->meta_file, table, 8ULL * q->h.l1_entries, old, err) < 0)
		return -1;
	qcow2_meta_forget(w, old, old_clusters * cs);
	q->h.l1_offset = q->l1_offset = first << q->h.cluster_bits;
	q->h.l1_entries = q->l1_entries = (uint32_t)entries;
	table_cache_drop(q->l1_cache);
	if (bfile_pwrite(w->img->file, table, clusters * cs, q->h.l1_offset, err) < 0) {
		w->failed = true;
		return -1;
	}
	__atomic_store_n(&w->data_written, true, __ATOMIC_RELEASE);
	if (qcow2_writer_flush(w, true, err) < 0 || store_size(w, w->img->size, err) < 0)
		return -1;
	return old_clusters
		       ? qcow2_free_later(w, old >> q->h.cluster_bits, old_clusters, false, err)
		       : 0;
}

/* New space reads as zero: also where the last cluster had bytes behind the end, or the backing file is longer */
static int clear_tail(struct image *img, uint64_t old, uint64_t size, struct err *err)
{
	uint64_t end = min_u64(size, round_up(old, img->cluster_size));

	if (img->backing && image_size(img->backing) > end)
		end = min_u64(size, image_size(img->backing));
	return end > old ? qcow2_write_zeroes(img, old, end - old, true, err) : 0;
}

static int grow(struct image *img, uint64_t size, struct err *err)
{
	struct qcow2 *q = img->priv;
	struct qcow2_writer *w = q->writer;
	uint64_t need = qcow2_l1_needed(size, q->h.cluster_bits, q->extended_l2), old = img->size;

	if (need * 8 > QCOW2_MAX_L1_BYTES)
		return err_set(err, ERR_USAGE,
			       "a disk of %" PRIu64 " bytes is too large for clusters of %" PRIu32
			       " bytes",
			       size, q->cluster_size);
	if (need > q->h.l1_entries && move_l1(w, need, err) < 0)
		return -1;
	if (q->data_file && bfile_truncate(q->data_file, size, err) < 0)
		return -1;
	img->size = size; /* for the zeroing; the header follows when that is durable */
	if (clear_tail(img, old, size, err) < 0 || qcow2_writer_flush(w, true, err) < 0) {
		img->size = old;
		return -1;
	}
	return store_size(w, size, err);
}

static int drop_l2_tables(struct qcow2_writer *w, uint64_t first, struct err *err)
{
	static const uint8_t none[8];
	struct qcow2 *q = w->q;

	for (uint64_t i = first; i < q->l1_entries; i++) {
		uint64_t slot;

		if (qcow2_l2_slot(w, i << q->l2_bits, false, &slot, err) < 0)
			return -1;
		if (!slot)
			continue;
		qcow2_meta_forget(w, slot, q->cluster_size);
		if (qcow2_meta_put(w, META_L1, q->l1_offset + 8 * i, none, 8, err) < 0 ||
		    qcow2_free_later(w, slot >> q->h.cluster_bits, 1, true, err) < 0)
			return -1;
	}
	return 0;
}

/* The file up to its last cluster in use */
static int trim_file(struct qcow2_writer *w, struct err *err)
{
	uint64_t cs = w->q->cluster_size, end = div_up(bfile_size(w->img->file), cs), count = 0;

	if (w->img->file->is_blockdev)
		return 0;
	for (; end > 1; end--) {
		if (qcow2_refcount_get(w, end - 1, &count, err) < 0)
			return -1;
		if (count)
			break;
	}
	if (end * cs >= bfile_size(w->img->file))
		return 0;
	return bfile_truncate(w->img->file, end * cs, err);
}

static int shrink(struct image *img, uint64_t size, struct err *err)
{
	struct qcow2 *q = img->priv;
	struct qcow2_writer *w = q->writer;
	uint64_t first = div_up(size, q->cluster_size), end = div_up(img->size, q->cluster_size);

	if (qcow2_zero_locked(w, first, end - first, ZERO_FORGET, err) < 0 ||
	    drop_l2_tables(w, qcow2_l1_needed(size, q->h.cluster_bits, q->extended_l2), err) < 0 ||
	    qcow2_writer_flush(w, true, err) < 0 || store_size(w, size, err) < 0)
		return -1;
	/* The counts of what was given back, before the file loses it */
	if (qcow2_writer_flush(w, true, err) < 0 || trim_file(w, err) < 0)
		return -1;
	return q->data_file ? bfile_truncate(q->data_file, size, err) : 0;
}

int qcow2_resize(struct image *img, uint64_t size, struct err *err)
{
	struct qcow2 *q = img->priv;

	if (size % 512)
		return err_set(err, ERR_USAGE,
			       "the size of a qcow2 disk is a multiple of 512 bytes");
	if (q->h.nb_snapshots && q->h.version < 3)
		return err_set(err, ERR_UNSUPPORTED,
			       "version 2 cannot resize a disk that has internal snapshots");
	if (q->h.nb_bitmaps)
		return err_set(err, ERR_UNSUPPORTED,
			       "the image has bitmaps of the old size: remove them first");
	if (qcow2_begin_change(q->writer, err) < 0)
		return -1;
	if (size == img->size)
		return 0;
	return (size > img->size ? grow : shrink)(img, size, err);
}
