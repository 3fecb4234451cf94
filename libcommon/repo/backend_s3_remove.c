/* Removing objects of an S3 repository. In a bucket that keeps versions, the version goes that is there: a plain DELETE
 * would only hide it, and with it what a lock keeps. What is locked stays, and is said to.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "libcommon/repo/backend_s3_private.h"

enum { QUERY_MAX = 512 };

bool s3_is_data(const char *name)
{
	return !strncmp(name, "packs/", 6) || !strncmp(name, "snapshots/", 10) ||
	       !strncmp(name, "keys/", 5) || !strcmp(name, "config");
}

static int send_delete(struct s3_backend *b, const char *name, const char *query,
		       const struct s3_guard *g, struct err *err)
{
	const struct s3_request q = {
		.method = "DELETE", .name = name, .query = query, .last = g && g->last};
	struct s3_response r;
	int rc = s3_guarded_do(b, g, &q, &r, err);

	s3_response_free(&r);
	return rc;
}

/* Return: 1 with *@ret_query for the version that is there, 0: there are none, -1 */
static int version_query(struct s3_backend *b, const char *name, bool last,
			 char ret_query[QUERY_MAX], struct err *err)
{
	const struct s3_request q = {.method = "HEAD", .name = name, .last = last};
	char id[3 * S3_VERSION_MAX];
	struct s3_response r;
	int rc = s3_http_do(b->http, &q, &r, err), known = 0;

	if (!rc && r.versioned) {
		known = s3_encode(r.version, 0, id, sizeof(id)) >= 0;
		(void)snprintf(ret_query, QUERY_MAX, "versionId=%s", id);
	}
	s3_response_free(&r);
	return rc ? -1 : known;
}

static int remove_any(struct s3_backend *b, const char *name, const struct s3_guard *g,
		      struct err *err)
{
	char query[QUERY_MAX];
	int versions =
		s3_http_versions(b->http) ? version_query(b, name, g && g->last, query, err) : 0;

	if (versions <= 0)
		return versions < 0 ? -1 : send_delete(b, name, NULL, g, err);
	if (!send_delete(b, name, query, g, err))
		return 0;
	/* A bucket may lock all that is put into it. What is no data is hidden then, which is all that it needs. */
	if (err->code != ERR_DENIED || s3_is_data(name))
		return -1;
	err_clear(err);
	return send_delete(b, name, NULL, g, err);
}

int s3_remove_now(struct s3_backend *b, const char *name, const struct s3_guard *g, struct err *err)
{
	struct err why = ERR_INIT;
	int rc = remove_any(b, name, g, &why);

	s3_forget_folder(b, name);
	s3_cache_drop(b, name);
	if (!rc || (why.code == ERR_NOT_FOUND && !why.hint[0]))
		return 0;
	if (err)
		*err = why;
	return err_object(err, name);
}

int s3_remove(struct backend *base, const char *name, struct err *err)
{
	struct s3_backend *b = (struct s3_backend *)base;
	struct s3_guard g;
	bool guarded = !strncmp(name, "packs/", 6) || !strncmp(name, "epochs/", 7);

	if (!backend_name_valid(name))
		return err_set(err, ERR_USAGE, "'%s' is no object name", name);
	if (s3_flush(b, err) || (guarded && s3_lease_guard(b, true, &g, err)))
		return -1;
	return s3_remove_now(b, name, guarded ? &g : NULL, err);
}

int s3_locked_until(struct backend *base, const char *name, int64_t *ret, struct err *err)
{
	struct s3_backend *b = (struct s3_backend *)base;
	const struct s3_request q = {.method = "HEAD", .name = name};
	struct err why = ERR_INIT;
	struct s3_response r;
	int rc;

	*ret = 0;
	if (!s3_http_versions(b->http))
		return 0; /* there are no locks without versions */
	rc = s3_http_do(b->http, &q, &r, &why);
	if (!rc && r.locked_until > s3_http_now(b->http))
		*ret = r.locked_until;
	if (!rc && r.held)
		*ret = INT64_MAX;
	s3_response_free(&r);
	if (!rc || why.code == ERR_NOT_FOUND)
		return 0;
	*err = why;
	return err_object(err, name);
}
