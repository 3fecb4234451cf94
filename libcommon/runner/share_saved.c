/* A share of a machine that is saved: what its guest knows and has open, for its section (state.h), and back.
 *
 * The folder has to be the same when the machine goes on. What was changed in it meanwhile the guest sees as it sees
 * changes by others ever: a name leads to what it leads to now, a file that is not there any more is stale for whom has it
 * open. So nodes are saved by their names, and are found again when they are needed. A file that has no name could not be.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/runner/share_private.h"
#include "libcommon/runner/state.h"

enum {
	NODE_PINNED = 1,
	NODE_MOUNTED = 2,
	HANDLE_FOLDER = 1,
	HANDLE_APPEND = 2,
	HANDLE_MODE = 2 /* from this bit on: O_ACCMODE */
};

int share_can_save(struct share *fs, struct err *err)
{
	const struct share_node *n = NULL;

	(void)pthread_mutex_lock(&fs->lock);
	for (uint32_t i = 0; i < fs->handles && !n; i++)
		if (fs->handle[i].fd >= 0 && !fs->handle[i].folder &&
		    fs->handle[i].node != FUSE_ROOT_ID && fs->node[fs->handle[i].node].pinned)
			n = &fs->node[fs->handle[i].node];
	if (n)
		err_set(err, ERR_UNSUPPORTED,
			"the guest has removed a file of a shared folder that it still has open, "
			"which cannot be saved: %.200s",
			n->name);
	(void)pthread_mutex_unlock(&fs->lock);
	return n ? -1 : 0;
}

static void save_node(const struct share *fs, uint32_t i, struct state_out *o)
{
	const struct share_node *n = &fs->node[i];
	size_t len = strlen(n->name);

	state_put_int(o, i);
	state_put_int(o, n->parent);
	state_put_int(o, n->lookups);
	state_put_int(o, n->type);
	state_put_int(o, (n->pinned ? NODE_PINNED : 0U) | (n->mounted ? NODE_MOUNTED : 0U));
	state_put_int(o, n->dev);
	state_put_int(o, n->ino);
	state_put_int(o, len);
	state_put(o, n->name, len);
}

static void save_handle(const struct share *fs, uint32_t i, struct state_out *o)
{
	const struct share_handle *h = &fs->handle[i];
	int flags = fcntl(h->fd, F_GETFL);

	state_put_int(o, i);
	state_put_int(o, h->node);
	state_put_int(o, (h->folder ? HANDLE_FOLDER : 0U) | (h->append ? HANDLE_APPEND : 0U) |
				 (unsigned)(flags & O_ACCMODE) << HANDLE_MODE);
}

void share_save(struct share *fs, struct state_out *o)
{
	uint32_t nodes = 0, handles = 0;

	(void)pthread_mutex_lock(&fs->lock);
	for (uint32_t i = FUSE_ROOT_ID + 1; i < fs->nodes; i++)
		nodes += fs->node[i].used;
	for (uint32_t i = 0; i < fs->handles; i++)
		handles += fs->handle[i].fd >= 0;
	state_put_int(o, fs->started);
	state_put_int(o, fs->node[FUSE_ROOT_ID].dev);
	state_put_int(o, nodes);
	state_put_int(o, handles);
	for (uint32_t i = FUSE_ROOT_ID + 1; i < fs->nodes; i++)
		if (fs->node[i].used)
			save_node(fs, i, o);
	for (uint32_t i = 0; i < fs->handles; i++)
		if (fs->handle[i].fd >= 0)
			save_handle(fs, i, o);
	(void)pthread_mutex_unlock(&fs->lock);
}

/* ---- and back */

static bool load_node(struct share *fs, uint64_t old_dev, struct state_in *in)
{
	const uint64_t i = state_get_int(in), parent = state_get_int(in);
	struct share_node n = {.used = true, .fd = -1, .parent = (uint32_t)parent};
	char name[NAME_MAX + 1] = {0};
	uint64_t flags, len;

	n.lookups = state_get_int(in);
	n.type = (mode_t)state_get_int(in) & S_IFMT;
	flags = state_get_int(in);
	n.pinned = flags & NODE_PINNED;
	n.mounted = flags & NODE_MOUNTED;
	n.dev = state_get_int(in);
	n.ino = state_get_int(in);
	len = state_get_int(in);
	if (in->failed || len > NAME_MAX || parent == 0 || parent >= SHARE_NODES_MAX)
		return false;
	state_get(in, name, (size_t)len);
	/* A file system may have another number than then */
	if (n.dev == old_dev)
		n.dev = fs->node[FUSE_ROOT_ID].dev;
	return !in->failed && strlen(name) == len && (!n.mounted || S_ISDIR(n.type)) &&
	       share_check_name(name) == 0 && share_node_put(fs, (uint32_t)i, &n, name) == 0;
}

/* What cannot be opened any more is a descriptor that nothing can be done with */
static bool load_handle(struct share *fs, struct state_in *in)
{
	const uint64_t i = state_get_int(in), node = state_get_int(in), flags = state_get_int(in);
	const bool folder = flags & HANDLE_FOLDER;
	const int mode = (int)(flags >> HANDLE_MODE) & O_ACCMODE;
	struct share_handle h = {.fd = -1,
				 .folder = folder,
				 .append = flags & HANDLE_APPEND,
				 .next_off = UINT64_MAX};

	if (in->failed || i >= fs->handles_max || !share_node_get(fs, node) ||
	    (fs->read_only && mode != O_RDONLY))
		return false;
	h.node = (uint32_t)node;
	h.fd = folder ? share_open_folder(fs, node)
		      : share_open_node(fs, node, mode | (h.append ? O_APPEND : 0));
	if (h.fd < 0)
		h.fd = fcntl(fs->proc, F_DUPFD_CLOEXEC, 0);
	for (; fs->handles <= i; fs->handles++)
		fs->handle[fs->handles].fd = -1;
	if (fs->handle[i].fd >= 0) { /* twice */
		(void)close(h.fd);
		return false;
	}
	fs->handle[i] = h;
	return h.fd >= 0;
}

static bool load(struct share *fs, struct state_in *in, uint64_t old_dev)
{
	const uint64_t nodes = state_get_int(in), handles = state_get_int(in);

	if (in->failed || nodes >= SHARE_NODES_MAX || handles > fs->handles_max)
		return false;
	for (uint64_t i = 0; i < nodes; i++)
		if (!load_node(fs, old_dev, in))
			return false;
	if (!share_nodes_linked(fs))
		return false;
	for (uint64_t i = 0; i < handles; i++)
		if (!load_handle(fs, in))
			return false;
	return true;
}

void share_load(struct share *fs, struct state_in *in)
{
	uint64_t old_dev;

	(void)pthread_mutex_lock(&fs->lock);
	share_handles_reset(fs);
	share_nodes_reset(fs);
	fs->started = state_get_int(in);
	old_dev = state_get_int(in);
	fs->uid = geteuid();
	fs->gid = getegid();
	if (!load(fs, in, old_dev)) {
		share_handles_reset(fs);
		share_nodes_reset(fs);
		in->failed = true;
	}
	(void)pthread_mutex_unlock(&fs->lock);
}
