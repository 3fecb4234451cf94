/* A new disk from a snapshot: an overlay of it, a file that shares its blocks, or a copy. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/image/copy/engine.h"
#include "libcommon/image/protocol.h"
#include "libcommon/snap/private.h"

/* Is @target in the disk's folder? Only there is an overlay found before its backing file is removed */
static int same_folder(const struct snap_disk *d, const char *target, bool *ret, struct err *err)
{
	CLEANUP_FREE char *own = beside(d, ".");
	CLEANUP_FREE char *there = strdup(target);
	struct stat a, b;
	char *slash;

	if (!own || !there)
		return err_nomem(err);
	slash = strrchr(there, '/');
	if (slash)
		slash[slash == there] = '\0';
	if (stat(own, &a) < 0 || stat(slash ? there : ".", &b) < 0) {
		err_sys(err, "cannot look at its folder");
		return err_object(err, target);
	}
	*ret = a.st_dev == b.st_dev && a.st_ino == b.st_ino;
	return 0;
}

static int overlay(struct snap_disk *d, const struct snap_entry *e, const char *target,
		   struct err *err)
{
	char name[NAME_MAX + 4];
	const struct copy_opts opts = {.target_format = "qcow2",
				       .params = {.backing_name = name, .backing_format = "qcow2"}};
	bool here = false;

	if (same_folder(d, target, &here, err) < 0)
		return -1;
	if (!here) {
		err_set(err, ERR_UNSUPPORTED,
			"an overlay of a snapshot must lie in the folder of its disk");
		err_hint(err, "--full copies all of it");
		return err_object(err, target);
	}
	(void)snprintf(name, sizeof(name), "%s%s", strchr(last_part(e->file), ':') ? "./" : "",
		       last_part(e->file));
	return image_create(target, &opts, err);
}

static int copy(struct snap_disk *d, const char *name, const char *target,
		struct progress *progress, struct err *err)
{
	struct copy_opts opts = {.progress = progress};
	struct copy_stats stats;
	struct image *img;
	int rc;

	if (snap_image(d, name, &img, err) < 0)
		return -1;
	opts.target_format = image_format_name(img);
	rc = image_copy(img, target, &opts, &stats, err);
	image_close(img);
	return rc;
}

static int share(const struct snap_entry *e, const char *target, struct err *err)
{
	struct bfile *from;
	struct stat st;
	int rc;

	if (access(target, F_OK) == 0) {
		err_set(err, ERR_EXISTS, "exists already");
		return err_object(err, target);
	}
	if (bfile_open(&from, e->file, BFILE_LOCK_SHARED, err) < 0)
		return -1;
	rc = fstat(from->fd, &st) < 0 ? err_sys(err, "cannot look at it")
				      : clone_file(from->fd, target, &st, err);
	bfile_close(from);
	return rc;
}

int snap_clone(struct snap_disk *d, const char *name, const char *target, bool full,
	       struct progress *progress, bool *ret_linked, struct err *err)
{
	struct err why = ERR_INIT;
	struct snap_entry *e;
	int rc;

	*ret_linked = false;
	if (snap_find(d, name, &e, err) < 0)
		return -1;
	if (e->engine == SNAP_EXTERNAL && !full) {
		*ret_linked = true;
		rc = overlay(d, e, target, err);
	} else if (e->engine == SNAP_REFLINK && !full) {
		rc = share(e, target, &why);
		if (rc < 0 && why.code == ERR_UNSUPPORTED) /* another file system */
			rc = copy(d, name, target, progress, err);
		else if (rc < 0 && err)
			*err = why;
	} else {
		rc = copy(d, name, target, progress, err);
	}
	snap_list_free(e, 1);
	return rc;
}
