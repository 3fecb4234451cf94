/* Events of libvirt domains: see events.h.
 *
 * libvirt calls back in its event loop's thread (lib.c), and may be in a callback while another thread takes the
 * registration away: struct watch is counted, one for its owner and one for each registration (release()).
 */
#include <pthread.h>
#include <stdlib.h>

#include "libcommon/host/events.h"
#include "libcommon/host/libvirt/lib.h"

struct watch {
	const struct libvirt *lv;
	host_event_fn fn;
	void *ctx;
	pthread_mutex_t lock; /* guards what follows; held while fn runs */
	bool closed;
	unsigned refs;
};

enum { REGISTRATIONS = 8 };

struct registered {
	struct watch *watch;
	struct libvirt_host *host;
	int id[REGISTRATIONS]; /* -1: this driver or daemon does not have it */
};

static void release(void *arg)
{
	struct watch *w = arg;
	unsigned left;

	(void)pthread_mutex_lock(&w->lock);
	left = --w->refs;
	(void)pthread_mutex_unlock(&w->lock);
	if (left)
		return;
	pthread_mutex_destroy(&w->lock);
	free(w);
}

static void tell(struct watch *w, virDomainPtr dom, struct host_event e)
{
	e.machine = w->lv->DomainGetName(dom);
	if (!e.machine || w->lv->DomainGetUUIDString(dom, e.uuid) < 0) {
		w->lv->ResetLastError();
		return;
	}
	(void)pthread_mutex_lock(&w->lock);
	if (!w->closed)
		w->fn(&e, w->ctx);
	(void)pthread_mutex_unlock(&w->lock);
}

/* ---- libvirt's numbers as words; a newer daemon may know more of them */

enum { DETAILS_MAX = 9 };

static const struct {
	const char *what;
	const char *detail[DETAILS_MAX];
} lifecycle[] = {
	[VIR_DOMAIN_EVENT_DEFINED] = {"defined", {"added", "updated", "renamed", "snapshot"}},
	[VIR_DOMAIN_EVENT_UNDEFINED] = {"undefined", {"removed", "renamed"}},
	[VIR_DOMAIN_EVENT_STARTED] = {"started",
				      {"booted", "migrated", "restored", "snapshot", "wakeup"}},
	[VIR_DOMAIN_EVENT_SUSPENDED] = {"suspended",
					{"user", "migrated", "io error", "watchdog", "restored",
					 "snapshot", "api error", "postcopy", "postcopy failed"}},
	[VIR_DOMAIN_EVENT_RESUMED] = {"resumed",
				      {"user", "migrated", "snapshot", "postcopy",
				       "postcopy failed"}},
	[VIR_DOMAIN_EVENT_STOPPED] = {"stopped",
				      {"shutdown", "destroyed", "crashed", "migrated", "saved",
				       "failed", "snapshot"}},
	[VIR_DOMAIN_EVENT_SHUTDOWN] = {"shutdown", {"finished", "guest", "host"}},
	[VIR_DOMAIN_EVENT_PMSUSPENDED] = {"sleeping", {"memory", "disk"}},
	[VIR_DOMAIN_EVENT_CRASHED] = {"crashed", {"panicked", "crash loaded"}},
};

static const char *word(const char *const *words, size_t n, int i)
{
	const char *found = i >= 0 && (size_t)i < n ? words[i] : NULL;

	return found ? found : "unknown";
}
#define WORD(words, i) word(words, sizeof(words) / sizeof((words)[0]), i)

static int on_lifecycle(virConnectPtr conn, virDomainPtr dom, int event, int detail, void *arg)
{
	bool known = event >= 0 && (size_t)event < sizeof(lifecycle) / sizeof(lifecycle[0]);

	(void)conn;
	tell(arg, dom,
	     (struct host_event){.kind = EVENT_LIFECYCLE,
				 .what = known ? lifecycle[event].what : "unknown",
				 .detail = known ? WORD(lifecycle[event].detail, detail) : ""});
	return 0;
}

static void on_reboot(virConnectPtr conn, virDomainPtr dom, void *arg)
{
	(void)conn;
	tell(arg, dom, (struct host_event){.kind = EVENT_REBOOT, .what = "reset", .detail = ""});
}

static void on_agent(virConnectPtr conn, virDomainPtr dom, int state, int reason, void *arg)
{
	static const char *const states[] = {NULL, "connected", "disconnected"},
				 *const reasons[] = {"unknown", "machine started", "channel"};

	(void)conn;
	tell(arg, dom,
	     (struct host_event){.kind = EVENT_AGENT,
				 .what = WORD(states, state),
				 .detail = WORD(reasons, reason)});
}

static void on_io_error(virConnectPtr conn, virDomainPtr dom, const char *path, const char *alias,
			int action, const char *reason, void *arg)
{
	static const char *const actions[] = {"ignored", "paused", "reported"};

	(void)conn;
	tell(arg, dom,
	     (struct host_event){.kind = EVENT_IO_ERROR,
				 .what = WORD(actions, action),
				 .detail = reason ? reason : "",
				 .device = alias,
				 .path = path});
}

static void on_block_job(virConnectPtr conn, virDomainPtr dom, const char *target, int type,
			 int status, void *arg)
{
	static const char *const types[] = {"unknown", "pull",		"copy",
					    "commit",  "active commit", "backup"},
				 *const ends[] = {"completed", "failed", "cancelled", "ready"};

	(void)conn;
	tell(arg, dom,
	     (struct host_event){.kind = EVENT_BLOCK_JOB,
				 .what = WORD(ends, status),
				 .detail = WORD(types, type),
				 .device = target});
}

static void device(struct watch *w, virDomainPtr dom, const char *alias, const char *what)
{
	tell(w, dom,
	     (struct host_event){
		     .kind = EVENT_DEVICE, .what = what, .detail = "", .device = alias});
}

static void on_added(virConnectPtr conn, virDomainPtr dom, const char *alias, void *arg)
{
	(void)conn;
	device(arg, dom, alias, "added");
}

static void on_removed(virConnectPtr conn, virDomainPtr dom, const char *alias, void *arg)
{
	(void)conn;
	device(arg, dom, alias, "removed");
}

static void on_kept(virConnectPtr conn, virDomainPtr dom, const char *alias, void *arg)
{
	(void)conn;
	device(arg, dom, alias, "removal failed");
}

typedef void (*any_fn)(void); /* through which function pointers of unlike types may be cast */

/* The first is the one that every driver must have. */
static const struct {
	int what;
	any_fn fn;
} registrations[REGISTRATIONS] = {
	{VIR_DOMAIN_EVENT_ID_LIFECYCLE, (any_fn)on_lifecycle},
	{VIR_DOMAIN_EVENT_ID_REBOOT, (any_fn)on_reboot},
	{VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, (any_fn)on_agent},
	{VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, (any_fn)on_io_error},
	{VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2, (any_fn)on_block_job},
	{VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, (any_fn)on_added},
	{VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, (any_fn)on_removed},
	{VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, (any_fn)on_kept},
};

static void count_one(struct watch *w)
{
	(void)pthread_mutex_lock(&w->lock);
	w->refs++;
	(void)pthread_mutex_unlock(&w->lock);
}

int libvirt_events_start(struct host *h, host_event_fn fn, void *ctx, void **ret, struct err *err)
{
	struct registered *e = calloc(1, sizeof(*e));
	struct watch *w = calloc(1, sizeof(*w));
	const struct libvirt *lv;

	if (!e || !w) {
		free(e);
		free(w);
		return err_nomem(err);
	}
	e->host = libvirt_of(h);
	lv = e->host->lv;
	*w = (struct watch){.lv = lv, .fn = fn, .ctx = ctx, .refs = 1};
	(void)pthread_mutex_init(&w->lock, NULL);
	e->watch = w;
	for (int i = 0; i < REGISTRATIONS; i++) {
		count_one(w);
		e->id[i] = lv->ConnectDomainEventRegisterAny(
			e->host->conn, NULL, registrations[i].what,
			VIR_DOMAIN_EVENT_CALLBACK(registrations[i].fn), w, release);
		if (e->id[i] >= 0)
			continue;
		release(w); /* libvirt does it for what it took alone */
		if (i == 0) {
			libvirt_error(lv, err);
			release(w);
			free(e);
			return -1;
		}
		lv->ResetLastError();
	}
	*ret = e;
	return 0;
}

void libvirt_events_stop(void *events)
{
	struct registered *e = events;

	(void)pthread_mutex_lock(&e->watch->lock);
	e->watch->closed = true;
	(void)pthread_mutex_unlock(&e->watch->lock);
	for (int i = 0; i < REGISTRATIONS; i++)
		if (e->id[i] >= 0 &&
		    e->host->lv->ConnectDomainEventDeregisterAny(e->host->conn, e->id[i]) < 0)
			e->host->lv->ResetLastError(); /* a dead connection: gone with it */
	release(e->watch);
	free(e);
}

bool libvirt_alive(struct host *h)
{
	struct libvirt_host *l = libvirt_of(h);
	int alive = l->lv->ConnectIsAlive(l->conn);

	if (alive < 0)
		l->lv->ResetLastError();
	return alive > 0;
}
