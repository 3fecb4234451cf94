/* Runs a command and says what it cost: measure [-w MIB] [-c FILE] FILE CMD... appends to FILE one line
 *
 *	wall_us user_us sys_us max_rss_kib status
 *
 * with processor time and peak memory of the command and of the processes it waited for.
 *
 * -w: MIB of memory are touched and given back first. In a virtual machine whose host takes free memory back (page
 * reporting), the first touch of a page costs ten times the work that is measured: 0.6 to 5.9 s of system time for the
 * same convert of 1.6 GB (2026-11-25). Each command then begins with memory that the machine has.
 *
 * -c: the data of FILE is read first, its holes are not. borg and restic tell the kernel to forget what they have read
 * (POSIX_FADV_DONTNEED), so that whoever runs after them would read from the disk, and they themselves would not.
 */
#define _GNU_SOURCE /* SEEK_DATA */
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t time_us(struct timeval t)
{
	return (int64_t)t.tv_sec * 1000000 + t.tv_usec;
}

static int warm_memory(const char *mib)
{
	size_t len = strtoul(mib, NULL, 10) << 20;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("measure: -w");
		return -1;
	}
	madvise(p, len,
		MADV_HUGEPAGE); /* fewer faults; none of the kernel's business when refused */
	for (size_t at = 0; at < len; at += 4096)
		((volatile char *)p)[at] = 1;
	return munmap(p, len);
}

static int warm_cache(const char *name)
{
	static char buf[1 << 20];
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	off_t at = 0, end;

	if (fd < 0) {
		perror(name);
		return -1;
	}
	while ((at = lseek(fd, at, SEEK_DATA)) >= 0 && (end = lseek(fd, at, SEEK_HOLE)) > at)
		while (at < end) {
			size_t n = end - at < (off_t)sizeof(buf) ? (size_t)(end - at) : sizeof(buf);
			ssize_t got = pread(fd, buf, n, at);

			if (got <= 0) {
				perror(name);
				close(fd);
				return -1;
			}
			at += got;
		}
	return close(fd);
}

/* In a process of its own: its peak of memory would count for the command too. */
static int prepare(const char *mib, const char *cached)
{
	pid_t child = fork();
	int status;

	if (child == 0)
		_exit((mib && warm_memory(mib) < 0) || (cached && warm_cache(cached) < 0));
	return child > 0 && waitpid(child, &status, 0) == child && status == 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
	const char *mib = NULL, *cached = NULL;
	struct rusage used;
	int status, code, error;
	int64_t start, wall;
	pid_t child;
	FILE *out;

	for (; argc > 2 && argv[1][0] == '-'; argc -= 2, argv += 2)
		*(strcmp(argv[1], "-c") == 0 ? &cached : &mib) = argv[2];
	if (argc < 3) {
		fprintf(stderr, "usage: measure [-w MIB] [-c FILE] FILE COMMAND...\n");
		return 2;
	}
	if ((mib || cached) && prepare(mib, cached) < 0)
		return 2;
	out = fopen(argv[1], "ae");
	if (!out) {
		perror(argv[1]);
		return 2;
	}
	start = now_us();
	/* vfork inside: the peak of this small process is all that the child inherits */
	error = posix_spawnp(&child, argv[2], NULL, NULL, argv + 2, environ);
	if (error) {
		fprintf(stderr, "measure: %s: %s\n", argv[2], strerror(error));
		return 127;
	}
	if (wait4(child, &status, 0, &used) != child) {
		perror("wait4");
		return 2;
	}
	wall = now_us() - start;
	code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	fprintf(out, "%lld %lld %lld %ld %d\n", (long long)wall, (long long)time_us(used.ru_utime),
		(long long)time_us(used.ru_stime), used.ru_maxrss, code);
	if (fclose(out) != 0) {
		perror(argv[1]);
		return 2;
	}
	return code;
}
