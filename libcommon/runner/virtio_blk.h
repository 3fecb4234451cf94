/* virtio-blk (VIRTIO 1.2, 5.2) over a struct disk. */
#ifndef VMKIT_RUNNER_VIRTIO_BLK_H
#define VMKIT_RUNNER_VIRTIO_BLK_H

#include "libcommon/runner/disk.h"
#include "libcommon/runner/virtio.h"

struct virtio_blk {
	struct virtio_dev dev;
	struct disk *disk; /* borrowed */
	char serial[20];   /* what GET_ID tells */
	atomic_uint errors;
	/* Requests that were done, and the bytes of the first two */
	atomic_ullong reads, writes, flushes, discards, read_bytes, written_bytes;
};

/** virtio_blk_init() - @queues of them, @number names it: "vmkit-0" */
int virtio_blk_init(struct virtio_blk *b, struct disk *disk, unsigned number, unsigned queues,
		    const struct guest_memory *mem, struct err *err);

#endif
