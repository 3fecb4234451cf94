/* Logical volumes of LVM2 on one physical volume: read from its metadata, as images of their own. */
#ifndef VMKIT_GUEST_LVM_H
#define VMKIT_GUEST_LVM_H

#include "libcommon/image/disk/freemap.h"

/**
 * lvm_read() - call @add for each linear logical volume of the physical volume @pv
 * @uuid: of @pv, as lvm writes it
 * @add: gets "GROUP/VOLUME" and an image, which it consumes, also when it fails
 * Volumes of other kinds, or with parts on other physical volumes, are left out with a warning. ERR_CORRUPT: the metadata
 * contradict themselves.
 */
int lvm_read(const struct volume *pv, const char *uuid,
	     int (*add)(void *ctx, const char *name, struct image *img, struct err *err), void *ctx,
	     struct err *err);

#endif
