/* Signed requests over libcurl: see backend_s3_http.h. */
#include "libcommon/repo/backend_s3_http.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/libcrypto.h"
#include "libcommon/base/log.h"
#include "libcommon/base/stop.h"
#include "libcommon/repo/backend_s3_try.h"
#include "libcommon/repo/s3_retry.h"

enum {
	URL_MAX = 4096,
	HEADER_MAX = 5000, /* a session token is the longest */
	EXTRA_MAX = 8,
	/* Until the server has answered once, a wrong address must not take minutes to be told. */
	RETRIES_BEFORE_FIRST_ANSWER = 2,
};

int s3_http_new(struct s3_http **ret, const struct s3_config *config, struct err *err)
{
	const struct curl_lib *lib = curl_lib(err);
	struct s3_http *h;

	if (!lib)
		return -1;
	h = calloc(1, sizeof(*h));
	if (!h)
		return err_nomem(err);
	h->lib = lib;
	h->config = *config;
	pthread_mutex_init(&h->lock, NULL);
	*ret = h;
	return 0;
}

void s3_http_free(struct s3_http *h)
{
	if (!h)
		return;
	while (h->idle) {
		struct idle *i = h->idle;

		h->idle = i->next;
		h->lib->curl_easy_cleanup(i->easy);
		free(i);
	}
	pthread_mutex_destroy(&h->lock);
	s3_config_wipe(&h->config);
	free(h);
}

const struct s3_config *s3_http_config(const struct s3_http *h)
{
	return &h->config;
}

int64_t s3_http_now(struct s3_http *h)
{
	return atomic_load(&h->clock_known) ? s3_boot_seconds() + (int64_t)atomic_load(&h->clock)
					    : (int64_t)time(NULL);
}

bool s3_http_knows_time(const struct s3_http *h)
{
	return atomic_load(&h->clock_known);
}

bool s3_http_versions(const struct s3_http *h)
{
	return atomic_load(&h->versions);
}

void s3_http_abort(struct s3_http *h)
{
	atomic_store(&h->aborted, true);
}

void s3_response_free(struct s3_response *r)
{
	free(r->body);
	memset(r, 0, sizeof(*r));
}

static struct idle *connection_get(struct s3_http *h)
{
	struct idle *i;

	pthread_mutex_lock(&h->lock);
	i = h->idle;
	if (i)
		h->idle = i->next;
	pthread_mutex_unlock(&h->lock);
	if (i) {
		h->lib->curl_easy_reset(i->easy);
		return i;
	}
	i = calloc(1, sizeof(*i));
	if (i && !(i->easy = h->lib->curl_easy_init())) {
		free(i);
		return NULL;
	}
	return i;
}

static void connection_put(struct s3_http *h, struct idle *i)
{
	pthread_mutex_lock(&h->lock);
	i->next = h->idle;
	h->idle = i;
	pthread_mutex_unlock(&h->lock);
}

static int make_path(const struct s3_http *h, const struct s3_request *q, char *ret, size_t cap,
		     struct err *err)
{
	char raw[1024];
	int n = snprintf(raw, sizeof(raw), "/%s%s%s%s", h->config.bucket, q->name ? "/" : "",
			 q->name ? h->config.prefix : "", q->name ? q->name : "");

	if (n < 0 || (size_t)n >= sizeof(raw) || s3_encode(raw, 1, ret, cap) < 0)
		return err_set(err, ERR_USAGE, "the prefix is too long");
	return 0;
}

/* The headers, signed; *@ret is owned by the caller: curl_slist_free_all() */
static int make_headers(struct s3_http *h, const struct s3_request *q, const char *path,
			int64_t now, struct curl_slist **ret, struct err *err)
{
	const char *sha = q->sha256 ? q->sha256 : s3_sha256_empty;
	CLEANUP_FREE char *line = malloc(HEADER_MAX);
	struct s3_header headers[EXTRA_MAX + 8];
	char date[S3_DATE], auth[S3_AUTH_MAX];
	struct curl_slist *list = NULL, *more;
	size_t n = 0;

	s3_date((time_t)now, date);
	headers[n++] = (struct s3_header){"host", h->config.host};
	headers[n++] = (struct s3_header){"x-amz-content-sha256", sha};
	headers[n++] = (struct s3_header){"x-amz-date", date};
	if (h->config.token[0])
		headers[n++] = (struct s3_header){"x-amz-security-token", h->config.token};
	if (q->nonce) {
		headers[n++] = (struct s3_header){"if-none-match", "*"};
		headers[n++] = (struct s3_header){"x-amz-meta-vmkit-nonce", q->nonce};
		headers[n++] = (struct s3_header){"x-amz-meta-vmkit-sha256", sha};
	}
	for (size_t i = 0; i < q->n_extra && i < EXTRA_MAX; i++)
		headers[n++] = q->extra[i];

	const struct s3_to_sign s = {.method = q->method,
				     .path = path,
				     .query = q->query ? q->query : "",
				     .headers = headers,
				     .n_headers = n,
				     .payload_sha256 = sha,
				     .date = date,
				     .region = h->config.region,
				     .access_key = h->config.access_key,
				     .secret_key = h->config.secret_key};

	if (!line)
		return err_nomem(err);
	if (s3_sign(&s, auth, err))
		return -1;
	headers[n++] = (struct s3_header){"authorization", auth};
	/* "Expect: 100-continue" would cost a round trip an upload; an empty value takes curl's own header away. */
	for (size_t i = 0; i <= n; i++) {
		snprintf(line, HEADER_MAX, "%s: %s", i < n ? headers[i].name : "expect",
			 i < n ? headers[i].value : "");
		if (i == n)
			line[strlen("expect:")] = 0;
		more = h->lib->curl_slist_append(list, line);
		if (!more) {
			h->lib->curl_slist_free_all(list);
			return err_nomem(err);
		}
		list = more;
	}
	*ret = list;
	return 0;
}

/* What curl's failure means: ERR_TIMEOUT is worth another try. */
static enum err_code curl_verdict(CURLcode code)
{
	switch (code) {
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
		return ERR_USAGE;
	case CURLE_OUT_OF_MEMORY:
		return ERR_NO_MEMORY;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CIPHER:
		return ERR_CONNECTION;
	default:
		return ERR_TIMEOUT;
	}
}

static int transport_failed(struct s3_try *t, CURLcode code, struct err *err)
{
	const char *why = t->curl_says[0] ? t->curl_says : t->http->lib->curl_easy_strerror(code);

	if (t->sink.code) {
		if (err)
			*err = t->sink;
		return -1;
	}
	if (!t->q->last && stop_check(err))
		return -1;
	if (!t->q->last && atomic_load(&t->http->aborted))
		return err_set(err, ERR_CANCELLED, "the transfer was given up");
	return err_set(err, curl_verdict(code), "%s: %s", t->http->config.base, why);
}

static int refused(struct s3_try *t, enum err_code code, struct err *err)
{
	const struct s3_response *r = t->r;

	if (!strcmp(r->error.code, "NoSuchBucket")) {
		err_set(err, ERR_NOT_FOUND, "there is no bucket %s", t->http->config.bucket);
		return err_hint(err, "make the bucket first, or look at --s3-endpoint");
	}
	err_set(err, code, "%s answers %ld%s%s%s%s", t->http->config.base, r->status,
		r->error.code[0] ? " " : "", r->error.code, r->error.message[0] ? ": " : "",
		r->error.message);
	if (code == ERR_DENIED)
		return err_hint(err, "look at the keys (AWS_ACCESS_KEY_ID, "
				     "AWS_SECRET_ACCESS_KEY) and what they may do");
	if (code == ERR_USAGE)
		return err_hint(err, "look at the region (--s3-region) and the endpoint");
	return -1;
}

/* Signed with a time that is not the server's: with its Date, which is known now, it is worth another try. The answer to a
 * HEAD has no body that would say so. */
static bool take_clock(struct s3_try *t)
{
	long long off = (long long)t->date - t->signed_at, ours = (long long)t->date - time(NULL);
	bool silent = t->r->status == 403 && !t->r->error.code[0] && llabs(off) >= 600;

	if (t->date <= 0 || t->q->shift_s || llabs(off) < 60 ||
	    (strcmp(t->r->error.code, "RequestTimeTooSkewed") != 0 && !silent))
		return false;
	if (llabs(ours) >= 60 && !atomic_exchange(&t->http->clock_told, true))
		log_warning("the clock of %s is %lld s %s ours", t->http->config.base, llabs(ours),
			    ours > 0 ? "ahead of" : "behind");
	return true;
}

/* Is what the server said its last word? A gateway that gave up waiting, or that a server behind it failed, says nothing of
 * what that one does; what bears a code of the S3 API comes from the server itself. */
static bool is_final(const struct s3_response *r)
{
	static const char *const refusals[] = {"SlowDown",	  "ServiceUnavailable",
					       "RequestTimeout",  "OperationAborted",
					       "TooManyRequests", "ConditionalRequestConflict",
					       "NotImplemented"};

	for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++)
		if (!strcmp(r->error.code, refusals[i]))
			return true;
	return r->status >= 200 && r->status < 500 && r->status != 408 && r->status != 409 &&
	       r->status != 429;
}

/* One try. Return: 0; -1, with ERR_TIMEOUT for what is worth another */
static int attempt(struct s3_try *t, struct idle *c, struct err *err)
{
	struct curl_slist *headers = NULL;
	char path[3200], url[URL_MAX];
	const struct s3_request *q = t->q;
	enum err_code verdict;
	CURLcode code;
	int n;

	s3_response_free(t->r);
	t->sent = t->got = t->body_cap = 0;
	t->retry_after = t->heads = 0;
	t->curl_says[0] = 0;
	err_clear(&t->sink);
	t->r->length = t->r->total = UINT64_MAX;
	if (make_path(t->http, q, path, sizeof(path), err))
		return -1;
	n = snprintf(url, sizeof(url), "%s%s%s%s", t->http->config.base, path, q->query ? "?" : "",
		     q->query ? q->query : "");
	if (n < 0 || (size_t)n >= sizeof(url))
		return err_set(err, ERR_USAGE, "the prefix is too long");
	t->signed_at = s3_http_now(t->http) - q->shift_s;
	if ((q->may && q->may(q->may_ctx, t->signed_at, err)) ||
	    make_headers(t->http, q, path, t->signed_at, &headers, err))
		return -1;
	t->http->lib->curl_easy_reset(c->easy);
	code = s3_try_perform(t, c->easy, url, headers);
	/* What curl keeps of the list and of @t must not outlive them. */
	t->http->lib->curl_easy_reset(c->easy);
	t->http->lib->curl_slist_free_all(headers);
	if (t->r->status >= 300 && t->r->body)
		s3_error_parse(t->r->body, t->r->body_len, &t->r->error);
	if (t->heads > 1 || (t->heads && (code != CURLE_OK || !is_final(t->r))))
		t->unsure = true;
	if (code != CURLE_OK)
		return transport_failed(t, code, err);
	atomic_store(&t->http->answered, true);
	verdict = s3_verdict(t->r->status, t->r->error.code);
	if (take_clock(t))
		verdict = ERR_TIMEOUT;
	if (verdict)
		return refused(t, verdict, err);
	if (q->into && t->got != q->into_len)
		return err_set(err, ERR_CORRUPT, "the server sends %llu bytes of %zu",
			       (unsigned long long)t->got, q->into_len);
	return 0;
}

static int wait_ms(struct s3_http *h, uint64_t ms, struct err *err)
{
	while (ms) {
		uint64_t piece = ms < 50 ? ms : 50;
		struct timespec ts = {.tv_nsec = (long)piece * 1000000};

		if (stop_check(err))
			return -1;
		if (atomic_load(&h->aborted))
			return err_set(err, ERR_CANCELLED, "the transfer was given up");
		(void)nanosleep(&ts, NULL);
		ms -= piece;
	}
	return 0;
}

static int back_off(struct s3_try *t, unsigned n, const char *why, struct err *err)
{
	uint64_t random = 0, ms;

	(void)RAND_bytes((unsigned char *)&random, sizeof(random));
	ms = s3_retry_delay_ms(n, random);
	if (ms < 1000ULL * t->retry_after)
		ms = 1000ULL * t->retry_after;
	log_info("%s; try %u after %llu ms", why, n + 1, (unsigned long long)ms);
	return wait_ms(t->http, ms, err);
}

/* After a PUT whose answer is not known: is the object there, and did we make it?
 * Return: 0 no object, 1 ours, 2 another's, -1 (ERR_TIMEOUT: try again) */
static int whose(struct s3_http *h, const struct s3_request *put, struct idle *c, struct err *err)
{
	const struct s3_request q = {.method = "HEAD", .name = put->name};
	struct s3_response r = {0};
	struct s3_try t = {.http = h, .q = &q, .r = &r};
	int rc = attempt(&t, c, err), ours = !strcmp(r.nonce, put->nonce);

	s3_response_free(&r);
	if (!rc)
		return ours ? 1 : 2;
	if (err->code != ERR_NOT_FOUND)
		return -1;
	err_clear(err);
	return 0;
}

/* Try @n failed as @why says. Return: 1 it was done all the same, 0 try again, -1 it failed for good */
static int settle(struct s3_try *t, struct idle *c, unsigned n, struct err *why)
{
	unsigned most = t->http->config.retries;
	bool doubtful = t->q->nonce && why->code == ERR_TIMEOUT;
	int found;

	/* The first try may have made what the second one finds; curl itself sends again when a kept connection is torn. */
	if (t->q->nonce && why->code == ERR_EXISTS) {
		struct err other = ERR_INIT;

		return whose(t->http, t->q, c, &other) == 1 ? 1 : -1;
	}
	if (why->code != ERR_TIMEOUT || t->q->last)
		return -1;
	if (!atomic_load(&t->http->answered) && most > RETRIES_BEFORE_FIRST_ANSWER)
		most = RETRIES_BEFORE_FIRST_ANSWER;
	if (n > most) {
		why->code = ERR_CONNECTION;
		return n > 1 ? err_prefix(why, "after %u tries", n) : -1;
	}
	if (back_off(t, n, why->message, why))
		return -1;
	if (!doubtful)
		return 0;
	err_clear(why);
	found = whose(t->http, t->q, c, why);
	if (found == 2)
		return err_set(why, ERR_EXISTS, "exists already");
	return found < 0 && why->code != ERR_TIMEOUT ? -1 : found == 1;
}

int s3_http_do(struct s3_http *h, const struct s3_request *q, struct s3_response *ret,
	       struct err *err)
{
	struct s3_try t = {.http = h, .q = q, .r = ret};
	struct err why = ERR_INIT;
	struct idle *c = connection_get(h);
	int rc, settled = 0;
	unsigned n;

	memset(ret, 0, sizeof(*ret));
	if (!c)
		return err_nomem(err);
	for (n = 1;; n++) {
		err_clear(&why);
		rc = attempt(&t, c, &why);
		if (!rc || (settled = settle(&t, c, n, &why)))
			break;
	}
	ret->tries = n;
	ret->sure = !t.unsure;
	connection_put(h, c);
	if (rc && settled > 0)
		return 0;
	if (rc && err)
		*err = why;
	return rc;
}
