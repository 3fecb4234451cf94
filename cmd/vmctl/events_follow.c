/* Listening to hosts: a thread each, which connects, listens, and connects again with growing pauses: see events.h. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/vmctl/events.h"
#include "cmd/vmctl/hosts.h"
#include "libcommon/base/clock.h"
#include "libcommon/base/log.h"
#include "libcommon/host/events.h"

enum { TICK_MS = 100, PAUSE_MS = 500, PAUSE_MAX_MS = 30000, END_MS = 1000 };

struct follower {
	const struct vmctl_answer *host;
	char *uri; /* owned: as the host last said it; changed by its thread while it does not listen */
	pthread_t thread;
	/* Guarded by shared.lock: */
	bool started, tried, up, dropped;
	struct err err; /* of the first try */
};

struct waiting {
	json_t *event;
	struct waiting *next;
};

static struct {
	const struct follow *follow; /* these three are set before any thread starts */
	struct follower *followers;
	size_t n;
	atomic_bool ending;
	pthread_mutex_t lock; /* guards the queue and running */
	pthread_cond_t more;  /* the queue has something; a thread ended */
	struct waiting *first, **last;
	size_t queued, running;
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER, .last = &shared.first};

static void pause_ms(unsigned ms)
{
	static const struct timespec tick = {.tv_nsec = TICK_MS * 1000000L};

	for (unsigned waited = 0; waited < ms && !atomic_load(&shared.ending); waited += TICK_MS)
		(void)nanosleep(&tick, NULL);
}

/* "2026-11-23T10:00:59.123Z" */
static void time_now(char ret[32])
{
	struct timespec t;
	struct tm tm;
	size_t n = 0;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	if (gmtime_r(&t.tv_sec, &tm))
		n = strftime(ret, 32, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(ret + n, 32 - n, ".%03uZ", (unsigned)(t.tv_nsec / 1000000) % 1000);
}

static json_t *text_or_null(const char *text)
{
	return text ? cli_json_string(text) : json_null();
}

struct record {
	const char *kind, *what, *detail, *machine, *uuid, *device, *path, *state;
};

/* An event without memory is as one that did not fit: the states are told again. */
static void push(struct follower *f, const struct record *r)
{
	struct waiting *w;
	char now[32];

	if (!shared.follow->wanted(r->kind, r->machine, r->uuid))
		return;
	time_now(now);
	w = calloc(1, sizeof(*w));
	if (w)
		w->event = json_pack(
			"{s:s, s:o, s:o, s:o, s:s, s:s, s:o, s:o, s:o, s:o}", "time", now, "host",
			cli_json_string(f->uri), "machine", text_or_null(r->machine), "uuid",
			text_or_null(r->uuid), "kind", r->kind, "event", r->what, "detail",
			cli_json_string(r->detail), "device", text_or_null(r->device), "path",
			text_or_null(r->path), "state", text_or_null(r->state));
	(void)pthread_mutex_lock(&shared.lock);
	if (w && w->event && shared.queued < shared.follow->queue_max) {
		*shared.last = w;
		shared.last = &w->next;
		shared.queued++;
		w = NULL;
		(void)pthread_cond_signal(&shared.more);
	} else {
		f->dropped = true;
	}
	(void)pthread_mutex_unlock(&shared.lock);
	if (w)
		json_decref(w->event);
	free(w);
}

static void push_host(struct follower *f, const char *what, const char *detail)
{
	push(f, &(struct record){.kind = "host", .what = what, .detail = detail});
}

static void on_event(const struct host_event *e, void *ctx)
{
	push(ctx, &(struct record){.kind = event_kind_name(e->kind),
				   .what = e->what,
				   .detail = e->detail,
				   .machine = e->machine,
				   .uuid = e->uuid,
				   .device = e->device,
				   .path = e->path});
}

/* What came before the connection, or got lost, is seen in how the machines are. */
static int resync(struct follower *f, struct host *h, struct err *err)
{
	struct domain_info *list;
	size_t n;

	if (host_list(h, &list, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		push(f, &(struct record){.kind = event_kind_name(EVENT_LIFECYCLE),
					 .what = "present",
					 .detail = list[i].reason,
					 .machine = list[i].name,
					 .uuid = list[i].uuid,
					 .state = domain_state_name(list[i].state)});
	host_list_free(list, n);
	return 0;
}

/* Events were dropped, and what waits now is less than half of what may. */
static bool take_dropped(struct follower *f)
{
	bool dropped;

	(void)pthread_mutex_lock(&shared.lock);
	dropped = f->dropped && shared.queued <= shared.follow->queue_max / 2;
	if (dropped)
		f->dropped = false;
	(void)pthread_mutex_unlock(&shared.lock);
	return dropped;
}

static int watch(struct follower *f, struct host *h, struct err *err)
{
	while (!atomic_load(&shared.ending)) {
		if (!host_alive(h))
			return err_set(err, ERR_CONNECTION, "the connection ended");
		if (take_dropped(f)) {
			push_host(f, "overflow", "events were dropped");
			if (resync(f, h, err) < 0)
				return -1;
		}
		pause_ms(TICK_MS);
	}
	return 0;
}

static int name_it(struct follower *f, const char *uri, struct err *err)
{
	char *copy = strdup(uri);

	if (!copy)
		return err_nomem(err);
	free(f->uri);
	f->uri = copy;
	return 0;
}

/* The first try has an end: follow_verdict() may speak. */
static void tried(struct follower *f, const struct err *err)
{
	(void)pthread_mutex_lock(&shared.lock);
	if (!f->tried && err)
		f->err = *err;
	f->up |= !err;
	f->tried = true;
	(void)pthread_cond_signal(&shared.more);
	(void)pthread_mutex_unlock(&shared.lock);
}

/* A connection from its beginning to its end. *@ret_up: was there one? Return: 0 when we are ending */
static int connection(struct follower *f, bool again, bool *ret_up, struct err *err)
{
	struct host_events *events = NULL;
	struct host *h;
	int rc;

	*ret_up = false;
	if (host_open(&h, f->host->uri, HOST_READ_ONLY, vmctl_host_timeout, err) < 0)
		return -1;
	rc = name_it(f, host_uri(h), err);
	if (rc == 0)
		rc = host_events_start(h, on_event, f, &events, err);
	if (rc == 0) {
		*ret_up = true;
		push_host(f, "connected", "");
		tried(f, NULL);
		/* Listening began before: nothing falls in between. */
		if (again || shared.follow->present)
			rc = resync(f, h, err);
	}
	if (rc == 0)
		rc = watch(f, h, err);
	host_events_stop(events);
	host_close(h);
	return rc;
}

static void follow_host(struct follower *f)
{
	unsigned pause = PAUSE_MS;

	for (bool again = false, told = false; !atomic_load(&shared.ending);) {
		struct err why = ERR_INIT;
		bool up;

		if (connection(f, again, &up, &why) == 0)
			return;
		if (up) {
			again = true;
			told = false;
			pause = PAUSE_MS;
		}
		if (!told && !atomic_load(&shared.ending)) {
			push_host(f, "lost", why.message);
			tried(f, &why);
			told = true;
		}
		pause_ms(pause);
		pause = pause * 2 < PAUSE_MAX_MS ? pause * 2 : PAUSE_MAX_MS;
	}
}

static void *follow_thread(void *arg)
{
	follow_host(arg);
	(void)pthread_mutex_lock(&shared.lock);
	shared.running--;
	(void)pthread_cond_signal(&shared.more);
	(void)pthread_mutex_unlock(&shared.lock);
	return NULL;
}

static int setup(const struct follow *f, const struct vmctl_answer *hosts, size_t n,
		 struct err *err)
{
	pthread_condattr_t attr;

	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&shared.more, &attr);
	(void)pthread_condattr_destroy(&attr);
	shared.follow = f;
	shared.followers = calloc(n, sizeof(*shared.followers));
	if (!shared.followers)
		return err_nomem(err);
	for (shared.n = 0; shared.n < n; shared.n++) {
		struct follower *one = &shared.followers[shared.n];
		const char *name = *hosts[shared.n].name ? hosts[shared.n].name : "libvirt";

		one->host = &hosts[shared.n];
		if (name_it(one, hosts[shared.n].uri ? hosts[shared.n].uri : name, err) < 0)
			return -1;
	}
	return 0;
}

int follow_start(const struct follow *f, const struct vmctl_answer *hosts, size_t n,
		 struct err *err)
{
	if (setup(f, hosts, n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct follower *one = &shared.followers[i];
		int rc;

		(void)pthread_mutex_lock(&shared.lock);
		rc = pthread_create(&one->thread, NULL, follow_thread, one);
		one->started = rc == 0;
		shared.running += one->started;
		(void)pthread_mutex_unlock(&shared.lock);
		if (rc != 0) {
			errno = rc;
			return err_sys(err, "cannot start a thread");
		}
	}
	return 0;
}

/* The lock is held. Return: false when the time is over */
static bool wait_more(const struct timespec *until)
{
	return pthread_cond_timedwait(&shared.more, &shared.lock, until) == 0;
}

json_t *follow_next(unsigned wait_ms)
{
	struct timespec until = clock_after(CLOCK_MONOTONIC, wait_ms);
	struct waiting *w;
	json_t *event = NULL;

	(void)pthread_mutex_lock(&shared.lock);
	if (!shared.first)
		(void)wait_more(&until); /* for nothing is fine: the caller comes again */
	w = shared.first;
	if (w) {
		shared.first = w->next;
		if (!shared.first)
			shared.last = &shared.first;
		shared.queued--;
		event = w->event;
	}
	(void)pthread_mutex_unlock(&shared.lock);
	free(w);
	return event;
}

int follow_verdict(struct err *err)
{
	static bool told; /* of the main thread */
	size_t failed = 0, open = 0;
	int rc = 0;

	(void)pthread_mutex_lock(&shared.lock);
	for (size_t i = 0; i < shared.n; i++) {
		open += !shared.followers[i].tried;
		failed += shared.followers[i].err.code != ERR_NONE && !shared.followers[i].up;
	}
	if (!told && open == 0 && failed == shared.n) {
		if (err)
			*err = shared.followers[0].err;
		rc = -1;
	} else if (!told && open == 0) {
		for (size_t i = 0; i < shared.n; i++)
			if (shared.followers[i].err.code != ERR_NONE)
				log_warning("%s: %s: it is tried again", shared.followers[i].uri,
					    shared.followers[i].err.message);
	}
	told |= open == 0;
	(void)pthread_mutex_unlock(&shared.lock);
	return rc;
}

bool follow_stop(void)
{
	struct timespec until = clock_after(CLOCK_MONOTONIC, END_MS);
	bool ended;
	json_t *event;

	atomic_store(&shared.ending, true);
	(void)pthread_mutex_lock(&shared.lock);
	while (shared.running && wait_more(&until))
		;
	ended = shared.running == 0;
	(void)pthread_mutex_unlock(&shared.lock);
	if (!ended)
		return false;
	for (size_t i = 0; i < shared.n; i++) {
		if (shared.followers[i].started)
			(void)pthread_join(shared.followers[i].thread, NULL);
		free(shared.followers[i].uri);
	}
	while ((event = follow_next(0)))
		json_decref(event);
	free(shared.followers);
	shared.followers = NULL;
	shared.n = 0;
	return true;
}
