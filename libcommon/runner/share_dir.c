/* Names in the FUSE server's folders: looked up, listed, made, linked, moved, removed. See share.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/runner/share_private.h"

enum { LIST_MAX = 32 << 10 /* bytes of host entries a request */ };

int64_t share_put_entry(struct share_req *r, uint64_t folder, const char *name, uint64_t *ret)
{
	struct fuse_entry_out *out = (struct fuse_entry_out *)(void *)r->fs->reply;
	struct stat st;
	uint64_t id;
	int rc = share_node_lookup(r->fs, folder, name, &id, &st);

	if (rc < 0)
		return rc;
	if (r->fs->node[id].mounted)
		st.st_mode = S_IFDIR | 0555;
	memset(out, 0, sizeof(*out));
	out->nodeid = id;
	out->entry_valid = out->attr_valid = SHARE_VALID_S;
	share_put_attr(r->fs, &st, &out->attr);
	if (ret)
		*ret = id;
	return sizeof(*out);
}

int64_t share_op_lookup(struct share_req *r)
{
	size_t at = 0;
	const char *name = share_name(r, &at);
	int rc = share_check_name(name);

	return rc < 0 ? rc : share_put_entry(r, r->in.nodeid, name, NULL);
}

/* ---- listing */

int share_open_folder(struct share *fs, uint64_t id)
{
	const struct share_node *n = share_node_get(fs, id);
	int at, fd;

	if (!n)
		return -ESTALE;
	if (!S_ISDIR(n->type))
		return -ENOTDIR;
	/* Nothing of a mounted folder is read; it needs a descriptor all the same */
	at = n->mounted ? fs->proc : share_node_fd(fs, id);
	if (at < 0)
		return at;
	fd = n->mounted ? fcntl(at, F_DUPFD_CLOEXEC, 0)
			: openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int64_t share_op_opendir(struct share_req *r)
{
	struct fuse_open_out *out = (struct fuse_open_out *)(void *)r->fs->reply;
	int fd = share_open_folder(r->fs, r->in.nodeid), rc;
	uint64_t fh;

	if (fd < 0)
		return fd;
	rc = share_handle_add(r->fs, fd, r->in.nodeid, true, &fh);
	if (rc < 0)
		return rc;
	*out = (struct fuse_open_out){.fh = fh};
	return sizeof(*out);
}

/* Return: bytes of the entry, 0 when it does not fit */
static size_t put_dirent(uint8_t *to, size_t room, const struct dirent64 *d, uint64_t ino)
{
	size_t len = strlen(d->d_name),
	       all = (size_t)round_up(FUSE_NAME_OFFSET + len, sizeof(uint64_t));
	const struct fuse_dirent e = {
		.ino = ino, .off = (uint64_t)d->d_off, .namelen = (uint32_t)len, .type = d->d_type};

	if (all > room)
		return 0;
	memset(to, 0, all);
	memcpy(to, &e, FUSE_NAME_OFFSET);
	memcpy(to + FUSE_NAME_OFFSET, d->d_name, len);
	return all;
}

int64_t share_op_readdir(struct share_req *r)
{
	uint8_t list[LIST_MAX] __attribute__((aligned(8)));
	const struct share_node *root;
	struct fuse_read_in in;
	struct share_handle *h;
	size_t room, done = 0;
	ssize_t n;

	memcpy(&in, r->arg, sizeof(in));
	h = share_handle_get(r->fs, in.fh, r->in.nodeid, true);
	if (!h)
		return -EBADF;
	if (r->fs->node[h->node].mounted)
		return 0;
	room = (size_t)min_u64(min_u64(in.size, r->room), SHARE_BUFFER);
	if (in.offset != h->next_off && lseek(h->fd, (off_t)in.offset, SEEK_SET) < 0)
		return -errno;
	h->next_off = UINT64_MAX; /* unless all that is read is told */
	n = getdents64(h->fd, list, min_u64(room, sizeof(list)));
	if (n < 0)
		return -errno;
	root = &r->fs->node[FUSE_ROOT_ID];
	for (ssize_t i = 0; i < n;) {
		const struct dirent64 *d = (const struct dirent64 *)(const void *)(list + i);
		/* What the root lies in is nobody's business */
		bool up = h->node == FUSE_ROOT_ID && strcmp(d->d_name, "..") == 0;
		size_t len =
			put_dirent(r->fs->reply + done, room - done, d, up ? root->ino : d->d_ino);

		if (!len)
			return (int64_t)done;
		done += len;
		i += d->d_reclen;
		if (i >= n)
			h->next_off = (uint64_t)d->d_off;
	}
	return (int64_t)done;
}

int64_t share_op_releasedir(struct share_req *r)
{
	struct fuse_release_in in;
	struct share_handle *h;

	memcpy(&in, r->arg, sizeof(in));
	h = share_handle_get(r->fs, in.fh, r->in.nodeid, true);
	if (!h)
		return -EBADF;
	(void)close(h->fd);
	h->fd = -1;
	return 0;
}

int64_t share_op_fsyncdir(struct share_req *r)
{
	struct fuse_fsync_in in;
	struct share_handle *h;

	memcpy(&in, r->arg, sizeof(in));
	h = share_handle_get(r->fs, in.fh, r->in.nodeid, true);
	if (!h)
		return -EBADF;
	if (r->fs->read_only || r->fs->node[h->node].mounted)
		return 0;
	return fsync(h->fd) < 0 ? -errno : 0;
}

/* ---- making */

/* Name at @at of the arguments, folder of the request; Return: the folder's descriptor or -errno */
static int place(struct share_req *r, size_t *at, const char **ret_name)
{
	int rc;

	*ret_name = share_name(r, at);
	rc = share_check_name(*ret_name);
	return rc < 0 ? rc : share_folder_fd(r->fs, r->in.nodeid);
}

/* The guest has applied its own umask; ours is for other files. Where that fails what was made stays, as the host's rules
 * for it (a default ACL, say) want it. */
static int64_t made(struct share_req *r, const char *name, mode_t mode)
{
	uint64_t id;
	int64_t len = share_put_entry(r, r->in.nodeid, name, &id);
	struct fuse_entry_out *out = (struct fuse_entry_out *)(void *)r->fs->reply;
	struct stat st;
	int fd;

	if (len < 0 || (out->attr.mode & 01777) == mode)
		return len;
	fd = share_node_fd(r->fs, id);
	if (fd >= 0 && share_set_mode(r->fs, fd, mode) == 0 && fstat(fd, &st) == 0)
		share_put_attr(r->fs, &st, &out->attr);
	return len;
}

int64_t share_op_mkdir(struct share_req *r)
{
	size_t at = sizeof(struct fuse_mkdir_in);
	struct fuse_mkdir_in in;
	const char *name;
	int folder = place(r, &at, &name);

	memcpy(&in, r->arg, sizeof(in));
	if (folder < 0)
		return folder;
	if (mkdirat(folder, name, in.mode & 0777) < 0)
		return -errno;
	return made(r, name, in.mode & 01777);
}

/* A device node would be one of the host's */
int64_t share_op_mknod(struct share_req *r)
{
	size_t at = sizeof(struct fuse_mknod_in);
	struct fuse_mknod_in in;
	const char *name;
	int folder = place(r, &at, &name), fd;

	memcpy(&in, r->arg, sizeof(in));
	if (folder < 0)
		return folder;
	if (in.mode & (S_ISUID | S_ISGID))
		return -EPERM;
	switch (in.mode & S_IFMT) {
	case S_IFREG:
		fd = share_open_below(folder, name, O_CREAT | O_EXCL | O_WRONLY, in.mode & 0777,
				      false);
		if (fd < 0)
			return fd;
		(void)close(fd);
		break;
	case S_IFIFO:
	case S_IFSOCK:
		if (mknodat(folder, name, in.mode & (S_IFMT | 0777), 0) < 0)
			return -errno;
		break;
	default:
		return -EPERM;
	}
	return made(r, name, in.mode & 01777);
}

int64_t share_op_symlink(struct share_req *r)
{
	size_t at = 0;
	const char *name, *target;
	int folder = place(r, &at, &name);

	if (folder < 0)
		return folder;
	target = share_name(r, &at);
	if (!target)
		return -EINVAL;
	if (symlinkat(target, folder, name) < 0)
		return -errno;
	return share_put_entry(r, r->in.nodeid, name, NULL);
}

int64_t share_op_link(struct share_req *r)
{
	size_t at = sizeof(struct fuse_link_in);
	struct fuse_link_in in;
	char from[16];
	const char *name;
	int folder = place(r, &at, &name), fd;

	memcpy(&in, r->arg, sizeof(in));
	if (folder < 0)
		return folder;
	fd = share_node_fd(r->fs, in.oldnodeid);
	if (fd < 0)
		return fd;
	(void)snprintf(from, sizeof(from), "%d", fd);
	/* The link of /proc leads to the node itself, also where that is a link */
	if (linkat(r->fs->proc, from, folder, name, AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	return share_put_entry(r, r->in.nodeid, name, NULL);
}

/* ---- removing, moving */

static int64_t remove_name(struct share_req *r, int flags)
{
	size_t at = 0;
	const char *name;
	int folder = place(r, &at, &name), rc;

	if (folder < 0)
		return folder;
	rc = share_node_pin(r->fs, r->in.nodeid, name);
	if (rc < 0)
		return rc;
	folder = share_folder_fd(r->fs, r->in.nodeid);
	if (folder < 0)
		return folder;
	return unlinkat(folder, name, flags) < 0 ? -errno : 0;
}

int64_t share_op_unlink(struct share_req *r)
{
	return remove_name(r, 0);
}

int64_t share_op_rmdir(struct share_req *r)
{
	return remove_name(r, AT_REMOVEDIR);
}

static int64_t rename_names(struct share_req *r, size_t at, uint64_t to_id, uint32_t flags)
{
	const char *name, *to_name;
	int from = place(r, &at, &name), to, rc;

	if (from < 0)
		return from;
	to_name = share_name(r, &at);
	rc = share_check_name(to_name);
	if (rc < 0)
		return rc;
	/* What is there is replaced, and may be open in the guest */
	rc = share_node_pin(r->fs, to_id, to_name);
	if (rc < 0)
		return rc;
	from = share_folder_fd(r->fs, r->in.nodeid);
	to = share_folder_fd(r->fs, to_id);
	if (from < 0 || to < 0)
		return from < 0 ? from : to;
	if (renameat2(from, name, to, to_name, flags) < 0)
		return -errno;
	share_node_moved(r->fs, to_id, to_name);
	if (flags & RENAME_EXCHANGE)
		share_node_moved(r->fs, r->in.nodeid, name);
	return 0;
}

int64_t share_op_rename(struct share_req *r)
{
	struct fuse_rename_in in;

	memcpy(&in, r->arg, sizeof(in));
	return rename_names(r, sizeof(in), in.newdir, 0);
}

int64_t share_op_rename2(struct share_req *r)
{
	struct fuse_rename2_in in;

	memcpy(&in, r->arg, sizeof(in));
	if (in.flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	return rename_names(r, sizeof(in), in.newdir, in.flags);
}
