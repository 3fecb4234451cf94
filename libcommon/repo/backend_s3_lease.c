/* Who uses an S3 repository: leases, which the living renew and of which the dead run out.
 *
 *	leases/s-EPOCH-WHO-N	a session (16, 16 and 8 hexadecimal digits)
 *	leases/c-N		the collector (16)
 *
 * A lease is an object with a note that says whose it is, which nothing rests on. To renew it is to make one of the
 * next number, if absent, and to remove the old one. Only the server's clock counts: a lease is dead when its object
 * was last modified (as the listing says) longer ago than the grace (by the Date of the answer), which each lease says
 * itself, in a header with its owner's digits; and at once when it was of this machine (backend_s3_alive.c). The owner, for its
 * part, counts from the moment in which it asked for the last renewal, by the same clock (s3_http_now()), and what may
 * hurt others (a manifest, an epoch, the removal of a pack) it sends only while that is less than a sixth of the grace
 * ago. Each request carries the time at which it was signed, and the server takes none that is older than a quarter of
 * an hour: so what was held up on its way, in a process that was asleep or a machine that was stopped, cannot arrive
 * after others took its sender for dead. A collector tries out whether the server does so.
 *
 * Nobody waits for a lock, and nothing is ever left to unlock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/clock.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/libcrypto.h"
#include "libcommon/base/log.h"
#include "libcommon/repo/backend_s3_private.h"

enum { EPOCH_DIGITS = 16, WHO_DIGITS = S3_WHO_DIGITS, COUNT_DIGITS = 8 };

/* Of leases that do not say their grace: older versions */
enum { OLD_GRACE_S = 7200 };

#define SESSIONS   "leases/s-"
#define COLLECTORS "leases/c-"

static int64_t grace(const struct s3_backend *b)
{
	return s3_http_config(b->http)->grace_s;
}

static void lease_name(const struct s3_backend *b, const struct s3_lease *l, uint64_t number,
		       char ret[S3_LEASE_NAME])
{
	if (l == &b->session)
		snprintf(ret, S3_LEASE_NAME, SESSIONS "%016llx-%s-%08llx",
			 (unsigned long long)b->epoch, b->who, (unsigned long long)number);
	else
		snprintf(ret, S3_LEASE_NAME, COLLECTORS "%016llx", (unsigned long long)number);
}

static int lost(struct s3_backend *b, struct s3_lease *l, struct err *err)
{
	atomic_store(&l->lost, true);
	err_set(err, ERR_CONNECTION,
		"this process was out of touch with the repository for more than %lld minutes: "
		"what it "
		"counted on may be removed by now",
		(long long)(grace(b) / 6 / 60));
	return err_hint(err, "run it again: what was stored is found");
}

/* With lease_lock held. Makes the next object of the lease and removes the one before. */
static int renew(struct s3_backend *b, struct s3_lease *l, struct err *err)
{
	int64_t asked = s3_http_now(b->http);
	char name[S3_LEASE_NAME];

	if (atomic_load(&l->lost))
		return lost(b, l, err);
	lease_name(b, l, l->number + 1, name);
	if (s3_put(b, name, b->note, -1, b->n_note, NULL, err)) {
		/* Who took it over waited until it was dead. */
		if (err->code == ERR_EXISTS && l->held)
			return lost(b, l, err);
		if (err->code == ERR_UNSUPPORTED)
			(void)s3_remove_now(b, name, NULL,
					    NULL); /* made, on a server that is no good */
		return -1;
	}
	if (l->held && s3_http_now(b->http) - atomic_load(&l->renewed) > grace(b) / 2) {
		(void)s3_remove_now(b, name, NULL, NULL);
		return lost(b, l, err);
	}
	if (l->held)
		(void)s3_remove_now(b, l->name, NULL, NULL);
	memcpy(l->name, name, sizeof(l->name));
	l->number++;
	l->held = true;
	atomic_store(&l->renewed, asked);
	return 0;
}

static void *renew_thread(void *ctx)
{
	struct s3_backend *b = ctx;
	struct s3_lease *leases[] = {&b->session, &b->collector};
	uint64_t every_ms = (uint64_t)grace(b) * 1000 / 24;

	pthread_mutex_lock(&b->lease_lock);
	while (!b->lease_stop) {
		const struct timespec until = clock_after(CLOCK_MONOTONIC, every_ms);

		if (pthread_cond_timedwait(&b->lease_changed, &b->lease_lock, &until) == 0)
			continue;
		for (size_t i = 0; i < 2 && !b->lease_stop; i++) {
			struct err why = ERR_INIT;

			if (leases[i]->held && !atomic_load(&leases[i]->lost) &&
			    renew(b, leases[i], &why))
				log_info("%s: %s", leases[i]->name, why.message);
		}
	}
	pthread_mutex_unlock(&b->lease_lock);
	return NULL;
}

/* With lease_lock held. */
static int start_thread(struct s3_backend *b, struct err *err)
{
	if (b->lease_thread)
		return 0;
	if (pthread_create(&b->lease_tid, NULL, renew_thread, b))
		return err_set(err, ERR_FAILED, "cannot start a thread that renews the session");
	b->lease_thread = true;
	return 0;
}

static int may(struct s3_backend *b, struct s3_lease *l, int64_t now, struct err *err)
{
	if (atomic_load(&l->lost) || now - atomic_load(&l->renewed) > grace(b) / 6)
		return lost(b, l, err);
	return s3_alive_sends(b, now, err);
}

static int may_in_session(void *ctx, int64_t now, struct err *err)
{
	struct s3_backend *b = ctx;

	return may(b, &b->session, now, err);
}

static int may_as_collector(void *ctx, int64_t now, struct err *err)
{
	struct s3_backend *b = ctx;

	return may(b, &b->collector, now, err);
}

int s3_lease_guard(struct s3_backend *b, bool collector, struct s3_guard *ret, struct err *err)
{
	struct s3_lease *l = collector ? &b->collector : &b->session;
	struct err why = ERR_INIT;
	int rc = 0;

	pthread_mutex_lock(&b->lease_lock);
	if (!l->held)
		rc = b->no_session.code && !collector
			     ? (*err = b->no_session, -1)
			     : err_set(err, ERR_DENIED, "nothing is written without a session");
	/* What was late is caught up with; whether it was too late, the guard says. */
	else if (s3_http_now(b->http) - atomic_load(&l->renewed) > grace(b) / 12 &&
		 renew(b, l, &why))
		log_info("%s: %s", l->name, why.message);
	pthread_mutex_unlock(&b->lease_lock);
	*ret = (struct s3_guard){.may = collector ? may_as_collector : may_in_session, .ctx = b};
	return rc;
}

int s3_guarded_do(struct s3_backend *b, const struct s3_guard *g, const struct s3_request *q,
		  struct s3_response *ret, struct err *err)
{
	struct s3_request guarded = *q;
	int rc;

	if (!g || !g->may)
		return s3_http_do(b->http, q, ret, err);
	guarded.may = g->may;
	guarded.may_ctx = g->ctx;
	guarded.last = g->last;
	s3_alive_begins_request(b);
	rc = s3_http_do(b->http, &guarded, ret, err);
	s3_alive_ends_request(b, ret->sure);
	return rc;
}

/* With lease_lock held. Whose the leases are, for as long as this process lives. */
static int be_somebody(struct s3_backend *b, struct err *err)
{
	unsigned char random[WHO_DIGITS / 2];

	if (b->who[0])
		return 0;
	if (RAND_bytes(random, sizeof(random)) != 1)
		return err_set(err, ERR_FAILED, "OpenSSL has no random bytes");
	hex_encode(random, sizeof(random), b->who);
	(void)snprintf(b->lease_says, sizeof(b->lease_says), "%s %lld", b->who,
		       (long long)grace(b));
	s3_alive_begin(b);
	return 0;
}

int s3_session(struct backend *base, uint64_t epoch, struct err *err)
{
	struct s3_backend *b = (struct s3_backend *)base;
	struct err why = ERR_INIT;
	uint64_t before;
	int rc = 0;

	pthread_mutex_lock(&b->lease_lock);
	before = b->epoch;
	b->epoch = epoch;
	if (b->no_session.code || (b->session.held && before == epoch))
		goto done;
	rc = be_somebody(b, err);
	if (rc)
		goto done;
	if (renew(b, &b->session, &why)) {
		/* Who may only read has no session, and writes nothing. */
		if (!b->session.held && (why.code == ERR_DENIED || why.code == ERR_NO_SPACE ||
					 why.code == ERR_UNSUPPORTED)) {
			log_info("no session: %s", why.message);
			b->no_session = why;
			goto done;
		}
		b->epoch = before;
		if (err)
			*err = why;
		rc = -1;
		goto done;
	}
	rc = start_thread(b, err);
done:
	pthread_mutex_unlock(&b->lease_lock);
	return rc;
}

/* ---- what others have */

struct look {
	struct s3_backend *b;
	uint64_t below;		  /* epochs of sessions that count */
	uint64_t collector;	  /* the highest number of one */
	bool any;		  /* a session that lives */
	int64_t collector_silent; /* of the highest number, as silence() says */
};

static uint64_t hex_number(const char *p, size_t digits)
{
	uint64_t n = 0;

	for (size_t i = 0; i < digits; i++)
		n = n << 4 | (uint64_t)(p[i] <= '9' ? p[i] - '0' : p[i] - 'a' + 10);
	return n;
}

static bool is_hex(const char *p, size_t digits)
{
	return strspn(p, "0123456789abcdef") >= digits;
}

static int64_t silence(struct s3_backend *b, const struct s3_list_entry *e)
{
	int64_t silent = s3_http_now(b->http) - e->modified;

	return e->modified > 0 && silent > 0 ? silent : 0;
}

/* What a lease says: its owner's digits (or ""), and its grace. Return: 0, or -1: it is gone, or cannot be asked */
static int ask_lease(struct s3_backend *b, const char *key, char ret_who[WHO_DIGITS + 1],
		     int64_t *ret_grace)
{
	const struct s3_request q = {.method = "HEAD", .name = key};
	struct err why = ERR_INIT;
	struct s3_response r;
	int rc = s3_http_do(b->http, &q, &r, &why);
	const char *digits = r.lease + WHO_DIGITS + 1;

	ret_who[0] = 0;
	*ret_grace = OLD_GRACE_S;
	if (!rc && is_hex(r.lease, WHO_DIGITS) && r.lease[WHO_DIGITS] == ' ' && *digits &&
	    strspn(digits, "0123456789") == strlen(digits)) {
		memcpy(ret_who, r.lease, WHO_DIGITS);
		ret_who[WHO_DIGITS] = 0;
		*ret_grace = strtoll(digits, NULL, 10);
		/* Nobody says more of himself; a nonsense must not hold up collections for ever. */
		if (*ret_grace > S3_GRACE_MOST_S)
			*ret_grace = S3_GRACE_MOST_S;
	}
	s3_response_free(&r);
	return rc;
}

/* Nobody is dead sooner than he says, and only who is silent for so long that he could be is asked. */
static bool is_out_of_time(struct s3_backend *b, const char *key, int64_t silent)
{
	char who[WHO_DIGITS + 1];
	int64_t says;

	return silent > grace(b) && !ask_lease(b, key, who, &says) && silent > says;
}

static bool is_dead_session(struct s3_backend *b, const struct s3_list_entry *e, const char *who)
{
	return is_out_of_time(b, e->key, silence(b, e)) ||
	       (is_hex(who, WHO_DIGITS) && s3_alive_ended(b, who));
}

static int look_at(void *ctx, const struct s3_list_entry *e, struct err *err)
{
	struct look *k = ctx;
	const char *p = e->key + strlen(SESSIONS);
	bool session = !strncmp(e->key, SESSIONS, strlen(SESSIONS));

	(void)err;
	if (session && is_hex(p, EPOCH_DIGITS) && p[EPOCH_DIGITS] == '-') {
		const char *who = p + EPOCH_DIGITS + 1;

		if (!strncmp(who, k->b->who, WHO_DIGITS) && k->b->who[0])
			return 0;
		if (is_dead_session(k->b, e, who))
			(void)s3_remove_now(k->b, e->key, NULL, NULL);
		else if (hex_number(p, EPOCH_DIGITS) < k->below)
			k->any = true;
	} else if (!strncmp(e->key, COLLECTORS, strlen(COLLECTORS)) && is_hex(p, EPOCH_DIGITS)) {
		uint64_t number = hex_number(p, EPOCH_DIGITS);

		if (number >= k->collector) {
			k->collector = number;
			k->collector_silent = silence(k->b, e);
		}
	}
	return 0;
}

int s3_sessions_before(struct backend *base, uint64_t epoch, bool *ret_any, struct err *err)
{
	struct look k = {.b = (struct s3_backend *)base, .below = epoch};
	int rc = s3_list_folder(k.b, "leases", look_at, &k, err);

	*ret_any = k.any;
	return rc;
}

void s3_note(struct backend *base, const void *data, size_t len)
{
	struct s3_backend *b = (struct s3_backend *)base;

	pthread_mutex_lock(&b->lease_lock);
	b->n_note = len <= sizeof(b->note) ? len : 0;
	memcpy(b->note, data, b->n_note);
	pthread_mutex_unlock(&b->lease_lock);
}

struct users {
	struct s3_backend *b;
	int (*fn)(void *ctx, const struct backend_user *u, struct err *err);
	void *ctx;
};

static int one_user(void *ctx, const struct s3_list_entry *e, struct err *err)
{
	const struct users *u = ctx;
	const char *p = e->key + strlen(SESSIONS);
	struct backend_user user = {.silent_s = (uint64_t)silence(u->b, e)};
	struct err why = ERR_INIT;
	uint8_t note[BACKEND_NOTE_MAX];
	char who[WHO_DIGITS + 1];
	int64_t says;

	if (strncmp(e->key, SESSIONS, strlen(SESSIONS)) != 0 || !is_hex(p, EPOCH_DIGITS) ||
	    p[EPOCH_DIGITS] != '-')
		return 0;
	user.epoch = hex_number(p, EPOCH_DIGITS);
	p += EPOCH_DIGITS + 1;
	if ((u->b->who[0] && !strncmp(p, u->b->who, WHO_DIGITS)) || is_dead_session(u->b, e, p) ||
	    ask_lease(u->b, e->key, who, &says))
		return 0;
	user.grace_s = says > 0 ? (uint64_t)says : 0;
	if (e->size > 0 && e->size <= sizeof(note)) {
		if (!s3_get_range(u->b, e->key, 0, note, (size_t)e->size, NULL, &why)) {
			user.note = note;
			user.n_note = (size_t)e->size;
		} else if (why.code == ERR_NOT_FOUND) {
			return 0; /* has ended, or its next one is there */
		}
	}
	return u->fn(u->ctx, &user, err);
}

int s3_users(struct backend *base,
	     int (*fn)(void *ctx, const struct backend_user *u, struct err *err), void *ctx,
	     struct err *err)
{
	struct users u = {.b = (struct s3_backend *)base, .fn = fn, .ctx = ctx};

	return s3_list_folder(u.b, "leases", one_user, &u, err);
}

/* Everything rests on the server refusing what was signed long ago. */
static int check_dates(struct s3_backend *b, struct err *err)
{
	const struct s3_request q = {
		.method = "GET", .name = "config", .max = 4096, .shift_s = S3_OLD_REQUEST_S};
	struct err why = ERR_INIT;
	struct s3_response r;
	int rc = s3_http_do(b->http, &q, &r, &why);

	s3_response_free(&r);
	if (!rc)
		return err_set(
			err, ERR_UNSUPPORTED,
			"the server takes requests that were signed %d minutes ago: with it a "
			"process that was asleep could spoil what others rely on",
			S3_OLD_REQUEST_S / 60);
	if (why.code == ERR_DENIED)
		return 0;
	*err = why;
	return -1;
}

/* Of the highest number that was found. */
static bool collector_is_dead(const struct look *k, int64_t *ret_grace)
{
	char name[S3_LEASE_NAME], who[WHO_DIGITS + 1];

	lease_name(k->b, &k->b->collector, k->collector, name);
	*ret_grace = grace(k->b);
	/* Who has just ended, or goes on under the next number, is met at the next try. */
	if (ask_lease(k->b, name, who, ret_grace))
		return false;
	return k->collector_silent > *ret_grace || (who[0] && s3_alive_ended(k->b, who));
}

int s3_collector(struct backend *base, struct err *err)
{
	struct s3_backend *b = (struct s3_backend *)base;
	struct look k = {.b = b};
	int64_t says;
	int rc;

	if (b->collector.held)
		return 0;
	if (!s3_http_knows_time(b->http))
		return err_set(err, ERR_UNSUPPORTED,
			       "the server does not say what time it is: nothing can be collected");
	if (check_dates(b, err) || s3_list_folder(b, "leases", look_at, &k, err))
		return -1;
	if (k.collector && !collector_is_dead(&k, &says)) {
		err_set(err, ERR_BUSY, "another prune works in this repository");
		return err_hint(err,
				"one that was killed counts as dead after %lld minutes, on this "
				"machine sooner",
				(long long)(says + 59) / 60);
	}
	pthread_mutex_lock(&b->lease_lock);
	b->collector.number = k.collector;
	rc = renew(b, &b->collector, err);
	if (!rc && k.collector) {
		char dead[S3_LEASE_NAME];

		lease_name(b, &b->collector, k.collector, dead);
		(void)s3_remove_now(b, dead, NULL, NULL);
	}
	if (!rc)
		rc = start_thread(b, err);
	pthread_mutex_unlock(&b->lease_lock);
	if (rc && err->code == ERR_EXISTS)
		return err_set(err, ERR_BUSY, "another prune has just begun in this repository");
	return rc;
}

void s3_leases_end(struct s3_backend *b)
{
	const struct s3_lease *leases[] = {&b->collector, &b->session};
	const struct s3_guard last = {.last = true};
	bool gone = true, unsure = s3_alive_is_unsure(b);

	pthread_mutex_lock(&b->lease_lock);
	b->lease_stop = true;
	pthread_cond_broadcast(&b->lease_changed);
	pthread_mutex_unlock(&b->lease_lock);
	if (b->lease_thread)
		pthread_join(b->lease_tid, NULL);
	/* What may still arrive from us must find others who reckon with it: the leases run out by themselves. */
	if (unsure) {
		log_info("a request was not answered for good: the session ends when it cannot "
			 "arrive any more");
		gone = false;
	}
	for (size_t i = 0; i < 2 && !unsure; i++)
		if (leases[i]->held && s3_remove_now(b, leases[i]->name, &last, NULL))
			gone = false;
	s3_alive_end(b, gone);
}
