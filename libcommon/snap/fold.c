/* Deletions and merges of external snapshots.
 *
 *	merge	journal, each that leans on the snapshot's file takes in what it shows from there and is put on the file
 *		below, record and file gone, end. Every image shows the same at any moment; while one still leans on the file,
 *		recover leaves the snapshot as it is, else it finishes.
 *	commit	journal, record gone, the snapshot's file takes in what the only one that leans on it holds (which shows the same
 *		all the while), rename over that one, end. Recover goes on with it.
 *
 * What is written is flushed before a name or a header leads to it. All that forbids it is found before the journal is written.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/size.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/copy/chain.h"
#include "libcommon/image/protocol.h"
#include "libcommon/snap/private.h"

/* ---- what moves, and whether it may */

struct weight {
	uint64_t own;	/* bytes that the upper file holds */
	uint64_t below; /* that it shows from the one below */
};

static int weigh(const char *path, struct weight *ret, struct err *err)
{
	struct image *img;
	struct extent e;
	int rc = 0;

	*ret = (struct weight){0};
	if (image_open(&img, path, NULL, err) < 0)
		return -1;
	for (uint64_t pos = 0, size = image_size(img); rc == 0 && pos < size; pos += e.len) {
		rc = stop_check(err) < 0 ? -1 : image_extent(img, pos, size - pos, &e, err);
		if (rc == 0 && e.kind == EXTENT_DATA && e.depth == 0)
			ret->own += e.len;
		else if (rc == 0 && e.kind == EXTENT_DATA && e.depth == 1)
			ret->below += e.len;
	}
	image_close(img);
	return rc;
}

/* Data, and tables of at most a 64th of it */
int check_space(const char *path, uint64_t bytes, struct err *err)
{
	uint64_t need = bytes + bytes / 64 + (bytes ? 1 << 20 : 0), have;
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];
	struct statvfs fs;

	if (statvfs(path, &fs) < 0)
		return err_sys(err, "cannot ask for free space");
	have = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (need <= have)
		return 0;
	return err_set(err, ERR_NO_SPACE, "%s may be needed, and the file system has %s free",
		       size_format(need, a), size_format(have, b));
}

int check_space_for(const struct layer *child, struct err *err)
{
	struct weight w;

	if (weigh(child->path, &w, err) < 0)
		return err_object(err, child->path);
	return check_space(child->path, w.below, err);
}

/* Nobody else reads it, or has an overlay of it that runs */
int ask_lock(const char *path, struct err *err)
{
	struct bfile *file;

	if (bfile_open(&file, path, BFILE_RDWR | BFILE_LOCK_WRITE, err) < 0)
		return err_object(err, path);
	bfile_close(file);
	return 0;
}

static int remove_snapshot(struct snap_disk *d, const char *name, const char *path, struct err *err)
{
	return record_remove(d, name, err) < 0 ? -1 : unlink_file(path, err);
}

int put_up(const struct layer *child, const struct layer *l, struct progress *progress,
	   struct err *err)
{
	const struct chain_opts opts = {.format = "qcow2", .progress = progress};
	struct chain_stats stats;

	return image_rebase(child->path, l->backing ? l->backing : "",
			    l->backing ? l->backing_format : NULL, &opts, &stats, err);
}

static int merge_up(struct snap_disk *d, const struct tree *t, const struct layer *l,
		    struct progress *progress, struct err *err)
{
	struct journal j = {.op = OP_MERGE, .inode = l->ino};
	const struct layer *c = NULL;
	int rc;

	(void)snprintf(j.name, sizeof(j.name), "%s", l->name);
	(void)snprintf(j.file, sizeof(j.file), "%s", last_part(l->path));
	rc = journal_write(d, &j, err);
	if (rc < 0)
		return -1;
	while (rc == 0 && (c = tree_next_child(t, l, c)))
		rc = put_up(c, l, progress, err);
	if (rc == 0)
		rc = remove_snapshot(d, j.name, l->path, err);
	else if (err && (err->code == ERR_CANCELLED || err->code == ERR_BUSY))
		(void)journal_end(d, NULL); /* all show what they showed, and nothing is in doubt */
	else
		err_hint(err, "vmsnap recover puts it right");
	return rc == 0 ? journal_end(d, err) : -1;
}

/* A journal may be older than what somebody did to the files since */
static int expect_below(const char *child, const char *path, struct err *err)
{
	struct layer l = {0}, below = {0};
	struct stat st;
	bool same;

	if (stat(path, &st) == 0) {
		below.dev = st.st_dev;
		below.ino = st.st_ino;
	}
	if (layer_read(&l, child, err) < 0)
		return -1;
	same = leans_on(&l, &below);
	layer_release(&l);
	if (same)
		return 0;
	err_set(err, ERR_CORRUPT, "does not lean on %s any more", path);
	return err_object(err, child);
}

/* From the journal and the missing record on; also what recover goes on with */
static int commit_into(const char *path, const char *child, struct progress *progress,
		       struct err *err)
{
	const struct chain_opts opts = {.format = "qcow2", .progress = progress, .keep = true};
	struct chain_stats stats;
	struct stat st;

	if (stat(child, &st) < 0)
		return err_sys(err, "cannot look at %s", child);
	if (expect_below(child, path, err) < 0)
		return -1;
	if (image_commit(child, &opts, &stats, err) < 0 || dress(path, &st, err) < 0)
		return -1;
	if (rename(path, child) < 0)
		return err_sys(err, "cannot replace %s", child);
	return io_fsync_parent(child, err);
}

static int commit_down(struct snap_disk *d, const struct layer *l, const struct layer *child,
		       struct progress *progress, struct err *err)
{
	struct journal j = {.op = OP_COMMIT, .inode = l->ino};
	int rc;

	(void)snprintf(j.name, sizeof(j.name), "%s", l->name);
	(void)snprintf(j.file, sizeof(j.file), "%s", last_part(l->path));
	(void)snprintf(j.child, sizeof(j.child), "%s", child->name ? child->name : "");
	rc = journal_write(d, &j, err);
	if (rc == 0)
		rc = record_remove(d, j.name, err);
	if (rc == 0)
		rc = commit_into(l->path, child->path, progress, err);
	if (rc < 0)
		return err_hint(err, "vmsnap recover goes on with it");
	return journal_end(d, err);
}

int fold_offline(const char *path, const char *child, struct progress *progress, struct err *err)
{
	struct layer upper, lower;
	int rc;

	if (layer_read(&upper, child, err) < 0)
		return -1;
	rc = refuse_inside(&upper, err);
	layer_release(&upper);
	if (rc == 0)
		rc = layer_read(&lower, path, err);
	if (rc < 0)
		return -1;
	rc = refuse_inside(&lower, err);
	layer_release(&lower);
	return rc < 0 || mend(path, err) < 0 ? -1 : commit_into(path, child, progress, err);
}

/* @ret_down: the snapshot's file takes in what its child holds */
static int choose(const struct tree *t, const struct layer *l, bool *ret_down, struct err *err)
{
	const struct layer *first = tree_next_child(t, l, NULL);
	uint64_t up = 0, down = 0;
	struct weight w;

	if (refuse_inside(l, err) < 0)
		return -1;
	for (const struct layer *c = first; c; c = tree_next_child(t, l, c)) {
		if (refuse_inside(c, err) < 0 || ask_lock(c->path, err) < 0 ||
		    weigh(c->path, &w, err) < 0)
			return err_object(err, c->path);
		up += w.below;
		down += w.own;
	}
	*ret_down = first && !tree_next_child(t, l, first) && down < up && first->size >= l->size;
	return check_space(l->path, *ret_down ? down : up, err);
}

int external_delete(struct snap_disk *d, const char *name, struct progress *progress,
		    struct err *err)
{
	const struct layer *l;
	bool down = false;
	struct tree t;
	int rc;

	if (tree_load(d, &t, err) < 0)
		return -1;
	rc = tree_find(d, &t, name, &l, err);
	if (rc == 0 && (refuse_unclear(&t, err) < 0 || refuse_foreign(d, &t, l, err) < 0 ||
			ask_lock(l->path, err) < 0 || choose(&t, l, &down, err) < 0))
		rc = -1;
	if (rc == 0)
		rc = down ? commit_down(d, l, tree_next_child(&t, l, NULL), progress, err)
			  : merge_up(d, &t, l, progress, err);
	tree_free(&t);
	return rc;
}

/* ---- recover */

/* Return: 1 when an image of the tree leans on the file @path, 0, -1 */
static int has_children(const struct tree *t, const char *path, struct err *err)
{
	struct layer l = {0};
	struct stat st;

	if (stat(path, &st) < 0) {
		if (errno == ENOENT)
			return 0;
		err_sys(err, "cannot look at it");
		return err_object(err, path);
	}
	l.dev = st.st_dev;
	l.ino = st.st_ino;
	return tree_next_child(t, &l, NULL) != NULL;
}

static bool has_record(const struct tree *t, const char *name)
{
	for (size_t i = 0; i < t->n_list; i++)
		if (strcmp(t->list[i].name, name) == 0)
			return true;
	return false;
}

int recover_merge(struct snap_disk *d, const struct journal *j, enum snap_recovered *ret,
		  struct err *err)
{
	CLEANUP_FREE char *path = beside(d, j->file);
	int rc = 0, needed;
	struct tree t;

	if (!path)
		return err_nomem(err);
	if (tree_load(d, &t, err) < 0)
		return -1;
	for (size_t i = 0; rc == 0 && i < t.n; i++)
		if (!t.layers[i].missing)
			rc = mend(t.layers[i].path, err);
	needed = rc < 0 ? -1 : has_children(&t, path, err);
	*ret = SNAP_FINISHED;
	/* When it is not sure that nothing leans on the file, it stays, and is a snapshot as before */
	if (rc < 0 || needed < 0)
		rc = -1;
	else if (has_record(&t, j->name) && (needed || tree_unclear(&t)))
		*ret = SNAP_UNDONE;
	else if (needed) {
		err_set(err, ERR_CORRUPT, "is needed still, but the record of snapshot %s is gone",
			j->name);
		rc = err_object(err, path);
	} else {
		rc = refuse_unclear(&t, err);
		if (rc == 0)
			rc = remove_snapshot(d, j->name, path, err);
	}
	tree_free(&t);
	return rc;
}

/* The file of the snapshot or disk that the journal calls @name; owned */
static char *child_path(struct snap_disk *d, const char *name, struct err *err)
{
	struct snap_entry e;
	char *path;

	if (*name && record_read(d, name, &e, err) < 0)
		return NULL;
	path = strdup(*name ? e.file : d->path);
	if (*name)
		entry_release(&e);
	if (!path)
		err_nomem(err);
	return path;
}

int recover_commit(struct snap_disk *d, const struct journal *j, struct progress *progress,
		   enum snap_recovered *ret, struct err *err)
{
	CLEANUP_FREE char *path = NULL;
	CLEANUP_FREE char *child = child_path(d, j->child, err);
	struct stat st;
	int there;

	if (!child)
		return -1;
	*ret = SNAP_FINISHED;
	there = look_beside(d, j->file, &path, &st, err);
	if (there < 0 || record_remove(d, j->name, err) < 0)
		return -1;
	if (!there) /* renamed over the child */
		return io_fsync_parent(child, err);
	return mend(path, err) < 0 ? -1 : commit_into(path, child, progress, err);
}

/* ---- merge */

int snap_between(struct snap_disk *d, const char *from, const char *to, char ***ret, size_t *ret_n,
		 struct err *err)
{
	const struct layer *l, *up;
	struct tree t;
	bool found = !from;
	int rc;

	*ret_n = 0;
	if (tree_load(d, &t, err) < 0)
		return -1;
	*ret = calloc(t.n + 1, sizeof(**ret));
	rc = *ret ? tree_find(d, &t, to, &l, err) : err_nomem(err);
	if (rc == 0 && from)
		rc = tree_find(d, &t, from, &up, err);
	up = rc == 0 ? tree_parent(&t, l) : NULL;
	for (; up && up->name && *ret_n < t.n; up = tree_parent(&t, up)) {
		/* The lowest goes first: what is written once is not written again */
		memmove(*ret + 1, *ret, *ret_n * sizeof(**ret));
		(*ret)[0] = strdup(up->name);
		++*ret_n;
		if (!(*ret)[0])
			rc = err_nomem(err);
		found = found || strcmp(up->name, from) == 0;
		if (rc < 0 || (from && found))
			break;
	}
	if (rc == 0 && !found) {
		rc = err_set(err, ERR_NOT_FOUND, "%s does not lean on snapshot %s",
			     to ? to : "the present state", from);
		err_object(err, d->path);
	}
	tree_free(&t);
	if (rc < 0) {
		for (size_t i = 0; *ret && i < *ret_n; i++)
			free((*ret)[i]);
		free(*ret);
	}
	return rc;
}
