/* Snapshots as backing files: the disk's file is put aside, the disk becomes an overlay of it.
 *
 *	swap	journal, a second name for the disk's file and its record (unless the present is given up), the new
 *		overlay under a temporary name, rename over the disk, end. The disk's inode decides: the old one means undo.
 *		create and revert are this.
 *	merge	journal, each that leans on the snapshot's file takes in what it shows from there and is put on the file
 *		below, record and file gone, end. Every image shows the same at any moment; while one still leans on the file,
 *		recover leaves the snapshot as it is, else it finishes.
 *	commit	journal, record gone, the snapshot's file takes in what the only one that leans on it holds (which shows the same
 *		all the while), rename over that one, end. Recover goes on with it.
 *
 * What is written is flushed before a name or a header leads to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/size.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/copy/chain.h"
#include "libcommon/image/copy/engine.h"
#include "libcommon/image/protocol.h"
#include "libcommon/snap/private.h"

/* "disk.a.qcow2" of snapshot a of disk.qcow2 */
static int file_of(const struct snap_disk *d, const char *name, char ret[NAME_MAX + 1],
		   struct err *err)
{
	const char *base = last_part(d->home), *dot = strrchr(base, '.');
	size_t stem = strlen(base);
	int n;

	if (dot && dot != base && strlen(dot) <= 16)
		stem = (size_t)(dot - base);
	else
		dot = ".qcow2";
	n = snprintf(ret, NAME_MAX + 1, "%.*s.%s%s", (int)stem, base, name, dot);
	return n < 0 || n > NAME_MAX ? err_set(err, ERR_USAGE,
					       "the name of the snapshot's file would be too long")
				     : 0;
}

char *external_new_file(const struct snap_disk *d)
{
	CLEANUP_FREE char *name = NULL;

	if (asprintf(&name, ".%s.vmsnap", last_part(d->path)) < 0)
		name = NULL; /* undefined then */
	return name ? beside(d, name) : NULL;
}

static int look_beside(const struct snap_disk *d, const char *name, char **ret_path,
		       struct stat *st, struct err *err)
{
	*ret_path = beside(d, name);
	if (!*ret_path)
		return err_nomem(err);
	if (stat(*ret_path, st) == 0)
		return 1;
	if (errno == ENOENT)
		return 0;
	err_sys(err, "cannot look at it");
	return err_object(err, *ret_path);
}

/* ---- swap: create and revert */

static int undo_swap(struct snap_disk *d, const struct journal *j, struct err *err)
{
	CLEANUP_FREE char *fresh = external_new_file(d);
	CLEANUP_FREE char *kept = NULL;
	struct stat st;
	int there;

	if (!fresh)
		return err_nomem(err);
	if (unlink_file(fresh, err) < 0)
		return -1;
	if (!*j->name)
		return 0;
	there = look_beside(d, j->file, &kept, &st, err);
	/* Only if it is a second name of the disk's file */
	if (there < 0 || (there && st.st_ino == j->inode && unlink_file(kept, err) < 0))
		return -1;
	return record_remove(d, j->name, err);
}

static int make_overlay(const char *path, const struct layer *below, const char *below_name,
			const struct stat *like, struct err *err)
{
	char text[NAME_MAX + 4], cluster[24];
	struct image_option_value value = {.name = "cluster_size", .value = cluster};
	/* Not forced: what replaces a file has another name before, which a kill would leave */
	struct copy_opts opts = {.target_format = "qcow2",
				 .params = {.size = below->size,
					    .backing_format = below->format,
					    .backing_name = text,
					    .options = &value}};
	const struct image_open_opts open_opts = {.flags = IMAGE_INFO | IMAGE_SHARED};
	struct image *img;
	json_t *info;
	json_int_t bytes;

	/* A colon in a plain name would be taken for a protocol */
	(void)snprintf(text, sizeof(text), "%s%s", strchr(below_name, ':') ? "./" : "", below_name);
	if (image_open(&img, below->path, &open_opts, err) < 0)
		return -1;
	if (image_info(img, &info, err) < 0) {
		image_close(img);
		return -1;
	}
	image_close(img);
	bytes = json_integer_value(json_object_get(info, "cluster_size"));
	json_decref(info);
	if (bytes) {
		(void)snprintf(cluster, sizeof(cluster), "%" JSON_INTEGER_FORMAT, bytes);
		opts.params.n_options = 1;
	}
	if (unlink_file(path, err) < 0 || image_create(path, &opts, err) < 0)
		return -1;
	return dress(path, like, err);
}

static int keep_present(struct snap_disk *d, const struct journal *j, const char *kept,
			uint64_t size, bool automatic, struct err *err)
{
	char name[SNAP_NAME_MAX + 1], parent[1] = "";
	CLEANUP_FREE char *file = strdup(kept);
	struct snap_entry e = {.name = name,
			       .parent = parent,
			       .file = file,
			       .engine = SNAP_EXTERNAL,
			       .created = snap_now(),
			       .automatic = automatic,
			       .virtual_size = size};

	if (!file)
		return err_nomem(err);
	(void)snprintf(name, sizeof(name), "%s", j->name);
	if (link(d->path, kept) < 0)
		return err_sys(err, "cannot keep the present state as %s", kept);
	if (io_fsync_parent(kept, err) < 0)
		return -1;
	return record_write(d, &e, err);
}

/* From the journal on; @below: what the disk will be an overlay of */
static int do_swap(struct snap_disk *d, const struct journal *j, const struct layer *present,
		   const struct layer *below, const char *below_name, bool automatic,
		   struct err *err)
{
	CLEANUP_FREE char *fresh = external_new_file(d);
	CLEANUP_FREE char *kept = beside(d, j->file);
	struct stat st;

	if (!fresh || !kept)
		return err_nomem(err);
	if (disk_stat(d, &st, err) < 0 ||
	    (*j->name && keep_present(d, j, kept, present->size, automatic, err) < 0) ||
	    make_overlay(fresh, below, below_name, &st, err) < 0)
		return -1;
	if (rename(fresh, d->path) < 0)
		return err_sys(err, "cannot replace the disk");
	return io_fsync_parent(d->path, err);
}

static int swap(struct snap_disk *d, const struct tree *t, const char *keep, bool automatic,
		const char *base, struct err *err)
{
	const struct layer *present, *below;
	struct journal j = {.op = OP_SWAP};
	CLEANUP_FREE char *kept = NULL;
	struct bfile *disk;
	struct stat st, after;
	int rc, there;

	if (tree_find(d, t, NULL, &present, err) < 0)
		return -1;
	below = present;
	if (strcmp(keep, base) != 0 && tree_find(d, t, base, &below, err) < 0)
		return -1;
	(void)snprintf(j.name, sizeof(j.name), "%s", keep);
	if (*keep && file_of(d, keep, j.file, err) < 0)
		return -1;
	there = *keep ? look_beside(d, j.file, &kept, &st, err) : 0;
	if (there > 0) {
		err_set(err, ERR_EXISTS, "is in the way, and is no snapshot");
		return err_object(err, kept);
	}
	/* Nobody may write meanwhile: he would go on with the file that is put aside */
	if (there < 0 || bfile_open(&disk, d->path, BFILE_LOCK_SHARED, err) < 0)
		return -1;
	rc = disk_stat(d, &st, err);
	j.inode = st.st_ino;
	if (rc == 0)
		rc = journal_write(d, &j, err);
	if (rc == 0) {
		rc = do_swap(d, &j, present, below,
			     below == present ? j.file : last_part(below->path), automatic, err);
		if (rc < 0 && stat(d->path, &after) == 0 && after.st_ino == j.inode &&
		    undo_swap(d, &j, NULL) == 0)
			(void)journal_end(d, NULL);
		if (rc == 0)
			rc = journal_end(d, err);
	}
	bfile_close(disk);
	return rc;
}

int external_swap(struct snap_disk *d, const char *keep, bool automatic, const char *base,
		  struct err *err)
{
	bool create = strcmp(keep, base) == 0;
	struct tree t;
	int rc;

	if (tree_load(d, &t, err) < 0)
		return -1;
	/* The content changes under who leans on the disk itself */
	rc = create ? 0 : refuse_foreign(d, &t, &t.layers[0], err);
	if (rc == 0)
		rc = swap(d, &t, keep, automatic, base, err);
	tree_free(&t);
	return rc;
}

/* ---- delete */

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
static int check_space(const char *path, uint64_t bytes, struct err *err)
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

static const struct layer *next_child(const struct tree *t, const struct layer *l,
				      const struct layer *after)
{
	for (size_t i = after ? (size_t)(after - t->layers) + 1 : 0; i < t->n; i++)
		if (leans_on(&t->layers[i], l))
			return &t->layers[i];
	return NULL;
}

/* Nobody else reads it, or has an overlay of it that runs */
static int ask_lock(const char *path, struct err *err)
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

static int put_up(const struct layer *child, const struct layer *l, struct progress *progress,
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
	while (rc == 0 && (c = next_child(t, l, c)))
		rc = put_up(c, l, progress, err);
	if (rc == 0)
		rc = remove_snapshot(d, j.name, l->path, err);
	else if (err && (err->code == ERR_CANCELLED || err->code == ERR_BUSY))
		(void)journal_end(d, NULL); /* all show what they showed, and nothing is in doubt */
	else
		err_hint(err, "vmsnap recover puts it right");
	return rc == 0 ? journal_end(d, err) : -1;
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

/* @ret_down: the snapshot's file takes in what its child holds */
static int choose(const struct tree *t, const struct layer *l, bool *ret_down, struct err *err)
{
	const struct layer *first = next_child(t, l, NULL);
	uint64_t up = 0, down = 0;
	struct weight w;

	for (const struct layer *c = first; c; c = next_child(t, l, c)) {
		if (ask_lock(c->path, err) < 0 || weigh(c->path, &w, err) < 0)
			return err_object(err, c->path);
		up += w.below;
		down += w.own;
	}
	*ret_down = first && !next_child(t, l, first) && down < up && first->size >= l->size;
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
	if (rc == 0 && (refuse_foreign(d, &t, l, err) < 0 || ask_lock(l->path, err) < 0 ||
			choose(&t, l, &down, err) < 0))
		rc = -1;
	if (rc == 0)
		rc = down ? commit_down(d, l, next_child(&t, l, NULL), progress, err)
			  : merge_up(d, &t, l, progress, err);
	tree_free(&t);
	return rc;
}

/* ---- recover */

static int recover_merge(struct snap_disk *d, const struct journal *j, enum snap_recovered *ret,
			 struct err *err)
{
	CLEANUP_FREE char *path = beside(d, j->file);
	const struct layer *l;
	struct tree t;
	int rc = 0;

	if (!path)
		return err_nomem(err);
	if (tree_load(d, &t, err) < 0)
		return -1;
	for (size_t i = 0; rc == 0 && i < t.n; i++)
		if (!t.layers[i].missing)
			rc = mend(t.layers[i].path, err);
	*ret = SNAP_FINISHED;
	if (rc == 0 && tree_find(d, &t, j->name, &l, NULL) == 0 && next_child(&t, l, NULL))
		*ret = SNAP_UNDONE;
	else if (rc == 0)
		rc = remove_snapshot(d, j->name, path, err);
	tree_free(&t);
	return rc;
}

static int recover_commit(struct snap_disk *d, const struct journal *j, struct progress *progress,
			  enum snap_recovered *ret, struct err *err)
{
	CLEANUP_FREE char *path = NULL, *child = NULL;
	char file[NAME_MAX + 1];
	struct stat st;
	int there;

	if (*j->child && file_of(d, j->child, file, err) < 0)
		return -1;
	child = *j->child ? beside(d, file) : strdup(d->path);
	if (!child)
		return err_nomem(err);
	*ret = SNAP_FINISHED;
	there = look_beside(d, j->file, &path, &st, err);
	if (there < 0 || record_remove(d, j->name, err) < 0)
		return -1;
	if (!there) /* renamed over the child */
		return io_fsync_parent(child, err);
	return mend(path, err) < 0 ? -1 : commit_into(path, child, progress, err);
}

int external_recover(struct snap_disk *d, const struct journal *j, struct progress *progress,
		     enum snap_recovered *ret, struct err *err)
{
	struct stat st;

	if (j->op == OP_MERGE)
		return recover_merge(d, j, ret, err);
	if (j->op == OP_COMMIT)
		return recover_commit(d, j, progress, ret, err);
	if (disk_stat(d, &st, err) < 0)
		return -1;
	*ret = st.st_ino == j->inode ? SNAP_UNDONE : SNAP_FINISHED;
	return *ret == SNAP_UNDONE ? undo_swap(d, j, err) : 0;
}

/* ---- merge */

/* Names of the snapshots below @to, down to @from, lowest first; owned, and so are they */
static int between(struct snap_disk *d, const char *from, const char *to, char ***ret,
		   size_t *ret_n, struct err *err)
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
	return rc;
}

int snap_merge(struct snap_disk *d, const char *from, const char *to, bool dry_run,
	       struct progress *progress, void (*each)(const char *name), unsigned *ret_n,
	       struct err *err)
{
	char **names = NULL;
	size_t n;
	int rc = between(d, from, to, &names, &n, err);

	*ret_n = 0;
	for (size_t i = 0; rc == 0 && i < n; i++) {
		if (!dry_run)
			rc = external_delete(d, names[i], progress, err);
		if (rc == 0 && each)
			each(names[i]);
		if (rc == 0)
			++*ret_n;
	}
	for (size_t i = 0; names && i < n; i++)
		free(names[i]);
	free(names);
	return rc < 0 ? err_object(err, d->path) : 0;
}
