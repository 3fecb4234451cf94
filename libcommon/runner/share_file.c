/* Open files of the FUSE server. See share.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/runner/share_private.h"

enum { COPY_MAX = 64 << 20 /* bytes a request: the guest asks for the rest */ };

int share_handles_init(struct share *fs)
{
	fs->handle = calloc(fs->handles_max, sizeof(*fs->handle));
	return fs->handle ? 0 : -1;
}

void share_handles_reset(struct share *fs)
{
	for (uint32_t i = 0; i < fs->handles; i++)
		if (fs->handle[i].fd >= 0)
			(void)close(fs->handle[i].fd);
	fs->handles = 0;
}

struct share_handle *share_handle_get(struct share *fs, uint64_t fh, uint64_t node, bool folder)
{
	struct share_handle *h = fh < fs->handles ? &fs->handle[fh] : NULL;

	return h && h->fd >= 0 && h->node == node && h->folder == folder ? h : NULL;
}

int share_handle_add(struct share *fs, int fd, uint64_t node, bool folder, uint64_t *ret)
{
	uint32_t i = 0;

	while (i < fs->handles && fs->handle[i].fd >= 0)
		i++;
	if (i == fs->handles_max) {
		(void)close(fd);
		return -ENFILE;
	}
	if (i == fs->handles)
		fs->handles++;
	fs->handle[i] = (struct share_handle){.fd = fd, .node = (uint32_t)node, .folder = folder};
	*ret = i;
	return 0;
}

/* What of the guest's flags concerns the host: to append, as others may write there too; the rest is its own business */
static int host_flags(const struct share *fs, uint32_t flags)
{
	if (fs->read_only)
		return O_RDONLY;
	return (int)(flags & (O_ACCMODE | O_APPEND));
}

int share_open_node(struct share *fs, uint64_t id, int flags)
{
	int at = share_node_fd(fs, id), fd;
	char name[16];

	if (at < 0)
		return at;
	if (!S_ISREG(fs->node[id].type))
		return S_ISDIR(fs->node[id].type) ? -EISDIR : -EACCES;
	(void)snprintf(name, sizeof(name), "%d", at);
	fd = openat(fs->proc, name, flags | O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static int64_t put_open(struct share_req *r, size_t at, uint64_t fh)
{
	const struct fuse_open_out out = {.fh = fh};

	memcpy(r->fs->reply + at, &out, sizeof(out));
	return (int64_t)(at + sizeof(out));
}

int64_t share_op_open(struct share_req *r)
{
	struct fuse_open_in in;
	uint64_t fh;
	int fd, rc;

	memcpy(&in, r->arg, sizeof(in));
	if (r->fs->read_only && (in.flags & O_ACCMODE) != O_RDONLY)
		return -EROFS;
	fd = share_open_node(r->fs, r->in.nodeid, host_flags(r->fs, in.flags));
	if (fd < 0)
		return fd;
	rc = share_handle_add(r->fs, fd, r->in.nodeid, false, &fh);
	if (rc < 0)
		return rc;
	r->fs->handle[fh].append = in.flags & O_APPEND;
	return put_open(r, 0, fh);
}

/* One that is there already is opened as any other: by its node, so that it is a regular file.
 * Return: a descriptor (owned), or -EEXIST, -errno */
static int create(struct share *fs, uint64_t folder, const char *name, uint32_t flags, mode_t mode)
{
	int at = share_folder_fd(fs, folder), fd, rc;

	if (at < 0)
		return at;
	fd = share_open_below(at, name, O_CREAT | O_EXCL | host_flags(fs, flags), mode & 0777,
			      false);
	if (fd < 0)
		return fd;
	/* The guest has applied its own umask; ours is for other files */
	rc = share_set_mode(fs, fd, mode & 01777);
	if (rc < 0) {
		(void)close(fd);
		return rc;
	}
	return fd;
}

int64_t share_op_create(struct share_req *r)
{
	size_t at = sizeof(struct fuse_create_in);
	const char *name = share_name(r, &at);
	struct fuse_create_in in;
	uint64_t id, fh;
	int64_t len;
	int fd, rc = share_check_name(name);

	memcpy(&in, r->arg, sizeof(in));
	if (rc < 0)
		return rc;
	if (in.mode & (S_ISUID | S_ISGID))
		return -EPERM;
	fd = create(r->fs, r->in.nodeid, name, in.flags, in.mode);
	if (fd < 0 && (fd != -EEXIST || (in.flags & O_EXCL)))
		return fd;
	len = share_put_entry(r, r->in.nodeid, name, &id);
	if (len < 0) {
		if (fd >= 0)
			(void)close(fd);
		return len;
	}
	if (fd < 0)
		fd = share_open_node(r->fs, id, host_flags(r->fs, in.flags));
	rc = fd < 0 ? fd : share_handle_add(r->fs, fd, id, false, &fh);
	if (rc < 0) {
		share_node_forget(r->fs, id, 1);
		return rc;
	}
	r->fs->handle[fh].append = in.flags & O_APPEND;
	return put_open(r, (size_t)len, fh);
}

int64_t share_op_read(struct share_req *r)
{
	struct fuse_read_in in;
	struct share_handle *h;
	ssize_t n;

	memcpy(&in, r->arg, sizeof(in));
	h = share_handle_get(r->fs, in.fh, r->in.nodeid, false);
	if (!h)
		return -EBADF;
	if (in.size > SHARE_IO_MAX || in.size > r->room || in.offset > INT64_MAX)
		return -EINVAL;
	n = preadv(h->fd, r->out, (int)share_iov_limit(r->out, r->n_out, in.size),
		   (off_t)in.offset);
	r->direct = true;
	return n < 0 ? -errno : n;
}

/* Pages that the guest's kernel kept are written where they belong, whatever the descriptor says */
static int set_append(struct share_handle *h, const struct fuse_write_in *in)
{
	bool append = (in->flags & O_APPEND) && !(in->write_flags & FUSE_WRITE_CACHE);

	if (append == h->append)
		return 0;
	if (fcntl(h->fd, F_SETFL, (append ? O_APPEND : 0) | O_NONBLOCK) < 0)
		return -errno;
	h->append = append;
	return 0;
}

int64_t share_op_write(struct share_req *r)
{
	struct fuse_write_out *out = (struct fuse_write_out *)(void *)r->fs->reply;
	struct fuse_write_in in;
	struct share_handle *h;
	ssize_t n;
	int rc;

	memcpy(&in, r->arg, sizeof(in));
	h = share_handle_get(r->fs, in.fh, r->in.nodeid, false);
	if (!h)
		return -EBADF;
	if (in.size > SHARE_IO_MAX || in.size > r->data_len || in.offset > INT64_MAX)
		return -EINVAL;
	rc = set_append(h, &in);
	if (rc < 0)
		return rc;
	n = pwritev(h->fd, r->data, (int)share_iov_limit(r->data, r->n_data, in.size),
		    (off_t)in.offset);
	if (n < 0)
		return -errno;
	*out = (struct fuse_write_out){.size = (uint32_t)n};
	return sizeof(*out);
}

int64_t share_op_release(struct share_req *r)
{
	struct fuse_release_in in;
	struct share_handle *h;

	memcpy(&in, r->arg, sizeof(in));
	h = share_handle_get(r->fs, in.fh, r->in.nodeid, false);
	if (!h)
		return -EBADF;
	(void)close(h->fd);
	h->fd = -1;
	return 0;
}

int64_t share_op_fsync(struct share_req *r)
{
	struct fuse_fsync_in in;
	struct share_handle *h;
	int rc;

	memcpy(&in, r->arg, sizeof(in));
	h = share_handle_get(r->fs, in.fh, r->in.nodeid, false);
	if (!h)
		return -EBADF;
	rc = in.fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(h->fd) : fsync(h->fd);
	return rc < 0 ? -errno : 0;
}

/* What a close() tells of: each write has told already */
int64_t share_op_flush(struct share_req *r)
{
	struct fuse_flush_in in;

	memcpy(&in, r->arg, sizeof(in));
	return share_handle_get(r->fs, in.fh, r->in.nodeid, false) ? 0 : -EBADF;
}

int64_t share_op_fallocate(struct share_req *r)
{
	struct fuse_fallocate_in in;
	struct share_handle *h;

	memcpy(&in, r->arg, sizeof(in));
	h = share_handle_get(r->fs, in.fh, r->in.nodeid, false);
	if (!h)
		return -EBADF;
	if (in.mode &
	    ~(uint32_t)(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	if (in.offset > INT64_MAX || in.length > INT64_MAX - in.offset)
		return -EFBIG;
	return fallocate(h->fd, (int)in.mode, (off_t)in.offset, (off_t)in.length) < 0 ? -errno : 0;
}

int64_t share_op_lseek(struct share_req *r)
{
	struct fuse_lseek_out *out = (struct fuse_lseek_out *)(void *)r->fs->reply;
	struct fuse_lseek_in in;
	struct share_handle *h;
	off_t off;

	memcpy(&in, r->arg, sizeof(in));
	h = share_handle_get(r->fs, in.fh, r->in.nodeid, false);
	if (!h)
		return -EBADF;
	if ((in.whence != SEEK_DATA && in.whence != SEEK_HOLE) || in.offset > INT64_MAX)
		return -EINVAL;
	off = lseek(h->fd, (off_t)in.offset, (int)in.whence);
	if (off < 0)
		return -errno;
	*out = (struct fuse_lseek_out){.offset = (uint64_t)off};
	return sizeof(*out);
}

int64_t share_op_copy(struct share_req *r)
{
	struct fuse_write_out *out = (struct fuse_write_out *)(void *)r->fs->reply;
	struct fuse_copy_file_range_in in;
	struct share_handle *from, *to;
	off_t off_in, off_out;
	ssize_t n;

	memcpy(&in, r->arg, sizeof(in));
	from = share_handle_get(r->fs, in.fh_in, r->in.nodeid, false);
	to = share_handle_get(r->fs, in.fh_out, in.nodeid_out, false);
	if (!from || !to)
		return -EBADF;
	if (in.off_in > INT64_MAX || in.off_out > INT64_MAX || in.flags)
		return -EINVAL;
	off_in = (off_t)in.off_in;
	off_out = (off_t)in.off_out;
	n = copy_file_range(from->fd, &off_in, to->fd, &off_out, (size_t)min_u64(in.len, COPY_MAX),
			    0);
	if (n < 0)
		return -errno;
	*out = (struct fuse_write_out){.size = (uint32_t)n};
	return sizeof(*out);
}
