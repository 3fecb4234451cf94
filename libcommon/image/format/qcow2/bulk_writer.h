/* The state of one bulk writing, shared by bulk.c, bulk_options.c, bulk_crypt.c, bulk_finish.c and compress.c. */
#ifndef VMKIT_FORMAT_QCOW2_BULK_WRITER_H
#define VMKIT_FORMAT_QCOW2_BULK_WRITER_H

#include "libcommon/base/outfile.h"
#include "libcommon/image/format/qcow2/qcow2.h"

enum qcow2_prealloc { PREALLOC_OFF, PREALLOC_METADATA, PREALLOC_FALLOC, PREALLOC_FULL };

/** struct qcow2_bulk_options - the options of -o and -c, checked against each other */
struct qcow2_bulk_options {
	unsigned version; /* 2 or 3 */
	unsigned cluster_bits;
	unsigned refcount_order;
	uint32_t compression_type;
	bool extended_l2, lazy_refcounts, data_file_raw, encrypt;
	unsigned iter_time; /* milliseconds that a try of a passphrase takes */
	enum qcow2_prealloc preallocation;
	const char *data_file; /* borrowed; NULL: none */
	uint64_t size; /* of the params, rounded up to 512: QEMU drops the rest of a sector */
	uint64_t l1_entries;
	unsigned l2_bits; /* log2 of the entries of an L2 table */
};

int qcow2_bulk_options_parse(const struct bulk_params *p, struct qcow2_bulk_options *ret,
			     struct err *err);

/**
 * qcow2_refcount_layout() - clusters of refcount table and blocks that describe @used clusters and themselves
 * Return: 0, or -1 (ERR_USAGE) when the table would be above QEMU's limit of 8 MiB
 */
int qcow2_refcount_layout(uint64_t used, unsigned cluster_bits, unsigned refcount_order,
			  uint64_t *ret_table_clusters, uint64_t *ret_block_clusters,
			  struct err *err);

struct qcow2_compressor;

/** struct qcow2_compressors - a pool; @idle is guarded by @lock */
struct qcow2_compressors {
	enum codec codec;
	int level;
	size_t cluster_size;
	pthread_mutex_t lock;
	struct qcow2_compressor *idle;
};

/** struct qcow2_bulk - bulk->priv; changed by begin, place, place_zero and finish alone: one at a time */
struct qcow2_bulk {
	struct qcow2_bulk_options o;
	uint32_t cluster_size;
	uint32_t entry_size; /* of an L2 entry */
	bool has_backing, compress;
	struct qcow2_compressors compressors;
	uint64_t *l1;  /* big endian */
	uint64_t next; /* first free host cluster */
	/* Compressed clusters are packed from @pos on; @open_end is the end of the host cluster it lies in. */
	uint64_t pos, open_end;
	uint16_t
		*refs; /* of the host clusters below refs_room; 0 stands for 1, as it does beyond */
	uint64_t refs_room;
	/* L2 tables that are complete but for the last, waiting to be written side by side */
	uint8_t *l2;
	uint32_t *l2_index; /* which L1 entry each belongs to */
	unsigned l2_count, l2_room;
	uint64_t mapped;     /* guest clusters below it are dealt with (preallocation) */
	uint64_t zero_host;  /* version 2 with a backing file: one host cluster of zeros for many */
	uint64_t zero_guest; /* its first user */
	uint32_t zero_uses;
	struct outfile *data_out;
	char *data_path;    /* owned; the data file, once it has its name */
	struct bfile *data; /* external data file, or NULL */
	struct luks *luks;  /* NULL: not encrypted, or measuring */
	char *passphrase;   /* of image_secret_get() */
};

enum cluster_kind { CLUSTER_ZERO, CLUSTER_PLAIN, CLUSTER_COMPRESSED };

struct unit_cluster {
	enum cluster_kind kind;
	uint32_t enc_off, enc_len; /* in unit->encoded */
	uint64_t host;		   /* byte offset, set by place */
};

/** struct qcow2_unit - unit->priv */
struct qcow2_unit {
	struct unit_cluster *clusters; /* BULK_UNIT_MAX / cluster_size of them */
};

/** qcow2_compress_level_check() - ERR_USAGE when the codec has no such level; 0: its default */
int qcow2_compress_level_check(enum codec codec, int level, struct err *err);

void qcow2_compressors_init(struct qcow2_compressors *p, enum codec codec, int level,
			    size_t cluster_size);
void qcow2_compressors_release(struct qcow2_compressors *p);

/** qcow2_compressor_take() - one for a run of @run_clusters, to be given back; any thread. What it makes of the run
 *  depends on the run alone */
int qcow2_compressor_take(struct qcow2_compressors *p, size_t run_clusters,
			  struct qcow2_compressor **ret, struct err *err);
void qcow2_compressor_give(struct qcow2_compressors *p, struct qcow2_compressor *c);

/**
 * qcow2_compress() - the next cluster of a run
 * @dst: room for @len bytes
 * @ret_len: bytes made; 0 when the cluster does not get small enough to be worth it
 */
int qcow2_compress(struct qcow2_compressor *c, const uint8_t *src, size_t len, uint8_t *dst,
		   size_t *ret_len, struct err *err);

/* bulk_crypt.c: the LUKS header lies behind the qcow2 header. release() also without begin() */
enum { QCOW2_LUKS_CLUSTER = 1 };
int qcow2_bulk_crypt_begin(struct bulk *b, struct err *err);
void qcow2_bulk_crypt_release(struct qcow2_bulk *s);
/** qcow2_bulk_crypt_clusters() - clusters that the LUKS header takes; 0: not encrypted */
uint64_t qcow2_bulk_crypt_clusters(const struct qcow2_bulk_options *o);
/** qcow2_bulk_crypt_store() - @len bytes of whole clusters, encrypted for where they go; uses u->encoded */
int qcow2_bulk_crypt_store(struct bulk *b, struct bulk_unit *u, const uint8_t *data, size_t len,
			   uint64_t host, struct err *err);
/** qcow2_bulk_crypt_finish() - derive the passphrase's key and write the LUKS header */
int qcow2_bulk_crypt_finish(struct bulk *b, struct err *err);

/* bulk_finish.c */
int qcow2_bulk_flush_l2(struct bulk *b, struct err *err);
int qcow2_bulk_map(struct bulk *b, uint64_t guest_cluster, uint64_t entry, uint64_t bitmap,
		   struct err *err);
int qcow2_bulk_finish(struct bulk *b, struct err *err);

#endif
