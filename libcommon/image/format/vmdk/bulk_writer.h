/* What the writers of new images share: bulk_sparse.c, bulk_flat.c, bulk_stream.c, bulk_options.c, bulk_files.c. */
#ifndef VMKIT_FORMAT_VMDK_BULK_WRITER_H
#define VMKIT_FORMAT_VMDK_BULK_WRITER_H

#include "libcommon/base/outfile.h"
#include "libcommon/image/format/vmdk/vmdk.h"

#define NEW_GRAIN	  65536U /* bytes */
#define NEW_GRAIN_SECTORS 128U
#define NEW_GTES	  512U
#define NEW_GT_SECTORS	  4U
#define NEW_DESC_SECTORS  20U	   /* of an embedded descriptor, as VMware and QEMU leave for it */
#define NEW_SPLIT_SECTORS 4192256U /* 2047 MiB: VMware's pieces of split disks */

enum vmdk_subformat {
	SUB_MONOLITHIC_SPARSE,
	SUB_STREAM,
	SUB_MONOLITHIC_FLAT,
	SUB_SPLIT_SPARSE,
	SUB_SPLIT_FLAT,
	SUB_VMFS,
};

struct vmdk_bulk_options {
	enum vmdk_subformat subformat;
	const char *create_type, *adapter, *hw_version, *tools_version; /* borrowed */
	uint64_t sectors;						/* of the disk */
	int level;							/* 1..12 */
};

int vmdk_bulk_options_parse(const struct bulk *b, struct vmdk_bulk_options *ret, struct err *err);

/** struct vmdk_files - the extent files beside a descriptor */
struct vmdk_files {
	struct vmdk_file {
		struct outfile *of; /* NULL once committed */
		struct bfile *file; /* NULL while measuring */
		char *path, *name;  /* name: without the folder */
		uint64_t sectors;   /* of the disk */
		bool committed;
	} * f;
	size_t n;
};

/** vmdk_files_open() - enough files of at most @most_sectors for the disk; none while measuring */
int vmdk_files_open(struct bulk *b, const struct vmdk_bulk_options *o, uint64_t most_sectors,
		    struct vmdk_files *ret, struct err *err);
int vmdk_files_commit(struct vmdk_files *s, struct err *err);
/** vmdk_files_close() - also removes what was committed, unless the image is */
void vmdk_files_close(const struct bulk *b, struct vmdk_files *s);

/** vmdk_own_name() - how an image in one file calls itself; @unnamed: for a stream */
const char *vmdk_own_name(const struct bulk_params *p, const char *unnamed);
/** vmdk_new_text() - the descriptor; @type: of its extents; @s: NULL when the image is one file, called @name */
int vmdk_new_text(const struct bulk *b, const struct vmdk_bulk_options *o, uint32_t cid,
		  const struct vmdk_files *s, const char *type, const char *name, char **ret_text,
		  size_t *ret_len, struct err *err);
/** vmdk_write_text() - a descriptor that is a file of its own: the target */
int vmdk_write_text(struct bulk *b, const struct vmdk_bulk_options *o, uint32_t cid,
		    const struct vmdk_files *s, const char *type, uint64_t *ret_len,
		    struct err *err);

/* A content ID from samples of the content: 64 bytes of each 4 KiB block, in any order. */
typedef _Atomic uint64_t vmdk_sum;
void vmdk_sum_data(vmdk_sum *sum, const uint8_t *data, uint64_t off, size_t len);
/** vmdk_sum_unit() - also of a unit that is only copied, of which the first block is read */
int vmdk_sum_unit(vmdk_sum *sum, const struct bulk_unit *u, struct err *err);
int vmdk_cid(const struct bulk *b, uint64_t sum, uint32_t *ret, struct err *err);

/** vmdk_write_plain() - data without its blocks of zeros, to a file that reads as zero */
int vmdk_write_plain(struct bfile *f, const uint8_t *p, uint64_t host, size_t len, struct err *err);
/** vmdk_copy() - bulk_copy_range() to another file than the target */
int vmdk_copy(struct bulk *b, struct bfile *to, struct bfile *src, uint64_t src_off, uint64_t host,
	      uint64_t len, struct err *err);

struct vmdk_packers;
/** vmdk_packers_new() - compressors, made as threads need them */
int vmdk_packers_new(struct vmdk_packers **ret, int level, struct err *err);
void vmdk_packers_free(struct vmdk_packers *p);
/** vmdk_pack_room() - the most bytes that a grain can become */
size_t vmdk_pack_room(void);
/** vmdk_pack() - one grain to a zlib stream (RFC 1950); any thread */
int vmdk_pack(struct vmdk_packers *p, const uint8_t *grain, uint8_t *out, size_t room,
	      size_t *ret_len, struct err *err);
/**
 * vmdk_take_packed() - a grain as its source has it compressed, with the header and sum of RFC 1950 where it has none
 * @grain: the same decoded
 * Return: its length, or 0 when it is longer than @room
 */
size_t vmdk_take_packed(const struct bulk_packed *packed, const uint8_t *grain, uint8_t *out,
			size_t room);

#endif
