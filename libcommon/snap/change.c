/* Changes: create, revert, delete; recover.c finishes or undoes a killed one.
 *
 *	create, reflink		journal, clone, record, end. The record decides: without it the clone goes.
 *	revert, reflink		journal, clone of the snapshot as .new, a second name for the disk's file in the folder and
 *				its record (unless the present is given up), rename of .new over the disk, end. The disk's inode
 *				decides: the old one means undo, where all that was made goes.
 *	delete, reflink		journal, record gone, file gone, end. Always finished.
 *	internal		journal, the format's own safe order, end. What a kill leaves are leaks, which are mended.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/image/protocol.h"
#include "libcommon/image/snapshot.h"
#include "libcommon/snap/private.h"

/* Now, unless the caller wants reproducible dates */
time_t snap_now(void)
{
	const char *epoch = getenv("SOURCE_DATE_EPOCH");
	char *end;
	long long t = epoch && *epoch ? strtoll(epoch, &end, 10) : -1;

	return t >= 0 && !*end ? (time_t)t : time(NULL);
}

/* What the disk is */
struct present {
	uint64_t size;
	bool internal; /* could have internal snapshots */
	bool overlay;  /* an overlay of it shows all of it, and keeps its promises */
	bool alone;    /* its file alone holds it */
	char format[32];
};

static int look(struct snap_disk *d, struct present *ret, struct err *err)
{
	const struct image_open_opts opts = {.flags = IMAGE_INFO};
	const char *type;
	struct image *img;
	json_t *info, *special;
	int rc;

	if (image_open(&img, d->path, &opts, err) < 0)
		return -1;
	ret->size = image_size(img);
	ret->internal = image_can_snapshot(img);
	(void)snprintf(ret->format, sizeof(ret->format), "%s", image_format_name(img));
	rc = image_info(img, &info, err);
	image_close(img);
	if (rc < 0)
		return -1;
	special = json_object_get(info, "format_specific");
	type = json_string_value(json_object_get(special, "create_type"));
	/* In clear text over what is encrypted, and over what is deleted with other files, we put nothing */
	ret->overlay = strcmp(ret->format, "qcow2") == 0 &&
		       !json_is_true(json_object_get(special, "encrypted")) &&
		       !json_is_string(json_object_get(special, "data_file"));
	ret->alone =
		!json_is_string(json_object_get(info, "backing_file")) &&
		!json_is_string(json_object_get(special, "data_file")) &&
		(!type || !strcmp(type, "monolithicSparse") || !strcmp(type, "streamOptimized"));
	json_decref(info);
	return 0;
}

/* "a.qcow2" of snapshot a of disk.qcow2 */
static void file_name(const struct snap_disk *d, const char *name, char *ret, size_t room)
{
	const char *base = strrchr(d->path, '/'), *dot = strrchr(base ? base : d->path, '.');

	if (!dot || dot[1] == '\0' || strlen(dot) > 16 || !strcmp(dot, ".json"))
		dot = ".img";
	(void)snprintf(ret, room, "%.*s%s", SNAP_NAME_MAX, name, dot);
}

int disk_stat(const struct snap_disk *d, struct stat *ret, struct err *err)
{
	return stat(d->path, ret) < 0 ? err_sys(err, "cannot look at the disk") : 0;
}

int engine_in_use(struct snap_disk *d, const char *new_name, enum snap_engine *ret, struct err *err)
{
	struct snap_entry *list;
	size_t n;
	bool taken = false;

	*ret = SNAP_AUTO;
	if (snap_list(d, &list, &n, err) < 0)
		return -1;
	if (n)
		*ret = list[0].engine;
	for (size_t i = 0; i < n; i++)
		taken = taken || strcmp(list[i].name, new_name) == 0;
	snap_list_free(list, n);
	return taken ? err_set(err, ERR_EXISTS, "there is a snapshot %s already", new_name) : 0;
}

static int make_record(struct snap_disk *d, const char *name, const char *file, uint64_t size,
		       bool automatic, struct err *err)
{
	char parent[SNAP_NAME_MAX + 1], own[SNAP_NAME_MAX + 1], own_file[SNAP_NAME_MAX + 32];
	struct snap_entry e = {.name = own,
			       .parent = parent,
			       .file = own_file,
			       .engine = SNAP_REFLINK,
			       .created = snap_now(),
			       .automatic = automatic,
			       .virtual_size = size};

	(void)snprintf(own, sizeof(own), "%s", name);
	(void)snprintf(own_file, sizeof(own_file), "%s", file);
	head_read(d, parent);
	return record_write(d, &e, err);
}

static struct journal journal_of(const struct snap_disk *d, enum op op, const char *name)
{
	struct journal j = {.op = op};
	struct stat st;

	(void)snprintf(j.name, sizeof(j.name), "%s", name);
	if (*name)
		file_name(d, name, j.file, sizeof(j.file));
	if (stat(d->path, &st) == 0)
		j.inode = st.st_ino;
	return j;
}

/* ---- create */

static int create_reflink(struct snap_disk *d, const char *name, uint64_t size, struct err *err)
{
	struct journal j = journal_of(d, OP_CREATE, name);
	CLEANUP_FREE char *path = in_dir(d, j.file);
	struct bfile *file;
	struct stat st;
	int rc = -1;

	if (!path)
		return err_nomem(err);
	if (access(path, F_OK) == 0) {
		err_set(err, ERR_EXISTS, "is in the way, and is no snapshot");
		return err_object(err, path);
	}
	/* Nobody may write meanwhile */
	if (bfile_open(&file, d->path, BFILE_LOCK_SHARED, err) < 0)
		return -1;
	if (disk_stat(d, &st, err) == 0 && journal_write(d, &j, err) == 0) {
		rc = clone_file(file->fd, path, &st, err);
		if (rc == 0)
			rc = make_record(d, name, j.file, size, false, err);
		if (rc == 0 || remove_file(d, j.file, NULL) == 0)
			rc = journal_end(d, rc == 0 ? err : NULL) < 0 ? -1 : rc;
	}
	bfile_close(file);
	if (rc == 0)
		head_write(d, name);
	return rc;
}

/* Whoever writes to the file ends its bitmaps */
static int refuse_bitmaps_of(struct image *img, const char *path, struct err *err)
{
	const char *bitmap;
	json_t *info;
	int rc;

	if (image_info(img, &info, err) < 0)
		return -1;
	bitmap = bitmap_in(info);
	rc = bitmap ? refuse_bitmap(bitmap, path, err) : 0;
	json_decref(info);
	return rc;
}

static int internal_begin(struct snap_disk *d, struct image **ret, struct err *err)
{
	const struct image_open_opts opts = {.flags = IMAGE_RDWR};
	const struct journal j = journal_of(d, OP_INTERNAL, "");

	if (image_open(ret, d->path, &opts, err) < 0)
		return -1;
	if (refuse_bitmaps_of(*ret, d->path, err) == 0 && journal_write(d, &j, err) == 0)
		return 0;
	image_close(*ret);
	return -1;
}

/* A failed change may have left leaks: the journal stays, for recover */
static int internal_end(struct snap_disk *d, struct image *img, int rc, struct err *err)
{
	bool untouched = rc < 0 && err &&
			 (err->code == ERR_UNSUPPORTED || err->code == ERR_NOT_FOUND ||
			  err->code == ERR_EXISTS);

	if (rc == 0)
		rc = image_flush(img, err);
	image_close(img);
	if (rc == 0 || untouched)
		rc = journal_end(d, rc == 0 ? err : NULL) < 0 ? -1 : rc;
	else
		err_hint(err, "vmsnap recover gives back what this left");
	return rc;
}

static int create_internal(struct snap_disk *d, const char *name, struct err *err)
{
	struct image *img;
	int rc;

	if (internal_begin(d, &img, err) < 0)
		return -1;
	rc = image_snapshot_create(img, name, (uint32_t)snap_now(), 0, err);
	return internal_end(d, img, rc, err);
}

static int create_with(struct snap_disk *d, const struct present *p, const char *name,
		       enum snap_engine engine, struct err *err)
{
	switch (engine) {
	case SNAP_REFLINK:
		if (!p->alone)
			return err_set(err, ERR_UNSUPPORTED,
				       "a reflink snapshot is one file, and this disk needs others "
				       "besides");
		return create_reflink(d, name, p->size, err);
	case SNAP_INTERNAL:
		if (!p->internal)
			return err_set(err, ERR_UNSUPPORTED, "%s images have no internal snapshots",
				       p->format);
		return create_internal(d, name, err);
	default:
		if (!p->overlay)
			return err_set(
				err, ERR_UNSUPPORTED,
				"only a qcow2 disk that is not encrypted and has no data file can "
				"become an overlay");
		return external_swap(d, name, false, name, err);
	}
}

int snap_create(struct snap_disk *d, const char *name, enum snap_engine engine,
		enum snap_engine *ret_engine, struct err *err)
{
	static const enum snap_engine all[] = {SNAP_REFLINK, SNAP_INTERNAL, SNAP_EXTERNAL};
	enum snap_engine used;
	struct present p;
	int rc = -1;

	if (snap_name_check(name, err) < 0 || engine_in_use(d, name, &used, err) < 0 ||
	    look(d, &p, err) < 0)
		return -1;
	if (used != SNAP_AUTO && engine != SNAP_AUTO && engine != used) {
		err_set(err, ERR_UNSUPPORTED,
			"the disk has %s snapshots: those of another engine would not survive a "
			"revert",
			snap_engine_name(used));
		return err_object(err, d->path);
	}
	if (engine == SNAP_AUTO)
		engine = used;
	for (size_t i = 0; rc < 0 && i < sizeof(all) / sizeof(all[0]); i++) {
		struct err why = ERR_INIT;

		if (engine != SNAP_AUTO && engine != all[i])
			continue;
		rc = create_with(d, &p, name, all[i], &why);
		if (rc == 0 && ret_engine)
			*ret_engine = all[i];
		if (rc < 0 && err)
			*err = why;
		if (rc < 0 && why.code != ERR_UNSUPPORTED)
			break;
	}
	if (rc < 0 && engine == SNAP_AUTO && err && err->code == ERR_UNSUPPORTED) {
		err_set(err, ERR_UNSUPPORTED,
			"no engine fits: %s images have no snapshots of their own here, and %s",
			p.format,
			p.alone ? "the file system cannot share blocks (reflink)"
				: "the disk is more than one file");
		err_hint(err, "qcow2 images, and all others on XFS or btrfs, have snapshots");
	}
	return rc < 0 ? err_object(err, d->path) : 0;
}

/* ---- revert */

/* Return: 1 when no disk has such a snapshot, 0, -1 */
static int is_free(struct snap_disk *const *disks, size_t n, const char *name, struct err *err)
{
	enum snap_engine used;

	for (size_t i = 0; i < n; i++) {
		struct err why = ERR_INIT;

		if (engine_in_use(disks[i], name, &used, &why) == 0)
			continue;
		if (why.code == ERR_EXISTS)
			return 0;
		if (err)
			*err = why;
		return -1;
	}
	return 1;
}

int auto_name(struct snap_disk *const *disks, size_t n, char ret[SNAP_NAME_MAX + 1],
	      struct err *err)
{
	time_t t = snap_now();
	char when[24];
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &tm) == 0)
		return err_set(err, ERR_FAILED, "the clock is beyond all dates");
	for (unsigned i = 1; i < 1000; i++) {
		int found;

		if (i == 1)
			(void)snprintf(ret, SNAP_NAME_MAX + 1, "auto-%s", when);
		else
			(void)snprintf(ret, SNAP_NAME_MAX + 1, "auto-%s-%u", when, i);
		found = is_free(disks, n, ret, err);
		if (found)
			return found > 0 ? 0 : -1;
	}
	return err_set(err, ERR_EXISTS, "too many automatic snapshots of this second");
}

/* From the clone being there to the rename that counts; @j->name: of the snapshot that keeps the present, or "" */
static int swap_in(struct snap_disk *d, const struct journal *j, const char *new_path,
		   uint64_t size, struct err *err)
{
	CLEANUP_FREE char *kept = in_dir(d, j->file);

	if (!kept)
		return err_nomem(err);
	if (*j->name) {
		if (link(d->path, kept) < 0) {
			err_sys(err, "cannot keep the present state");
			return err_hint(err, "--discard-current gives it up");
		}
		if (io_fsync_parent(kept, err) < 0 ||
		    make_record(d, j->name, j->file, size, true, err) < 0)
			return -1;
	}
	if (rename(new_path, d->path) < 0)
		return err_sys(err, "cannot replace the disk");
	return io_fsync_parent(d->path, err);
}

int undo_revert(struct snap_disk *d, const struct journal *j, struct err *err)
{
	CLEANUP_FREE char *kept = in_dir(d, j->file);
	struct stat st;

	if (!kept)
		return err_nomem(err);
	if (remove_file(d, NEW_FILE, err) < 0)
		return -1;
	if (!*j->name)
		return 0;
	/* Only if it is a second name of the disk's file */
	if (stat(kept, &st) == 0 && st.st_ino == j->inode && remove_file(d, j->file, err) < 0)
		return -1;
	return record_remove(d, j->name, err);
}

static int revert_reflink(struct snap_disk *d, const struct snap_entry *e, const char *keep,
			  struct err *err)
{
	struct journal j = journal_of(d, OP_REVERT, keep);
	CLEANUP_FREE char *new_path = in_dir(d, NEW_FILE);
	struct bfile *disk = NULL, *from = NULL;
	struct stat st, after;
	struct present p;
	int rc = -1;

	if (!new_path)
		return err_nomem(err);
	if (look(d, &p, err) < 0 ||
	    /* Alone with it: who has it open would go on with the file that is put aside */
	    bfile_open(&disk, d->path, BFILE_RDWR | BFILE_LOCK_WRITE, err) < 0)
		return -1;
	if (disk_stat(d, &st, err) == 0 &&
	    bfile_open(&from, e->file, BFILE_LOCK_SHARED, err) == 0 &&
	    journal_write(d, &j, err) == 0) {
		rc = clone_file(from->fd, new_path, &st, err);
		if (rc == 0)
			rc = swap_in(d, &j, new_path, p.size, err);
		if (rc < 0 && stat(d->path, &after) == 0 && after.st_ino == st.st_ino &&
		    undo_revert(d, &j, NULL) == 0)
			(void)journal_end(d, NULL);
		if (rc == 0)
			rc = journal_end(d, err);
	}
	bfile_close(from);
	bfile_close(disk);
	if (rc == 0)
		head_write(d, e->name);
	return rc;
}

static int revert_internal(struct snap_disk *d, const char *name, const char *keep, struct err *err)
{
	struct image *img;
	int rc = 0;

	if (internal_begin(d, &img, err) < 0)
		return -1;
	if (*keep)
		rc = image_snapshot_create(img, keep, (uint32_t)snap_now(), 0, err);
	if (rc == 0)
		rc = image_snapshot_revert(img, name, err);
	return internal_end(d, img, rc, err);
}

int revert_keeping(struct snap_disk *d, const char *name, const char *keep, struct err *err)
{
	struct snap_entry *e = NULL;
	int rc;

	if (snap_find(d, name, &e, err) < 0)
		return -1;
	rc = e->engine == SNAP_INTERNAL	  ? revert_internal(d, name, keep, err)
	     : e->engine == SNAP_EXTERNAL ? external_swap(d, keep, true, name, err)
					  : revert_reflink(d, e, keep, err);
	snap_list_free(e, 1);
	return rc < 0 ? err_object(err, d->path) : 0;
}

int snap_revert(struct snap_disk *d, const char *name, bool discard,
		char ret_kept[SNAP_NAME_MAX + 1], struct err *err)
{
	ret_kept[0] = '\0';
	if (!discard && auto_name(&d, 1, ret_kept, err) < 0)
		return err_object(err, d->path);
	return revert_keeping(d, name, ret_kept, err);
}

/* ---- delete */

int delete_files(struct snap_disk *d, const struct journal *j, struct err *err)
{
	return record_remove(d, j->name, err) < 0 ? -1 : remove_file(d, j->file, err);
}

/* An image in the disk's folder that leans on the clone */
static int refuse_overlays(struct snap_disk *d, char *path, struct err *err)
{
	struct layer l = {.path = path};
	struct stat st;
	struct tree t;
	int rc;

	if (stat(path, &st) < 0)
		return 0;
	l.dev = st.st_dev;
	l.ino = st.st_ino;
	if (tree_load(d, &t, err) < 0)
		return -1;
	rc = refuse_foreign(d, &t, &l, err);
	tree_free(&t);
	return rc;
}

static int delete_reflink(struct snap_disk *d, const struct snap_entry *e, struct err *err)
{
	struct journal j = journal_of(d, OP_DELETE, e->name);
	const char *base = strrchr(e->file, '/');
	struct bfile *file;

	(void)snprintf(j.file, sizeof(j.file), "%s", base ? base + 1 : e->file);
	if (refuse_overlays(d, e->file, err) < 0)
		return -1;
	/* Somebody reads it, or made an overlay of it that runs */
	if (access(e->file, F_OK) == 0) {
		if (bfile_open(&file, e->file, BFILE_RDWR | BFILE_LOCK_WRITE, err) < 0)
			return -1;
		bfile_close(file);
	}
	if (journal_write(d, &j, err) < 0 || delete_files(d, &j, err) < 0)
		return -1;
	return journal_end(d, err);
}

static int delete_internal(struct snap_disk *d, const char *name, struct err *err)
{
	struct image *img;

	int rc;

	if (internal_begin(d, &img, err) < 0)
		return -1;
	rc = image_snapshot_remove(img, name, err);
	if (rc == 0)
		rc = remove_memory(d, name, err);
	return internal_end(d, img, rc, err);
}

int snap_delete(struct snap_disk *d, const char *name, struct progress *progress, struct err *err)
{
	struct snap_entry *e = NULL;
	int rc;

	if (snap_find(d, name, &e, err) < 0)
		return -1;
	rc = e->engine == SNAP_INTERNAL	  ? delete_internal(d, name, err)
	     : e->engine == SNAP_EXTERNAL ? external_delete(d, name, progress, err)
					  : delete_reflink(d, e, err);
	snap_list_free(e, 1);
	return rc < 0 ? err_object(err, d->path) : 0;
}

int snap_forget(struct snap_disk *d, const char *name, struct err *err)
{
	struct snap_entry *e = NULL;
	struct stat st;
	int rc;

	if (snap_find(d, name, &e, err) < 0)
		return -1;
	if (e->file && stat(e->file, &st) < 0 && errno == ENOENT) {
		rc = record_remove(d, name, err);
	} else {
		rc = err_set(err, ERR_USAGE, "the file of snapshot %s is not lost", name);
		err_object(err, e->file ? e->file : d->path);
	}
	snap_list_free(e, 1);
	return rc < 0 ? err_object(err, d->path) : 0;
}
