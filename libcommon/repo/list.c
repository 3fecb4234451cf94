/* Manifests in the store: names, reading with the name checked, committing with the next sequence number. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/log.h"
#include "libcommon/repo/manifest.h"
#include "libcommon/repo/names.h"

#define PREFIX "snapshots/"
enum { SEQ_DIGITS = 16, COMMIT_TRIES = 1000 };

static int seq_of_name(const char *name, uint64_t *ret)
{
	uint8_t be[SEQ_DIGITS / 2];
	uint64_t seq = 0;

	if (strncmp(name, PREFIX, strlen(PREFIX)) != 0 ||
	    hex_decode(name + strlen(PREFIX), be, sizeof(be)) < 0)
		return -1;
	for (size_t i = 0; i < sizeof(be); i++)
		seq = seq << 8 | be[i];
	*ret = seq;
	return 0;
}

int manifest_read(struct store *st, const char *name, struct snapshot *ret, struct err *err)
{
	CLEANUP_FREE uint8_t *data = NULL;
	size_t len;
	uint64_t seq;

	if (seq_of_name(name, &seq) < 0)
		return err_set(err, ERR_CORRUPT, "%s is not the name of a snapshot", name);
	if (store_object_read(st, name, MANIFEST_MAX, &data, &len, err) < 0 ||
	    manifest_decode(data, len, ret, err) < 0)
		return err_object(err, name);
	if (ret->seq != seq) {
		manifest_clear(ret);
		err_set(err, ERR_CORRUPT, "manifest: it says that it is another snapshot's");
		return err_object(err, name);
	}
	return 0;
}

static int highest_seq(struct store *st, uint64_t *ret, struct err *err)
{
	char **names;
	size_t n;

	*ret = 0;
	if (store_object_list(st, PREFIX, &names, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		uint64_t seq;

		if (seq_of_name(names[i], &seq) == 0 && seq > *ret)
			*ret = seq;
	}
	names_free(names, n);
	return 0;
}

int manifest_commit(struct store *st, struct snapshot *s, struct err *err)
{
	for (unsigned i = 0; i < COMMIT_TRIES; i++) {
		CLEANUP_FREE char *data = NULL;
		char name[sizeof(PREFIX) + SEQ_DIGITS];
		struct err why = ERR_INIT;
		uint64_t highest;
		size_t len;

		if (highest_seq(st, &highest, err) < 0)
			return -1;
		if (highest >= INT64_MAX)
			return err_set(err, ERR_CORRUPT, "the last sequence number is in use");
		s->seq = highest + 1;
		(void)snprintf(name, sizeof(name), PREFIX "%016" PRIx64, s->seq);
		if (manifest_encode(s, &data, &len, err) < 0)
			return -1;
		if (store_object_write(st, name, data, len, &why) == 0)
			return 0;
		if (why.code != ERR_EXISTS) {
			if (err)
				*err = why;
			return err_object(err, name);
		}
	}
	return err_set(err, ERR_BUSY, "other backups take every sequence number");
}

static int append(struct snapshot **list, size_t *n, size_t *room, struct snapshot *s,
		  struct err *err)
{
	if (*n == *room) {
		size_t more = *room ? 2 * *room : 16;
		struct snapshot *p = reallocarray(*list, more, sizeof(*p));

		if (!p)
			return err_nomem(err);
		*list = p;
		*room = more;
	}
	(*list)[(*n)++] = *s;
	return 0;
}

/* One object: kept, skipped (another machine's, gone meanwhile) or damaged. */
static int list_one(struct store *st, const char *name, const char *vm, struct snapshot **list,
		    size_t *n, size_t *room, size_t *damaged, struct err *err)
{
	struct err why = ERR_INIT;
	struct snapshot s;

	if (manifest_read(st, name, &s, &why) < 0) {
		if (why.code == ERR_NOT_FOUND)
			return 0; /* removed since it was listed */
		if (why.code != ERR_CORRUPT && why.code != ERR_UNSUPPORTED) {
			if (err)
				*err = why;
			return -1;
		}
		log_warning("%s: %s", name, why.message);
		(*damaged)++;
		return 0;
	}
	if (vm && strcmp(vm, s.vm) != 0) {
		manifest_clear(&s);
		return 0;
	}
	if (append(list, n, room, &s, err) < 0) {
		manifest_clear(&s);
		return -1;
	}
	return 0;
}

int repo_list(struct repo *repo, const char *vm, struct snapshot **ret, size_t *ret_n,
	      size_t *ret_damaged, struct err *err)
{
	struct store *st = repo_store(repo);
	struct snapshot *list = NULL;
	size_t n = 0, room = 0, n_names, damaged = 0;
	char **names;
	int rc = 0;

	if (store_object_list(st, PREFIX, &names, &n_names, err) < 0)
		return -1;
	/* Names are sorted and of one length, so they are in order of seq. */
	for (size_t i = 0; i < n_names && rc == 0; i++)
		rc = list_one(st, names[i], vm, &list, &n, &room, &damaged, err);
	names_free(names, n_names);
	if (rc < 0) {
		snapshots_free(list, n);
		return -1;
	}
	*ret = list;
	*ret_n = n;
	if (ret_damaged)
		*ret_damaged = damaged;
	return 0;
}

void snapshots_free(struct snapshot *snaps, size_t n)
{
	for (size_t i = 0; i < n; i++)
		manifest_clear(&snaps[i]);
	free(snaps);
}
