/* The user-mode network: passt, started and watched. See net.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/stop.h"
#include "libcommon/runner/net.h"

#define PREFIX_TEXT "24"

enum {
	SOCKET_FD = 3, /* in passt */
	READY_FD = 4,
	ARGS = 32,
	PORTS_MAX = 64,
	READY_MS = 10000,
	SAID_MAX = 4096,
	MTU = 65520, /* what passt tells guests by DHCP: a whole 64 KiB of IP a frame */
};

struct words {
	const char *at[ARGS + 2 * PORTS_MAX + 1];
	size_t n;
};

static void add(struct words *w, const char *word)
{
	w->at[w->n++] = word;
}

/* Ports of TCP and UDP each: none unless asked for */
static void add_ports(struct words *w, const char *option, const char *const *ports, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		add(w, option);
		add(w, ports[i]);
	}
	if (!n) {
		add(w, option);
		add(w, "none");
	}
}

static void command_line(struct words *w, const struct net_user *o)
{
	static const char *const always[] = {
		"passt",
		"--fd",
		"3",
		"--foreground",
		"--quiet",
		"--stderr",
		"--pid",
		"/proc/self/fd/4",
		"--address",
		NET_USER_ADDRESS,
		"--netmask",
		PREFIX_TEXT,
		"--gateway",
		NET_USER_GATEWAY,
		"--dns-forward",
		NET_USER_DNS,
	};

	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
		add(w, always[i]);
	if (!o->host_loopback)
		add(w, "--no-map-gw");
	add_ports(w, "--tcp-ports", o->tcp, o->n_tcp);
	add_ports(w, "--udp-ports", o->udp, o->n_udp);
	w->at[w->n] = NULL;
}

/* passt in a session of its own: what a terminal's keys send is ours to take. Return: 0 or an errno */
static int spawn(struct words *w, int sock, int ready, int said, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, pipe_signal;
	int rc;

	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);
	(void)posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDOUT_FILENO);
	(void)posix_spawn_file_actions_adddup2(&actions, said, STDERR_FILENO);
	(void)posix_spawn_file_actions_adddup2(&actions, sock, SOCKET_FD);
	(void)posix_spawn_file_actions_adddup2(&actions, ready, READY_FD);
	(void)posix_spawnattr_init(&attr);
	(void)sigemptyset(&none);
	(void)sigemptyset(&pipe_signal);
	(void)sigaddset(&pipe_signal, SIGPIPE);
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setsigdefault(&attr, &pipe_signal);
	(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
						      POSIX_SPAWN_SETSIGDEF);
	rc = posix_spawnp(ret, "passt", &actions, &attr, (char *const *)(uintptr_t)w->at, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)posix_spawnattr_destroy(&attr);
	return rc;
}

/* Descriptors that are to be 3 and 4 there must not lie there here: one would replace the other. */
static int move_up(int *fd, struct err *err)
{
	int up = fcntl(*fd, F_DUPFD_CLOEXEC, 10);

	if (up < 0)
		return err_sys(err, "no descriptors for passt");
	(void)close(*fd);
	*fd = up;
	return 0;
}

/* The last line that passt wrote and that says why; it tells of a missing syslog too */
static void last_words(int said, char text[200])
{
	char buf[SAID_MAX + 1], *line, *rest = buf;
	ssize_t n = pread(said, buf, SAID_MAX, 0);

	buf[n > 0 ? n : 0] = '\0';
	(void)snprintf(text, 200, "it says nothing");
	while ((line = strsep(&rest, "\n")))
		if (*line && !strstr(line, "syslog") && !strstr(line, "run as root"))
			(void)snprintf(text, 200, "%s", line);
}

static int not_ready(int said, struct err *err)
{
	char text[200];

	last_words(said, text);
	if (strstr(text, "Failed to bind"))
		err_set(err, ERR_BUSY, "passt: %s", text);
	else if (strstr(text, "not usable"))
		err_set(err, ERR_UNSUPPORTED,
			"passt finds no interface of this host with a default route");
	else
		err_set(err, ERR_FAILED, "passt ended at once: %s", text);
	return -1;
}

/* It writes its pid once its ports are open. */
static int wait_ready(int ready, int said, struct err *err)
{
	struct pollfd p = {.fd = ready, .events = POLLIN};
	char pid[32];
	int rc;

	do {
		rc = poll(&p, 1, READY_MS);
		if (stop_check(err) < 0)
			return -1;
	} while (rc < 0 && errno == EINTR);
	if (rc == 0)
		return err_set(err, ERR_FAILED, "passt does not get ready");
	return rc < 0 || read(ready, pid, sizeof(pid)) <= 0 ? not_ready(said, err) : 0;
}

static int start(struct net *n, const struct net_user *o, int *theirs, struct err *err)
{
	CLEANUP_CLOSE int ready = -1, ready_theirs = -1, said = -1;
	struct words w = {.n = 0};
	int pipes[2], rc;

	if (io_nameless(&said, err) < 0)
		return -1;
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return err_sys(err, "no pipe for passt");
	ready = pipes[0];
	ready_theirs = pipes[1];
	/* Started by root it runs as nobody, and opens this by its name */
	(void)fchmod(ready_theirs, 0622);
	if (move_up(&ready_theirs, err) < 0 || move_up(&said, err) < 0 || move_up(theirs, err) < 0)
		return -1;
	command_line(&w, o);
	rc = spawn(&w, *theirs, ready_theirs, said, &n->pid);
	if (rc) {
		n->pid = 0;
		if (rc == ENOENT) {
			err_set(err, ERR_UNSUPPORTED,
				"the user-mode network needs passt, which is "
				"not installed");
			return err_hint(err, "on Debian: apt install passt");
		}
		errno = rc;
		return err_sys(err, "cannot start passt");
	}
	(void)close(steal_fd(theirs));
	(void)close(steal_fd(&ready_theirs));
	return wait_ready(ready, said, err);
}

int net_open_user(struct net **ret, const struct net_user *opts, struct err *err)
{
	CLEANUP_CLOSE int theirs = -1;
	int pair[2];
	struct net *n;

	if (opts->n_tcp > PORTS_MAX / 2 || opts->n_udp > PORTS_MAX / 2)
		return err_set(err, ERR_USAGE, "%d ports can be published at most", PORTS_MAX / 2);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(err, "no socket for passt");
	theirs = pair[1];
	n = net_new(&net_stream_ops, "user", pair[0], NET_STREAM_IN, NET_STREAM_OUT);
	if (!n) {
		(void)close(pair[0]);
		return err_nomem(err);
	}
	n->mtu = MTU;
	n->checksummed = true; /* passt makes them, and a unix socket loses no bit */
	if (start(n, opts, &theirs, err) < 0) {
		net_close(n);
		return -1;
	}
	*ret = n;
	return 0;
}
