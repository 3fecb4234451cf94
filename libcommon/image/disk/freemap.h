/* What a file system does not use: free ranges of a disk, from the maps that the file systems keep themselves.
 *
 * Read-only parsers of hostile bytes: ext2/3/4 (through libext2fs), XFS, FAT12/16/32, NTFS, Linux swap. A file system that
 * was not unmounted, or needs its journal, is refused: its maps may be behind.
 */
#ifndef VMKIT_IMAGE_DISK_FREEMAP_H
#define VMKIT_IMAGE_DISK_FREEMAP_H

#include "libcommon/image/disk/partition.h"
#include "libcommon/image/image.h"

struct free_range {
	uint64_t off, len; /* bytes of the disk */
};

/** struct freemap - ascending within a volume, merged; volumes in the order in which they were added */
struct freemap {
	struct free_range *ranges;
	size_t n, room;
	uint64_t bytes;
};

void freemap_release(struct freemap *m);

/** struct volume - where a file system lies */
struct volume {
	struct image *img;
	uint64_t off, len;
};

/** struct free_reader - one kind of file system */
struct free_reader {
	const char *name; /* "ext", for people and JSON */
	/* *@ret: this is one. -1 only when the disk cannot be read */
	int (*probe)(const struct volume *v, bool *ret, struct err *err);
	/* Add what is free; NULL: its map cannot be read here, all of it is in use.
	 * ERR_UNSUPPORTED: dirty; ERR_CORRUPT: contradicts itself */
	int (*read)(const struct volume *v, struct freemap *m, struct err *err);
};

extern const struct free_reader free_ext, free_fat, free_ntfs, free_swap, free_xfs;

/** volume_read() - inside the volume, else ERR_CORRUPT */
int volume_read(const struct volume *v, void *buf, uint64_t off, size_t len, struct err *err);

/** freemap_add() - [off, off + len) of @v is free; ascending; ERR_CORRUPT outside of it */
int freemap_add(struct freemap *m, const struct volume *v, uint64_t off, uint64_t len,
		struct err *err);

/** freemap_bits() - a bitmap in pieces: bit i of @bits, from the lowest of each byte on, is unit @first + i of @unit bytes
 *  behind @start; clear: free */
int freemap_bits(struct freemap *m, const struct volume *v, const uint8_t *bits, uint64_t first,
		 uint64_t count, uint64_t start, uint64_t unit, struct err *err);

/** freemap_read() - the file system in @v; *@ret_name: its kind (static), "unknown", or "empty" */
int freemap_read(const struct volume *v, struct freemap *m, const char **ret_name, struct err *err);

#endif
