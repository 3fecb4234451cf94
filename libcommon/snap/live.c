/* Disks of running machines. A machine cannot be made to believe that its disk's file has another name, so that here the
 * overlay gets a new one: STEM.live-N.SUFFIX, which DISK.snap/.present names from then on.
 *
 *	journal, (the machine goes on in the overlay), record, .present, end
 *
 * Whether the machine did can only be asked of itself: recover needs to know it.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/outfile.h"
#include "libcommon/snap/private.h"

/* ---- which disk is meant */

/* What @home.snap/.present says; owned; NULL: nothing, or nothing good */
static char *present_of(const char *home)
{
	CLEANUP_FREE char *path = NULL;
	char *text = NULL;
	size_t len;

	if (asprintf(&path, "%s.snap/" PRESENT_FILE, home) < 0) {
		path = NULL; /* undefined then */
		return NULL;
	}
	if (io_read_file(path, NAME_MAX, &text, &len, NULL) < 0)
		return NULL;
	if (!*text || strlen(text) != len || strchr(text, '/') || !strcmp(text, ".") ||
	    !strcmp(text, "..")) {
		free(text);
		return NULL;
	}
	return text;
}

/* @path, which may not exist any more while its folder does; owned */
static char *resolve(const char *path)
{
	char *real = realpath(path, NULL);
	const char *slash = strrchr(path, '/');
	CLEANUP_FREE char *folder = NULL, *there = NULL;

	if (real || errno != ENOENT)
		return real;
	folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	there = folder ? realpath(folder, NULL) : NULL;
	if (there && asprintf(&real, "%s/%s", strcmp(there, "/") ? there : "", last_part(path)) < 0)
		real = NULL;
	return real;
}

/* Is @name the file that an interrupted change of @home announced? The machine may have gone on in it */
static bool announced(const char *home, const char *name)
{
	CLEANUP_FREE char *dir = NULL;
	struct snap_disk d = {0};
	struct journal j;

	if (asprintf(&dir, "%s.snap", home) < 0) {
		dir = NULL; /* undefined then */
		return false;
	}
	d.dir = dir;
	return journal_read(&d, &j, NULL) > 0 &&
	       ((j.op == OP_LIVE && strcmp(j.fresh, name) == 0) ||
		(j.op == OP_FOLD && !*j.child && strcmp(j.file, name) == 0));
}

/* The disk whose present state is the file @path: another one's .present says so, or will; owned; NULL: there is none */
static char *home_of(const char *path)
{
	size_t stem = (size_t)(last_part(path) - path);
	CLEANUP_FREE char *folder = strndup(path, stem);
	DIR *dir = folder ? opendir(folder) : NULL;
	char *found = NULL;
	struct dirent *e;

	while (dir && !found && (e = readdir(dir))) {
		size_t len = strlen(e->d_name);
		CLEANUP_FREE char *home = NULL, *present = NULL;

		if (len <= 5 || strcmp(e->d_name + len - 5, ".snap") != 0)
			continue;
		if (asprintf(&home, "%s%.*s", folder, (int)(len - 5), e->d_name) < 0) {
			home = NULL;
			break;
		}
		present = present_of(home);
		if ((present && strcmp(present, last_part(path)) == 0) ||
		    announced(home, last_part(path)))
			found = steal_ptr(&home);
	}
	if (dir)
		(void)closedir(dir);
	return found;
}

int live_find(struct snap_disk *d, const char *path, struct err *err)
{
	CLEANUP_FREE char *named = resolve(path);
	CLEANUP_FREE char *present = NULL;

	if (!named)
		return err_sys(err, "cannot open");
	present = present_of(named);
	d->home = present ? strdup(named) : home_of(named);
	if (!present && !d->home)
		d->home = strdup(named);
	if (!d->home)
		return err_nomem(err);
	if (!present)
		d->path = steal_ptr(&named);
	else if (asprintf(&d->path, "%.*s%s", (int)(last_part(named) - named), named, present) < 0)
		d->path = NULL;
	if (!d->path || asprintf(&d->dir, "%s.snap", d->home) < 0) {
		d->dir = NULL;
		return err_nomem(err);
	}
	return 0;
}

/* ---- the change */

/* "disk.live-3.qcow2": a name that nothing has */
static char *fresh_name(const struct snap_disk *d)
{
	const char *base = last_part(d->home), *dot = strrchr(base, '.');
	const char *live = strstr(base + 1, ".live-"); /* it was made here itself */
	int stem = live			? (int)(live - base)
		   : dot && dot != base ? (int)(dot - base)
					: (int)strlen(base);

	for (unsigned i = 1; i < 100000; i++) {
		CLEANUP_FREE char *name = NULL;
		char *path;
		struct stat st;

		if (asprintf(&name, "%.*s.live-%u.qcow2", stem, base, i) < 0) {
			name = NULL;
			return NULL;
		}
		path = beside(d, name);
		if (!path || (lstat(path, &st) < 0 && errno == ENOENT))
			return path;
		free(path);
	}
	return NULL;
}

static int suits(struct snap_disk *d, const char *name, struct err *err)
{
	enum snap_engine used;
	struct tree t;
	int rc = 0;

	if (snap_name_check(name, err) < 0 || engine_in_use(d, name, &used, err) < 0)
		return -1;
	if (used != SNAP_AUTO && used != SNAP_EXTERNAL)
		return err_set(err, ERR_UNSUPPORTED,
			       "the disk has %s snapshots, and a running machine can only make "
			       "external ones",
			       snap_engine_name(used));
	if (tree_load(d, &t, err) < 0)
		return -1;
	if (strcmp(t.layers[0].format, "qcow2") != 0)
		rc = err_set(err, ERR_UNSUPPORTED, "is %s, and only qcow2 can become an overlay",
			     t.layers[0].format);
	else if (t.layers[0].internal)
		rc = refuse_inside(&t.layers[0], err);
	tree_free(&t);
	return rc;
}

int snap_live_begin(struct snap_disk *d, const char *name, char **ret_fresh, struct err *err)
{
	struct journal j = {.op = OP_LIVE};
	CLEANUP_FREE char *fresh = NULL;
	struct stat st;

	if (suits(d, name, err) < 0 || disk_stat(d, &st, err) < 0)
		return err_object(err, d->path);
	fresh = fresh_name(d);
	if (!fresh || strlen(last_part(fresh)) > NAME_MAX || strlen(last_part(d->path)) > NAME_MAX)
		return err_set(err, ERR_FAILED, "no name for an overlay is free");
	j.inode = st.st_ino;
	(void)snprintf(j.name, sizeof(j.name), "%s", name);
	(void)snprintf(j.file, sizeof(j.file), "%s", last_part(d->path));
	(void)snprintf(j.fresh, sizeof(j.fresh), "%s", last_part(fresh));
	/* A file of that name is of no snapshot */
	if (remove_memory(d, name, err) < 0 || journal_write(d, &j, err) < 0)
		return -1;
	*ret_fresh = steal_ptr(&fresh);
	return 0;
}

/* The record says what is the snapshot, .present what is the disk now: both can be written again */
static int settle(struct snap_disk *d, const struct journal *j, struct err *err)
{
	CLEANUP_FREE char *pointer = in_dir(d, PRESENT_FILE);
	CLEANUP_FREE char *file = beside(d, j->file);
	char name[SNAP_NAME_MAX + 1], parent[1] = "";
	struct snap_entry e = {.name = name,
			       .parent = parent,
			       .file = file,
			       .engine = SNAP_EXTERNAL,
			       .created = snap_now()};
	const struct image_open_opts opts = {.flags = IMAGE_INFO | IMAGE_SHARED};
	struct image *img;
	char *path;

	if (!pointer || !file)
		return err_nomem(err);
	(void)snprintf(name, sizeof(name), "%s", j->name);
	if (image_open(&img, file, &opts, err) < 0)
		return -1;
	e.virtual_size = image_size(img);
	image_close(img);
	if (record_write(d, &e, err) < 0 ||
	    outfile_write(pointer, j->fresh, strlen(j->fresh), OUTFILE_FORCE, err) < 0)
		return -1;
	path = beside(d, j->fresh);
	if (!path)
		return err_nomem(err);
	free(d->path);
	d->path = path;
	return 0;
}

int snap_live_end(struct snap_disk *d, bool done, struct err *err)
{
	CLEANUP_FREE char *fresh = NULL;
	struct journal j;
	int found = journal_read(d, &j, err);

	if (found <= 0)
		return found;
	fresh = beside(d, j.fresh);
	if (!fresh)
		return err_nomem(err);
	if (done ? settle(d, &j, err) < 0
		 : unlink_file(fresh, err) < 0 || remove_memory(d, j.name, err) < 0)
		return -1;
	return journal_end(d, err);
}

int snap_live_pending(const char *path, struct snap_disk **ret, char **ret_fresh, struct err *err)
{
	struct snap_disk *d;
	struct journal j;
	int found;

	*ret = NULL;
	*ret_fresh = NULL;
	if (lock_disk(&d, path, true, err) < 0)
		return -1;
	found = journal_read(d, &j, err);
	if (found > 0 && j.op == OP_LIVE) {
		*ret_fresh = beside(d, j.fresh);
		if (*ret_fresh) {
			*ret = d;
			return 0;
		}
		found = err_nomem(err);
	}
	snap_close(d);
	return found < 0 ? -1 : 0;
}
