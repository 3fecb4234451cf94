/* A serial console through libvirt. */
#include <stdlib.h>
#include <time.h>

#include "libcommon/host/libvirt/lib.h"

struct stream {
	const struct libvirt *lv;
	virStreamPtr stream;
	bool ended;
};

int libvirt_console_open(struct domain *d, const char *name, bool force, void **ret,
			 struct err *err)
{
	const struct libvirt_host *l = libvirt_of(d->host);
	struct stream *c = calloc(1, sizeof(*c));

	if (!c)
		return err_nomem(err);
	c->lv = l->lv;
	c->stream = l->lv->StreamNew(l->conn, VIR_STREAM_NONBLOCK);
	if (!c->stream || l->lv->DomainOpenConsole(libvirt_domain(d), name, c->stream,
						   force ? VIR_DOMAIN_CONSOLE_FORCE
							 : VIR_DOMAIN_CONSOLE_SAFE) < 0) {
		libvirt_error(l->lv, err);
		if (c->stream)
			(void)l->lv->StreamFree(c->stream);
		free(c);
		return -1;
	}
	*ret = c;
	return 0;
}

/* What came is queued by the thread that serves the socket: looked for a hundred times a second. */
ssize_t libvirt_console_read(void *console, void *buf, size_t len, unsigned timeout_ms,
			     struct err *err)
{
	struct stream *c = console;
	static const struct timespec pause = {.tv_nsec = 10000000};

	if (c->ended)
		return 0;
	for (unsigned waited = 0;; waited += 10) {
		int n = c->lv->StreamRecv(c->stream, buf, len);

		if (n == 0)
			c->ended = true;
		if (n >= 0)
			return n;
		if (n == -1) {
			c->ended = true;
			return libvirt_error(c->lv, err);
		}
		if (waited >= timeout_ms)
			return -2;
		(void)nanosleep(&pause, NULL);
	}
}

int libvirt_console_write(void *console, const void *buf, size_t len, struct err *err)
{
	struct stream *c = console;
	static const struct timespec pause = {.tv_nsec = 10000000};
	const char *at = buf;

	for (unsigned refused = 0; len;) {
		int n = c->lv->StreamSend(c->stream, at, len);

		if (n == -1)
			return libvirt_error(c->lv, err);
		if (n == -2) { /* a guest that does not read */
			if (++refused > 1000)
				return err_set(err, ERR_TIMEOUT,
					       "the console takes nothing for 10 s");
			(void)nanosleep(&pause, NULL);
			continue;
		}
		refused = 0;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

void libvirt_console_close(void *console)
{
	struct stream *c = console;

	(void)c->lv->StreamAbort(c->stream);
	(void)c->lv->StreamFree(c->stream);
	free(c);
}
