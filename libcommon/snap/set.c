/* Changes of several disks: all or none.
 *
 * The first disk's folder gets .set.json (what is to be done, on which disks), then those of the others get one that leads
 * there; then each disk is changed, with its own journal. That the first .set.json goes is the moment when all is done; the
 * others, which lead nowhere then, follow. While a .set.json is there that counts, the whole is undone by recover:
 *
 *	create	the snapshot is deleted where there is one: its name was free on all disks before
 *	revert	always keeps the present state, under one name that was free on all disks: where that is, the disk goes back
 *		to it. With --discard-current it is deleted at the end
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"
#include "libcommon/snap/private.h"

#define SET_FILE ".set.json"

int set_pending(const struct snap_disk *d)
{
	CLEANUP_FREE char *path = in_dir(d, SET_FILE);

	return path && access(path, F_OK) == 0;
}

/* ---- opening */

static int by_path(const void *a, const void *b)
{
	const struct snap_disk *x = *(struct snap_disk *const *)a,
			       *y = *(struct snap_disk *const *)b;

	return strcmp(x->path, y->path);
}

void snap_set_close(struct snap_disk **disks, size_t n)
{
	for (size_t i = 0; disks && i < n; i++)
		snap_close(disks[i]);
	free(disks);
}

int snap_set_open(struct snap_disk ***ret, char *const *paths, size_t n, struct err *err)
{
	struct snap_disk **disks = calloc(n, sizeof(*disks));
	int rc = disks ? 0 : err_nomem(err);

	for (size_t i = 0; rc == 0 && i < n; i++) {
		CLEANUP_FREE char *real = realpath(paths[i], NULL);

		for (size_t k = 0; rc == 0 && real && k < i; k++)
			if (strcmp(disks[k]->path, real) == 0) {
				rc = err_set(err, ERR_USAGE, "is named twice");
				err_object(err, paths[i]);
			}
		if (rc == 0)
			rc = snap_open(&disks[i], paths[i], true, err);
	}
	if (rc < 0) {
		snap_set_close(disks, n);
		return -1;
	}
	qsort(disks, n, sizeof(struct snap_disk *), by_path);
	*ret = disks;
	return 0;
}

/* ---- the announcement */

struct set {
	char id[33];
	bool revert;
	const char *name; /* of the new snapshots; revert: of those that keep the present state */
};

static int new_id(char ret[33], struct err *err)
{
	uint64_t x[2];

	if (getrandom(x, sizeof(x), 0) != sizeof(x))
		return err_sys(err, "no random numbers");
	(void)snprintf(ret, 33, "%016" PRIx64 "%016" PRIx64, x[0], x[1]);
	return 0;
}

static int set_end(struct snap_disk *d, struct err *err)
{
	return remove_file(d, SET_FILE, err);
}

/* The first one's last: what is left of the others leads nowhere */
static int announce(struct snap_disk **disks, size_t n, const struct set *s, struct err *err)
{
	json_t *paths = json_array();

	for (size_t i = 0; paths && i < n; i++)
		json_array_append_new(paths, json_string(disks[i]->path));
	if (!paths || json_array_size(paths) != n) {
		json_decref(paths);
		return err_set(err, ERR_UNSUPPORTED,
			       "a set of disks whose paths are not UTF-8 cannot be written down");
	}
	if (json_write(disks[0], SET_FILE,
		       json_pack("{s:i, s:s, s:s, s:s, s:o}", "version", 1, "id", s->id,
				 "operation", s->revert ? "revert" : "create", "name", s->name,
				 "disks", paths),
		       err) < 0)
		return -1;
	for (size_t i = 1; i < n; i++)
		if (json_write(disks[i], SET_FILE,
			       json_pack("{s:i, s:s, s:s}", "version", 1, "id", s->id, "leader",
					 disks[0]->path),
			       err) < 0)
			return -1;
	return 0;
}

static int withdraw(struct snap_disk **disks, size_t n, struct err *err)
{
	int rc = set_end(disks[0], err);

	for (size_t i = 1; rc == 0 && i < n; i++)
		rc = set_end(disks[i], err);
	return rc;
}

/* ---- undo */

static int undo_one(struct snap_disk *d, const struct set *s, struct progress *progress,
		    struct err *err)
{
	struct snap_entry *e;
	struct err why = ERR_INIT;

	if (snap_find(d, s->name, &e, &why) < 0) {
		if (why.code == ERR_NOT_FOUND)
			return 0;
		if (err)
			*err = why;
		return -1;
	}
	snap_list_free(e, 1);
	if (s->revert && revert_keeping(d, s->name, "", err) < 0)
		return -1;
	return snap_delete(d, s->name, progress, err);
}

static int undo_all(struct snap_disk **disks, size_t n, const struct set *s, struct err *err)
{
	for (size_t i = n; i-- > 0;)
		if (disks[i] && undo_one(disks[i], s, NULL, err) < 0)
			return -1;
	return 0;
}

/* ---- the changes */

/* After a failure in the midst of them */
static int give_up(struct snap_disk **disks, size_t n, const struct set *s, struct err *err)
{
	enum snap_recovered ignored;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = recover_disk(disks[i], NULL, &ignored, NULL);
	if (rc < 0 || undo_all(disks, n, s, NULL) < 0 || withdraw(disks, n, NULL) < 0)
		err_hint(err, "vmsnap recover undoes it on all the disks");
	return -1;
}

static int begin(struct snap_disk **disks, size_t n, struct set *s, struct err *err)
{
	if (new_id(s->id, err) < 0)
		return -1;
	if (announce(disks, n, s, err) == 0)
		return 0;
	(void)withdraw(disks, n, NULL);
	return -1;
}

int snap_set_create(struct snap_disk **disks, size_t n, const char *name, enum snap_engine engine,
		    struct err *err)
{
	struct set s = {.name = name};
	enum snap_engine used;

	if (n == 1)
		return snap_create(disks[0], name, engine, NULL, err);
	if (snap_name_check(name, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (engine_in_use(disks[i], name, &used, err) < 0)
			return err_object(err, disks[i]->path);
	if (begin(disks, n, &s, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (stop_check(err) < 0 || snap_create(disks[i], name, engine, NULL, err) < 0)
			return give_up(disks, n, &s, err);
	return withdraw(disks, n, err);
}

int snap_set_revert(struct snap_disk **disks, size_t n, const char *name, bool discard,
		    char ret_kept[SNAP_NAME_MAX + 1], struct err *err)
{
	struct set s = {.revert = true, .name = ret_kept};
	struct snap_entry *e;

	if (n == 1)
		return snap_revert(disks[0], name, discard, ret_kept, err);
	for (size_t i = 0; i < n; i++) {
		if (snap_find(disks[i], name, &e, err) < 0)
			return -1;
		snap_list_free(e, 1);
	}
	if (auto_name(disks, n, ret_kept, err) < 0 || begin(disks, n, &s, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (stop_check(err) < 0 || revert_keeping(disks[i], name, ret_kept, err) < 0)
			return give_up(disks, n, &s, err);
	if (withdraw(disks, n, err) < 0)
		return -1;
	for (size_t i = 0; discard && i < n; i++)
		if (snap_delete(disks[i], ret_kept, NULL, err) < 0)
			return -1;
	if (discard)
		ret_kept[0] = '\0';
	return 0;
}

/* ---- recover */

/* The .set.json of @d; *@ret is owned. Return: 1, 0: there is none, -1 */
static int read_set(struct snap_disk *d, json_t **ret, const char **ret_id, struct err *err)
{
	int version;

	if (!set_pending(d))
		return 0;
	if (json_read(d, SET_FILE, ret, err) < 0)
		return -1;
	if (json_unpack(*ret, "{s:i, s:s}", "version", &version, "id", ret_id) == 0 && version == 1)
		return 1;
	json_decref(*ret);
	err_set(err, ERR_CORRUPT, "has a " SET_FILE " that is not this vmsnap's");
	return err_object(err, d->path);
}

static bool has_id(struct snap_disk *d, const char *id)
{
	const char *own;
	json_t *o;
	bool same;

	if (read_set(d, &o, &own, NULL) <= 0)
		return false;
	same = strcmp(own, id) == 0;
	json_decref(o);
	return same;
}

/* @disks: as in the announcement, [0] locked already; those that do not know of it are left alone, as they are */
static int lock_members(struct snap_disk **disks, const json_t *paths, const char *id,
			struct err *err)
{
	for (size_t i = 1; i < json_array_size(paths); i++) {
		const char *path = json_string_value(json_array_get(paths, i));

		if (!path || lock_disk(&disks[i], path, true, err) < 0)
			return path ? -1 : err_set(err, ERR_CORRUPT, "has a damaged " SET_FILE);
		if (has_id(disks[i], id))
			continue;
		snap_close(disks[i]);
		disks[i] = NULL;
	}
	return 0;
}

static int undo_set(struct snap_disk **disks, size_t n, const struct set *s,
		    struct progress *progress, struct err *err)
{
	enum snap_recovered ignored;

	for (size_t i = 0; i < n; i++)
		if (disks[i] && recover_disk(disks[i], progress, &ignored, err) < 0)
			return -1;
	if (undo_all(disks, n, s, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (disks[i] && remove_lost_memory(disks[i], err) < 0)
			return -1;
	if (set_end(disks[0], err) < 0)
		return -1;
	for (size_t i = 1; i < n; i++)
		if (disks[i] && set_end(disks[i], err) < 0)
			return -1;
	return 0;
}

/* @leader is locked, consumed */
static int recover_leader(struct snap_disk *leader, json_t *o, struct progress *progress,
			  struct err *err)
{
	const char *operation, *name, *id;
	struct snap_disk **disks = NULL;
	struct set s = {0};
	json_t *paths;
	size_t n = 0;
	int rc;

	if (json_unpack(o, "{s:s, s:s, s:s, s:o}", "id", &id, "operation", &operation, "name",
			&name, "disks", &paths) < 0 ||
	    snap_name_check(name, NULL) < 0 || !json_is_array(paths) ||
	    json_array_size(paths) < 2) {
		rc = err_set(err, ERR_CORRUPT, "has a damaged " SET_FILE);
		err_object(err, leader->path);
		snap_close(leader);
		return rc;
	}
	n = json_array_size(paths);
	disks = calloc(n, sizeof(*disks));
	if (!disks) {
		snap_close(leader);
		return err_nomem(err);
	}
	disks[0] = leader;
	s.revert = strcmp(operation, "revert") == 0;
	s.name = name;
	rc = lock_members(disks, paths, id, err);
	if (rc == 0)
		rc = undo_set(disks, n, &s, progress, err);
	snap_set_close(disks, n);
	return rc;
}

/* The announcement of @d leads to @leader_path. Return: 1: it counts, and *@ret is the locked leader; 0, -1 */
static int find_leader(const char *leader_path, const char *id, struct snap_disk **ret,
		       json_t **ret_o, struct err *err)
{
	const char *own;
	int found;

	if (access(leader_path, F_OK) < 0)
		return 0;
	if (lock_disk(ret, leader_path, true, err) < 0)
		return -1;
	found = read_set(*ret, ret_o, &own, err);
	if (found > 0 && strcmp(own, id) != 0) {
		json_decref(*ret_o);
		found = 0;
	}
	if (found <= 0) {
		snap_close(*ret);
		*ret = NULL;
	}
	return found;
}

int set_recover(const char *path, struct progress *progress, enum snap_recovered *ret,
		struct err *err)
{
	struct snap_disk *d, *leader;
	const char *id, *to = NULL;
	json_t *o, *leader_o;
	int rc;

	if (lock_disk(&d, path, true, err) < 0)
		return -1;
	rc = read_set(d, &o, &id, err);
	if (rc <= 0) {
		snap_close(d);
		return rc;
	}
	*ret = SNAP_UNDONE;
	if (json_unpack(o, "{s:s}", "leader", &to) < 0) {
		rc = recover_leader(d, o, progress, err);
	} else {
		/* It locks this one, too */
		snap_close(d);
		rc = find_leader(to, id, &leader, &leader_o, err);
		if (rc > 0) {
			rc = recover_leader(leader, leader_o, progress, err);
			json_decref(leader_o);
		} else if (rc == 0) { /* all was done */
			*ret = SNAP_FINISHED;
			rc = lock_disk(&d, path, true, err);
			if (rc == 0) {
				rc = has_id(d, id) ? set_end(d, err) : 0;
				if (rc == 0)
					rc = recover_disk(d, progress, ret, err);
				snap_close(d);
			}
		}
	}
	json_decref(o);
	return rc;
}
