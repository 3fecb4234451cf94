/* FAT12, FAT16 and FAT32: the boot sector and the table, for free maps and for files. */
#ifndef VMKIT_IMAGE_DISK_FAT_H
#define VMKIT_IMAGE_DISK_FAT_H

#include "libcommon/image/disk/freemap.h"

/** struct fat - what the boot sector says; its areas lie inside the volume */
struct fat {
	uint32_t sector, cluster; /* bytes */
	uint64_t fat_off, fat_len, data_off;
	uint64_t clusters; /* numbered from 2 */
	unsigned bits;	   /* 12, 16, 32 */
	bool dirty;	   /* as the boot sector says */
	uint32_t root_entries,
		root_cluster; /* root_cluster: FAT32 alone, which has no root_entries */
	uint64_t root_off;
};

/** fat_find() - *@ret: the boot sector makes sense as FAT and @f is filled; -1 only when the disk cannot be read */
int fat_find(const struct volume *v, struct fat *f, bool *ret, struct err *err);

/** fat_entry() - entry @i of @buf, a part of the table that begins with a whole entry */
uint32_t fat_entry(const struct fat *f, const uint8_t *buf, uint64_t i);

#endif
