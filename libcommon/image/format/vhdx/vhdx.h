/* VHDX ([MS-VHDX] 2.0), what its files share.
 *
 *	0	"vhdxfile", two headers (64 and 128 KiB), two region tables (192 and 256 KiB)
 *	1 MiB..	log, metadata region, BAT, blocks, bitmaps: each at a multiple of 1 MiB, in any order
 *
 * All is little endian, checksums are CRC-32C. The header with the higher sequence number counts. When it names a log,
 * that is laid over the file before anything else is believed. The BAT has an entry for each block and, after each
 * chunk of 2^23 sectors, one for the chunk's sector bitmap, which only differencing disks use.
 *
 *	crc.c		checksums and GUIDs
 *	header.c	headers and region tables
 *	metadata.c	the metadata region
 *	log.c		finding, overlaying and replaying the log
 *	parent.c	where a differencing disk looks for its parent
 *	driver.c	probe, open, info
 *	map.c		guest to host
 *	write.c		random writes; log_write.c: their tables, through the log; resize.c
 *	bulk.c		new images; options.c: their options; layout.c: their tables
 *	check.c		check and repair
 */
#ifndef VMKIT_FORMAT_VHDX_VHDX_H
#define VMKIT_FORMAT_VHDX_VHDX_H

#include "libcommon/image/format.h"

struct table_cache;
struct vhdx_log;
struct vhdx_writer;

#define VHDX_MIB	(1ULL << 20)
#define VHDX_MOST_BYTES (64ULL << 40)
#define VHDX_FILE_ID	"vhdxfile"

enum {
	VHDX_HEADER_BYTES = 4096,
	VHDX_TABLE_BYTES = 64 << 10, /* a region table, the metadata table */
	VHDX_HEADER_AT = 64 << 10,   /* the first; the second 64 KiB on; then the region tables */
	VHDX_REGIONS_AT = 192 << 10,
	VHDX_LOG_MOST = 16 << 20, /* that is replayed; all known writers make 1 MiB */
	VHDX_LOG_SECTOR = 4096,	  /* what the log keeps of the file, and counts itself in */
	VHDX_LOG_HEADER = 64,	  /* of an entry */
	VHDX_LOG_DESCRIPTOR = 32,
	VHDX_CHECKSUM_AT = 4, /* in headers, region tables and log entries */
	VHDX_GUID_TEXT = 37,
};

struct vhdx_guid {
	uint8_t b[16]; /* as in the file */
};

/** struct vhdx_header - host order */
struct vhdx_header {
	uint64_t sequence;
	struct vhdx_guid file_write, data_write, log;
	uint16_t log_version, version;
	uint32_t log_length;
	uint64_t log_offset;
};

struct vhdx_region {
	uint64_t offset;
	uint32_t length;
};

enum vhdx_state {
	VHDX_NOT_PRESENT = 0,
	VHDX_UNDEFINED = 1,
	VHDX_ZERO = 2,
	VHDX_UNMAPPED = 3,
	VHDX_FULL = 6,
	VHDX_PARTIAL = 7,
};
enum { VHDX_STATE_MASK = 7 };
#define VHDX_RESERVED 0xffff8ULL
#define VHDX_OFFSET   0xfffffffffff00000ULL

/** struct vhdx - img->priv; constant after open but for what a repair changes */
struct vhdx {
	/* img->file, or the log, or changes of the writer laid over it; borrowed */
	struct bfile *file;
	struct bfile *data; /* the same without the writer's; borrowed */
	struct vhdx_log *log;
	struct vhdx_writer *writer; /* when open for writing; else NULL */
	struct vhdx_header header;
	unsigned current;     /* which of the two headers */
	bool header_valid[2]; /* both should be */
	bool regions_valid[2], regions_differ;
	struct vhdx_region bat_region, metadata;
	uint64_t regions_end; /* of all regions, those too that are not known here */
	uint32_t block_size, logical_sector, physical_sector;
	uint64_t size_at; /* of the virtual disk size, in the file */
	bool fixed, has_parent, has_disk_id;
	struct vhdx_guid disk_id;
	uint64_t blocks;
	uint64_t chunk_blocks; /* blocks of a chunk */
	uint64_t bat_entries;
	struct table_cache *bat, *bitmaps;
	struct vhdx_guid parent_linkage, parent_linkage2; /* zero: not there */
	uint32_t locator_bytes, metadata_end;		  /* end: of the last item, in the region */
	uint64_t locator_entry;				  /* of the metadata table, in the file */
	uint64_t locator_at;				  /* in the file */
	uint32_t linkage_at, linkage_bytes; /* the text of parent_linkage, in the locator */
	char *relative_path, *absolute_path, *volume_path; /* of the parent; owned; NULL */
};

/* crc.c */
/** vhdx_crc() - CRC-32C of @len bytes, the four at @at taken as zero (SIZE_MAX: none), after @crc (0 at first) */
uint32_t vhdx_crc(uint32_t crc, const uint8_t *p, size_t len, size_t at);
bool vhdx_guid_is(const struct vhdx_guid *g, const char *text);
void vhdx_guid_put(uint8_t *p, const char *text);
bool vhdx_guid_zero(const struct vhdx_guid *g);
/** vhdx_guid_text() - lower case, without braces; returns @buf */
char *vhdx_guid_text(const struct vhdx_guid *g, char buf[VHDX_GUID_TEXT]);
/** vhdx_guid_parse() - with or without braces; Return: 0 or -1, no error object */
int vhdx_guid_parse(const char *text, struct vhdx_guid *ret);
/** vhdx_guid_from_uuid() - from the order of the text to that of the file */
void vhdx_guid_from_uuid(const uint8_t uuid[16], struct vhdx_guid *ret);

/* header.c */
int vhdx_headers_read(struct bfile *file, struct vhdx *v, struct err *err);
int vhdx_regions_read(struct vhdx *v, struct err *err);
/** vhdx_header_encode() - 4 KiB with the checksum */
void vhdx_header_encode(const struct vhdx_header *h, uint8_t p[VHDX_HEADER_BYTES]);
/** vhdx_header_update() - v->header with the next sequence number to the other place, twice: then both are good */
int vhdx_header_update(struct bfile *file, struct vhdx *v, struct err *err);

/* metadata.c */
int vhdx_metadata_read(struct image *img, struct vhdx *v, struct err *err);

/* log.c */
/** vhdx_log_find() - what must be replayed; *@ret is NULL when that is nothing; owned */
int vhdx_log_find(struct bfile *file, const struct vhdx_header *h, struct vhdx_log **ret,
		  struct err *err);
/** vhdx_log_file() - the file as it is after a replay; borrowed */
struct bfile *vhdx_log_file(struct vhdx_log *log);
uint64_t vhdx_log_changes(const struct vhdx_log *log);
/** vhdx_log_replay() - to the file itself, durable; the header still names the log afterwards */
int vhdx_log_replay(struct vhdx_log *log, struct err *err);
void vhdx_log_free(struct vhdx_log *log);

/* parent.c */
/** vhdx_find_parent() - sets img->backing_name and checks the parent's identity */
int vhdx_find_parent(struct image *img, struct vhdx *v, const struct image_open_opts *opts,
		     struct err *err);
int vhdx_locator_parse(struct vhdx *v, const uint8_t *p, size_t len, struct err *err);
int vhdx_check_backing(struct image *img, struct err *err);
int vhdx_adopt(struct image *img, const struct image *base, const char *name, struct err *err);
/** vhdx_identity_of() - the DataWriteGuid of a VHDX file */
int vhdx_identity_of(struct bfile *file, struct vhdx_guid *ret, struct err *err);

/* driver.c */
/** vhdx_open_caches() - of the BAT and bitmaps in v->file */
int vhdx_open_caches(struct vhdx *v, struct err *err);
/** vhdx_replay() - the log into the file; the header no longer names one */
int vhdx_replay(struct image *img, struct vhdx *v, struct err *err);

/* map.c */
/** vhdx_bat_entry() - entry @index of the BAT; for writers: holding w->slow or w->lock */
int vhdx_bat_entry(struct vhdx *v, uint64_t index, uint64_t *ret, struct err *err);
/** vhdx_each_entry() - all entries of the BAT, those of bitmaps too; @fn ends it with -1. Locks as vhdx_bat_entry() */
int vhdx_each_entry(struct vhdx *v,
		    int (*fn)(void *ctx, uint64_t index, uint64_t entry, struct err *err),
		    void *ctx, struct err *err);
/** vhdx_is_bitmap() - is entry @index of the BAT that of a chunk's bitmap? */
static inline bool vhdx_is_bitmap(const struct vhdx *v, uint64_t index)
{
	return index % (v->chunk_blocks + 1) == v->chunk_blocks;
}
/** vhdx_lookup() - as map(), but a hole of the file in a block is data: a place that can be written to */
int vhdx_lookup(struct image *img, uint64_t off, uint64_t max, struct extent *ret, struct err *err);
int vhdx_map(struct image *img, uint64_t off, uint64_t max, struct extent *ret, struct err *err);
/** vhdx_bat_index() - the entry of a block; those of bitmaps lie between */
static inline uint64_t vhdx_bat_index(const struct vhdx *v, uint64_t block)
{
	return block + block / v->chunk_blocks;
}
static inline uint64_t vhdx_chunk_blocks(uint32_t block_size, uint32_t logical_sector)
{
	return ((uint64_t)logical_sector << 23) / block_size;
}
/** vhdx_bat_entries() - that a disk of @blocks blocks needs */
static inline uint64_t vhdx_bat_entries(uint64_t blocks, uint64_t chunk_blocks, bool has_parent)
{
	if (!blocks)
		return 0;
	if (has_parent)
		return (blocks + chunk_blocks - 1) / chunk_blocks * (chunk_blocks + 1);
	return blocks + (blocks - 1) / chunk_blocks;
}

/* check.c */
int vhdx_check(struct image *img, unsigned flags, void (*report)(void *, const char *), void *ctx,
	       struct image_check_result *ret, struct err *err);

/* bulk.c, options.c */
struct vhdx_options {
	bool fixed, has_parent;
	uint32_t block_size, logical_sector, physical_sector;
	uint64_t size;
};
int vhdx_options_parse(const struct bulk_params *p, struct vhdx_options *ret, struct err *err);
extern const struct bulk_ops vhdx_bulk_ops;
extern const struct image_option vhdx_options_table[];

/* layout.c */
struct vhdx_ids {
	struct vhdx_guid file_write, data_write, disk;
};
struct vhdx_parent {
	struct vhdx_guid identity;
	const char *name; /* relative to the image's folder, or absolute; NULL: none */
};
/** vhdx_make_locator() - of @parent to @p; Return: bytes, or -1 */
ssize_t vhdx_make_locator(uint8_t *p, size_t room, const struct vhdx_parent *parent,
			  struct err *err);
/** vhdx_write_tables() - all of the first MiB and the metadata region */
int vhdx_write_tables(struct bfile *file, const struct vhdx_options *o, const struct vhdx_ids *ids,
		      const struct vhdx_parent *parent, uint64_t bat_bytes, struct err *err);
#define VHDX_LOG_AT	 (1 * VHDX_MIB)
#define VHDX_METADATA_AT (2 * VHDX_MIB)
#define VHDX_BAT_AT	 (3 * VHDX_MIB)

#define GUID_BAT	  "2dc27766-f623-4200-9d64-115e9bfd4a08"
#define GUID_METADATA	  "8b7ca206-4790-4b9a-b8fe-575f050f886e"
#define GUID_FILE_PARAMS  "caa16737-fa36-4d43-b3b6-33f0aa44e76b"
#define GUID_DISK_SIZE	  "2fa54224-cd1b-4876-b211-5dbed83bf4b8"
#define GUID_DISK_ID	  "beca12ab-b2e6-4523-93ef-c309e000c746"
#define GUID_LOGICAL	  "8141bf1d-a96f-4709-ba47-f233a8faab5f"
#define GUID_PHYSICAL	  "cda348c7-445d-4471-9cc9-e9885251c556"
#define GUID_LOCATOR	  "a8d35f2d-b30b-454d-abf7-d3d84834ab0c"
#define GUID_LOCATOR_VHDX "b04aefb7-d19e-4a81-b789-25b8e9445913"

#endif
