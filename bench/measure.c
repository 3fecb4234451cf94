/* Runs a command and says what it cost: measure FILE CMD... appends to FILE one line
 *
 *	wall_us user_us sys_us max_rss_kib status
 *
 * with processor time and peak memory of the command and of the processes it waited for.
 */
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

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

int main(int argc, char **argv)
{
	struct rusage used;
	int status, code, error;
	int64_t start, wall;
	pid_t child;
	FILE *out;

	if (argc < 3) {
		fprintf(stderr, "usage: measure FILE COMMAND...\n");
		return 2;
	}
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
