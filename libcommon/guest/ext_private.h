/* Between fs_ext.c and what writes to ext file systems. */
#ifndef VMKIT_GUEST_EXT_PRIVATE_H
#define VMKIT_GUEST_EXT_PRIVATE_H

#include "libcommon/image/disk/ext_io.h"

/** struct ext - priv of a struct fs of fs_ext */
struct ext {
	struct ext_io io;
	ext2_filsys fs;
};

#endif
