/* Hosts and domains, whatever the driver: see host.h. */
#include "libcommon/host/host.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libcommon/base/stop.h"
#include "libcommon/host/call.h"
#include "libcommon/host/private.h"

struct opening {
	struct host *host;
	char *uri;
	unsigned flags;
};

static void host_free(struct host *h)
{
	if (!h)
		return;
	free(h->uri);
	free(h);
}

static int opening_run(void *arg, struct err *err)
{
	struct opening *o = arg;

	return o->host->driver->open(o->host, o->uri, o->flags, err);
}

static void opening_free(struct opening *o)
{
	if (!o)
		return;
	free(o->uri);
	free(o);
}

/* The wait for it had ended before. */
static void opening_drop(void *arg)
{
	struct opening *o = arg;

	if (o->host->priv)
		host_close(o->host);
	else
		host_free(o->host);
	opening_free(o);
}

int host_open(struct host **ret, const char *uri, unsigned flags, uint64_t timeout_ms,
	      struct err *err)
{
	struct opening *o = calloc(1, sizeof(*o));
	struct host *h = calloc(1, sizeof(*h));
	bool lost = false;
	int rc = -1;

	if (o && h && (!uri || (o->uri = strdup(uri)))) {
		h->driver = uri && strncmp(uri, BUILTIN_URI, strlen(BUILTIN_URI)) == 0
				    ? &host_builtin
				    : &host_libvirt;
		o->host = h;
		o->flags = flags;
		rc = call_within(opening_run, opening_drop, o,
				 timeout_ms ? timeout_ms : HOST_TIMEOUT_MS, &lost, err);
	} else {
		err_nomem(err);
	}
	if (!lost)
		opening_free(o);
	if (rc < 0 && !lost)
		host_free(h);
	if (rc < 0)
		return err_object(err, uri ? uri : "libvirt");
	*ret = h;
	return 0;
}

void host_close(struct host *h)
{
	if (!h)
		return;
	h->driver->close(h);
	host_free(h);
}

const char *host_uri(const struct host *h)
{
	return h->uri;
}

const char *domain_state_name(enum domain_state s)
{
	static const char *const names[DOMAIN_STATE_COUNT] = {
		[DOMAIN_OFF] = "off",	      [DOMAIN_RUNNING] = "running",
		[DOMAIN_PAUSED] = "paused",   [DOMAIN_STOPPING] = "stopping",
		[DOMAIN_CRASHED] = "crashed", [DOMAIN_SLEEPING] = "sleeping",
	};

	return (unsigned)s < DOMAIN_STATE_COUNT ? names[s] : "unknown";
}

void domain_info_release(struct domain_info *info)
{
	free(info->name);
	*info = (struct domain_info){0};
}

static int by_name(const void *a, const void *b)
{
	const struct domain_info *x = a, *y = b;

	return strcmp(x->name, y->name);
}

int host_list(struct host *h, struct domain_info **ret, size_t *ret_n, struct err *err)
{
	if (h->driver->list(h, ret, ret_n, err) < 0)
		return err_object(err, h->uri);
	if (*ret_n)
		qsort(*ret, *ret_n, sizeof(**ret), by_name);
	return 0;
}

void host_list_free(struct domain_info *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		domain_info_release(&list[i]);
	free(list);
}

int host_find(struct host *h, const char *name, struct domain **ret, struct err *err)
{
	struct domain *d = calloc(1, sizeof(*d));

	if (!d)
		return err_nomem(err);
	d->host = h;
	if (h->driver->find(h, name, d, err) < 0) {
		free(d->name);
		free(d);
		return err_object(err, name);
	}
	*ret = d;
	return 0;
}

void domain_close(struct domain *d)
{
	if (!d)
		return;
	d->host->driver->release(d);
	free(d->name);
	free(d);
}

const char *domain_name(const struct domain *d)
{
	return d->name;
}

const char *domain_uuid(const struct domain *d)
{
	return d->uuid;
}

struct host *domain_host(const struct domain *d)
{
	return d->host;
}

int domain_info(struct domain *d, struct domain_info *ret, struct err *err)
{
	return d->host->driver->info(d, ret, err) < 0 ? err_object(err, d->name) : 0;
}

int domain_state(struct domain *d, enum domain_state *ret, const char **ret_reason, struct err *err)
{
	return d->host->driver->state(d, ret, ret_reason, err) < 0 ? err_object(err, d->name) : 0;
}

int domain_act(struct domain *d, enum domain_action what, struct err *err)
{
	return d->host->driver->act(d, what, err) < 0 ? err_object(err, d->name) : 0;
}

int domain_idle(struct domain *d, struct err *err)
{
	return d->host->driver->idle(d, err) < 0 ? err_object(err, d->name) : 0;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int domain_wait(struct domain *d, enum domain_state state, uint64_t timeout_ms, struct err *err)
{
	static const struct timespec pause = {.tv_nsec = 50000000};
	uint64_t start = now_ms();

	for (;;) {
		enum domain_state is;
		struct err why = ERR_INIT;

		if (domain_state(d, &is, NULL, &why) < 0) {
			/* A machine without a definition is gone when it is off. */
			if (why.code == ERR_NOT_FOUND && state == DOMAIN_OFF)
				return 0;
			if (err)
				*err = why;
			return -1;
		}
		if (is == state)
			return 0;
		if (stop_check(err) < 0)
			return -1;
		if (now_ms() - start >= timeout_ms) {
			err_set(err, ERR_TIMEOUT, "is %s, not %s, after %.3g s",
				domain_state_name(is), domain_state_name(state),
				(double)timeout_ms / 1000);
			return err_object(err, d->name);
		}
		(void)nanosleep(&pause, NULL);
	}
}
