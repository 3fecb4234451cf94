/* A file system that the appliance has mounted, as a struct fs: nodes are paths there. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"
#include "libcommon/guest/appliance.h"
#include "libcommon/guest/appliance_lib.h"

enum { READ_MOST = 1 << 20, DEV_SHIFT = 48 };

/* Nodes have the index of their path in @start: 0 is the mount point */
struct mounted {
	struct appliance *a;
	char **paths;
	size_t n, room;
};

static int add_path(struct mounted *m, const char *dir, const char *name, uint64_t *ret,
		    struct err *err)
{
	if (m->n == m->room) {
		size_t room = m->room ? 2 * m->room : 64;
		char **more = reallocarray(m->paths, room, sizeof(*more));

		if (!more)
			return err_nomem(err);
		m->paths = more;
		m->room = room;
	}
	if (asprintf(&m->paths[m->n], "%s%s%s", dir, name ? "/" : "", name ? name : "") < 0)
		return err_nomem(err);
	*ret = m->n++;
	return 0;
}

static const char *path_of(const struct fs *fs, const struct fs_node *node)
{
	const struct mounted *m = fs->priv;

	return m->paths[node->start];
}

static void take_stat(const struct guestfs_statns *s, struct fs_node *node)
{
	static const struct {
		mode_t mode;
		enum fs_type type;
	} types[] = {{S_IFREG, FS_FILE},   {S_IFDIR, FS_DIR},	{S_IFLNK, FS_SYMLINK},
		     {S_IFCHR, FS_CHAR},   {S_IFBLK, FS_BLOCK}, {S_IFIFO, FS_FIFO},
		     {S_IFSOCK, FS_SOCKET}};

	node->type = FS_UNKNOWN;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (((mode_t)s->mode & S_IFMT) == types[i].mode)
			node->type = types[i].type;
	/* Subvolumes of btrfs count their inodes anew */
	node->id = (uint64_t)s->ino ^ (uint64_t)s->dev << DEV_SHIFT;
	node->mode = (uint32_t)s->mode & 07777;
	node->uid = (uint32_t)s->uid;
	node->gid = (uint32_t)s->gid;
	node->links = (uint32_t)s->nlink;
	node->major = major((dev_t)s->rdev);
	node->minor = minor((dev_t)s->rdev);
	node->size = s->size < 0 ? 0 : (uint64_t)s->size;
	node->mtime = s->mtime;
	node->mtime_ns = (uint32_t)(s->mtime_ns % 1000000000);
	node->filled = true;
}

static int app_fill(struct fs *fs, struct fs_node *node, struct err *err)
{
	struct mounted *m = fs->priv;
	struct guestfs_statns *s = m->a->lib->lstatns(m->a->g, path_of(fs, node));

	if (!s)
		return appliance_error(m->a, err);
	take_stat(s, node);
	m->a->lib->free_statns(s);
	return 0;
}

static int app_root(struct fs *fs, struct fs_node *ret, struct err *err)
{
	*ret = (struct fs_node){.start = 0};
	return app_fill(fs, ret, err);
}

static bool is_dot(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/* Names and what they stand for: two questions for the whole folder. */
static int add_entries(struct fs *fs, const char *dir, const struct guestfs_dirent_list *names,
		       struct fs_list *ret, struct err *err)
{
	struct mounted *m = fs->priv;
	CLEANUP_FREE char **list = calloc((size_t)names->len + 1, sizeof(*list));
	struct guestfs_statns_list *stats;
	size_t n = 0;
	int rc = 0;

	if (!list)
		return err_nomem(err);
	for (uint32_t i = 0; i < names->len; i++)
		if (!is_dot(names->val[i].name))
			list[n++] = names->val[i].name;
	stats = m->a->lib->lstatnslist(m->a->g, dir, list);
	if (!stats)
		return appliance_error(m->a, err);
	if (stats->len != n)
		rc = err_set(err, ERR_FAILED, "libguestfs describes %" PRIu32 " of %zu files",
			     stats->len, n);
	for (size_t i = 0; i < n && rc == 0; i++) {
		struct fs_node node = {0};

		if (stats->val[i].ino == -1) /* it cannot be looked at */
			node.type = FS_UNKNOWN;
		else
			take_stat(&stats->val[i], &node);
		rc = add_path(m, dir, list[i], &node.start, err);
		if (rc == 0)
			rc = fs_list_add(ret, list[i], strlen(list[i]), &node, err);
	}
	m->a->lib->free_statns_list(stats);
	return rc;
}

static int app_list(struct fs *fs, const struct fs_node *dir, struct fs_list *ret, struct err *err)
{
	struct mounted *m = fs->priv;
	CLEANUP_FREE char *path = strdup(path_of(fs, dir)); /* the table moves when it grows */
	struct guestfs_dirent_list *names;
	int rc;

	if (!path)
		return err_nomem(err);
	names = m->a->lib->readdir(m->a->g, path);
	if (!names)
		return appliance_error(m->a, err);
	rc = add_entries(fs, path, names, ret, err);
	m->a->lib->free_dirent_list(names);
	return rc;
}

static int app_lookup(struct fs *fs, const struct fs_node *dir, const char *name,
		      struct fs_node *ret, bool *ret_found, struct err *err)
{
	struct mounted *m = fs->priv;
	struct fs_node node = {0};
	struct guestfs_statns *s;

	*ret_found = false;
	if (strlen(name) > FS_NAME_MOST || is_dot(name) || strchr(name, '/'))
		return 0;
	if (add_path(m, path_of(fs, dir), name, &node.start, err) < 0)
		return -1;
	s = m->a->lib->lstatns(m->a->g, path_of(fs, &node));
	if (!s && m->a->lib->last_errno(m->a->g) == ENOENT) {
		free(m->paths[--m->n]);
		return stop_check(err);
	}
	if (!s)
		return appliance_error(m->a, err);
	take_stat(s, &node);
	m->a->lib->free_statns(s);
	*ret = node;
	*ret_found = true;
	return 0;
}

static int app_map(struct fs *fs, const struct fs_node *node, struct fs_map *ret, struct err *err)
{
	struct mounted *m = fs->priv;
	char *text;

	if (node->type != FS_SYMLINK) {
		ret->remote = true;
		ret->node = *node;
		return 0;
	}
	text = m->a->lib->readlink(m->a->g, path_of(fs, node));
	if (!text)
		return appliance_error(m->a, err);
	ret->bytes = (uint8_t *)text;
	ret->size = strlen(text);
	return 0;
}

static int app_read(struct fs *fs, const struct fs_node *node, void *buf, uint64_t off, size_t len,
		    struct err *err)
{
	struct mounted *m = fs->priv;
	uint8_t *out = buf;

	while (len) {
		size_t got = 0;
		char *part;

		if (stop_check(err) < 0)
			return -1;
		part = m->a->lib->pread(m->a->g, path_of(fs, node), (int)min_u64(len, READ_MOST),
					(int64_t)off, &got);
		if (!part)
			return appliance_error(m->a, err);
		if (!got || got > len) {
			free(part);
			return err_set(err, ERR_CORRUPT, "the file ends at %" PRIu64, off);
		}
		memcpy(out, part, got);
		free(part);
		out += got;
		off += got;
		len -= got;
	}
	return 0;
}

static void app_close(struct fs *fs)
{
	struct mounted *m = fs->priv;

	for (size_t i = 0; i < m->n; i++)
		free(m->paths[i]);
	free(m->paths);
	free(m);
}

static const struct fs_ops appliance_ops = {
	.name = "libguestfs",
	.close = app_close,
	.root = app_root,
	.list = app_list,
	.fill = app_fill,
	.map = app_map,
	.read = app_read,
	.lookup = app_lookup,
};

/* Names are searched in lists, which ignore case */
static const struct fs_ops appliance_nocase_ops = {
	.name = "libguestfs",
	.close = app_close,
	.root = app_root,
	.list = app_list,
	.fill = app_fill,
	.map = app_map,
	.read = app_read,
	.ignores_case = true,
};

static int device_of(const struct guest *g, int i, char **ret, struct err *err)
{
	const struct guest_volume *v = &g->volumes[i];
	int n = v->owned    ? asprintf(ret, "/dev/%s", v->name)
		: v->number ? asprintf(ret, "/dev/sda%u", v->number)
			    : asprintf(ret, "/dev/sda");

	if (n >= 0)
		return 0;
	*ret = NULL;
	return err_nomem(err);
}

int appliance_use_subvolume(struct appliance *a, const struct guest *g, int i, const char *name,
			    struct err *err)
{
	CLEANUP_FREE char *device = NULL;
	char *mountable;

	if (a->n_roots == sizeof(a->roots) / sizeof(a->roots[0]))
		return err_set(err, ERR_UNSUPPORTED, "too many systems");
	if (device_of(g, i, &device, err) < 0)
		return -1;
	if (asprintf(&mountable, "btrfsvol:%s/%s", device, name) < 0)
		return err_nomem(err);
	a->roots[a->n_roots].volume = i;
	a->roots[a->n_roots++].mountable = mountable;
	return 0;
}

void appliance_drop_subvolume(struct appliance *a)
{
	free(a->roots[--a->n_roots].mountable);
}

/* What the appliance calls the volume, or the subvolume in it where a system was found; owned */
static int mountable_of(struct appliance *a, const struct guest *g, int i, char **ret,
			struct err *err)
{
	const struct guest_volume *v = &g->volumes[i];

	for (size_t k = 0; k < a->n_roots; k++)
		if (a->roots[k].volume == i) {
			*ret = strdup(a->roots[k].mountable);
			return *ret ? 0 : err_nomem(err);
		}
	if (device_of(g, i, ret, err) < 0)
		return -1;

	int64_t size = a->lib->blockdev_getsize64(a->g, *ret);

	if (size < 0)
		return appliance_error(a, err);
	if (v->number && (uint64_t)size != v->v.len)
		return err_set(err, ERR_FAILED,
			       "libguestfs sees %" PRId64 " bytes there, not %" PRIu64, size,
			       v->v.len);
	return 0;
}

int appliance_fs_open(struct fs **ret, struct appliance *a, const struct guest *g, int i,
		      struct err *err)
{
	CLEANUP_FREE char *mountable = NULL;
	struct mounted *m = calloc(1, sizeof(*m));
	struct fs *fs = calloc(1, sizeof(*fs));
	char point[32];
	uint64_t unused;
	int rc = m && fs ? mountable_of(a, g, i, &mountable, err) : err_nomem(err);

	(void)snprintf(point, sizeof(point), "/volume%u", a->n_points++);
	if (rc == 0)
		rc = add_path(m, point, NULL, &unused, err);
	if (rc == 0 &&
	    (a->lib->mkmountpoint(a->g, point) < 0 || a->lib->mount_ro(a->g, mountable, point) < 0))
		rc = appliance_error(a, err);
	if (rc < 0) {
		if (m && m->n)
			free(m->paths[0]);
		if (m)
			free(m->paths);
		free(m);
		free(fs);
		return -1;
	}
	m->a = a;
	fs->ops = strcmp(g->volumes[i].info.family, "ntfs") &&
				  strcmp(g->volumes[i].info.family, "exfat")
			  ? &appliance_ops
			  : &appliance_nocase_ops;
	fs->v = g->volumes[i].v;
	fs->priv = m;
	*ret = fs;
	return 0;
}
