/* Snapshots into another repository: which ones, in which order, and the manifests that commit them there.
 *
 * A copy keeps the snapshot's id: that is how a later run knows that it is there. It gets the other repository's next
 * sequence number.
 */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/clock.h"
#include "libcommon/base/log.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/base/stop.h"
#include "libcommon/repo/copy_disk.h"
#include "libcommon/repo/manifest.h"

struct copy {
	struct repo *from, *to;
	const struct repo_copy_opts *opts;
	struct repo_copy_result *res;
	struct snapshot *ours, *theirs; /* in order of seq */
	size_t n_ours, n_theirs;
	bool *wanted;		   /* of ours */
	struct manifest_ids known; /* of theirs */
	struct leaf_map map;	   /* what the other repository is known to have */
	bool trust;		   /* nothing was ever found damaged there */
	struct snapshot **made; /* by index of ours: the newest copy of each machine in this run */
};

static bool same_id(const struct repo_id *a, const struct repo_id *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static const struct snapshot *find_theirs(const struct copy *c, const struct repo_id *id)
{
	for (size_t i = 0; i < c->n_theirs; i++)
		if (same_id(&c->theirs[i].id, id))
			return &c->theirs[i];
	return NULL;
}

/* Those that are named; else all, or all of one machine. */
static int choose(struct copy *c, struct err *err)
{
	size_t n = 0;

	for (size_t i = 0; i < c->opts->n_specs; i++) {
		struct snapshot *s;

		if (repo_find(c->from, c->opts->specs[i], &s, err) < 0)
			return -1;
		for (size_t k = 0; k < c->n_ours; k++)
			c->wanted[k] |= same_id(&c->ours[k].id, &s->id);
		snapshots_free(s, 1);
	}
	for (size_t i = 0; i < c->n_ours; i++) {
		if (!c->opts->n_specs)
			c->wanted[i] = !c->opts->vm || !strcmp(c->opts->vm, c->ours[i].vm);
		n += c->wanted[i];
	}
	if (n || !c->opts->vm)
		return 0;
	err_set(err, ERR_NOT_FOUND, "there is no snapshot of this machine");
	return err_object(err, c->opts->vm);
}

static struct tree disk_tree(const struct snapshot_disk *d)
{
	return (struct tree){d->root, d->tree_levels, d->size};
}

/* What a snapshot and its copy share. That it cannot be had is no error: more is read, then. */
static void learn(struct copy *c, const struct snapshot *ours, const struct snapshot *theirs)
{
	for (size_t i = 0; c->trust && i < ours->n_disks && i < theirs->n_disks; i++) {
		struct tree a = disk_tree(&ours->disks[i]), b = disk_tree(&theirs->disks[i]);
		struct err why = ERR_INIT;

		if (a.size == b.size && leaf_map_learn(&c->map, repo_store(c->from), &a,
						       repo_store(c->to), &b, &why) < 0)
			log_info("snapshot %s: all of it is read: %s", ours->vm, why.message);
	}
}

/* The newest earlier snapshot of the machine that was copied before this run: most of what follows is in it. */
static void learn_older(struct copy *c, size_t i)
{
	for (size_t k = i; k-- > 0;) {
		const struct snapshot *theirs;

		if (strcmp(c->ours[k].vm, c->ours[i].vm) != 0)
			continue;
		theirs = find_theirs(c, &c->ours[k].id);
		if (theirs)
			learn(c, &c->ours[k], theirs);
		return;
	}
}

/* The copy of the machine's snapshot before this one: what changed since is stored as deltas on it. */
static const struct snapshot *parent_of(const struct copy *c, size_t i)
{
	for (size_t k = i; k-- > 0;) {
		const struct snapshot *theirs = NULL;

		if (strcmp(c->ours[k].vm, c->ours[i].vm) == 0)
			theirs = c->made[k] ? c->made[k] : find_theirs(c, &c->ours[k].id);
		if (theirs)
			return theirs;
	}
	return NULL;
}

static const struct snapshot_disk *disk_of(const struct snapshot *s, const char *name)
{
	for (size_t i = 0; s && i < s->n_disks; i++)
		if (strcmp(s->disks[i].name, name) == 0)
			return &s->disks[i];
	return NULL;
}

/* @there is kept, instead of an older one of the machine. */
static int keep_made(struct copy *c, size_t i, const struct snapshot *there, struct err *err)
{
	struct snapshot *s = calloc(1, sizeof(*s));

	if (!s)
		return err_nomem(err);
	if (manifest_copy(there, s, err) < 0) {
		free(s);
		return -1;
	}
	for (size_t k = 0; k < i; k++)
		if (c->made[k] && strcmp(c->made[k]->vm, there->vm) == 0) {
			snapshots_free(c->made[k], 1);
			c->made[k] = NULL;
		}
	c->made[i] = s;
	return 0;
}

static int copy_disk(struct copy *c, size_t i, struct snapshot_disk *d, struct copied *done,
		     struct err *err)
{
	const struct snapshot *s = &c->ours[i];
	const struct snapshot_disk *before = disk_of(parent_of(c, i), d->name);
	const struct tree parent = before ? disk_tree(before) : (struct tree){0};
	struct disk_copy job = {
		.from = repo_store(c->from),
		.to = repo_store(c->to),
		.ours = disk_tree(d),
		.map = &c->map,
		.parent = before && c->trust && parent.size ? &parent : NULL,
		.trust_parent = true,
		.level = c->opts->level,
		.threads = c->opts->threads ? c->opts->threads : threads_default(),
		.rate_limit = c->opts->rate_limit,
		.progress = c->opts->progress,
	};
	int rc;

	if (repo_open_disk(c->from, s, d->name, &job.image, err) < 0)
		return err_prefix(err, "disk %s", d->name);
	rc = disk_copy_run(&job, err);
	image_close(job.image);
	if (rc < 0)
		return err_prefix(err, "disk %s", d->name);
	d->root = job.theirs.root;
	d->tree_levels = job.theirs.levels;
	d->new_bytes = job.new_bytes;
	d->stored_bytes = job.stored_bytes;
	done->read_bytes += job.read_bytes;
	done->new_bytes += job.new_bytes;
	done->stored_bytes += job.stored_bytes;
	return 0;
}

static int copy_snapshot(struct copy *c, size_t i, struct copied *done, struct err *err)
{
	const struct snapshot *s = &c->ours[i];
	struct snapshot there;
	bool came = false;
	int rc = manifest_copy(s, &there, err);

	if (rc < 0)
		return -1;
	for (size_t k = 0; k < there.n_disks && rc == 0; k++)
		rc = copy_disk(c, i, &there.disks[k], done, err);
	if (rc == 0)
		rc = manifest_commit_once(repo_store(c->to), &there, &c->known, &came, err);
	if (came)
		done->status = COPY_PRESENT; /* by another copy, meanwhile */
	if (rc == 0 && !came) {
		learn(c, s, &there);
		rc = keep_made(c, i, &there, err);
	}
	manifest_clear(&there);
	return rc;
}

/* "latest" goes by the order in which a repository got its snapshots. */
static void warn_of_order(const struct copy *c, const struct snapshot *s)
{
	int64_t t, other;

	for (size_t i = c->n_theirs; i-- > 0;) {
		if (strcmp(c->theirs[i].vm, s->vm) != 0 ||
		    manifest_time(c->theirs[i].time, &other) < 0)
			continue;
		if (manifest_time(s->time, &t) == 0 && t < other)
			log_warning("%s@latest there is now the snapshot of %s, though one of %s "
				    "is there too",
				    s->vm, s->time, c->theirs[i].time);
		return;
	}
}

static void report(struct copy *c, const struct copied *done)
{
	c->res->copied += done->status == COPY_DONE;
	c->res->present += done->status == COPY_PRESENT;
	c->res->failed += done->status == COPY_FAILED;
	c->res->read_bytes += done->read_bytes;
	c->res->new_bytes += done->new_bytes;
	c->res->stored_bytes += done->stored_bytes;
	if (c->opts->report)
		c->opts->report(c->opts->ctx, done);
}

/* Damage costs one snapshot; anything else ends the run. */
static int one(struct copy *c, size_t i, struct err *err)
{
	const struct snapshot *s = &c->ours[i];
	struct copied done = {.snapshot = s, .status = COPY_DONE};
	struct err why = ERR_INIT;

	if (stop_check(err) < 0)
		return -1;
	if (find_theirs(c, &s->id)) {
		done.status = COPY_PRESENT;
	} else if (!c->opts->dry_run) {
		learn_older(c, i);
		if (copy_snapshot(c, i, &done, &why) == 0) {
			warn_of_order(c, s);
		} else if (why.code == ERR_CORRUPT || why.code == ERR_NOT_FOUND) {
			done = (struct copied){.snapshot = s, .status = COPY_FAILED, .why = &why};
		} else {
			*err = why;
			return -1;
		}
	}
	report(c, &done);
	return 0;
}

static int run(struct copy *c, struct err *err)
{
	size_t damaged = 0;
	uint64_t total = 0;

	if (repo_list(c->from, NULL, &c->ours, &c->n_ours, &damaged, err) < 0 ||
	    repo_list(c->to, NULL, &c->theirs, &c->n_theirs, NULL, err) < 0 ||
	    store_is_sound(repo_store(c->to), &c->trust, err) < 0)
		return -1;
	c->wanted = calloc(c->n_ours + 1, sizeof(*c->wanted));
	c->made = calloc(c->n_ours + 1, sizeof(*c->made));
	if (!c->wanted || !c->made)
		return err_nomem(err);
	if (choose(c, err) < 0)
		return -1;
	if (!c->opts->n_specs)
		c->res->failed += damaged; /* whose they are cannot be told */
	for (size_t i = 0; i < c->n_ours; i++)
		for (size_t k = 0; c->wanted[i] && k < c->ours[i].n_disks; k++)
			if (!find_theirs(c, &c->ours[i].id))
				total += c->ours[i].disks[k].size;
	progress_begin(c->opts->progress, "copy", total);
	for (size_t i = 0; i < c->n_ours; i++)
		if (c->wanted[i] && one(c, i, err) < 0)
			return -1;
	return 0;
}

int repo_copy(struct repo *from, struct repo *to, const struct repo_copy_opts *opts,
	      struct repo_copy_result *ret, struct err *err)
{
	struct copy c = {.from = from, .to = to, .opts = opts, .res = ret};
	struct err why = ERR_INIT;
	int rc;

	memset(ret, 0, sizeof(*ret));
	rc = run(&c, err ? err : &why);
	for (size_t i = 0; c.made && i < c.n_ours; i++)
		if (c.made[i])
			snapshots_free(c.made[i], 1);
	free(c.made);
	snapshots_free(c.ours, c.n_ours);
	snapshots_free(c.theirs, c.n_theirs);
	free(c.wanted);
	id_set_clear(&c.known.ids);
	leaf_map_free(&c.map);
	return rc;
}
