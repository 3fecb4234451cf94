/* virtio-vsock (VIRTIO 1.2, 5.10), streams only, joined to unix sockets of the host as others do it:
 *
 *	host to guest: connect to PATH and say "CONNECT PORT\n"; "OK PORT\n" comes back, then the bytes of the connection
 *	guest to host: a connection to port N of the host (CID 2) is one to the socket PATH_N, if somebody listens there
 *
 * virtio_vsock.c has the packets and the connections, vsock_host.c the sockets and the thread that waits for them.
 *
 * Memory is bounded: a connection has VSOCK_BUFFER bytes for what its peer on the host does not take, which is what the guest
 * is allowed to send ahead; what goes to the guest is read when the guest has room for it.
 */
#ifndef VMKIT_RUNNER_VIRTIO_VSOCK_H
#define VMKIT_RUNNER_VIRTIO_VSOCK_H

#include "libcommon/runner/virtio.h"

enum {
	VSOCK_CONNECTIONS = 128,
	VSOCK_BUFFER = 64 << 10,
	VSOCK_RESETS = 64,   /* answers to packets of no connection: more are forgotten */
	VSOCK_PATH_MAX = 92, /* with "_" and a port it still is a path of a unix socket */
	VSOCK_CID_FIRST = 3,
};

struct vsock; /* the socket PATH, listening */

/**
 * vsock_open() - make the socket @path, mode 0600; one that nobody listens on any more is replaced
 * Return: 0 with *@ret owned, or -1: ERR_USAGE (too long), ERR_EXISTS, ERR_DENIED
 */
int vsock_open(struct vsock **ret, const char *path, struct err *err);
/** vsock_close() - and remove it; NULL is allowed */
void vsock_close(struct vsock *v);

struct virtio_vsock;

/** virtio_vsock_new() - *@ret is owned (virtio_vsock_free()); @host is borrowed */
int virtio_vsock_new(struct virtio_vsock **ret, struct vsock *host, uint32_t cid,
		     const struct guest_memory *mem, struct err *err);
/** virtio_vsock_dev() - to be put on a bus and started */
struct virtio_dev *virtio_vsock_dev(struct virtio_vsock *v);
/** virtio_vsock_start() - the thread that waits for sockets */
int virtio_vsock_start(struct virtio_vsock *v, struct err *err);
/** virtio_vsock_free() - ends all; also the device's own threads. NULL is allowed */
void virtio_vsock_free(struct virtio_vsock *v);

#endif
