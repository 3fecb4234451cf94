/* virtio-vsock: packets and connections. See virtio_vsock.h. */
#include "libcommon/runner/virtio_vsock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/runner/state.h"
#include "libcommon/runner/vsock_private.h"

enum {
	Q_RX = 0, /* of the guest */
	Q_TX = 1,
	QUEUES = 3,
	HEADER = 44,
	STREAM = 1,
	HOST = 2,
	PACKET_MAX = 64 << 10,
	FIRST_PORT = 1 << 30,
};

struct packet {
	uint64_t from, to;
	uint32_t from_port, to_port, len, flags, alloc, taken;
	uint16_t type, op;
};

static void parse(const uint8_t *raw, struct packet *p)
{
	*p = (struct packet){
		.from = get_le64(raw),
		.to = get_le64(raw + 8),
		.from_port = get_le32(raw + 16),
		.to_port = get_le32(raw + 20),
		.len = get_le32(raw + 24),
		.type = get_le16(raw + 28),
		.op = get_le16(raw + 30),
		.flags = get_le32(raw + 32),
		.alloc = get_le32(raw + 36),
		.taken = get_le32(raw + 40),
	};
}

static void put_header(const struct virtio_vsock *v, uint8_t *raw, const struct packet *p)
{
	memset(raw, 0, HEADER);
	put_le64(raw, HOST);
	put_le64(raw + 8, v->cid);
	put_le32(raw + 16, p->from_port);
	put_le32(raw + 20, p->to_port);
	put_le32(raw + 24, p->len);
	put_le16(raw + 28, STREAM);
	put_le16(raw + 30, p->op);
	put_le32(raw + 32, p->flags);
	put_le32(raw + 36, p->alloc);
	put_le32(raw + 40, p->taken);
}

/* ---- connections */

struct vsock_connection *vsock_new_connection(struct virtio_vsock *v, int fd,
					      enum vsock_state state)
{
	struct vsock_connection *c = NULL;

	for (unsigned i = 0; i < VSOCK_CONNECTIONS && !c; i++)
		if (v->connection[i].state == VSOCK_FREE)
			c = &v->connection[i];
	for (unsigned i = 0; i < VSOCK_CONNECTIONS && !c; i++)
		if (v->connection[i].state == VSOCK_CLOSING)
			c = &v->connection[i]; /* a guest that does not answer */
	if (!c)
		return NULL;
	vsock_end(c);
	c->buffer = malloc(VSOCK_BUFFER);
	if (!c->buffer)
		return NULL;
	c->fd = fd;
	c->state = state;
	return c;
}

void vsock_end(struct vsock_connection *c)
{
	if (c->fd >= 0)
		(void)close(c->fd);
	free(c->buffer);
	*c = (struct vsock_connection){.fd = -1};
}

void vsock_tell(struct virtio_vsock *v, struct vsock_connection *c, enum vsock_op op)
{
	c->tell |= 1U << op;
	virtio_wake(&v->dev, Q_RX);
}

static struct vsock_connection *find(struct virtio_vsock *v, uint32_t guest_port,
				     uint32_t host_port)
{
	for (unsigned i = 0; i < VSOCK_CONNECTIONS; i++) {
		struct vsock_connection *c = &v->connection[i];

		if (c->state > VSOCK_GREETING && c->guest_port == guest_port &&
		    c->host_port == host_port)
			return c;
	}
	return NULL;
}

static void reset(struct virtio_vsock *v, const struct packet *p)
{
	if (v->resets == VSOCK_RESETS || p->op == VSOCK_RST)
		return;
	v->reset[v->resets++] = (struct vsock_reset){p->from_port, p->to_port};
	virtio_wake(&v->dev, Q_RX);
}

/* ---- from the guest */

static void on_request(struct virtio_vsock *v, const struct packet *p)
{
	struct vsock_connection *c = NULL;
	int fd = find(v, p->from_port, p->to_port) ? -1 : vsock_connect(v->host, p->to_port);

	if (fd >= 0)
		c = vsock_new_connection(v, fd, VSOCK_OPEN);
	if (!c) {
		if (fd >= 0)
			(void)close(fd);
		reset(v, p);
		return;
	}
	c->guest_port = p->from_port;
	c->host_port = p->to_port;
	c->guest_alloc = p->alloc;
	c->guest_taken = p->taken;
	vsock_tell(v, c, VSOCK_RESPONSE);
	vsock_look(v);
}

static void on_response(struct virtio_vsock *v, struct vsock_connection *c)
{
	char text[32];
	int n;

	if (c->state != VSOCK_CONNECTING)
		return;
	c->state = VSOCK_OPEN;
	n = snprintf(text, sizeof(text), "OK %u\n", c->host_port);
	if (send(c->fd, text, (size_t)n, MSG_NOSIGNAL) != n) {
		vsock_tell(v, c, VSOCK_RST);
		c->state = VSOCK_CLOSING;
	}
}

/* Behind what waits already. A guest that sends more than it was allowed to loses its connection. */
static void on_data(struct virtio_vsock *v, struct vsock_connection *c, struct iovec *iov,
		    unsigned n, const struct packet *p)
{
	uint32_t end = (c->start + c->len) % VSOCK_BUFFER,
		 first = (uint32_t)min_u64(p->len, VSOCK_BUFFER - end);

	if (c->state != VSOCK_OPEN)
		return;
	if (p->len > VSOCK_BUFFER - c->len || (c->guest_over & VSOCK_NO_SEND)) {
		vsock_tell(v, c, VSOCK_RST);
		c->state = VSOCK_CLOSING;
		return;
	}
	(void)virtq_take(&iov, &n, c->buffer + end, first);
	(void)virtq_take(&iov, &n, c->buffer, p->len - first);
	c->len += p->len;
	vsock_flush(v, c);
}

static void on_shutdown(struct virtio_vsock *v, struct vsock_connection *c, uint32_t flags)
{
	c->guest_over |= flags & VSOCK_BOTH;
	if (c->state == VSOCK_CLOSING || c->state == VSOCK_CONNECTING) {
		vsock_tell(v, c, VSOCK_RST);
		c->state = VSOCK_CLOSING;
		return;
	}
	if (c->guest_over & VSOCK_NO_RECEIVE) {
		c->ended = true;
		c->readable = false;
		if (c->fd >= 0)
			(void)shutdown(c->fd, SHUT_RD);
	}
	vsock_flush(v, c);
}

static void on_packet(struct virtio_vsock *v, const struct packet *p, struct iovec *iov, unsigned n)
{
	struct vsock_connection *c = find(v, p->from_port, p->to_port);

	if (p->op == VSOCK_REQUEST) {
		on_request(v, p);
		return;
	}
	if (!c) {
		reset(v, p);
		return;
	}
	c->guest_alloc = p->alloc;
	c->guest_taken = p->taken;
	switch (p->op) {
	case VSOCK_RESPONSE:
		on_response(v, c);
		break;
	case VSOCK_RST:
		vsock_end(c);
		break;
	case VSOCK_SHUTDOWN:
		on_shutdown(v, c, p->flags);
		break;
	case VSOCK_RW:
		on_data(v, c, iov, n, p);
		break;
	case VSOCK_CREDIT_REQUEST:
		vsock_tell(v, c, VSOCK_CREDIT_UPDATE);
		break;
	default:
		break;
	}
	/* There may be room in the guest now */
	if (c->readable)
		virtio_wake(&v->dev, Q_RX);
	vsock_look(v);
}

static int64_t from_guest(struct virtio_vsock *v, struct virtq_chain *chain)
{
	struct iovec *iov = chain->iov;
	unsigned n = chain->readable;
	uint8_t raw[HEADER];
	struct packet p;

	if (virtq_take(&iov, &n, raw, HEADER) < HEADER)
		return VIRTIO_BAD;
	parse(raw, &p);
	if (p.len > PACKET_MAX || p.len > chain->readable_len - HEADER)
		return VIRTIO_BAD;
	if (p.from != v->cid || p.to != HOST)
		return 0;
	(void)pthread_mutex_lock(&v->lock);
	if (p.type == STREAM)
		on_packet(v, &p, iov, n);
	else
		reset(v, &p);
	(void)pthread_mutex_unlock(&v->lock);
	return 0;
}

/* ---- to the guest */

/* How many bytes the guest takes now; what it says of itself may be nonsense */
static uint32_t credit(const struct vsock_connection *c)
{
	uint32_t under_way = c->sent - c->guest_taken;

	return under_way < c->guest_alloc ? c->guest_alloc - under_way : 0;
}

/* The packet of @op; the connection may be gone after it */
static void control_packet(struct vsock_connection *c, unsigned op, struct packet *p)
{
	*p = (struct packet){.from_port = c->host_port,
			     .to_port = c->guest_port,
			     .op = (uint16_t)op,
			     .alloc = VSOCK_BUFFER,
			     .taken = c->taken};
	c->tell &= ~(1U << op);
	c->taken_told = c->taken;
	if (op == VSOCK_SHUTDOWN) {
		p->flags = c->over;
		if (c->over == VSOCK_BOTH)
			c->state = VSOCK_CLOSING;
	} else if (op == VSOCK_RST) {
		vsock_end(c);
	}
}

/* The socket has no more: what is told depends on whether its peer still reads */
static void at_end(struct vsock_connection *c)
{
	struct pollfd f = {.fd = c->fd};

	c->ended = true;
	c->readable = false;
	c->over |= VSOCK_NO_SEND;
	if (poll(&f, 1, 0) > 0 && (f.revents & (POLLHUP | POLLERR)))
		c->over = VSOCK_BOTH;
	c->tell |= 1U << VSOCK_SHUTDOWN;
}

/* Read into the guest's buffer, behind where the header goes; Return: bytes, or 0: there is nothing */
static uint32_t read_data(struct virtio_vsock *v, struct vsock_connection *c, struct iovec *iov,
			  unsigned n, uint64_t room)
{
	uint64_t most = min_u64(min_u64(room, credit(c)), PACKET_MAX);
	ssize_t got;
	unsigned parts = 0;

	if (c->state != VSOCK_OPEN || !c->readable || !most)
		return 0;
	for (uint64_t left = most; parts < n && left; parts++) {
		iov[parts].iov_len = (size_t)min_u64(iov[parts].iov_len, left);
		left -= iov[parts].iov_len;
	}
	got = readv(c->fd, iov, (int)parts);
	if (got > 0) {
		c->sent += (uint32_t)got;
		return (uint32_t)got;
	}
	if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
		c->readable = false;
		vsock_look(v);
	} else {
		at_end(c);
	}
	return 0;
}

/* What a connection has for the guest; Return: true with *@p */
static bool next_of(struct virtio_vsock *v, struct vsock_connection *c,
		    const struct virtq_chain *chain, struct packet *p)
{
	static const enum vsock_op order[] = {VSOCK_RST, VSOCK_REQUEST, VSOCK_RESPONSE,
					      VSOCK_CREDIT_UPDATE, VSOCK_SHUTDOWN};
	struct iovec iov[VIRTQ_SIZE_MAX], *data = iov;
	unsigned n = chain->writable;
	uint32_t len;

	if (c->state == VSOCK_FREE || c->state == VSOCK_GREETING)
		return false;
	if (!(c->tell & ~(1U << VSOCK_SHUTDOWN)) && c->readable) {
		memcpy(iov, chain->iov + chain->readable, n * sizeof(iov[0]));
		(void)virtq_take(&data, &n, NULL, HEADER);
		len = read_data(v, c, data, n, chain->writable_len - HEADER);
		if (len) {
			*p = (struct packet){.from_port = c->host_port,
					     .to_port = c->guest_port,
					     .op = VSOCK_RW,
					     .len = len,
					     .alloc = VSOCK_BUFFER,
					     .taken = c->taken};
			c->taken_told = c->taken;
			return true;
		}
	}
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		if (c->tell & 1U << order[i]) {
			control_packet(c, order[i], p);
			return true;
		}
	return false;
}

static bool next_packet(struct virtio_vsock *v, const struct virtq_chain *chain, struct packet *p)
{
	if (v->resets) {
		const struct vsock_reset *r = &v->reset[--v->resets];

		*p = (struct packet){
			.from_port = r->host_port, .to_port = r->guest_port, .op = VSOCK_RST};
		return true;
	}
	for (unsigned i = 0; i < VSOCK_CONNECTIONS; i++) {
		v->turn = (v->turn + 1) % VSOCK_CONNECTIONS;
		if (next_of(v, &v->connection[v->turn], chain, p))
			return true;
	}
	return false;
}

static int64_t to_guest(struct virtio_vsock *v, struct virtq_chain *chain)
{
	struct packet p;
	uint8_t raw[HEADER];
	size_t done = 0;
	bool any;

	if (chain->writable_len < HEADER)
		return VIRTIO_BAD;
	(void)pthread_mutex_lock(&v->lock);
	any = next_packet(v, chain, &p);
	(void)pthread_mutex_unlock(&v->lock);
	if (!any)
		return VIRTIO_LATER;
	put_header(v, raw, &p);
	for (unsigned i = chain->readable; done < HEADER; i++) {
		size_t part = (size_t)min_u64(chain->iov[i].iov_len, HEADER - done);

		memcpy(chain->iov[i].iov_base, raw + done, part);
		done += part;
	}
	return HEADER + (int64_t)p.len;
}

/* VIRTIO 1.2, 5.10.6.7: the one event there is, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET */
static int64_t tell_event(struct virtio_vsock *v, struct virtq_chain *c)
{
	const struct iovec *first = &c->iov[c->readable];

	if (!c->writable || first->iov_len < 4)
		return VIRTIO_BAD;
	if (!atomic_exchange(&v->transport_reset, false))
		return VIRTIO_LATER;
	put_le32(first->iov_base, 0);
	return 4;
}

static int64_t request(struct virtio_dev *d, unsigned queue, struct virtq_chain *c)
{
	struct virtio_vsock *v = d->priv;

	return queue == Q_RX ? to_guest(v, c) : queue == Q_TX ? from_guest(v, c) : tell_event(v, c);
}

/* Connections end with the process that saved the machine: the restored guest is told that all of them are reset. */
static void save(struct virtio_dev *d, struct state_out *o)
{
	const struct virtio_vsock *v = d->priv;

	state_put_int(o, v->cid);
}

static void load(struct virtio_dev *d, struct state_in *in)
{
	struct virtio_vsock *v = d->priv;

	(void)state_get_int(in); /* what it was: the guest asks again */
	atomic_store(&v->transport_reset, true);
}

static const struct virtio_type type = {
	.id = VIRTIO_VSOCK, .class_code = 0x078000, .request = request, .save = save, .load = load};

int virtio_vsock_new(struct virtio_vsock **ret, struct vsock *host, uint32_t cid,
		     const struct guest_memory *mem, struct err *err)
{
	struct virtio_vsock *v = calloc(1, sizeof(*v));
	int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (!v || wake < 0 || virtio_init(&v->dev, &type, QUEUES, mem, err) < 0) {
		free(v);
		if (wake >= 0)
			(void)close(wake);
		return err_set(err, ERR_FAILED, "no memory or descriptor for a vsock device");
	}
	(void)pthread_mutex_init(&v->lock, NULL);
	for (unsigned i = 0; i < VSOCK_CONNECTIONS; i++)
		v->connection[i].fd = -1;
	v->host = host;
	v->cid = cid;
	v->wake = wake;
	v->next_port = FIRST_PORT;
	v->dev.priv = v;
	v->dev.config_len = 8;
	put_le64(v->dev.config, cid);
	*ret = v;
	return 0;
}

struct virtio_dev *virtio_vsock_dev(struct virtio_vsock *v)
{
	return &v->dev;
}

int virtio_vsock_start(struct virtio_vsock *v, struct err *err)
{
	int rc = pthread_create(&v->thread, NULL, vsock_thread, v);

	if (rc) {
		errno = rc;
		return err_sys(err, "cannot start a thread");
	}
	v->running = true;
	return 0;
}

void virtio_vsock_free(struct virtio_vsock *v)
{
	if (!v)
		return;
	atomic_store(&v->stop, true);
	vsock_look(v);
	if (v->running)
		(void)pthread_join(v->thread, NULL);
	virtio_stop(&v->dev);
	for (unsigned i = 0; i < VSOCK_CONNECTIONS; i++)
		vsock_end(&v->connection[i]);
	(void)close(v->wake);
	free(v);
}
