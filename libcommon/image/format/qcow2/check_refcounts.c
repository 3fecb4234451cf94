/* The refcount structure of a file: read, every width, and held against what was counted. */
#include "libcommon/image/format/qcow2/check.h"

#include <inttypes.h>
#include <stdlib.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/cache.h"

#define REFTABLE_RESERVED 0x1ffULL

/* Sub-byte widths: the least significant bits of a byte come first */
uint64_t refcount_get(const uint8_t *block, uint64_t index, uint32_t order)
{
	switch (order) {
	case 6:
		return get_be64(block + 8 * index);
	case 5:
		return get_be32(block + 4 * index);
	case 4:
		return get_be16(block + 2 * index);
	case 3:
		return block[index];
	default: {
		unsigned bits = 1U << order;
		uint64_t bit = index << order;

		return block[bit / 8] >> (bit % 8) & ((1U << bits) - 1);
	}
	}
}

void refcount_put(uint8_t *block, uint64_t index, uint32_t order, uint64_t value)
{
	switch (order) {
	case 6:
		put_be64(block + 8 * index, value);
		break;
	case 5:
		put_be32(block + 4 * index, (uint32_t)value);
		break;
	case 4:
		put_be16(block + 2 * index, (uint16_t)value);
		break;
	case 3:
		block[index] = (uint8_t)value;
		break;
	default: {
		uint64_t bit = index << order;
		unsigned mask = ((1U << (1U << order)) - 1) << (bit % 8);
		uint8_t *b = &block[bit / 8];

		*b = (uint8_t)((*b & ~mask) | ((unsigned)value << (bit % 8) & mask));
	}
	}
}

int check_load_reftable(struct check *c, struct err *err)
{
	const struct qcow2_header *h = &c->q->h;
	uint64_t bytes = (uint64_t)h->reftable_clusters << h->cluster_bits;

	/* What the file does not have is no entry */
	bytes = h->reftable_offset < c->file_size
			? min_u64(bytes, c->file_size - h->reftable_offset)
			: 0;
	c->reftable_entries = (uint32_t)(bytes / 8);
	c->reftable = calloc(c->reftable_entries + 1, 8);
	if (!c->reftable)
		return err_nomem(err);
	if (bfile_pread(c->file, c->reftable, 8 * (size_t)c->reftable_entries, h->reftable_offset,
			err))
		return err_prefix(err, "refcount table");
	for (uint32_t i = 0; i < c->reftable_entries; i++)
		c->reftable[i] = be64toh(c->reftable[i]);
	return 0;
}

/* The table and its blocks are clusters in use like others. Entries that cannot be used become 0. */
int check_mark_refcounts(struct check *c, struct err *err)
{
	const struct qcow2_header *h = &c->q->h;

	if (!h->reftable_clusters) {
		check_corrupt(c, "there is no refcount table");
		c->rebuild = true;
	}
	if (check_mark(c, h->reftable_offset, (uint64_t)h->reftable_clusters << h->cluster_bits, 1,
		       "refcount table", err))
		return -1;
	for (uint32_t i = 0; i < c->reftable_entries; i++) {
		uint64_t off = c->reftable[i];
		const char *bad = NULL;

		if (!off)
			continue;
		if (off & REFTABLE_RESERVED)
			bad = "has reserved bits set";
		else if (off % c->q->cluster_size)
			bad = "is not aligned to a cluster";
		else if (!range_inside(off, c->q->cluster_size,
				       round_up(c->file_size, c->q->cluster_size)))
			bad = "lies beyond the end of the file";
		if (bad) {
			check_corrupt(c, "refcount block %" PRIu32 " at offset %" PRIu64 " %s", i,
				      off, bad);
			c->rebuild = true;
			c->reftable[i] = 0;
			continue;
		}
		if (check_mark(c, off, c->q->cluster_size, 1, "refcount block", err))
			return -1;
		if (counts_get(&c->counts, off >> h->cluster_bits) != 1) {
			check_corrupt(c,
				      "refcount block %" PRIu32 " at offset %" PRIu64
				      " is used for %" PRIu64 " other things too",
				      i, off, counts_get(&c->counts, off >> h->cluster_bits) - 1);
			c->rebuild = true;
		}
	}
	return 0;
}

int check_stored(struct check *c, uint64_t cluster, uint64_t *ret, struct err *err)
{
	uint64_t per_block = refcounts_per_block(c->q), block = cluster / per_block;
	uint64_t index = cluster % per_block, bit = index << c->q->h.refcount_order;
	uint32_t order = c->q->h.refcount_order;
	const uint8_t *p;
	uint64_t at;
	size_t n;

	*ret = 0;
	if (block >= c->reftable_entries || !c->reftable[block])
		return 0;
	at = c->reftable[block] + bit / 8;
	if (at >= c->file_size)
		return 0;
	if (table_cache_get(c->blocks, at, &p, &n, err))
		return err_prefix(err, "refcount block %" PRIu64, block);
	*ret = refcount_get(p, order < 3 ? (bit % 8) >> order : 0, order);
	table_cache_put(c->blocks, p);
	return 0;
}

static void compare_one(struct check *c, uint64_t cluster, uint64_t stored)
{
	uint64_t counted = counts_get(&c->counts, cluster);
	uint64_t off = cluster << c->q->h.cluster_bits;

	if (stored || counted)
		c->res.image_end = max_u64(c->res.image_end, off + c->q->cluster_size);
	if (stored == counted || (counted == COUNTS_MOST && stored > counted))
		return;
	if (stored > counted) {
		check_leak(c,
			   "cluster at offset %" PRIu64 " has refcount %" PRIu64 ", but %" PRIu64
			   " references: leaked",
			   off, stored, counted);
		return;
	}
	check_corrupt(c,
		      "cluster at offset %" PRIu64 " has refcount %" PRIu64 ", but %" PRIu64
		      " references",
		      off, stored, counted);
	c->rebuild = true;
}

/* Refcounts beyond the end of the file say nothing of it: not compared, as qemu-img check */
int check_compare(struct check *c, struct err *err)
{
	uint64_t per_block = refcounts_per_block(c->q);
	CLEANUP_FREE uint8_t *block = malloc(c->q->cluster_size);
	uint64_t i;

	if (!block)
		return err_nomem(err);
	for (i = 0; i * per_block < c->counts.clusters; i++) {
		uint64_t first = i * per_block,
			 end = min_u64(first + per_block, c->counts.clusters);

		if (i >= c->reftable_entries)
			break;
		if (!c->reftable[i]) {
			for (uint64_t k = first; (k = counts_skip(&c->counts, k, end)) < end; k++)
				compare_one(c, k, 0);
			continue;
		}
		if (stop_check(err))
			return -1;
		if (bfile_pread_padded(c->file, block, c->q->cluster_size, c->reftable[i], err))
			return err_prefix(err, "refcount block %" PRIu64, i);
		for (uint64_t k = first; k < end; k++)
			compare_one(c, k, refcount_get(block, k - first, c->q->h.refcount_order));
	}
	for (uint64_t k = i * per_block;
	     (k = counts_skip(&c->counts, k, c->counts.clusters)) < c->counts.clusters; k++)
		compare_one(c, k, 0);
	return 0;
}
