/* Naming snapshots: NAME@WHEN, an id's first digits, dates. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/clock.h"
#include "libcommon/base/digest.h"
#include "libcommon/repo/manifest.h"

enum { PREFIX_MIN = 4, ID_DIGITS = 64 };

bool repo_name_valid(const char *name)
{
	size_t n = strlen(name);

	if (n < 1 || n > 64 || !isalnum((unsigned char)name[0]))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
			return false;
	return true;
}

const char *snapshot_short_id(const struct repo_id *id, char ret[9])
{
	hex_encode(id->bytes, 4, ret);
	return ret;
}

/* "2026-11-23", "2026-11-23T10:00", "2026-11-23T10:00:30", the latter two with "Z" for UTC, else in local time;
 * *@ret is the last second that the text covers. Return: 0 or -1 */
static int parse_when(const char *s, int64_t *ret)
{
	struct tm tm = {.tm_isdst = -1, .tm_hour = 23, .tm_min = 59, .tm_sec = 59};
	size_t len = strlen(s);
	bool utc = len && s[len - 1] == 'Z';
	int given = clock_fields(s, len - utc, &tm);

	if (given < 0 || (utc && given == 0))
		return -1;
	*ret = utc ? timegm(&tm) : mktime(&tm);
	return 0;
}

/* At least 4 hexadecimal digits and nothing else. */
static bool is_prefix(const char *s)
{
	size_t n = strlen(s);

	return n >= PREFIX_MIN && n <= ID_DIGITS && strspn(s, "0123456789abcdefABCDEF") == n;
}

static bool has_prefix(const struct snapshot *s, const char *prefix)
{
	char hex[ID_DIGITS + 1];

	hex_encode(s->id.bytes, sizeof(s->id.bytes), hex);
	return strncasecmp(hex, prefix, strlen(prefix)) == 0;
}

struct all {
	struct snapshot *list;
	size_t n, damaged;
};

static int ambiguous(const struct all *all, const char *vm, const char *prefix, struct err *err)
{
	char names[200] = "";

	for (size_t i = 0; i < all->n; i++) {
		char id[9];
		size_t used = strlen(names);

		if ((!vm || strcmp(vm, all->list[i].vm) == 0) && has_prefix(&all->list[i], prefix))
			(void)snprintf(names + used, sizeof(names) - used, "%s%s@%s",
				       used ? ", " : "", all->list[i].vm,
				       snapshot_short_id(&all->list[i].id, id));
	}
	err_set(err, ERR_USAGE, "%s is the beginning of several ids", prefix);
	return err_hint(err, "one of %s", names);
}

/* The snapshots are in order of seq: the last that fits is the newest. */
static int find_prefix(const struct all *all, const char *vm, const char *prefix,
		       const struct snapshot **ret, struct err *err)
{
	const struct snapshot *found = NULL;

	for (size_t i = 0; i < all->n; i++) {
		if ((vm && strcmp(vm, all->list[i].vm) != 0) || !has_prefix(&all->list[i], prefix))
			continue;
		if (found)
			return ambiguous(all, vm, prefix, err);
		found = &all->list[i];
	}
	*ret = found;
	return 0;
}

static const struct snapshot *find_newest(const struct all *all, const char *vm, int64_t not_after)
{
	const struct snapshot *found = NULL;

	for (size_t i = 0; i < all->n; i++) {
		int64_t t = INT64_MAX;

		if (strcmp(vm, all->list[i].vm) == 0 && manifest_time(all->list[i].time, &t) == 0 &&
		    t <= not_after)
			found = &all->list[i];
	}
	return found;
}

static int not_found(const struct all *all, const char *spec, const char *vm, struct err *err)
{
	const struct snapshot *newest = vm ? find_newest(all, vm, INT64_MAX) : NULL;

	err_set(err, ERR_NOT_FOUND, "no such snapshot%s",
		all->damaged ? " among those that can be read" : "");
	err_object(err, spec);
	if (newest) {
		char id[9];

		return err_hint(err, "the newest of %s is %s@%s of %s", vm, vm,
				snapshot_short_id(&newest->id, id), newest->time);
	}
	return err_hint(err, vm ? "there is no snapshot of this machine: see vmbackup list"
				: "see vmbackup list");
}

/* @when is all of the part after '@'. *@ret stays NULL when nothing fits; @ret_known: the form was understood */
static int find_when(const struct all *all, const char *vm, const char *when,
		     const struct snapshot **ret, bool *ret_known, struct err *err)
{
	int64_t t;

	*ret = NULL;
	*ret_known = true;
	if (strcmp(when, "latest") == 0)
		*ret = find_newest(all, vm, INT64_MAX);
	else if (parse_when(when, &t) == 0)
		*ret = find_newest(all, vm, t);
	else if (is_prefix(when))
		return find_prefix(all, vm, when, ret, err);
	else
		*ret_known = false;
	return 0;
}

static int find_spec(const struct all *all, const char *spec, const struct snapshot **ret,
		     bool *ret_known, struct err *err)
{
	const char *at = strchr(spec, '@');

	if (at) {
		CLEANUP_FREE char *vm = strndup(spec, (size_t)(at - spec));

		return vm ? find_when(all, vm, at + 1, ret, ret_known, err) : err_nomem(err);
	}
	*ret_known = true;
	*ret = find_newest(all, spec, INT64_MAX); /* a machine's name comes first, then an id */
	if (*ret)
		return 0;
	if (is_prefix(spec))
		return find_prefix(all, NULL, spec, ret, err);
	*ret_known = repo_name_valid(spec);
	return 0;
}

/* The whole as a snapshot; else, when a disk may be named, what is before the last ':'. */
static int find_either(const struct all *all, const char *spec, bool with_disk,
		       const struct snapshot **ret, char **ret_disk, struct err *err)
{
	const char *colon = strrchr(spec, ':'), *at = strchr(spec, '@');
	bool known;

	if (find_spec(all, spec, ret, &known, err) < 0)
		return -1;
	if (!*ret && !known && with_disk && colon && repo_name_valid(colon + 1)) {
		CLEANUP_FREE char *front = strndup(spec, (size_t)(colon - spec));

		if (!front)
			return err_nomem(err);
		if (find_spec(all, front, ret, &known, err) < 0)
			return -1;
		if (*ret && !(*ret_disk = strdup(colon + 1)))
			return err_nomem(err);
	}
	if (*ret)
		return 0;
	if (!known) {
		err_set(err, ERR_USAGE, "this names no snapshot");
		err_object(err, spec);
		return err_hint(
			err,
			"NAME@latest, NAME@2026-11-23, NAME@2026-11-23T10:00 or the first digits "
			"of an id");
	}

	CLEANUP_FREE char *vm = at ? strndup(spec, (size_t)(at - spec)) : NULL;

	return not_found(all, spec, vm, err);
}

static int find(struct repo *repo, const char *spec, bool with_disk, struct snapshot **ret,
		char **ret_disk, struct err *err)
{
	struct all all = {0};
	const struct snapshot *found = NULL;
	char *disk = NULL;
	int rc;

	if (repo_list(repo, NULL, &all.list, &all.n, &all.damaged, err) < 0)
		return -1;
	rc = find_either(&all, spec, with_disk, &found, &disk, err);
	if (rc == 0) {
		*ret = calloc(1, sizeof(**ret));
		rc = *ret ? manifest_copy(found, *ret, err) : err_nomem(err);
		if (rc < 0)
			free(*ret);
	}
	snapshots_free(all.list, all.n);
	if (rc < 0)
		free(disk);
	else if (ret_disk)
		*ret_disk = disk;
	return rc;
}

int repo_find(struct repo *repo, const char *spec, struct snapshot **ret, struct err *err)
{
	return find(repo, spec, false, ret, NULL, err);
}

int repo_find_disk(struct repo *repo, const char *spec, struct snapshot **ret, char **ret_disk,
		   struct err *err)
{
	return find(repo, spec, true, ret, ret_disk, err);
}
