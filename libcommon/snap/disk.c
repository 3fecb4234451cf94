/* A disk and its snapshots: the lock, names, the list, opening one. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/clock.h"
#include "libcommon/snap/private.h"

const char *snap_engine_name(enum snap_engine e)
{
	static const char *const names[] = {
		[SNAP_AUTO] = "auto",
		[SNAP_REFLINK] = "reflink",
		[SNAP_INTERNAL] = "internal",
		[SNAP_EXTERNAL] = "external",
	};

	return names[e];
}

int snap_name_check(const char *name, struct err *err)
{
	bool digits = true;

	for (const char *p = name; *p; p++) {
		if (!isalnum((unsigned char)*p) && !strchr("._+:-", *p))
			return err_set(err, ERR_USAGE,
				       "a snapshot's name has letters, digits and ._+:- only");
		digits = digits && isdigit((unsigned char)*p);
	}
	if (!*name || *name == '.' || *name == '-' || strlen(name) > SNAP_NAME_MAX)
		return err_set(err, ERR_USAGE,
			       "a snapshot's name has 1 to %d characters, no dot or dash first",
			       SNAP_NAME_MAX);
	/* qemu-img would take it for the id of another one */
	return digits ? err_set(err, ERR_USAGE, "a snapshot's name cannot be a number") : 0;
}

char *in_dir(const struct snap_disk *d, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", d->dir, name) < 0 ? NULL : path;
}

const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

char *beside(const struct snap_disk *d, const char *name)
{
	const char *base = last_part(d->path);
	char *path;

	return asprintf(&path, "%.*s%s", (int)(base - d->path), d->path, name) < 0 ? NULL : path;
}

/* The folder may be removed by another process between open and flock: then the lock is nobody's */
static bool still_there(const struct snap_disk *d)
{
	struct stat a, b;

	return fstat(d->lock, &a) == 0 && stat(d->dir, &b) == 0 && a.st_ino == b.st_ino &&
	       a.st_dev == b.st_dev;
}

static int take_lock(struct snap_disk *d, struct err *err)
{
	for (int tries = 0; tries < 100; tries++) {
		if (d->change && mkdir(d->dir, 0777) < 0 && errno != EEXIST)
			return err_sys(err, "cannot make the folder %s", d->dir);
		d->lock = open(d->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (d->lock < 0 && errno == ENOENT && !d->change)
			return 0;
		if (d->lock < 0 && errno != ENOENT)
			return err_sys(err, "cannot open the folder %s", d->dir);
		if (d->lock < 0)
			continue;
		if (flock(d->lock, (d->change ? LOCK_EX : LOCK_SH) | LOCK_NB) < 0)
			return err_set(err, ERR_BUSY, "another vmsnap is at work on its snapshots");
		if (still_there(d))
			return 0;
		(void)close(steal_fd(&d->lock));
	}
	return err_set(err, ERR_BUSY, "the folder %s comes and goes", d->dir);
}

int lock_disk(struct snap_disk **ret, const char *path, bool change, struct err *err)
{
	struct snap_disk *d;

	*ret = NULL;
	if (strstr(path, "://")) {
		err_set(err, ERR_UNSUPPORTED,
			"this vmsnap makes snapshots of disk files only, not of libvirt domains or "
			"network disks");
		return err_object(err, path);
	}
	d = calloc(1, sizeof(*d));
	if (!d)
		return err_nomem(err);
	d->lock = -1;
	d->change = change;

	struct stat st;
	int rc = live_find(d, path, err);

	if (rc < 0)
		;
	else if (stat(d->path, &st) < 0)
		rc = err_sys(err, "cannot open");
	else if (!S_ISREG(st.st_mode))
		rc = err_set(err, ERR_UNSUPPORTED, "is not a regular file");
	else
		rc = take_lock(d, err);
	if (rc < 0) {
		err_object(err, path);
		snap_close(d);
		return -1;
	}
	*ret = d;
	return 0;
}

int snap_open(struct snap_disk **ret, const char *path, bool change, struct err *err)
{
	struct journal j;
	int found;

	if (lock_disk(ret, path, change, err) < 0)
		return -1;
	found = (*ret)->lock < 0 ? 0 : set_pending(*ret) ? 1 : journal_read(*ret, &j, err);
	if (found > 0) {
		err_set(err, ERR_FAILED, "a change of its snapshots was interrupted");
		err_object(err, path);
		err_hint(err, "vmsnap recover finishes or undoes it");
	}
	/* Of a machine whose snapshot was killed before it was announced: the next one of that name would have it */
	if (!found && change && remove_lost_memory(*ret, err) < 0)
		found = -1;
	if (found) {
		snap_close(*ret);
		*ret = NULL;
		return -1;
	}
	return 0;
}

/* An empty folder goes; .head alone is nothing worth */
static void tidy(const struct snap_disk *d)
{
	CLEANUP_FREE char *head = in_dir(d, ".head");
	CLEANUP_FREE char *present = in_dir(d, PRESENT_FILE);
	struct dirent *e;
	bool used = false;
	DIR *dir = opendir(d->dir);

	while (dir && (e = readdir(dir))) {
		/* What a killed process was writing; nobody else is at work here */
		if (e->d_name[0] == '.' && strstr(e->d_name, ".vmkit-"))
			(void)unlinkat(dirfd(dir), e->d_name, 0);
		else
			used = used ||
			       (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
				strcmp(e->d_name, ".head") && strcmp(e->d_name, PRESENT_FILE));
	}
	if (!dir || used) {
		if (dir)
			(void)closedir(dir);
		return;
	}
	(void)closedir(dir);
	if (head)
		(void)unlink(head);
	if (present)
		(void)unlink(present);
	(void)rmdir(d->dir);
}

void snap_close(struct snap_disk *d)
{
	if (!d)
		return;
	if (d->lock >= 0) {
		if (d->change)
			tidy(d);
		(void)close(d->lock);
	}
	free(d->path);
	free(d->home);
	free(d->dir);
	free(d);
}

void snap_know(struct snap_disk *d, const struct snap_known *known, size_t n)
{
	d->known = known;
	d->n_known = n;
}

const char *snap_path(const struct snap_disk *d)
{
	return d->path;
}

/* ---- the list */

void entry_release(struct snap_entry *e)
{
	free(e->name);
	free(e->parent);
	free(e->file);
	free(e->memory);
}

void snap_list_free(struct snap_entry *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		entry_release(&list[i]);
	free(list);
}

struct list {
	struct snap_entry *items;
	size_t n;
};

static struct snap_entry *more(struct list *l, struct err *err)
{
	struct snap_entry *p = reallocarray(l->items, l->n + 1, sizeof(*p));

	if (!p) {
		err_nomem(err);
		return NULL;
	}
	l->items = p;
	p[l->n] = (struct snap_entry){0};
	return &p[l->n++];
}

static int add_records(struct snap_disk *d, struct list *l, struct err *err)
{
	struct dirent *e;
	DIR *dir = d->lock >= 0 ? opendir(d->dir) : NULL;
	int rc = 0;

	while (dir && rc == 0 && (e = readdir(dir))) {
		size_t len = strlen(e->d_name);
		char name[SNAP_NAME_MAX + 1];
		struct snap_entry *to;

		if (len < 6 || len > SNAP_NAME_MAX + 5 || e->d_name[0] == '.' ||
		    strcmp(e->d_name + len - 5, ".json") != 0)
			continue;
		(void)snprintf(name, sizeof(name), "%.*s", (int)(len - 5), e->d_name);
		to = snap_name_check(name, NULL) < 0 ? NULL : more(l, err);
		if (to)
			rc = record_read(d, name, to, err);
	}
	if (dir)
		(void)closedir(dir);
	return rc;
}

static int internal_one(const struct snap_disk *d, const json_t *s, struct list *l, struct err *err)
{
	const char *name = NULL, *created = NULL;
	json_int_t size = 0, state = 0;
	struct snap_entry *to;
	char when[32];

	if (json_unpack((json_t *)(uintptr_t)s, "{s:s, s:s, s:I, s:I}", "name", &name, "created",
			&created, "virtual_size", &size, "vm_state_size", &state) < 0)
		return 0; /* the mark that the list was cut */
	to = more(l, err);
	if (!to)
		return -1;
	/* Seconds are enough */
	(void)snprintf(when, sizeof(when), "%.19sZ", created);
	(void)clock_parse_utc(when, &to->created);
	to->engine = SNAP_INTERNAL;
	to->virtual_size = (uint64_t)size;
	to->vm_state_size = (uint64_t)state;
	to->automatic = strncmp(name, "auto-", 5) == 0;
	to->name = strdup(name);
	to->parent = strdup("");
	if (!to->name || !to->parent)
		return err_nomem(err);
	/* A name of qemu-img's may be any */
	if (snap_name_check(name, NULL) == 0)
		find_memory(d, to);
	return 0;
}

static int add_internal(struct snap_disk *d, struct list *l, struct err *err)
{
	/* Looking at the header does no harm to who has the image open */
	const struct image_open_opts opts = {.flags = IMAGE_INFO | IMAGE_SHARED};
	struct image *img;
	json_t *info, *s;
	size_t i;
	int rc;

	if (image_open(&img, d->path, &opts, err) < 0)
		return -1;
	rc = image_info(img, &info, err);
	image_close(img);
	if (rc < 0)
		return -1;
	json_array_foreach(json_object_get(info, "snapshots"), i, s) if (rc == 0) rc =
		internal_one(d, s, l, err);
	json_decref(info);
	return rc;
}

static int by_time(const void *a, const void *b)
{
	const struct snap_entry *x = a, *y = b;

	if (x->created != y->created)
		return x->created < y->created ? -1 : 1;
	/* Of one second: none before what it leans on */
	if (x->depth != y->depth)
		return x->depth < y->depth ? -1 : 1;
	return strcmp(x->name, y->name);
}

int list_entries(struct snap_disk *d, struct snap_entry **ret, size_t *ret_n, struct err *err)
{
	struct list l = {0};

	if (add_records(d, &l, err) < 0 || add_internal(d, &l, err) < 0) {
		snap_list_free(l.items, l.n);
		return -1;
	}
	if (l.n)
		qsort(l.items, l.n, sizeof(*l.items), by_time);
	*ret = l.items;
	*ret_n = l.n;
	return 0;
}

int snap_list(struct snap_disk *d, struct snap_entry **ret, size_t *ret_n, struct err *err)
{
	if (list_entries(d, ret, ret_n, err) < 0)
		return -1;
	if (tree_annotate(d, *ret, *ret_n, err) < 0) {
		snap_list_free(*ret, *ret_n);
		return -1;
	}
	if (*ret_n)
		qsort(*ret, *ret_n, sizeof(**ret), by_time); /* the depth is known now */
	return 0;
}

int snap_find(struct snap_disk *d, const char *name, struct snap_entry **ret, struct err *err)
{
	struct snap_entry *list, swap;
	size_t n, i = 0;

	if (snap_list(d, &list, &n, err) < 0)
		return -1;
	while (i < n && strcmp(list[i].name, name) != 0)
		i++;
	if (i == n) {
		snap_list_free(list, n);
		err_set(err, ERR_NOT_FOUND, "has no snapshot %s", name);
		return err_object(err, d->path);
	}
	swap = list[0];
	list[0] = list[i];
	list[i] = swap;
	for (i = 1; i < n; i++)
		entry_release(&list[i]);
	*ret = list;
	return 0;
}

int snap_image(struct snap_disk *d, const char *name, struct image **ret, struct err *err)
{
	struct image_open_opts opts = {0};
	struct snap_entry *e = NULL;
	int rc;

	if (!name)
		return image_open(ret, d->path, NULL, err);
	if (snap_find(d, name, &e, err) < 0)
		return -1;
	if (e->engine == SNAP_INTERNAL)
		opts.snapshot = name;
	rc = image_open(ret, e->file ? e->file : d->path, &opts, err);
	snap_list_free(e, 1);
	return rc;
}
