/* Connections to an NBD server: making them, handing them to threads, waiting for answers, giving them up. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libcommon/base/stop.h"
#include "libcommon/image/protocol/nbd_private.h"

enum { DEFAULT_TIMEOUT_S = 60, SLICE_MS = 200 }; /* a signal is seen after a slice at the latest */

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int nbd_failure(int number, const char *what, struct err *err)
{
	switch (number) {
	case ENOSPC:
	case EDQUOT:
		return err_set(err, ERR_NO_SPACE, "the server has no space left (%s)", what);
	case EPERM:
	case EACCES:
	case EROFS:
		return err_set(err, ERR_DENIED, "the server refused it (%s)", what);
	case ENOTCONN:
	case EPIPE:
	case ECONNRESET:
	case ECONNABORTED:
	case ESHUTDOWN:
		return err_set(err, ERR_CONNECTION, "the connection was lost (%s)", what);
	default:
		return err_set(err, ERR_FAILED, "the server answered: %s (%s)", strerror(number),
			       what);
	}
}

static void drop(struct nbd_pool *p, struct nbd_conn *c)
{
	if (c->h)
		p->lib->close(c->h);
	c->h = NULL;
	c->gone = true;
}

static bool is_over(struct nbd_pool *p, const struct nbd_conn *c)
{
	return p->lib->aio_is_dead(c->h) || p->lib->aio_is_closed(c->h);
}

/* One slice of waiting. Return: 1 something may have happened, 0 not, -1 stopped or broken: @err is set */
static int wait_slice(struct nbd_pool *p, struct nbd_conn *c, struct err *err)
{
	int r = p->lib->poll(c->h, SLICE_MS);

	if (stop_check(err) < 0)
		return -1;
	if (r < 0 && p->lib->get_errno() != EINTR) {
		int number = p->lib->get_errno();
		const char *text = p->lib->get_error();

		return err_set(err, ERR_CONNECTION, "the connection was lost: %s",
			       text	? text
			       : number ? strerror(number)
					: "no reason given");
	}
	return r > 0;
}

static int silent(const struct nbd_pool *p, struct err *err)
{
	err_set(err, ERR_CONNECTION, "no answer for %llu seconds",
		(unsigned long long)p->timeout_ms / 1000);
	return err_hint(err, "VMKIT_NBD_TIMEOUT=SECONDS waits longer");
}

int nbd_batch_done(void *batch, int *error)
{
	struct nbd_batch *b = batch;

	b->in_flight--;
	if (*error && !b->error)
		b->error = *error;
	return 1; /* retired, nothing more to ask about it */
}

int nbd_wait(struct nbd_pool *p, struct nbd_conn *c, struct nbd_batch *b, unsigned most,
	     struct err *err)
{
	uint64_t since = now_ms();

	while (b->in_flight > most) {
		unsigned before = b->in_flight;
		int r = wait_slice(p, c, err);

		if (r >= 0 && b->in_flight == before && now_ms() - since > p->timeout_ms)
			r = silent(p, err);
		if (r < 0) {
			drop(p, c);
			return -1;
		}
		if (b->in_flight != before)
			since = now_ms();
	}
	if (c->h && is_over(p, c)) {
		drop(p, c);
		return err_set(err, ERR_CONNECTION, "the server closed the connection");
	}
	return 0;
}

int nbd_refused(struct nbd_pool *p, struct nbd_conn *c, struct err *err)
{
	const char *text = p->lib->get_error();
	bool over = is_over(p, c);

	err_set(err, over ? ERR_CONNECTION : ERR_FAILED, "%s%s",
		over ? "the connection was lost: " : "", text ? text : "refused by libnbd");
	if (over)
		drop(p, c);
	return -1;
}

/* libnbd's sentence is long and names its functions: what is known better is said better. */
static int connect_failed(struct nbd_pool *p, struct err *err)
{
	int number = p->lib->get_errno();
	const char *text = p->lib->get_error();
	bool handshake = text && strstr(text, "handshake");

	if (handshake && number == ENOENT)
		return err_set(err, ERR_NOT_FOUND, "the server has no export \"%s\"",
			       p->uri.export);
	if (number == ECONNREFUSED || number == ENOENT)
		return err_set(err, ERR_CONNECTION, "nobody answers there");
	if (number == EACCES || number == EPERM)
		return err_set(err, ERR_DENIED, "the server or its socket refuses us");
	return err_set(err, ERR_CONNECTION, "%s", text ? text : strerror(number));
}

static int handshake(struct nbd_pool *p, struct nbd_conn *c, struct err *err)
{
	uint64_t since = now_ms();
	int r;

	if (p->lib->set_export_name(c->h, p->uri.export) < 0 ||
	    p->lib->add_meta_context(c->h, p->context) < 0)
		return err_set(err, ERR_USAGE, "%s", p->lib->get_error());
	r = p->uri.socket ? p->lib->aio_connect_unix(c->h, p->uri.socket)
			  : p->lib->aio_connect_tcp(c->h, p->uri.host, p->uri.port);
	if (r < 0)
		return connect_failed(p, err);
	while (!p->lib->aio_is_ready(c->h)) {
		if (is_over(p, c))
			return err_set(err, ERR_CONNECTION, "the server hung up");
		r = p->lib->poll(c->h, SLICE_MS);
		if (stop_check(err) < 0)
			return -1;
		if (r < 0 && p->lib->get_errno() != EINTR)
			return connect_failed(p, err);
		if (now_ms() - since > p->timeout_ms)
			return silent(p, err);
	}
	return 0;
}

static int connect_one(struct nbd_pool *p, struct nbd_conn *c, struct err *err)
{
	int64_t size;

	c->h = p->lib->create();
	if (!c->h)
		return err_nomem(err);
	if (handshake(p, c, err) < 0) {
		drop(p, c);
		return -1;
	}
	size = p->lib->get_size(c->h);
	if (size < 0 || (c != &p->conns[0] && (uint64_t)size != p->size)) {
		drop(p, c);
		return err_set(err, ERR_CONNECTION, "the server does not say the export's size");
	}
	if (c == &p->conns[0]) /* before there are threads */
		p->size = (uint64_t)size;
	return 0;
}

int nbd_pool_init(struct nbd_pool *p, const char *uri, const char *context, struct err *err)
{
	const char *seconds = getenv("VMKIT_NBD_TIMEOUT");
	unsigned long n = seconds ? strtoul(seconds, NULL, 10) : 0;

	*p = (struct nbd_pool){.most = 1, .context = context};
	p->timeout_ms = (n && n <= 86400 ? n : DEFAULT_TIMEOUT_S) * 1000;
	if (nbd_uri_parse(&p->uri, uri, err) < 0)
		return -1;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->freed, NULL);
	if (nbd_lib_load(&p->lib, err) == 0 && connect_one(p, &p->conns[0], err) == 0)
		return 0;
	nbd_pool_free(p);
	return -1;
}

void nbd_pool_free(struct nbd_pool *p)
{
	for (unsigned i = 0; i < NBD_CONNECTIONS; i++) {
		struct nbd_handle *h = p->conns[i].h;

		if (!h)
			continue;
		(void)p->lib->aio_disconnect(h, 0); /* as a courtesy: nobody waits for it */
		p->lib->close(h);
	}
	pthread_cond_destroy(&p->freed);
	pthread_mutex_destroy(&p->lock);
	nbd_uri_free(&p->uri);
}

/* An idle connection, else a place for a new one, else NULL. @ret_left: some are in use by others */
static struct nbd_conn *choose(struct nbd_pool *p, bool *ret_left)
{
	struct nbd_conn *fresh = NULL;

	*ret_left = false;
	for (unsigned i = 0; i < p->most; i++) {
		struct nbd_conn *c = &p->conns[i];

		if (c->busy)
			*ret_left = true;
		else if (c->h)
			return c;
		else if (!c->gone && !fresh)
			fresh = c;
	}
	return fresh;
}

int nbd_pool_take(struct nbd_pool *p, struct nbd_conn **ret, struct err *err)
{
	for (;;) {
		struct nbd_conn *c;
		bool left;

		(void)pthread_mutex_lock(&p->lock);
		while (!(c = choose(p, &left)) && left)
			(void)pthread_cond_wait(&p->freed, &p->lock);
		if (c)
			c->busy = true;
		(void)pthread_mutex_unlock(&p->lock);
		if (!c)
			return err_set(err, ERR_CONNECTION, "the connection was lost");
		*ret = c;
		if (c->h || connect_one(p, c, err) == 0)
			return 0;
		nbd_pool_put(p, c);
		if (stop_requested())
			return -1;
		/* The server takes no more than there are: those will do. */
	}
}

void nbd_pool_put(struct nbd_pool *p, struct nbd_conn *c)
{
	(void)pthread_mutex_lock(&p->lock);
	c->busy = false;
	(void)pthread_cond_broadcast(&p->freed);
	(void)pthread_mutex_unlock(&p->lock);
}
