/* virtio-net: see virtio_net.h. */
#include "libcommon/runner/virtio_net.h"

#include <poll.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/log.h"

enum { Q_RX = 0, Q_TX = 1, QUEUES = 2, BATCH = 64, LINK_UP = 1 };
enum { AT_MAC = 0, AT_STATUS = 6, AT_MTU = 10, CONFIG_LEN = 12 };

#define F_CSUM	     (UINT64_C(1) << 0)
#define F_GUEST_CSUM (UINT64_C(1) << 1)
#define F_MTU	     (UINT64_C(1) << 3)
#define F_MAC	     (UINT64_C(1) << 5)
#define F_GUEST_TSO4 (UINT64_C(1) << 7)
#define F_GUEST_TSO6 (UINT64_C(1) << 8)
#define F_HOST_TSO4  (UINT64_C(1) << 11)
#define F_HOST_TSO6  (UINT64_C(1) << 12)
#define F_MRG_RXBUF  (UINT64_C(1) << 15)
#define F_STATUS     (UINT64_C(1) << 16)

#define TO_GUEST (F_GUEST_CSUM | F_GUEST_TSO4 | F_GUEST_TSO6)

static void count(atomic_ullong *counter, uint64_t n)
{
	(void)atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* Does what a header asks for stay within what was agreed on? */
static bool header_allowed(const uint8_t *h, bool checksum, bool tso4, bool tso6)
{
	unsigned gso = h[NH_GSO];

	if (!checksum && (h[NH_FLAGS] & NH_NEEDS_CSUM))
		return false;
	return gso == NH_GSO_NONE || (gso == NH_GSO_TCP4 && tso4) || (gso == NH_GSO_TCP6 && tso6);
}

/* ---- to the guest */

/* Where the parts of a frame go that is spread over chains */
struct delivery {
	const uint8_t *from;
	size_t left;
	unsigned chains;
	uint8_t *buffers[2]; /* the header's number of chains: its two bytes, which may lie apart */
	unsigned header_seen;
};

/* Fill one chain; the first bytes are the header's. Return: bytes */
static size_t fill_chain(struct delivery *to, const struct virtq_chain *c)
{
	size_t done = 0;

	for (unsigned i = 0; i < c->writable && to->left; i++) {
		uint8_t *p = c->iov[i].iov_base;
		size_t n = c->iov[i].iov_len < to->left ? c->iov[i].iov_len : to->left;

		for (; to->header_seen < NH_BUFFERS + 2 && to->header_seen < done + n;
		     to->header_seen++)
			if (to->header_seen >= NH_BUFFERS && to->header_seen >= done)
				to->buffers[to->header_seen - NH_BUFFERS] =
					p + (to->header_seen - done);
		memcpy(p, to->from, n);
		to->from += n;
		to->left -= n;
		done += n;
	}
	return done;
}

/* Chains that were filled for a frame which does not fit are the driver's again, as if not taken. */
static void give_back(struct virtq *ring, const struct delivery *to)
{
	for (unsigned i = 0; i < to->chains; i++)
		virtq_unpop(ring);
}

/* Return: 1 delivered, or dropped because it never fits; 0 there is no room yet; -1 the driver breaks the rules */
static int deliver(struct virtio_net *v, struct virtio_queue *q, int *pushed)
{
	struct delivery to = {.from = v->frame, .left = v->frame_len};
	unsigned most = virtio_has(&v->dev, F_MRG_RXBUF) ? q->ring.size : 1;

	while (to.left) {
		int rc = to.chains < most ? virtq_pop(&q->ring, &q->chain) : 0;

		if (rc < 0)
			return -1;
		if (rc == 0) {
			give_back(&q->ring, &to);
			if (to.chains < most)
				return 0;
			count(&v->rx_dropped, 1);
			return 1;
		}
		if (q->chain.readable || (!to.chains && q->chain.writable_len < NET_HEADER))
			return -1;
		virtq_fill(&q->ring, to.chains, q->chain.head,
			   (uint32_t)fill_chain(&to, &q->chain));
		to.chains++;
	}
	*to.buffers[0] = (uint8_t)to.chains;
	*to.buffers[1] = (uint8_t)(to.chains >> 8);
	virtq_publish(&q->ring, to.chains);
	count(&v->rx_packets, 1);
	count(&v->rx_bytes, v->frame_len - NET_HEADER);
	*pushed += (int)to.chains;
	return 1;
}

static void set_offloads(struct virtio_net *v)
{
	uint64_t now = v->dev.driver_features & TO_GUEST;

	if (now == v->offloads)
		return;
	v->offloads = now;
	if (v->net->ops->offload)
		v->net->ops->offload(v->net, now & F_GUEST_CSUM, now & F_GUEST_TSO4,
				     now & F_GUEST_TSO6);
}

/* The next frame that the guest can be given; one may have come before the driver, or the last one, said what it takes.
 * Return: 1, 0: none now, -1: none ever again */
static int next_frame(struct virtio_net *v)
{
	uint64_t o = v->offloads;

	for (;; v->frame = NULL) {
		if (!v->frame) {
			ssize_t len = v->net->ops->receive(v->net, &v->frame);

			if (len <= 0)
				v->frame = NULL;
			if (len <= 0)
				return len < 0 ? -1 : 0;
			v->frame_len = (size_t)len;
		}
		if (header_allowed(v->frame, o & F_GUEST_CSUM, o & F_GUEST_TSO4,
				   o & F_GUEST_TSO6)) {
			if (!(o & F_GUEST_CSUM))
				v->frame[NH_FLAGS] = 0;
			return 1;
		}
		count(&v->rx_dropped, 1);
	}
}

static int serve_rx(struct virtio_net *v, struct virtio_queue *q)
{
	int pushed = 0;

	if (atomic_load(&v->net->gone))
		return 0;
	set_offloads(v);
	for (int i = 0; i < BATCH; i++) {
		int rc = next_frame(v);

		if (rc == 0)
			q->events = POLLIN;
		if (rc < 0 && !atomic_exchange(&v->net->gone, true))
			atomic_store(&v->lost, true);
		if (rc <= 0)
			return pushed;
		rc = deliver(v, q, &pushed);
		if (rc <= 0)
			return rc < 0 ? -1 : pushed; /* the driver tells when there is room */
		v->frame = NULL;
	}
	q->again = true;
	return pushed;
}

/* ---- from the guest */

static enum net_sent send_chain(struct virtio_net *v, struct virtq_chain *c)
{
	uint64_t f = v->dev.driver_features, len = c->readable_len - NET_HEADER;
	struct iovec *iov = c->iov;
	unsigned n = c->readable;
	uint8_t header[NET_HEADER];

	(void)virtq_take(&iov, &n, header, sizeof(header));
	if (len < NET_FRAME_MIN || len > NET_FRAME_MAX ||
	    !header_allowed(header, f & F_CSUM, f & F_HOST_TSO4, f & F_HOST_TSO6))
		return NET_DROPPED;
	header[NH_FLAGS] &= NH_NEEDS_CSUM;
	header[NH_BUFFERS] = header[NH_BUFFERS + 1] = 0;
	return v->net->ops->send(v->net, header, iov, n, (size_t)len);
}

static int send_some(struct virtio_net *v, struct virtio_queue *q)
{
	int pushed = 0;

	for (int i = 0; i < BATCH; i++) {
		enum net_sent sent;
		uint64_t len;
		int rc = virtq_pop(&q->ring, &q->chain);

		if (rc <= 0)
			return rc < 0 ? -1 : pushed;
		if (q->chain.readable_len < NET_HEADER)
			return -1;
		len = q->chain.readable_len - NET_HEADER;
		sent = send_chain(v, &q->chain);
		if (sent == NET_LATER) {
			virtq_unpop(&q->ring);
			q->events = POLLOUT;
			return pushed;
		}
		if (sent == NET_SENT) {
			count(&v->tx_packets, 1);
			count(&v->tx_bytes, len);
		} else {
			count(&v->tx_dropped, 1);
		}
		virtq_push(&q->ring, q->chain.head, 0);
		pushed++;
	}
	q->again = true;
	return pushed;
}

static int serve_tx(struct virtio_net *v, struct virtio_queue *q)
{
	const struct net_ops *ops = v->net->ops;
	int pushed = send_some(v, q);

	if (ops->flush && !ops->flush(v->net)) {
		q->events = POLLOUT;
		q->again = false;
	}
	return pushed;
}

static int serve(struct virtio_dev *d, struct virtio_queue *q)
{
	return q->index == Q_RX ? serve_rx(d->priv, q) : serve_tx(d->priv, q);
}

static void served(struct virtio_dev *d)
{
	static const uint8_t down[2];
	struct virtio_net *v = d->priv;

	if (!atomic_exchange(&v->lost, false))
		return;
	log_warning("the guest's network is gone: %s", strcmp(v->net->kind, "user") == 0
							       ? "passt has ended"
							       : "its other end is closed");
	virtio_set_config(d, AT_STATUS, down, sizeof(down));
}

/* All that a saved machine's interface needs is in its queues: frames that were on their way are lost, as on any network. */
static const struct virtio_type type = {
	.id = VIRTIO_NET, .class_code = 0x020000, .serve = serve, .served = served};

int virtio_net_init(struct virtio_net *v, struct net *net, const struct guest_memory *mem,
		    struct err *err)
{
	struct virtio_dev *d = &v->dev;

	if (virtio_init(d, &type, QUEUES, mem, err) < 0)
		return -1;
	v->net = net;
	d->priv = v;
	d->features |= F_MAC | F_STATUS | F_MRG_RXBUF;
	if (net->mtu)
		d->features |= F_MTU;
	if (net->checksummed || net->ops->offload)
		d->features |= F_GUEST_CSUM;
	if (net->ops->offload)
		d->features |= F_CSUM | F_GUEST_TSO4 | F_GUEST_TSO6 | F_HOST_TSO4 | F_HOST_TSO6;
	d->config_len = CONFIG_LEN;
	memcpy(d->config + AT_MAC, net->mac, NET_MAC);
	put_le16(d->config + AT_STATUS, LINK_UP);
	put_le16(d->config + 8, 1); /* pairs of queues */
	put_le16(d->config + AT_MTU, net->mtu);
	for (unsigned i = 0; i < QUEUES; i++)
		d->queue[i].source = net->fd;
	return 0;
}
