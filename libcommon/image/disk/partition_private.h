/* Between partition.c and gpt.c. */
#ifndef VMKIT_IMAGE_DISK_PARTITION_PRIVATE_H
#define VMKIT_IMAGE_DISK_PARTITION_PRIVATE_H

#include "libcommon/image/disk/partition.h"

enum { MBR_PROTECTIVE = 0xee };

/** partition_add() - one more, copied */
int partition_add(struct partition_table *t, const struct partition *p, struct err *err);

/** gpt_read() - *@ret_found: a good header was found and @t is filled
 *  @protective: the MBR promises one: look for a backup at the end of the disk too */
int gpt_read(struct image *img, bool protective, struct partition_table *t, bool *ret_found,
	     struct err *err);

#endif
