/* QEMU-compatible locks: see lock.h. */
#include "libcommon/image/lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/err.h"
#include "libcommon/base/log.h"

enum { LOCK_USED = 100, LOCK_NOT_SHARED = 200 };
enum { PERM_READ = 0, PERM_WRITE = 1, PERM_RESIZE = 3 };

static const short held_by_reader[] = {LOCK_USED + PERM_READ, LOCK_NOT_SHARED + PERM_WRITE,
				       LOCK_NOT_SHARED + PERM_RESIZE, 0};
static const short held_by_writer[] = {LOCK_USED + PERM_READ,	      LOCK_USED + PERM_WRITE,
				       LOCK_USED + PERM_RESIZE,	      LOCK_NOT_SHARED + PERM_WRITE,
				       LOCK_NOT_SHARED + PERM_RESIZE, 0};

/* The opposite byte: who uses what we do not share, and who does not share what we use. */
static short opposite(short byte)
{
	return byte < LOCK_NOT_SHARED ? (short)(byte + 100) : (short)(byte - 100);
}

/* "qemu-system-x86 (pid 17)" of another process that has a lock on the file; false when none is seen. OFD
 * locks carry no pid, but each descriptor lists its locks in fdinfo. */
static bool descriptor_has_lock(const char *pid, const char *fd)
{
	char path[64 + NAME_MAX], line[128];
	bool found = false;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/fdinfo/%.20s", pid, fd);

	FILE *f = fopen(path, "re");

	while (f && !found && fgets(line, sizeof(line), f))
		found = strncmp(line, "lock:", 5) == 0;
	if (f)
		(void)fclose(f);
	return found;
}

static bool process_has_lock(const char *pid, const struct stat *wanted, int own_fd)
{
	char path[64];
	char own_pid[16], own_fd_name[16];
	bool own, found = false;
	struct dirent *e;

	(void)snprintf(own_pid, sizeof(own_pid), "%d", (int)getpid());
	(void)snprintf(own_fd_name, sizeof(own_fd_name), "%d", own_fd);
	own = strcmp(pid, own_pid) == 0;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);

	DIR *d = opendir(path);

	while (d && !found && (e = readdir(d))) {
		struct stat st;

		if ((own && strcmp(e->d_name, own_fd_name) == 0) ||
		    fstatat(dirfd(d), e->d_name, &st, 0) < 0)
			continue;
		found = st.st_dev == wanted->st_dev && st.st_ino == wanted->st_ino &&
			descriptor_has_lock(pid, e->d_name);
	}
	if (d)
		(void)closedir(d);
	return found;
}

static bool find_holder(int fd, char *ret, size_t room)
{
	struct stat wanted;
	bool found = false;
	struct dirent *e;
	DIR *proc = fstat(fd, &wanted) == 0 ? opendir("/proc") : NULL;

	while (proc && !found && (e = readdir(proc))) {
		if (e->d_name[0] < '1' || e->d_name[0] > '9' ||
		    !process_has_lock(e->d_name, &wanted, fd))
			continue;
		found = true;

		char path[64], comm[32] = "a process";
		FILE *f;

		(void)snprintf(path, sizeof(path), "/proc/%.20s/comm", e->d_name);
		f = fopen(path, "re");
		if (f) {
			if (fgets(comm, sizeof(comm), f))
				comm[strcspn(comm, "\n")] = '\0';
			(void)fclose(f);
		}
		(void)snprintf(ret, room, " by %s (pid %.20s)", comm, e->d_name);
	}
	if (proc)
		(void)closedir(proc);
	return found;
}

static int busy(int fd, short byte, struct err *err)
{
	char who[80] = " by another process";

	(void)find_holder(fd, who, sizeof(who));
	if (byte >= LOCK_NOT_SHARED)
		return err_set(err, ERR_BUSY, "is in use%s, which does not let others %s it", who,
			       byte == LOCK_NOT_SHARED + PERM_READ ? "read" : "write to");
	err_set(err, ERR_BUSY, "is open for %s%s",
		byte == LOCK_USED + PERM_READ ? "reading" : "writing", who);
	return 0;
}

int lock_take(int fd, bool write, struct err *err)
{
	const short *bytes = write ? held_by_writer : held_by_reader;
	struct flock lock = {.l_whence = SEEK_SET, .l_len = 1};

	/* Take first, ask then: of two that start at once at least one sees the other. */
	for (const short *b = bytes; *b; b++) {
		lock.l_type = F_RDLCK;
		lock.l_start = *b;
		if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
			continue;
		if (errno == EAGAIN || errno == EACCES) {
			busy(fd, *b, err);
			return -1;
		}
		log_info("this file system has no locks: %s", strerror(errno));
		return 0;
	}
	for (const short *b = bytes; *b; b++) {
		lock.l_type = F_WRLCK;
		lock.l_start = opposite(*b);
		lock.l_pid = 0; /* the kernel wants it so */
		if (fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK) {
			busy(fd, opposite(*b), err);
			return -1;
		}
		lock.l_len = 1; /* GETLK overwrites the range */
		lock.l_whence = SEEK_SET;
	}
	return 0;
}
