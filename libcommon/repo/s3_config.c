/* Endpoint, bucket and credentials of an S3 repository: see s3_config.h. */
#include "libcommon/repo/s3_config.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/libcrypto.h"

enum { CREDENTIALS_MAX = 1 << 20, LOCK_DAYS_MAX = 36500, RATE_MIN = 4096 };

static const struct repo_s3_opts defaults = {.retries = S3_RETRIES, .cache_size = S3_CACHE_SIZE};
/* Set once at start, before there are threads. */
static const struct repo_s3_opts *chosen = &defaults;

void repo_set_s3_opts(const struct repo_s3_opts *opts)
{
	chosen = opts;
}

const struct repo_s3_opts *repo_s3_opts(void)
{
	return chosen;
}

static int copy(char *ret, size_t cap, const char *s, size_t len, const char *what, struct err *err)
{
	if (len >= cap)
		return err_set(err, ERR_USAGE, "%s is longer than %zu bytes", what, cap - 1);
	memcpy(ret, s, len);
	ret[len] = 0;
	return 0;
}

static bool only(const char *s, size_t len, const char *chars)
{
	return strspn(s, chars) >= len;
}

/* "a/b" and "a/b/" to "a/b/": no part is empty, "." or "..", nothing is a control character. */
static int set_prefix(struct s3_config *c, const char *s, struct err *err)
{
	size_t len = strlen(s);

	while (len && s[len - 1] == '/')
		len--;
	for (const char *p = s; p < s + len;) {
		size_t n = strcspn(p, "/");

		if (n > (size_t)(s + len - p))
			n = (size_t)(s + len - p);
		if (!n || (n == 1 && *p == '.') || (n == 2 && !memcmp(p, "..", 2)))
			return err_set(err, ERR_USAGE,
				       "a part of the prefix is empty, '.' or '..'");
		for (size_t i = 0; i < n; i++)
			if ((unsigned char)p[i] < 32 || p[i] == 127)
				return err_set(err, ERR_USAGE,
					       "the prefix has a control character");
		p += n + 1;
	}
	if (copy(c->prefix, sizeof(c->prefix) - 1, s, len, "the prefix", err))
		return -1;
	if (len)
		memcpy(c->prefix + len, "/", 2);
	return 0;
}

int s3_config_url(struct s3_config *ret, const char *url, struct err *err)
{
	const char *p = url + (strncmp(url, "s3:", 3) ? 0 : 3);
	size_t len;

	if (strncmp(p, "//", 2) != 0) {
		err_set(err, ERR_USAGE, "not of the form s3://BUCKET/PREFIX");
		return err_hint(err, "the server is named by --s3-endpoint or AWS_ENDPOINT_URL");
	}
	p += 2;
	len = strcspn(p, "/");
	if (len < 3 || len > 63 || !only(p, len, "abcdefghijklmnopqrstuvwxyz0123456789.-_"))
		return err_set(err, ERR_USAGE,
			       "a bucket's name is 3 to 63 lower-case letters, digits, '.' and "
			       "'-'");
	if (copy(ret->bucket, sizeof(ret->bucket), p, len, "the bucket's name", err))
		return -1;
	return set_prefix(ret, p[len] ? p + len + 1 : p + len, err);
}

int s3_config_endpoint(struct s3_config *ret, const char *endpoint, struct err *err)
{
	const char *p, *port;
	size_t len, host;

	if (!strncmp(endpoint, "https://", 8))
		ret->https = true;
	else if (!strncmp(endpoint, "http://", 7))
		ret->https = false;
	else
		return err_set(err, ERR_USAGE,
			       "the endpoint '%s' does not begin with https:// or http://",
			       endpoint);
	p = endpoint + (ret->https ? 8 : 7);
	len = strlen(p);
	while (len && p[len - 1] == '/')
		len--;
	/* "[::1]:80": the colons of an address are inside the brackets */
	host = *p == '[' ? strcspn(p, "]") + 1 : strcspn(p, ":");
	port = p + host + 1;
	if (host > len && *p != '[')
		host = len;
	if (!host || host > len || len > 255 ||
	    !only(p, len, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]") ||
	    (host < len && (p[host] != ':' || port == p + len ||
			    !only(port, (size_t)(p + len - port), "0123456789"))))
		return err_set(err, ERR_USAGE,
			       "the endpoint '%s' is not of the form https://HOST[:PORT]",
			       endpoint);
	snprintf(ret->base, sizeof(ret->base), "%s://%.*s", ret->https ? "https" : "http", (int)len,
		 p);
	if (host < len && (size_t)(p + len - port) == (ret->https ? 3U : 2U) &&
	    !strncmp(port, ret->https ? "443" : "80", ret->https ? 3 : 2))
		len = host;
	snprintf(ret->host, sizeof(ret->host), "%.*s", (int)len, p);
	return 0;
}

int s3_config_lock(struct s3_config *ret, const char *text, struct err *err)
{
	static const char *const modes[][2] = {{"governance:", "GOVERNANCE"},
					       {"compliance:", "COMPLIANCE"}};

	for (size_t i = 0; i < 2; i++) {
		size_t n = strlen(modes[i][0]), digits;

		if (strncasecmp(text, modes[i][0], n) != 0)
			continue;
		digits = strspn(text + n, "0123456789");
		if (!digits || digits > 5 || text[n + digits])
			break;
		ret->lock_mode = modes[i][1];
		ret->lock_days = (unsigned)strtoul(text + n, NULL, 10);
		if (ret->lock_days && ret->lock_days <= LOCK_DAYS_MAX)
			return 0;
	}
	return err_set(err, ERR_USAGE,
		       "'%s' is no lock: governance:DAYS or compliance:DAYS, 1 to %d days", text,
		       LOCK_DAYS_MAX);
}

static const char *environment(const char *name)
{
	const char *v = secure_getenv(name);

	return v && *v ? v : NULL;
}

/* "key = value" of a line of @len bytes; true when it is that key */
static bool setting(const char *line, size_t len, const char *key, const char **ret,
		    size_t *ret_len)
{
	size_t n = strlen(key);
	const char *end = line + len;

	if (len <= n || memcmp(line, key, n))
		return false;
	for (line += n; line < end && strchr(" \t", *line);)
		line++;
	if (line == end || *line++ != '=')
		return false;
	while (line < end && strchr(" \t", *line))
		line++;
	while (end > line && strchr(" \t\r", end[-1]))
		end--;
	*ret = line;
	*ret_len = (size_t)(end - line);
	return true;
}

static bool is_profile(const char *line, size_t len, const char *profile)
{
	size_t n = strlen(profile);

	while (len && strchr(" \t\r", line[len - 1]))
		len--;
	return len == n + 2 && line[len - 1] == ']' && !memcmp(line + 1, profile, n);
}

int s3_config_profile(struct s3_config *ret, const char *text, const char *profile, struct err *err)
{
	struct {
		const char *key;
		char *to;
		size_t cap;
	} keys[] = {
		{"aws_access_key_id", ret->access_key, sizeof(ret->access_key)},
		{"aws_secret_access_key", ret->secret_key, sizeof(ret->secret_key)},
		{"aws_session_token", ret->token, sizeof(ret->token)},
	};
	bool inside = false;

	for (size_t len; *text; text += len + (text[len] == '\n')) {
		const char *value;
		size_t n;

		len = strcspn(text, "\n");
		if (*text == '[')
			inside = is_profile(text, len, profile);
		for (size_t i = 0; inside && i < 3; i++)
			if (setting(text, len, keys[i].key, &value, &n) &&
			    copy(keys[i].to, keys[i].cap, value, n, keys[i].key, err))
				return -1;
	}
	if (!ret->access_key[0] || !ret->secret_key[0])
		return err_set(err, ERR_DENIED, "the profile '%s' has no keys", profile);
	return 0;
}

int s3_home(char *ret, size_t cap)
{
	const char *home = environment("HOME");
	struct passwd pw, *found = NULL;
	char names[2048];

	/* A system service of systemd has none. */
	if (!home && !getpwuid_r(geteuid(), &pw, names, sizeof(names), &found) && found)
		home = pw.pw_dir;
	return home && (size_t)snprintf(ret, cap, "%s", home) < cap ? 0 : -1;
}

static int from_file(struct s3_config *c, struct err *err)
{
	const char *name = environment("AWS_SHARED_CREDENTIALS_FILE");
	const char *profile = environment("AWS_PROFILE");
	char home[512], path[1024] = "";
	char *text;
	size_t len;
	int rc;

	if (!name && s3_home(home, sizeof(home)) < 0)
		return err_set(err, ERR_DENIED, "there are no keys for the object store");
	if (!name)
		snprintf(path, sizeof(path), "%s/.aws/credentials", home);
	if (io_read_file(name ? name : path, CREDENTIALS_MAX, &text, &len, err)) {
		if (!name && err && err->code == ERR_NOT_FOUND)
			return err_set(err, ERR_DENIED, "there are no keys for the object store");
		return -1;
	}
	rc = s3_config_profile(c, text, profile ? profile : "default", err);
	OPENSSL_cleanse(text, len);
	free(text);
	return rc ? err_prefix(err, "%s", name ? name : path) : 0;
}

static int credentials(struct s3_config *c, struct err *err)
{
	const char *id = environment("AWS_ACCESS_KEY_ID"),
		   *secret = environment("AWS_SECRET_ACCESS_KEY"),
		   *token = environment("AWS_SESSION_TOKEN");

	if (!id && !secret)
		return from_file(c, err);
	if (!id || !secret)
		return err_set(err, ERR_DENIED, "%s is set, %s is not",
			       id ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
			       id ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
	return copy(c->access_key, sizeof(c->access_key), id, strlen(id), "AWS_ACCESS_KEY_ID",
		    err) ||
			       copy(c->secret_key, sizeof(c->secret_key), secret, strlen(secret),
				    "AWS_SECRET_ACCESS_KEY", err) ||
			       (token && copy(c->token, sizeof(c->token), token, strlen(token),
					      "AWS_SESSION_TOKEN", err))
		       ? -1
		       : 0;
}

static const char *first_of(const char *a, const char *b, const char *c)
{
	return a && *a ? a : b ? b : c;
}

/* All but the keys. */
static int settings(struct s3_config *ret, const char *url, const struct repo_s3_opts *opts,
		    struct err *err)
{
	const char *endpoint = first_of(opts->endpoint, environment("AWS_ENDPOINT_URL"), NULL);
	const char *region =
		first_of(opts->region, environment("AWS_REGION"),
			 first_of(environment("AWS_DEFAULT_REGION"), NULL, "us-east-1"));
	const char *ca = first_of(opts->ca_file, environment("AWS_CA_BUNDLE"), "");
	char aws[128];

	memset(ret, 0, sizeof(*ret));
	if (s3_config_url(ret, url, err) ||
	    copy(ret->region, sizeof(ret->region), region, strlen(region), "the region", err) ||
	    copy(ret->ca_file, sizeof(ret->ca_file), ca, strlen(ca), "the name of the CA file",
		 err))
		return -1;
	if (!*region || !only(region, strlen(region),
			      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"))
		return err_set(err, ERR_USAGE, "'%s' is no region", region);
	snprintf(aws, sizeof(aws), "https://s3.%s.amazonaws.com", region);
	if (s3_config_endpoint(ret, endpoint ? endpoint : aws, err))
		return -1;
	ret->retries = opts->retries;
	ret->cache_size = opts->cache_size;
	ret->rate_limit = opts->rate_limit;
	if (opts->rate_limit && opts->rate_limit < RATE_MIN)
		return err_set(err, ERR_USAGE, "a limit below %d bytes a second", RATE_MIN);
	if (opts->object_lock && s3_config_lock(ret, opts->object_lock, err))
		return -1;
	/* Others believe nobody who claims more */
	if (opts->grace_ms > 1000ULL * S3_GRACE_MOST_S)
		return err_set(err, ERR_USAGE, "a grace above %d s", S3_GRACE_MOST_S);
	ret->grace_s = opts->grace_ms ? (unsigned)((opts->grace_ms + 999) / 1000) : 1800;
	ret->stall_s = opts->stall_ms ? (unsigned)((opts->stall_ms + 999) / 1000) : 30;
	return 0;
}

int repo_s3_check(const char *url, struct err *err)
{
	struct s3_config c;

	if (strncmp(url, "s3:", 3) == 0)
		return settings(&c, url, chosen, err) ? err_object(err, url) : 0;
	if (!chosen->object_lock)
		return 0;
	err_set(err, ERR_USAGE, "only an object store can lock what is stored");
	return err_object(err, url);
}

int s3_config_load(struct s3_config *ret, const char *url, const struct repo_s3_opts *opts,
		   struct err *err)
{
	if (settings(ret, url, opts, err))
		return -1;
	if (!credentials(ret, err))
		return 0;
	if (err && err->code == ERR_DENIED && !err->hint[0])
		err_hint(err, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
			      "AWS_SHARED_CREDENTIALS_FILE");
	s3_config_wipe(ret);
	return -1;
}

void s3_config_wipe(struct s3_config *c)
{
	OPENSSL_cleanse(c, sizeof(*c));
}
