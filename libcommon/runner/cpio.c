/* cpio archives: see cpio.h. Hard links become files of their own. */
#include "libcommon/runner/cpio.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"

enum { COPY = 65536 };

static int put(struct cpio *c, const void *data, size_t len, struct err *err)
{
	if (len && fwrite(data, 1, len, c->out) != len)
		return err_sys(err, "cannot write the initial RAM disk");
	c->written += len;
	return 0;
}

static int pad(struct cpio *c, struct err *err)
{
	return put(c, "\0\0\0", (4 - c->written % 4) % 4, err);
}

static int header(struct cpio *c, const char *name, const struct stat *st, uint64_t size,
		  struct err *err)
{
	char text[128];
	size_t n = strlen(name) + 1;

	if (size > UINT32_MAX) {
		err_set(err, ERR_UNSUPPORTED,
			"files of 4 GiB and more do not fit into an initial RAM disk");
		return err_object(err, name);
	}
	(void)snprintf(
		text, sizeof(text), "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		++c->entries, st->st_mode, st->st_uid, st->st_gid, 1, (unsigned)st->st_mtime,
		(unsigned)size, 0, 0, major(st->st_rdev), minor(st->st_rdev), (unsigned)n, 0);
	return put(c, text, 110, err) || put(c, name, n, err) || pad(c, err) ? -1 : 0;
}

int cpio_entry(struct cpio *c, const char *name, uint32_t mode, const void *data, size_t size,
	       struct err *err)
{
	const struct stat st = {.st_mode = mode};

	return header(c, name, &st, size, err) || put(c, data, size, err) || pad(c, err) ? -1 : 0;
}

static int content(struct cpio *c, int fd, uint64_t size, struct err *err)
{
	char buf[COPY];

	while (size) {
		ssize_t n = read(fd, buf, size < sizeof(buf) ? (size_t)size : sizeof(buf));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, "cannot read");
		if (n == 0)
			return err_set(err, ERR_FAILED, "became shorter while it was read");
		if (put(c, buf, (size_t)n, err) < 0 || stop_check(err) < 0)
			return -1;
		size -= (uint64_t)n;
	}
	return pad(c, err);
}

/* @st: what to say of it; its size is the open file's */
static int whole_file(struct cpio *c, const char *name, const char *path, const struct stat *st,
		      struct err *err)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat now;

	if (fd < 0 || fstat(fd, &now) < 0)
		err_sys(err, "cannot open");
	else if (header(c, name, st, (uint64_t)now.st_size, err) == 0 &&
		 content(c, fd, (uint64_t)now.st_size, err) == 0)
		return 0;
	return err_object(err, path);
}

int cpio_file(struct cpio *c, const char *name, const char *path, uint32_t mode, struct err *err)
{
	const struct stat st = {.st_mode = S_IFREG | mode};

	return whole_file(c, name, path, &st, err);
}

static int tree_entry(struct cpio *c, const FTSENT *e, const char *name, struct err *err)
{
	const struct stat *st = e->fts_statp;
	char target[PATH_MAX];
	ssize_t n;

	switch (st->st_mode & S_IFMT) {
	case S_IFREG:
		return whole_file(c, name, e->fts_accpath, st, err);
	case S_IFLNK:
		n = readlink(e->fts_accpath, target, sizeof(target));
		if (n < 0) {
			err_sys(err, "cannot read the link");
			return err_object(err, e->fts_path);
		}
		return header(c, name, st, (uint64_t)n, err) || put(c, target, (size_t)n, err) ||
				       pad(c, err)
			       ? -1
			       : 0;
	case S_IFSOCK:
		return 0;
	default:
		return header(c, name, st, 0, err);
	}
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

int cpio_tree(struct cpio *c, const char *path, struct err *err)
{
	char *roots[] = {strdup(path), NULL};
	FTS *fts =
		roots[0] ? fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, by_name) : NULL;
	size_t skip = strlen(path);
	int rc = fts ? 0 : err_nomem(err);
	FTSENT *e;

	while (rc == 0 && (e = fts_read(fts))) {
		const char *name = e->fts_path + skip;

		while (*name == '/')
			name++;
		if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS) {
			errno = e->fts_errno;
			err_sys(err, "cannot read");
			rc = err_object(err, e->fts_path);
		} else if (e->fts_info != FTS_DP && *name) {
			rc = tree_entry(c, e, name, err);
		}
	}
	if (fts)
		(void)fts_close(fts);
	free(roots[0]);
	return rc;
}

int cpio_finish(struct cpio *c, struct err *err)
{
	return cpio_entry(c, "TRAILER!!!", 0, NULL, 0, err);
}
