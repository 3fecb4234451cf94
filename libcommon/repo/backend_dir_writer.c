/* A repository in a folder: writing objects.
 *
 * They are written below tmp/ and get their name by a rename that replaces nothing. A temporary file is held by an OFD
 * write lock while its writer lives: a lock that can be had tells that the writer is dead, with no clock and no process
 * number.
 */
#include "libcommon/repo/backend_dir_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"

struct dir_writer {
	struct backend_writer base;
	struct dir_backend *backend;
	int fd;
	char name[BACKEND_NAME_MAX];
	char temp[BACKEND_NAME_MAX + 16]; /* below the folder: "tmp/packs+5f+5f..." */
};

/* Return: 1 when the lock was had, 0 when another holds it, -1 */
static int lock_temp(int fd, struct err *err)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (!fcntl(fd, F_OFD_SETLK, &fl))
		return 1;
	if (errno == EAGAIN || errno == EACCES)
		return 0;
	return err_sys(err, "cannot lock a temporary file");
}

/* After the lock is had: is this still the file of that name? Another may have finished or removed it in between. */
static bool still_named(int dirfd, const char *name, int fd)
{
	struct stat a, b;

	return !fstat(fd, &a) && !fstatat(dirfd, name, &b, AT_SYMLINK_NOFOLLOW) &&
	       a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

int dir_writer_new(struct backend *b, const char *name, struct backend_writer **ret,
		   struct err *err)
{
	struct dir_backend *d = (struct dir_backend *)b;
	struct dir_writer *w;

	if (dir_check_name(name, err))
		return -1;
	w = calloc(1, sizeof(*w));
	if (!w)
		return err_nomem(err);
	w->base.ops = b->ops;
	w->backend = d;
	snprintf(w->name, sizeof(w->name), "%s", name);
	for (unsigned attempt = 0; attempt < 100; attempt++) {
		CLEANUP_CLOSE int fd = -1;
		char *p = w->temp + snprintf(w->temp, sizeof(w->temp), "tmp/%u-", attempt);
		int locked;

		for (const char *s = name; *s; s++)
			*p++ = *s == '/' ? '+' : *s;
		*p = 0;
		fd = openat(d->fd, w->temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			    0600);
		if (fd < 0 && errno == EEXIST)
			continue;
		if (fd < 0) {
			err_sys(err, "cannot make %s", w->temp);
			break;
		}
		locked = lock_temp(fd, err);
		if (locked < 0)
			break;
		if (!locked || !still_named(d->fd, w->temp, fd))
			continue; /* an adopter was faster: it removes the empty file */
		w->fd = steal_fd(&fd);
		*ret = &w->base;
		return 0;
	}
	if (err && err->code == ERR_NONE)
		err_set(err, ERR_BUSY, "no free temporary name for %s", name);
	free(w);
	return -1;
}

int dir_write(struct backend_writer *base, uint64_t off, const void *buf, size_t len,
	      struct err *err)
{
	struct dir_writer *w = (struct dir_writer *)base;

	if (io_pwrite(w->fd, buf, len, off, err))
		return -1;
	/* Only a hint that makes the later fsync short; what fails here fails there. */
	(void)sync_file_range(w->fd, (off_t)off, (off_t)len, SYNC_FILE_RANGE_WRITE);
	return 0;
}

int dir_writer_read(struct backend_writer *base, uint64_t off, void *buf, size_t len,
		    struct err *err)
{
	return io_pread(((struct dir_writer *)base)->fd, buf, len, off, err);
}

static int name_it(struct dir_writer *w, struct err *err)
{
	CLEANUP_CLOSE int parent = -1;
	const char *leaf;

	parent = dir_open_parent(w->backend, w->name, true, &leaf, err);
	if (parent < 0)
		return -1;
	if (renameat2(w->backend->fd, w->temp, parent, leaf, RENAME_NOREPLACE)) {
		if (errno == EEXIST)
			return err_set(err, ERR_EXISTS, "exists already");
		if (errno != EINVAL && errno != ENOSYS)
			return err_sys(err, "cannot rename");
		if (linkat(w->backend->fd, w->temp, parent, leaf, 0))
			return err_sys(err, "cannot link");
		if (unlinkat(w->backend->fd, w->temp, 0))
			return err_sys(err, "cannot remove its temporary name");
	}
	return io_fsync(parent, err);
}

int dir_commit(struct backend_writer *base, uint64_t size, struct err *err)
{
	struct dir_writer *w = (struct dir_writer *)base;
	struct stat st;
	int rc = 0;

	if (fstat(w->fd, &st))
		rc = err_sys(err, "cannot stat");
	else if (st.st_size != (off_t)size && ftruncate(w->fd, (off_t)size))
		rc = err_sys(err, "cannot truncate");
	/* The first failure is final: the kernel may have dropped the pages. The frames are verified again at adoption. */
	if (!rc)
		rc = io_fsync(w->fd, err);
	if (!rc)
		rc = name_it(w, err);
	if (io_close(w->fd, rc ? NULL : err))
		rc = -1;
	if (rc)
		err_object(err, w->name);
	if (rc && strncmp(w->name, "packs/", 6)) /* of use to nobody */
		(void)unlinkat(w->backend->fd, w->temp, 0);
	free(w);
	return rc;
}

void dir_writer_close(struct backend_writer *base, bool keep)
{
	struct dir_writer *w = (struct dir_writer *)base;

	if (!keep)
		(void)unlinkat(w->backend->fd, w->temp, 0);
	close(w->fd);
	free(w);
}

int dir_create(struct backend *b, const char *name, const void *data, size_t len, struct err *err)
{
	struct backend_writer *w;

	if (dir_writer_new(b, name, &w, err))
		return -1;
	if (dir_write(w, 0, data, len, err)) {
		dir_writer_close(w, false);
		return -1;
	}
	return dir_commit(w, len, err);
}

/* The temporary name is none of a pack, so what a killed healer leaves is removed and not adopted. */
int dir_replace(struct backend *b, const char *name, const void *data, size_t len, struct err *err)
{
	struct dir_backend *d = (struct dir_backend *)b;
	CLEANUP_CLOSE int parent = -1;
	struct backend_writer *base;
	struct dir_writer *w;
	char temp_name[BACKEND_NAME_MAX] = "heal/";
	const char *leaf;
	int rc;

	(void)snprintf(temp_name + 5, sizeof(temp_name) - 5, "%s",
		       strrchr(name, '/') ? strrchr(name, '/') + 1 : name);
	if (dir_check_name(name, err) || dir_writer_new(b, temp_name, &base, err))
		return -1;
	w = (struct dir_writer *)base;
	rc = io_pwrite(w->fd, data, len, 0, err) || io_fsync(w->fd, err) ? -1 : 0;
	if (!rc)
		rc = (parent = dir_open_parent(d, name, false, &leaf, err)) < 0 ? -1 : 0;
	if (!rc && renameat(d->fd, w->temp, parent, leaf))
		rc = err_sys(err, "cannot rename");
	dir_writer_close(base, !rc);
	if (!rc)
		rc = io_fsync(parent, err);
	return rc ? err_object(err, name) : 0;
}

/* "tmp/0-packs+5f+5fab" to "packs/5f/5fab" */
static bool final_name(const char *leaf, char name[BACKEND_NAME_MAX])
{
	const char *p = strchr(leaf, '-');
	size_t len;

	if (!p || strlen(p + 1) >= BACKEND_NAME_MAX)
		return false;
	len = strlen(p + 1);
	memcpy(name, p + 1, len + 1);
	for (size_t i = 0; i < len; i++)
		if (name[i] == '+')
			name[i] = '/';
	return backend_name_valid(name);
}

static int orphan(struct dir_backend *d, int tmp, const char *leaf,
		  int (*fn)(void *ctx, const char *name, struct backend_writer *w, uint64_t size,
			    struct err *err),
		  void *ctx, struct err *err)
{
	CLEANUP_CLOSE int fd = openat(tmp, leaf, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct dir_writer *w;
	struct stat st;
	int locked;

	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
		return 0; /* gone, or not ours */
	locked = lock_temp(fd, err);
	if (locked <= 0)
		return locked;
	if (!still_named(tmp, leaf, fd) || fstat(fd, &st))
		return 0;
	w = calloc(1, sizeof(*w));
	if (!w)
		return err_nomem(err);
	w->base.ops = d->base.ops;
	w->backend = d;
	if (!final_name(leaf, w->name) ||
	    (size_t)snprintf(w->temp, sizeof(w->temp), "tmp/%s", leaf) >= sizeof(w->temp)) {
		free(w);
		return 0;
	}
	w->fd = steal_fd(&fd);
	return fn(ctx, w->name, &w->base, (uint64_t)st.st_size, err);
}

int dir_orphans(struct backend *b,
		int (*fn)(void *ctx, const char *name, struct backend_writer *w, uint64_t size,
			  struct err *err),
		void *ctx, struct err *err)
{
	struct dir_backend *d = (struct dir_backend *)b;
	int tmp = openat(d->fd, "tmp", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	const struct dirent *e;
	DIR *dir;
	int rc = 0;

	if (tmp < 0)
		return errno == ENOENT ? 0 : err_sys(err, "cannot list tmp");
	dir = fdopendir(tmp);
	if (!dir) {
		close(tmp);
		return err_sys(err, "cannot list tmp");
	}
	while (!rc && (errno = 0, e = readdir(dir)))
		if (e->d_name[0] != '.')
			rc = orphan(d, tmp, e->d_name, fn, ctx, err);
	if (!rc && errno)
		rc = err_sys(err, "cannot list tmp");
	closedir(dir);
	return rc;
}
