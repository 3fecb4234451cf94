/* Virtio 1.x devices behind PCI: status, features, queues, interrupts (virtio.c), and the registers (virtio_pci.c).
 *
 * A device type gives a struct virtio_type; its request() serves one chain of a queue. Each queue has a thread that is
 * woken by the driver's notification, so that no vCPU waits for a disk.
 *
 * Locks: dev->lock guards status, features and what is selected; queue->lock guards the ring of one queue and is held
 * while a request is served. dev->lock is taken first. So a reset waits for at most one request a queue, and none
 * touches guest memory after it.
 */
#ifndef VMKIT_RUNNER_VIRTIO_H
#define VMKIT_RUNNER_VIRTIO_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "libcommon/base/err.h"
#include "libcommon/runner/pci.h"
#include "libcommon/runner/virtq.h"

enum {
	VIRTIO_QUEUES_MAX = 16,
	VIRTIO_CONFIG_MAX = 64,
	VIRTIO_NO_VECTOR = 0xffff,
	VIRTIO_NET = 1,
	VIRTIO_RNG = 4,
	VIRTIO_BLK = 2,
	VIRTIO_CONSOLE = 3,
	VIRTIO_BALLOON = 5,
	VIRTIO_VSOCK = 19,
	VIRTIO_FS = 26,
	VIRTIO_LATER =
		-1, /* request(): nothing to answer with yet; ask again when the queue is woken */
	VIRTIO_BAD = -2, /* request(): the chain breaks the rules of the device */
};

#define VIRTIO_F_INDIRECT  (UINT64_C(1) << 28)
#define VIRTIO_F_VERSION_1 (UINT64_C(1) << 32)

enum virtio_status {
	VIRTIO_ACKNOWLEDGE = 1,
	VIRTIO_DRIVER = 2,
	VIRTIO_DRIVER_OK = 4,
	VIRTIO_FEATURES_OK = 8,
	VIRTIO_NEEDS_RESET = 0x40,
	VIRTIO_FAILED = 0x80,
};

struct virtio_dev;
struct virtio_queue;
struct state_in;
struct state_out;

struct virtio_type {
	uint16_t id;	     /* VIRTIO_BLK, ... */
	uint32_t class_code; /* of PCI */
	/* Serve one request. Return: bytes written to the writable part, or VIRTIO_LATER, VIRTIO_BAD */
	int64_t (*request)(struct virtio_dev *d, unsigned queue, struct virtq_chain *chain);
	/* Or, where a request and its answer are not one chain: serve some of what waits, with q->lock held and the driver
	 * ready; q->events and q->again are its to set. Return: chains pushed, or -1: the queue is broken */
	int (*serve)(struct virtio_dev *d, struct virtio_queue *q);
	/* Is the rest of a queue nobody's? Asked between requests, without a lock; NULL: never */
	bool (*enough)(struct virtio_dev *d);
	/* After serve(), without a lock; may be NULL */
	void (*served)(struct virtio_dev *d);
	/* The driver is about to reset the device: what it left in the queues is not lost, a guest that powers off resets
	 * all devices. By a vCPU's thread, without a lock; may wait as long as request() may. NULL: there is nothing to keep */
	void (*before_reset)(struct virtio_dev *d);
	/* State of its own beside registers and queues, for saved machines (state.h): what load() makes of hostile bytes
	 * is good. Called while nothing is served. NULL: it has none */
	void (*save)(struct virtio_dev *d, struct state_out *out);
	void (*load)(struct virtio_dev *d, struct state_in *in);
	/* Can a machine with it be saved now? 0 or -1; asked while it runs, and again while nothing is served. NULL: always */
	int (*can_save)(struct virtio_dev *d, struct err *err);
	/* The driver writes to its configuration; with the device's lock. NULL: it cannot */
	void (*config_write)(struct virtio_dev *d, uint32_t off, unsigned size, uint64_t value);
};

struct virtio_queue {
	struct virtio_dev *dev;
	unsigned index;
	pthread_mutex_t lock;
	struct virtq ring;
	atomic_uint vector;
	int kick;	   /* eventfd */
	atomic_uint kicks; /* that came by way of a vCPU, since the registers are where they are */
	uint64_t door; /* where writes wake the thread without one; 0: nowhere. With the bus lock */
	/* Of a type with serve(): the thread wakes for these events (of poll()) of this descriptor too; 0: only by a kick */
	int source;
	short events;
	bool again; /* there is more to do now */
	pthread_t thread;
	bool running;
	struct virtq_chain chain; /* of the thread alone */
};

struct virtio_dev {
	struct pci_dev pci; /* first: the transport finds the device by it */
	const struct virtio_type *type;
	void *priv;
	uint64_t features; /* offered */
	uint8_t config[VIRTIO_CONFIG_MAX];
	unsigned config_len, queues;
	struct virtio_queue queue[VIRTIO_QUEUES_MAX];

	pthread_mutex_t lock;
	atomic_uint status; /* written with the lock held */
	uint64_t driver_features;
	uint32_t feature_select, driver_feature_select;
	uint16_t queue_select;
	pthread_mutex_t intx_lock; /* the last one taken: orders isr and the line */
	unsigned isr;
	atomic_uint config_vector;
	atomic_bool stop;
	/* The window in the configuration space; guarded by lock */
	unsigned cfg_cap;
};

/**
 * virtio_init() - a device of @type with @queues queues over @mem
 *
 * Features, config and priv are the caller's to set, before virtio_start().
 * Return: 0 or -1
 */
int virtio_init(struct virtio_dev *d, const struct virtio_type *type, unsigned queues,
		const struct guest_memory *mem, struct err *err);

/** virtio_start() - one thread a queue; after this the guest may run */
int virtio_start(struct virtio_dev *d, struct err *err);

/** virtio_stop() - end the threads, after the request that each is at, and leave the bus, whose other devices may go on;
 *  called once, also after a failed start */
void virtio_stop(struct virtio_dev *d);

/** virtio_wake() - have a queue's thread look: the driver notified it, or the device has something for it */
void virtio_wake(struct virtio_dev *d, unsigned queue);

/** virtio_freeze() - no request is served until virtio_thaw(), by the same thread; waits for those that are under way
 *  until @until (CLOCK_REALTIME). Return: false when one is not done by then: nothing is frozen */
bool virtio_freeze(struct virtio_dev *d, const struct timespec *until);
void virtio_thaw(struct virtio_dev *d);

/** virtio_serve() - serve what waits in a queue, as its thread does; for tests without threads. Return: requests */
unsigned virtio_serve(struct virtio_queue *q);

/** virtio_set_status() - what the driver writes to device_status; 0 resets */
void virtio_set_status(struct virtio_dev *d, uint8_t status);

/** virtio_enable_queue() - the driver has configured the selected queue; with the lock held */
void virtio_enable_queue(struct virtio_dev *d);

/** virtio_set_config() - change bytes of the configuration, and tell the driver; without a lock held */
void virtio_set_config(struct virtio_dev *d, unsigned off, const void *bytes, size_t len);

/** virtio_has() - has the driver taken this feature? Once it is ready, with the queue's lock */
bool virtio_has(const struct virtio_dev *d, uint64_t feature);

/* virtio_pci.c */
void virtio_pci_init(struct virtio_dev *d);
/** virtio_raise() - interrupt: @queue, or -1 when the configuration changed */
void virtio_raise(struct virtio_dev *d, int queue);
/** virtio_take_isr() - what the driver reads of the ISR register, which lowers the line */
unsigned virtio_take_isr(struct virtio_dev *d);

#endif
