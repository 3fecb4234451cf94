/* inject.so: the Nth system call that changes (or that reads) a file fails, or is the last the process makes.
 *
 *	INJECT_AT=N INJECT_HOW=enospc|eio|full|dead|short|eintr|kill LD_PRELOAD=inject.so PROGRAM ...
 *	INJECT_COUNT=FILE	how many such calls there were, written at exit; for the loop over all N
 *	INJECT_TRACE=1		each call on standard error
 *	INJECT_NO_TMPFILE=1	a file system without O_TMPFILE
 *	INJECT_UNLINK=1		removals of files count too
 *	INJECT_READS=1		calls that read, look or open count, and no others
 *
 * enospc and eio fail one call; full fails the Nth and all later ones that need space,
 * dead all later ones; short writes half of what was
 * asked once (or reads); eintr interrupts once; kill is SIGKILL before the call. Calls on standard descriptors do not count,
 * nor does (without INJECT_UNLINK) the removal of files: what cleans up must be able to. With --threads=1 the
 * Nth call is always the same one.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum needs { NO_SPACE_NEEDED, SPACE, READS };

static atomic_int calls;
static int at;
static const char *how = "", *count_file;
static bool trace, no_tmpfile, unlinks, reads;

static void __attribute__((constructor)) begin(void)
{
	at = getenv("INJECT_AT") ? atoi(getenv("INJECT_AT")) : 0;
	how = getenv("INJECT_HOW") ? getenv("INJECT_HOW") : "eio";
	count_file = getenv("INJECT_COUNT");
	trace = getenv("INJECT_TRACE");
	no_tmpfile = getenv("INJECT_NO_TMPFILE");
	unlinks = getenv("INJECT_UNLINK");
	reads = getenv("INJECT_READS");
}

static void __attribute__((destructor)) end(void)
{
	FILE *f = count_file ? fopen(count_file, "w") : NULL;

	if (f) {
		(void)fprintf(f, "%d\n", atomic_load(&calls));
		(void)fclose(f);
	}
}

static bool is(const char *what)
{
	return strcmp(how, what) == 0;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int real_fstat(int fd, struct stat *st)
{
	return NEXT(fstat64)(fd, (struct stat64 *)st);
}

/* Counts a call. Return: true when it shall fail, with errno set; *@len is what a short write may write. */
static bool fault(const char *call, int fd, enum needs needs, size_t *len)
{
	struct stat st;

	if ((needs == READS) != reads)
		return false;
	/* Pipes, event counters and the like are no files; what is written to a terminal is no data. */
	if (fd >= 0 && (fd <= STDERR_FILENO || (real_fstat(fd, &st) == 0 && !S_ISREG(st.st_mode) &&
						!S_ISDIR(st.st_mode) && !S_ISBLK(st.st_mode))))
		return false;

	int n = atomic_fetch_add(&calls, 1) + 1;

	if (trace)
		(void)dprintf(STDERR_FILENO, "%d %s %d %zu\n", n, call, fd, len ? *len : 0);
	if (at && n > at && is("full") && needs == SPACE) {
		errno = ENOSPC;
		return true;
	}
	if (at && n >= at && is("dead")) {
		errno = EIO;
		return true;
	}
	if (n != at)
		return false;
	if (is("kill"))
		(void)raise(SIGKILL);
	if (is("short")) {
		if (len && *len > 1)
			*len /= 2;
		return false;
	}
	if (is("eintr")) {
		errno = EINTR;
		return len != NULL; /* links and names are not interrupted */
	}
	if ((is("enospc") || is("full")) && needs != SPACE)
		return false;
	errno = is("eio") ? EIO : ENOSPC;
	return true;
}

ssize_t write(int fd, const void *buf, size_t len)
{
	return fault("write", fd, SPACE, &len) ? -1 : NEXT(write)(fd, buf, len);
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t off)
{
	return fault("pwrite", fd, SPACE, &len) ? -1 : NEXT(pwrite64)(fd, buf, len, off);
}

ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t off)
{
	return fault("pwritev", fd, SPACE, NULL) ? -1 : NEXT(pwritev64)(fd, v, n, off);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	return fault("writev", fd, SPACE, NULL) ? -1 : NEXT(writev)(fd, v, n);
}

int fsync(int fd)
{
	return fault("fsync", fd, SPACE, NULL) ? -1 : NEXT(fsync)(fd);
}

int fdatasync(int fd)
{
	return fault("fdatasync", fd, SPACE, NULL) ? -1 : NEXT(fdatasync)(fd);
}

int fallocate64(int fd, int mode, off64_t off, off64_t len)
{
	return fault("fallocate", fd, SPACE, NULL) ? -1 : NEXT(fallocate64)(fd, mode, off, len);
}

int ftruncate64(int fd, off64_t size)
{
	return fault("ftruncate", fd, NO_SPACE_NEEDED, NULL) ? -1 : NEXT(ftruncate64)(fd, size);
}

ssize_t copy_file_range(int in, off64_t *in_off, int out, off64_t *out_off, size_t len,
			unsigned flags)
{
	return fault("copy_file_range", out, SPACE, &len)
		       ? -1
		       : NEXT(copy_file_range)(in, in_off, out, out_off, len, flags);
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;

	va_start(ap, request);

	void *arg = va_arg(ap, void *);

	va_end(ap);
	if ((request == FICLONE || request == FICLONERANGE) && fault("clone", fd, SPACE, NULL))
		return -1;
	return NEXT(ioctl)(fd, request, arg);
}

int rename(const char *a, const char *b)
{
	return fault("rename", -1, SPACE, NULL) ? -1 : NEXT(rename)(a, b);
}

int renameat(int da, const char *a, int db, const char *b)
{
	return fault("renameat", -1, SPACE, NULL) ? -1 : NEXT(renameat)(da, a, db, b);
}

int renameat2(int da, const char *a, int db, const char *b, unsigned flags)
{
	return fault("renameat2", -1, SPACE, NULL) ? -1 : NEXT(renameat2)(da, a, db, b, flags);
}

int unlinkat(int dir, const char *path, int flags)
{
	return unlinks && fault("unlinkat", -1, NO_SPACE_NEEDED, NULL)
		       ? -1
		       : NEXT(unlinkat)(dir, path, flags);
}

int unlink(const char *path)
{
	return unlinks && fault("unlink", -1, NO_SPACE_NEEDED, NULL) ? -1 : NEXT(unlink)(path);
}

int link(const char *a, const char *b)
{
	return fault("link", -1, SPACE, NULL) ? -1 : NEXT(link)(a, b);
}

int linkat(int da, const char *a, int db, const char *b, int flags)
{
	return fault("linkat", -1, SPACE, NULL) ? -1 : NEXT(linkat)(da, a, db, b, flags);
}

int mkdir(const char *path, mode_t mode)
{
	return fault("mkdir", -1, SPACE, NULL) ? -1 : NEXT(mkdir)(path, mode);
}

int mkdirat(int dir, const char *path, mode_t mode)
{
	return fault("mkdirat", -1, SPACE, NULL) ? -1 : NEXT(mkdirat)(dir, path, mode);
}

/* O_TMPFILE is more than one bit: one of them is O_DIRECTORY's. */
static bool creates(int flags)
{
	return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
}

/* Return: true when the file must not be made, with errno set. */
static bool open_fault(const char *call, int flags)
{
	if (!creates(flags))
		return fault(call, -1, READS, NULL);
	if (no_tmpfile && !(flags & O_CREAT)) {
		errno = EOPNOTSUPP;
		return true;
	}
	return fault(call, -1, SPACE, NULL);
}

int open64(const char *path, int flags, ...)
{
	va_list ap;

	va_start(ap, flags);

	mode_t mode = creates(flags) ? va_arg(ap, mode_t) : 0;

	va_end(ap);
	return open_fault("open", flags) ? -1 : NEXT(open64)(path, flags, mode);
}

int openat64(int dir, const char *path, int flags, ...)
{
	va_list ap;

	va_start(ap, flags);

	mode_t mode = creates(flags) ? va_arg(ap, mode_t) : 0;

	va_end(ap);
	return open_fault("openat", flags) ? -1 : NEXT(openat64)(dir, path, flags, mode);
}

ssize_t read(int fd, void *buf, size_t len)
{
	return fault("read", fd, READS, &len) ? -1 : NEXT(read)(fd, buf, len);
}

ssize_t pread64(int fd, void *buf, size_t len, off64_t off)
{
	return fault("pread", fd, READS, &len) ? -1 : NEXT(pread64)(fd, buf, len, off);
}

/* What _FORTIFY_SOURCE makes of them */
ssize_t __read_chk(int fd, void *buf, size_t len, size_t room);
ssize_t __read_chk(int fd, void *buf, size_t len, size_t room)
{
	(void)room;
	return read(fd, buf, len);
}

ssize_t __pread64_chk(int fd, void *buf, size_t len, off64_t off, size_t room);
ssize_t __pread64_chk(int fd, void *buf, size_t len, off64_t off, size_t room)
{
	(void)room;
	return pread64(fd, buf, len, off);
}

ssize_t preadv64(int fd, const struct iovec *v, int n, off64_t off)
{
	return fault("preadv", fd, READS, NULL) ? -1 : NEXT(preadv64)(fd, v, n, off);
}

struct dirent64 *readdir64(DIR *d)
{
	return fault("readdir", -1, READS, NULL) ? NULL : NEXT(readdir64)(d);
}

int fstat64(int fd, struct stat64 *st)
{
	return fault("fstat", fd, READS, NULL) ? -1 : NEXT(fstat64)(fd, st);
}

int fstatat64(int dir, const char *path, struct stat64 *st, int flags)
{
	return fault("fstatat", -1, READS, NULL) ? -1 : NEXT(fstatat64)(dir, path, st, flags);
}

void *mmap64(void *where, size_t len, int protection, int flags, int fd, off64_t off)
{
	return fd >= 0 && fault("mmap", fd, READS, NULL)
		       ? MAP_FAILED
		       : NEXT(mmap64)(where, len, protection, flags, fd, off);
}

off64_t lseek64(int fd, off64_t off, int whence)
{
	return fault("lseek", fd, READS, NULL) ? -1 : NEXT(lseek64)(fd, off, whence);
}
