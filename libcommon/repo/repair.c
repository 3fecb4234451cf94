/* Repairing a repository: packs by their parity, then what is lost for good from another repository that has the same
 * snapshots.
 *
 * A disk of which something is lost is read from the other one and stored as a backup would store it: all that is there
 * still is found and not written again, and the tree that comes out must be the one that the manifest names.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/log.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/base/stop.h"
#include "libcommon/repo/copy_disk.h"
#include "libcommon/repo/manifest.h"
#include "libcommon/repo/names.h"

struct repair {
	struct repo *repo;
	const struct repair_opts *opts;
	struct repair_result *res;
	struct snapshot *ours, *theirs;
	size_t n_ours, n_theirs;
	char **sentences; /* of the last verification */
	size_t n_sentences;
	bool no_memory;
};

static void keep_sentence(void *ctx, const char *sentence)
{
	struct repair *r = ctx;
	char **more = reallocarray(r->sentences, r->n_sentences + 1, sizeof(*more));

	if (more)
		r->sentences = more;
	if (!more || !(more[r->n_sentences] = strdup(sentence)))
		r->no_memory = true;
	else
		r->n_sentences++;
}

static void on_healed(void *ctx, const char *sentence)
{
	struct repair *r = ctx;

	if (r->opts->healed)
		r->opts->healed(r->opts->ctx, sentence);
}

static int look(struct repair *r, bool heal, struct err *err)
{
	const struct verify_opts opts = {
		.heal = heal,
		.threads = r->opts->threads,
		.progress = r->opts->progress,
		.report = keep_sentence,
		.healed = on_healed,
		.ctx = r,
	};
	struct verify_result v;

	names_free(r->sentences, r->n_sentences);
	r->sentences = NULL;
	r->n_sentences = 0;
	if (repo_verify(r->repo, &opts, &v, err) < 0)
		return -1;
	r->res->healed += v.healed;
	r->res->faults = v.faults;
	r->res->damaged_snapshots = v.damaged_snapshots;
	return r->no_memory ? err_nomem(err) : 0;
}

/* The same disk of the same snapshot in the other repository, or NULL */
static const struct snapshot *find_theirs(const struct repair *r, const struct snapshot *s,
					  const struct snapshot_disk *d,
					  const struct snapshot_disk **ret)
{
	for (size_t i = 0; i < r->n_theirs; i++) {
		const struct snapshot *t = &r->theirs[i];

		if (memcmp(&t->id, &s->id, sizeof(s->id)) != 0)
			continue;
		for (size_t k = 0; k < t->n_disks; k++)
			if (!strcmp(t->disks[k].name, d->name) && t->disks[k].size == d->size) {
				*ret = &t->disks[k];
				return t;
			}
	}
	return NULL;
}

/* The machine's disk before this one, on which the backup then made its deltas. */
static const struct snapshot_disk *find_older(const struct repair *r, const struct snapshot *s,
					      const struct snapshot_disk *d)
{
	for (size_t i = (size_t)(s - r->ours); i-- > 0;) {
		const struct snapshot *o = &r->ours[i];

		for (size_t k = 0; !strcmp(o->vm, s->vm) && k < o->n_disks; k++)
			if (!strcmp(o->disks[k].name, d->name))
				return o->disks[k].size ? &o->disks[k] : NULL;
	}
	return NULL;
}

static int fetch_disk(struct repair *r, const struct snapshot *s, const struct snapshot_disk *d,
		      struct err *err)
{
	const struct snapshot_disk *their_disk;
	const struct snapshot *theirs = find_theirs(r, s, d, &their_disk);
	const struct snapshot_disk *older = find_older(r, s, d);
	const struct tree lost = {d->root, d->tree_levels, d->size};
	struct tree parent = {0};
	struct leaf_map none = {0};
	struct disk_copy job = {
		.from = repo_store(r->opts->from),
		.to = repo_store(r->repo),
		.map = &none,
		.like = &lost,
		.threads = r->opts->threads ? r->opts->threads : threads_default(),
		.progress = r->opts->progress,
	};
	char id[9];
	int rc;

	snapshot_short_id(&s->id, id);
	if (!theirs) {
		log_warning("%s@%s disk %s: the other repository does not have it", s->vm, id,
			    d->name);
		return 0;
	}
	if (older) {
		parent = (struct tree){older->root, older->tree_levels, older->size};
		job.parent = &parent;
	}
	job.ours = (struct tree){their_disk->root, their_disk->tree_levels, their_disk->size};
	if (repo_open_disk(r->opts->from, theirs, their_disk->name, &job.image, err) < 0)
		return -1;
	rc = disk_copy_run(&job, err);
	image_close(job.image);
	if (rc < 0)
		return -1;
	r->res->fetched_bytes += job.new_bytes;
	if (memcmp(&job.theirs.root, &d->root, sizeof(d->root)) != 0)
		log_warning("%s@%s disk %s: what the other repository has is not the same disk",
			    s->vm, id, d->name);
	return 0;
}

/* Damage in the other repository costs this disk; anything else ends the repair. */
static int fetch_all(struct repair *r, struct err *err)
{
	for (size_t i = 0; i < r->n_ours; i++)
		for (size_t k = 0; k < r->ours[i].n_disks; k++) {
			const struct snapshot_disk *d = &r->ours[i].disks[k];
			const struct tree tree = {d->root, d->tree_levels, d->size};
			struct err why = ERR_INIT;

			if (stop_check(err) < 0)
				return -1;
			if (tree_is_whole(repo_store(r->repo), &tree) ||
			    fetch_disk(r, &r->ours[i], d, &why) == 0)
				continue;
			if (why.code != ERR_CORRUPT && why.code != ERR_NOT_FOUND) {
				*err = why;
				return -1;
			}
			log_warning("%s disk %s: the other repository: %s", r->ours[i].vm, d->name,
				    why.message);
		}
	return 0;
}

static int run(struct repair *r, struct err *err)
{
	if (look(r, true, err) < 0)
		return -1;
	if (r->res->damaged_snapshots && r->opts->from) {
		if (repo_list(r->repo, NULL, &r->ours, &r->n_ours, NULL, err) < 0 ||
		    repo_list(r->opts->from, NULL, &r->theirs, &r->n_theirs, NULL, err) < 0 ||
		    fetch_all(r, err) < 0 || look(r, false, err) < 0)
			return -1;
	}
	for (size_t i = 0; i < r->n_sentences && r->opts->report; i++)
		r->opts->report(r->opts->ctx, r->sentences[i]);
	return 0;
}

int repo_repair(struct repo *repo, const struct repair_opts *opts, struct repair_result *ret,
		struct err *err)
{
	struct repair r = {.repo = repo, .opts = opts, .res = ret};
	struct err why = ERR_INIT;
	int rc;

	memset(ret, 0, sizeof(*ret));
	rc = run(&r, err ? err : &why);
	snapshots_free(r.ours, r.n_ours);
	snapshots_free(r.theirs, r.n_theirs);
	names_free(r.sentences, r.n_sentences);
	return rc;
}
