/* Starting vmrun for a machine: the program, its arguments, its streams. */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/host/builtin/builtin.h"

enum { ARGS_MAX = 48 + 6 * BUILTIN_DISKS_MAX };

struct args {
	char *item[ARGS_MAX];
	size_t n;
	bool failed;
};

static void add(struct args *a, const char *text)
{
	char *copy = a->n < ARGS_MAX - 1 ? strdup(text) : NULL;

	if (copy)
		a->item[a->n++] = copy;
	else
		a->failed = true;
}

static void add_option(struct args *a, const char *option, const char *value)
{
	if (!value)
		return;
	add(a, option);
	add(a, value);
}

static void add_nic(struct args *a, const struct builtin_nic *n)
{
	char text[128];

	(void)snprintf(text, sizeof(text), "%s%.40s%s%s", n->tap ? "tap=" : "user",
		       n->tap ? n->tap : "", n->mac[0] ? ",mac=" : "", n->mac);
	add_option(a, "--net", text);
}

static void args_free(struct args *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->item[i]);
}

/* vmrun's --format is for all disks: said when all agree. A raw disk whose format is probed is guarded by vmrun. */
static const char *common_format(const struct builtin_machine *m)
{
	const char *format = m->n_disks ? m->disks[0].format : NULL;

	for (size_t i = 1; format && i < m->n_disks; i++)
		if (!m->disks[i].format || strcmp(m->disks[i].format, format) != 0)
			return NULL;
	return format;
}

/* What both run and restore want to know */
static void collect_devices(const struct builtin_machine *m, struct args *a, bool restore)
{
	add_option(a, "--format", common_format(m));
	/* Those that cannot be written come last there as here: builtin_order(). A saved machine knows which they are. */
	for (size_t i = 0; i < m->n_disks; i++)
		add_option(a, m->disks[i].read_only && !restore ? "--read-only-disk" : "--disk",
			   m->disks[i].file);
	for (size_t i = 0; i < m->n_nics; i++)
		add_nic(a, &m->nics[i]);
	for (size_t i = 0; i < m->n_publish; i++)
		add_option(a, "--publish", m->publish[i]);
	for (size_t i = 0; i < m->n_allow; i++)
		add_option(a, "--allow-backing", m->allow[i]);
}

static void collect(const struct builtin_machine *m, const char *from, const char *positions,
		    struct args *a)
{
	char number[32];

	add(a, "vmrun");
	add(a, from ? "restore" : "run");
	add_option(a, "--name", m->name);
	if (from) {
		collect_devices(m, a, true);
		add_option(a, "--positions", positions);
		add(a, from);
		return;
	}
	(void)snprintf(number, sizeof(number), "%" PRIu64, m->memory);
	add_option(a, "--memory", number);
	(void)snprintf(number, sizeof(number), "%u", m->cpus);
	add_option(a, "--cpus", number);
	add_option(a, "--kernel", m->kernel);
	add_option(a, "--initrd", m->initrd);
	add_option(a, "--append", m->append);
	collect_devices(m, a, false);
}

static int check(const struct builtin_machine *m, struct err *err)
{
	if (!m->kernel) {
		err_set(err, ERR_UNSUPPORTED,
			"has no kernel, and vmrun does not start a disk's boot loader");
		return err_hint(err, "vmctl edit: <os><kernel>FILE</kernel></os>");
	}
	return 0;
}

/* That beside this program, else the first in PATH */
static void exec_vmrun(char **argv)
{
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof("/vmrun"));
	char *slash;

	if (n > 0) {
		path[n] = '\0';
		slash = strrchr(path, '/');
		if (slash) {
			memcpy(slash, "/vmrun", sizeof("/vmrun"));
			(void)execv(path, argv);
		}
	}
	(void)execvp("vmrun", argv);
}

static void child(const int pipes[3][2], char **argv, pid_t keeper)
{
	sigset_t none;

	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != keeper) /* was killed before that */
		_exit(127);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	for (int s = 1; s < NSIG; s++)
		(void)signal(s, SIG_DFL);
	if (dup2(pipes[0][0], 0) >= 0 && dup2(pipes[1][1], 1) >= 0 && dup2(pipes[2][1], 2) >= 0)
		exec_vmrun(argv);
	(void)!write(2, "vmrun cannot be started\n", 24);
	_exit(127);
}

static void close_pair(int pair[2])
{
	for (int i = 0; i < 2; i++)
		if (pair[i] >= 0)
			(void)close(pair[i]);
}

static int start(struct args *a, struct spawned *ret, struct err *err)
{
	int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}}, rc = 0;
	struct spawned s = {.pid = -1, .pidfd = -1};
	pid_t keeper = getpid();

	for (int i = 0; rc == 0 && i < 3; i++)
		if (pipe2(pipes[i], O_CLOEXEC) < 0)
			rc = err_sys(err, "cannot make a pipe");
	if (rc == 0 && (s.pid = fork()) < 0)
		rc = err_sys(err, "cannot start a process");
	if (rc == 0 && s.pid == 0)
		child((const int(*)[2])pipes, a->item, keeper);
	if (rc == 0 && (s.pidfd = (int)syscall(SYS_pidfd_open, s.pid, 0)) < 0)
		rc = err_sys(err, "cannot watch a process");
	if (rc < 0) {
		for (int i = 0; i < 3; i++)
			close_pair(pipes[i]);
		return -1;
	}
	s.in = steal_fd(&pipes[0][1]);
	s.out = steal_fd(&pipes[1][0]);
	s.errors = steal_fd(&pipes[2][0]);
	for (int i = 0; i < 3; i++)
		close_pair(pipes[i]);
	(void)fcntl(s.in, F_SETFL, O_NONBLOCK);
	(void)fcntl(s.out, F_SETFL, O_NONBLOCK);
	(void)fcntl(s.errors, F_SETFL, O_NONBLOCK);
	*ret = s;
	return 0;
}

int spawn_vmrun(const struct builtin_machine *m, const char *from, const char *positions,
		struct spawned *ret, struct err *err)
{
	struct args a = {.n = 0};
	int rc;

	if (check(m, err) < 0)
		return -1;
	collect(m, from, positions, &a);
	rc = a.failed ? err_nomem(err) : start(&a, ret, err);
	args_free(&a);
	return rc;
}

void spawn_close(struct spawned *s)
{
	(void)close(s->in);
	(void)close(s->out);
	(void)close(s->errors);
	(void)close(s->pidfd);
}
