/* What virtio_vsock.c and vsock_host.c share. */
#ifndef VMKIT_RUNNER_VSOCK_PRIVATE_H
#define VMKIT_RUNNER_VSOCK_PRIVATE_H

#include "libcommon/runner/virtio_vsock.h"

enum vsock_op {
	VSOCK_REQUEST = 1,
	VSOCK_RESPONSE = 2,
	VSOCK_RST = 3,
	VSOCK_SHUTDOWN = 4,
	VSOCK_RW = 5,
	VSOCK_CREDIT_UPDATE = 6,
	VSOCK_CREDIT_REQUEST = 7,
};
enum { VSOCK_NO_RECEIVE = 1, VSOCK_NO_SEND = 2, VSOCK_BOTH = 3 };

enum vsock_state {
	VSOCK_FREE,
	VSOCK_GREETING,	  /* a peer on the host has not said yet which port it wants */
	VSOCK_CONNECTING, /* the guest has not answered yet */
	VSOCK_OPEN,
	VSOCK_CLOSING, /* the guest was told that all is over; its RST ends it */
};

struct vsock_connection {
	enum vsock_state state;
	int fd; /* non-blocking; -1: none */
	uint32_t guest_port, host_port;
	char greeting[32];
	unsigned greeted;
	unsigned tell;			   /* bits, 1 << op: packets that the guest is to get */
	unsigned over;			   /* VSOCK_NO_*: what we told the guest */
	unsigned guest_over;		   /* what it told us */
	bool readable;			   /* the socket has something for the guest */
	bool ended;			   /* it will have no more */
	uint32_t guest_alloc, guest_taken; /* what the guest says of its buffer */
	uint32_t sent;			   /* bytes to the guest, modulo 2^32 */
	uint32_t taken,
		taken_told; /* bytes from it that the socket took, and what the guest knows of that */
	uint8_t *buffer;    /* VSOCK_BUFFER bytes, [start, start + len) waits, wrapping */
	uint32_t start, len;
};

struct vsock_reset {
	uint32_t guest_port, host_port;
};

struct vsock {
	char path[VSOCK_PATH_MAX + 1];
	int fd;
};

struct virtio_vsock {
	struct virtio_dev dev; /* first */
	struct vsock *host;
	uint32_t cid;
	int wake; /* eventfd: what the thread waits for has changed */
	pthread_t thread;
	bool running;
	atomic_bool stop;
	atomic_bool transport_reset; /* the guest is to be told */
	pthread_mutex_t lock;	     /* guards all below; taken after a queue's */
	struct vsock_connection connection[VSOCK_CONNECTIONS];
	unsigned turn; /* which connection is next to send something */
	uint32_t next_port;
	struct vsock_reset reset[VSOCK_RESETS];
	unsigned resets;
};

/* virtio_vsock.c; all with the lock */

/** vsock_new_connection() - NULL when there are too many; @fd is consumed on success */
struct vsock_connection *vsock_new_connection(struct virtio_vsock *v, int fd,
					      enum vsock_state state);
/** vsock_end() - no more of it, without a word */
void vsock_end(struct vsock_connection *c);
/** vsock_tell() - a packet for the guest */
void vsock_tell(struct virtio_vsock *v, struct vsock_connection *c, enum vsock_op op);

/* vsock_host.c; with the lock */

/** vsock_connect() - a socket for the guest's connection to @port of the host; -1: nobody listens */
int vsock_connect(const struct vsock *host, uint32_t port);
/** vsock_flush() - what waits goes to the socket as far as it takes it */
void vsock_flush(struct virtio_vsock *v, struct vsock_connection *c);
/** vsock_look() - the thread looks again at what to wait for */
void vsock_look(struct virtio_vsock *v);
void *vsock_thread(void *arg);

#endif
