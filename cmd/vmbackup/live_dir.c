/* Folders of live backups: see live_dir.h. */
#include "cmd/vmbackup/live_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"

#define PREFIX "vmkit-backup-"

enum { YOUNG_S = 3600 };

/* Return: the lock, ours now; -1: somebody has it (*@ret_pid), or errno says what else */
static int take_lock(int dir, long *ret_pid)
{
	int fd = openat(dir, "lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	char text[32] = "";

	*ret_pid = 0;
	if (fd < 0)
		return -1;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	if (pread(fd, text, sizeof(text) - 1, 0) > 0)
		*ret_pid = strtol(text, NULL, 10);
	(void)close(fd);
	errno = EWOULDBLOCK;
	return -1;
}

/* The folder is closed. */
static void empty(int fd)
{
	DIR *dir = fdopendir(fd);
	struct dirent *e;

	if (!dir) {
		(void)close(fd);
		return;
	}
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.')
			(void)unlinkat(dirfd(dir), e->d_name, 0);
	(void)closedir(dir);
}

/* Folder @name of @base, when its maker is dead; one that has no lock yet is being made. */
static void sweep_one(int base, const char *name)
{
	int fd = openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), lock;
	struct stat st;
	long pid;

	if (fd < 0)
		return;
	lock = take_lock(fd, &pid);
	if (lock < 0 &&
	    (errno != ENOENT || fstat(fd, &st) < 0 || time(NULL) - st.st_mtime < YOUNG_S)) {
		(void)close(fd);
		return;
	}
	empty(fd);
	(void)unlinkat(base, name, AT_REMOVEDIR);
	if (lock >= 0)
		(void)close(lock);
}

static void sweep(const char *base)
{
	DIR *dir = opendir(base);
	struct dirent *e;

	if (!dir)
		return;
	while ((e = readdir(dir)))
		if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) == 0)
			sweep_one(dirfd(dir), e->d_name);
	(void)closedir(dir);
}

static int make_lock(struct live_dir *d, struct err *err)
{
	CLEANUP_CLOSE int dir = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char text[32];
	int n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());

	d->lock = dir < 0 ? -1 : openat(dir, "lock", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (d->lock < 0 || flock(d->lock, LOCK_EX | LOCK_NB) < 0 ||
	    write(d->lock, text, (size_t)n) != n)
		return err_sys(err, "cannot make a lock");
	return 0;
}

int live_dir_make(struct live_dir *ret, const char *base, long uid, struct err *err)
{
	struct live_dir d = LIVE_DIR_NONE;
	int n;

	if (!base)
		base = getenv("TMPDIR");
	if (!base || !*base)
		base = "/var/tmp";
	sweep(base);
	n = snprintf(d.path, sizeof(d.path), "%s/" PREFIX "XXXXXX", base);
	if (n < 0 || (size_t)n >= sizeof(d.path)) {
		err_set(err, ERR_USAGE, "the path is too long for a socket in it");
		err_hint(err, "--scratch names a folder with a shorter one");
		return err_object(err, base);
	}
	if (*base != '/') {
		err_set(err, ERR_USAGE, "must be named from / on: QEMU has another folder");
		return err_object(err, base);
	}
	if (!mkdtemp(d.path)) {
		err_sys(err, "cannot make a folder in it");
		return err_object(err, base);
	}
	if (make_lock(&d, err) < 0 || (uid >= 0 && chown(d.path, (uid_t)uid, (gid_t)-1) < 0 &&
				       err_sys(err, "cannot give it to QEMU's user") < 0)) {
		err_object(err, d.path);
		live_dir_remove(&d);
		return -1;
	}
	*ret = d;
	return 0;
}

void live_dir_remove(struct live_dir *d)
{
	int fd = *d->path ? open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd >= 0) {
		empty(fd);
		(void)rmdir(d->path);
	}
	if (d->lock >= 0)
		(void)close(d->lock);
	*d = LIVE_DIR_NONE;
}

/* The folder of "/var/tmp/vmkit-backup-XXXXXX/socket" */
static bool folder_of(const char *socket, char *buf, size_t len)
{
	const char *slash = strrchr(socket, '/'), *name;

	if (!slash || (size_t)(slash - socket) >= len)
		return false;
	(void)snprintf(buf, len, "%.*s", (int)(slash - socket), socket);
	name = strrchr(buf, '/');
	return name && strncmp(name + 1, PREFIX, strlen(PREFIX)) == 0;
}

bool live_dir_is_ours(const char *socket, bool *ret_alive, long *ret_pid)
{
	CLEANUP_CLOSE int dir = -1;
	char path[108];
	int lock;

	*ret_alive = false;
	*ret_pid = 0;
	if (!folder_of(socket, path, sizeof(path)))
		return false;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		*ret_alive = errno != ENOENT; /* not ours to look into */
		return true;
	}
	lock = take_lock(dir, ret_pid);
	*ret_alive = lock < 0 && errno != ENOENT;
	if (lock >= 0)
		(void)close(lock);
	return true;
}

void live_dir_clear(const char *socket)
{
	struct live_dir d = LIVE_DIR_NONE;

	if (folder_of(socket, d.path, sizeof(d.path)))
		live_dir_remove(&d);
}
