/* Is all there that the snapshots of a disk need? Nothing is written, and a running machine does not hinder it. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"
#include "libcommon/snap/private.h"

struct checking {
	void (*report)(void *ctx, const char *sentence);
	void *ctx;
	unsigned faults;
};

static void __attribute__((format(printf, 2, 3))) fault(struct checking *c, const char *fmt, ...)
{
	char text[1600];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->faults++;
	c->report(c->ctx, text);
}

static void fault_err(struct checking *c, const char *what, const struct err *e)
{
	fault(c, "%s: %s%s%s", what, e->object, *e->object ? ": " : "", e->message);
}

/* The tables of one file. While somebody writes to it they are in motion: no answer then */
static int check_tables(struct checking *c, const char *what, const char *path, struct err *err)
{
	const struct image_open_opts opts = {.flags = IMAGE_CHECK};
	struct image_check_result r;
	struct err why = ERR_INIT;
	struct image *img;
	int rc;

	if (image_open(&img, path, &opts, &why) < 0) {
		if (why.code == ERR_NO_MEMORY || why.code == ERR_CANCELLED) {
			*err = why;
			return -1;
		}
		if (why.code != ERR_BUSY)
			fault_err(c, what, &why);
		return 0;
	}
	rc = image_check(img, 0, NULL, NULL, &r, &why);
	image_close(img);
	if (rc == 0 && r.corruptions)
		fault(c, "%s: %s: the tables of the image have faults: vmimg check", what, path);
	else if (rc < 0 && why.code == ERR_CANCELLED)
		return stop_check(err);
	else if (rc < 0 && why.code != ERR_UNSUPPORTED)
		fault_err(c, what, &why);
	return 0;
}

/* Opened as a reader would, down to the last file */
static void check_chain(struct checking *c, const char *what, const char *path,
			const char *snapshot)
{
	const struct image_open_opts opts = {.flags = IMAGE_SHARED, .snapshot = snapshot};
	struct err why = ERR_INIT;
	struct image *img;

	if (image_open(&img, path, &opts, &why) < 0)
		fault_err(c, what, &why);
	else
		image_close(img);
}

static int check_one(struct checking *c, struct snap_disk *d, const struct snap_entry *e,
		     struct err *err)
{
	char what[SNAP_NAME_MAX + 16];

	(void)snprintf(what, sizeof(what), "snapshot %s", e->name);
	check_chain(c, what, e->file ? e->file : d->path,
		    e->engine == SNAP_INTERNAL ? e->name : NULL);
	return e->file && access(e->file, F_OK) == 0 ? check_tables(c, what, e->file, err) : 0;
}

static void check_leftover(struct checking *c, char *path)
{
	CLEANUP_FREE char *owned = path;

	if (owned && access(owned, F_OK) == 0)
		fault(c, "%s is left of a change that was not finished, and can be removed", owned);
}

static int check(struct checking *c, struct snap_disk *d, unsigned *ret_n, struct err *err)
{
	struct snap_entry *list;
	struct journal j;
	size_t n;
	int rc, found = d->lock < 0 ? 0 : set_pending(d) ? 1 : journal_read(d, &j, err);

	if (found < 0)
		return -1;
	if (found) {
		fault(c, "a change of the snapshots was interrupted: vmsnap recover");
	} else {
		check_leftover(c, external_new_file(d));
		check_leftover(c, in_dir(d, ".new"));
	}
	if (snap_list(d, &list, &n, err) < 0)
		return -1;
	check_chain(c, "the present state", d->path, NULL);
	rc = check_tables(c, "the present state", d->path, err);
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = stop_check(err) < 0 ? -1 : check_one(c, d, &list[i], err);
	*ret_n = (unsigned)n;
	snap_list_free(list, n);
	return rc;
}

int snap_check(const char *path, void (*report)(void *ctx, const char *sentence), void *ctx,
	       unsigned *ret_faults, unsigned *ret_n, struct err *err)
{
	struct checking c = {.report = report, .ctx = ctx};
	struct snap_disk *d;
	int rc;

	if (lock_disk(&d, path, false, err) < 0)
		return -1;
	rc = check(&c, d, ret_n, err);
	snap_close(d);
	*ret_faults = c.faults;
	return rc < 0 ? err_object(err, path) : 0;
}
