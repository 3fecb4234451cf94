/* guest_compare(): two trees walked side by side. What their nodes do not tell is read where the disks differ. */
#include "libcommon/guest/compare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/stop.h"
#include "libcommon/guest/seen.h"
#include "libcommon/image/copy/diff.h"

enum { PIECE = 1 << 16 };

/* One volume in both states; NULL: it is not there */
struct sides {
	struct fs *a, *b;
	const struct changes *changed;
	uint64_t base; /* of the volume in what @changed speaks of */
	const struct guest_compare *how;
	struct seen seen_a, seen_b;
	unsigned depth;
	char *path;
	size_t prefix; /* where the path in the volume begins */
	uint8_t *buf_a, *buf_b;
};

static int tell(struct sides *s, enum guest_change what, struct fs_node *a, struct fs_node *b,
		struct err *err)
{
	const struct guest_difference d = {.path = s->path, .what = what, .a = a, .b = b};

	if ((a && fs_fill(s->a, a, err) < 0) || (b && fs_fill(s->b, b, err) < 0))
		return -1;
	return s->how->tell(s->how->ctx, &d, err);
}

/* ---- one file */

static bool same_runs(const struct fs_map *a, const struct fs_map *b)
{
	if (a->n != b->n || a->bytes || b->bytes)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (a->runs[i].off != b->runs[i].off || a->runs[i].len != b->runs[i].len ||
		    a->runs[i].place != b->runs[i].place)
			return false;
	return true;
}

static bool touched(const struct sides *s, const struct fs_map *m)
{
	for (size_t i = 0; i < m->n; i++)
		if (changes_touch(s->changed, s->base + m->runs[i].place, m->runs[i].len))
			return true;
	return false;
}

/* Return: 1 when they hold the same, 0, -1 */
static int same_bytes(struct sides *s, const struct fs_map *a, const struct fs_map *b,
		      struct err *err)
{
	for (uint64_t at = 0; at < a->size; at += PIECE) {
		size_t n = (size_t)min_u64(PIECE, a->size - at);

		if (stop_check(err) < 0 || fs_read(s->a, a, s->buf_a, at, n, err) < 0 ||
		    fs_read(s->b, b, s->buf_b, at, n, err) < 0)
			return -1;
		if (memcmp(s->buf_a, s->buf_b, n) != 0)
			return 0;
	}
	return 1;
}

static int same_content(struct sides *s, struct fs_node *a, struct fs_node *b, struct err *err)
{
	struct fs_map x, y;
	int same;

	if (a->type == FS_CHAR || a->type == FS_BLOCK)
		return a->major == b->major && a->minor == b->minor;
	if (a->type != FS_FILE && a->type != FS_SYMLINK)
		return 1;
	if (a->size != b->size)
		return 0;
	if (fs_map(s->a, a, &x, err) < 0)
		return -1;
	if (fs_map(s->b, b, &y, err) < 0) {
		fs_map_release(&x);
		return -1;
	}
	same = same_runs(&x, &y) && !touched(s, &x) ? 1 : same_bytes(s, &x, &y, err);
	fs_map_release(&x);
	fs_map_release(&y);
	return same;
}

static bool same_attributes(const struct fs_node *a, const struct fs_node *b)
{
	return a->mode == b->mode && a->uid == b->uid && a->gid == b->gid &&
	       (a->type == FS_DIR || (a->mtime == b->mtime && a->mtime_ns == b->mtime_ns));
}

/* ---- trees */

static int compare_dirs(struct sides *s, struct fs_node *a, struct fs_node *b, struct err *err);

static int compare_both(struct sides *s, struct fs_node *a, struct fs_node *b, struct err *err)
{
	int same;

	if (fs_fill(s->a, a, err) < 0 || fs_fill(s->b, b, err) < 0)
		return -1;
	if (a->type != b->type) {
		if (tell(s, GUEST_CONTENT, a, b, err) < 0)
			return -1;
		if (a->type == FS_DIR)
			return compare_dirs(s, a, NULL, err);
		return b->type == FS_DIR ? compare_dirs(s, NULL, b, err) : 0;
	}
	same = same_content(s, a, b, err);
	if (same < 0)
		return -1;
	if ((!same || !same_attributes(a, b)) &&
	    tell(s, same ? GUEST_ATTRIBUTES : GUEST_CONTENT, a, b, err) < 0)
		return -1;
	return a->type == FS_DIR ? compare_dirs(s, a, b, err) : 0;
}

/* @name is in one of them, or in both */
static int compare_entry(struct sides *s, const char *name, struct fs_node *a, struct fs_node *b,
			 struct err *err)
{
	size_t len = strlen(s->path), more = strlen(name);
	bool at_root = len == s->prefix + 1;
	struct fs_node *one = a ? a : b;
	int rc;

	if (stop_check(err) < 0)
		return -1;
	if (len - s->prefix + 1 + more > GUEST_PATH_MOST)
		return err_set(err, ERR_UNSUPPORTED, "a path of more than %d bytes",
			       GUEST_PATH_MOST);
	if (!at_root)
		s->path[len] = '/';
	memcpy(s->path + len + !at_root, name, more + 1);
	if (a && b) {
		rc = compare_both(s, a, b, err);
	} else {
		rc = tell(s, a ? GUEST_REMOVED : GUEST_ADDED, a, b, err);
		if (rc == 0 && one->type == FS_DIR)
			rc = compare_dirs(s, a, b, err);
	}
	if (rc == 0) /* else the path tells where it was */
		s->path[len] = '\0';
	return rc;
}

static int enter(struct seen *seen, const struct fs_node *dir, struct err *err)
{
	const char *earlier = NULL;

	if (dir && seen_add(seen, 0, dir->id, "", &earlier, err) < 0)
		return -1;
	return earlier ? err_set(err, ERR_CORRUPT, "a folder is in two places: the tree is damaged")
		       : 0;
}

static int merge(struct sides *s, struct fs_list *x, struct fs_list *y, struct err *err)
{
	size_t i = 0, k = 0;
	int rc = 0;

	while (rc == 0 && (i < x->n || k < y->n)) {
		int order = i == x->n	? 1
			    : k == y->n ? -1
					: strcmp(x->entries[i].name, y->entries[k].name);
		struct fs_entry *a = order <= 0 ? &x->entries[i++] : NULL;
		struct fs_entry *b = order >= 0 ? &y->entries[k++] : NULL;

		rc = compare_entry(s, a ? a->name : b->name, a ? &a->node : NULL,
				   b ? &b->node : NULL, err);
	}
	return rc;
}

static int compare_dirs(struct sides *s, struct fs_node *a, struct fs_node *b, struct err *err)
{
	struct fs_list x = {0}, y = {0};
	int rc = 0;

	if (++s->depth > GUEST_DEPTH_MOST)
		return err_set(err, ERR_CORRUPT, "folders are more than %d deep", GUEST_DEPTH_MOST);
	if (enter(&s->seen_a, a, err) < 0 || enter(&s->seen_b, b, err) < 0)
		return -1;
	if (a)
		rc = fs_list(s->a, a, &x, err);
	if (rc == 0 && b)
		rc = fs_list(s->b, b, &y, err);
	if (rc == 0)
		rc = merge(s, &x, &y, err);
	fs_list_release(&x);
	fs_list_release(&y);
	s->depth--;
	return rc;
}

/* ---- volumes */

static int compare_trees(struct sides *s, const char *label, struct err *err)
{
	struct fs_node a, b;
	int rc;

	s->prefix = *label ? strlen(label) + 1 : 0;
	s->path = malloc(s->prefix + GUEST_PATH_MOST + FS_NAME_MOST + 4);
	s->buf_a = malloc(PIECE);
	s->buf_b = malloc(PIECE);
	if (!s->path || !s->buf_a || !s->buf_b) {
		rc = err_nomem(err);
	} else {
		(void)snprintf(s->path, s->prefix + 2, "%s%s/", label, *label ? ":" : "");
		rc = s->a ? fs_root(s->a, &a, err) : 0;
		if (rc == 0 && s->b)
			rc = fs_root(s->b, &b, err);
		if (rc == 0)
			rc = compare_dirs(s, s->a ? &a : NULL, s->b ? &b : NULL, err);
		if (rc < 0)
			err_object(err, s->path);
	}
	free(s->path);
	free(s->buf_a);
	free(s->buf_b);
	seen_release(&s->seen_a);
	seen_release(&s->seen_b);
	return rc;
}

static int add_change(void *ctx, uint64_t off, uint64_t len, struct err *err)
{
	return changes_add(ctx, off, len, err);
}

/* Of a logical volume, whose parts lie anywhere; owned: changes_free() */
static int compare_images(struct image *a, struct image *b, struct changes **ret, struct err *err)
{
	if (changes_new(ret, err) < 0)
		return -1;
	if (image_diff(a, b, NULL, add_change, *ret, err) == 0)
		return 0;
	changes_free(*ret);
	*ret = NULL;
	return -1;
}

static bool is_same_volume(const struct guest_volume *a, const struct guest_volume *b)
{
	if (a->number || b->number)
		return a->number == b->number;
	if (!a->owned || !b->owned)
		return !a->owned == !b->owned;
	return a->name && b->name && strcmp(a->name, b->name) == 0;
}

static int find_volume(const struct guest *g, const struct guest_volume *v)
{
	for (size_t i = 0; i < g->n_volumes; i++)
		if (is_same_volume(&g->volumes[i], v))
			return (int)i;
	return -1;
}

static bool is_container(const struct guest_volume *v)
{
	return strcmp(v->info.type, "LVM2_member") == 0 || strcmp(v->info.type, "empty") == 0;
}

static int compare_volume(struct guest *a, int i, struct guest *b, int k, const char *label,
			  const struct changes *all, const struct guest_compare *how,
			  struct err *err)
{
	const struct guest_volume *x = i < 0 ? NULL : &a->volumes[i];
	const struct guest_volume *y = k < 0 ? NULL : &b->volumes[k];
	const struct guest_volume *one = x ? x : y;
	struct sides s = {.changed = all, .how = how};
	struct changes *own = NULL;
	int rc = 0;

	if (one->owned && x && y) {
		if (compare_images(x->v.img, y->v.img, &own, err) < 0)
			return -1;
		s.changed = own;
	}
	s.base = x && y && x->v.off == y->v.off ? one->v.off : 0;
	/* Moved: nothing is the same by its place, and all is read */
	if (x && y && !own && x->v.off != y->v.off) {
		rc = changes_new(&own, err) < 0 ? -1 : changes_add(own, 0, INT64_MAX, err);
		s.changed = own;
	}
	bool changed = !x || !y || changes_touch(s.changed, s.base, one->v.len);

	if (rc < 0 || !changed) {
		changes_free(own);
		return rc;
	}
	for (int side = 0; rc == 0 && side < 2; side++) {
		const struct guest_volume *v = side ? y : x;

		if (!v || is_container(v))
			continue;
		if (!fs_is_read(v->info.family))
			rc = how->unread(how->ctx, label, v->info.type, err) < 0 ? -1 : 1;
		else
			rc = guest_fs(side ? b : a, side ? k : i, side ? &s.b : &s.a, err);
		if (rc == 0 && v->info.has_clean && !v->info.clean)
			how->unclean(how->ctx, label);
	}
	if (rc == 0 && (s.a || s.b))
		rc = compare_trees(&s, label, err);
	changes_free(own);
	return rc < 0 ? -1 : 0;
}

static size_t count_read(const struct guest *g)
{
	size_t n = 0;

	for (size_t i = 0; i < g->n_volumes; i++)
		n += !is_container(&g->volumes[i]);
	return n;
}

static int compare_as(struct guest *a, int i, struct guest *b, int k, bool several,
		      const struct changes *changed, const struct guest_compare *how,
		      struct err *err)
{
	const struct guest_volume *v = i < 0 ? &b->volumes[k] : &a->volumes[i];
	char number[16] = "";
	const char *label = number;

	if (several && v->owned && v->name)
		label = v->name;
	else if (several)
		(void)snprintf(number, sizeof(number), "%u", v->number);
	return compare_volume(a, i, b, k, label, changed, how, err);
}

int guest_compare(struct guest *a, struct guest *b, const struct changes *changed,
		  const struct guest_compare *how, struct err *err)
{
	bool several = count_read(a) > 1 || count_read(b) > 1;

	for (size_t i = 0; i < a->n_volumes; i++)
		if (compare_as(a, (int)i, b, find_volume(b, &a->volumes[i]), several, changed, how,
			       err) < 0)
			return -1;
	for (size_t k = 0; k < b->n_volumes; k++)
		if (find_volume(a, &b->volumes[k]) < 0 &&
		    compare_as(a, -1, b, (int)k, several, changed, how, err) < 0)
			return -1;
	return 0;
}
