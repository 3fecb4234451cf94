/* badsector.so: reads of a part of a file fail with EIO, as from a disk with bad sectors.
 *
 *	BAD_PATH=TEXT BAD_FROM=BYTE BAD_TO=BYTE LD_PRELOAD=badsector.so PROGRAM ...
 *
 * BAD_PATH is part of the file's path; bytes BAD_FROM to BAD_TO - 1 cannot be read. pread() alone is looked at.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int is_bad(int fd, size_t len, off_t off)
{
	const char *part = getenv("BAD_PATH"), *from = getenv("BAD_FROM"), *to = getenv("BAD_TO");
	char link[64], path[4096];
	ssize_t n;

	if (!part || !from || !to || off >= atoll(to) || off + (off_t)len <= atoll(from))
		return 0;
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	return strstr(path, part) != NULL;
}

ssize_t pread64(int fd, void *buf, size_t len, off_t off);
ssize_t pread64(int fd, void *buf, size_t len, off_t off)
{
	static ssize_t (*next)(int fd, void *buf, size_t len, off_t off);

	if (is_bad(fd, len, off)) {
		errno = EIO;
		return -1;
	}
	if (!next) {
		void *address = dlsym(RTLD_NEXT, "pread64");

		memcpy(&next, &address, sizeof(next));
	}
	return next(fd, buf, len, off);
}

ssize_t __pread64_chk(int fd, void *buf, size_t len, off_t off, size_t room);
ssize_t __pread64_chk(int fd, void *buf, size_t len, off_t off, size_t room)
{
	(void)room;
	return pread64(fd, buf, len, off);
}
