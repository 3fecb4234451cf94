/* A command and its output: see child.h. */
#include "cmd/vmbackup/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/stop.h"

enum { OUTPUT_MAX = 1 << 20 };

static void be_child(char *const *argv, int out, int keep, pid_t parent)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
		_exit(127);
	if (keep >= 0)
		(void)fcntl(keep, F_SETFD, 0);
	if (null >= 0)
		(void)dup2(null, STDIN_FILENO);
	if (out >= 0)
		(void)dup2(out, STDOUT_FILENO);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)signal(SIGXFSZ, SIG_DFL);
	(void)signal(SIGUSR1, SIG_DFL);
	(void)execvp(argv[0], argv);
	_exit(127);
}

static void forward(pid_t pid, bool *told)
{
	if (stop_requested() && !*told) {
		(void)kill(pid, stop_signal());
		*told = true;
	}
}

/* What comes behind the first MiB is read and dropped. */
static void read_all(int fd, pid_t pid, char *out, bool *told)
{
	char rest[4096];
	size_t len = 0;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		forward(pid, told);
		if (poll(&p, 1, 100) <= 0)
			continue;
		n = len < OUTPUT_MAX ? read(fd, out + len, OUTPUT_MAX - len)
				     : read(fd, rest, sizeof(rest));
		if (n == 0 || (n < 0 && errno != EINTR))
			break;
		if (n > 0 && len < OUTPUT_MAX)
			len += (size_t)n;
	}
	out[len] = '\0';
}

static int wait_for(pid_t pid, bool *told)
{
	const struct timespec nap = {.tv_nsec = 10000000};
	int status;
	pid_t got;

	while ((got = waitpid(pid, &status, WNOHANG)) == 0 || (got < 0 && errno == EINTR)) {
		forward(pid, told);
		(void)nanosleep(&nap, NULL);
	}
	if (got < 0)
		return 1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int child_run(char *const *argv, const struct child_opts *opts, char **ret_output, int *ret_status,
	      struct err *err)
{
	int fds[2] = {-1, -1};
	bool told = opts->last;
	char *out = NULL;
	pid_t parent = getpid(), pid;

	if (ret_output) {
		out = malloc(OUTPUT_MAX + 1);
		if (!out)
			return err_nomem(err);
		if (pipe2(fds, O_CLOEXEC) < 0) {
			free(out);
			return err_sys(err, "cannot make a pipe");
		}
	}
	pid = fork();
	if (pid == 0)
		be_child(argv, fds[1], opts->keep, parent);
	if (ret_output)
		(void)close(fds[1]);
	if (pid < 0) {
		if (ret_output)
			(void)close(fds[0]);
		free(out);
		return err_sys(err, "cannot start %s", argv[0]);
	}
	if (ret_output) {
		read_all(fds[0], pid, out, &told);
		(void)close(fds[0]);
		*ret_output = out;
	}
	*ret_status = wait_for(pid, &told);
	return 0;
}
