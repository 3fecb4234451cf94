/* qcow2 inside: the structures that its files share. Nobody outside this folder includes it.
 *
 * Source: QEMU docs/interop/qcow2.txt. All integers on disk are big endian.
 *
 *	header.c	header, extensions, feature bits, limits; also serializes headers for writers
 *	map.c		L1/L2 lookup, extended L2, compressed descriptors: the map() of the driver
 *	refcount.c	refcounts of every width: read, change, allocate (for random writes)
 *	write.c		random writes, write_zeroes, discard, flush; lazy refcounts, dirty bit
 *	resize.c	growing and shrinking
 *	crypt.c		LUKS: sectors decrypted and encrypted
 *	bulk.c		new images in one pass; compress.c: clusters to deflate/zstd streams; bulk_crypt.c: LUKS
 *	snapshot.c	internal snapshots: read the table, open one by name
 *	snapshot_write.c	make, remove, go back to internal snapshots; snapshot_counts.c: their refcounts
 *	bitmap.c	persistent bitmaps: read the directory, say whether they are consistent
 *	bitmap_read.c	the bits of one of them
 *	check.c		cross-check of refcounts and mappings, repair.c: repair
 *	info.c		format-specific JSON
 *	driver.c	the struct image_format
 */
#ifndef VMKIT_FORMAT_QCOW2_H
#define VMKIT_FORMAT_QCOW2_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/image/format.h"

#define QCOW2_MAGIC 0x514649fbU

enum { /* incompatible_features */
       QCOW2_INCOMPAT_DIRTY = 1 << 0,
       QCOW2_INCOMPAT_CORRUPT = 1 << 1,
       QCOW2_INCOMPAT_DATA_FILE = 1 << 2,
       QCOW2_INCOMPAT_COMPRESSION = 1 << 3,
       QCOW2_INCOMPAT_EXTL2 = 1 << 4,
       QCOW2_INCOMPAT_KNOWN = 0x1f,
};

#define QCOW2_COMPAT_LAZY_REFCOUNTS (1ULL << 0)
#define QCOW2_AUTOCLEAR_BITMAPS	    (1ULL << 0)
#define QCOW2_AUTOCLEAR_DATA_RAW    (1ULL << 1)

enum { /* extension types */
       QCOW2_EXT_END = 0,
       QCOW2_EXT_BACKING_FORMAT = 0xE2792ACA,
       QCOW2_EXT_FEATURE_NAMES = 0x6803f857,
       QCOW2_EXT_BITMAPS = 0x23852875,
       QCOW2_EXT_LUKS = 0x0537be77,
       QCOW2_EXT_DATA_FILE = 0x44415441,
};

enum { QCOW2_CRYPT_NONE = 0, QCOW2_CRYPT_AES = 1, QCOW2_CRYPT_LUKS = 2 };
enum { QCOW2_COMPRESSION_ZLIB = 0, QCOW2_COMPRESSION_ZSTD = 1 };

#define QCOW2_OFFSET_MASK     0x00fffffffffffe00ULL /* L1, L2, reftable entries: host offset */
#define QCOW2_FLAG_COPIED     (1ULL << 63)	    /* refcount is exactly 1 */
#define QCOW2_FLAG_COMPRESSED (1ULL << 62)
#define QCOW2_FLAG_ZERO	      (1ULL << 0) /* v3, not with extended L2 */

/* Limits: QEMU's, so that what we write it opens and what it refuses we refuse. */
#define QCOW2_MAX_L1_BYTES	 (32U << 20)
#define QCOW2_MAX_REFTABLE_BYTES (8U << 20)
#define QCOW2_MAX_SNAPSHOTS	 65536U
#define QCOW2_MAX_SNAPSHOT_BYTES (64U << 20)
#define QCOW2_MAX_EXTRA_BYTES	 1024U
#define QCOW2_MAX_BACKING_NAME	 1023U
#define QCOW2_MAX_BITMAPS	 65535U
#define QCOW2_MAX_BITMAP_DIR	 (64U << 20)

/** struct qcow2_header - the header decoded and checked; lengths in bytes, offsets in the file */
struct qcow2_header {
	uint32_t version; /* 2 or 3 */
	uint32_t cluster_bits;
	uint64_t size;
	uint32_t crypt_method;
	uint32_t l1_entries;
	uint64_t l1_offset;
	uint64_t reftable_offset;
	uint32_t reftable_clusters;
	uint32_t nb_snapshots;
	uint64_t snapshots_offset;
	uint64_t incompatible, compatible, autoclear; /* 0 for version 2 */
	uint32_t refcount_order;		      /* 4 for version 2 */
	uint32_t header_length;			      /* 72 for version 2 */
	uint32_t compression_type;
	char *backing_name, *backing_format, *data_file; /* owned; NULL when absent */
	uint64_t bitmaps_dir_offset, bitmaps_dir_size;
	uint32_t nb_bitmaps;
	uint64_t luks_offset, luks_len;
};

/** enum qcow2_cluster_kind - what a cluster descriptor (the first 8 bytes of an L2 entry) says */
enum qcow2_cluster_kind {
	QCOW2_UNALLOCATED,
	QCOW2_ZERO_PLAIN,
	QCOW2_ZERO_ALLOC, /* reads as zero; a host cluster is kept for it */
	QCOW2_NORMAL,	  /* with extended L2 the bitmap says which subclusters count */
	QCOW2_COMPRESSED,
};

/** struct qcow2_cluster - a decoded cluster descriptor */
struct qcow2_cluster {
	enum qcow2_cluster_kind kind;
	uint64_t host_off; /* ZERO_ALLOC, NORMAL: of the cluster; COMPRESSED: first byte */
	uint64_t host_len; /* COMPRESSED: up to the end of the last sector named */
};

/** struct qcow2_snapshot - one entry of the snapshot table */
struct qcow2_snapshot {
	uint64_t l1_offset;
	uint32_t l1_entries;
	char *id, *name; /* owned */
	uint32_t date_sec, date_nsec;
	uint64_t vm_clock_nsec, vm_state_size;
	uint64_t disk_size; /* of the active state when the entry has none */
};

/** struct qcow2 - img->priv */
struct qcow2 {
	struct qcow2_header h;
	struct bfile *data_file; /* owned when it is not img->file */
	uint32_t cluster_size;
	uint32_t l2_bits;	/* log2 of the entries of an L2 table */
	uint32_t l2_entry_size; /* 8, or 16 with extended L2 */
	bool extended_l2;
	uint64_t l1_offset; /* of the active state, or of the snapshot opened */
	uint32_t l1_entries;
	struct table_cache *l1_cache,
		*l2_cache; /* slices of tables, shared, bounded: libcommon/image/cache.h */
	struct luks *luks; /* owned; NULL: not encrypted, or not unlocked (info, check) */
	struct qcow2_writer *
		writer; /* random writing state, NULL on read-only opens; guarded by its own lock */
};

/**
 * qcow2_header_read() - parse and check a header with its extensions
 * @allow_faults: for check: keep going where a field outside the header is out of bounds
 * Every claim is checked against the size of the file before memory is taken for it.
 */
int qcow2_header_read(struct bfile *file, struct qcow2_header *ret, bool allow_faults,
		      struct err *err);
void qcow2_header_release(struct qcow2_header *h);

/** qcow2_header_write() - serialize into one cluster: fixed part, extensions, feature names, backing name;
 *  @buf has cluster-size bytes and is zeroed; ERR_USAGE when it does not fit */
int qcow2_header_write(const struct qcow2_header *h, uint8_t *buf, size_t len, struct err *err);

/** qcow2_header_store_features() - write the three feature words of @h into the file's header, no flush */
int qcow2_header_store_features(struct bfile *file, const struct qcow2_header *h, struct err *err);

/** qcow2_l1_needed() - L1 entries that a disk of @size bytes needs */
uint64_t qcow2_l1_needed(uint64_t size, uint32_t cluster_bits, bool extended_l2);

/** qcow2_external_data() - guest data lie in another file (which info and check do not open) */
static inline bool qcow2_external_data(const struct qcow2 *q)
{
	return q->h.incompatible & QCOW2_INCOMPAT_DATA_FILE;
}

/** qcow2_decode() - split a cluster descriptor; no bounds are checked; reserved bits are ignored */
void qcow2_decode(const struct qcow2 *q, uint64_t entry, struct qcow2_cluster *ret);

/** qcow2_encode_compressed() - a descriptor for @len bytes at @off; false when the offset does not fit */
bool qcow2_encode_compressed(uint32_t cluster_bits, uint64_t off, uint64_t len,
			     uint64_t *ret_entry);

/** qcow2_open_writer() - for IMAGE_RDWR: load what allocation needs, clear autoclear bits that we do not keep */
int qcow2_open_writer(struct image *img, struct err *err);
void qcow2_close_writer(struct image *img);

int qcow2_map(struct image *img, uint64_t off, uint64_t max, struct extent *ret, struct err *err);
int qcow2_write(struct image *img, const void *buf, uint64_t off, size_t len, struct err *err);
int qcow2_write_zeroes(struct image *img, uint64_t off, uint64_t len, bool may_unmap,
		       struct err *err);
int qcow2_discard(struct image *img, uint64_t off, uint64_t len, struct err *err);
int qcow2_flush(struct image *img, struct err *err);
int qcow2_settle(struct image *img, struct err *err);
int qcow2_resize(struct image *img, uint64_t size, struct err *err);
int qcow2_forget(struct image *img, uint64_t off, uint64_t len, struct err *err);
int qcow2_set_backing(struct image *img, const char *name, const char *format, struct err *err);
int qcow2_info(struct image *img, json_t *obj, struct err *err);
int qcow2_check(struct image *img, unsigned flags, void (*report)(void *, const char *), void *ctx,
		struct image_check_result *ret, struct err *err);

/** qcow2_unlock() - an encrypted image: ask for the passphrase, set q->luks */
int qcow2_unlock(struct image *img, struct err *err);
/** qcow2_read_encoded() - of extents with CODEC_OPAQUE, which are the clusters of encrypted images */
int qcow2_read_encoded(struct image *img, const struct extent *e, void *buf, uint64_t off,
		       size_t len, struct err *err);
/** qcow2_write_encrypted() - plain bytes to place @host of the file that holds guest data, which need not be whole sectors */
int qcow2_write_encrypted(struct image *img, const void *buf, size_t len, uint64_t host,
			  struct err *err);

/** qcow2_snapshot_select() - point q->l1_* and img->size at the internal snapshot @name (name or id) */
int qcow2_snapshot_select(struct image *img, const char *name, struct err *err);
/* For info: strings of the image as valid JSON; seconds since the epoch as RFC 3339. Owned; NULL: no memory */
json_t *qcow2_json_string(const char *s);
json_t *qcow2_json_time(uint32_t sec, uint32_t nsec);

#define QCOW2_BITMAP_IN_USE (1U << 0)
#define QCOW2_BITMAP_AUTO   (1U << 1)

/** struct qcow2_bitmap - one entry of the bitmap directory */
struct qcow2_bitmap {
	uint64_t table_offset;
	uint32_t table_entries;
	uint32_t flags;
	uint8_t type, granularity_bits;
	uint32_t extra_len;
	const char *name; /* borrowed during the call */
};

/** qcow2_bitmaps_walk() - call @fn for each bitmap; it says 0: go on, 1: enough, -1 */
typedef int qcow2_bitmap_fn(void *ctx, const struct qcow2_bitmap *b, struct err *err);
int qcow2_bitmaps_walk(struct bfile *file, const struct qcow2_header *h, qcow2_bitmap_fn *fn,
		       void *ctx, struct err *err);

/** qcow2_dirty_bitmap() - image_dirty_bitmap() */
int qcow2_dirty_bitmap(struct image *img, const char *name, struct changes *ret, struct err *err);

/** qcow2_snapshots_load() - the whole table, bounded; *@ret is owned: qcow2_snapshots_free();
 *  *@ret_bytes: length of the table in the file; may be NULL */
int qcow2_snapshots_load(struct bfile *file, const struct qcow2_header *h,
			 struct qcow2_snapshot **ret, uint32_t *ret_n, uint64_t *ret_bytes,
			 struct err *err);
void qcow2_snapshots_free(struct qcow2_snapshot *s, uint32_t n);
/** qcow2_snapshots_json() / qcow2_bitmaps_json() - arrays for info, bounded; owned */
int qcow2_snapshots_json(struct image *img, json_t **ret, struct err *err);
int qcow2_bitmaps_json(struct image *img, json_t **ret, struct err *err);

extern const struct snapshot_ops qcow2_snapshot_ops; /* snapshot_write.c, snapshot_counts.c */
extern const struct bulk_ops qcow2_bulk_ops;
extern const struct image_option qcow2_options[];
extern const struct image_format image_format_qcow2;

#endif
