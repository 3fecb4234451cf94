/* virtio-console: see virtio_console.h. */
#include "libcommon/runner/virtio_console.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "libcommon/base/bytes.h"
#include "libcommon/runner/state.h"

#define F_MULTIPORT (UINT64_C(1) << 1)

enum {
	Q_CONTROL_RX = 2,
	Q_CONTROL_TX = 3,
	QUEUES = 2 * (CONSOLE_PORTS + 1),
	MESSAGE = 8,
	WAIT_MS = 100,
	CONTROL_CHAIN_MAX = 4096 /* what our init says is a few words */
};
enum event { E_READY = 0, E_ADD = 1, E_PORT_READY = 3, E_OPEN = 6, E_NAME = 7 };
enum { P_CONTROL = 0, P_INPUT = 1, P_OUTPUT = 2 };

static unsigned rx_queue(unsigned port)
{
	return port ? 2 + 2 * port : 0;
}

/* With the lock held. A guest that asks for more than fit gets no answer. */
static void tell(struct virtio_console *c, uint32_t port, uint16_t event, uint16_t value)
{
	if (c->messages == CONSOLE_MESSAGES_MAX)
		return;
	c->message[(c->first_message + c->messages++) % CONSOLE_MESSAGES_MAX] =
		(struct console_message){port, event, value};
}

static void close_port(struct virtio_console *c, unsigned port)
{
	(void)pthread_mutex_lock(&c->lock);
	c->closed[port] = true;
	tell(c, port, E_OPEN, 0);
	(void)pthread_mutex_unlock(&c->lock);
	virtio_wake(&c->dev, Q_CONTROL_RX);
}

static bool is_closed(struct virtio_console *c, unsigned port)
{
	bool closed;

	(void)pthread_mutex_lock(&c->lock);
	closed = c->closed[port];
	(void)pthread_mutex_unlock(&c->lock);
	return closed;
}

/* Copy @len bytes into the writable parts; fewer when they are too small */
static int64_t give(struct virtq_chain *c, const void *data, size_t len)
{
	size_t done = 0;

	for (unsigned i = c->readable; i < c->readable + c->writable && done < len; i++) {
		size_t n = c->iov[i].iov_len < len - done ? c->iov[i].iov_len : len - done;

		memcpy(c->iov[i].iov_base, (const uint8_t *)data + done, n);
		done += n;
	}
	return (int64_t)done;
}

static int64_t control_rx(struct virtio_console *c, struct virtq_chain *chain)
{
	uint8_t raw[MESSAGE + 16];
	struct console_message m;
	size_t len = MESSAGE;

	(void)pthread_mutex_lock(&c->lock);
	if (!c->messages) {
		(void)pthread_mutex_unlock(&c->lock);
		return VIRTIO_LATER;
	}
	m = c->message[c->first_message];
	c->first_message = (c->first_message + 1) % CONSOLE_MESSAGES_MAX;
	c->messages--;
	(void)pthread_mutex_unlock(&c->lock);
	put_le32(raw, m.port);
	put_le16(raw + 4, m.event);
	put_le16(raw + 6, m.value);
	if (m.event == E_NAME)
		len += (size_t)snprintf((char *)raw + MESSAGE, sizeof(raw) - MESSAGE, "vmrun.%u",
					m.port);
	return give(chain, raw, len);
}

static int64_t control_tx(struct virtio_console *c, struct virtq_chain *chain)
{
	struct iovec *iov = chain->iov;
	unsigned n = chain->readable;
	uint8_t raw[MESSAGE];
	uint32_t port;

	if (virtq_take(&iov, &n, raw, sizeof(raw)) < sizeof(raw))
		return VIRTIO_BAD;
	port = get_le32(raw);
	(void)pthread_mutex_lock(&c->lock);
	switch (get_le16(raw + 4)) {
	case E_READY:
		for (unsigned i = 0; i < CONSOLE_PORTS; i++)
			tell(c, i, E_ADD, 0);
		break;
	case E_PORT_READY:
		if (port < CONSOLE_PORTS) {
			tell(c, port, E_NAME, 0);
			tell(c, port, E_OPEN, !c->closed[port]);
		}
		break;
	case E_OPEN:
		if (port < CONSOLE_PORTS)
			c->open[port] = get_le16(raw + 6);
		break;
	default:
		break;
	}
	(void)pthread_mutex_unlock(&c->lock);
	virtio_wake(&c->dev, Q_CONTROL_RX);
	if (port < CONSOLE_PORTS)
		virtio_wake(&c->dev, rx_queue(port));
	return 0;
}

/* What comes before the guest has opened the port would be lost. */
static int64_t input(struct virtio_console *c, struct virtq_chain *chain)
{
	struct pollfd p = {.fd = c->fd[P_INPUT], .events = POLLIN};
	const struct iovec *first = &chain->iov[chain->readable];
	bool ready;
	ssize_t n;

	(void)pthread_mutex_lock(&c->lock);
	ready = c->open[P_INPUT] && !c->closed[P_INPUT];
	(void)pthread_mutex_unlock(&c->lock);
	if (!ready || !chain->writable)
		return VIRTIO_LATER;
	if (poll(&p, 1, 0) == 1) {
		n = read(c->fd[P_INPUT], first->iov_base, first->iov_len);
		if (n > 0)
			return n;
		if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
			close_port(c, P_INPUT);
			return VIRTIO_LATER;
		}
	}
	atomic_store(&c->input_wanted, true);
	c->wake(c->ctx);
	return VIRTIO_LATER;
}

static int64_t signals(struct virtio_console *c, struct virtq_chain *chain)
{
	int64_t n = VIRTIO_LATER;

	(void)pthread_mutex_lock(&c->lock);
	if (c->open[P_CONTROL] && c->first_len) {
		n = give(chain, c->first, c->first_len);
		c->first += n;
		c->first_len -= (size_t)n;
	} else if (c->open[P_CONTROL] && c->signals) {
		n = give(chain, c->signal, c->signals);
		c->signals = 0;
	}
	(void)pthread_mutex_unlock(&c->lock);
	return n;
}

/* What a pipe takes of it without a wait, in one call. Kernels before 6.4 cannot say that of a pipe: EOPNOTSUPP */
static ssize_t write_now(int fd, const uint8_t *data, size_t len)
{
	const struct iovec iov = {(void *)(uintptr_t)data, len};

	return pwritev2(fd, &iov, 1, -1, RWF_NOWAIT);
}

/* A pipe that polls writable takes PIPE_BUF bytes without a wait; so a reader that sleeps cannot keep us for ever.
 * Return: false when the rest is nobody's */
static bool write_all(struct virtio_console *c, unsigned port, const uint8_t *data, size_t len)
{
	struct pollfd p = {.fd = c->fd[port], .events = POLLOUT};
	struct err err = ERR_INIT;
	struct stat st = {.st_mode = 0};
	size_t most = fstat(p.fd, &st) == 0 && S_ISREG(st.st_mode) ? SIZE_MAX : PIPE_BUF;
	bool now = S_ISFIFO(st.st_mode) && !atomic_load(&c->no_nowait);

	while (len) {
		ssize_t n = 0;

		if (c->give_up(c->ctx))
			return false;
		if (now)
			n = write_now(p.fd, data, len);
		if (n < 0 && errno == EOPNOTSUPP) {
			atomic_store(&c->no_nowait, true);
			now = false;
		}
		if (!now || (n < 0 && errno == EAGAIN))
			n = poll(&p, 1, WAIT_MS) > 0 && !now
				    ? write(p.fd, data, len < most ? len : most)
				    : 0;
		if (n < 0 && errno == EPIPE) {
			close_port(c, port);
			return false;
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			err_sys(&err, "cannot write what the command says");
			c->failed(c->ctx, &err);
			return false;
		}
		data += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return true;
}

static void output(struct virtio_console *c, unsigned port, const struct virtq_chain *chain)
{
	for (unsigned i = 0; i < chain->readable && !is_closed(c, port); i++)
		if (!write_all(c, port, chain->iov[i].iov_base, chain->iov[i].iov_len))
			break;
}

static void end_of_line(struct virtio_console *c)
{
	static const char word[] = "status ";
	char *end;
	unsigned long v;

	c->line[c->line_len] = '\0';
	c->line_len = 0;
	if (strcmp(c->line, "ready") == 0) {
		c->ready = true;
		c->wake(c->ctx);
	}
	if (strncmp(c->line, word, sizeof(word) - 1) != 0)
		return;
	v = strtoul(c->line + sizeof(word) - 1, &end, 10);
	if (!*end && v <= 255)
		c->status = (int)v;
}

static void control_line(struct virtio_console *c, struct virtq_chain *chain)
{
	struct iovec *iov = chain->iov;
	unsigned n = chain->readable;
	char byte;

	(void)pthread_mutex_lock(&c->lock);
	while (virtq_take(&iov, &n, &byte, 1)) {
		if (byte == '\n')
			end_of_line(c);
		else if (c->line_len < sizeof(c->line) - 1)
			c->line[c->line_len++] = byte;
	}
	(void)pthread_mutex_unlock(&c->lock);
}

static int64_t request(struct virtio_dev *d, unsigned queue, struct virtq_chain *chain)
{
	struct virtio_console *c = d->priv;
	unsigned port = queue < 2 ? 0 : queue / 2 - 1;

	if (queue == Q_CONTROL_RX)
		return control_rx(c, chain);
	if (queue == Q_CONTROL_TX)
		return control_tx(c, chain);
	if (queue % 2 == 0)
		return port == P_INPUT	   ? input(c, chain)
		       : port == P_CONTROL ? signals(c, chain)
					   : VIRTIO_LATER;
	if (port == P_CONTROL && chain->readable_len > CONTROL_CHAIN_MAX)
		return VIRTIO_BAD;
	if (port == P_CONTROL)
		control_line(c, chain);
	else if (port >= P_OUTPUT)
		output(c, port, chain);
	return 0;
}

static void save(struct virtio_dev *d, struct state_out *o)
{
	struct virtio_console *c = d->priv;

	(void)pthread_mutex_lock(&c->lock);
	for (unsigned i = 0; i < CONSOLE_PORTS; i++) {
		state_put_int(o, c->open[i]);
		state_put_int(o, c->closed[i]);
	}
	state_put_int(o, c->messages);
	for (unsigned i = 0; i < c->messages; i++) {
		const struct console_message *m =
			&c->message[(c->first_message + i) % CONSOLE_MESSAGES_MAX];

		state_put_int(o, (uint64_t)m->port << 32 | (uint32_t)m->event << 16 | m->value);
	}
	(void)pthread_mutex_unlock(&c->lock);
}

static void load(struct virtio_dev *d, struct state_in *in)
{
	struct virtio_console *c = d->priv;
	uint64_t n;

	for (unsigned i = 0; i < CONSOLE_PORTS; i++) {
		c->open[i] = state_get_int(in);
		c->closed[i] = state_get_int(in);
	}
	n = state_get_int(in);
	for (c->messages = 0; c->messages < n && c->messages < CONSOLE_MESSAGES_MAX;
	     c->messages++) {
		uint64_t v = state_get_int(in);

		c->message[c->messages] = (struct console_message){
			(uint32_t)(v >> 32), (uint16_t)(v >> 16), (uint16_t)v};
	}
}

/* Kernels reset their devices when they power off. The command is done then, and its output may still wait here for a
 * reader that is slow. */
static void before_reset(struct virtio_dev *d)
{
	struct virtio_console *c = d->priv;

	/* Nobody in there takes a signal any more: the first one ends the machine. */
	(void)pthread_mutex_lock(&c->lock);
	c->open[P_CONTROL] = false;
	(void)pthread_mutex_unlock(&c->lock);
	virtio_console_drain(c);
}

static bool enough(struct virtio_dev *d)
{
	struct virtio_console *c = d->priv;

	return c->give_up(c->ctx);
}

static const struct virtio_type type = {.id = VIRTIO_CONSOLE,
					.class_code = 0x078000,
					.request = request,
					.enough = enough,
					.before_reset = before_reset,
					.save = save,
					.load = load};

int virtio_console_init(struct virtio_console *c, int in, int out, int errors,
			const struct guest_memory *mem, struct err *err)
{
	struct virtio_dev *d = &c->dev;

	if (virtio_init(d, &type, QUEUES, mem, err) < 0)
		return -1;
	(void)pthread_mutex_init(&c->lock, NULL);
	c->fd[0] = -1;
	c->fd[1] = in;
	c->fd[2] = out;
	c->fd[3] = errors;
	c->status = -1;
	d->priv = c;
	d->features |= F_MULTIPORT;
	d->config_len = 12;
	put_le32(d->config + 4, CONSOLE_PORTS);
	return 0;
}

void virtio_console_input(struct virtio_console *c)
{
	atomic_store(&c->input_wanted, false);
	virtio_wake(&c->dev, rx_queue(P_INPUT));
}

bool virtio_console_signal(struct virtio_console *c, int number)
{
	bool open;

	(void)pthread_mutex_lock(&c->lock);
	open = c->open[P_CONTROL];
	if (open && c->signals < CONSOLE_SIGNALS_MAX)
		c->signal[c->signals++] = (uint8_t)number;
	(void)pthread_mutex_unlock(&c->lock);
	if (open)
		virtio_wake(&c->dev, rx_queue(P_CONTROL));
	return open;
}

bool virtio_console_ready(struct virtio_console *c)
{
	bool ready;

	(void)pthread_mutex_lock(&c->lock);
	ready = c->ready;
	(void)pthread_mutex_unlock(&c->lock);
	return ready;
}

void virtio_console_drain(struct virtio_console *c)
{
	for (unsigned port = P_OUTPUT; port < CONSOLE_PORTS; port++)
		(void)virtio_serve(&c->dev.queue[rx_queue(port) + 1]);
	(void)virtio_serve(&c->dev.queue[rx_queue(P_CONTROL) + 1]);
}

int virtio_console_status(struct virtio_console *c)
{
	int status;

	(void)pthread_mutex_lock(&c->lock);
	status = c->status;
	(void)pthread_mutex_unlock(&c->lock);
	return status;
}
