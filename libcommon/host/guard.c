/* Both sides of the guard: see guard.h. Orders and answers are packets on a socket; its end is our death. */
#include "libcommon/host/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"
#include "libcommon/host/live.h"

enum {
	AGENT_S = 10,	    /* for one answer of the agent */
	READY_MS = 15000,   /* for the guard's connection */
	INSIST_MS = 60000,  /* how long the guard tries before it says that it cannot */
	ALONE_MS = 3600000, /* and when nobody waits for it */
	AGAIN_MS = 1000, /* a freeze that was under way when we died comes after the first thaw */
	CONNECT_MS = 5000,
};

enum order_what { ORDER_ARM, ORDER_DISARM, ORDER_THAW, ORDER_JOB, ORDER_MOVE };

/* Of a machine from one host to another */
struct way {
	char from[GUARD_URI_MAX + 1], to[GUARD_URI_MAX + 1]; /* "": it stays where it is */
	bool running;
};

struct order {
	enum order_what what;
	unsigned max_ms;
	char uuid[UUID_TEXT_MAX];
	char socket[GUARD_SOCKET_MAX + 1]; /* of ORDER_JOB; "": none */
	struct way way;			   /* of ORDER_MOVE */
};

struct answer {
	bool ok;
	bool early; /* thawed before it was told to */
	struct err err;
};

struct guard {
	const char *uri;
	int fd;
	pid_t pid;
	struct domain *frozen; /* NULL: nothing is */
	unsigned file_systems;
	uint64_t since_us;
};

static uint64_t now_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* ---- the guest agent */

static int tell(struct domain *d, const char *what, json_t **ret, struct err *err)
{
	json_t *command = json_pack("{s:s}", "execute", what);
	int rc = command ? domain_agent(d, command, AGENT_S, ret, err) : err_nomem(err);

	json_decref(command);
	return rc;
}

static int tell_number(struct domain *d, const char *what, unsigned *ret, struct err *err)
{
	json_t *value = NULL;

	if (tell(d, what, &value, err) < 0)
		return -1;
	*ret = json_integer_value(value) > 0 ? (unsigned)json_integer_value(value) : 0;
	json_decref(value);
	return 0;
}

/* ---- the child */

struct watch {
	const char *uri;
	int fd;
	struct host *host;
	struct domain *domain;
	char uuid[UUID_TEXT_MAX];
	bool armed, early;
	uint64_t until_us;
	char job[GUARD_SOCKET_MAX + 1];
	struct way way;
	struct host *target;
	void (*left)(const char *socket);
};

static void hang_up(struct watch *w)
{
	domain_close(w->domain);
	host_close(w->host);
	host_close(w->target);
	w->domain = NULL;
	w->host = w->target = NULL;
}

static int call_host(struct watch *w, struct err *err)
{
	if (!w->host && host_open(&w->host, w->uri, 0, CONNECT_MS, err) < 0)
		return -1;
	return w->domain ? 0 : host_find(w->host, w->uuid, &w->domain, err);
}

enum thawed { NOT_YET, NOTHING_FROZEN, THAWED };

/* THAWED also when there is no guest any more */
static enum thawed thaw_once(struct watch *w, struct err *err)
{
	enum domain_state state;
	json_t *status = NULL;
	unsigned n;
	bool yes = false;

	err_clear(err);
	if (call_host(w, err) == 0 && domain_state(w->domain, &state, NULL, err) == 0) {
		if (state == DOMAIN_OFF || state == DOMAIN_CRASHED)
			return THAWED;
		if (tell_number(w->domain, "guest-fsfreeze-thaw", &n, err) == 0 &&
		    tell(w->domain, "guest-fsfreeze-status", &status, err) == 0) {
			yes = json_is_string(status) &&
			      strcmp(json_string_value(status), "thawed") == 0;
			json_decref(status);
		}
	}
	if (yes)
		return n ? THAWED : NOTHING_FROZEN;
	if (err->code == ERR_NOT_FOUND)
		return THAWED;
	if (err->code == ERR_CONNECTION)
		hang_up(w); /* a daemon that was started anew wants a new connection */
	return NOT_YET;
}

/* When nothing was frozen, an order to freeze may still be on its way: a second look. */
static int insist(struct watch *w, unsigned ms, struct err *err)
{
	static const struct timespec pause = {.tv_nsec = AGAIN_MS / 2 * 1000000L};
	uint64_t until = now_us() + ms * 1000ULL, first = 0;

	do {
		enum thawed is = thaw_once(w, err);

		if (is == THAWED ||
		    (first && is == NOTHING_FROZEN && now_us() - first >= AGAIN_MS * 1000ULL))
			return 0;
		if (is == NOT_YET)
			first = 0;
		else if (!first)
			first = now_us();
		(void)nanosleep(&pause, NULL);
	} while (now_us() < until);
	return err->code ? -1 : err_set(err, ERR_TIMEOUT, "the guest stays frozen");
}

/* Return: is there no such job any more? */
static bool end_job_once(struct watch *w)
{
	CLEANUP_FREE char *socket = NULL;
	enum domain_state state;
	struct err why = ERR_INIT;

	if (call_host(w, &why) == 0 && domain_state(w->domain, &state, NULL, &why) == 0 &&
	    (state == DOMAIN_OFF || state == DOMAIN_CRASHED))
		return true;
	if (!why.code && domain_backup_socket(w->domain, &socket, &why) == 0 &&
	    (!socket || strcmp(socket, w->job) != 0 || domain_backup_end(w->domain, &why) == 0))
		return true;
	if (why.code == ERR_CONNECTION)
		hang_up(w);
	return why.code == ERR_NOT_FOUND; /* no such machine */
}

/* An order to begin may still be on its way: a second look, and time for what ends it */
static void end_job(struct watch *w)
{
	static const struct timespec pause = {.tv_nsec = AGAIN_MS * 1000000L / 2};
	uint64_t until = now_us() + INSIST_MS * 1000ULL;
	int looks = 0;

	do {
		looks = end_job_once(w) ? looks + 1 : 0;
		if (looks < 3)
			(void)nanosleep(&pause, NULL);
	} while (looks < 3 && now_us() < until);
	if (looks && w->left)
		w->left(w->job);
}

enum place { ABSENT, STANDS, RUNS };

/* What a host has of the machine: a definition alone, and one that has stopped, is nothing */
static int place_at(struct host *h, const char *uuid, struct domain **ret, enum place *ret_place,
		    struct err *err)
{
	enum domain_state state;

	*ret = NULL;
	*ret_place = ABSENT;
	err_clear(err);
	if (host_find(h, uuid, ret, err) == 0 && domain_state(*ret, &state, NULL, err) == 0)
		*ret_place = state == DOMAIN_RUNNING || state == DOMAIN_SLEEPING ? RUNS
			     : state == DOMAIN_OFF || state == DOMAIN_CRASHED	 ? ABSENT
										 : STANDS;
	return err->code && err->code != ERR_NOT_FOUND ? -1 : 0;
}

/* The source's copy, when both have been asked. Return: is all as it should be? */
static bool settle(struct watch *w, struct domain *here, enum place at_source, enum place at_target)
{
	struct err ignored = ERR_INIT;

	if (at_target == RUNS && at_source == STANDS &&
	    domain_act(here, DOMAIN_DESTROY, &ignored) == 0)
		(void)domain_act(here, DOMAIN_UNDEFINE_HERE, &ignored);
	if (at_target == ABSENT && at_source == STANDS && w->way.running)
		(void)domain_act(here, DOMAIN_RESUME, &ignored);
	/* What stands at the target is about to go on, or to go */
	return at_target == RUNS ? at_source == ABSENT
				 : at_target == ABSENT && (at_source != STANDS || !w->way.running);
}

static bool move_settled_once(struct watch *w)
{
	struct domain *here = NULL, *there = NULL;
	enum place at_source, at_target;
	struct err why = ERR_INIT;
	bool yes = false;

	/* The target first: what it does not have by then does not come any more */
	if ((w->host || host_open(&w->host, w->way.from, 0, CONNECT_MS, &why) == 0) &&
	    (w->target || host_open(&w->target, w->way.to, 0, CONNECT_MS, &why) == 0) &&
	    place_at(w->target, w->uuid, &there, &at_target, &why) == 0 &&
	    place_at(w->host, w->uuid, &here, &at_source, &why) == 0)
		yes = settle(w, here, at_source, at_target);
	domain_close(there);
	domain_close(here);
	if (why.code == ERR_CONNECTION)
		hang_up(w);
	return yes;
}

/* The last order may still be on its way: more than one look */
static void end_move(struct watch *w)
{
	static const struct timespec pause = {.tv_nsec = AGAIN_MS * 1000000L / 2};
	uint64_t until = now_us() + ALONE_MS * 1000ULL;

	hang_up(w); /* it may have another source than the one of other orders */
	for (int looks = 0; looks < 3 && now_us() < until; (void)nanosleep(&pause, NULL))
		looks = move_settled_once(w) ? looks + 1 : 0;
}

static void obey(struct watch *w, const struct order *o)
{
	struct answer a = {.ok = true, .early = w->early, .err = ERR_INIT};

	switch (o->what) {
	case ORDER_ARM:
		hang_up(w);
		memcpy(w->uuid, o->uuid, sizeof(w->uuid));
		a.ok = w->armed = call_host(w, &a.err) == 0;
		w->early = a.early = false;
		w->until_us = now_us() + o->max_ms * 1000ULL;
		break;
	case ORDER_THAW:
		a.ok = insist(w, INSIST_MS, &a.err) == 0;
		w->armed = !a.ok;
		break;
	case ORDER_DISARM:
		w->armed = false;
		break;
	case ORDER_JOB:
		memcpy(w->uuid, o->uuid, sizeof(w->uuid));
		memcpy(w->job, o->socket, sizeof(w->job));
		break;
	case ORDER_MOVE:
		memcpy(w->uuid, o->uuid, sizeof(w->uuid));
		w->way = o->way;
		break;
	}
	(void)send(w->fd, &a, sizeof(a), MSG_NOSIGNAL);
}

static void watch_run(struct watch *w)
{
	for (;;) {
		struct pollfd p = {.fd = w->fd, .events = POLLIN};
		struct err ignored = ERR_INIT;
		struct order o;
		uint64_t now = now_us();
		int wait = !w->armed || w->early ? -1
			   : w->until_us <= now	 ? 0
						 : (int)((w->until_us - now) / 1000 + 1);
		int n = poll(&p, 1, wait);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0) { /* too long */
			w->early = true;
			(void)thaw_once(w, &ignored);
			continue;
		}
		if (n < 0 || recv(w->fd, &o, sizeof(o), 0) != (ssize_t)sizeof(o))
			break;
		o.uuid[sizeof(o.uuid) - 1] = '\0';
		o.socket[sizeof(o.socket) - 1] = '\0';
		o.way.from[GUARD_URI_MAX] = o.way.to[GUARD_URI_MAX] = '\0';
		obey(w, &o);
	}
	struct err ignored = ERR_INIT;

	/* An agent that does not answer keeps no job. */
	if (w->armed)
		(void)thaw_once(w, &ignored);
	if (*w->job)
		end_job(w);
	if (*w->way.to)
		end_move(w);
	if (w->armed)
		(void)insist(w, ALONE_MS, &ignored);
	hang_up(w);
}

/* Nothing of ours is kept open: a pipe's reader waits for its last writer. */
static void detach(int *fd)
{
	static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGTSTP};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		(void)signal(ignored[i], SIG_IGN);
	(void)setsid();
	if (chdir("/") < 0)
		_exit(1);
	for (int i = 0; i < 3 && null >= 0; i++)
		(void)dup2(null, i);
	if (*fd != 3) {
		(void)dup2(*fd, 3);
		*fd = 3;
	}
	(void)close_range(4, ~0U, 0);
	(void)prctl(PR_SET_NAME, "vmkit-guard");
}

/* ---- our side */

int guard_start(struct guard **ret, const char *uri, void (*left)(const char *socket),
		struct err *err)
{
	struct guard *g = calloc(1, sizeof(*g));
	int pair[2];

	if (!g)
		return err_nomem(err);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		free(g);
		return err_sys(err, "no socket for the guard");
	}
	g->uri = uri;
	g->fd = pair[0];
	g->pid = fork();
	if (g->pid == 0) {
		struct watch w = {.uri = uri, .fd = pair[1], .left = left};

		detach(&w.fd);
		watch_run(&w);
		_exit(0);
	}
	(void)close(pair[1]);
	if (g->pid < 0) {
		err_sys(err, "cannot start the guard");
		(void)close(g->fd);
		free(g);
		return -1;
	}
	*ret = g;
	return 0;
}

static int order(struct guard *g, struct order *o, unsigned wait_ms, struct answer *ret,
		 struct err *err)
{
	struct pollfd p = {.fd = g->fd, .events = POLLIN};
	uint64_t until = now_us() + wait_ms * 1000ULL;

	if (send(g->fd, o, sizeof(*o), MSG_NOSIGNAL) != (ssize_t)sizeof(*o))
		return err_set(err, ERR_FAILED, "the guard process has ended");
	while (poll(&p, 1, 100) <= 0) { /* signals only end what is not an order to thaw */
		if (o->what == ORDER_ARM && stop_check(err) < 0)
			return -1;
		if (now_us() >= until)
			return err_set(err, ERR_TIMEOUT, "the guard process does not answer");
	}
	if (recv(g->fd, ret, sizeof(*ret), 0) != (ssize_t)sizeof(*ret))
		return err_set(err, ERR_FAILED, "the guard process has ended");
	if (!ret->ok && err)
		*err = ret->err;
	return ret->ok ? 0 : -1;
}

/* After an order to freeze that failed. The agent's own no is one; who did not answer may have frozen all the same: then
 * the guard stays armed, and goes on when we are gone. */
static void take_back(struct guard *g, struct domain *d, const struct err *why)
{
	struct order o = {.what = ORDER_DISARM};
	struct answer a;
	unsigned n;
	bool lost =
		why->code == ERR_CONNECTION || why->code == ERR_BUSY || why->code == ERR_TIMEOUT;

	if (tell_number(d, "guest-fsfreeze-thaw", &n, NULL) == 0 || !lost)
		(void)order(g, &o, READY_MS, &a, NULL);
}

int guard_freeze(struct guard *g, struct domain *d, unsigned max_ms, struct err *err)
{
	struct order o = {.what = ORDER_ARM, .max_ms = max_ms ? max_ms : GUARD_MAX_MS};
	struct err why = ERR_INIT;
	json_t *pong = NULL;
	struct answer a;

	/* Nobody there: then there is nothing to guard. */
	if (tell(d, "guest-ping", &pong, err) < 0)
		return -1;
	json_decref(pong);
	(void)snprintf(o.uuid, sizeof(o.uuid), "%s", domain_uuid(d));
	if (order(g, &o, READY_MS, &a, err) < 0)
		return -1;
	g->since_us = now_us();
	g->file_systems = 0;
	if (tell_number(d, "guest-fsfreeze-freeze", &g->file_systems, &why) == 0) {
		g->frozen = d;
		return 0;
	}
	take_back(g, d, &why);
	if (err)
		*err = why;
	return -1;
}

int guard_job(struct guard *g, const char *uuid, const char *socket, struct err *err)
{
	struct order o = {.what = ORDER_JOB};
	struct answer a;

	(void)snprintf(o.uuid, sizeof(o.uuid), "%s", uuid);
	(void)snprintf(o.socket, sizeof(o.socket), "%s", socket ? socket : "");
	return order(g, &o, READY_MS, &a, err);
}

int guard_move(struct guard *g, const char *uuid, const char *from, const char *to, bool running,
	       struct err *err)
{
	struct order o = {.what = ORDER_MOVE, .way.running = running};
	struct answer a;

	if (to && (strlen(from) > GUARD_URI_MAX || strlen(to) > GUARD_URI_MAX))
		return err_set(err, ERR_USAGE, "a URI is longer than %d bytes", GUARD_URI_MAX);
	(void)snprintf(o.uuid, sizeof(o.uuid), "%s", uuid);
	(void)snprintf(o.way.from, sizeof(o.way.from), "%s", to ? from : "");
	(void)snprintf(o.way.to, sizeof(o.way.to), "%s", to ? to : "");
	return order(g, &o, READY_MS, &a, err);
}

int guard_thaw(struct guard *g, struct freeze *ret, struct err *err)
{
	struct order o = {.what = ORDER_DISARM};
	struct err why = ERR_INIT;
	struct answer a = {0};
	unsigned thawed = 0;
	int rc;

	*ret = (struct freeze){.file_systems = g->file_systems};
	if (!g->frozen)
		return 0;
	if (tell_number(g->frozen, "guest-fsfreeze-thaw", &thawed, &why) < 0)
		o.what = ORDER_THAW;
	ret->window_ms = (double)(now_us() - g->since_us) / 1000;
	g->frozen = NULL;
	rc = order(g, &o, o.what == ORDER_THAW ? INSIST_MS + READY_MS : READY_MS, &a, &why);
	if (o.what == ORDER_THAW)
		ret->window_ms = (double)(now_us() - g->since_us) / 1000;
	/* What we thawed nobody has thawed before, the guard may be gone or not */
	ret->held = o.what == ORDER_DISARM && !a.early && (thawed > 0 || g->file_systems == 0);
	/* We thawed ourselves: a guard that does not answer is no failure. */
	if (rc == 0 || o.what == ORDER_DISARM)
		return 0;
	if (err)
		*err = why;
	return -1;
}

void guard_end(struct guard *g)
{
	static const struct timespec pause = {.tv_nsec = 20000000};
	struct freeze ignored;

	if (!g)
		return;
	if (g->frozen)
		(void)guard_thaw(g, &ignored, NULL);
	(void)close(g->fd);
	/* One that still has a guest to thaw is left to it. */
	for (int i = 0; i < 100 && waitpid(g->pid, NULL, WNOHANG) == 0; i++)
		(void)nanosleep(&pause, NULL);
	free(g);
}
