/* The host's side of virtio-vsock: unix sockets, and the thread that waits for them. See virtio_vsock.h. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/runner/confine.h"
#include "libcommon/runner/vsock_private.h"

enum { BACKLOG = 16, WAIT_MS = 60000 };

static int unix_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static void address(struct sockaddr_un *a, const char *path)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	(void)snprintf(a->sun_path, sizeof(a->sun_path), "%s", path);
}

/* Return: is there a socket that nobody listens on? */
static bool is_stale(const struct sockaddr_un *a)
{
	struct stat st;
	int fd = unix_socket(), rc;

	if (fd < 0)
		return false;
	rc = connect(fd, (const struct sockaddr *)a, sizeof(*a));
	rc = rc < 0 ? errno : 0;
	(void)close(fd);
	return rc == ECONNREFUSED && lstat(a->sun_path, &st) == 0 && S_ISSOCK(st.st_mode);
}

static int listen_at(int fd, const struct sockaddr_un *a)
{
	int rc = bind(fd, (const struct sockaddr *)a, sizeof(*a));

	if (rc < 0 && errno == EADDRINUSE) {
		if (is_stale(a) && unlink(a->sun_path) == 0)
			rc = bind(fd, (const struct sockaddr *)a, sizeof(*a));
		else
			errno = EADDRINUSE;
	}
	if (rc < 0)
		return -1;
	return chmod(a->sun_path, 0600) < 0 ? -1 : listen(fd, BACKLOG);
}

int vsock_open(struct vsock **ret, const char *path, struct err *err)
{
	struct sockaddr_un a;
	struct vsock *v;

	if (!*path || strlen(path) > VSOCK_PATH_MAX) {
		err_set(err, ERR_USAGE, "a path of 1 to %d bytes is wanted for a vsock",
			VSOCK_PATH_MAX);
		return err_object(err, path);
	}
	v = calloc(1, sizeof(*v));
	if (!v)
		return err_nomem(err);
	(void)snprintf(v->path, sizeof(v->path), "%s", path);
	address(&a, path);
	v->fd = unix_socket();
	if (v->fd >= 0 && listen_at(v->fd, &a) == 0) {
		*ret = v;
		return 0;
	}
	if (errno == EADDRINUSE)
		errno = EEXIST;
	err_sys(err, "cannot listen there");
	if (v->fd >= 0)
		(void)close(v->fd);
	free(v);
	return err_object(err, path);
}

void vsock_close(struct vsock *v)
{
	if (!v)
		return;
	(void)unlink(v->path);
	(void)close(v->fd);
	free(v);
}

int vsock_connect(const struct vsock *host, uint32_t port)
{
	char path[VSOCK_PATH_MAX + 16];
	struct sockaddr_un a;
	int fd = unix_socket();

	if (fd < 0)
		return -1;
	(void)snprintf(path, sizeof(path), "%s_%u", host->path, port);
	address(&a, path);
	/* It does not wait: a socket that has too many waiting already is nobody's */
	if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

void vsock_look(struct virtio_vsock *v)
{
	uint64_t one = 1;

	while (write(v->wake, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* The socket's peer reads no more, and what waits for it is lost: the guest is told */
static void broken(struct virtio_vsock *v, struct vsock_connection *c)
{
	c->len = 0;
	c->over = VSOCK_BOTH;
	c->ended = true;
	c->readable = false;
	vsock_tell(v, c, VSOCK_SHUTDOWN);
}

/* What the guest has ended is ended here when all that waited is gone */
static void settle(struct virtio_vsock *v, struct vsock_connection *c)
{
	if (c->len || !(c->guest_over & VSOCK_NO_SEND))
		return;
	if (c->guest_over == VSOCK_BOTH) {
		vsock_tell(v, c, VSOCK_RST);
		c->state = VSOCK_CLOSING;
		(void)close(c->fd);
		c->fd = -1;
	} else {
		(void)shutdown(c->fd, SHUT_WR);
	}
}

void vsock_flush(struct virtio_vsock *v, struct vsock_connection *c)
{
	if (c->state != VSOCK_OPEN)
		return;
	while (c->len) {
		uint32_t first = (uint32_t)min_u64(c->len, VSOCK_BUFFER - c->start);
		ssize_t n = send(c->fd, c->buffer + c->start, first, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			broken(v, c);
			return;
		}
		c->start = (c->start + (uint32_t)n) % VSOCK_BUFFER;
		c->len -= (uint32_t)n;
		c->taken += (uint32_t)n;
	}
	/* It may wait for room: it is told when half of it is free that it does not know of */
	if (c->taken - c->taken_told >= VSOCK_BUFFER / 2)
		vsock_tell(v, c, VSOCK_CREDIT_UPDATE);
	settle(v, c);
}

static void take_peers(struct virtio_vsock *v)
{
	int fd;

	while ((fd = accept4(v->host->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
		if (!vsock_new_connection(v, fd, VSOCK_GREETING))
			(void)close(fd);
}

/* "CONNECT PORT\n", byte by byte: what is behind it is the guest's */
static void greet(struct virtio_vsock *v, struct vsock_connection *c)
{
	static const char word[] = "CONNECT ";
	unsigned long port;
	char *end;

	for (;;) {
		ssize_t n = read(c->fd, c->greeting + c->greeted, 1);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0 || c->greeted == sizeof(c->greeting) - 1) {
			vsock_end(c);
			return;
		}
		if (c->greeting[c->greeted++] == '\n')
			break;
	}
	c->greeting[c->greeted - 1] = '\0';
	errno = 0;
	port = strtoul(c->greeting + sizeof(word) - 1, &end, 10);
	if (strncmp(c->greeting, word, sizeof(word) - 1) != 0 ||
	    c->greeting[sizeof(word) - 1] < '0' || c->greeting[sizeof(word) - 1] > '9' || *end ||
	    errno || port >= UINT32_MAX) {
		vsock_end(c);
		return;
	}
	c->guest_port = (uint32_t)port;
	c->host_port = v->next_port++;
	c->state = VSOCK_CONNECTING;
	vsock_tell(v, c, VSOCK_REQUEST);
}

static short wanted(const struct vsock_connection *c)
{
	short events = 0;

	if (c->state == VSOCK_GREETING)
		return POLLIN;
	if (c->state != VSOCK_OPEN)
		return 0;
	if (!c->ended && !c->readable)
		events |= POLLIN;
	if (c->len)
		events |= POLLOUT;
	return events;
}

static void answer(struct virtio_vsock *v, struct vsock_connection *c, short revents)
{
	if (c->state == VSOCK_GREETING) {
		greet(v, c);
	} else if (c->state == VSOCK_CONNECTING) {
		if (revents & (POLLHUP | POLLERR)) { /* it does not wait any more */
			vsock_tell(v, c, VSOCK_RST);
			c->state = VSOCK_CLOSING;
		}
	} else if (c->state == VSOCK_OPEN) {
		if (c->len)
			vsock_flush(v, c);
		if (!c->ended && !c->readable && (revents & (POLLIN | POLLHUP | POLLERR))) {
			c->readable = true;
			virtio_wake(&v->dev, 0);
		}
	}
}

/* What is waited for, [0] our wake, [1] new peers. One that has nothing to wait for is left out: its hang-up would be told
 * again and again. */
static void prepare(struct virtio_vsock *v, struct pollfd *f)
{
	f[0] = (struct pollfd){.fd = v->wake, .events = POLLIN};
	f[1] = (struct pollfd){.fd = v->host->fd, .events = POLLIN};
	for (unsigned i = 0; i < VSOCK_CONNECTIONS; i++) {
		const struct vsock_connection *c = &v->connection[i];
		short events = wanted(c);

		f[2 + i] =
			(struct pollfd){.fd = events || c->state == VSOCK_CONNECTING ? c->fd : -1,
					.events = events};
	}
}

void *vsock_thread(void *arg)
{
	struct pollfd f[2 + VSOCK_CONNECTIONS];
	struct virtio_vsock *v = arg;
	uint64_t drop;

	confine_thread();
	while (!atomic_load(&v->stop)) {
		(void)pthread_mutex_lock(&v->lock);
		prepare(v, f);
		(void)pthread_mutex_unlock(&v->lock);
		if (poll(f, 2 + VSOCK_CONNECTIONS, WAIT_MS) <= 0)
			continue;
		if (f[0].revents && read(v->wake, &drop, sizeof(drop)) < 0 && errno != EAGAIN)
			break;
		(void)pthread_mutex_lock(&v->lock);
		for (unsigned i = 0; i < VSOCK_CONNECTIONS; i++)
			/* It may be another connection by now, which is no harm: nothing waits */
			if (f[2 + i].revents && v->connection[i].fd == f[2 + i].fd)
				answer(v, &v->connection[i], f[2 + i].revents);
		if (f[1].revents)
			take_peers(v);
		(void)pthread_mutex_unlock(&v->lock);
	}
	return NULL;
}
