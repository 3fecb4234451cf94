/* VMDK inside: the structures that its files share. Nobody outside this folder includes it.
 *
 * Source: VMware "Virtual Disk Format 5.0" (hosted sparse, streamOptimized, COWD); seSparse as QEMU's block/vmdk.c
 * found it out. Integers on disk are little endian, offsets are in sectors of 512 bytes.
 *
 *	descriptor.c	the text that describes a disk: parse; describe.c: write
 *	sparse.c	hosted sparse extents ("KDMV"): header, footer; stream.c: what streamOptimized adds
 *	cowd.c		vmfsSparse extents ("COWD"); sesparse.c: seSparse extents
 *	tables.c	grain directory and tables of all of them: guest offset to host offset
 *	extents.c	the list of extents: files opened, flat ones mapped
 *	check.c		tables against each other and the file; check_stream.c: markers, decoding; check.h
 *	bulk_*.c	new images; bulk_options.c: their options
 *	write.c		random writes
 *	info.c driver.c
 */
#ifndef VMKIT_FORMAT_VMDK_H
#define VMKIT_FORMAT_VMDK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/image/format.h"

#define VMDK_SECTOR	 512U
#define VMDK_NO_PARENT	 0xffffffffU /* parentCID of a disk without one */
#define VMDK_GD_AT_END	 UINT64_MAX  /* gdOffset: the footer has it */
#define VMDK_DESC_MAX	 (1U << 20)  /* bytes of a descriptor: QEMU's limit */
#define VMDK_UNCLEAN_AT	 72U /* of a sparse extent's header: the mark of one that is written to */
#define VMDK_EXTENTS_MAX 4096U
#define VMDK_GRAIN_MAX	 (1U << 30) /* bytes; QEMU's limit */
#define VMDK_PACKED_MAX                                                                            \
	(2U << 20) /* of compressed ones: memory is taken for them; VMware has 64 KiB */
#define VMDK_SESPARSE_MAGIC 0x00000000cafebabeULL

enum {			       /* flags of the hosted sparse header */
       VMDK_NEWLINES = 1 << 0, /* the newline bytes are there to be tested */
       VMDK_RGD = 1 << 1,
       VMDK_ZERO_GRAIN = 1 << 2, /* entry 1 of a grain table: reads as zero */
       VMDK_COMPRESSED = 1 << 16,
       VMDK_MARKERS = 1 << 17,
};

enum vmdk_marker { MARKER_EOS, MARKER_GT, MARKER_GD, MARKER_FOOTER };

enum vmdk_kind { VMDK_ZERO, VMDK_FLAT, VMDK_SPARSE, VMDK_COWD, VMDK_SESPARSE };
enum vmdk_access { VMDK_RW, VMDK_RDONLY, VMDK_NOACCESS };

/** struct vmdk_line - an extent as the descriptor lists it */
struct vmdk_line {
	enum vmdk_access access;
	enum vmdk_kind kind;
	const char *type; /* "VMFSSPARSE"; static */
	uint64_t sectors;
	char *name;	 /* owned; NULL for ZERO */
	uint64_t offset; /* FLAT: sectors */
};

/** struct vmdk_descriptor - strings are owned, NULL when absent */
struct vmdk_descriptor {
	uint32_t cid, parent_cid;
	char *create_type, *parent_hint, *encoding, *adapter_type, *hw_version, *tools_version;
	struct vmdk_line *lines;
	size_t n_lines;
};

/** vmdk_is_descriptor() - does the text begin as descriptors do? */
bool vmdk_is_descriptor(const uint8_t *head, size_t len);

/** vmdk_descriptor_parse() - @text need not end with a NUL; a NUL ends it */
int vmdk_descriptor_parse(const char *text, size_t len, struct vmdk_descriptor *ret,
			  struct err *err);
void vmdk_descriptor_release(struct vmdk_descriptor *d);

/** vmdk_describe() - the text for @d; *@ret_text is owned, with a NUL behind its *@ret_len bytes */
int vmdk_describe(const struct vmdk_descriptor *d, bool thin, char **ret_text, size_t *ret_len,
		  struct err *err);

/** struct vmdk_header - the hosted sparse header decoded; in the units of the disk */
struct vmdk_header {
	uint32_t version, flags;
	uint64_t capacity, grain_sectors, desc_offset, desc_sectors;
	uint32_t gtes;
	uint64_t rgd_offset, gd_offset, overhead;
	uint8_t unclean;
	uint16_t algorithm;
};

/** vmdk_header_decode() - 512 bytes; ERR_CORRUPT, ERR_UNSUPPORTED; offsets are not held against a file */
int vmdk_header_decode(const uint8_t *sector, struct vmdk_header *ret, struct err *err);
void vmdk_header_encode(const struct vmdk_header *h, uint8_t sector[VMDK_SECTOR]);

/** struct vmdk_extent - a piece of the disk, open */
struct vmdk_extent {
	enum vmdk_kind kind;
	enum vmdk_access access;
	uint64_t start, len; /* guest bytes */
	struct bfile *file;  /* borrowed: of v->files, or the image's; NULL for ZERO */
	uint64_t flat_off;   /* bytes */
	/* FLAT: the last answer of SEEK_DATA; guarded by v->flat_lock; empty: start == end */
	uint64_t memo_start, memo_end;
	bool memo_data;
	/* with tables: */
	struct vmdk_header h;		      /* SPARSE */
	uint64_t capacity;		      /* bytes */
	uint64_t grain;			      /* bytes, a power of two */
	uint32_t gtes;			      /* entries of a grain table */
	uint64_t gd_entries, gd_off, rgd_off; /* bytes; rgd_off 0: none */
	uint64_t table_base, grain_base;      /* SESPARSE */
	bool compressed, markers;
	bool footer;	   /* the header said that the directory is at the end */
	bool packed_units; /* compressed grains lie on the grid of the image: core can decode them */
	struct table_cache *cache;
	atomic_bool told; /* that the redundant directory was needed */
};

/** struct vmdk - img->priv */
struct vmdk {
	struct vmdk_descriptor d;
	bool has_descriptor;
	uint64_t desc_off, desc_room; /* where it lies in img->file; room 0: it is the file */
	struct bfile **files;	      /* opened for extents, each once */
	char **file_names;
	size_t n_files;
	struct vmdk_extent *extents;
	size_t n_extents;
	pthread_mutex_t flat_lock;
	struct vmdk_writer *writer; /* NULL on read-only opens */
};

/* Headers of extents: fill capacity, grain, tables; all bounds are held against @x->file.
 * @full: false for info: no footer is read, no table looked for. */
int vmdk_sparse_open(struct vmdk_extent *x, bool full, struct err *err);
int vmdk_stream_footer(struct vmdk_extent *x, struct err *err);
int vmdk_cowd_open(struct vmdk_extent *x, bool full, struct err *err);
int vmdk_sesparse_open(struct vmdk_extent *x, bool full, struct err *err);
/** vmdk_header_kind() - by the magic of @sector; -1: none of ours */
int vmdk_header_kind(const uint8_t *sector, size_t len);
/** vmdk_geometry_check() - capacity, grain and table sizes make sense; sets gd_entries */
int vmdk_geometry_check(struct vmdk_extent *x, uint64_t capacity_sectors, uint64_t grain_sectors,
			uint32_t gtes, struct err *err);

/** vmdk_marker_read() - of the grain at file offset @off: where its deflate stream lies
 *  @grain_no: the one that must be there */
int vmdk_marker_read(const struct vmdk_extent *x, uint64_t off, uint64_t grain_no,
		     uint64_t *ret_off, uint64_t *ret_len, struct err *err);

enum vmdk_grain { GRAIN_NONE, GRAIN_ZERO, GRAIN_DATA, GRAIN_BAD };

/** vmdk_entry_size() - bytes of an entry of directory and tables */
static inline unsigned vmdk_entry_size(const struct vmdk_extent *x)
{
	return x->kind == VMDK_SESPARSE ? 8 : 4;
}
uint64_t vmdk_entry_get(const struct vmdk_extent *x, const uint8_t *p);

/** vmdk_decode_entry() - of a grain table; *@ret_off: file offset of the grain, held against the file's end */
enum vmdk_grain vmdk_decode_entry(const struct vmdk_extent *x, uint64_t entry, uint64_t *ret_off);
/** vmdk_decode_dir() - of the directory: *@ret_off 0: no table; false: it lies outside of the file */
bool vmdk_decode_dir(const struct vmdk_extent *x, uint64_t entry, uint64_t *ret_off);
/** vmdk_entry_read() - one entry of a directory or table, through the cache */
int vmdk_entry_read(struct vmdk_extent *x, uint64_t off, uint64_t *ret, struct err *err);
/** vmdk_settle_copies() - of an extent that was not closed: the copy of a table says no more than the table. Differences that are
 *  none of an interruption stay */
int vmdk_settle_copies(struct vmdk_extent *x, struct err *err);
/** vmdk_dir_at() - entry @index of the directory at @dir decoded; false: it is damaged */
bool vmdk_dir_at(struct vmdk_extent *x, uint64_t dir, uint64_t index, uint64_t *ret_off);
/** vmdk_table_at() - file offset of grain table @index, 0: none; the redundant one where the first is damaged */
int vmdk_table_at(struct vmdk_extent *x, uint64_t index, uint64_t *ret_off, struct err *err);

/** vmdk_tables_map() - as the driver's map(), for one extent with tables; @off inside the disk */
int vmdk_tables_map(struct vmdk_extent *x, uint64_t off, uint64_t max, struct extent *ret,
		    struct err *err);

/** vmdk_extents_open() - the extents of the descriptor; closes nothing on failure: vmdk_extents_close() */
int vmdk_extents_open(struct image *img, const struct image_open_opts *opts, struct err *err);
void vmdk_extents_close(struct vmdk *v);
/** vmdk_extent_caches() - for reading tables; sets img->cluster_size */
int vmdk_extent_caches(struct image *img, struct err *err);
struct vmdk_extent *vmdk_extent_at(const struct vmdk *v, uint64_t off);

int vmdk_map(struct image *img, uint64_t off, uint64_t max, struct extent *ret, struct err *err);
int vmdk_read_encoded(struct image *img, const struct extent *e, void *buf, uint64_t off,
		      size_t len, struct err *err);
int vmdk_info(struct image *img, json_t *obj, struct err *err);
int vmdk_check(struct image *img, unsigned flags, void (*report)(void *, const char *), void *ctx,
	       struct image_check_result *ret, struct err *err);

extern const struct bulk_ops vmdk_sparse_bulk_ops, vmdk_flat_bulk_ops, vmdk_stream_bulk_ops;
const struct bulk_ops *vmdk_bulk_for(const struct bulk_params *p);
extern const struct image_option vmdk_options[];
extern const struct image_format image_format_vmdk;

#endif
