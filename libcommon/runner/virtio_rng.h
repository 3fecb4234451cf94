/* virtio-rng (VIRTIO 1.2, 5.4): random bytes of the host's kernel. */
#ifndef VMKIT_RUNNER_VIRTIO_RNG_H
#define VMKIT_RUNNER_VIRTIO_RNG_H

#include "libcommon/runner/virtio.h"

int virtio_rng_init(struct virtio_dev *d, const struct guest_memory *mem, struct err *err);

#endif
