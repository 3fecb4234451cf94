/* Paths inside of a disk: links are followed and mounts crossed as in the running system, and nothing leads out. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/guest/guest.h"

enum { LINKS_MOST = 40 };

/* Where we are: each part of the path with its node, so that ".." is ours and never the disk's */
struct step {
	int volume;
	struct fs_node node;
	size_t len; /* of the path up to here */
};

struct finder {
	struct guest *g;
	const struct guest_system *system;
	struct step *steps; /* GUEST_DEPTH_MOST + 1 */
	size_t depth;
	char *path;    /* GUEST_PATH_MOST + 1 */
	char *pending; /* what is still to be walked; owned */
	unsigned links;
};

int guest_mount_at(const struct guest_system *system, const char *path)
{
	for (size_t i = 0; system && i < system->n_mounts; i++)
		if (system->mounts[i].volume >= 0 && strcmp(system->mounts[i].dir, path) == 0)
			return system->mounts[i].volume;
	return -1;
}

/* Go on at the root of volume @i, as the step that is the last one */
static int enter_volume(struct finder *f, int i, struct err *err)
{
	struct step *s = &f->steps[f->depth];
	struct fs *fs;

	if (guest_fs(f->g, i, &fs, err) < 0)
		return -1;
	s->volume = i;
	return fs_root(fs, &s->node, err);
}

static int follow(struct finder *f, struct fs *fs, struct fs_node *link, const char *rest,
		  struct err *err)
{
	CLEANUP_FREE char *target = NULL;
	size_t len, total;
	char *both;

	if (++f->links > LINKS_MOST)
		return err_set(err, ERR_CORRUPT, "more than %d symbolic links", LINKS_MOST);
	if (fs_readlink(fs, link, &target, err) < 0)
		return -1;
	len = strlen(target);
	total = len + 1 + strlen(rest);
	if (total > GUEST_PATH_MOST)
		return err_set(err, ERR_UNSUPPORTED, "a path of more than %d bytes",
			       GUEST_PATH_MOST);
	both = malloc(total + 1);
	if (!both)
		return err_nomem(err);
	memcpy(both, target, len);
	both[len] = '/';
	memcpy(both + len + 1, rest, total - len);
	if (*target == '/')
		f->depth = 0;
	free(f->pending);
	f->pending = both;
	return 0;
}

static int push(struct finder *f, const struct step *from, const struct fs_node *node,
		const char *name, size_t len, struct err *err)
{
	struct step *s;
	int mounted;

	if (f->depth >= GUEST_DEPTH_MOST || from->len + 1 + len > GUEST_PATH_MOST)
		return err_set(err, ERR_UNSUPPORTED, "a path that is too deep");
	f->path[from->len] = '/';
	memcpy(f->path + from->len + 1, name, len);
	f->path[from->len + 1 + len] = '\0';
	s = &f->steps[++f->depth];
	*s = (struct step){from->volume, *node, from->len + 1 + len};
	mounted = guest_mount_at(f->system, f->path);
	return mounted >= 0 ? enter_volume(f, mounted, err) : 0;
}

/* One part of the pending path. @at: offset in it, moved on */
static int walk_part(struct finder *f, size_t *at, unsigned flags, struct err *err)
{
	const char *part = f->pending + *at;
	size_t len = strcspn(part, "/");
	const struct step from = f->steps[f->depth];
	CLEANUP_FREE char *name = strndup(part, len);
	struct fs_node node;
	struct fs *fs;
	bool found, last = part[len + strspn(part + len, "/")] == '\0';

	if (!name)
		return err_nomem(err);
	*at += len + strspn(part + len, "/");
	if (len == 0 || strcmp(name, ".") == 0)
		return 0;
	if (strcmp(name, "..") == 0) {
		f->depth -= f->depth > 0;
		return 0;
	}
	if (from.node.type != FS_DIR)
		return err_set(err, ERR_NOT_FOUND, "a part of the path is not a folder");
	if (guest_fs(f->g, from.volume, &fs, err) < 0 ||
	    fs_lookup(fs, &from.node, name, &node, &found, err) < 0)
		return -1;
	if (!found)
		return err_set(err, ERR_NOT_FOUND, "no such file or folder");
	/* A "/" behind the name asks for what the link leads to */
	if (node.type == FS_SYMLINK && !(last && flags & GUEST_NO_FOLLOW && part[len] == '\0')) {
		CLEANUP_FREE char *rest = strdup(f->pending + *at);

		*at = 0;
		return rest ? follow(f, fs, &node, rest, err) : err_nomem(err);
	}
	return push(f, &from, &node, name, len, err);
}

static int finish(struct finder *f, struct guest_place *ret, struct err *err)
{
	const struct step *s = &f->steps[f->depth];

	ret->volume = s->volume;
	ret->node = s->node;
	ret->system = f->system;
	ret->path = s->len ? strndup(f->path, s->len) : strdup("/");
	if (!ret->path)
		return err_nomem(err);
	return guest_fs(f->g, s->volume, &ret->fs, err);
}

int guest_path(struct guest *g, int volume, const struct guest_system *system, const char *path,
	       unsigned flags, struct guest_place *ret, struct err *err)
{
	struct finder f = {.g = g, .system = system};
	size_t at = 0;
	int rc;

	*ret = (struct guest_place){0};
	if (strlen(path) > GUEST_PATH_MOST)
		return err_set(err, ERR_USAGE, "a path of more than %d bytes", GUEST_PATH_MOST);
	f.steps = calloc(GUEST_DEPTH_MOST + 1, sizeof(*f.steps));
	f.path = calloc(1, GUEST_PATH_MOST + 2);
	f.pending = strdup(path);
	rc = f.steps && f.path && f.pending ? enter_volume(&f, volume, err) : err_nomem(err);
	while (rc == 0 && f.pending[at])
		rc = walk_part(&f, &at, flags, err);
	/* "file/" is no file */
	if (rc == 0 && *path && path[strlen(path) - 1] == '/' &&
	    f.steps[f.depth].node.type != FS_DIR)
		rc = err_set(err, ERR_NOT_FOUND, "not a folder");
	if (rc == 0)
		rc = finish(&f, ret, err);
	if (rc < 0)
		guest_place_release(ret);
	free(f.steps);
	free(f.path);
	free(f.pending);
	return rc;
}

void guest_place_release(struct guest_place *p)
{
	free(p->path);
	*p = (struct guest_place){0};
}
