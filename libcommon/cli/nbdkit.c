/* nbdkit's command line: see nbdkit.h. */
#include "libcommon/cli/nbdkit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/cli/cli.h"

/* Beside the folder of the programs, where make builds it and make install puts it. */
#define PLUGIN "libexec/vmkit/nbdkit-vmimg-plugin.so"

enum { MAX_ARGS = 128, PASS_FD_MIN = 3, PASS_FD_MAX = 9 /* every sh can close that */ };

struct command {
	char *argv[MAX_ARGS + 1];
	size_t n;
	int pass_fd; /* where the passphrase will be */
	bool failed; /* no memory, or no room */
};

static void __attribute__((format(printf, 2, 3))) add(struct command *c, const char *fmt, ...)
{
	va_list ap;

	if (c->n == MAX_ARGS) {
		c->failed = true;
		return;
	}
	va_start(ap, fmt);
	if (vasprintf(&c->argv[c->n], fmt, ap) < 0) {
		c->argv[c->n] = NULL;
		c->failed = true;
	} else {
		c->n++;
	}
	va_end(ap);
}

static void command_free(struct command *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->argv[i]);
}

/* One word of a shell command. */
static void quote(FILE *f, const char *word)
{
	(void)fputc('\'', f);
	for (; *word; word++)
		if (*word == '\'')
			(void)fputs("'\\''", f);
		else
			(void)fputc(*word, f);
	(void)fputc('\'', f);
}

/* What --run shall run: CMD with $uri in its environment, and in place of an argument that is just that. */
static int run_text(char **words, int n, int pass_fd, char **ret, struct err *err)
{
	size_t size;
	FILE *f = open_memstream(ret, &size);

	if (!f)
		return err_nomem(err);
	(void)fprintf(f, "export uri; ");
	if (pass_fd >= 0)
		(void)fprintf(f, "exec %d<&-; ", pass_fd);
	(void)fprintf(f, "exec");
	for (int i = 0; i < n; i++) {
		(void)fputc(' ', f);
		if (strcmp(words[i], "$uri") == 0)
			(void)fputs("\"$uri\"", f);
		else
			quote(f, words[i]);
	}
	return fclose(f) == 0 ? 0 : err_nomem(err);
}

static void add_listener(struct command *c, const struct nbdkit_serve *s)
{
	if (s->socket)
		add(c, "--unix=%s", s->socket);
	else if (s->port)
		add(c, "--port=%u", s->port);
	else if (s->n_command)
		add(c, "--unix=-");
	if (s->port)
		add(c, "--ipaddr=127.0.0.1");
}

static void add_image(struct command *c, const struct nbdkit_serve *s)
{
	add(c, "image=%s", s->image);
	add(c, "flags=%u", s->flags);
	if (s->format)
		add(c, "format=%s", s->format);
	if (s->snapshot)
		add(c, "snapshot=%s", s->snapshot);
	if (s->export_name)
		add(c, "export=%s", s->export_name);
	if (s->socket)
		add(c, "socket=%s", s->socket);
	if (s->idle_ms)
		add(c, "idle_ms=%llu", (unsigned long long)s->idle_ms);
	if (s->once)
		add(c, "once=1");
	if (s->passphrase)
		add(c, "pass_fd=%d", c->pass_fd);
	for (const char *const *w = s->settings; w && *w; w++)
		add(c, "%s", *w);
	for (size_t i = 0; i < s->n_allow; i++)
		add(c, "allow=%s", s->allow[i]);
}

static int build(struct command *c, const char *plugin, const struct nbdkit_serve *s,
		 struct err *err)
{
	CLEANUP_FREE char *text = NULL;

	add(c, "nbdkit");
	add(c, "--foreground");
	add(c, "--exportname=%s", s->export_name ? s->export_name : "");
	if (!s->writable && !s->cow)
		add(c, "--readonly");
	if (s->with_parent)
		add(c, "--exit-with-parent");
	if (s->cow)
		add(c, "--filter=cow");
	add_listener(c, s);
	if (s->n_command) {
		if (run_text(s->command, s->n_command, s->passphrase ? c->pass_fd : -1, &text,
			     err) < 0)
			return -1;
		add(c, "--run=%s", text);
	}
	add(c, "%s", plugin);
	add_image(c, s);
	if (c->failed)
		return c->n == MAX_ARGS ? err_set(err, ERR_USAGE, "too many --allow-backing")
					: err_nomem(err);
	return 0;
}

static int find_plugin(char path[PATH_MAX + sizeof(PLUGIN)], struct err *err)
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	char *slash = NULL;

	path[n > 0 ? n : 0] = '\0';
	for (int up = 0; up < 2; up++) { /* PREFIX/bin/vmimg */
		slash = strrchr(path, '/');
		if (slash)
			*slash = '\0';
	}
	if (slash)
		(void)memcpy(slash, "/" PLUGIN, sizeof("/" PLUGIN));
	if (slash && access(path, R_OK) == 0)
		return 0;
	err_set(err, ERR_UNSUPPORTED, "the plugin for nbdkit is not installed");
	err_hint(err, "vmkit was built without nbdkit's headers (Debian: nbdkit-plugin-dev)");
	return err_object(err, path);
}

static bool wait_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 500) == 1;
}

/* Leave as the protocol has it. A client that just goes away is an error in that server's log. */
static void say_goodbye(int fd)
{
	static const uint8_t flags_and_abort[] =
		"\0\0\0\3IHAVEOPT\0\0\0\2\0\0\0"; /* and its zero */
	char buf[64];

	if (!wait_readable(fd) || read(fd, buf, sizeof(buf)) < 16 ||
	    memcmp(buf, "NBDMAGICIHAVEOPT", 16) != 0 ||
	    send(fd, flags_and_abort, sizeof(flags_and_abort), MSG_NOSIGNAL) < 0)
		return;
	while (wait_readable(fd) && read(fd, buf, sizeof(buf)) > 0)
		;
}

/* A socket that a killed server left behind is in the way; one that somebody listens on is not ours. */
static int clear_socket(const char *path, struct err *err)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	struct stat st;

	if (strlen(path) >= sizeof(to.sun_path)) {
		err_set(err, ERR_USAGE, "the path is too long for a socket");
		return err_object(err, path);
	}
	if (lstat(path, &st) < 0)
		return 0; /* nbdkit will say what is wrong with its folder */
	if (!S_ISSOCK(st.st_mode)) {
		err_set(err, ERR_EXISTS, "exists already, and is no socket");
		return err_object(err, path);
	}

	CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)memcpy(to.sun_path, path, strlen(path));
	if (fd < 0)
		return err_sys(err, "cannot make a socket");
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0) {
		say_goodbye(fd);
		err_set(err, ERR_BUSY, "another server listens on it");
		return err_object(err, path);
	}
	if (errno == ECONNREFUSED && unlink(path) < 0)
		return err_object(err, path), err_sys(err, "cannot remove the old socket");
	return 0;
}

/* One that nobody uses: what the caller has open is the command's. */
static int choose_pass_fd(void)
{
	int fd = PASS_FD_MIN;

	while (fd < PASS_FD_MAX && fcntl(fd, F_GETFD) >= 0)
		fd++;
	return fd;
}

static int hand_over_passphrase(struct nbdkit_serve *s, int to, struct err *err)
{
	if (!s->passphrase)
		return 0;

	int fd = memfd_create("passphrase", MFD_CLOEXEC);

	if (fd < 0 || io_write(fd, s->passphrase, strlen(s->passphrase), err) < 0 ||
	    (fd == to ? fcntl(fd, F_SETFD, 0) : dup2(fd, to)) < 0)
		return err_sys(err, "cannot hand the passphrase over");
	cli_password_free(s->passphrase);
	s->passphrase = NULL;
	return 0;
}

int nbdkit_check(const struct nbdkit_serve *s, struct err *err)
{
	if (!s->socket && !s->port && !s->n_command) {
		err_set(err, ERR_USAGE, "where shall it be served?");
		return err_hint(err, "say --socket PATH, --port N, or a command after --");
	}
	if (s->socket && s->port)
		return err_set(err, ERR_USAGE, "--socket and --port exclude each other");
	if (s->writable && s->cow)
		return err_set(err, ERR_USAGE, "--writable and --cow exclude each other");
	if (s->n_command && (s->with_parent || s->once || s->idle_ms))
		return err_set(err, ERR_USAGE,
			       "with a command the server ends when the command does");
	return 0;
}

int nbdkit_exec(struct nbdkit_serve *s, struct err *err)
{
	char plugin[PATH_MAX + sizeof(PLUGIN)];
	struct command c = {.pass_fd = choose_pass_fd()};

	if ((s->socket && clear_socket(s->socket, err) < 0) || find_plugin(plugin, err) < 0)
		return -1;
	if (build(&c, plugin, s, err) == 0 && hand_over_passphrase(s, c.pass_fd, err) == 0) {
		/* What was ignored here would be so in nbdkit and in the command. */
		(void)signal(SIGPIPE, SIG_DFL);
		(void)signal(SIGXFSZ, SIG_DFL);
		(void)signal(SIGUSR1, SIG_DFL);
		(void)execvp(c.argv[0], c.argv);
		err_set(err, ERR_UNSUPPORTED, "cannot run nbdkit: %s", strerror(errno));
		err_hint(err, "on Debian: apt-get install nbdkit");
	}
	command_free(&c);
	return -1;
}
