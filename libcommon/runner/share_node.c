/* Inodes of the FUSE server: what the guest knows, each by a name in a folder that it knows too. See share.h.
 *
 * Descriptors are fewer than inodes may be, so those that were not needed for longest are closed and found again by name;
 * what is found there has to be the same inode. One whose name the guest removed keeps its descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libcommon/runner/share_private.h"

enum { DEPTH_MAX = 1024, FIRST_ROOM = 256 };

/* The root of a mount may be known as what it is, too: where it is not mounted */
#define MOUNTED (UINT64_C(1) << 63)

int share_open_below(int folder, const char *name, int flags, mode_t mode, bool mounts)
{
	const struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_NOFOLLOW | O_CLOEXEC),
		.mode = mode,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS |
			   (mounts ? 0U : RESOLVE_NO_XDEV),
	};
	long fd;

	/* EAGAIN: something was renamed meanwhile, and the kernel is not sure */
	for (int i = 0; i < 16; i++) {
		fd = syscall(SYS_openat2, folder, name, &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	return fd < 0 ? -errno : (int)fd;
}

static uint32_t *bucket_of(struct share *fs, uint64_t dev, uint64_t ino)
{
	uint64_t h = (ino ^ dev << 32) * UINT64_C(0x9e3779b97f4a7c15);

	return &fs->bucket[(h >> 40) % SHARE_BUCKETS];
}

static uint32_t find(struct share *fs, uint64_t dev, uint64_t ino)
{
	uint32_t i = *bucket_of(fs, dev, ino);

	while (i && (fs->node[i].dev != dev || fs->node[i].ino != ino))
		i = fs->node[i].next;
	return i;
}

/* ---- the list of those whose descriptors may be closed */

static void unlist(struct share *fs, uint32_t i)
{
	struct share_node *n = &fs->node[i];

	if (n->newer)
		fs->node[n->newer].older = n->older;
	else
		fs->newest = n->older;
	if (n->older)
		fs->node[n->older].newer = n->newer;
	else
		fs->oldest = n->newer;
	n->newer = n->older = 0;
}

static void list(struct share *fs, uint32_t i)
{
	fs->node[i].newer = 0;
	fs->node[i].older = fs->newest;
	if (fs->newest)
		fs->node[fs->newest].newer = i;
	else
		fs->oldest = i;
	fs->newest = i;
}

static bool is_listed(const struct share_node *n)
{
	return n->fd >= 0 && !n->pinned;
}

static void close_fd(struct share *fs, uint32_t i)
{
	struct share_node *n = &fs->node[i];

	if (n->fd < 0 || i == FUSE_ROOT_ID)
		return;
	if (is_listed(n))
		unlist(fs, i);
	(void)close(n->fd);
	n->fd = -1;
	fs->open_nodes--;
}

/* Room for one more; Return: 0 or -errno */
static int make_room(struct share *fs)
{
	while (fs->open_nodes >= fs->open_nodes_max) {
		if (!fs->oldest)
			return -ENFILE;
		close_fd(fs, fs->oldest);
	}
	return 0;
}

static void give_fd(struct share *fs, uint32_t i, int fd)
{
	fs->node[i].fd = fd;
	fs->open_nodes++;
	if (!fs->node[i].pinned)
		list(fs, i);
}

/* ---- nodes */

static int grow(struct share *fs)
{
	uint32_t room = fs->nodes_room ? 2 * fs->nodes_room : FIRST_ROOM;
	struct share_node *p;

	if (room > SHARE_NODES_MAX)
		return -ENFILE;
	p = realloc(fs->node, room * sizeof(*p));
	if (!p)
		return -ENOMEM;
	fs->node = p;
	fs->nodes_room = room;
	return 0;
}

/* Return: an index, or 0 without memory */
static uint32_t new_node(struct share *fs)
{
	uint32_t i = fs->free_node;

	if (i) {
		fs->free_node = fs->node[i].next;
	} else {
		if (fs->nodes == fs->nodes_room && grow(fs) < 0)
			return 0;
		i = fs->nodes++;
	}
	memset(&fs->node[i], 0, sizeof(fs->node[i]));
	fs->node[i].fd = -1;
	return i;
}

static void remove_from_bucket(struct share *fs, uint32_t i)
{
	uint32_t *p = bucket_of(fs, fs->node[i].dev, fs->node[i].ino);

	while (*p != i)
		p = &fs->node[*p].next;
	*p = fs->node[i].next;
}

/* Those that nobody knows and nobody is in; then its folder, if that was kept for this one alone */
static void drop_unknown(struct share *fs, uint32_t i)
{
	while (i > FUSE_ROOT_ID && !fs->node[i].lookups && !fs->node[i].children) {
		struct share_node *n = &fs->node[i];
		uint32_t parent = n->parent;

		close_fd(fs, i);
		remove_from_bucket(fs, i);
		free(n->name);
		n->used = false;
		n->next = fs->free_node;
		fs->free_node = i;
		fs->node[parent].children--;
		i = parent;
	}
}

static int set_place(struct share *fs, uint32_t i, uint32_t folder, const char *name)
{
	struct share_node *n = &fs->node[i];
	uint32_t before = n->parent;
	char *copy;

	if (i == FUSE_ROOT_ID || (before == folder && n->name && strcmp(n->name, name) == 0))
		return 0;
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	free(n->name);
	n->name = copy;
	n->parent = folder;
	fs->node[folder].children++;
	if (before) {
		fs->node[before].children--;
		drop_unknown(fs, before);
	}
	return 0;
}

int share_node_put(struct share *fs, uint32_t i, const struct share_node *n, const char *name)
{
	uint32_t *bucket;

	if (i <= FUSE_ROOT_ID || i >= SHARE_NODES_MAX)
		return -1;
	while (i >= fs->nodes_room)
		if (grow(fs) < 0)
			return -1;
	for (; fs->nodes <= i; fs->nodes++)
		fs->node[fs->nodes] = (struct share_node){.fd = -1};
	if (fs->node[i].used)
		return -1;
	fs->node[i] = *n;
	fs->node[i].name = strdup(name);
	if (!fs->node[i].name) {
		fs->node[i].used = false;
		return -1;
	}
	bucket = bucket_of(fs, n->dev, n->ino);
	fs->node[i].next = *bucket;
	*bucket = i;
	return 0;
}

bool share_nodes_linked(struct share *fs)
{
	for (uint32_t i = FUSE_ROOT_ID + 1; i < fs->nodes; i++) {
		const struct share_node *folder = share_node_get(fs, fs->node[i].parent);

		if (!fs->node[i].used) {
			fs->node[i].next = fs->free_node;
			fs->free_node = i;
		} else if (!folder || !S_ISDIR(folder->type) || folder->mounted) {
			return false;
		} else {
			fs->node[fs->node[i].parent].children++;
		}
	}
	return true;
}

int share_nodes_init(struct share *fs, int root)
{
	struct stat st;

	if (fstat(root, &st) < 0 || grow(fs) < 0)
		return -1;
	memset(fs->node, 0, 2 * sizeof(fs->node[0]));
	fs->node[0].fd = -1;
	fs->node[FUSE_ROOT_ID] = (struct share_node){.used = true,
						     .pinned = true,
						     .fd = root,
						     .type = S_IFDIR,
						     .dev = st.st_dev,
						     .ino = st.st_ino,
						     .lookups = 1};
	fs->nodes = 2;
	*bucket_of(fs, st.st_dev, st.st_ino) = FUSE_ROOT_ID;
	return 0;
}

void share_nodes_reset(struct share *fs)
{
	struct share_node *root = &fs->node[FUSE_ROOT_ID];

	for (uint32_t i = FUSE_ROOT_ID + 1; i < fs->nodes; i++) {
		if (!fs->node[i].used)
			continue;
		if (fs->node[i].fd >= 0)
			(void)close(fs->node[i].fd);
		free(fs->node[i].name);
	}
	memset(fs->bucket, 0, sizeof(fs->bucket));
	fs->nodes = 2;
	fs->free_node = fs->newest = fs->oldest = 0;
	fs->open_nodes = 0;
	root->children = root->next = 0;
	*bucket_of(fs, root->dev, root->ino) = FUSE_ROOT_ID;
}

void share_nodes_free(struct share *fs)
{
	if (!fs->node)
		return;
	share_nodes_reset(fs);
	(void)close(fs->node[FUSE_ROOT_ID].fd);
	free(fs->node);
}

struct share_node *share_node_get(struct share *fs, uint64_t id)
{
	return id && id < fs->nodes && fs->node[id].used ? &fs->node[id] : NULL;
}

/* Of one whose folder is open. */
static int find_again(struct share *fs, uint32_t i)
{
	const struct share_node *n = &fs->node[i];
	struct stat st;
	int fd, rc = make_room(fs);

	if (rc < 0)
		return rc;
	if (fs->node[n->parent].fd < 0)
		return -ESTALE;
	fd = share_open_below(fs->node[n->parent].fd, n->name, O_PATH, 0, n->mounted);
	if (fd < 0)
		return fd == -ENOENT ? -ESTALE : fd;
	if (fstat(fd, &st) < 0 || st.st_dev != (n->dev & ~MOUNTED) || st.st_ino != n->ino ||
	    (st.st_mode & S_IFMT) != n->type) {
		(void)close(fd);
		return -ESTALE;
	}
	give_fd(fs, i, fd);
	return 0;
}

static void used_now(struct share *fs, uint32_t i)
{
	if (!is_listed(&fs->node[i]))
		return;
	unlist(fs, i);
	list(fs, i);
}

int share_node_fd(struct share *fs, uint64_t id)
{
	uint32_t way[DEPTH_MAX], i = (uint32_t)id;
	unsigned depth = 0;

	if (!share_node_get(fs, id))
		return -ESTALE;
	/* Up to a folder that is open: the root is */
	for (; fs->node[i].fd < 0; i = fs->node[i].parent) {
		if (depth == DEPTH_MAX)
			return -ESTALE;
		way[depth++] = i;
	}
	used_now(fs, i);
	while (depth) {
		int rc = find_again(fs, way[--depth]);

		if (rc < 0)
			return rc;
	}
	return fs->node[id].fd;
}

int share_folder_fd(struct share *fs, uint64_t id)
{
	const struct share_node *n = share_node_get(fs, id);

	if (!n)
		return -ESTALE;
	if (!S_ISDIR(n->type))
		return -ENOTDIR;
	return n->mounted ? -EACCES : share_node_fd(fs, id);
}

/* What is in the folder by this name now; Return: an O_PATH descriptor (owned) or -errno */
static int open_name(int folder, const char *name, struct stat *ret, bool *ret_mounted)
{
	int fd = share_open_below(folder, name, O_PATH, 0, false);

	*ret_mounted = fd == -EXDEV;
	if (fd == -EXDEV) {
		fd = share_open_below(folder, name, O_PATH, 0, true);
		if (fd >= 0 && (fstat(fd, ret) < 0 || !S_ISDIR(ret->st_mode))) {
			(void)close(fd);
			return -EACCES; /* a file that is mounted there */
		}
	}
	if (fd >= 0 && fstat(fd, ret) < 0) {
		(void)close(fd);
		return -EIO;
	}
	return fd;
}

static uint64_t key_dev(const struct stat *st, bool mounted)
{
	return (uint64_t)st->st_dev | (mounted ? MOUNTED : 0);
}

static uint32_t add_node(struct share *fs, const struct stat *st, bool mounted)
{
	uint32_t i = new_node(fs), *bucket = bucket_of(fs, key_dev(st, mounted), st->st_ino);
	struct share_node *n;

	if (!i)
		return 0;
	n = &fs->node[i];
	n->used = true;
	n->mounted = mounted;
	n->type = st->st_mode & S_IFMT;
	n->dev = key_dev(st, mounted);
	n->ino = st->st_ino;
	n->next = *bucket;
	*bucket = i;
	return i;
}

/* The node of what @fd (consumed) is; one that is known has a name again, if it had lost its own */
static int node_of(struct share *fs, int fd, const struct stat *st, bool mounted, uint64_t folder,
		   const char *name, uint64_t *ret)
{
	uint32_t i = find(fs, key_dev(st, mounted), st->st_ino);
	bool is_new = !i;
	int rc = 0;

	/* Its folder must not go while it is looked up */
	fs->node[folder].lookups++;
	if (is_new)
		i = add_node(fs, st, mounted);
	if (!i)
		rc = -ENFILE;
	if (i && fs->node[i].fd < 0) {
		rc = make_room(fs);
		if (rc == 0) {
			give_fd(fs, i, fd);
			fd = -1;
		}
	}
	if (fd >= 0)
		(void)close(fd);
	if (i && rc == 0)
		rc = set_place(fs, i, (uint32_t)folder, name);
	if (i && rc == 0) {
		struct share_node *n = &fs->node[i];

		if (n->pinned && i != FUSE_ROOT_ID) {
			n->pinned = false;
			list(fs, i);
		}
		n->lookups++;
		*ret = i;
	} else if (i && is_new) {
		fs->node[i].parent = (uint32_t)folder;
		fs->node[folder].children++;
		drop_unknown(fs, i);
	}
	fs->node[folder].lookups--;
	drop_unknown(fs, (uint32_t)folder);
	return rc;
}

int share_node_lookup(struct share *fs, uint64_t folder, const char *name, uint64_t *ret,
		      struct stat *ret_st)
{
	const struct share_node *n = share_node_get(fs, folder);
	bool mounted;
	int fd, at;

	if (n && n->mounted)
		return -ENOENT;
	at = share_folder_fd(fs, folder);
	if (at < 0)
		return at;
	fd = open_name(at, name, ret_st, &mounted);
	if (fd < 0)
		return fd;
	return node_of(fs, fd, ret_st, mounted, folder, name, ret);
}

void share_node_forget(struct share *fs, uint64_t id, uint64_t lookups)
{
	struct share_node *n = share_node_get(fs, id);

	if (!n || id == FUSE_ROOT_ID)
		return;
	n->lookups -= lookups < n->lookups ? lookups : n->lookups;
	drop_unknown(fs, (uint32_t)id);
}

/* Return: the node that is @name in @folder, 0 when the guest knows none */
static uint32_t known_as(struct share *fs, uint64_t folder, const char *name)
{
	int at = share_folder_fd(fs, folder);
	struct stat st;

	if (at < 0 || fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	return find(fs, st.st_dev, st.st_ino);
}

int share_node_pin(struct share *fs, uint64_t folder, const char *name)
{
	uint32_t i = known_as(fs, folder, name);

	if (!i || fs->node[i].pinned)
		return 0;
	if (fs->node[i].fd < 0 && share_node_fd(fs, i) < 0)
		return 0; /* it was known by a name that is gone already */
	unlist(fs, i);
	fs->node[i].pinned = true;
	return 0;
}

void share_node_moved(struct share *fs, uint64_t folder, const char *name)
{
	uint32_t i = known_as(fs, folder, name);

	if (i && set_place(fs, i, (uint32_t)folder, name) == 0 && fs->node[i].pinned &&
	    i != FUSE_ROOT_ID) {
		fs->node[i].pinned = false;
		list(fs, i);
	}
}
