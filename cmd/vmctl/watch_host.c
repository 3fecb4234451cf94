/* Keeping the machines of one host alive: look, decide (libcommon/host/policy.h), act, tell. See watch.h. */
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "cmd/vmctl/hosts.h"
#include "cmd/vmctl/place.h"
#include "cmd/vmctl/watch.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/host/disks.h"
#include "libcommon/host/stats.h"

enum { TICK_MS = 100, LOST_MS = 500, LOST_MAX_MS = 30000 };

/* What is remembered of a machine */
struct known {
	char uuid[UUID_TEXT_MAX];
	struct backoff restart, resume, cpus, memory;
	struct load load;
	bool waiting; /* for space: told */
};

struct watched {
	const struct watch_opts *o;
	const char *name;
	struct host *host;
	struct known *known;
	size_t n;
};

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static struct known *known_of(struct watched *w, const char *uuid)
{
	struct known *more;

	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->known[i].uuid, uuid) == 0)
			return &w->known[i];
	more = realloc(w->known, (w->n + 1) * sizeof(*more));
	if (!more)
		return NULL;
	w->known = more;
	w->known[w->n] = (struct known){0};
	(void)snprintf(w->known[w->n].uuid, UUID_TEXT_MAX, "%s", uuid);
	return &w->known[w->n++];
}

/* ---- telling */

static json_t *action(const struct watched *w, const char *what, const char *detail)
{
	char now[32] = "";
	time_t t = time(NULL);
	struct tm tm;

	if (gmtime_r(&t, &tm))
		(void)strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_pack("{s:s, s:o, s:n, s:n, s:s, s:o, s:b, s:b, s:n, s:n, s:n}", "time", now,
			 "host", cli_json_string(w->host ? host_uri(w->host) : w->name), "machine",
			 "uuid", "action", what, "detail", cli_json_string(detail), "done", 1,
			 "dry_run", (int)w->o->dry_run, "try", "from", "to");
}

struct told {
	const char *what, *detail;
	const struct err *err; /* NULL: it worked */
	unsigned try;
	uint64_t from, to;
};

static void tell(const struct watched *w, const char *machine, const char *uuid,
		 const struct told *t)
{
	json_t *a = action(w, t->what, t->err ? t->err->message : t->detail);

	(void)json_object_set_new(a, "machine", cli_json_string(machine));
	(void)json_object_set_new(a, "uuid", json_string(uuid));
	(void)json_object_set_new(a, "done", json_boolean(!t->err && !w->o->dry_run));
	if (t->try)
		(void)json_object_set_new(a, "try", json_integer(t->try));
	if (t->from || t->to) {
		(void)json_object_set_new(a, "from", json_integer((json_int_t)t->from));
		(void)json_object_set_new(a, "to", json_integer((json_int_t)t->to));
	}
	w->o->tell(a);
}

/* ---- restarting */

static bool failed(const struct domain_info *d)
{
	if (d->state == DOMAIN_CRASHED)
		return true;
	if (d->state == DOMAIN_OFF)
		return strcmp(d->reason, "crashed") == 0 || strcmp(d->reason, "failed") == 0;
	return d->state == DOMAIN_PAUSED && strcmp(d->reason, "crashed") == 0;
}

static int start_again(struct watched *w, const struct domain_info *i, struct err *err)
{
	struct domain *d;
	int rc;

	if (w->o->dry_run)
		return 0;
	if (host_find(w->host, i->uuid, &d, err) < 0)
		return -1;
	rc = i->state == DOMAIN_OFF ? 0 : domain_act(d, DOMAIN_DESTROY, err);
	if (rc == 0)
		rc = domain_act(d, DOMAIN_START, err);
	domain_close(d);
	return rc;
}

static void look_restart(struct watched *w, struct known *k, const struct domain_info *i)
{
	const struct backoff_opts *o = &w->o->restart;
	struct err why = ERR_INIT;
	uint64_t now = now_ms();

	if (w->o->no_restart || !failed(i) || !i->persistent) {
		if (i->state == DOMAIN_RUNNING)
			backoff_good(&k->restart, o, now);
		return;
	}
	if (backoff_due(&k->restart, o, now)) {
		int rc = start_again(w, i, &why);

		backoff_tried(&k->restart, o, now);
		tell(w, i->name, i->uuid,
		     &(struct told){.what = "restart",
				    .detail = i->reason,
				    .err = rc < 0 ? &why : NULL,
				    .try = k->restart.tries});
	} else if (backoff_gave_up(&k->restart, o, now)) {
		tell(w, i->name, i->uuid,
		     &(struct told){
			     .what = "give-up", .detail = i->reason, .try = k->restart.tries});
	}
}

/* ---- a full disk */

/* Is there space for all of its disks? A file that cannot be looked at is somewhere else: it is tried. */
static bool has_space(struct watched *w, struct domain *d, char path[512])
{
	CLEANUP_FREE char *xml = NULL;
	struct domain_disk *disks;
	bool enough = true;
	size_t n;

	if (!place_is_local(w->host) || domain_xml(d, 0, &xml, NULL) < 0 ||
	    domain_disks(xml, &disks, &n, NULL) < 0)
		return true;
	for (size_t i = 0; enough && i < n; i++) {
		struct statvfs s;

		if (disks[i].kind != DISK_FILE || statvfs(disks[i].source, &s) < 0)
			continue;
		if ((uint64_t)s.f_bavail * s.f_frsize < w->o->space) {
			enough = false;
			(void)snprintf(path, 512, "no space for %s", disks[i].source);
		}
	}
	domain_disks_free(disks, n);
	return enough;
}

static void resume(struct watched *w, struct known *k, const struct domain_info *i,
		   struct domain *d)
{
	char path[512] = "";
	struct err why = ERR_INIT;
	int rc;

	if (!has_space(w, d, path)) {
		if (!k->waiting)
			tell(w, i->name, i->uuid,
			     &(struct told){.what = "wait-for-space", .detail = path});
		k->waiting = true;
		return;
	}
	rc = w->o->dry_run ? 0 : domain_act(d, DOMAIN_RESUME, &why);
	backoff_tried(&k->resume, &w->o->restart, now_ms());
	k->waiting = false;
	tell(w, i->name, i->uuid,
	     &(struct told){.what = "resume",
			    .detail = i->reason,
			    .err = rc < 0 ? &why : NULL,
			    .try = k->resume.tries});
}

static void look_resume(struct watched *w, struct known *k, const struct domain_info *i)
{
	/* Space comes whenever it comes: it is waited for without an end, by the same growing pauses. */
	struct backoff_opts o = w->o->restart;
	struct domain *d;

	o.tries = UINT32_MAX;
	if (w->o->no_resume || i->state != DOMAIN_PAUSED || strcmp(i->reason, "io error") != 0) {
		if (i->state == DOMAIN_RUNNING)
			backoff_good(&k->resume, &o, now_ms());
		return;
	}
	if (!backoff_due(&k->resume, &o, now_ms()) || host_find(w->host, i->uuid, &d, NULL) < 0)
		return;
	resume(w, k, i, d);
	domain_close(d);
}

/* ---- memory and processors */

static uint64_t number(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 ? (uint64_t)n : 0;
}

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* @memory: bytes, else processors */
static void change(struct watched *w, struct backoff *b, const json_t *s, bool memory,
		   uint64_t from, uint64_t to)
{
	struct err why = ERR_INIT;
	struct domain *d;
	int rc = 0;

	if (!backoff_due(b, &w->o->restart, now_ms()))
		return;
	if (!w->o->dry_run) {
		rc = host_find(w->host, text(s, "uuid"), &d, &why);
		if (rc == 0) {
			rc = memory ? domain_set_memory(d, to, DOMAIN_LIVE, false, &why)
				    : domain_set_cpus(d, (unsigned)to, DOMAIN_LIVE, false, &why);
			domain_close(d);
		}
	}
	if (rc < 0)
		backoff_tried(b, &w->o->restart, now_ms());
	else
		*b = (struct backoff){0};
	tell(w, text(s, "name"), text(s, "uuid"),
	     &(struct told){.what = memory ? "memory" : "cpus",
			    .detail = "",
			    .err = rc < 0 ? &why : NULL,
			    .from = from,
			    .to = to});
}

static void look_memory(struct watched *w, struct known *k, const json_t *s, uint64_t *host_free)
{
	struct memory_view v = {.now = number(s, "memory"),
				.least = w->o->least_memory,
				.most = number(s, "memory_max"),
				.guest_total = number(s, "guest_memory"),
				.guest_usable = number(s, "guest_memory_usable"),
				.host_free = *host_free,
				.host_reserve = w->o->reserve};
	uint64_t want = policy_memory(&v);

	if (want == v.now)
		return;
	change(w, &k->memory, s, true, v.now, want);
	/* Several machines are not to be given the same memory. */
	if (want > v.now)
		*host_free -= want - v.now < *host_free ? want - v.now : *host_free;
	else
		*host_free += v.now - want;
}

static void look_cpus(struct watched *w, struct known *k, const json_t *s)
{
	unsigned cpus = (unsigned)number(s, "cpus"), most = (unsigned)number(s, "cpus_max"), want;

	want = policy_cpus(&k->load, json_number_value(json_object_get(s, "cpu_seconds")), cpus,
			   w->o->least_cpus, most, w->o->scale_at, now_ms());
	if (want != cpus)
		change(w, &k->cpus, s, false, cpus, want);
}

static bool meant(const struct watched *w, const char *name, const char *uuid)
{
	for (int i = 0; i < w->o->machines_n; i++)
		if (strcmp(w->o->machines[i], name) == 0 || strcmp(w->o->machines[i], uuid) == 0)
			return true;
	return w->o->machines_n == 0;
}

static int look_stats(struct watched *w, struct err *err)
{
	json_t *list, *node, *s;
	uint64_t host_free;
	size_t i;

	if (host_stats(w->host, &list, err) < 0)
		return -1;
	if (host_node(w->host, &node, err) < 0) {
		json_decref(list);
		return -1;
	}
	host_free = number(node, "memory_free");
	json_decref(node);
	json_array_foreach(list, i, s)
	{
		struct known *k = known_of(w, text(s, "uuid"));

		if (!k || strcmp(text(s, "state"), "running") != 0 ||
		    json_is_true(json_object_get(s, "stale")) ||
		    !meant(w, text(s, "name"), text(s, "uuid")))
			continue;
		if (w->o->balance && host_free)
			look_memory(w, k, s, &host_free);
		if (w->o->scale)
			look_cpus(w, k, s);
	}
	json_decref(list);
	return 0;
}

static int look(struct watched *w, struct err *err)
{
	struct domain_info *list;
	size_t n;

	if (host_list(w->host, &list, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct known *k = known_of(w, list[i].uuid);

		if (!k || !meant(w, list[i].name, list[i].uuid))
			continue;
		look_restart(w, k, &list[i]);
		look_resume(w, k, &list[i]);
	}
	host_list_free(list, n);
	return w->o->balance || w->o->scale ? look_stats(w, err) : 0;
}

/* ---- the host itself */

static void pause_for(const struct watch_opts *o, uint64_t ms)
{
	static const struct timespec tick = {.tv_nsec = TICK_MS * 1000000L};

	for (uint64_t end = now_ms() + ms; now_ms() < end && !o->ending();)
		(void)nanosleep(&tick, NULL);
}

static int watch_connected(struct watched *w, struct err *err)
{
	do {
		if (look(w, err) < 0)
			return -1;
		if (w->o->once)
			return 0;
		pause_for(w->o, w->o->interval_ms);
	} while (!w->o->ending());
	return 0;
}

int watch_host(const struct watch_opts *o, const char *uri, const char *name, struct err *err)
{
	struct watched w = {.o = o, .name = *name ? name : "libvirt"};
	uint64_t pause = LOST_MS;
	bool reached = false, told = false;
	int rc;

	do {
		struct err why = ERR_INIT;

		rc = host_open(&w.host, uri, o->dry_run ? HOST_READ_ONLY : 0, vmctl_host_timeout,
			       &why);
		if (rc == 0) {
			if (!o->once)
				o->tell(action(&w, "connected", ""));
			reached = true;
			told = false;
			pause = LOST_MS;
			rc = watch_connected(&w, &why);
			host_close(w.host);
			w.host = NULL;
		}
		if (rc < 0 && !told && reached && !o->ending())
			o->tell(action(&w, "lost", why.message));
		told = true;
		if (rc < 0 && (!reached || o->once)) {
			*err = why;
			break;
		}
		if (rc < 0)
			pause_for(o, pause);
		pause = pause * 2 < LOST_MAX_MS ? pause * 2 : LOST_MAX_MS;
	} while (rc < 0 && !o->ending());
	free(w.known);
	return reached && !o->once ? 0 : rc;
}
