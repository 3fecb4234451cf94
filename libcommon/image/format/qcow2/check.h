/* What check.c, check_map.c, check_refcounts.c and repair.c share. */
#ifndef VMKIT_FORMAT_QCOW2_CHECK_H
#define VMKIT_FORMAT_QCOW2_CHECK_H

#include "libcommon/image/format/qcow2/counts.h"
#include "libcommon/image/format/qcow2/qcow2.h"

/** struct check_l2 - one L2 table: walked once, however many L1 entries lead to it */
struct check_l2 {
	uint64_t off;
	uint64_t refs;	       /* L1 entries of all states */
	uint32_t first_active; /* the first active L1 entry that leads to it, or CHECK_INACTIVE */
};
#define CHECK_INACTIVE UINT32_MAX

struct check {
	struct image *img;
	const struct qcow2 *q;
	struct bfile *file;
	unsigned flags;
	uint64_t file_size;
	uint64_t clusters; /* of the file, the last one perhaps in part */
	struct counts counts;
	struct check_l2 *l2; /* sorted: active ones in their order, then the others */
	size_t n_l2, l2_room;
	uint64_t *reftable; /* as in the file, host order; unusable entries are 0 */
	uint32_t reftable_entries;
	struct table_cache *blocks; /* slices of refcount blocks */
	uint64_t
		l1_budget; /* bytes of tables that may still be read: more than the file has overlap */
	/* A table could not be followed: clusters without a reference may belong to what is lost, so none is freed */
	bool damaged;
	bool rebuild; /* the refcount structure itself is wrong */
	struct image_check_result res;
	void (*report)(void *ctx, const char *sentence);
	void *report_ctx;
	unsigned reported;
};

int check_init(struct check *c, struct image *img, unsigned flags, struct err *err);
void check_release(struct check *c);

/** check_corrupt(), check_leak() - count a fault and report it */
void check_corrupt(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void check_leak(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** check_mark() - [off, off + len) of the file is in use @weight times by @what; outside is a corruption */
int check_mark(struct check *c, uint64_t off, uint64_t len, uint64_t weight, const char *what,
	       struct err *err);

/** check_mappings() - count all that L1 and L2 tables of all states use (check_map.c) */
int check_mappings(struct check *c, struct err *err);
/** check_copied() - hold the "refcount is 1" flags of the active state against the stored refcounts */
int check_copied(struct check *c, struct err *err);

/** check_each_chunk() - a table of 8-byte entries in pieces of up to 64 KiB; @index: of the first in the piece */
typedef int check_chunk_fn(struct check *c, const uint8_t *p, uint32_t n, uint32_t index, void *ctx,
			   struct err *err);
int check_each_chunk(struct check *c, uint64_t off, uint32_t entries, check_chunk_fn *fn, void *ctx,
		     struct err *err);

/** check_collect() - everything but the refcount structure itself */
int check_collect(struct check *c, struct err *err);

/* check_refcounts.c */
int check_load_reftable(struct check *c, struct err *err);
int check_mark_refcounts(struct check *c, struct err *err);
int check_compare(struct check *c, struct err *err);
/** check_stored() - the refcount that the file has for a cluster */
int check_stored(struct check *c, uint64_t cluster, uint64_t *ret, struct err *err);
uint64_t refcount_get(const uint8_t *block, uint64_t index, uint32_t order);
void refcount_put(uint8_t *block, uint64_t index, uint32_t order, uint64_t value);
static inline uint64_t refcounts_per_block(const struct qcow2 *q)
{
	return (uint64_t)q->cluster_size * 8 >> q->h.refcount_order;
}

/** check_repair() - mend what @c found, as its flags ask (repair.c) */
int check_repair(struct check *c, struct err *err);

/** check_deep() - decode every compressed cluster (check_deep.c) */
int check_deep(struct check *c, struct err *err);

#endif
