/* Passphrases: from a file, a command or the terminal, never from the command line. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/libcrypto.h"
#include "libcommon/base/stop.h"
#include "libcommon/cli/internal.h"

enum { PASSWORD_MAX = 4096 };

extern char **environ;
static bool never_ask; /* set once by main */

void password_never_ask(void)
{
	never_ask = true;
}

void cli_password_free(char *password)
{
	if (password)
		OPENSSL_cleanse(password, strlen(password));
	free(password);
}

/* One line end is no part of a passphrase; consumes @text on failure. */
static int check(char *text, size_t len, const char *object, char **ret, struct err *err)
{
	if (len && text[len - 1] == '\n')
		len--;
	if (len && text[len - 1] == '\r')
		len--;

	bool binary = memchr(text, '\0', len) != NULL;

	if (len && !binary && len <= PASSWORD_MAX) {
		text[len] = '\0';
		*ret = text;
		return 0;
	}
	OPENSSL_cleanse(text, len);
	free(text);
	err_set(err, ERR_DENIED,
		len == 0 ? "the password is empty"
		: binary ? "the password has a zero byte"
			 : "the password is longer than 4096 bytes");
	return err_object(err, object);
}

static int from_file(const char *path, char **ret, struct err *err)
{
	char *text;
	size_t len;

	if (io_read_file(path, PASSWORD_MAX + 2, &text, &len, err) < 0) {
		err_prefix(err, "password file");
		return err_object(err, path);
	}
	return check(text, len, path, ret, err);
}

static int spawn(const char *command, int out_fd, pid_t *ret_pid, struct err *err)
{
	char *const argv[] = {(char[]){"sh"}, (char[]){"-c"}, strdup(command), NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t set;
	int e;

	if (!argv[2])
		return err_nomem(err);
	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawn_file_actions_adddup2(&actions, out_fd, STDOUT_FILENO);
	(void)posix_spawnattr_init(&attr);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGPIPE); /* we ignore it, the command must not */
	(void)posix_spawnattr_setsigdefault(&attr, &set);
	(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
	e = posix_spawn(ret_pid, "/bin/sh", &actions, &attr, argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)posix_spawnattr_destroy(&attr);
	free(argv[2]);
	errno = e;
	return e ? err_sys(err, "cannot run the password command") : 0;
}

static int from_command(const char *command, char **ret, struct err *err)
{
	int fds[2], status;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(err, "cannot make a pipe");

	CLEANUP_CLOSE int in = fds[0];
	int rc = spawn(command, fds[1], &pid, err);

	(void)close(fds[1]);
	if (rc < 0)
		return -1;

	char *text = malloc(PASSWORD_MAX + 3);
	ssize_t n = text ? io_read_upto(in, text, PASSWORD_MAX + 2, err) : err_nomem(err);

	(void)close(steal_fd(&in)); /* a command that writes on and on gets SIGPIPE */
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (n < 0 || (size_t)n > PASSWORD_MAX + 1) {
		free(text);
		return n < 0 ? -1
			     : err_set(err, ERR_DENIED,
				       "the password command wrote more than 4096 bytes");
	}
	if (status != 0) {
		OPENSSL_cleanse(text, (size_t)n);
		free(text);
		return err_set(err, ERR_DENIED, "the password command ended with %s %d",
			       WIFEXITED(status) ? "status" : "signal",
			       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	}
	return check(text, (size_t)n, "password command", ret, err);
}

static int read_line(int tty, const char *prompt, char **ret, struct err *err)
{
	char *text = malloc(PASSWORD_MAX + 3);
	size_t n = 0;

	if (!text)
		return err_nomem(err);
	if (dprintf(tty, "%s: ", prompt) < 0)
		n = 0; /* a terminal that cannot be written may still be typed into */
	while (n < PASSWORD_MAX + 2) {
		ssize_t r = read(tty, text + n, 1);

		if (r < 0 && errno == EINTR && !stop_requested())
			continue;
		if (r <= 0 || text[n] == '\n')
			break;
		n++;
	}
	(void)dprintf(tty, "\n");
	if (stop_check(err) < 0) {
		OPENSSL_cleanse(text, n);
		free(text);
		return -1;
	}
	return check(text, n, "", ret, err);
}

static int ask(const char *prompt, bool confirm, int tty, char **ret, struct err *err)
{
	char *again = NULL;

	if (read_line(tty, prompt, ret, err) < 0)
		return -1;
	if (!confirm)
		return 0;

	int rc = read_line(tty, "once more", &again, err);

	if (rc == 0 && strcmp(*ret, again) != 0)
		rc = err_set(err, ERR_DENIED, "the two passwords differ");
	cli_password_free(again);
	if (rc < 0)
		cli_password_free(steal_ptr(ret));
	return rc;
}

static int from_terminal(const char *prompt, bool confirm, char **ret, struct err *err)
{
	CLEANUP_CLOSE int tty = never_ask ? -1 : open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	struct termios old, silent;

	if (tty < 0 || tcgetattr(tty, &old) < 0) {
		err_set(err, ERR_DENIED,
			"a password is needed, and there is no terminal to ask for it");
		return err_hint(err, "set VMKIT_PASSWORD_FILE or VMKIT_PASSWORD_COMMAND");
	}
	silent = old;
	silent.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
	(void)tcsetattr(tty, TCSAFLUSH, &silent);

	int rc = ask(prompt, confirm, tty, ret, err);

	(void)tcsetattr(tty, TCSAFLUSH, &old);
	return rc;
}

static const char *setting(const char *variable, const char *key)
{
	const char *value = getenv(variable);

	return value && *value ? value : cli_config(key);
}

int cli_password(const char *file, const char *prompt, bool confirm, char **ret, struct err *err)
{
	const char *env_file = getenv("VMKIT_PASSWORD_FILE"),
		   *env_command = getenv("VMKIT_PASSWORD_COMMAND");
	const char *command;

	if (file)
		return from_file(file, ret, err);
	/* The environment beats the configuration, whichever of the two names it gives. */
	if (!(env_command && *env_command) || (env_file && *env_file)) {
		file = setting("VMKIT_PASSWORD_FILE", "password_file");
		if (file)
			return from_file(file, ret, err);
	}
	command = setting("VMKIT_PASSWORD_COMMAND", "password_command");
	if (command)
		return from_command(command, ret, err);
	return from_terminal(prompt, confirm, ret, err);
}

int cli_password_new(const char *file, const char *prompt, char **ret, struct err *err)
{
	if (file)
		return from_file(file, ret, err);
	if (from_terminal(prompt, true, ret, err) == 0)
		return 0;
	return err->code == ERR_DENIED && err->hint[0]
		       ? err_hint(err, "name a file that holds the new password")
		       : -1;
}
