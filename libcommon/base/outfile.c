/* Files that appear only when whole: see outfile.h. */
#include "libcommon/base/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/err.h"
#include "libcommon/base/io.h"

struct outfile {
	int fd;
	int at; /* the folder that names are relative to: AT_FDCWD, or borrowed */
	unsigned flags;
	char *path;	/* final name, links resolved */
	char *tmp_path; /* NULL while the file has no name */
	char *pending;	/* tmp_path for the signal handler, which knows no descriptor */
	int slot;	/* in pending[], -1 when none */
	bool kept;	/* tmp_path is "PATH.part" and stays */
};

/* Temporary names for the signal handler. A slot's pointer is published last and withdrawn first; the
 * handler reads it without a lock and ends the process. */
enum { PENDING_MAX = 64 };
static _Atomic(char *) pending[PENDING_MAX];

static int pending_add(struct outfile *of)
{
	char *path;

	if ((of->at == AT_FDCWD
		     ? asprintf(&of->pending, "%s", of->tmp_path)
		     : asprintf(&of->pending, "/proc/self/fd/%d/%s", of->at, of->tmp_path)) < 0) {
		of->pending = NULL;
		return -1;
	}
	path = of->pending;
	for (int i = 0; i < PENDING_MAX; i++) {
		char *none = NULL;

		if (atomic_compare_exchange_strong(&pending[i], &none, path))
			return i;
	}
	return -1;
}

static void pending_remove(int slot)
{
	if (slot >= 0)
		atomic_store(&pending[slot], NULL);
}

void outfile_remove_all_from_signal(void)
{
	for (int i = 0; i < PENDING_MAX; i++) {
		char *path = atomic_load(&pending[i]);

		if (path)
			(void)unlink(path);
	}
}

static void outfile_free(struct outfile *of)
{
	pending_remove(of->slot);
	if (of->fd >= 0)
		(void)close(of->fd);
	free(of->pending);
	free(of->tmp_path);
	free(of->path);
	free(of);
}

/* "dir/.name.vmkit-0123456789abcdef" */
char *outfile_temporary_name(const char *path)
{
	uint64_t r;

	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		return NULL;

	const char *slash = strrchr(path, '/');
	int dir_len = slash ? (int)(slash + 1 - path) : 0;
	const char *base = path + dir_len;
	char *name;

	/* A long base name is cut: NAME_MAX must hold the random part as well. */
	if (asprintf(&name, "%.*s.%.200s.vmkit-%016llx", dir_len, path, base,
		     (unsigned long long)r) < 0)
		return NULL;
	return name;
}

static int open_nameless(struct outfile *of, mode_t mode)
{
	CLEANUP_FREE char *dir = strdup(of->path);

	if (!dir) {
		errno = ENOMEM;
		return -1;
	}

	char *slash = strrchr(dir, '/');

	if (slash == dir)
		slash[1] = '\0';
	else if (slash)
		*slash = '\0';
	of->fd = openat(of->at, slash ? dir : ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
	return of->fd;
}

static int open_named(struct outfile *of, mode_t mode, struct err *err)
{
	for (int tries = 0; tries < 16; tries++) {
		char *name = outfile_temporary_name(of->path);

		if (!name)
			return err_nomem(err);
		of->fd = openat(of->at, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW,
				mode);
		if (of->fd >= 0) {
			of->tmp_path = name;
			of->slot = pending_add(of);
			return 0;
		}
		free(name);
		if (errno != EEXIST)
			break;
	}
	return err_sys(err, "cannot create");
}

static int begin(struct outfile *of, struct err *err)
{
	mode_t mode = of->flags & OUTFILE_PRIVATE ? 0600 : 0666;

	if (!(of->flags & OUTFILE_NAMED) && open_nameless(of, mode) >= 0)
		return 0;
	return open_named(of, mode, err);
}

/* A handle without a file, for what may be made under @path. */
static int new_at_path(struct outfile **ret_of, const char *path, unsigned flags, struct err *err)
{
	struct outfile *of = calloc(1, sizeof(*of));

	if (!of)
		return err_nomem(err);
	of->fd = -1;
	of->at = AT_FDCWD;
	of->slot = -1;
	of->flags = flags;

	struct stat st;

	if (stat(path, &st) == 0) {
		if (!(flags & OUTFILE_FORCE)) {
			free(of);
			err_set(err, ERR_EXISTS, "exists already");
			err_hint(err, "--force replaces it");
			return err_object(err, path);
		}
		if (!S_ISREG(st.st_mode)) {
			free(of);
			err_set(err, ERR_FAILED, "is not a regular file");
			return err_object(err, path);
		}
		of->path = realpath(path, NULL);
	} else {
		of->path = strdup(path);
	}
	if (!of->path) {
		free(of);
		return err_nomem(err);
	}
	*ret_of = of;
	return 0;
}

int outfile_open(struct outfile **ret_of, const char *path, unsigned flags, struct err *err)
{
	struct outfile *of;

	if (new_at_path(&of, path, flags, err) < 0)
		return -1;
	if (begin(of, err) < 0) {
		outfile_free(of);
		return err_object(err, path);
	}
	*ret_of = of;
	return 0;
}

/* Return: 1 open and locked, 0 another process has just finished it: again, -1 */
static int open_part(struct outfile *of, struct err *err)
{
	struct stat st, named;

	of->fd = open(of->tmp_path, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0666);
	if (of->fd < 0)
		return err_sys(err, "cannot create");
	if (fstat(of->fd, &st) < 0)
		return err_sys(err, "cannot look at it");
	/* Not what somebody else has put there to be written to */
	if (!S_ISREG(st.st_mode) || st.st_nlink > 1 || st.st_uid != geteuid())
		return err_set(err, ERR_EXISTS, "is no file of ours");
	if (flock(of->fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK
			       ? err_set(err, ERR_BUSY, "another process is writing it")
			       : err_sys(err, "cannot lock");
	if (lstat(of->tmp_path, &named) == 0 && named.st_dev == st.st_dev &&
	    named.st_ino == st.st_ino)
		return 1;
	(void)close(of->fd);
	of->fd = -1;
	return 0;
}

int outfile_open_kept(struct outfile **ret_of, const char *path, unsigned flags, struct err *err)
{
	struct outfile *of;
	int rc;

	if (new_at_path(&of, path, flags, err) < 0)
		return -1;
	of->kept = true;
	if (asprintf(&of->tmp_path, "%s.part", of->path) < 0) {
		of->tmp_path = NULL;
		outfile_free(of);
		return err_nomem(err);
	}
	do
		rc = open_part(of, err);
	while (rc == 0);
	if (rc < 0) {
		err_object(err, of->tmp_path);
		outfile_free(of);
		return -1;
	}
	*ret_of = of;
	return 0;
}

int outfile_open_at(struct outfile **ret_of, int dir, const char *name, unsigned flags,
		    struct err *err)
{
	struct outfile *of;
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (!(flags & OUTFILE_FORCE)) {
			err_set(err, ERR_EXISTS, "exists already");
			return err_hint(err, "--force replaces it");
		}
		if (S_ISDIR(st.st_mode))
			return err_set(err, ERR_FAILED, "is a folder");
	}
	of = calloc(1, sizeof(*of));
	if (!of)
		return err_nomem(err);
	*of = (struct outfile){
		.fd = -1, .at = dir, .slot = -1, .flags = flags, .path = strdup(name)};
	if (!of->path || begin(of, err) < 0) {
		if (!of->path)
			err_nomem(err);
		outfile_free(of);
		return -1;
	}
	*ret_of = of;
	return 0;
}

int outfile_fd(const struct outfile *of)
{
	return of->fd;
}

const char *outfile_path(const struct outfile *of)
{
	return of->path;
}

const char *outfile_part(const struct outfile *of)
{
	return of->kept ? of->tmp_path : NULL;
}

/* Give a nameless file a name: the final one when nothing may be replaced (link never replaces, so two
 * writers cannot both win), a temporary one for rename otherwise. */
static int link_nameless(struct outfile *of, struct err *err)
{
	char proc[64];
	bool replace = of->flags & OUTFILE_FORCE;

	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", of->fd);
	if (!replace) {
		if (linkat(AT_FDCWD, proc, of->at, of->path, AT_SYMLINK_FOLLOW) < 0)
			return err_sys(err, "cannot name the finished file");
		return 0;
	}

	char *name = outfile_temporary_name(of->path);

	if (!name)
		return err_nomem(err);
	if (linkat(AT_FDCWD, proc, of->at, name, AT_SYMLINK_FOLLOW) < 0) {
		free(name);
		return err_sys(err, "cannot name the finished file");
	}
	of->tmp_path = name;
	of->slot = pending_add(of);
	return 0;
}

static int name_it(struct outfile *of, struct err *err)
{
	if (!of->tmp_path && link_nameless(of, err) < 0)
		return -1;
	if (!of->tmp_path)
		return 0;

	unsigned how = of->flags & OUTFILE_FORCE ? 0 : RENAME_NOREPLACE;
	int rc = renameat2(of->at, of->tmp_path, of->at, of->path, how);

	if (rc < 0 && how && (errno == EINVAL || errno == ENOSYS)) {
		/* A file system without RENAME_NOREPLACE: link refuses to replace as well. */
		rc = linkat(of->at, of->tmp_path, of->at, of->path, 0);
		if (rc == 0)
			(void)unlinkat(of->at, of->tmp_path, 0);
	}
	if (rc < 0)
		return err_sys(err, "cannot name the finished file");
	pending_remove(of->slot);
	of->slot = -1;
	free(of->tmp_path);
	of->tmp_path = NULL;
	return 0;
}

int outfile_commit(struct outfile *of, struct err *err)
{
	bool sync = !(of->flags & OUTFILE_NO_SYNC);
	int rc = -1;

	if (sync && io_fsync(of->fd, err) < 0)
		goto out;
	if (name_it(of, err) < 0)
		goto out;

	int fd = of->fd;

	of->fd = -1;
	if (io_close(fd, err) < 0) {
		(void)unlinkat(of->at, of->path,
			       0); /* written data may be lost (NFS): it must not look whole */
		goto out;
	}
	if (sync &&
	    (of->at == AT_FDCWD ? io_fsync_parent(of->path, err) : io_fsync(of->at, err)) < 0) {
		/* What was replaced does not come back: then the new file, which is whole, stays. */
		if (!(of->flags & OUTFILE_FORCE))
			(void)unlinkat(of->at, of->path, 0);
		goto out;
	}
	rc = 0;
out:
	if (rc < 0) {
		if (of->at == AT_FDCWD)
			err_object(err, of->path);
		if (of->tmp_path && !of->kept)
			(void)unlinkat(of->at, of->tmp_path, 0);
	}
	outfile_free(of);
	return rc;
}

void outfile_discard(struct outfile *of)
{
	if (!of)
		return;
	if (of->tmp_path && !of->kept)
		(void)unlinkat(of->at, of->tmp_path, 0);
	outfile_free(of);
}

int outfile_write(const char *path, const void *data, size_t len, unsigned flags, struct err *err)
{
	struct outfile *of;

	if (outfile_open(&of, path, flags, err) < 0)
		return -1;
	if (io_write(outfile_fd(of), data, len, err) < 0) {
		outfile_discard(of);
		return err_object(err, path);
	}
	return outfile_commit(of, err);
}
