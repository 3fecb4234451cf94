/* Between commit.c and rebase.c. */
#ifndef VMKIT_IMAGE_COPY_CHAIN_PRIVATE_H
#define VMKIT_IMAGE_COPY_CHAIN_PRIVATE_H

#include "libcommon/image/copy/chain.h"

/** chain_refuse_snapshots() - ERR_UNSUPPORTED when @img has internal snapshots */
int chain_refuse_snapshots(struct image *img, struct err *err);

#endif
