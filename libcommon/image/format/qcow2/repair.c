/* Repair of refcounts and of the flags that follow from them. Guest data are never guessed.
 *
 * Leaks alone are mended in place: a refcount is lowered to the references that were found. Where more is wrong, a new
 * refcount structure is built behind the end of the file, flushed, and switched in by one write of 12 bytes in the
 * header: a kill leaves either the old one or the new one. Flags follow, and only then the dirty and corrupt marks go.
 *
 * When a table of the mapping could not be followed, clusters without a reference may belong to what it held: then no
 * refcount is lowered.
 */
#include "libcommon/image/format/qcow2/check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/cache.h"

/* ---- leaks */

static int lower_block(struct check *c, uint32_t i, uint8_t *block, struct err *err)
{
	uint64_t per_block = refcounts_per_block(c->q), first = i * per_block;
	uint64_t end = min_u64(first + per_block, c->counts.clusters);
	uint32_t order = c->q->h.refcount_order;
	bool changed = false;

	if (bfile_pread_padded(c->file, block, c->q->cluster_size, c->reftable[i], err))
		return -1;
	for (uint64_t k = first; k < end; k++) {
		uint64_t counted = counts_get(&c->counts, k);

		if (counted == COUNTS_MOST || refcount_get(block, k - first, order) <= counted)
			continue;
		refcount_put(block, k - first, order, counted);
		changed = true;
	}
	return changed ? bfile_pwrite(c->file, block, c->q->cluster_size, c->reftable[i], err) : 0;
}

static int lower_leaks(struct check *c, struct err *err)
{
	CLEANUP_FREE uint8_t *block = malloc(c->q->cluster_size);

	if (!block)
		return err_nomem(err);
	for (uint32_t i = 0; i < c->reftable_entries; i++) {
		if (stop_check(err))
			return -1;
		if (c->reftable[i] && lower_block(c, i, block, err))
			return err_prefix(err, "refcount block at offset %" PRIu64, c->reftable[i]);
	}
	return bfile_flush(c->file, err);
}

/* ---- a new structure */

struct rebuild {
	struct check *old; /* what was found, for refcounts that must not be lowered */
	struct check now;  /* references without the old structure */
	uint64_t first;	   /* first new cluster: the end of the file */
	uint64_t table_clusters, blocks;
	uint64_t per_block;
	uint64_t *table; /* entries, host order */
	uint64_t table_entries;
};

static int wanted(struct rebuild *r, uint64_t cluster, uint64_t *ret, struct err *err)
{
	uint64_t stored = 0;

	*ret = counts_get(&r->now.counts, cluster);
	if (cluster >= r->first)
		*ret = cluster < r->first + r->table_clusters + r->blocks;
	else if (r->old->damaged && check_stored(r->old, cluster, &stored, err))
		return -1;
	*ret = max_u64(*ret, stored);
	return 0;
}

/* Does block @i hold anything? */
static bool block_needed(const struct rebuild *r, uint64_t i)
{
	uint64_t first = i * r->per_block, end = first + r->per_block;

	if (end > r->first && first < r->first + r->table_clusters + r->blocks)
		return true;
	if (r->old->damaged && i < r->old->reftable_entries && r->old->reftable[i])
		return true;
	return counts_skip(&r->now.counts, first, end) < min_u64(end, r->now.counts.clusters);
}

/* The structure counts itself: sizes are found by iterating, they only grow */
static int lay_out(struct rebuild *r, struct err *err)
{
	uint64_t cluster_size = r->old->q->cluster_size;

	for (;;) {
		uint64_t end = r->first + r->table_clusters + r->blocks, blocks = 0;
		uint64_t entries = div_up(end, r->per_block);
		uint64_t table_clusters = max_u64(1, div_up(entries * 8, cluster_size));

		for (uint64_t i = 0; i < entries; i++)
			blocks += block_needed(r, i);
		if (table_clusters * cluster_size > QCOW2_MAX_REFTABLE_BYTES)
			return err_set(err, ERR_UNSUPPORTED,
				       "a refcount table of %" PRIu64
				       " bytes would be needed, at most %u are possible",
				       table_clusters * cluster_size, QCOW2_MAX_REFTABLE_BYTES);
		r->table_entries = table_clusters * cluster_size / 8;
		if (blocks <= r->blocks && table_clusters <= r->table_clusters)
			return 0;
		r->blocks = max_u64(blocks, r->blocks);
		r->table_clusters = max_u64(table_clusters, r->table_clusters);
	}
}

static int write_block(struct rebuild *r, uint64_t i, uint64_t at, uint8_t *block, struct err *err)
{
	uint32_t order = r->old->q->h.refcount_order;
	uint64_t most = order == 6 ? UINT64_MAX : (1ULL << (1U << order)) - 1;

	memset(block, 0, r->old->q->cluster_size);
	for (uint64_t k = 0; k < r->per_block; k++) {
		uint64_t n;

		if (wanted(r, i * r->per_block + k, &n, err))
			return -1;
		if (n > most || n == COUNTS_MOST)
			return err_set(err, ERR_UNSUPPORTED,
				       "cluster at offset %" PRIu64 " has %" PRIu64
				       " references, refcounts of %u bits cannot say that",
				       (i * r->per_block + k) << r->old->q->h.cluster_bits, n,
				       1U << order);
		if (n)
			refcount_put(block, k, order, n);
	}
	return bfile_pwrite(r->old->file, block, r->old->q->cluster_size, at, err);
}

static int write_structure(struct rebuild *r, struct err *err)
{
	uint64_t cluster_size = r->old->q->cluster_size;
	uint64_t at = (r->first + r->table_clusters) * cluster_size;
	CLEANUP_FREE uint8_t *block = malloc((size_t)cluster_size);
	uint64_t written = 0;

	r->table = calloc((size_t)r->table_entries, 8);
	if (!r->table || !block)
		return err_nomem(err);
	for (uint64_t i = 0; i < r->table_entries; i++) {
		/* A block that the layout kept room for, but which nobody needs, stays zero */
		if (written == r->blocks || !block_needed(r, i))
			continue;
		if (stop_check(err) || write_block(r, i, at, block, err))
			return -1;
		put_be64(&r->table[i], at);
		at += cluster_size;
		written++;
	}
	memset(block, 0, (size_t)cluster_size);
	for (; written < r->blocks; written++, at += cluster_size)
		if (bfile_pwrite(r->old->file, block, (size_t)cluster_size, at, err))
			return -1;
	if (bfile_pwrite(r->old->file, r->table, (size_t)r->table_entries * 8,
			 r->first * cluster_size, err))
		return -1;
	return bfile_flush(r->old->file, err);
}

static int switch_header(struct rebuild *r, struct err *err)
{
	struct qcow2 *q = r->old->img->priv;
	uint8_t field[12];

	q->h.reftable_offset = r->first * q->cluster_size;
	q->h.reftable_clusters = (uint32_t)r->table_clusters;
	put_be64(field, q->h.reftable_offset);
	put_be32(field + 8, q->h.reftable_clusters);
	if (bfile_pwrite(r->old->file, field, sizeof(field), 48, err))
		return -1;
	return bfile_flush(r->old->file, err);
}

static int rebuild(struct check *c, struct err *err)
{
	struct rebuild r = {.old = c, .per_block = refcounts_per_block(c->q)};
	int rc = check_init(&r.now, c->img, 0, err);

	r.first = c->clusters;
	if (!rc)
		rc = check_collect(&r.now, err);
	if (!rc)
		rc = lay_out(&r, err);
	if (!rc)
		rc = write_structure(&r, err);
	if (!rc)
		rc = switch_header(&r, err);
	free(r.table);
	check_release(&r.now);
	return rc ? err_prefix(err, "new refcount table") : 0;
}

/* ---- flags */

/* What "refcount is 1" should be in @entry. Return: 1 = changed, 0, -1 */
static int right_flag(struct check *c, uint64_t *entry, uint64_t host_off, bool plain,
		      struct err *err)
{
	uint64_t stored = 1, right;

	if (plain && check_stored(c, host_off >> c->q->h.cluster_bits, &stored, err))
		return -1;
	right = (*entry & ~QCOW2_FLAG_COPIED) | (stored == 1 ? QCOW2_FLAG_COPIED : 0);
	if (right == *entry)
		return 0;
	*entry = right;
	return 1;
}

static int fix_l1_chunk(struct check *c, const uint8_t *p, uint32_t n, uint32_t index, void *ctx,
			struct err *err)
{
	(void)ctx;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t entry = get_be64(p + 8ULL * i), off = entry & QCOW2_OFFSET_MASK;
		uint8_t bytes[8];
		int rc;

		if (!off || off % c->q->cluster_size || off >= c->file_size)
			continue;
		rc = right_flag(c, &entry, off, true, err);
		put_be64(bytes, entry);
		if (rc < 0 || (rc && bfile_pwrite(c->file, bytes, 8,
						  c->q->h.l1_offset + 8ULL * (index + i), err)))
			return -1;
	}
	return 0;
}

static int fix_l2_entry(struct check *c, uint8_t *p, struct err *err)
{
	uint64_t entry = get_be64(p);
	struct qcow2_cluster k;
	int rc;

	if (!entry)
		return 0;
	qcow2_decode(c->q, entry, &k);
	if (k.kind == QCOW2_COMPRESSED && (entry & QCOW2_FLAG_COPIED)) {
		put_be64(p, entry & ~QCOW2_FLAG_COPIED);
		return 1;
	}
	if ((k.kind != QCOW2_NORMAL && k.kind != QCOW2_ZERO_ALLOC) ||
	    k.host_off % c->q->cluster_size)
		return 0;
	rc = right_flag(c, &entry, k.host_off, !qcow2_external_data(c->q), err);
	if (rc > 0)
		put_be64(p, entry);
	return rc;
}

static int fix_flags(struct check *c, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(c->q->cluster_size);
	uint32_t n = 1U << c->q->l2_bits;

	if (!buf)
		return err_nomem(err);
	if (check_each_chunk(c, c->q->h.l1_offset, c->q->h.l1_entries, fix_l1_chunk, NULL, err))
		return -1;
	for (size_t i = 0; i < c->n_l2 && c->l2[i].first_active != CHECK_INACTIVE; i++) {
		bool changed = false;

		if (stop_check(err) ||
		    bfile_pread(c->file, buf, c->q->cluster_size, c->l2[i].off, err))
			return -1;
		for (uint32_t k = 0; k < n; k++) {
			int rc = fix_l2_entry(c, buf + (size_t)k * c->q->l2_entry_size, err);

			if (rc < 0)
				return -1;
			changed |= rc > 0;
		}
		if (changed && bfile_pwrite(c->file, buf, c->q->cluster_size, c->l2[i].off, err))
			return -1;
	}
	return bfile_flush(c->file, err);
}

/* After the refcounts changed, what is stored is read anew */
static int reload(struct check *c, struct err *err)
{
	free(c->reftable);
	c->reftable = NULL;
	table_cache_drop(c->blocks);
	c->file_size = bfile_size(c->file);
	return check_load_reftable(c, err);
}

int check_repair(struct check *c, struct err *err)
{
	bool all = c->flags & CHECK_REPAIR_ALL, lowered = false;

	if (all && c->rebuild) {
		if (rebuild(c, err) || reload(c, err))
			return -1;
	} else if (c->res.leaks && !c->damaged) {
		if (lower_leaks(c, err) || reload(c, err))
			return -1;
		lowered = true;
	}
	/* A count that fell to 1 wants its flag: a killed snapshot leaves counts of 2 and no flags */
	return lowered || (all && c->res.corruptions) ? fix_flags(c, err) : 0;
}
