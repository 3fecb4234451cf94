/* VDI, VirtualBox's disk image: what the files of this folder share.
 *
 * A header of one sector, a map of 32-bit little-endian entries, one a block (1 MiB as a rule), and the blocks. An
 * entry is the block's index behind offset_data, or says that there is none: in a differencing image the parent
 * then has it. Header fields by their offsets as in VirtualBox's VDICore.h, version 1.1.
 */
#ifndef VMKIT_FORMAT_VDI_H
#define VMKIT_FORMAT_VDI_H

#include "libcommon/image/format.h"

#define VDI_SIGNATURE	0xbeda107fU
#define VDI_VERSION_1_1 0x00010001U
#define VDI_NONE	0xffffffffU /* not allocated: zeros, or what the parent has */
#define VDI_ZERO	0xfffffffeU /* zeros, whatever the parent has */
#define VDI_LAST	0xfffffffdU /* greatest index */

enum {
	VDI_HEADER_SIZE = 512,
	VDI_BLOCK_SIZE = 1 << 20, /* of images we make */
	VDI_BLOCK_MIN = 4096,
	VDI_BLOCK_MAX = 64 << 20,
	VDI_OFF_ALLOCATED = 388,
	VDI_OFF_UUID_MODIFY = 408,
	VDI_OFF_PARENT_MODIFY = 440,
};

enum vdi_type { VDI_DYNAMIC = 1, VDI_STATIC = 2, VDI_UNDO = 3, VDI_DIFF = 4 };

/** struct vdi_header - UUIDs in the byte order of the file */
struct vdi_header {
	uint32_t type, flags;
	uint32_t map_offset, data_offset;
	uint32_t block_size;
	uint32_t blocks, allocated;
	uint64_t size;
	uint8_t uuid[16], modify[16], parent[16], parent_modify[16];
	char comment[257];
};

/** vdi_header_parse() - one sector; checks each field but not where tables lie in the file */
int vdi_header_parse(const uint8_t raw[VDI_HEADER_SIZE], struct vdi_header *ret, struct err *err);
void vdi_header_build(const struct vdi_header *h, uint8_t raw[VDI_HEADER_SIZE]);

/** vdi_uuid_swap() - from the file's order to the order of the text, and back */
void vdi_uuid_swap(const uint8_t in[16], uint8_t ret[16]);

enum { VDI_UUID_TEXT = 37 };
/** vdi_uuid_text() - of a UUID in the file's order; returns @buf */
char *vdi_uuid_text(const uint8_t uuid[16], char buf[VDI_UUID_TEXT]);
bool vdi_uuid_none(const uint8_t uuid[16]);

struct vdi_writer;
struct vdi {
	struct vdi_header h;
	struct table_cache *map;   /* while there is no writer */
	struct vdi_writer *writer; /* NULL: open for reading or for check */
};

static inline uint64_t vdi_host(const struct vdi_header *h, uint32_t index)
{
	return h->data_offset + (uint64_t)index * h->block_size;
}

/** vdi_find_parent() - set img->backing_name and backing_format to the file that has the parent's UUID (parent.c) */
int vdi_find_parent(struct image *img, const struct image_open_opts *opts, struct err *err);
int vdi_check_backing(struct image *img, struct err *err);
int vdi_adopt(struct image *img, const struct image *base, const char *name, struct err *err);

/* write.c */
int vdi_open_writer(struct image *img, struct err *err);
void vdi_close_writer(struct image *img);
/** vdi_writer_entry() - the entry of @block and how many follow it on the disk, at most @max */
void vdi_writer_entry(struct vdi *v, uint32_t block, uint32_t max, uint32_t *ret_entry,
		      uint32_t *ret_n);
int vdi_write(struct image *img, const void *buf, uint64_t off, size_t len, struct err *err);
int vdi_write_zeroes(struct image *img, uint64_t off, uint64_t len, bool may_unmap,
		     struct err *err);
int vdi_discard(struct image *img, uint64_t off, uint64_t len, struct err *err);
int vdi_flush(struct image *img, struct err *err);

/* resize.c */
int vdi_resize(struct image *img, uint64_t size, struct err *err);

/** vdi_run() - how many of the @n entries at @e go on as the first one does: same kind, or next index */
uint32_t vdi_run(const uint8_t *e, uint32_t n);

/** vdi_check() - for struct image_format (check.c) */
int vdi_check(struct image *img, unsigned flags, void (*report)(void *, const char *), void *ctx,
	      struct image_check_result *ret, struct err *err);

extern const struct bulk_ops vdi_bulk_ops;
extern const struct image_option vdi_options[];
extern const struct image_format image_format_vdi;

#endif
