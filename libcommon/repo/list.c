/* Manifests in the store: names, reading with the name checked, committing with the next sequence number, removal.
 *
 * A number is used once. Before manifests are removed, an object numbers/SEQ says that all numbers up to SEQ are used;
 * who chose a number from a listing that was older than that finds it when he looks again after the commit.
 */
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
#define USED   "numbers/"
enum { SEQ_DIGITS = 16, COMMIT_TRIES = 1000, NAME_MAX_BYTES = 32 };

static int seq_of_name(const char *name, const char *prefix, uint64_t *ret)
{
	uint8_t be[SEQ_DIGITS / 2];
	uint64_t seq = 0;

	if (strncmp(name, prefix, strlen(prefix)) != 0 ||
	    hex_decode(name + strlen(prefix), be, sizeof(be)) < 0)
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

	if (seq_of_name(name, PREFIX, &seq) < 0)
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

/* The highest number that an object below @prefix has; 0: none. */
static int highest_seq(struct store *st, const char *prefix, uint64_t *ret, struct err *err)
{
	char **names;
	size_t n;

	*ret = 0;
	if (store_object_list(st, prefix, &names, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		uint64_t seq;

		if (seq_of_name(names[i], prefix, &seq) == 0 && seq > *ret)
			*ret = seq;
	}
	names_free(names, n);
	return 0;
}

static int next_seq(struct store *st, uint64_t *ret, struct err *err)
{
	uint64_t there, used;

	if (highest_seq(st, PREFIX, &there, err) < 0 || highest_seq(st, USED, &used, err) < 0)
		return -1;
	if (used > there)
		there = used;
	if (there >= INT64_MAX)
		return err_set(err, ERR_CORRUPT, "the last sequence number is in use");
	*ret = there + 1;
	return 0;
}

static void manifest_name(uint64_t seq, const char *prefix, char ret[NAME_MAX_BYTES])
{
	(void)snprintf(ret, NAME_MAX_BYTES, "%s%016" PRIx64, prefix, seq);
}

/* Return: 0 done, 1 another was faster or the number turned out to be used: take the next, -1 */
static int commit_as(struct store *st, struct snapshot *s, struct err *err)
{
	CLEANUP_FREE char *data = NULL;
	char name[NAME_MAX_BYTES];
	struct err why = ERR_INIT;
	uint64_t used;
	size_t len;

	manifest_name(s->seq, PREFIX, name);
	if (manifest_encode(s, &data, &len, err) < 0)
		return -1;
	if (store_object_write(st, name, data, len, &why) < 0) {
		if (why.code == ERR_EXISTS)
			return 1;
		if (err)
			*err = why;
		return err_object(err, name);
	}
	if (highest_seq(st, USED, &used, err) < 0)
		return -1;
	return used < s->seq ? 0 : store_object_remove(st, name, err) < 0 ? -1 : 1;
}

/* The ids of manifests that came since; one that cannot be read has none. */
static int learn_ids(struct store *st, struct manifest_ids *known, struct err *err)
{
	uint64_t checked = known->checked;
	char **names;
	size_t n;
	int rc = 0;

	if (store_object_list(st, PREFIX, &names, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n && rc >= 0; i++) {
		struct snapshot s;
		uint64_t seq;

		if (seq_of_name(names[i], PREFIX, &seq) < 0 || seq <= known->checked)
			continue;
		if (seq > checked)
			checked = seq;
		if (manifest_read(st, names[i], &s, NULL) == 0) {
			rc = id_set_add(&known->ids, &s.id, err);
			manifest_clear(&s);
		}
	}
	names_free(names, n);
	known->checked = checked;
	return rc < 0 ? -1 : 0;
}

/* @known not NULL: all below the number that is tried were looked at, so none of that id can come between. */
static int commit(struct store *st, struct snapshot *s, struct manifest_ids *known,
		  bool *ret_present, struct err *err)
{
	*ret_present = false;
	for (unsigned i = 0; i < COMMIT_TRIES; i++) {
		int rc;

		if (next_seq(st, &s->seq, err) < 0 || (known && learn_ids(st, known, err) < 0))
			return -1;
		*ret_present = known && id_set_has(&known->ids, &s->id);
		rc = *ret_present ? 0 : commit_as(st, s, err);
		if (rc <= 0)
			return rc;
	}
	return err_set(err, ERR_BUSY, "other backups take every sequence number");
}

int manifest_commit(struct store *st, struct snapshot *s, struct err *err)
{
	bool present;

	return commit(st, s, NULL, &present, err);
}

int manifest_commit_once(struct store *st, struct snapshot *s, struct manifest_ids *known,
			 bool *ret_present, struct err *err)
{
	return commit(st, s, known, ret_present, err);
}

int manifest_remove(struct store *st, const uint64_t *seqs, size_t n, size_t *ret_removed,
		    struct err *err)
{
	char name[NAME_MAX_BYTES];
	struct err why = ERR_INIT;
	uint64_t highest = 0, used;

	*ret_removed = 0;
	for (size_t i = 0; i < n; i++)
		if (seqs[i] > highest)
			highest = seqs[i];
	if (n == 0)
		return 0;
	if (highest_seq(st, USED, &used, err) < 0)
		return -1;
	manifest_name(highest, USED, name);
	if (used < highest && store_object_write_tight(st, name, "", 0, &why) < 0 &&
	    why.code != ERR_EXISTS) {
		if (err)
			*err = why;
		return -1;
	}
	for (; *ret_removed < n; ++*ret_removed) {
		manifest_name(seqs[*ret_removed], PREFIX, name);
		if (store_object_remove(st, name, err) < 0)
			return -1;
	}
	return store_object_sync(st, "snapshots", err);
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

/* Names alone prove nothing: who can write to the repository can make them. */
int repo_expect(struct repo *repo, uint64_t seq, struct err *err)
{
	struct store *st = repo_store(repo);
	char **names;
	uint64_t newest = 0;
	size_t n;

	if (store_object_list(st, PREFIX, &names, &n, err) < 0)
		return -1;
	for (size_t i = n; i-- > 0 && !newest;) {
		struct err why = ERR_INIT;
		struct snapshot s;

		if (manifest_read(st, names[i], &s, &why) < 0)
			continue;
		newest = s.seq;
		manifest_clear(&s);
	}
	names_free(names, n);
	if (newest >= seq)
		return 0;
	if (!newest)
		return err_set(err, ERR_CORRUPT,
			       "rolled back: there is no snapshot, and one of number %" PRIu64
			       " or higher is expected",
			       seq);
	return err_set(err, ERR_CORRUPT,
		       "rolled back: the newest snapshot has the number %" PRIu64 ", and %" PRIu64
		       " or higher is expected",
		       newest, seq);
}

int repo_locked_until(struct repo *repo, const struct snapshot *s, int64_t *ret, struct err *err)
{
	char name[NAME_MAX_BYTES];

	manifest_name(s->seq, PREFIX, name);
	return store_object_locked_until(repo_store(repo), name, ret, err);
}

int repo_forget(struct repo *repo, const struct snapshot *list, const bool *remove, size_t n,
		size_t *ret_removed, struct err *err)
{
	CLEANUP_FREE uint64_t *seqs = calloc(n + 1, sizeof(*seqs));
	size_t chosen = 0;

	if (!seqs)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++)
		if (remove[i])
			seqs[chosen++] = list[i].seq;
	return manifest_remove(repo_store(repo), seqs, chosen, ret_removed, err);
}

/* Return: 1 when the manifest is damaged, 0, -1; what cannot be read otherwise is counted in *@left */
static int is_damaged(struct store *st, const char *name, size_t *left, struct err *err)
{
	struct err why = ERR_INIT;
	struct snapshot s;

	if (manifest_read(st, name, &s, &why) == 0) {
		manifest_clear(&s);
		return 0;
	}
	if (why.code == ERR_CORRUPT)
		return 1;
	*left += why.code == ERR_UNSUPPORTED;
	if (why.code == ERR_UNSUPPORTED || why.code == ERR_NOT_FOUND)
		return 0;
	if (err)
		*err = why;
	return -1;
}

int repo_forget_unreadable(struct repo *repo, size_t *ret_left, struct err *err)
{
	struct store *st = repo_store(repo);
	char **names;
	size_t n;
	int rc = 0;

	*ret_left = 0;
	if (store_object_list(st, PREFIX, &names, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n && rc == 0; i++) {
		uint64_t seq;
		size_t removed;

		rc = is_damaged(st, names[i], ret_left, err);
		if (rc > 0)
			rc = seq_of_name(names[i], PREFIX, &seq) < 0
				     ? store_object_remove(st, names[i], err)
				     : manifest_remove(st, &seq, 1, &removed, err);
	}
	names_free(names, n);
	return rc;
}

void snapshots_free(struct snapshot *snaps, size_t n)
{
	for (size_t i = 0; i < n; i++)
		manifest_clear(&snaps[i]);
	free(snaps);
}
