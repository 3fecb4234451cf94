/* loop SOURCE TARGET - the data of SOURCE by pread and pwrite of 1 MiB into a new file, holes left out: what copying costs
 * that does nothing but copy. */
#define _GNU_SOURCE /* SEEK_DATA */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BUFFER = 1 << 20 };

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(int argc, char **argv)
{
	int in = argc == 3 ? open(argv[1], O_RDONLY) : -1;
	int out = argc == 3 ? open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0666) : -1;
	off_t size = in < 0 ? -1 : lseek(in, 0, SEEK_END), at = 0, end;
	char *buf = malloc(BUFFER);

	if (!buf || size < 0 || out < 0 || ftruncate(out, size) < 0)
		return fail("loop");
	while (at < size && (at = lseek(in, at, SEEK_DATA)) >= 0) {
		end = lseek(in, at, SEEK_HOLE);
		while (at < end) {
			ssize_t n =
				pread(in, buf, end - at < BUFFER ? (size_t)(end - at) : BUFFER, at);

			if (n <= 0 || pwrite(out, buf, (size_t)n, at) != n)
				return fail(argv[2]);
			at += n;
		}
	}
	return 0;
}
