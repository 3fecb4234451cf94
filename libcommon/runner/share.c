/* Requests of the FUSE server: taken apart, checked for length, handed to their operations, answered. See share.h. */
#include "libcommon/runner/share.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/runner/share_private.h"
#include "libcommon/runner/virtq.h"

const char *share_name(const struct share_req *r, size_t *at)
{
	const char *name = (const char *)r->arg + *at, *end;

	if (*at >= r->arg_len || !(end = memchr(name, '\0', r->arg_len - *at)))
		return NULL;
	*at += (size_t)(end - name) + 1;
	return name;
}

int share_check_name(const char *name)
{
	if (!name || !*name || strchr(name, '/') || strcmp(name, ".") == 0 ||
	    strcmp(name, "..") == 0)
		return -EINVAL;
	return strlen(name) > NAME_MAX ? -ENAMETOOLONG : 0;
}

unsigned share_iov_limit(struct iovec *iov, unsigned n, uint64_t len)
{
	unsigned i = 0;

	while (i < n && len) {
		iov[i].iov_len = (size_t)min_u64(iov[i].iov_len, len);
		len -= iov[i++].iov_len;
	}
	return i;
}

/* The guest starts anew, whatever it knew before */
static int64_t op_init(struct share_req *r)
{
	struct fuse_init_in in = {0};
	struct fuse_init_out *out = (struct fuse_init_out *)(void *)r->fs->reply;

	/* Before 7.36 it ends with the flags */
	memcpy(&in, r->arg, min_u64(r->arg_len, sizeof(in)));
	if (in.major < FUSE_KERNEL_VERSION || in.minor < 31)
		return -EPROTO;
	share_handles_reset(r->fs);
	share_nodes_reset(r->fs);
	r->fs->uid = geteuid();
	r->fs->gid = getegid();
	r->fs->started = true;
	memset(out, 0, sizeof(*out));
	out->major = FUSE_KERNEL_VERSION;
	out->minor = FUSE_KERNEL_MINOR_VERSION;
	out->max_readahead = in.max_readahead;
	out->flags = in.flags & (FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_PARALLEL_DIROPS |
				 FUSE_MAX_PAGES | FUSE_AUTO_INVAL_DATA);
	out->max_background = 64;
	out->congestion_threshold = 48;
	out->max_write = SHARE_IO_MAX;
	out->time_gran = 1;
	out->max_pages = SHARE_IO_MAX / 4096;
	return sizeof(*out);
}

static int64_t op_destroy(struct share_req *r)
{
	share_handles_reset(r->fs);
	share_nodes_reset(r->fs);
	r->fs->started = false;
	return 0;
}

static int64_t op_forget(struct share_req *r)
{
	struct fuse_forget_in in;

	memcpy(&in, r->arg, sizeof(in));
	share_node_forget(r->fs, r->in.nodeid, in.nlookup);
	return 0;
}

static int64_t op_batch_forget(struct share_req *r)
{
	struct fuse_batch_forget_in in;
	struct fuse_forget_one one;

	memcpy(&in, r->arg, sizeof(in));
	if (in.count > (r->arg_len - sizeof(in)) / sizeof(one))
		return -EINVAL;
	for (uint32_t i = 0; i < in.count; i++) {
		memcpy(&one, r->arg + sizeof(in) + i * sizeof(one), sizeof(one));
		share_node_forget(r->fs, one.nodeid, one.nlookup);
	}
	return 0;
}

static int64_t op_nothing(struct share_req *r)
{
	(void)r;
	return 0;
}

/* @min: bytes that its arguments have at least. @writes: not in a read-only share */
static const struct op {
	share_op *fn;
	size_t min;
	bool writes;
} ops[] = {
	[FUSE_LOOKUP] = {share_op_lookup, 2, false},
	[FUSE_FORGET] = {op_forget, sizeof(struct fuse_forget_in), false},
	[FUSE_GETATTR] = {share_op_getattr, sizeof(struct fuse_getattr_in), false},
	[FUSE_SETATTR] = {share_op_setattr, sizeof(struct fuse_setattr_in), true},
	[FUSE_READLINK] = {share_op_readlink, 0, false},
	[FUSE_SYMLINK] = {share_op_symlink, 4, true},
	[FUSE_MKNOD] = {share_op_mknod, sizeof(struct fuse_mknod_in) + 2, true},
	[FUSE_MKDIR] = {share_op_mkdir, sizeof(struct fuse_mkdir_in) + 2, true},
	[FUSE_UNLINK] = {share_op_unlink, 2, true},
	[FUSE_RMDIR] = {share_op_rmdir, 2, true},
	[FUSE_RENAME] = {share_op_rename, sizeof(struct fuse_rename_in) + 4, true},
	[FUSE_LINK] = {share_op_link, sizeof(struct fuse_link_in) + 2, true},
	[FUSE_OPEN] = {share_op_open, sizeof(struct fuse_open_in), false},
	[FUSE_READ] = {share_op_read, sizeof(struct fuse_read_in), false},
	[FUSE_WRITE] = {share_op_write, sizeof(struct fuse_write_in), true},
	[FUSE_STATFS] = {share_op_statfs, 0, false},
	[FUSE_RELEASE] = {share_op_release, sizeof(struct fuse_release_in), false},
	[FUSE_FSYNC] = {share_op_fsync, sizeof(struct fuse_fsync_in), false},
	[FUSE_SETXATTR] = {share_op_setxattr, FUSE_COMPAT_SETXATTR_IN_SIZE + 2, true},
	[FUSE_GETXATTR] = {share_op_getxattr, sizeof(struct fuse_getxattr_in) + 2, false},
	[FUSE_LISTXATTR] = {share_op_listxattr, sizeof(struct fuse_getxattr_in), false},
	[FUSE_REMOVEXATTR] = {share_op_removexattr, 2, true},
	[FUSE_FLUSH] = {share_op_flush, sizeof(struct fuse_flush_in), false},
	[FUSE_INIT] = {op_init, 16, false},
	[FUSE_OPENDIR] = {share_op_opendir, sizeof(struct fuse_open_in), false},
	[FUSE_READDIR] = {share_op_readdir, sizeof(struct fuse_read_in), false},
	[FUSE_RELEASEDIR] = {share_op_releasedir, sizeof(struct fuse_release_in), false},
	[FUSE_FSYNCDIR] = {share_op_fsyncdir, sizeof(struct fuse_fsync_in), false},
	[FUSE_CREATE] = {share_op_create, sizeof(struct fuse_create_in) + 2, true},
	[FUSE_INTERRUPT] = {op_nothing, 0, false}, /* requests are not slow enough for it */
	[FUSE_DESTROY] = {op_destroy, 0, false},
	[FUSE_BATCH_FORGET] = {op_batch_forget, sizeof(struct fuse_batch_forget_in), false},
	[FUSE_FALLOCATE] = {share_op_fallocate, sizeof(struct fuse_fallocate_in), true},
	[FUSE_RENAME2] = {share_op_rename2, sizeof(struct fuse_rename2_in) + 4, true},
	[FUSE_LSEEK] = {share_op_lseek, sizeof(struct fuse_lseek_in), false},
	[FUSE_COPY_FILE_RANGE] = {share_op_copy, sizeof(struct fuse_copy_file_range_in), true},
};

static int64_t serve(struct share_req *r)
{
	const struct op *op =
		r->in.opcode < sizeof(ops) / sizeof(ops[0]) ? &ops[r->in.opcode] : NULL;
	if (!op || !op->fn)
		return -ENOSYS;
	if (r->arg_len < op->min)
		return -EINVAL;
	if (op->writes && r->fs->read_only)
		return -EROFS;
	return r->fs->started || r->in.opcode == FUSE_INIT ? op->fn(r) : -EIO;
}

static void put(struct iovec **iov, unsigned *n, const void *data, size_t len)
{
	const uint8_t *from = data;

	for (; *n && len; (*iov)++, (*n)--) {
		size_t part = (size_t)min_u64((*iov)->iov_len, len);

		memcpy((*iov)->iov_base, from, part);
		from += part;
		len -= part;
	}
}

/* The header's place is in @head, the body's in r->out: the latter was found by skipping the former */
static int64_t answer(struct share_req *r, struct iovec *head, unsigned n_head, int64_t body)
{
	struct fuse_out_header out = {.unique = r->in.unique};

	if (body > 0 && (uint64_t)body > r->room)
		body = -EIO; /* a driver that has no room for what it asks for */
	out.error = body < 0 ? (int32_t)body : 0;
	out.len = (uint32_t)(sizeof(out) + (body > 0 ? (uint64_t)body : 0));
	put(&head, &n_head, &out, sizeof(out));
	if (body > 0 && !r->direct)
		put(&r->out, &r->n_out, r->fs->reply, (size_t)body);
	return out.len;
}

/* Copied are header and arguments, but for what a write brings */
static bool take(struct share_req *r, struct iovec *in, unsigned n_in, uint64_t in_len)
{
	uint64_t left;

	if (virtq_take(&in, &n_in, &r->in, sizeof(r->in)) < sizeof(r->in) ||
	    r->in.len < sizeof(r->in) || r->in.len > in_len)
		return false;
	left = r->in.len - sizeof(r->in);
	r->arg_len = (size_t)left;
	if (r->in.opcode == FUSE_WRITE)
		r->arg_len = (size_t)min_u64(left, sizeof(struct fuse_write_in));
	if (r->arg_len > sizeof(r->fs->arg))
		return false;
	(void)virtq_take(&in, &n_in, r->fs->arg, r->arg_len);
	r->arg = r->fs->arg;
	r->data = in;
	r->n_data = n_in;
	r->data_len = left - r->arg_len;
	return true;
}

int64_t share_serve(struct share *fs, struct iovec *in, unsigned n_in, uint64_t in_len,
		    struct iovec *out, unsigned n_out, uint64_t out_len)
{
	struct share_req r = {.fs = fs, .out = out, .n_out = n_out};
	struct iovec head[sizeof(struct fuse_out_header)];
	unsigned n_head = 0;
	int64_t rc;

	if (out_len && out_len < sizeof(struct fuse_out_header))
		return SHARE_BAD;
	/* Where the header goes: no part is empty, so it is in as many parts as it has bytes at most */
	for (; n_head < n_out && n_head < sizeof(head) / sizeof(head[0]); n_head++)
		head[n_head] = out[n_head];
	n_head = share_iov_limit(head, n_head, sizeof(struct fuse_out_header));
	(void)virtq_take(&r.out, &r.n_out, NULL, sizeof(struct fuse_out_header));
	r.room = out_len ? out_len - sizeof(struct fuse_out_header) : 0;
	(void)pthread_mutex_lock(&fs->lock);
	if (!take(&r, in, n_in, in_len)) {
		(void)pthread_mutex_unlock(&fs->lock);
		return SHARE_BAD;
	}
	rc = serve(&r);
	rc = out_len ? answer(&r, head, n_head, rc) : 0;
	(void)pthread_mutex_unlock(&fs->lock);
	return rc;
}

/* Nor is the kernel's own state a folder that anybody means to share */
static int open_root(const char *path, struct err *err)
{
	struct statfs st;
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		err_sys(err, "cannot be shared");
		if (errno == ENOTDIR)
			err_set(err, ERR_USAGE, "is no folder: only folders are shared");
		return err_object(err, path);
	}
	if (fstatfs(fd, &st) == 0 && (st.f_type == PROC_SUPER_MAGIC || st.f_type == SYSFS_MAGIC)) {
		(void)close(fd);
		err_set(err, ERR_USAGE, "the kernel's own files are not shared with a guest");
		return err_object(err, path);
	}
	return fd;
}

int share_open(struct share **ret, const char *path, bool read_only, unsigned fds, struct err *err)
{
	struct share *fs = calloc(1, sizeof(*fs));
	int root, probe;

	if (!fs)
		return err_nomem(err);
	(void)pthread_mutex_init(&fs->lock, NULL);
	fs->read_only = read_only;
	fs->handles_max = fds / 4;
	fs->open_nodes_max = fds - fds / 4;
	fs->proc = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fs->proc < 0) {
		free(fs);
		return err_set(err, ERR_UNSUPPORTED, "/proc is not here: no folder can be shared");
	}
	root = open_root(path, err);
	if (root < 0 || share_handles_init(fs) < 0 || share_nodes_init(fs, root) < 0) {
		if (root >= 0)
			(void)close(root);
		(void)(root >= 0 && err_nomem(err));
		share_close(fs);
		return -1;
	}
	probe = share_open_below(root, ".", O_PATH, 0, false);
	if (probe < 0) {
		share_close(fs);
		return err_set(err, ERR_UNSUPPORTED,
			       "openat2() does not work here (%s): no folder can be shared",
			       strerror(-probe));
	}
	(void)close(probe);
	*ret = fs;
	return 0;
}

int share_folder(const struct share *fs, bool *ret_read_only)
{
	*ret_read_only = fs->read_only;
	return fs->node[FUSE_ROOT_ID].fd;
}

uint64_t share_inode(const struct share *fs)
{
	return fs->node[FUSE_ROOT_ID].ino;
}

void share_close(struct share *fs)
{
	if (!fs)
		return;
	share_handles_reset(fs);
	free(fs->handle);
	share_nodes_free(fs);
	(void)close(fs->proc);
	(void)pthread_mutex_destroy(&fs->lock);
	free(fs);
}
