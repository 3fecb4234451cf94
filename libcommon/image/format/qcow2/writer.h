/* Random writing, shared by write.c, zero.c, meta.c, refcount.c, alloc.c and resize.c.
 *
 * Changed tables stay in memory as pages until a flush, which writes them in an order that is safe at every point:
 * refcount blocks, refcount table, [data and these durable] L2 tables, [durable] L1 table, [durable]; only then are
 * clusters that nothing names any more given back. So a lost writer leaves leaks at worst, and what was flushed stays.
 * Readers see the pages through a bfile that lays them over the image file, under the table caches.
 */
#ifndef VMKIT_FORMAT_QCOW2_WRITER_H
#define VMKIT_FORMAT_QCOW2_WRITER_H

#include "libcommon/image/cache.h"
#include "libcommon/image/format/qcow2/qcow2.h"

enum meta_class { META_REFBLOCK, META_REFTABLE, META_L2, META_L1, META_CLASSES };

#define META_HEADS 4096U

struct meta_page;

/** struct pending_free - clusters to give back once no durable table names them */
struct pending_free {
	uint64_t first, count;
	bool punch; /* the guest said so: give the space back to the file system too */
};

struct qcow2_writer {
	/* Read: in-place data I/O. Write: whatever changes a table, and all below but the pages. */
	pthread_rwlock_t lock;
	struct image *img;
	struct qcow2 *q;
	struct bfile
		meta_file; /* the image file with the dirty pages over it; for the table caches */
	pthread_mutex_t pages_lock; /* the hash and the bytes of pages: readers load from them */
	struct meta_page *pages[META_HEADS];
	size_t page_size, n_pages, n_dirty[META_CLASSES];
	uint64_t *reftable; /* host order, without flags */
	uint64_t reftable_entries;
	uint64_t hint; /* no free cluster below it */
	struct pending_free *frees;
	size_t n_frees, room_frees;
	bool started; /* atomic: header marks are set */
	bool lazy, failed;
	bool growing;	   /* the refcount table moves: entries go to memory alone */
	bool data_written; /* atomic: since the last flush */
};

/* meta.c */
int qcow2_meta_init(struct qcow2_writer *w, struct err *err);
void qcow2_meta_release(struct qcow2_writer *w);
int qcow2_meta_get(struct qcow2_writer *w, enum meta_class class, uint64_t off, void *buf,
		   size_t len, struct err *err);
/** qcow2_meta_put() - change bytes inside one page */
int qcow2_meta_put(struct qcow2_writer *w, enum meta_class class, uint64_t off, const void *buf,
		   size_t len, struct err *err);
/** qcow2_meta_fresh() - a new table of @len bytes (whole clusters); @bytes NULL: zeros; the file has not to be read */
int qcow2_meta_fresh(struct qcow2_writer *w, enum meta_class class, uint64_t off,
		     const uint8_t *bytes, size_t len, struct err *err);
/** qcow2_meta_forget() - pages of [off, off + len) are no tables any more */
void qcow2_meta_forget(struct qcow2_writer *w, uint64_t off, uint64_t len);
/** qcow2_writer_flush() - all tables, in order; @refcounts false: lazy, those stay in memory */
int qcow2_writer_flush(struct qcow2_writer *w, bool refcounts, struct err *err);
/** qcow2_writer_bound() - flush when many pages are dirty or many clusters wait to be free */
int qcow2_writer_bound(struct qcow2_writer *w, struct err *err);

/* refcount.c */
int qcow2_refcount_get(struct qcow2_writer *w, uint64_t cluster, uint64_t *ret, struct err *err);
/** qcow2_refcount_add() - @delta is 1 or -1; the block must exist for 1 */
int qcow2_refcount_add(struct qcow2_writer *w, uint64_t cluster, int delta, uint64_t *ret_new,
		       struct err *err);
/** qcow2_refcount_block() - make sure that a block describes @cluster; a new one lies in its own first cluster */
int qcow2_refcount_block(struct qcow2_writer *w, uint64_t cluster, struct err *err);
/** qcow2_refcount_block_at() - a new block number @block at cluster @at, which it may or may not describe */
int qcow2_refcount_block_at(struct qcow2_writer *w, uint64_t block, uint64_t at, struct err *err);
/** qcow2_reftable_reach() - the table has room for block number @block */
int qcow2_reftable_reach(struct qcow2_writer *w, uint64_t block, struct err *err);
unsigned qcow2_refblock_bits(const struct qcow2_writer *w);
int qcow2_reftable_load(struct qcow2_writer *w, struct err *err);

/* alloc.c */
/** qcow2_alloc() - 1 to @want contiguous clusters with refcount 1; @whole: all or failure */
int qcow2_alloc(struct qcow2_writer *w, uint64_t want, bool whole, uint64_t *ret_first,
		uint64_t *ret_n, struct err *err);
int qcow2_free_later(struct qcow2_writer *w, uint64_t first, uint64_t count, bool punch,
		     struct err *err);
int qcow2_apply_frees(struct qcow2_writer *w, struct err *err);
/** qcow2_l2_slot() - offset of the L2 entry of a guest cluster; 0 when there is no table and @make is false;
 *  @make: the table exists and is not shared afterwards */
int qcow2_l2_slot(struct qcow2_writer *w, uint64_t guest_cluster, bool make, uint64_t *ret_off,
		  struct err *err);
int qcow2_l2_read(struct qcow2_writer *w, uint64_t slot, uint64_t *ret_entry, uint64_t *ret_bitmap,
		  struct err *err);
int qcow2_l2_write(struct qcow2_writer *w, uint64_t slot, uint64_t entry, uint64_t bitmap,
		   struct err *err);
/** qcow2_l2_release() - give back what an entry named */
int qcow2_l2_release(struct qcow2_writer *w, uint64_t entry, bool punch, struct err *err);

/* write.c */
/** qcow2_begin_change() - with the lock held for writing: marks in the header before the first change */
int qcow2_begin_change(struct qcow2_writer *w, struct err *err);
int qcow2_write_locked(struct qcow2_writer *w, const uint8_t *buf, uint64_t off, size_t len,
		       size_t *ret_done, struct err *err);

/* zero.c */
enum zero_how { ZERO_KEEP, ZERO_UNMAP, ZERO_DISCARD, ZERO_FORGET };
/** qcow2_zero_locked() - whole clusters; ZERO_FORGET: as if they had never been written */
int qcow2_zero_locked(struct qcow2_writer *w, uint64_t first, uint64_t count, enum zero_how how,
		      struct err *err);

#endif
