/* The other end of a guest's network interface: frames go to passt, to a tap device, or to a descriptor that the caller has.
 *
 * passt, a program of its own without privileges, is the user-mode network: it speaks over a stream socket, on which a frame is
 * its length in 4 bytes, big-endian, and its bytes. It ends when that socket is closed, so also when we are killed.
 * A tap device gives and takes frames behind a virtio header, with checksums and segments left to whoever can do them.
 *
 * Threads: one thread receives and another may send; net_close() comes after both. What comes from the other end is bounded here,
 * but a frame's bytes are the guest's to distrust.
 */
#ifndef VMKIT_RUNNER_NET_H
#define VMKIT_RUNNER_NET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "libcommon/base/err.h"

enum {
	NET_HEADER = 12, /* struct virtio_net_hdr_v1 */
	NET_FRAME_MIN = 14,
	NET_FRAME_MAX = 65535 + NET_FRAME_MIN, /* without the header */
	NET_IOV_MAX = 256,
	NET_MAC = 6,
};

/* struct virtio_net_hdr_v1: offsets and values */
enum net_header {
	NH_FLAGS = 0,
	NH_GSO = 1,
	NH_BUFFERS = 10,
	NH_NEEDS_CSUM = 1,
	NH_DATA_VALID = 2,
	NH_GSO_NONE = 0,
	NH_GSO_TCP4 = 1,
	NH_GSO_TCP6 = 4,
	NH_GSO_ECN = 0x80,
};

enum net_sent { NET_SENT, NET_DROPPED, NET_LATER };

struct net;
struct net_ops {
	/* Return: bytes at *@ret, header first, the caller's until the next call; 0 when there is nothing now, -1: never again */
	ssize_t (*receive)(struct net *n, uint8_t **ret);
	/* @iov: the frame alone. It never waits: NET_LATER when the descriptor has to become writable first */
	enum net_sent (*send)(struct net *n, const uint8_t header[NET_HEADER],
			      const struct iovec *iov, unsigned count, size_t len);
	/* Go on with a frame that was sent in part, which counts as sent. Return: false when the descriptor has to become writable
	 * first. NULL: there are no such frames */
	bool (*flush)(struct net *n);
	/* What the guest takes of the header's offers; NULL: none are made */
	void (*offload)(struct net *n, bool checksum, bool tso4, bool tso6);
};

struct net {
	const struct net_ops *ops;
	const char *kind; /* "user", "tap", "fd" */
	int fd;
	uint8_t mac[NET_MAC];
	uint16_t mtu;	  /* 0: not told to the guest */
	bool checksummed; /* what comes has no errors: its guest need not look */
	atomic_bool gone; /* it gives and takes no more */
	pid_t pid;	  /* of passt; 0: none of ours */
	/* The receiver's: what was read and not taken. The sender's: the end of a frame of which a part is gone already. */
	uint8_t *in, *out;
	size_t in_start, in_len, out_start, out_len;
};

/** struct net_user - what passt shall do; strings are borrowed */
struct net_user {
	/* Ports of this host that lead to the guest: [ADDRESS/]PORT:PORT, as passt takes them */
	const char *const *tcp, *const *udp;
	size_t n_tcp, n_udp;
	bool host_loopback; /* the gateway's address is this host's 127.0.0.1 */
};

/* The guest's addresses in passt's network */
#define NET_USER_ADDRESS "10.0.2.15"
#define NET_USER_GATEWAY "10.0.2.2"
#define NET_USER_DNS	 "10.0.2.3"
enum { NET_USER_PREFIX = 24 };

/**
 * net_open_user() - start passt, and wait until its ports are open
 *
 * Before confine_process(). Return: 0 with *@ret owned (net_close()), or -1: ERR_UNSUPPORTED (no passt, or it cannot run
 * here), ERR_BUSY (a port is taken), ERR_FAILED
 */
int net_open_user(struct net **ret, const struct net_user *opts, struct err *err);

/** net_open_tap() - the tap device @name, which is there or, for root, is made; ERR_DENIED, ERR_BUSY, ERR_UNSUPPORTED */
int net_open_tap(struct net **ret, const char *name, struct err *err);

/** net_open_fd() - @fd (consumed on success) is a tap device's, or a stream socket's to a passt that the caller has; ERR_USAGE */
int net_open_fd(struct net **ret, int fd, struct err *err);

/** net_close() - passt has ended when this returns; NULL is allowed */
void net_close(struct net *n);

/** net_parse_mac() - "52:54:00:12:34:56", of one host, not of a group; Return: 0 or -1: ERR_USAGE */
int net_parse_mac(const char *text, uint8_t ret[NET_MAC], struct err *err);

/* For the three that open: */
/** net_new() - @kind is static; @fd is borrowed until this has succeeded. Return: NULL without memory */
struct net *net_new(const struct net_ops *ops, const char *kind, int fd, size_t in_room,
		    size_t out_room);
extern const struct net_ops net_stream_ops, net_tap_ops;

enum {
	NET_STREAM_IN = 4 * (NET_FRAME_MAX + 4 + NET_HEADER),
	NET_STREAM_OUT = NET_FRAME_MAX + 4,
	NET_TAP_IN = NET_FRAME_MAX + NET_HEADER
};

#endif
