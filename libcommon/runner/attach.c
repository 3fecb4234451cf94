/* Peers at the serial console: see attach.h. */
#include "libcommon/runner/attach.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libcommon/runner/serial.h"

void attach_init(struct attach *a)
{
	(void)pthread_mutex_init(&a->lock, NULL);
	for (unsigned i = 0; i < ATTACH_MAX; i++)
		a->peer[i].fd = -1;
}

bool attach_put(struct attach *a, uint8_t byte)
{
	bool wake;

	(void)pthread_mutex_lock(&a->lock);
	a->ring[a->total++ % ATTACH_RING] = byte;
	wake = a->peers && !a->told;
	a->told = a->told || wake;
	(void)pthread_mutex_unlock(&a->lock);
	return wake;
}

bool attach_is_full(struct attach *a)
{
	bool full;

	(void)pthread_mutex_lock(&a->lock);
	full = a->peers == ATTACH_MAX;
	(void)pthread_mutex_unlock(&a->lock);
	return full;
}

/* With the lock held: from the start of a line on, where there is one */
static uint64_t history(const struct attach *a)
{
	uint64_t from = a->total > ATTACH_HISTORY ? a->total - ATTACH_HISTORY : 0;

	for (uint64_t i = from; from && i < a->total; i++)
		if (a->ring[i % ATTACH_RING] == '\n')
			return i + 1;
	return from;
}

void attach_add(struct attach *a, int fd)
{
	bool placed = false;

	(void)pthread_mutex_lock(&a->lock);
	for (unsigned i = 0; i < ATTACH_MAX && !placed; i++) {
		if (a->peer[i].fd >= 0)
			continue;
		a->peer[i].fd = fd;
		a->peer[i].pos = history(a);
		a->peers++;
		placed = true;
	}
	(void)pthread_mutex_unlock(&a->lock);
	if (!placed)
		(void)close(fd);
}

void attach_poll(struct attach *a, struct pollfd p[ATTACH_MAX], bool input)
{
	(void)pthread_mutex_lock(&a->lock);
	a->told = false;
	for (unsigned i = 0; i < ATTACH_MAX; i++) {
		short events = (short)(input ? POLLIN : 0);

		if (a->peer[i].pos != a->total)
			events |= POLLOUT;
		p[i] = (struct pollfd){.fd = a->peer[i].fd, .events = events};
	}
	(void)pthread_mutex_unlock(&a->lock);
}

/* With the lock held */
static void drop(struct attach *a, unsigned i)
{
	(void)close(a->peer[i].fd);
	a->peer[i].fd = -1;
	a->peers--;
}

/* With the lock held: what it has not got yet, as much as it takes. Return: false when it has gone */
static bool send_new(struct attach *a, unsigned i)
{
	uint64_t *pos = &a->peer[i].pos;

	if (a->total - *pos > ATTACH_RING)
		*pos = a->total - ATTACH_RING;
	while (*pos != a->total) {
		uint64_t at = *pos % ATTACH_RING, left = a->total - *pos;
		size_t n = (size_t)(left < ATTACH_RING - at ? left : ATTACH_RING - at);
		ssize_t done = send(a->peer[i].fd, a->ring + at, n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (done < 0)
			return errno == EAGAIN || errno == EINTR;
		*pos += (uint64_t)done;
	}
	return true;
}

/* Return: false when it has gone */
static bool take_input(struct attach *a, unsigned i, struct serial *s)
{
	uint8_t buf[SERIAL_FIFO];
	size_t room = serial_room(s);
	ssize_t n;

	if (!room)
		return true;
	n = recv(a->peer[i].fd, buf, room, MSG_DONTWAIT);
	if (n > 0)
		(void)serial_input(s, buf, (size_t)n);
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* serial_input() takes the serial line's lock, under which attach_put() takes ours: so not both at once here. The descriptors
 * are the main loop's to close. */
void attach_serve(struct attach *a, const struct pollfd p[ATTACH_MAX], struct serial *s)
{
	for (unsigned i = 0; i < ATTACH_MAX; i++) {
		bool there = true;

		if (p[i].fd < 0 || !p[i].revents)
			continue;
		if (p[i].revents & POLLIN)
			there = take_input(a, i, s);
		else if (p[i].revents & (POLLHUP | POLLERR))
			there = false;
		(void)pthread_mutex_lock(&a->lock);
		if (!there || !send_new(a, i))
			drop(a, i);
		(void)pthread_mutex_unlock(&a->lock);
	}
}

void attach_end(struct attach *a)
{
	(void)pthread_mutex_lock(&a->lock);
	for (unsigned i = 0; i < ATTACH_MAX; i++) {
		if (a->peer[i].fd < 0)
			continue;
		(void)send_new(a, i);
		drop(a, i);
	}
	(void)pthread_mutex_unlock(&a->lock);
	(void)pthread_mutex_destroy(&a->lock);
}
