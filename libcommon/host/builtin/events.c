/* Events of machines: nobody tells them, so the states are looked at four times a second and what differs is told. */
#include "libcommon/host/events.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libcommon/host/builtin/builtin.h"

enum { LOOK_MS = 250, TICK_MS = 50 };

struct watcher {
	struct host *host;
	host_event_fn fn;
	void *ctx;
	atomic_bool ending;
	pthread_t thread;
	struct domain_info *list; /* the thread's alone once it runs */
	size_t n;
};

static void tell(struct watcher *w, const struct domain_info *d, const char *what,
		 const char *detail)
{
	struct host_event e = {
		.kind = EVENT_LIFECYCLE, .machine = d->name, .what = what, .detail = detail};

	memcpy(e.uuid, d->uuid, UUID_TEXT_MAX);
	w->fn(&e, w->ctx);
}

static bool runs(const struct domain_info *d)
{
	return d->state != DOMAIN_OFF;
}

static void compare(struct watcher *w, const struct domain_info *old, const struct domain_info *new)
{
	/* Another process of the same name: it was off in between. */
	bool other = runs(old) && runs(new) && old->id >= 0 && new->id >= 0 && old->id != new->id;

	if (other || (runs(old) && !runs(new)))
		tell(w, new, "stopped", other ? "" : new->reason);
	if (other || (!runs(old) && runs(new)))
		tell(w, new, "started", "booted");
	if (new->state == DOMAIN_PAUSED && (other || old->state != DOMAIN_PAUSED))
		tell(w, new, "suspended", "user");
	if (!other && new->state == DOMAIN_RUNNING && old->state == DOMAIN_PAUSED)
		tell(w, new, "resumed", "user");
}

/* Both lists are sorted by name. */
static void look(struct watcher *w)
{
	struct domain_info *list;
	size_t n, o = 0;

	if (host_list(w->host, &list, &n, NULL) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		while (o < w->n && strcmp(w->list[o].name, list[i].name) < 0)
			tell(w, &w->list[o++], "undefined", "removed");
		if (o < w->n && strcmp(w->list[o].name, list[i].name) == 0) {
			compare(w, &w->list[o++], &list[i]);
			continue;
		}
		tell(w, &list[i], "defined", "added");
		if (runs(&list[i]))
			tell(w, &list[i], "started", "booted");
	}
	while (o < w->n)
		tell(w, &w->list[o++], "undefined", "removed");
	host_list_free(w->list, w->n);
	w->list = list;
	w->n = n;
}

static void *watch(void *arg)
{
	static const struct timespec tick = {.tv_nsec = TICK_MS * 1000000L};
	struct watcher *w = arg;

	for (unsigned waited = 0; !atomic_load(&w->ending); waited += TICK_MS) {
		if (waited >= LOOK_MS) {
			look(w);
			waited = 0;
		}
		(void)nanosleep(&tick, NULL);
	}
	return NULL;
}

int builtin_events_start(struct host *h, host_event_fn fn, void *ctx, void **ret, struct err *err)
{
	struct watcher *w = calloc(1, sizeof(*w));

	if (!w)
		return err_nomem(err);
	w->host = h;
	w->fn = fn;
	w->ctx = ctx;
	if (host_list(h, &w->list, &w->n, err) < 0) {
		free(w);
		return -1;
	}
	if (pthread_create(&w->thread, NULL, watch, w) != 0) {
		host_list_free(w->list, w->n);
		free(w);
		return err_set(err, ERR_FAILED, "cannot start a thread");
	}
	*ret = w;
	return 0;
}

void builtin_events_stop(void *events)
{
	struct watcher *w = events;

	atomic_store(&w->ending, true);
	(void)pthread_join(w->thread, NULL);
	host_list_free(w->list, w->n);
	free(w);
}
