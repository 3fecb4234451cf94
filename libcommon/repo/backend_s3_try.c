/* One try of a request: what curl sends, and what it hands to us. See backend_s3_try.h. */
#include "libcommon/repo/backend_s3_try.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/stop.h"

enum { ERROR_BODY = 64 << 10, CONNECT_TIMEOUT_S = 15, LAST_TIMEOUT_S = 3, PIECE_MAX = 256 << 10 };

/* All transfers share one rate: each piece takes its time from the next free moment on. Return: 0, or -1 to give up */
static int take_time(struct s3_http *h, size_t len)
{
	struct timespec ts;
	int64_t at, until;

	if (!h->config.rate_limit)
		return 0;
	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	at = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	pthread_mutex_lock(&h->lock);
	until = h->free_ns > at ? h->free_ns : at;
	h->free_ns = until + (int64_t)((double)len * 1e9 / (double)h->config.rate_limit);
	pthread_mutex_unlock(&h->lock);
	while (at < until) {
		int64_t piece = until - at < 50000000 ? until - at : 50000000;

		if (stop_requested() || atomic_load(&h->aborted))
			return -1;
		ts = (struct timespec){.tv_nsec = (long)piece};
		(void)nanosleep(&ts, NULL);
		at += piece;
	}
	return 0;
}

/* What moves at once: a quarter of a second, so that a stall is told from a limit. */
static size_t piece_max(const struct s3_http *h)
{
	uint64_t quarter = h->config.rate_limit / 4;

	return quarter && quarter < PIECE_MAX ? (size_t)quarter : PIECE_MAX;
}

static size_t on_read(char *buf, size_t size, size_t n, void *ctx)
{
	struct s3_try *t = ctx;
	uint64_t left = t->q->len - t->sent;
	size_t want = size * n < left ? size * n : (size_t)left;
	ssize_t got;

	if (want > piece_max(t->http))
		want = piece_max(t->http);
	got = (ssize_t)want;
	if (take_time(t->http, want))
		return CURL_READFUNC_ABORT;
	if (t->q->data)
		memcpy(buf, (const char *)t->q->data + t->sent, want);
	else
		got = pread(t->q->fd, buf, want, (off_t)t->sent);
	if (got < 0 || (!got && want)) {
		err_set(&t->sink, ERR_FAILED, "what is uploaded cannot be read: %s",
			got ? strerror(errno) : "it ends too soon");
		return CURL_READFUNC_ABORT;
	}
	t->sent += (uint64_t)got;
	return (size_t)got;
}

static int on_seek(void *ctx, curl_off_t off, int origin)
{
	struct s3_try *t = ctx;

	if (origin != SEEK_SET || off < 0)
		return CURL_SEEKFUNC_FAIL;
	t->sent = (uint64_t)off;
	return CURL_SEEKFUNC_OK;
}

/* Into memory that grows; what an error says beyond @max is dropped. */
static size_t grow_body(struct s3_try *t, const char *buf, size_t len, size_t max, bool cut)
{
	struct s3_response *r = t->r;

	if (len > max - r->body_len) {
		if (cut)
			return len;
		err_set(&t->sink, ERR_CORRUPT, "is longer than %zu bytes", max);
		return 0;
	}
	if (r->body_len + len + 1 > t->body_cap) {
		size_t cap = 2 * (r->body_len + len) + 1;
		char *p = realloc(r->body, cap);

		if (!p) {
			err_nomem(&t->sink);
			return 0;
		}
		r->body = p;
		t->body_cap = cap;
	}
	memcpy(r->body + r->body_len, buf, len);
	r->body_len += len;
	r->body[r->body_len] = 0;
	return len;
}

static size_t on_body(char *buf, size_t size, size_t n, void *ctx)
{
	struct s3_try *t = ctx;
	size_t len = size * n;

	if (take_time(t->http, len))
		return 0;
	if (t->r->status >= 300)
		return grow_body(t, buf, len, ERROR_BODY, true);
	if (!t->q->into)
		return grow_body(t, buf, len, t->q->max, !t->q->max);
	if (len > t->q->into_len - t->got) {
		err_set(&t->sink, ERR_UNSUPPORTED,
			"the server sends more than the %zu bytes that were asked for",
			t->q->into_len);
		return 0;
	}
	memcpy((char *)t->q->into + t->got, buf, len);
	t->got += len;
	return len;
}

int64_t s3_boot_seconds(void)
{
	struct timespec ts = {0};

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec;
}

static bool header_is(const char *line, size_t len, const char *name, const char **ret,
		      size_t *ret_len)
{
	size_t n = strlen(name);

	if (len <= n || line[n] != ':' || strncasecmp(line, name, n))
		return false;
	for (n++; n < len && strchr(" \t", line[n]);)
		n++;
	while (len > n && strchr(" \t\r\n", line[len - 1]))
		len--;
	*ret = line + n;
	*ret_len = len - n;
	return true;
}

static uint64_t number(const char *p, size_t len)
{
	char text[24];

	if (!len || len >= sizeof(text))
		return UINT64_MAX;
	memcpy(text, p, len);
	text[len] = 0;
	return strspn(text, "0123456789") == len ? strtoull(text, NULL, 10) : UINT64_MAX;
}

static void text_of(const char *p, size_t len, char *ret, size_t cap)
{
	if (len >= cap)
		len = 0;
	memcpy(ret, p, len);
	ret[len] = 0;
}

static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
	struct s3_try *t = ctx;
	struct s3_response *r = t->r;
	size_t len = size * n, v_len;
	const char *v, *slash;
	char date[64];

	if (len > 9 && !strncmp(line, "HTTP/", 5)) {
		const char *blank = memchr(line, ' ', len);

		r->status = blank && len - (size_t)(blank - line) > 3 ? strtol(blank, NULL, 10) : 0;
		r->length = r->total = UINT64_MAX;
		r->etag[0] = r->nonce[0] = r->sha256[0] = r->lease[0] = 0;
		r->versioned = r->held = false;
		r->locked_until = 0;
	} else if (header_is(line, len, "content-length", &v, &v_len)) {
		r->length = number(v, v_len);
	} else if (header_is(line, len, "content-range", &v, &v_len)) {
		slash = memchr(v, '/', v_len);
		if (slash)
			r->total = number(slash + 1, v_len - (size_t)(slash + 1 - v));
	} else if (header_is(line, len, "etag", &v, &v_len)) {
		text_of(v, v_len, r->etag, sizeof(r->etag));
	} else if (header_is(line, len, "x-amz-meta-vmkit-nonce", &v, &v_len)) {
		text_of(v, v_len, r->nonce, sizeof(r->nonce));
	} else if (header_is(line, len, "x-amz-meta-vmkit-sha256", &v, &v_len)) {
		text_of(v, v_len, r->sha256, sizeof(r->sha256));
	} else if (header_is(line, len, "x-amz-meta-vmkit-lease", &v, &v_len)) {
		text_of(v, v_len, r->lease, sizeof(r->lease));
	} else if (header_is(line, len, "x-amz-version-id", &v, &v_len)) {
		r->versioned = v_len != 4 || memcmp(v, "null", 4) != 0;
		text_of(v, v_len, r->version, sizeof(r->version));
		if (r->versioned)
			atomic_store(&t->http->versions, true);
	} else if (header_is(line, len, "x-amz-object-lock-retain-until-date", &v, &v_len)) {
		text_of(v, v_len, date, sizeof(date));
		r->locked_until = s3_time(date);
	} else if (header_is(line, len, "x-amz-object-lock-legal-hold", &v, &v_len)) {
		r->held = v_len == 2 && !strncasecmp(v, "on", 2);
	} else if (header_is(line, len, "date", &v, &v_len)) {
		text_of(v, v_len, date, sizeof(date));
		t->date = t->http->lib->curl_getdate(date, NULL);
		if (t->date > 0) {
			atomic_store(&t->http->clock, (long long)t->date - s3_boot_seconds());
			atomic_store(&t->http->clock_known, true);
		}
	} else if (header_is(line, len, "retry-after", &v, &v_len)) {
		uint64_t s = number(v, v_len);

		t->retry_after = s <= 60 ? (unsigned)s : 0;
	}
	return len;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	struct s3_try *t = ctx;

	(void)a;
	(void)b;
	(void)c;
	(void)d;
	return !t->q->last && (stop_requested() || atomic_load(&t->http->aborted));
}

/* Each head of a request, the blank behind the method included */
static int on_debug(CURL *e, curl_infotype type, char *data, size_t len, void *ctx)
{
	struct s3_try *t = ctx;
	size_t n = strlen(t->q->method);

	(void)e;
	if (type == CURLINFO_HEADER_OUT && len > n && !memcmp(data, t->q->method, n) &&
	    data[n] == ' ')
		t->heads++;
	return 0;
}

CURLcode s3_try_perform(struct s3_try *t, CURL *e, const char *url, struct curl_slist *headers)
{
	const struct curl_lib *lib = t->http->lib;
	const struct s3_config *c = &t->http->config;
	const struct s3_request *q = t->q;

	lib->curl_easy_setopt(e, CURLOPT_URL, url);
	lib->curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
	lib->curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, c->https ? "https" : "http");
	lib->curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	lib->curl_easy_setopt(e, CURLOPT_USERAGENT, "vmkit/" VMKIT_VERSION);
	lib->curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	lib->curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
	lib->curl_easy_setopt(e, CURLOPT_BUFFERSIZE, (long)piece_max(t->http));
	lib->curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, (long)PIECE_MAX);
	lib->curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
	lib->curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
	lib->curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)c->stall_s);
	if (q->last)
		lib->curl_easy_setopt(e, CURLOPT_TIMEOUT, (long)LAST_TIMEOUT_S);
	if (c->ca_file[0])
		lib->curl_easy_setopt(e, CURLOPT_CAINFO, c->ca_file);
	lib->curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->curl_says);
	lib->curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers);
	lib->curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	lib->curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
	lib->curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	lib->curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
	lib->curl_easy_setopt(e, CURLOPT_NOPROGRESS, 0L);
	lib->curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, on_progress);
	lib->curl_easy_setopt(e, CURLOPT_XFERINFODATA, t);
	if (q->may) {
		lib->curl_easy_setopt(e, CURLOPT_VERBOSE, 1L);
		lib->curl_easy_setopt(e, CURLOPT_DEBUGFUNCTION, on_debug);
		lib->curl_easy_setopt(e, CURLOPT_DEBUGDATA, t);
	}
	if (!strcmp(q->method, "HEAD")) {
		lib->curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
	} else if (!strcmp(q->method, "PUT")) {
		lib->curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
		lib->curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)q->len);
		lib->curl_easy_setopt(e, CURLOPT_READFUNCTION, on_read);
		lib->curl_easy_setopt(e, CURLOPT_READDATA, t);
		lib->curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek);
		lib->curl_easy_setopt(e, CURLOPT_SEEKDATA, t);
	} else if (strcmp(q->method, "GET") != 0) {
		lib->curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, q->method);
	}
	return lib->curl_easy_perform(e);
}
