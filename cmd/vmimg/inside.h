/* What the verbs have in common that look inside of a disk: inspect, ls, cat, get. */
#ifndef VMKIT_VMIMG_INSIDE_H
#define VMKIT_VMIMG_INSIDE_H

#include "cmd/vmimg/vmimg.h"
#include "libcommon/guest/guest.h"

/* Of the one verb that runs */
struct inside_options {
	const char *format, *snapshot;
	struct opt_list allow;
	bool shared, own_only;
};
extern struct inside_options inside_options;

#define INSIDE_OPTIONS                                                                             \
	{'f',                                                                                      \
	 "format",                                                                                 \
	 OPT_STRING,                                                                               \
	 &inside_options.format,                                                                   \
	 .arg = "FORMAT",                                                                          \
	 .help = "format of the image; without it the image is probed",                            \
	 .complete = COMPLETE_FORMAT},                                                             \
		{0,                                                                                \
		 "snapshot",                                                                       \
		 OPT_STRING,                                                                       \
		 &inside_options.snapshot,                                                         \
		 .arg = "NAME",                                                                    \
		 .help = "look into this internal snapshot, by name or id"},                       \
		{0,                                                                                \
		 "allow-backing",                                                                  \
		 OPT_LIST,                                                                         \
		 &inside_options.allow,                                                            \
		 .arg = "DIR",                                                                     \
		 .help = "folder outside of an image's own where its chain may lead",              \
		 .complete = COMPLETE_DIR},                                                        \
		{0, "no-appliance", OPT_FLAG, &inside_options.own_only,                            \
		 .help = "do not start libguestfs for what is not read here"},                     \
	{                                                                                          \
		'U', "force-share", OPT_FLAG, &inside_options.shared,                              \
			.help = "read an image that another process may be writing"                \
	}

#define INSIDE_STATUSES                                                                            \
	"0 done, 2 usage, 4 no such image, partition or file, 6 in use (see -U), 8 damaged, "      \
	"9 a file system that is not read here"

#define INSIDE_PATHS                                                                               \
	"A path is one of the system that is found in the disk, with what its fstab mounts from "  \
	"the same\n"                                                                               \
	"disk, or PARTITION:/PATH; PARTITION is a number, a label, a UUID, the name of a GPT "     \
	"entry or\n"                                                                               \
	"GROUP/VOLUME of LVM2. ext2, ext3, ext4, XFS and FAT are read, without root and without\n" \
	"mounting anything; a journal that was not replayed is not looked at. btrfs, NTFS and "    \
	"some others are\n"                                                                        \
	"read by libguestfs, where it is installed: its appliance, a small machine, starts in "    \
	"seconds (20\n"                                                                            \
	"without KVM), once, and sees the disk read only. LIBGUESTFS_BACKEND_SETTINGS=force_tcg "  \
	"keeps it off KVM."

/** inside_open() - image and what is in it; both are owned: inside_close() */
int inside_open(const char *name, struct image **ret_img, struct guest **ret, struct err *err);
void inside_close(struct image *img, struct guest *g);

#endif
