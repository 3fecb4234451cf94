/* What not every driver can: the driver's function, or one sentence. See host.h, device.h, events.h, stats.h. */
#include <stdlib.h>

#include "libcommon/host/device.h"
#include "libcommon/host/events.h"
#include "libcommon/host/private.h"
#include "libcommon/host/snapshot.h"
#include "libcommon/host/stats.h"

struct console {
	const struct host_driver *driver;
	void *priv;
};

struct host_events {
	const struct host_driver *driver;
	void *priv;
};

static int cannot(const struct host *h, const char *what, struct err *err)
{
	return err_set(err, ERR_UNSUPPORTED, "the driver %s %s", h->driver->name, what);
}

static int of_domain(const struct domain *d, int rc, struct err *err)
{
	return rc < 0 ? err_object(err, d->name) : 0;
}

static int of_host(const struct host *h, int rc, struct err *err)
{
	return rc < 0 ? err_object(err, h->uri) : 0;
}

int domain_save_to(struct domain *d, const char *path, struct err *err)
{
	const struct host_driver *v = d->host->driver;

	return of_domain(d,
			 v->save_to ? v->save_to(d, path, err)
				    : cannot(d->host, "does not save memory to a file", err),
			 err);
}

int host_restore(struct host *h, const char *path, bool paused, struct err *err)
{
	const struct host_driver *v = h->driver;
	int rc = v->restore ? v->restore(h, path, paused, err)
			    : cannot(h, "does not restore memory from a file", err);

	return rc < 0 ? err_object(err, path) : 0;
}

bool domain_can_hold(const struct domain *d)
{
	return d->host->driver->hold != NULL;
}

int domain_hold(struct domain *d, struct err *err)
{
	const struct host_driver *v = d->host->driver;

	return of_domain(
		d, v->hold ? v->hold(d, err) : cannot(d->host, "does not hold machines still", err),
		err);
}

int domain_held(struct domain *d, bool *ret, struct err *err)
{
	const struct host_driver *v = d->host->driver;

	*ret = false;
	return v->held ? of_domain(d, v->held(d, ret, err), err) : 0;
}

int domain_let_go(struct domain *d, bool same, struct err *err)
{
	const struct host_driver *v = d->host->driver;

	return v->let_go ? v->let_go(d, same, err)
			 : cannot(d->host, "does not hold machines still", err);
}

int domain_held_memory(struct domain *d, const char *path, struct err *err)
{
	const struct host_driver *v = d->host->driver;

	return v->held_memory ? v->held_memory(d, path, err)
			      : cannot(d->host, "does not hold machines still", err);
}

int domain_check_memory(struct domain *d, const char *path, struct err *err)
{
	const struct host_driver *v = d->host->driver;

	return v->check_memory ? v->check_memory(d, path, err)
			       : cannot(d->host, "does not restore memory from a file", err);
}

int domain_restore_memory(struct domain *d, const char *path, struct err *err)
{
	const struct host_driver *v = d->host->driver;

	return of_domain(d,
			 v->restore_memory
				 ? v->restore_memory(d, path, err)
				 : cannot(d->host, "does not restore memory from a file", err),
			 err);
}

int domain_xml(struct domain *d, unsigned flags, char **ret, struct err *err)
{
	return of_domain(d, d->host->driver->xml(d, flags, ret, err), err);
}

int host_define(struct host *h, const char *xml, struct domain **ret, struct err *err)
{
	struct domain *d = calloc(1, sizeof(*d));

	if (!d)
		return err_nomem(err);
	d->host = h;
	if (h->driver->define(h, xml, d, err) < 0) {
		free(d->name);
		free(d);
		return -1;
	}
	if (ret)
		*ret = d;
	else
		domain_close(d);
	return 0;
}

int host_capabilities(struct host *h, char **ret, struct err *err)
{
	const struct host_driver *v = h->driver;

	return of_host(h,
		       v->capabilities ? v->capabilities(h, ret, err)
				       : cannot(h, "has no capabilities to tell", err),
		       err);
}

int domain_set_autostart(struct domain *d, unsigned order, uint64_t delay_ms, struct err *err)
{
	return of_domain(d, d->host->driver->set_autostart(d, order, delay_ms, err), err);
}

int domain_set_cpus(struct domain *d, unsigned n, unsigned where, bool max, struct err *err)
{
	return of_domain(d, d->host->driver->set_cpus(d, n, where, max, err), err);
}

int domain_set_memory(struct domain *d, uint64_t bytes, unsigned where, bool max, struct err *err)
{
	return of_domain(d, d->host->driver->set_memory(d, bytes, where, max, err), err);
}

int domain_limit_cpu(struct domain *d, const struct cpu_limits *l, unsigned where, struct err *err)
{
	const struct host_driver *v = d->host->driver;

	return of_domain(d,
			 v->limit_cpu ? v->limit_cpu(d, l, where, err)
				      : cannot(d->host, "does not limit processors", err),
			 err);
}

int domain_limit_memory(struct domain *d, uint64_t bytes, unsigned where, struct err *err)
{
	const struct host_driver *v = d->host->driver;

	return of_domain(d,
			 v->limit_memory ? v->limit_memory(d, bytes, where, err)
					 : cannot(d->host, "does not limit memory", err),
			 err);
}

int domain_limit_disk(struct domain *d, const struct disk_limits *l, unsigned where,
		      struct err *err)
{
	const struct host_driver *v = d->host->driver;

	return of_domain(d,
			 v->limit_disk ? v->limit_disk(d, l, where, err)
				       : cannot(d->host, "does not limit disks", err),
			 err);
}

int domain_limit_net(struct domain *d, const struct net_limits *l, unsigned where, struct err *err)
{
	const struct host_driver *v = d->host->driver;

	return of_domain(d,
			 v->limit_net ? v->limit_net(d, l, where, err)
				      : cannot(d->host, "does not limit networks", err),
			 err);
}

int domain_pin(struct domain *d, const struct pin *p, unsigned where, struct err *err)
{
	const struct host_driver *v = d->host->driver;

	return of_domain(d,
			 v->pin ? v->pin(d, p, where, err)
				: cannot(d->host, "does not pin processors", err),
			 err);
}

int domain_agent(struct domain *d, const json_t *command, unsigned timeout_s, json_t **ret,
		 struct err *err)
{
	const struct host_driver *v = d->host->driver;

	return of_domain(d,
			 v->agent ? v->agent(d, command, timeout_s, ret, err)
				  : cannot(d->host, "has no guest agent", err),
			 err);
}

int domain_attach(struct domain *d, const char *xml, unsigned where, struct err *err)
{
	const struct host_driver *v = d->host->driver;

	return of_domain(d,
			 v->attach ? v->attach(d, xml, where, err)
				   : cannot(d->host, "does not attach devices", err),
			 err);
}

int domain_detach(struct domain *d, const char *xml, unsigned where, struct err *err)
{
	const struct host_driver *v = d->host->driver;

	return of_domain(d,
			 v->detach ? v->detach(d, xml, where, err)
				   : cannot(d->host, "does not detach devices", err),
			 err);
}

int host_stats(struct host *h, json_t **ret, struct err *err)
{
	return of_host(h, h->driver->stats(h, ret, err), err);
}

int host_node(struct host *h, json_t **ret, struct err *err)
{
	return of_host(h, h->driver->node(h, ret, err), err);
}

/* ---- events */

const char *event_kind_name(enum event_kind kind)
{
	static const char *const names[EVENT_KINDS] = {
		[EVENT_LIFECYCLE] = "lifecycle", [EVENT_REBOOT] = "reboot",
		[EVENT_AGENT] = "agent",	 [EVENT_IO_ERROR] = "io-error",
		[EVENT_BLOCK_JOB] = "block-job", [EVENT_DEVICE] = "device",
	};

	return (unsigned)kind < EVENT_KINDS ? names[kind] : "unknown";
}

int host_events_start(struct host *h, host_event_fn fn, void *ctx, struct host_events **ret,
		      struct err *err)
{
	struct host_events *e = calloc(1, sizeof(*e));

	if (!e)
		return err_nomem(err);
	e->driver = h->driver;
	if (e->driver->events_start(h, fn, ctx, &e->priv, err) < 0) {
		free(e);
		return err_object(err, h->uri);
	}
	*ret = e;
	return 0;
}

void host_events_stop(struct host_events *e)
{
	if (!e)
		return;
	e->driver->events_stop(e->priv);
	free(e);
}

bool host_alive(struct host *h)
{
	return h->driver->alive(h);
}

/* ---- consoles */

int console_open(struct domain *d, const char *name, bool force, struct console **ret,
		 struct err *err)
{
	struct console *c = calloc(1, sizeof(*c));

	if (!c)
		return err_nomem(err);
	c->driver = d->host->driver;
	if (c->driver->console_open(d, name, force, &c->priv, err) < 0) {
		free(c);
		return err_object(err, d->name);
	}
	*ret = c;
	return 0;
}

ssize_t console_read(struct console *c, void *buf, size_t len, unsigned timeout_ms, struct err *err)
{
	return c->driver->console_read(c->priv, buf, len, timeout_ms, err);
}

int console_write(struct console *c, const void *buf, size_t len, struct err *err)
{
	return c->driver->console_write(c->priv, buf, len, err);
}

void console_close(struct console *c)
{
	if (!c)
		return;
	c->driver->console_close(c->priv);
	free(c);
}
