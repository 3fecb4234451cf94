/* What the L1 and L2 tables of all states use, for check.
 *
 * All L1 tables are read first; then each L2 table is walked once, with the number of L1 entries that lead to it as
 * the weight of what it names. So many snapshots cost little, and tables that share or loop cost nothing at all.
 */
#include "libcommon/image/format/qcow2/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"

#define L1_RESERVED   0x7f000000000001ffULL
#define L2_RESERVED   0x3f000000000001feULL
#define CHUNK_BYTES   65536U
#define COMPACT_ABOVE (1U << 20) /* entries of the list from which on duplicates are joined */

int check_each_chunk(struct check *c, uint64_t off, uint32_t entries, check_chunk_fn *fn, void *ctx,
		     struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(CHUNK_BYTES);
	uint32_t done = 0;

	if (!buf)
		return err_nomem(err);
	while (done < entries) {
		uint64_t at = off + 8ULL * done, len;
		uint32_t n = (uint32_t)min_u64(entries - done, CHUNK_BYTES / 8);
		bool data;

		if (at >= c->file_size)
			return 0;
		if (stop_check(err))
			return -1;
		/* A hole is no entry: a sparse file of any length costs nothing */
		if (bfile_map(c->file, at, c->file_size - at, &data, &len, err))
			return -1;
		if (!data && len >= 8) {
			done += (uint32_t)min_u64(len / 8, entries - done);
			continue;
		}
		if (bfile_pread_padded(c->file, buf, 8 * (size_t)n, at, err) ||
		    fn(c, buf, n, done, ctx, err))
			return -1;
		done += n;
	}
	return 0;
}

/* ---- L1 */

struct l1_walk {
	const char *state; /* "active state", "snapshot X" */
	bool active;
};

static int by_offset(const void *pa, const void *pb)
{
	const struct check_l2 *a = pa, *b = pb;

	return a->off < b->off ? -1 : a->off > b->off;
}

static int by_activity(const void *pa, const void *pb)
{
	const struct check_l2 *a = pa, *b = pb;

	if (a->first_active != b->first_active)
		return a->first_active < b->first_active ? -1 : 1;
	return by_offset(pa, pb);
}

static void join_duplicates(struct check *c)
{
	size_t to = 0;

	if (!c->n_l2)
		return;
	qsort(c->l2, c->n_l2, sizeof(*c->l2), by_offset);
	for (size_t i = 1; i < c->n_l2; i++) {
		if (c->l2[i].off != c->l2[to].off) {
			c->l2[++to] = c->l2[i];
			continue;
		}
		c->l2[to].refs += c->l2[i].refs;
		c->l2[to].first_active =
			(uint32_t)min_u64(c->l2[to].first_active, c->l2[i].first_active);
	}
	c->n_l2 = to + 1;
}

static int grow_l2(struct check *c, struct err *err)
{
	size_t room = c->l2_room ? c->l2_room * 2 : 256;
	struct check_l2 *l2 = reallocarray(c->l2, room, sizeof(*l2));

	if (!l2)
		return err_nomem(err);
	c->l2 = l2;
	c->l2_room = room;
	return 0;
}

static int add_l2(struct check *c, uint64_t off, uint32_t active_index, struct err *err)
{
	if (c->n_l2 == c->l2_room) {
		if (c->l2_room >= COMPACT_ABOVE)
			join_duplicates(c);
		/* Grown only when at least half of it is distinct */
		if ((c->l2_room < COMPACT_ABOVE || c->n_l2 > c->l2_room / 2) && grow_l2(c, err))
			return -1;
	}
	c->l2[c->n_l2++] = (struct check_l2){.off = off, .refs = 1, .first_active = active_index};
	return 0;
}

static int l1_chunk(struct check *c, const uint8_t *p, uint32_t n, uint32_t index, void *ctx,
		    struct err *err)
{
	const struct l1_walk *w = ctx;

	for (uint32_t i = 0; i < n; i++) {
		uint64_t entry = get_be64(p + 8ULL * i), off = entry & QCOW2_OFFSET_MASK;

		if (!entry)
			continue;
		if (entry & L1_RESERVED)
			check_corrupt(c,
				      "L1 entry %" PRIu32
				      " of the %s has reserved bits set: %#018" PRIx64,
				      index + i, w->state, entry);
		if (!off)
			continue;
		if (check_mark(c, off, c->q->cluster_size, 1, "L2 table", err))
			return -1;
		if (off % c->q->cluster_size) {
			check_corrupt(c,
				      "L1 entry %" PRIu32 " of the %s: L2 table at offset %" PRIu64
				      " is not aligned to a cluster",
				      index + i, w->state, off);
			c->damaged = true;
		} else if (!range_inside(off, c->q->cluster_size, c->file_size)) {
			c->damaged = true; /* check_mark() told it, or the file ends in the table */
		} else if (add_l2(c, off, w->active ? index + i : CHECK_INACTIVE, err)) {
			return -1;
		}
	}
	return 0;
}

static int walk_l1(struct check *c, uint64_t off, uint32_t entries, struct l1_walk *w,
		   struct err *err)
{
	uint64_t bytes = 8ULL * entries;

	if (!entries)
		return 0;
	if (bytes > c->l1_budget) {
		check_corrupt(c, "L1 table of the %s overlaps those of other states", w->state);
		c->damaged = true;
		return 0;
	}
	c->l1_budget -= bytes;
	if (!range_inside(off, bytes, c->file_size))
		c->damaged = true;
	if (check_mark(c, off, bytes, 1, "L1 table", err))
		return -1;
	return check_each_chunk(c, off, entries, l1_chunk, w, err);
}

static int walk_snapshots(struct check *c, struct err *err)
{
	struct qcow2_snapshot *list = NULL;
	struct err local = ERR_INIT;
	uint64_t bytes = 0;
	uint32_t n = 0;
	int rc = 0;

	if (qcow2_snapshots_load(c->file, &c->q->h, &list, &n, &bytes, &local)) {
		if (local.code != ERR_CORRUPT) {
			if (err)
				*err = local;
			return -1;
		}
		check_corrupt(c, "%s", local.message);
		c->damaged = true;
		return 0;
	}
	for (uint32_t i = 0; i < n && !rc; i++) {
		char state[96];
		struct l1_walk w = {.state = state};

		snprintf(state, sizeof(state), "snapshot %.80s", list[i].id);
		if (list[i].l1_offset % c->q->cluster_size ||
		    8ULL * list[i].l1_entries > QCOW2_MAX_L1_BYTES) {
			check_corrupt(c,
				      "%s: L1 table of %" PRIu32 " entries at offset %" PRIu64
				      " is not aligned or too large",
				      state, list[i].l1_entries, list[i].l1_offset);
			c->damaged = true;
			continue;
		}
		rc = walk_l1(c, list[i].l1_offset, list[i].l1_entries, &w, err);
	}
	qcow2_snapshots_free(list, n);
	return rc ? rc : check_mark(c, c->q->h.snapshots_offset, bytes, 1, "snapshot table", err);
}

/* ---- L2 */

struct l2_walk {
	struct check_l2 *l2;
	bool active;
	uint64_t next; /* where the next cluster of a file without fragments would be */
};

static int l2_compressed(struct check *c, struct l2_walk *w, uint64_t entry,
			 const struct qcow2_cluster *k, uint32_t index, struct err *err)
{
	uint64_t first = k->host_off & ~511ULL, len = k->host_len + (k->host_off & 511);

	if (entry & QCOW2_FLAG_COPIED)
		check_corrupt(c,
			      "L2 table at offset %" PRIu64 ", entry %" PRIu32
			      ": a compressed cluster is marked as having refcount 1",
			      w->l2->off, index);
	if (qcow2_external_data(c->q)) {
		check_corrupt(c,
			      "L2 table at offset %" PRIu64 ", entry %" PRIu32
			      ": a compressed cluster in an image with a data file",
			      w->l2->off, index);
		return 0;
	}
	if (w->active) {
		c->res.allocated_clusters++;
		c->res.compressed_clusters++;
		c->res.fragmented_clusters++; /* by nature */
	}
	return check_mark(c, first, len, w->l2->refs, "compressed cluster", err);
}

static int l2_standard(struct check *c, struct l2_walk *w, uint64_t entry,
		       const struct qcow2_cluster *k, uint32_t index, struct err *err)
{
	if (k->host_off % c->q->cluster_size)
		check_corrupt(c,
			      "L2 table at offset %" PRIu64 ", entry %" PRIu32
			      ": cluster at offset %" PRIu64 " is not aligned",
			      w->l2->off, index, k->host_off);
	if (w->active) {
		c->res.allocated_clusters++;
		if (w->next && k->host_off != w->next)
			c->res.fragmented_clusters++;
		w->next = k->host_off + c->q->cluster_size;
	}
	(void)entry;
	if (qcow2_external_data(c->q))
		return 0;
	return check_mark(c, k->host_off, c->q->cluster_size, w->l2->refs, "cluster", err);
}

static int l2_entry(struct check *c, struct l2_walk *w, const uint8_t *p, uint32_t index,
		    struct err *err)
{
	uint64_t entry = get_be64(p), bitmap = c->q->extended_l2 ? get_be64(p + 8) : 0;
	struct qcow2_cluster k;

	if (!entry && !bitmap)
		return 0;
	qcow2_decode(c->q, entry, &k);
	if (k.kind == QCOW2_COMPRESSED) {
		if (bitmap)
			check_corrupt(c,
				      "L2 table at offset %" PRIu64 ", entry %" PRIu32
				      ": a compressed cluster has subclusters",
				      w->l2->off, index);
		return l2_compressed(c, w, entry, &k, index, err);
	}
	if (entry & (c->q->extended_l2 ? L2_RESERVED | QCOW2_FLAG_ZERO : L2_RESERVED))
		check_corrupt(c,
			      "L2 table at offset %" PRIu64 ", entry %" PRIu32
			      " has reserved bits set: %#018" PRIx64,
			      w->l2->off, index, entry);
	if (bitmap & (bitmap >> 32) & UINT32_MAX)
		check_corrupt(c,
			      "L2 table at offset %" PRIu64 ", entry %" PRIu32
			      ": subclusters are allocated and zero at once: %#018" PRIx64,
			      w->l2->off, index, bitmap);
	else if (k.kind == QCOW2_UNALLOCATED && (uint32_t)bitmap)
		check_corrupt(c,
			      "L2 table at offset %" PRIu64 ", entry %" PRIu32
			      ": subclusters are allocated, but no cluster is",
			      w->l2->off, index);
	if (c->q->h.version < 3 && (k.kind == QCOW2_ZERO_PLAIN || k.kind == QCOW2_ZERO_ALLOC))
		check_corrupt(c,
			      "L2 table at offset %" PRIu64 ", entry %" PRIu32
			      " is a zero cluster, which version 2 does not have",
			      w->l2->off, index);
	if (k.kind == QCOW2_NORMAL || k.kind == QCOW2_ZERO_ALLOC)
		return l2_standard(c, w, entry, &k, index, err);
	return 0;
}

static int read_l2(struct check *c, uint64_t off, uint8_t *buf, struct err *err)
{
	if (stop_check(err))
		return -1;
	if (bfile_pread(c->file, buf, c->q->cluster_size, off, err))
		return err_prefix(err, "L2 table at offset %" PRIu64, off);
	return 0;
}

static int walk_l2(struct check *c, struct check_l2 *l2, uint8_t *buf, struct err *err)
{
	struct l2_walk w = {.l2 = l2, .active = l2->first_active != CHECK_INACTIVE};
	uint32_t n = 1U << c->q->l2_bits;

	if (read_l2(c, l2->off, buf, err))
		return -1;
	for (uint32_t i = 0; i < n; i++)
		if (l2_entry(c, &w, buf + (size_t)i * c->q->l2_entry_size, i, err))
			return -1;
	return 0;
}

int check_mappings(struct check *c, struct err *err)
{
	const struct qcow2_header *h = &c->q->h;
	struct l1_walk active = {.state = "active state", .active = true};
	CLEANUP_FREE uint8_t *buf = malloc(c->q->cluster_size);

	if (!buf)
		return err_nomem(err);
	c->res.total_clusters = div_up(h->size, c->q->cluster_size);
	if (walk_l1(c, h->l1_offset, h->l1_entries, &active, err) || walk_snapshots(c, err))
		return -1;
	join_duplicates(c);
	if (c->n_l2)
		qsort(c->l2, c->n_l2, sizeof(*c->l2), by_activity);
	for (size_t i = 0; i < c->n_l2; i++)
		if (walk_l2(c, &c->l2[i], buf, err))
			return -1;
	return 0;
}

/* ---- "refcount is 1" flags */

static int copied_entry(struct check *c, const struct check_l2 *l2, uint64_t entry, uint32_t index,
			struct err *err)
{
	struct qcow2_cluster k;
	uint64_t stored = 1;

	if (!entry)
		return 0;
	qcow2_decode(c->q, entry, &k);
	if ((k.kind != QCOW2_NORMAL && k.kind != QCOW2_ZERO_ALLOC) ||
	    k.host_off % c->q->cluster_size)
		return 0;
	if (!qcow2_external_data(c->q) &&
	    check_stored(c, k.host_off >> c->q->h.cluster_bits, &stored, err))
		return -1;
	if ((stored == 1) != !!(entry & QCOW2_FLAG_COPIED))
		check_corrupt(c,
			      "L2 table at offset %" PRIu64 ", entry %" PRIu32
			      ": cluster at offset %" PRIu64 " has refcount %" PRIu64
			      ", its flag says %s",
			      l2->off, index, k.host_off, stored,
			      entry & QCOW2_FLAG_COPIED ? "1" : "not 1");
	return 0;
}

static int copied_l1_chunk(struct check *c, const uint8_t *p, uint32_t n, uint32_t index, void *ctx,
			   struct err *err)
{
	(void)ctx;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t entry = get_be64(p + 8ULL * i), off = entry & QCOW2_OFFSET_MASK, stored;

		if (!off || off % c->q->cluster_size)
			continue;
		if (check_stored(c, off >> c->q->h.cluster_bits, &stored, err))
			return -1;
		if ((stored == 1) != !!(entry & QCOW2_FLAG_COPIED))
			check_corrupt(c,
				      "L1 entry %" PRIu32 ": L2 table at offset %" PRIu64
				      " has refcount %" PRIu64 ", its flag says %s",
				      index + i, off, stored,
				      entry & QCOW2_FLAG_COPIED ? "1" : "not 1");
	}
	return 0;
}

int check_copied(struct check *c, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(c->q->cluster_size);
	uint32_t n = 1U << c->q->l2_bits;

	if (!buf)
		return err_nomem(err);
	if (check_each_chunk(c, c->q->h.l1_offset, c->q->h.l1_entries, copied_l1_chunk, NULL, err))
		return -1;
	for (size_t i = 0; i < c->n_l2 && c->l2[i].first_active != CHECK_INACTIVE; i++) {
		if (read_l2(c, c->l2[i].off, buf, err))
			return -1;
		for (uint32_t k = 0; k < n; k++)
			if (copied_entry(c, &c->l2[i],
					 get_be64(buf + (size_t)k * c->q->l2_entry_size), k, err))
				return -1;
	}
	return 0;
}
