/* Snapshots as backing files: the disk's file is put aside, the disk becomes an overlay of it.
 *
 *	swap	journal, a second name for the disk's file and its record (unless the present is given up), the new
 *		overlay under a temporary name, rename over the disk, end. The disk's inode decides: the old one means undo.
 *		create and revert are this; deletions are in fold.c.
 *
 * What is written is flushed before a name or a header leads to it.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/image/copy/engine.h"
#include "libcommon/image/protocol.h"
#include "libcommon/snap/private.h"

/* "disk.a.qcow2" of snapshot a of disk.qcow2; @nth 2: "disk.a-2.qcow2" */
static int nth_file_of(const struct snap_disk *d, const char *name, unsigned nth,
		       char ret[NAME_MAX + 1], struct err *err)
{
	const char *base = last_part(d->home), *dot = strrchr(base, '.');
	size_t stem = strlen(base);
	char number[16] = "";
	int n;

	if (dot && dot != base && strlen(dot) <= 16)
		stem = (size_t)(dot - base);
	else
		dot = ".qcow2";
	if (nth > 1)
		(void)snprintf(number, sizeof(number), "-%u", nth);
	n = snprintf(ret, NAME_MAX + 1, "%.*s.%s%s%s", (int)stem, base, name, number, dot);
	return n < 0 || n > NAME_MAX ? err_set(err, ERR_USAGE,
					       "the name of the snapshot's file would be too long")
				     : 0;
}

/* Machines that run leave files of one snapshot to another (live_fold.c), or to the present state */
static int file_of(const struct snap_disk *d, const struct tree *t, const char *name,
		   char ret[NAME_MAX + 1], struct err *err)
{
	bool ours = true;

	for (unsigned nth = 1; ours; nth++) {
		if (nth_file_of(d, name, nth, ret, err) < 0)
			return -1;
		ours = false;
		for (size_t i = 0; i < t->n; i++)
			ours = ours || strcmp(last_part(t->layers[i].path), ret) == 0;
	}
	return 0;
}

char *external_new_file(const struct snap_disk *d)
{
	CLEANUP_FREE char *name = NULL;

	if (asprintf(&name, ".%s.vmsnap", last_part(d->path)) < 0)
		name = NULL; /* undefined then */
	return name ? beside(d, name) : NULL;
}

int look_beside(const struct snap_disk *d, const char *name, char **ret_path, struct stat *st,
		struct err *err)
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
	if (*keep && file_of(d, t, keep, j.file, err) < 0)
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
	/* Internal ones would be where nobody looks for them, or nowhere */
	rc = t.layers[0].internal ? refuse_inside(&t.layers[0], err) : 0;
	/* The content changes under who leans on the disk itself */
	if (rc == 0 && !create)
		rc = refuse_foreign(d, &t, &t.layers[0], err);
	if (rc == 0)
		rc = swap(d, &t, keep, automatic, base, err);
	tree_free(&t);
	return rc;
}

/* ---- recover */

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
