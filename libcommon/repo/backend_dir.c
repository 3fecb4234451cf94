/* A repository in a folder: finding, reading and removing objects. No symbolic link is followed below the folder.
 *
 * Writing: backend_dir_writer.c. Who uses it, and who collects: backend_dir_session.c.
 */
#include "libcommon/repo/backend_dir_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/log.h"

struct dir_object {
	struct backend_object base;
	int fd;
};

static const char *const folders[] = {"keys",	"packs",  "index",   "snapshots", "bad",
				      "leases", "epochs", "numbers", "tmp"};

int dir_check_name(const char *name, struct err *err)
{
	return backend_name_valid(name) ? 0
					: err_set(err, ERR_USAGE, "'%s' is no object name", name);
}

/* The folder that holds @name, step by step so that no link is followed; *@ret_leaf points into @name. */
int dir_open_parent(struct dir_backend *d, const char *name, bool make, const char **ret_leaf,
		    struct err *err)
{
	CLEANUP_CLOSE int dir = fcntl(d->fd, F_DUPFD_CLOEXEC, 0);
	char part[BACKEND_NAME_MAX];

	if (dir < 0)
		return err_sys(err, "cannot duplicate a descriptor");
	for (const char *slash; (slash = strchr(name, '/')); name = slash + 1) {
		int next;

		snprintf(part, sizeof(part), "%.*s", (int)(slash - name), name);
		next = openat(dir, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0 && errno == ENOENT && make) {
			if (mkdirat(dir, part, 0700) && errno != EEXIST)
				return err_sys(err, "cannot make the folder %s", part);
			if (io_fsync(dir, err))
				return -1;
			next = openat(dir, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		}
		if (next < 0 && (errno == ENOTDIR || errno == ELOOP))
			return err_set(err, ERR_CORRUPT, "%s is no folder", part);
		if (next < 0)
			return err_sys(err, "cannot open the folder %s", part);
		close(dir);
		dir = next;
	}
	*ret_leaf = name;
	return steal_fd(&dir);
}

/* A disk gives again what it could not give for a moment (a cable, a path of several, a file server that was started
 * anew), and what is taken for lost costs more than to ask twice. */
static bool try_again(unsigned attempt, const struct err *why)
{
	if (attempt || why->sys != EIO)
		return false;
	log_info("%s: once more", why->message);
	return true;
}

static int open_once(struct backend *b, const char *name, struct backend_object **ret,
		     uint64_t *ret_size, struct err *err)
{
	struct dir_backend *d = (struct dir_backend *)b;
	CLEANUP_CLOSE int parent = -1, fd = -1;
	const char *leaf;
	struct dir_object *o;
	struct stat st;

	if (dir_check_name(name, err))
		return -1;
	parent = dir_open_parent(d, name, false, &leaf, err);
	if (parent < 0)
		return err_object(err, name);
	fd = openat(parent, leaf, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno == ELOOP) {
		err_set(err, ERR_CORRUPT, "is a symbolic link");
		return err_object(err, name);
	}
	if (fd < 0 || fstat(fd, &st)) {
		err_sys(err, "cannot open");
		return err_object(err, name);
	}
	if (!S_ISREG(st.st_mode)) {
		err_set(err, ERR_CORRUPT, "is no plain file");
		return err_object(err, name);
	}
	o = malloc(sizeof(*o));
	if (!o)
		return err_nomem(err);
	o->base.ops = b->ops;
	o->fd = steal_fd(&fd);
	*ret = &o->base;
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

static int dir_open(struct backend *b, const char *name, struct backend_object **ret,
		    uint64_t *ret_size, struct err *err)
{
	for (unsigned i = 0;; i++) {
		struct err why = ERR_INIT;

		if (!open_once(b, name, ret, ret_size, &why))
			return 0;
		if (try_again(i, &why))
			continue;
		if (err)
			*err = why;
		return -1;
	}
}

static int dir_read(struct backend_object *o, uint64_t off, void *buf, size_t len, struct err *err)
{
	for (unsigned i = 0;; i++) {
		struct err why = ERR_INIT;

		if (!io_pread(((struct dir_object *)o)->fd, buf, len, off, &why))
			return 0;
		if (try_again(i, &why))
			continue;
		if (err)
			*err = why;
		return -1;
	}
}

static void dir_object_close(struct backend_object *o)
{
	close(((struct dir_object *)o)->fd);
	free(o);
}

static int list_folder(int fd, const char *prefix, int depth,
		       int (*fn)(void *ctx, const char *name, struct err *err), void *ctx,
		       struct err *err)
{
	DIR *dir = fdopendir(fd);
	const struct dirent *e;
	int rc = 0;

	if (!dir) {
		err_sys(err, "cannot list %s", prefix);
		close(fd);
		return -1;
	}
	while (!rc && (errno = 0, e = readdir(dir))) {
		char name[BACKEND_NAME_MAX];
		int n = snprintf(name, sizeof(name), "%s/%s", prefix, e->d_name);

		if (n < 0 || (size_t)n >= sizeof(name) || !backend_name_valid(name))
			continue;
		if (!depth) {
			rc = fn(ctx, name, err);
			continue;
		}
		int sub = openat(dirfd(dir), e->d_name,
				 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (sub >= 0)
			rc = list_folder(sub, name, depth - 1, fn, ctx, err);
		else if (errno != ENOTDIR && errno != ELOOP && errno != ENOENT)
			rc = err_sys(err, "cannot list %s", name);
	}
	if (!rc && errno)
		rc = err_sys(err, "cannot list %s", prefix);
	closedir(dir);
	return rc;
}

static int dir_list(struct backend *b, const char *folder,
		    int (*fn)(void *ctx, const char *name, struct err *err), void *ctx,
		    struct err *err)
{
	struct dir_backend *d = (struct dir_backend *)b;
	char path[BACKEND_NAME_MAX + 2];
	const char *leaf;
	int fd;

	if (dir_check_name(folder, err))
		return -1;
	snprintf(path, sizeof(path), "%s/", folder);
	fd = dir_open_parent(d, path, false, &leaf, err);
	if (fd < 0 && err && err->code == ERR_NOT_FOUND) {
		err_clear(err);
		return 0;
	}
	if (fd < 0)
		return -1;
	return list_folder(fd, folder, strcmp(folder, "packs") == 0, fn, ctx, err);
}

static int dir_remove(struct backend *b, const char *name, struct err *err)
{
	CLEANUP_CLOSE int parent = -1;
	const char *leaf;

	if (dir_check_name(name, err))
		return -1;
	parent = dir_open_parent((struct dir_backend *)b, name, false, &leaf, err);
	if (parent < 0)
		return -1;
	if (unlinkat(parent, leaf, 0) && errno != ENOENT) {
		err_sys(err, "cannot remove");
		return err_object(err, name);
	}
	return 0;
}

static int dir_sync(struct backend *b, const char *folder, struct err *err)
{
	char path[BACKEND_NAME_MAX + 2];
	CLEANUP_CLOSE int fd = -1;
	const char *leaf;

	if (dir_check_name(folder, err))
		return -1;
	snprintf(path, sizeof(path), "%s/", folder);
	fd = dir_open_parent((struct dir_backend *)b, path, false, &leaf, err);
	return fd < 0 ? -1 : io_fsync(fd, err);
}

static uint64_t dir_room(struct backend *b)
{
	struct statvfs fs;

	if (fstatvfs(((struct dir_backend *)b)->fd, &fs))
		return UINT64_MAX;
	return (uint64_t)fs.f_bavail * fs.f_frsize;
}

static void dir_place(struct backend *b, char *ret, size_t cap)
{
	struct stat st = {0};

	(void)fstat(((struct dir_backend *)b)->fd, &st);
	snprintf(ret, cap, "folder %llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
}

static void dir_close(struct backend *b)
{
	struct dir_backend *d = (struct dir_backend *)b;

	dir_sessions_end(d);
	close(d->fd);
	free(b);
}

static const struct backend_ops dir_ops = {
	.scheme = "dir",
	.create = dir_create,
	.open = dir_open,
	.read = dir_read,
	.object_close = dir_object_close,
	.list = dir_list,
	.remove = dir_remove,
	.sync = dir_sync,
	.writer_new = dir_writer_new,
	.write = dir_write,
	.writer_read = dir_writer_read,
	.commit = dir_commit,
	.writer_close = dir_writer_close,
	.orphans = dir_orphans,
	.replace = dir_replace,
	.session = dir_session,
	.sessions_before = dir_sessions_before,
	.collector = dir_collector,
	.room = dir_room,
	.place = dir_place,
	.close = dir_close,
};

int backend_dir_open(struct backend **ret, const char *path, struct err *err)
{
	struct dir_backend *d = malloc(sizeof(*d));

	if (!d)
		return err_nomem(err);
	d->base.ops = &dir_ops;
	d->session = d->collector = -1;
	d->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->fd < 0) {
		err_sys(err, "cannot open");
		free(d);
		return err_object(err, path);
	}
	*ret = &d->base;
	return 0;
}

static bool our_folder(const char *name)
{
	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++)
		if (!strcmp(name, folders[i]))
			return true;
	return false;
}

/* What a killed init left (folders of ours, but no config) does not count: the next init goes on from there. */
static int check_empty(int fd, struct err *err)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *e;
	int rc = 0;

	if (!dir) {
		if (copy >= 0)
			close(copy);
		return err_sys(err, "cannot list");
	}
	while (!rc && (errno = 0, e = readdir(dir))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || our_folder(e->d_name))
			continue;
		rc = strcmp(e->d_name, "config")
			     ? err_set(err, ERR_EXISTS, "the folder is not empty")
			     : err_set(err, ERR_EXISTS, "a repository exists already");
	}
	if (!rc && errno)
		rc = err_sys(err, "cannot list");
	closedir(dir);
	return rc;
}

int backend_dir_init(const char *path, struct err *err)
{
	CLEANUP_CLOSE int fd = -1;

	if (mkdir(path, 0700) && errno != EEXIST) {
		err_sys(err, "cannot make the folder");
		return err_object(err, path);
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		err_sys(err, "cannot open");
		return err_object(err, path);
	}
	if (check_empty(fd, err))
		return err_object(err, path);
	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++)
		if (mkdirat(fd, folders[i], 0700) && errno != EEXIST) {
			err_sys(err, "cannot make the folder %s", folders[i]);
			return err_object(err, path);
		}
	if (io_fsync(fd, err) || io_fsync_parent(path, err))
		return err_object(err, path);
	return 0;
}
