/* liar.so: a file system that takes data for holes, as ZFS did (openzfs issue 15526).
 *
 *	LIAR_FS=NUMBER LD_PRELOAD=liar.so PROGRAM ...
 *
 * lseek() finds no data in any regular file that is open for reading only; LIAR_FS is what fstatfs() calls its file system.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static void *next_of(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

off_t lseek64(int fd, off_t off, int whence);
off_t lseek64(int fd, off_t off, int whence)
{
	static off_t (*next)(int fd, off_t off, int whence);
	struct stat st;

	if (!next) {
		void *address = next_of("lseek64");

		memcpy(&next, &address, sizeof(next));
	}
	if (whence == SEEK_DATA && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY) {
		errno = ENXIO;
		return -1;
	}
	return next(fd, off, whence);
}

off_t lseek(int fd, off_t off, int whence)
{
	return lseek64(fd, off, whence);
}

int fstatfs64(int fd, struct statfs64 *ret);
int fstatfs64(int fd, struct statfs64 *ret)
{
	static int (*next)(int fd, struct statfs64 *ret);
	const char *type = getenv("LIAR_FS");

	if (!next) {
		void *address = next_of("fstatfs64");

		memcpy(&next, &address, sizeof(next));
	}
	if (next(fd, ret) < 0)
		return -1;
	if (type)
		ret->f_type = (long)strtoul(type, NULL, 0);
	return 0;
}

int fstatfs(int fd, struct statfs *ret)
{
	return fstatfs64(fd, (struct statfs64 *)ret);
}
