/* A folder and all below it. Each folder is entered once: trees that lead into themselves end. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/stop.h"
#include "libcommon/guest/guest.h"
#include "libcommon/guest/seen.h"

struct walker {
	struct guest *g;
	const struct guest_place *place;
	bool deep;
	int (*visit)(void *ctx, const struct guest_item *item, struct err *err);
	void *ctx;
	struct seen seen;
	char *path;    /* that of the place, and what is below it */
	size_t prefix; /* where what is below it begins */
	unsigned depth;
};

static int enter_once(struct walker *w, int volume, const struct fs_node *dir, struct err *err)
{
	const char *earlier;

	if (seen_add(&w->seen, volume, dir->id, "", &earlier, err) < 0)
		return -1;
	return earlier ? err_set(err, ERR_CORRUPT, "a folder is in two places: the tree is damaged")
		       : 0;
}

static int visit(struct walker *w, enum guest_item_when when, int volume, struct fs *fs,
		 struct fs_node *node, struct err *err)
{
	const char *slash = strrchr(w->path, '/');
	const struct guest_item item = {.when = when,
					.path = strlen(w->path) < w->prefix ? ""
									    : w->path + w->prefix,
					.name = slash + 1,
					.volume = volume,
					.fs = fs,
					.node = node};

	if (stop_check(err) < 0)
		return -1;
	return w->visit(w->ctx, &item, err);
}

static int walk_dir(struct walker *w, int volume, struct fs *fs, struct fs_node *dir,
		    struct err *err);

static int walk_entry(struct walker *w, int volume, struct fs *fs, struct fs_entry *e,
		      struct err *err)
{
	size_t len = strlen(w->path), more = strlen(e->name);
	bool at_root = len == 1;
	int rc, mounted;

	if (len + 1 + more > GUEST_PATH_MOST)
		return err_set(err, ERR_UNSUPPORTED, "a path of more than %d bytes",
			       GUEST_PATH_MOST);
	if (!at_root)
		w->path[len] = '/';
	memcpy(w->path + len + !at_root, e->name, more + 1);
	mounted = guest_mount_at(w->place->system, w->path);
	if (mounted >= 0) {
		volume = mounted;
		if (guest_fs(w->g, volume, &fs, err) < 0 || fs_root(fs, &e->node, err) < 0)
			return -1;
	}
	if (e->node.type == FS_DIR && w->deep)
		rc = walk_dir(w, volume, fs, &e->node, err);
	else
		rc = visit(w, ITEM_LEAF, volume, fs, &e->node, err);
	if (rc == 0) /* else the path tells where it was */
		w->path[len] = '\0';
	return rc;
}

static int walk_dir(struct walker *w, int volume, struct fs *fs, struct fs_node *dir,
		    struct err *err)
{
	struct fs_list list;
	int rc = 0;

	if (w->depth >= GUEST_DEPTH_MOST)
		return err_set(err, ERR_UNSUPPORTED, "folders in more than %d levels",
			       GUEST_DEPTH_MOST);
	if (enter_once(w, volume, dir, err) < 0 || visit(w, ITEM_ENTER, volume, fs, dir, err) < 0 ||
	    fs_list(fs, dir, &list, err) < 0)
		return -1;
	w->depth++;
	for (size_t i = 0; i < list.n && rc == 0; i++)
		rc = walk_entry(w, volume, fs, &list.entries[i], err);
	w->depth--;
	fs_list_release(&list);
	return rc < 0 ? -1 : visit(w, ITEM_LEAVE, volume, fs, dir, err);
}

int guest_walk(struct guest *g, const struct guest_place *place, bool deep,
	       int (*visit_fn)(void *ctx, const struct guest_item *item, struct err *err),
	       void *ctx, struct err *err)
{
	struct walker w = {.g = g, .place = place, .deep = deep, .visit = visit_fn, .ctx = ctx};
	size_t len = strlen(place->path);
	struct fs_node node = place->node;
	int rc;

	w.path = calloc(1, GUEST_PATH_MOST + 2);
	if (!w.path)
		return err_nomem(err);
	memcpy(w.path, place->path, len + 1);
	/* Behind the "/" that will follow */
	w.prefix = len == 1 ? 1 : len + 1;
	if (node.type == FS_DIR)
		rc = walk_dir(&w, place->volume, place->fs, &node, err);
	else
		rc = visit(&w, ITEM_LEAF, place->volume, place->fs, &node, err);
	if (rc < 0)
		(void)err_object(err, w.path);
	seen_release(&w.seen);
	free(w.path);
	return rc;
}
