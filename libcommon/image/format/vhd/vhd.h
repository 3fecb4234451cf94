/* VHD (Virtual Hard Disk Image Format Specification 1.0, Microsoft 2006), what its files share.
 *
 *	fixed		data | footer
 *	dynamic		footer copy | header | [parent locators] | BAT | (bitmap | block)... | footer
 *	differencing	the same, with a parent; the bitmap says which sectors are here
 *
 * All is big endian. A BAT entry is the sector of a block's bitmap; the block follows it. Files that we write have
 * each bitmap end at a multiple of 4096, so that blocks can be shared by reflink.
 *
 *	footer.c	the footer, its checksum, geometry, the size that a footer means
 *	header.c	header of dynamic disks and where a differencing one looks for its parent
 *	driver.c	probe, open, info
 *	map.c		guest to host
 *	write.c		random writes, resize
 *	bulk.c		new images; options.c: their options
 *	check.c		check and repair
 */
#ifndef VMKIT_FORMAT_VHD_VHD_H
#define VMKIT_FORMAT_VHD_VHD_H

#include "libcommon/image/format.h"

struct table_cache;
struct vhd_writer;

enum {
	VHD_SECTOR = 512,
	VHD_HEADER_BYTES = 1024,
	VHD_LOCATORS = 8,
	VHD_NAME_BYTES = 512, /* of the parent in the header */
	VHD_LOCATOR_MOST = 64 << 10,
	VHD_EPOCH = 946684800, /* 2000-01-01 */
};

#define VHD_UNUSED     0xffffffffU /* BAT entry */
#define VHD_NO_OFFSET  UINT64_MAX
#define VHD_MOST_BYTES (2040ULL << 30)

enum vhd_type { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFFERENCING = 4 };

/** struct vhd_footer - host order */
struct vhd_footer {
	uint32_t features, version;
	uint64_t data_offset;
	uint32_t timestamp; /* since 2000 */
	char creator[5];    /* NUL-terminated, printable */
	char creator_raw[4];
	uint32_t creator_version;
	char creator_os[5];
	char creator_os_raw[4];
	uint64_t original_size, current_size;
	uint16_t cylinders;
	uint8_t heads, sectors;
	uint32_t type;
	uint8_t uuid[16];
	uint8_t saved_state;
};

struct vhd_locator {
	uint32_t code, length;
	uint64_t offset;
};

/** struct vhd_header - host order */
struct vhd_header {
	uint64_t bat_offset;
	uint32_t max_entries, block_size;
	uint8_t parent_uuid[16];
	uint32_t parent_time;
	char *parent_name; /* as in the header, UTF-8; owned */
	struct vhd_locator locators[VHD_LOCATORS];
};

/** struct vhd - img->priv; constant after open but for what a writer changes */
struct vhd {
	struct vhd_footer footer;
	uint8_t footer_bytes[VHD_SECTOR]; /* as read */
	uint64_t footer_off; /* where data end and the trailing footer is, or belongs */
	bool footer_missing; /* the trailing one: the copy is used */
	struct vhd_header header;
	uint8_t header_bytes[VHD_HEADER_BYTES];
	uint32_t entries;     /* of the BAT that the disk needs */
	uint32_t bitmap_size; /* bytes before each block */
	struct table_cache *bat, *bitmaps;
	struct vhd_writer *writer; /* NULL: read only */
};

/* footer.c */

/** vhd_checksum() - of @len bytes with the four at @at taken as zero */
uint32_t vhd_checksum(const uint8_t *p, size_t len, size_t at);
/** vhd_footer_valid() - cookie and checksum; @p has 511 or 512 bytes */
bool vhd_footer_valid(const uint8_t *p, size_t len);
bool vhd_has_cookie(const uint8_t *p, size_t len);
void vhd_footer_parse(const uint8_t p[VHD_SECTOR], struct vhd_footer *ret);
void vhd_footer_encode(const struct vhd_footer *f, uint8_t p[VHD_SECTOR]);
/** vhd_geometry() - as the appendix of the specification has it */
void vhd_geometry(uint64_t sectors, uint16_t *ret_cylinders, uint8_t *ret_heads,
		  uint8_t *ret_sectors);
/** vhd_size_of() - the virtual size that a footer means: see footer.c */
uint64_t vhd_size_of(const struct vhd_footer *f);
bool vhd_size_by_chs(const struct vhd_footer *f);

/* header.c */

/** vhd_header_read() - at footer.data_offset; fills v->header */
int vhd_header_read(struct image *img, struct vhd *v, struct err *err);
/** vhd_beside_header() - do these bytes lie in neither the header nor the first footer? While the names of a parent change, the
 * header may be behind all the rest. */
bool vhd_beside_header(const struct vhd *v, uint64_t off, uint64_t len);
void vhd_header_encode(const struct vhd_header *h, uint8_t p[VHD_HEADER_BYTES]);
/** vhd_parent_names() - where a parent may be, best first, as plain names; at most @most; each owned */
int vhd_parent_names(struct image *img, const struct vhd *v, char **names, unsigned most,
		     unsigned *ret_n, struct err *err);
/** vhd_uuid_of() - of the VHD file @file */
int vhd_uuid_of(struct bfile *file, uint8_t ret[16], uint32_t *ret_time, struct err *err);
/* parent.c */

/** vhd_find_parent() - img->backing_name: which of its names is that of the disk it was made over */
int vhd_find_parent(struct image *img, struct vhd *v, const struct image_open_opts *opts,
		    struct err *err);
int vhd_check_backing(struct image *img, struct err *err);
int vhd_adopt(struct image *img, const struct image *base, const char *name, struct err *err);
/** vhd_put_names() - @name into @h and @header_bytes, and the locator for offset @at: *@ret, *@ret_len bytes, owned */
int vhd_put_names(struct vhd_header *h, uint8_t header_bytes[VHD_HEADER_BYTES], uint64_t at,
		  const char *name, uint8_t **ret, size_t *ret_len, struct err *err);
enum { VHD_HEADER_AT = 512, VHD_LOCATOR_AT = VHD_HEADER_AT + VHD_HEADER_BYTES, VHD_NAME_AT = 64 };
#define VHD_LOCATOR_W2RU 0x57327275U /* relative, UTF-16LE */
#define VHD_LOCATOR_W2KU 0x57326b75U /* absolute, UTF-16LE */

/* map.c */
int vhd_map(struct image *img, uint64_t off, uint64_t max, struct extent *ret, struct err *err);
/** vhd_bat_entry() - the entry of @block and, from there on, @ret_run entries like it (unused) or 1 */
int vhd_bat_entry(struct vhd *v, uint32_t block, uint32_t *ret, uint32_t *ret_run, struct err *err);
/** vhd_bits_run() - how many bits from @first on are alike, of @end; @ret_set: what they are */
uint32_t vhd_bits_run(const uint8_t *bits, uint32_t first, uint32_t end, bool *ret_set);

/* write.c */
int vhd_open_writer(struct image *img, struct err *err);
void vhd_close_writer(struct image *img);
int vhd_write(struct image *img, const void *buf, uint64_t off, size_t len, struct err *err);
int vhd_write_zeroes(struct image *img, uint64_t off, uint64_t len, bool may_unmap,
		     struct err *err);
int vhd_flush(struct image *img, struct err *err);
int vhd_settle(struct image *img, struct err *err);
int vhd_resize(struct image *img, uint64_t size, struct err *err);
/** vhd_put_both_footers() - what was written before is durable first; durable */
int vhd_put_both_footers(struct image *img, struct err *err);
/** vhd_put_footer() - footer at footer_off, its copy at 0 unless fixed */
int vhd_put_footer(struct image *img, struct err *err);

/* check.c */
int vhd_check(struct image *img, unsigned flags, void (*report)(void *, const char *), void *ctx,
	      struct image_check_result *ret, struct err *err);

/* bulk.c, options.c */
struct vhd_options {
	enum vhd_type type;
	uint32_t block_size;
	uint64_t size; /* of the disk: a multiple of 512 and of what was asked for */
	bool by_chs;   /* the creator's readers take the size from the geometry */
};
int vhd_options_parse(const struct bulk_params *p, struct vhd_options *ret, struct err *err);
extern const struct bulk_ops vhd_bulk_ops;
extern const struct image_option vhd_options_table[];

#endif
