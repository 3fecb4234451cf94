/* Which file leans on which: read from the headers, which cannot be out of step with the files. */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/snap/private.h"

/* The backing file of the image @path that its header calls @name; 0 in @ret_ino: not there */
static void find_below(const char *path, const char *name, dev_t *ret_dev, ino_t *ret_ino)
{
	CLEANUP_FREE char *full = NULL;
	const char *slash = strrchr(path, '/');
	struct stat st;

	*ret_ino = 0;
	if (strncmp(name, "file:", 5) == 0)
		name += 5;
	if (*name == '/' || !slash)
		full = strdup(name);
	else if (asprintf(&full, "%.*s%s", (int)(slash - path + 1), path, name) < 0)
		full = NULL;
	if (full && stat(full, &st) == 0) {
		*ret_dev = st.st_dev;
		*ret_ino = st.st_ino;
	}
}

static char *copy_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? strdup(text) : NULL;
}

/* The header of @l->path */
static int read_header(struct layer *l, struct err *err)
{
	/* Looking at headers does no harm to who has the image open */
	const struct image_open_opts opts = {.flags = IMAGE_INFO | IMAGE_SHARED};
	struct image *img;
	struct stat st;
	json_t *info;
	int rc;

	if (stat(l->path, &st) < 0)
		return err_sys(err, "cannot look at it");
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	if (image_open(&img, l->path, &opts, err) < 0)
		return -1;
	l->size = image_size(img);
	(void)snprintf(l->format, sizeof(l->format), "%s", image_format_name(img));
	rc = image_info(img, &info, err);
	image_close(img);
	if (rc < 0)
		return -1;
	l->backing = copy_of(info, "backing_file");
	l->backing_format = copy_of(info, "backing_format");
	json_decref(info);
	if (l->backing)
		find_below(l->path, l->backing, &l->below_dev, &l->below_ino);
	return 0;
}

bool leans_on(const struct layer *l, const struct layer *below)
{
	return l != below && !l->missing && !below->missing && l->below_ino &&
	       l->below_ino == below->ino && l->below_dev == below->dev;
}

static int build(struct snap_disk *d, struct tree *t, struct err *err)
{
	struct layer *l;

	t->layers = calloc(t->n_list + 1, sizeof(*t->layers));
	if (!t->layers)
		return err_nomem(err);
	for (size_t i = 0; i <= t->n_list; i++) {
		const struct snap_entry *e = i ? &t->list[i - 1] : NULL;

		if (e && e->engine != SNAP_EXTERNAL)
			continue;
		l = &t->layers[t->n++];
		l->name = e ? e->name : NULL;
		l->path = strdup(e ? e->file : d->path);
		if (!l->path)
			return err_nomem(err);
		if (read_header(l, e ? NULL : err) < 0) {
			if (!e)
				return -1;
			l->missing = true;
		}
	}
	return 0;
}

static void free_layers(struct tree *t)
{
	for (size_t i = 0; i < t->n; i++) {
		free(t->layers[i].path);
		free(t->layers[i].backing);
		free(t->layers[i].backing_format);
	}
	free(t->layers);
}

void tree_free(struct tree *t)
{
	free_layers(t);
	snap_list_free(t->list, t->n_list);
	*t = (struct tree){0};
}

int tree_load(struct snap_disk *d, struct tree *ret, struct err *err)
{
	*ret = (struct tree){0};
	if (list_entries(d, &ret->list, &ret->n_list, err) == 0 && build(d, ret, err) == 0)
		return 0;
	tree_free(ret);
	return -1;
}

int tree_find(const struct snap_disk *d, const struct tree *t, const char *name,
	      const struct layer **ret, struct err *err)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct layer *l = &t->layers[i];

		if (name ? !l->name || strcmp(l->name, name) != 0 : l->name != NULL)
			continue;
		*ret = l;
		if (!l->missing)
			return 0;
		err_set(err, ERR_NOT_FOUND, "the file of snapshot %s is gone, or is no image",
			name);
		return err_object(err, l->path);
	}
	err_set(err, ERR_NOT_FOUND, "has no snapshot %s", name ? name : "");
	return err_object(err, d->path);
}

const struct layer *tree_parent(const struct tree *t, const struct layer *l)
{
	for (size_t i = 0; i < t->n; i++)
		if (leans_on(l, &t->layers[i]))
			return &t->layers[i];
	return NULL;
}

static struct snap_entry *entry_of(const struct tree *t, const struct layer *l)
{
	for (size_t i = 0; l && l->name && i < t->n_list; i++)
		if (t->list[i].name == l->name)
			return &t->list[i];
	return NULL;
}

static int annotate(const struct tree *t, struct err *err)
{
	for (size_t i = 0; i < t->n; i++) {
		struct snap_entry *e = entry_of(t, &t->layers[i]);
		const struct layer *up = tree_parent(t, &t->layers[i]);
		unsigned steps = 0;

		if (!e)
			continue;
		free(e->parent);
		e->parent = strdup(up && up->name ? up->name : "");
		if (!e->parent)
			return err_nomem(err);
		/* Headers may form a loop */
		for (; up && steps <= t->n; steps++)
			up = tree_parent(t, up);
		e->depth = steps;
	}

	const struct layer *up = tree_parent(t, &t->layers[0]);

	for (size_t steps = 0; up && steps <= t->n; steps++, up = tree_parent(t, up)) {
		struct snap_entry *e = entry_of(t, up);

		if (e)
			e->current = true;
	}
	return 0;
}

int tree_annotate(struct snap_disk *d, struct snap_entry *list, size_t n, struct err *err)
{
	struct tree t = {.list = list, .n_list = n};
	bool any = false;
	int rc = 0;

	for (size_t i = 0; i < n; i++)
		any = any || list[i].engine == SNAP_EXTERNAL;
	if (any)
		rc = build(d, &t, err) < 0 ? -1 : annotate(&t, err);
	free_layers(&t);
	return rc;
}

/* ---- images that are none of ours */

static bool is_ours(const struct tree *t, const struct layer *l)
{
	for (size_t i = 0; i < t->n; i++)
		if (!t->layers[i].missing && t->layers[i].dev == l->dev &&
		    t->layers[i].ino == l->ino)
			return true;
	return false;
}

static int refuse_if_on(const struct tree *t, const char *path, const struct layer *below,
			struct err *err)
{
	struct layer l = {.path = strdup(path)};
	struct stat st;
	int rc = 0;

	if (!l.path)
		return err_nomem(err);
	/* What cannot be read, or is no image, leans on nothing that we could know of */
	if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && read_header(&l, NULL) == 0 &&
	    leans_on(&l, below) && !is_ours(t, &l)) {
		rc = err_set(err, ERR_BUSY, "is the backing file of %s, which is no snapshot",
			     path);
		err_object(err, below->path);
		err_hint(err, "vmimg rebase makes that image stand by itself");
	}
	free(l.path);
	free(l.backing);
	free(l.backing_format);
	return rc;
}

int refuse_foreign(const struct snap_disk *d, const struct tree *t, const struct layer *l,
		   struct err *err)
{
	CLEANUP_FREE char *folder = beside(d, ".");
	struct dirent *e;
	DIR *dir = folder ? opendir(folder) : NULL;
	int rc = 0;

	if (!dir)
		return folder ? err_sys(err, "cannot list the folder %s", folder) : err_nomem(err);
	while (rc == 0 && (e = readdir(dir))) {
		CLEANUP_FREE char *path = e->d_type == DT_DIR ? NULL : beside(d, e->d_name);

		if (path)
			rc = refuse_if_on(t, path, l, err);
	}
	(void)closedir(dir);
	return rc;
}
