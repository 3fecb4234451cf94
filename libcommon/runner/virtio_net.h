/* virtio-net (VIRTIO 1.2, 5.1): one pair of queues to a struct net, with buffers that are merged for long frames, and the checksum and
 * segmentation offloads of a net that can do them.
 *
 * What is not whole yet waits where it is: a frame for the guest in the net's buffer until there is room for all of it, one from
 * the guest in its ring until the net takes it. So nothing is lost here between a guest and passt.
 */
#ifndef VMKIT_RUNNER_VIRTIO_NET_H
#define VMKIT_RUNNER_VIRTIO_NET_H

#include "libcommon/runner/net.h"
#include "libcommon/runner/virtio.h"

struct virtio_net {
	struct virtio_dev dev;
	struct net *net; /* borrowed */
	/* Of the receiving queue's thread: a frame with its header that has no room yet, and what the net was told to leave undone */
	uint8_t *frame;
	size_t frame_len;
	uint64_t offloads;
	atomic_bool lost; /* the net has gone, and the driver was not told yet */
	/* From and to the guest's point of view: received is what came to it. Bytes are those of frames. */
	atomic_ullong rx_packets, rx_bytes, rx_dropped, tx_packets, tx_bytes, tx_dropped;
};

int virtio_net_init(struct virtio_net *v, struct net *net, const struct guest_memory *mem,
		    struct err *err);

#endif
