/* virtio-fs (VIRTIO 1.2, 5.11): a folder of the host, served by the queues' own threads; no daemon, no shared memory window. */
#ifndef VMKIT_RUNNER_VIRTIO_FS_H
#define VMKIT_RUNNER_VIRTIO_FS_H

#include "libcommon/runner/virtio.h"

struct share;

enum { VIRTIO_FS_TAG_MAX = 36 };

struct virtio_fs {
	struct virtio_dev dev;
	struct share *share; /* borrowed */
};

/** virtio_fs_init() - @tag: 1 to VIRTIO_FS_TAG_MAX bytes, by which the guest mounts it */
int virtio_fs_init(struct virtio_fs *f, struct share *share, const char *tag,
		   const struct guest_memory *mem, struct err *err);

#endif
