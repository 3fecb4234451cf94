/* Files inside of a disk of a snapshot, without restoring it: what ls and get share. */
#ifndef VMKIT_VMBACKUP_INSIDE_H
#define VMKIT_VMBACKUP_INSIDE_H

#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/guest/guest.h"

struct inside {
	struct repo *repo;
	struct snapshot *snap;
	char *disk;
	struct image *img;
	struct guest *guest;
};

/** inside_open() - "NAME@WHEN[:DISK]" of the repository that -r names; inside_close() after success */
int inside_open(struct inside *in, const char *spec, struct err *err);
void inside_close(struct inside *in);

#define INSIDE_PATHS                                                                               \
	"A path is one of the system that is found in the disk, with what its fstab mounts from "  \
	"the same\n"                                                                               \
	"disk, or PARTITION:/PATH; PARTITION is a number, a label, a UUID, the name of a GPT "     \
	"entry or\n"                                                                               \
	"GROUP/VOLUME of LVM2. ext2, ext3, ext4, XFS and FAT are read; only the parts that are "   \
	"needed\n"                                                                                 \
	"come from the repository."

#define INSIDE_STATUSES                                                                            \
	"0 done, 2 usage, 4 no such snapshot, disk, partition or file, 8 damaged, 9 a file "       \
	"system that is not read here, 12 wrong key"

#endif
