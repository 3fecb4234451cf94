/* Making a snapshot: each disk read and stored, then the manifest that commits it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/log.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/repo/clone.h"
#include "libcommon/repo/detect.h"
#include "libcommon/repo/disk_scan.h"
#include "libcommon/repo/manifest.h"
#include "libcommon/repo/source.h"
#include "libcommon/repo/store.h"

/* One run. */
struct backup {
	struct repo *repo;
	struct store *st;
	const struct backup_opts *opts;
	struct snapshot *older; /* of the same machine, in order of seq */
	size_t n_older;
	bool trust; /* nothing was ever found damaged here: what the parent holds is there */
	struct snapshot snap;
	struct backup_stats stats;
};

static int check_texts(const struct backup_opts *o, struct err *err)
{
	if (o->description && strlen(o->description) > MANIFEST_TEXT_MAX)
		return err_set(err, ERR_USAGE, "a description has at most %d bytes",
			       MANIFEST_TEXT_MAX);
	if (o->machine && strlen(o->machine) > MANIFEST_MACHINE_MAX)
		return err_set(err, ERR_USAGE, "a machine's description has at most %d bytes",
			       MANIFEST_MACHINE_MAX);
	return 0;
}

int repo_backup_check(const struct backup_opts *o, struct err *err)
{
	if (!repo_name_valid(o->vm))
		return err_set(err, ERR_USAGE,
			       "\"%s\" is not a machine's name: letters, digits, '.', '_', '-'",
			       o->vm);
	if (o->n_disks < 1 || o->n_disks > MANIFEST_DISKS_MAX)
		return err_set(err, ERR_USAGE, "%zu disks; a snapshot has 1 to %d", o->n_disks,
			       MANIFEST_DISKS_MAX);
	if (o->n_tags > MANIFEST_TAGS_MAX)
		return err_set(err, ERR_USAGE, "%zu tags; a snapshot has at most %d", o->n_tags,
			       MANIFEST_TAGS_MAX);
	for (size_t i = 0; i < o->n_tags; i++)
		if (!*o->tags[i] || strlen(o->tags[i]) > 256)
			return err_set(err, ERR_USAGE, "a tag has 1 to 256 bytes");
	if (check_texts(o, err) < 0)
		return -1;
	for (size_t i = 0; i < o->n_disks; i++) {
		if (!repo_name_valid(o->disks[i].name))
			return err_set(
				err, ERR_USAGE,
				"\"%s\" is not a disk's name: letters, digits, '.', '_', '-'",
				o->disks[i].name);
		for (size_t k = 0; k < i; k++)
			if (strcmp(o->disks[i].name, o->disks[k].name) == 0)
				return err_set(err, ERR_USAGE, "two disks are called %s",
					       o->disks[i].name);
	}
	return 0;
}

static int new_id(struct repo_id *ret, struct err *err)
{
	if (getrandom(ret->bytes, sizeof(ret->bytes), 0) != sizeof(ret->bytes))
		return err_sys(err, "no random bytes");
	return 0;
}

static int begin(struct backup *b, struct err *err)
{
	const struct backup_opts *o = b->opts;
	struct snapshot *s = &b->snap;
	time_t now = time(NULL);
	char text[32], host[256] = "localhost";
	struct tm tm;

	(void)gethostname(host, sizeof(host) - 1);
	gmtime_r(&now, &tm);
	(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	s->vm = strdup(o->vm);
	s->host = strdup(o->host ? o->host : host);
	s->time = strdup(text);
	s->tool = strdup("vmkit " VMKIT_VERSION);
	s->disks = calloc(o->n_disks, sizeof(*s->disks));
	s->tags = calloc(o->n_tags ? o->n_tags : 1, sizeof(*s->tags));
	s->description = o->description ? strdup(o->description) : NULL;
	s->machine = o->machine ? strdup(o->machine) : NULL;
	if (!s->vm || !s->host || !s->time || !s->tool || !s->disks || !s->tags ||
	    !s->description != !o->description || !s->machine != !o->machine)
		return err_nomem(err);
	for (; s->n_tags < o->n_tags; s->n_tags++)
		if (!(s->tags[s->n_tags] = strdup(o->tags[s->n_tags])))
			return err_nomem(err);
	if (b->n_older) {
		s->has_parent = true;
		s->parent = b->older[b->n_older - 1].id;
	}
	return new_id(&s->id, err);
}

/* The disk is as the parent saw it: its root is used again, nothing is read. */
static int reuse(struct backup *b, const struct snapshot_disk *parent, struct snapshot_disk *d,
		 struct err *err)
{
	d->root = parent->root;
	d->tree_levels = parent->tree_levels;
	d->data_bytes = parent->data_bytes;
	if (parent->clone.path) {
		d->clone = parent->clone;
		d->clone.path = strdup(parent->clone.path);
		if (!d->clone.path)
			return err_nomem(err);
	}
	progress_add(b->opts->progress, d->size);
	return 0;
}

static int scan(struct backup *b, const struct backup_disk *disk, const struct detect *found,
		struct snapshot_disk *d, struct err *err)
{
	const struct backup_opts *o = b->opts;
	const struct snapshot_disk *parent = found->parent;
	struct tree before;
	struct disk_scan job = {
		.st = b->st,
		.image = disk->image,
		.size = image_is_stream(disk->image) ? IMAGE_SIZE_UNKNOWN : d->size,
		.level = o->compression_level ? o->compression_level
					      : (int)store_compression_level(b->st),
		.threads = o->threads ? o->threads : threads_default(),
		.dry_run = o->dry_run,
		/* What changed is only known against a parent that is whole. */
		.trust_parent = (b->trust || found->changes) && !o->no_parent,
		.changes = found->changes,
		.rate_limit = o->rate_limit,
		.progress = o->progress,
	};

	if (parent) {
		before = (struct tree){parent->root, parent->tree_levels, parent->size};
		job.parent = &before;
		job.parent_data_bytes = parent->data_bytes;
	}
	if (disk_scan_run(&job, err) < 0)
		return -1;
	d->size = job.tree.size;
	d->root = job.tree.root;
	d->tree_levels = job.tree.levels;
	d->data_bytes = job.data_bytes;
	d->new_bytes = job.new_bytes;
	d->stored_bytes = job.stored_bytes;
	b->stats.read_bytes += job.read_bytes;
	b->stats.chunks += job.chunks;
	b->stats.new_chunks += job.new_chunks;
	return 0;
}

/* The files may only be trusted by the next run when nobody changed them while they were read. */
static void keep_files(const struct backup_disk *disk, struct snapshot_disk *d,
		       struct snapshot_file *files, size_t n, bool known)
{
	struct snapshot_file *after;
	size_t n_after;
	bool same;

	if (!known)
		return;
	same = source_files(disk->image, &after, &n_after);
	if (same) {
		same = source_same_files(files, n, after, n_after);
		source_files_free(after, n_after);
	}
	if (!same) {
		log_warning("disk %s: its file changed while it was read", disk->name);
		source_files_free(files, n);
		return;
	}
	d->files = files;
	d->n_files = n;
}

static bool is_whole(void *ctx, const struct snapshot_disk *parent)
{
	const struct backup *b = ctx;
	struct tree tree = {parent->root, parent->tree_levels, parent->size};
	bool whole = b->trust || tree_is_whole(b->st, &tree);

	if (!whole)
		log_info("disk %s: an earlier snapshot is damaged, so it tells of no changes",
			 parent->name);
	return whole;
}

static int describe(const struct backup_disk *disk, struct snapshot_disk *d, struct err *err)
{
	d->size = image_is_stream(disk->image) ? 0 : image_size(disk->image);
	d->name = strdup(disk->name);
	d->format = strdup(image_format_name(disk->image));
	d->source = strdup(disk->source ? disk->source : image_name(disk->image));
	d->source_kind = strdup(source_kind(disk->image));
	d->consistency =
		strdup(disk->consistency ? disk->consistency : source_consistency(disk->image));
	d->checkpoint = disk->checkpoint ? strdup(disk->checkpoint) : NULL;
	if (!d->checkpoint != !disk->checkpoint)
		return err_nomem(err);
	if (!d->name || !d->format || !d->source || !d->source_kind || !d->consistency)
		return err_nomem(err);
	if (d->size > TREE_DISK_MAX)
		return err_set(err, ERR_UNSUPPORTED,
			       "%" PRIu64 " bytes are more than a disk can have (64 PiB)", d->size);
	return 0;
}

/* Before the disk is read: its lock holds, so the clone is what will be read. */
static void keep_clone(struct backup *b, const struct backup_disk *disk, struct snapshot_disk *d)
{
	struct err why = ERR_INIT;

	if (!b->opts->keep_clones || b->opts->dry_run)
		return;
	if (clone_keep(disk->image, store_uuid(b->st), &b->snap.id, &d->clone, &why) < 0)
		log_info("disk %s: no clone is kept: %s", disk->name, why.message);
}

static int read_disk(struct backup *b, const struct backup_disk *disk, struct snapshot_disk *d,
		     const struct detect *found, struct err *err)
{
	bool unchanged = !found->changes && strcmp(found->how, "scan") != 0;

	log_info("disk %s: %s", d->name, found->how);
	d->change_source = strdup(found->how);
	if (!d->change_source)
		return err_nomem(err);
	if (unchanged)
		return reuse(b, found->parent, d, err);
	if (!found->changes && b->opts->no_full) {
		err_set(err, ERR_BASE_GONE,
			"nothing tells what changed, and a full scan is forbidden");
		return err_hint(err, "leave out --no-full once");
	}
	keep_clone(b, disk, d);
	return scan(b, disk, found, d, err);
}

static int backup_disk(struct backup *b, const struct backup_disk *disk, struct snapshot_disk *d,
		       struct err *err)
{
	struct snapshot_file *files = NULL;
	size_t n_files = 0;
	bool known = source_files(disk->image, &files, &n_files);
	struct detect found = {
		.image = disk->image,
		.disk = disk,
		.name = disk->name,
		.older = b->older,
		.n_older = b->opts->no_parent ? 0 : b->n_older,
		.files = files,
		.n_files = n_files,
		.is_whole = is_whole,
		.ctx = b,
	};
	int rc = describe(disk, d, err);

	found.size = d->size;
	if (rc == 0)
		rc = detect_changes(&found, err);
	if (rc == 0)
		rc = read_disk(b, disk, d, &found, err);
	changes_free(found.own);
	if (rc < 0)
		source_files_free(files, n_files);
	else
		keep_files(disk, d, files, n_files, known);
	return rc;
}

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void begin_progress(const struct backup_opts *o)
{
	uint64_t total = 0;

	for (size_t i = 0; i < o->n_disks; i++) {
		if (image_is_stream(o->disks[i].image)) {
			total = 0; /* unknown */
			break;
		}
		total += image_size(o->disks[i].image);
	}
	progress_begin(o->progress, "backup", total);
}

static int run(struct backup *b, struct err *err)
{
	const struct backup_opts *o = b->opts;
	double start = seconds_now();
	size_t damaged;

	if (repo_backup_check(o, err) < 0 ||
	    repo_list(b->repo, o->vm, &b->older, &b->n_older, &damaged, err) < 0 ||
	    begin(b, err) < 0)
		return -1;
	/* Once something was found damaged or missing, what the parent holds is looked up again, so that the backup of
	 * the same data heals the repository. */
	if (store_is_sound(b->st, &b->trust, err) < 0)
		return -1;
	begin_progress(o);
	for (size_t i = 0; i < o->n_disks; i++) {
		struct snapshot_disk *d = &b->snap.disks[b->snap.n_disks++];

		if (backup_disk(b, &o->disks[i], d, err) < 0)
			return err_prefix(err, "disk %s", o->disks[i].name);
		b->stats.virtual_bytes += d->size;
		b->stats.data_bytes += d->data_bytes;
		b->stats.new_bytes += d->new_bytes;
		b->stats.stored_bytes += d->stored_bytes;
	}
	b->snap.freeze_ms = o->freeze_ms;
	if (o->confirm && o->confirm(o->confirm_ctx, err) < 0)
		return -1;
	b->stats.seconds = b->snap.seconds = seconds_now() - start;
	return o->dry_run ? 0 : manifest_commit(b->st, &b->snap, err);
}

/* Clones that no backup will ask for again: of earlier snapshots, or, when this one failed, its own. */
static void tidy_clones(const struct backup *b, bool done)
{
	for (size_t i = 0; i < b->snap.n_disks && !b->opts->dry_run; i++) {
		const struct snapshot_file *clone = &b->snap.disks[i].clone;

		if (done && clone->path)
			clone_remove_others(b->opts->disks[i].image, store_uuid(b->st), clone);
		else if (!done && clone->path && b->snap.disks[i].change_source &&
			 strcmp(b->snap.disks[i].change_source, "unchanged file") != 0)
			(void)unlink(clone->path);
	}
}

int repo_backup(struct repo *repo, const struct backup_opts *opts, struct backup_stats *ret,
		struct err *err)
{
	struct backup b = {.repo = repo, .st = repo_store(repo), .opts = opts};
	int rc = run(&b, err);

	tidy_clones(&b, rc == 0);
	if (rc == 0) {
		char id[9];

		b.stats.snapshot = b.snap.id;
		(void)snprintf(b.stats.name, sizeof(b.stats.name), "%s@%s", b.snap.vm,
			       snapshot_short_id(&b.snap.id, id));
		*ret = b.stats;
	}
	manifest_clear(&b.snap);
	snapshots_free(b.older, b.n_older);
	return rc;
}
