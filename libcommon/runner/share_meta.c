/* Attributes of the FUSE server's files: owners, modes, sizes, times, links' text, extended attributes. See share.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/runner/share_private.h"

enum { PROC_NAME = 16, PERMISSIONS = 01777 };
static const char user[] = "user.";

/* The caller's are root's in the guest */
static uint32_t shown(uint32_t id, uint32_t caller)
{
	return id == caller ? 0 : id;
}

void share_put_attr(const struct share *fs, const struct stat *st, struct fuse_attr *a)
{
	*a = (struct fuse_attr){
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.blocks = (uint64_t)st->st_blocks,
		.atime = (uint64_t)st->st_atim.tv_sec,
		.mtime = (uint64_t)st->st_mtim.tv_sec,
		.ctime = (uint64_t)st->st_ctim.tv_sec,
		.atimensec = (uint32_t)st->st_atim.tv_nsec,
		.mtimensec = (uint32_t)st->st_mtim.tv_nsec,
		.ctimensec = (uint32_t)st->st_ctim.tv_nsec,
		.mode = st->st_mode,
		.nlink = (uint32_t)st->st_nlink,
		.uid = shown(st->st_uid, fs->uid),
		.gid = shown(st->st_gid, fs->gid),
		.rdev = (uint32_t)st->st_rdev,
		.blksize = (uint32_t)st->st_blksize,
	};
}

int share_stat(struct share *fs, uint64_t id, struct stat *ret)
{
	int fd = share_node_fd(fs, id);

	if (fd < 0)
		return fd;
	if (fstat(fd, ret) < 0)
		return -errno;
	if (fs->node[id].mounted)
		ret->st_mode = S_IFDIR | 0555;
	return 0;
}

static int64_t answer(struct share_req *r, const struct stat *st)
{
	struct fuse_attr_out *out = (struct fuse_attr_out *)(void *)r->fs->reply;

	memset(out, 0, sizeof(*out));
	out->attr_valid = SHARE_VALID_S;
	share_put_attr(r->fs, st, &out->attr);
	return sizeof(*out);
}

int64_t share_op_getattr(struct share_req *r)
{
	struct stat st;
	int rc = share_stat(r->fs, r->in.nodeid, &st);

	return rc < 0 ? rc : answer(r, &st);
}

static const char *proc_name(char name[PROC_NAME], int fd)
{
	(void)snprintf(name, PROC_NAME, "%d", fd);
	return name;
}

/* A set-user-ID file of the caller's would be a way for others on the host to become the caller. */
int share_set_mode(struct share *fs, int fd, mode_t mode)
{
	char name[PROC_NAME];
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return -EOPNOTSUPP;
	if (((mode & ~st.st_mode) & (S_ISUID | S_ISGID)) && !S_ISDIR(st.st_mode))
		return -EPERM;
	if ((st.st_mode & 07777) == mode)
		return 0;
	return fchmodat(fs->proc, proc_name(name, fd), mode, 0) < 0 ? -errno : 0;
}

static int set_size(struct share_req *r, const struct fuse_setattr_in *in)
{
	struct share_handle *h = NULL;
	int fd, rc;

	if (in->size > INT64_MAX)
		return -EFBIG;
	if (in->valid & FATTR_FH)
		h = share_handle_get(r->fs, in->fh, r->in.nodeid, false);
	fd = h ? h->fd : share_open_node(r->fs, r->in.nodeid, O_WRONLY);
	if (fd < 0)
		return fd;
	rc = ftruncate(fd, (off_t)in->size) < 0 ? -errno : 0;
	if (!h)
		(void)close(fd);
	return rc;
}

static struct timespec new_time(const struct fuse_setattr_in *in, uint32_t set, uint32_t now,
				uint64_t s, uint32_t ns)
{
	if (in->valid & now)
		return (struct timespec){.tv_nsec = UTIME_NOW};
	if (!(in->valid & set))
		return (struct timespec){.tv_nsec = UTIME_OMIT};
	return (struct timespec){(time_t)s, (long)(ns < 1000000000 ? ns : 999999999)};
}

static int set_times(struct share *fs, int fd, mode_t type, const struct fuse_setattr_in *in)
{
	const struct timespec times[2] = {
		new_time(in, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec),
		new_time(in, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec),
	};
	char name[PROC_NAME];
	int rc;

	if (S_ISLNK(type))
		rc = utimensat(fd, "", times, AT_EMPTY_PATH);
	else
		rc = utimensat(fs->proc, proc_name(name, fd), times, 0);
	return rc < 0 ? -errno : 0;
}

/* The owner that it has already may be "set": that is what copying programs do */
static bool owner_stays(const struct share *fs, const struct stat *st,
			const struct fuse_setattr_in *in)
{
	return (!(in->valid & FATTR_UID) || in->uid == shown(st->st_uid, fs->uid)) &&
	       (!(in->valid & FATTR_GID) || in->gid == shown(st->st_gid, fs->gid));
}

int64_t share_op_setattr(struct share_req *r)
{
	struct fuse_setattr_in in;
	struct stat st;
	int fd, rc;

	memcpy(&in, r->arg, sizeof(in));
	rc = share_stat(r->fs, r->in.nodeid, &st);
	if (rc < 0)
		return rc;
	if (r->fs->node[r->in.nodeid].mounted)
		return -EACCES;
	if (!owner_stays(r->fs, &st, &in))
		return -EPERM;
	fd = share_node_fd(r->fs, r->in.nodeid);
	if (in.valid & FATTR_MODE)
		rc = share_set_mode(r->fs, fd, in.mode & 07777);
	if (rc == 0 && (in.valid & FATTR_SIZE))
		rc = set_size(r, &in);
	if (rc == 0 && (in.valid & (FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW)))
		rc = set_times(r->fs, fd, st.st_mode & S_IFMT, &in);
	if (rc == 0)
		rc = share_stat(r->fs, r->in.nodeid, &st);
	return rc < 0 ? rc : answer(r, &st);
}

int64_t share_op_readlink(struct share_req *r)
{
	int fd = share_node_fd(r->fs, r->in.nodeid);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = readlinkat(fd, "", (char *)r->fs->reply, PATH_MAX);
	return n < 0 ? (errno == ENOENT ? -EINVAL : -errno) : n;
}

int64_t share_op_statfs(struct share_req *r)
{
	struct fuse_statfs_out *out = (struct fuse_statfs_out *)(void *)r->fs->reply;
	int fd = share_node_fd(r->fs, r->in.nodeid);
	struct statvfs st;

	if (fd < 0)
		return fd;
	if (fstatvfs(fd, &st) < 0)
		return -errno;
	memset(out, 0, sizeof(*out));
	out->st = (struct fuse_kstatfs){
		.blocks = st.f_blocks,
		.bfree = st.f_bfree,
		.bavail = st.f_bavail,
		.files = st.f_files,
		.ffree = st.f_ffree,
		.bsize = (uint32_t)st.f_bsize,
		.namelen = (uint32_t)st.f_namemax,
		.frsize = (uint32_t)st.f_frsize,
	};
	return sizeof(*out);
}

/* ---- extended attributes: the user's; those of the system mean something to the host's kernel */

/* Where to find it by path; links have none of the user's. Return: 0 or -errno */
static int attr_path(struct share_req *r, const char *name, char path[32])
{
	int fd = share_node_fd(r->fs, r->in.nodeid);
	const struct share_node *n;

	if (fd < 0)
		return fd;
	n = &r->fs->node[r->in.nodeid];
	if ((name && strncmp(name, user, sizeof(user) - 1) != 0) || n->mounted ||
	    !(S_ISREG(n->type) || S_ISDIR(n->type)))
		return -EOPNOTSUPP;
	(void)snprintf(path, 32, "/proc/self/fd/%d", fd);
	return 0;
}

/* @size 0: how long it would be */
static int64_t sized(struct share_req *r, uint32_t size, ssize_t len)
{
	struct fuse_getxattr_out *out = (struct fuse_getxattr_out *)(void *)r->fs->reply;

	if (len < 0)
		return -errno;
	if (!size) {
		*out = (struct fuse_getxattr_out){.size = (uint32_t)len};
		return sizeof(*out);
	}
	return (uint64_t)len > size ? -ERANGE : len;
}

int64_t share_op_getxattr(struct share_req *r)
{
	size_t at = sizeof(struct fuse_getxattr_in);
	const char *name = share_name(r, &at);
	struct fuse_getxattr_in in;
	char path[32];
	int rc;

	if (!name)
		return -EINVAL;
	memcpy(&in, r->arg, sizeof(in));
	rc = attr_path(r, name, path);
	if (rc < 0)
		return rc;
	return sized(r, in.size, getxattr(path, name, r->fs->reply, XATTR_SIZE_MAX));
}

int64_t share_op_listxattr(struct share_req *r)
{
	struct fuse_getxattr_in in;
	char path[32], *list = (char *)r->fs->reply;
	ssize_t len, kept = 0;
	int rc = attr_path(r, NULL, path);

	memcpy(&in, r->arg, sizeof(in));
	if (rc < 0)
		return rc;
	len = listxattr(path, list, XATTR_LIST_MAX);
	for (ssize_t i = 0; i < len;) {
		size_t n = strnlen(list + i, (size_t)(len - i - 1)) + 1;

		if (strncmp(list + i, user, sizeof(user) - 1) == 0) {
			memmove(list + kept, list + i, n);
			kept += (ssize_t)n;
		}
		i += (ssize_t)n;
	}
	return sized(r, in.size, len < 0 ? -1 : kept);
}

/* The short form of its arguments: the long one was not agreed upon */
int64_t share_op_setxattr(struct share_req *r)
{
	size_t at = FUSE_COMPAT_SETXATTR_IN_SIZE;
	const char *name = share_name(r, &at);
	struct fuse_setxattr_in in = {0};
	char path[32];
	int rc;

	memcpy(&in, r->arg, FUSE_COMPAT_SETXATTR_IN_SIZE);
	if (!name || in.size > r->arg_len - at)
		return -EINVAL;
	rc = attr_path(r, name, path);
	if (rc < 0)
		return rc;
	return setxattr(path, name, r->arg + at, in.size, (int)in.flags) < 0 ? -errno : 0;
}

int64_t share_op_removexattr(struct share_req *r)
{
	size_t at = 0;
	const char *name = share_name(r, &at);
	char path[32];
	int rc;

	if (!name)
		return -EINVAL;
	rc = attr_path(r, name, path);
	if (rc < 0)
		return rc;
	return removexattr(path, name) < 0 ? -errno : 0;
}
