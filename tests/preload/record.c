/* record.so: what a program writes to some files and when it makes that durable, for powercut.py.
 *
 *	RECORD_PATH=TEXT[:TEXT]... RECORD_TO=FILE LD_PRELOAD=record.so PROGRAM ...
 *
 * Each TEXT is the end of a file's path. A record is a letter, the number of the TEXT in one byte and two numbers of 8 bytes, little
 * endian: W offset length and the bytes; Z offset length (zeros, or a hole); T size 0; F 0 0 (fsync, fdatasync); M 0 0 (fdatasync of
 * no file: by this imgio says that what came before has been promised).
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* The number of the text that @fd's path ends in; -1: none */
static int number_of(int fd)
{
	const char *end = getenv("RECORD_PATH");
	char link[64], path[4096];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	for (int i = 0; end && n > 0; i++) {
		size_t len = strcspn(end, ":");

		if ((size_t)n >= len && memcmp(path + n - len, end, len) == 0)
			return i;
		end = end[len] ? end + len + 1 : NULL;
	}
	return -1;
}

static void put(int file, char kind, uint64_t a, uint64_t b, const void *bytes)
{
	static FILE *out;

	if (!out && !(out = fopen(getenv("RECORD_TO"), "ae")))
		abort();
	if (fputc(kind, out) == EOF || fputc(file, out) == EOF || fwrite(&a, 8, 1, out) != 1 ||
	    fwrite(&b, 8, 1, out) != 1 || (bytes && b && fwrite(bytes, b, 1, out) != 1) ||
	    fflush(out) != 0)
		abort();
}

static void note(int fd, char kind, uint64_t a, uint64_t b, const void *bytes)
{
	int file = number_of(fd);

	if (file >= 0)
		put(file, kind, a, b, bytes);
}

#define NEXT(name, ...)                                                                            \
	static int (*next)(__VA_ARGS__);                                                           \
	if (!next) {                                                                               \
		void *address = dlsym(RTLD_NEXT, name);                                            \
		memcpy(&next, &address, sizeof(next));                                             \
	}

ssize_t pwrite64(int fd, const void *buf, size_t len, off_t off);
ssize_t pwrite64(int fd, const void *buf, size_t len, off_t off)
{
	static ssize_t (*next)(int fd, const void *buf, size_t len, off_t off);
	void *address = dlsym(RTLD_NEXT, "pwrite64");
	ssize_t n;

	memcpy(&next, &address, sizeof(next));
	n = next(fd, buf, len, off);
	if (n > 0)
		note(fd, 'W', (uint64_t)off, (uint64_t)n, buf);
	return n;
}

int ftruncate64(int fd, off_t size);
int ftruncate64(int fd, off_t size)
{
	NEXT("ftruncate64", int fd, off_t size)
	note(fd, 'T', (uint64_t)size, 0, NULL);
	return next(fd, size);
}

int fallocate64(int fd, int mode, off_t off, off_t len);
int fallocate64(int fd, int mode, off_t off, off_t len)
{
	NEXT("fallocate64", int fd, int mode, off_t off, off_t len)
	if (next(fd, mode, off, len) < 0)
		return -1;
	note(fd, 'Z', (uint64_t)off, (uint64_t)len, NULL);
	return 0;
}

int fdatasync(int fd)
{
	NEXT("fdatasync", int fd)
	if (fd == -1)
		put(0, 'M', 0, 0, NULL);
	if (next(fd) < 0)
		return -1;
	note(fd, 'F', 0, 0, NULL);
	return 0;
}

int fsync(int fd)
{
	NEXT("fsync", int fd)
	if (next(fd) < 0)
		return -1;
	note(fd, 'F', 0, 0, NULL);
	return 0;
}
