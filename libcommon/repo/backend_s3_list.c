/* Listings of the S3 backend, page after page. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/repo/backend_s3_private.h"

enum { QUERY_MAX = 9000 };

struct listing {
	struct s3_backend *backend;
	size_t skip;	    /* of the repository's prefix */
	const char *folder; /* "": everything */
	s3_list_fn *fn;
	void *ctx;
};

static int list_key(void *ctx, const struct s3_list_entry *e, struct err *err)
{
	const struct listing *l = ctx;
	struct s3_list_entry named = *e;
	const char *slash;
	size_t depth = 0;

	if (strncmp(e->key, s3_http_config(l->backend->http)->prefix, l->skip) != 0)
		return err_set(err, ERR_CORRUPT, "the server lists a key without the prefix");
	named.key += l->skip;
	if (!*l->folder)
		return l->fn(l->ctx, &named, err);
	for (slash = strchr(named.key, '/'); slash; slash = strchr(slash + 1, '/'))
		depth++;
	if (!backend_name_valid(named.key) ||
	    strncmp(named.key, l->folder, strlen(l->folder)) != 0 ||
	    depth != (s3_is_pack(named.key) ? 2U : 1U))
		return 0;
	return l->fn(l->ctx, &named, err);
}

static int list_query(const char *prefix, const char *token, char *ret, size_t cap, struct err *err)
{
	char p[3 * 700], t[3 * S3_TOKEN_MAX];
	int n;

	if (s3_encode(prefix, 0, p, sizeof(p)) < 0 || s3_encode(token, 0, t, sizeof(t)) < 0)
		return err_set(err, ERR_USAGE, "the prefix is too long");
	n = snprintf(ret, cap, "%s%s%slist-type=2&max-keys=1000&prefix=%s",
		     *token ? "continuation-token=" : "", t, *token ? "&" : "", p);
	return n > 0 && (size_t)n < cap ? 0 : err_set(err, ERR_USAGE, "the prefix is too long");
}

int s3_list_folder(struct s3_backend *b, const char *folder, s3_list_fn *fn, void *ctx,
		   struct err *err)
{
	struct listing listing = {.backend = b, .folder = folder, .fn = fn, .ctx = ctx},
		       *l = &listing;
	const struct s3_config *c = s3_http_config(l->backend->http);
	CLEANUP_FREE char *query = malloc(QUERY_MAX);
	CLEANUP_FREE struct s3_list_page *page = calloc(1, sizeof(*page));
	char prefix[700], last[S3_TOKEN_MAX];
	int rc;

	if (!query || !page)
		return err_nomem(err);
	l->skip = strlen(c->prefix);
	snprintf(prefix, sizeof(prefix), "%s%s%s", c->prefix, folder, *folder ? "/" : "");
	do {
		struct s3_request q = {.method = "GET", .query = query, .max = S3_LIST_MAX};
		struct s3_response r;

		memcpy(last, page->token, sizeof(last));
		if (list_query(prefix, page->token, query, QUERY_MAX, err))
			return -1;
		rc = s3_http_do(l->backend->http, &q, &r, err);
		if (!rc)
			rc = s3_list_parse(r.body ? r.body : "", r.body_len, list_key, l, page,
					   err);
		if (!rc && page->truncated && !strcmp(last, page->token))
			rc = err_set(err, ERR_CORRUPT, "the server's listing has no end");
		s3_response_free(&r);
	} while (!rc && page->truncated);
	return rc;
}

struct names {
	struct s3_backend *backend;
	int (*fn)(void *ctx, const char *name, struct err *err);
	void *ctx;
};

static int name_one(void *ctx, const struct s3_list_entry *e, struct err *err)
{
	const struct names *n = ctx;
	const struct s3_facts facts = {.size = e->size, .etag = s3_hash_etag(e->etag)};

	s3_know(n->backend, e->key, &facts);
	return n->fn(n->ctx, e->key, err);
}

int s3_list(struct backend *base, const char *folder,
	    int (*fn)(void *ctx, const char *name, struct err *err), void *ctx, struct err *err)
{
	struct s3_backend *b = (struct s3_backend *)base;
	struct names n = {.backend = b, .fn = fn, .ctx = ctx};

	if (!backend_name_valid(folder))
		return err_set(err, ERR_USAGE, "'%s' is no object name", folder);
	if (s3_flush(b, err))
		return -1;
	s3_forget_folder(b, folder);
	return s3_list_folder(b, folder, name_one, &n, err);
}
