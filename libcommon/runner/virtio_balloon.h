/* virtio-balloon (VIRTIO 1.2, 5.5): takes memory from a guest that runs and gives it back, hears what the guest says of its
 * memory, and gives the host the pages that the guest reports as free.
 *
 * Threads: all but init may be called from any thread.
 */
#ifndef VMKIT_RUNNER_VIRTIO_BALLOON_H
#define VMKIT_RUNNER_VIRTIO_BALLOON_H

#include "libcommon/runner/virtio.h"

/* What a guest tells, by their numbers in the protocol */
enum balloon_stat {
	BALLOON_SWAP_IN, /* bytes; so are those below but for faults and the last two, which are counts */
	BALLOON_SWAP_OUT,
	BALLOON_MAJOR_FAULTS,
	BALLOON_MINOR_FAULTS,
	BALLOON_FREE,
	BALLOON_TOTAL,
	BALLOON_AVAILABLE, /* could be had without swapping */
	BALLOON_CACHES,
	BALLOON_HUGE_PAGES,
	BALLOON_HUGE_FAILURES,
	BALLOON_STATS
};

struct virtio_balloon {
	struct virtio_dev dev;
	atomic_ullong reported; /* bytes that the guest reported as free, each time it did */
	pthread_mutex_t lock;	/* guards all below; taken last */
	pthread_cond_t fresh;	/* told changed */
	bool wanted;		/* the guest's buffer goes back, and comes again with new numbers */
	unsigned told;		/* how often it told */
	uint64_t stat[BALLOON_STATS];
	uint32_t known; /* bits: it tells of these */
};

int virtio_balloon_init(struct virtio_balloon *b, const struct guest_memory *mem, struct err *err);

/** virtio_balloon_set() - the guest is to give up @bytes of its memory; it does as it can */
void virtio_balloon_set(struct virtio_balloon *b, uint64_t bytes);

/** virtio_balloon_size() - bytes that the guest was asked to give up, and what it has */
void virtio_balloon_size(struct virtio_balloon *b, uint64_t *ret_target, uint64_t *ret_actual);

/** virtio_balloon_stats() - as fresh as the guest makes them within @wait_ms, 0: those it told last;
 *  Return: bits of what is known, 0 when it tells nothing */
uint32_t virtio_balloon_stats(struct virtio_balloon *b, unsigned wait_ms,
			      uint64_t ret[BALLOON_STATS]);

#endif
