/* What lies in a volume: kind, label, UUID, size and use, from superblocks alone; some reads, no table of a file system. */
#ifndef VMKIT_GUEST_PROBE_H
#define VMKIT_GUEST_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/image/disk/freemap.h"

struct fs_info {
	const char *
		type; /* as blkid says: "ext4", "vfat", "LVM2_member"; "empty", "unknown"; static */
	const char *family; /* "ext", "fat": what fs_open() goes by; else as type; static */
	char label[257];    /* as stored; "": none */
	char uuid[40];	    /* as blkid prints it; "": none */
	uint64_t size;	    /* bytes of the file system; 0: not said */
	bool has_used;	    /* used is known */
	uint64_t used;	    /* bytes */
	bool has_clean;	    /* clean is known */
	bool clean;	    /* unmounted, nothing to replay */
};

/** fs_probe() - -1 only when the disk cannot be read */
int fs_probe(const struct volume *v, struct fs_info *ret, struct err *err);

/** uuid_text() - 16 bytes as 8-4-4-4-12 */
void uuid_text(const uint8_t id[16], char ret[40]);

#endif
