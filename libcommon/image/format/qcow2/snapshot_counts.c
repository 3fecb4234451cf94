/* Refcounts and COPIED flags when a whole L1 table gains or loses its references. */
#include "libcommon/image/format/qcow2/snapshot_counts.h"

#include <inttypes.h>
#include <stdlib.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"

/* One reference more or less; what is named must have had one */
static int count(struct qcow2_writer *w, uint64_t cluster, int delta, struct err *err)
{
	uint64_t now;

	if (qcow2_refcount_add(w, cluster, delta, &now, err) < 0)
		return -1;
	if (delta > 0 && now == 1) {
		err_set(err, ERR_CORRUPT,
			"the cluster at offset %" PRIu64 " is in use and has refcount 0",
			cluster << w->q->h.cluster_bits);
		return err_hint(err, "vmimg check --repair mends refcounts");
	}
	return 0;
}

int qcow2_drop_clusters(struct qcow2_writer *w, uint64_t off, uint64_t bytes, struct err *err)
{
	unsigned bits = w->q->h.cluster_bits;
	uint64_t n = div_up(bytes, w->q->cluster_size);

	for (uint64_t i = 0; i < n; i++)
		if (qcow2_refcount_add(w, (off >> bits) + i, -1, NULL, err) < 0)
			return -1;
	return 0;
}

/* *@ret: whether the cluster is its only user's alone */
static int alone(struct qcow2_writer *w, uint64_t off, bool *ret, struct err *err)
{
	uint64_t n;

	if (qcow2_refcount_get(w, off >> w->q->h.cluster_bits, &n, err) < 0)
		return -1;
	*ret = n == 1;
	return 0;
}

static int one_entry(struct qcow2_writer *w, uint64_t *entry, enum count_how how, struct err *err)
{
	unsigned bits = w->q->h.cluster_bits;
	struct qcow2_cluster c;
	bool mine = false;

	qcow2_decode(w->q, *entry, &c);
	if (c.kind == QCOW2_UNALLOCATED || c.kind == QCOW2_ZERO_PLAIN)
		return 0;
	if (c.kind == QCOW2_COMPRESSED) {
		uint64_t last = (c.host_off + c.host_len - 1) >> bits;

		for (uint64_t i = c.host_off >> bits; how != COUNT_MARK && i <= last; i++)
			if (count(w, i, how == COUNT_SHARE ? 1 : -1, err) < 0)
				return -1;
		return 0;
	}
	if (c.host_off & (w->q->cluster_size - 1))
		return err_set(err, ERR_CORRUPT, "an L2 entry names offset %" PRIu64, c.host_off);
	if (how == COUNT_DROP)
		return count(w, c.host_off >> bits, -1, err);
	if (how == COUNT_SHARE && count(w, c.host_off >> bits, 1, err) < 0)
		return -1;
	if (how == COUNT_MARK && alone(w, c.host_off, &mine, err) < 0)
		return -1;
	*entry = (*entry & ~QCOW2_FLAG_COPIED) | (mine ? QCOW2_FLAG_COPIED : 0);
	return 0;
}

/* The changed bytes [from, to) of a table, page by page */
static int put_changes(struct qcow2_writer *w, uint64_t off, const uint8_t *table, size_t from,
		       size_t to, struct err *err)
{
	for (size_t at = from, n; at < to; at += n) {
		n = (size_t)min_u64(to - at, w->page_size - at % w->page_size);
		if (qcow2_meta_put(w, META_L2, off + at, table + at, n, err) < 0)
			return -1;
	}
	return 0;
}

static int one_table(struct qcow2_writer *w, uint64_t off, uint8_t *table, enum count_how how,
		     struct err *err)
{
	size_t step = w->q->l2_entry_size, from = w->q->cluster_size, to = 0;

	if (bfile_pread(&w->meta_file, table, w->q->cluster_size, off, err) < 0)
		return -1;
	for (size_t at = 0; at < w->q->cluster_size; at += step) {
		uint64_t old = get_be64(table + at), entry = old;

		if (!entry)
			continue;
		if (one_entry(w, &entry, how, err) < 0)
			return -1;
		if (entry == old)
			continue;
		put_be64(table + at, entry);
		from = from < at ? from : at;
		to = at + 8;
	}
	return put_changes(w, off, table, from, to, err);
}

int qcow2_count_tables(struct qcow2_writer *w, uint64_t *l1, uint32_t entries, enum count_how how,
		       struct err *err)
{
	unsigned bits = w->q->h.cluster_bits;
	CLEANUP_FREE uint8_t *table = malloc(w->q->cluster_size);

	if (!table)
		return err_nomem(err);
	for (uint32_t i = 0; i < entries; i++) {
		uint64_t off = l1[i] & QCOW2_OFFSET_MASK;
		bool mine = false;

		if (!off)
			continue;
		if (off & (w->q->cluster_size - 1) ||
		    !range_inside(off, w->q->cluster_size, bfile_size(w->img->file)))
			return err_set(err, ERR_CORRUPT,
				       "entry %" PRIu32 " of an L1 table names offset %" PRIu64, i,
				       off);
		if (one_table(w, off, table, how, err) < 0)
			return -1;
		if (how != COUNT_MARK &&
		    count(w, off >> bits, how == COUNT_SHARE ? 1 : -1, err) < 0)
			return -1;
		if (how == COUNT_MARK && alone(w, off, &mine, err) < 0)
			return -1;
		if (how != COUNT_DROP)
			l1[i] = off | (mine ? QCOW2_FLAG_COPIED : 0);
		if (qcow2_writer_bound(w, err) < 0)
			return -1;
	}
	return 0;
}
