/* Split virtqueues (VIRTIO 1.2, 2.7), the device's side. What a guest writes there is hostile.
 *
 * The three rings are checked when the queue is enabled: power-of-two size, alignment, each whole in one region of
 * guest memory; from then on they are reached by pointers into it. Each descriptor is copied once and checked on the
 * copy. A chain has at most as many descriptors as the queue; so loops end. A queue whose rings make no sense is
 * broken, and stays silent until the driver resets the device.
 *
 * Threads: the caller serializes calls on one queue.
 */
#ifndef VMKIT_RUNNER_VIRTQ_H
#define VMKIT_RUNNER_VIRTQ_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "libcommon/runner/memory.h"

enum { VIRTQ_SIZE_MAX = 256 };

struct virtq {
	const struct guest_memory *mem;
	/* What the driver configures */
	uint16_t size;
	uint64_t desc, avail, used; /* guest physical */
	bool enabled;
	/* Of an enabled queue */
	bool broken;
	uint8_t *desc_ring, *avail_ring, *used_ring;
	uint16_t last_avail, used_index;
};

/** struct virtq_chain - one request: @readable parts of guest memory, then @writable ones, in @iov */
struct virtq_chain {
	uint16_t head;
	unsigned readable, writable;	     /* entries */
	uint64_t readable_len, writable_len; /* bytes */
	struct iovec iov[VIRTQ_SIZE_MAX];
};

/** virtq_reset() - as after power on; @mem stays */
void virtq_reset(struct virtq *q);

/** virtq_enable() - check what the driver configured; Return: false when it cannot be used */
bool virtq_enable(struct virtq *q);

/** virtq_pop() - the next request; Return: 1, 0 when there is none, -1 when the queue is or just was found broken */
int virtq_pop(struct virtq *q, struct virtq_chain *ret);

/** virtq_unpop() - the request that was popped last is not taken yet */
void virtq_unpop(struct virtq *q);

/** virtq_push() - the request is done, @written bytes of its writable part are filled */
void virtq_push(struct virtq *q, uint16_t head, uint32_t written);

/** virtq_fill() - as virtq_push(), but the driver does not see it yet: the @ahead-th of those that virtq_publish() shows */
void virtq_fill(struct virtq *q, unsigned ahead, uint16_t head, uint32_t written);

/** virtq_publish() - @n filled requests are done, all at once */
void virtq_publish(struct virtq *q, unsigned n);

/** virtq_wants_interrupt() - false while the driver polls */
bool virtq_wants_interrupt(const struct virtq *q);

/** virtq_take() - copy the first @len bytes out of @iov and drop them from it; Return: bytes copied, fewer only when
 *  there are no more. @iov and @n are changed; @dst NULL: skip */
size_t virtq_take(struct iovec **iov, unsigned *n, void *dst, size_t len);

#endif
