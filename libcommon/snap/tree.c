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
	l->internal = (unsigned)json_array_size(json_object_get(info, "snapshots"));
	if (bitmap_in(info))
		l->bitmap = strdup(bitmap_in(info));
	json_decref(info);
	if (l->backing)
		below_find(l->path, l->backing, &l->below);
	return 0;
}

void layer_release(struct layer *l)
{
	free(l->path);
	free(l->backing);
	free(l->backing_format);
	free(l->bitmap);
}

int layer_read(struct layer *ret, const char *path, struct err *err)
{
	*ret = (struct layer){.path = strdup(path)};
	if (!ret->path)
		return err_nomem(err);
	if (read_header(ret, err) == 0)
		return 0;
	layer_release(ret);
	*ret = (struct layer){0};
	return err_object(err, path);
}

bool leans_on(const struct layer *l, const struct layer *below)
{
	return l != below && !l->missing && !below->missing && l->below.ino &&
	       l->below.ino == below->ino && l->below.dev == below->dev;
}

const struct layer *tree_next_child(const struct tree *t, const struct layer *l,
				    const struct layer *after)
{
	for (size_t i = after ? (size_t)(after - t->layers) + 1 : 0; i < t->n; i++)
		if (leans_on(&t->layers[i], l))
			return &t->layers[i];
	return NULL;
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
		/* What was overwritten reads as raw */
		if (e && strcmp(l->format, "qcow2") != 0)
			l->missing = true;
	}
	if (t->n > 1 && strcmp(t->layers[0].format, "qcow2") != 0)
		t->layers[0].below.unclear = true;
	return 0;
}

static void free_layers(struct tree *t)
{
	for (size_t i = 0; i < t->n; i++)
		layer_release(&t->layers[i]);
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
		err_hint(err, "vmsnap delete --lost forgets one whose file is gone for good");
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

/* ---- what forbids to remove or to write a file */

const struct layer *tree_unclear(const struct tree *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->layers[i].missing || t->layers[i].below.unclear)
			return &t->layers[i];
	return NULL;
}

int refuse_unclear(const struct tree *t, struct err *err)
{
	const struct layer *l = tree_unclear(t);

	if (!l)
		return 0;
	if (l->missing) {
		err_set(err, ERR_CORRUPT,
			"the file of snapshot %s is gone, or is no image: nobody knows what it "
			"leans on",
			l->name ? l->name : "");
		err_hint(err, "put it back; vmsnap delete --lost forgets one that is gone for "
			      "good");
	} else if (strcmp(l->format, "qcow2") != 0) {
		err_set(err, ERR_CORRUPT,
			"is no qcow2 image any more: nobody knows what it leaned on");
	} else {
		err_set(err, ERR_BUSY,
			"has a backing file whose name is not understood: it may be any");
		err_hint(err, "qemu-img rebase -u -b FILE gives it a plain one");
	}
	return err_object(err, l->path);
}

const char *bitmap_in(const json_t *info)
{
	const json_t *list = json_object_get(json_object_get(info, "format_specific"), "bitmaps");
	json_t *b, *flag;
	size_t i, k;

	json_array_foreach(list, i, b)
	{
		bool in_use = false, automatic = false;

		json_array_foreach(json_object_get(b, "flags"), k, flag)
		{
			const char *text = json_string_value(flag);

			in_use = in_use || (text && strcmp(text, "in-use") == 0);
			automatic = automatic || (text && strcmp(text, "auto") == 0);
		}
		/* Without "auto" it was disabled by somebody, and still says what it said then */
		if (!in_use && (!automatic || json_is_true(json_object_get(b, "consistent"))))
			return json_string_value(json_object_get(b, "name"));
	}
	return NULL;
}

int refuse_bitmap(const char *bitmap, const char *path, struct err *err)
{
	err_set(err, ERR_UNSUPPORTED,
		"has the persistent bitmap %s, which would be lost: the next incremental backup "
		"needs it",
		bitmap);
	err_hint(err, "qemu-img bitmap --remove FILE %s gives it up", bitmap);
	return err_object(err, path);
}

int refuse_internal(const struct layer *l, struct err *err)
{
	if (!l->internal)
		return 0;
	err_set(err, ERR_UNSUPPORTED,
		"has %u internal snapshot%s, which would be lost or show something else",
		l->internal, l->internal > 1 ? "s" : "");
	err_hint(err, "qemu-img snapshot -l lists, -d deletes them");
	return err_object(err, l->path);
}

int refuse_inside(const struct layer *l, struct err *err)
{
	if (refuse_internal(l, err) < 0)
		return -1;
	return l->bitmap ? refuse_bitmap(l->bitmap, l->path, err) : 0;
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
	struct layer l;
	struct stat st;
	int rc = 0;

	/* What cannot be read, or is no image, leans on nothing that we could know of */
	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || layer_read(&l, path, NULL) < 0)
		return 0;
	if (!is_ours(t, &l) && leans_on(&l, below)) {
		rc = err_set(err, ERR_BUSY, "is the backing file of %s, which is no snapshot",
			     path);
		err_hint(err, "vmimg rebase makes that image stand by itself");
	} else if (!is_ours(t, &l) && l.below.unclear) {
		rc = err_set(err, ERR_BUSY,
			     "may be the backing file of %s, whose name for that is not understood",
			     path);
		err_hint(err, "qemu-img rebase -u -b FILE gives it a plain one");
	}
	if (rc < 0)
		err_object(err, below->path);
	layer_release(&l);
	return rc;
}

/* Down its chain, to where ours begins: from there on it shows what it showed. Return: as refuse_foreign() */
static int refuse_known(const struct tree *t, const struct snap_known *known,
			const struct layer *below, struct err *err)
{
	CLEANUP_FREE char *path = strdup(known->path);
	int rc = 0, steps = 0;

	for (bool on = path != NULL; rc == 0 && on && steps < 200; steps++) {
		char *next = NULL;
		struct layer l;

		if (layer_read(&l, path, NULL) < 0)
			return 0;
		if ((steps == 0 && l.ino == below->ino && l.dev == below->dev) ||
		    (!is_ours(t, &l) && leans_on(&l, below))) {
			rc = err_set(err, ERR_BUSY, "is needed by %s (%s)", known->owner,
				     known->path);
			err_object(err, below->path);
		} else if (!is_ours(t, &l) && l.backing) {
			next = below_path(path, l.backing);
		}
		layer_release(&l);
		free(path);
		path = next;
		on = path != NULL;
	}
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
	for (size_t i = 0; rc == 0 && i < d->n_known; i++)
		rc = refuse_known(t, &d->known[i], l, err);
	return rc;
}
