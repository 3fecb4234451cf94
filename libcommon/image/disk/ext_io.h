/* libext2fs over a virtual disk: an I/O manager that reads a volume, and what is checked before the library sees it. */
#ifndef VMKIT_IMAGE_DISK_EXT_IO_H
#define VMKIT_IMAGE_DISK_EXT_IO_H

#include <ext2fs/ext2fs.h>

#include "libcommon/image/disk/freemap.h"

/** ext_probe() - *@ret: the magic of ext2, ext3 and ext4 is there; -1 only when the disk cannot be read */
int ext_probe(const struct volume *v, bool *ret, struct err *err);

/** ext_is_clean() - a superblock of 1024 bytes says: unmounted, no errors, no journal to replay */
bool ext_is_clean(const uint8_t *super);

/** struct ext_io - where the library reads; lives as long as the file system that was opened with it */
struct ext_io {
	struct volume v;
	/* Reads that are left before the library is told that the disk ends: trees of blocks that lead to each
	 * other would keep it busy for ever. ext_io_allow() sets it anew */
	uint64_t reads_left;
	/* For writing: what the library reads and writes goes through these; -1 fails; NULL: the volume, read only */
	void *overlay;
	int (*over_read)(struct ext_io *io, void *buf, uint64_t off, size_t len);
	int (*over_write)(struct ext_io *io, const void *buf, uint64_t off, size_t len);
};

/** ext_io_allow() - as many reads as one operation can need on a volume of this size */
void ext_io_allow(struct ext_io *io);

/**
 * ext_open() - check the superblock against the volume, open; close with ext2fs_free()
 * @io: v is set; must outlive *@ret; with over_write the file system is opened for writing
 * @dirty_too: also what was not unmounted: its journal is not looked at; else ERR_UNSUPPORTED
 */
int ext_open(struct ext_io *io, bool dirty_too, ext2_filsys *ret, struct err *err);

#endif
