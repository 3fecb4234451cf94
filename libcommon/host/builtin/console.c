/* Asking a machine's keeper: its serial line, and to start vmrun again. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/host/builtin/builtin.h"
#include "libcommon/runner/control.h"

enum { WORD_MAX = 128, TAKES_MS = 10000 };

/* Byte by byte: what follows the line is the guest's. */
static int read_word(int fd, char word[WORD_MAX], struct err *err)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	for (size_t n = 0; n < WORD_MAX;) {
		ssize_t got;

		if (poll(&p, 1, ASK_MS) <= 0)
			break;
		got = recv(fd, word + n, 1, 0);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (got <= 0)
			break;
		if (word[n] == '\n') {
			word[n] = '\0';
			return 0;
		}
		n++;
	}
	return err_set(err, ERR_CONNECTION, "its keeper does not answer");
}

int keeper_ask(const char *name, const char *line, int *ret_fd, struct err *err)
{
	CLEANUP_CLOSE int folder = -1, fd = -1;
	char file[CONTROL_NAME_MAX + sizeof(KEEPER_SUFFIX)], word[WORD_MAX];
	int len;

	if (control_check_name(name, err) < 0 || control_folder(false, &folder, err) < 0)
		return -1;
	(void)snprintf(file, sizeof(file), "%s" KEEPER_SUFFIX, name);
	fd = control_connect(folder, file);
	if (fd < 0)
		return err_set(err, ERR_FAILED, "is off, or was not started by vmctl");
	len = snprintf(word, sizeof(word), "%s\n", line);
	if (send(fd, word, (size_t)len, MSG_NOSIGNAL) != len)
		return err_set(err, ERR_CONNECTION, "its keeper does not answer");
	if (read_word(fd, word, err) < 0)
		return -1;
	if (strcmp(word, "busy") == 0)
		return err_set(err, ERR_BUSY, "somebody else has its console");
	if (strcmp(word, "ok") != 0)
		return err_set(err, ERR_FAILED, "%s", word);
	if (ret_fd)
		*ret_fd = steal_fd(&fd);
	return 0;
}

struct line {
	int fd;
};

int builtin_console_open(struct domain *d, const char *name, bool force, void **ret,
			 struct err *err)
{
	struct line *l;

	if (name && strcmp(name, "serial0") != 0)
		return err_set(err, ERR_NOT_FOUND, "has one console, serial0");
	l = calloc(1, sizeof(*l));
	if (!l)
		return err_nomem(err);
	if (keeper_ask(d->name, force ? "console-force" : "console", &l->fd, err) < 0) {
		free(l);
		return -1;
	}
	*ret = l;
	return 0;
}

ssize_t builtin_console_read(void *console, void *buf, size_t len, unsigned timeout_ms,
			     struct err *err)
{
	struct line *l = console;
	struct pollfd p = {.fd = l->fd, .events = POLLIN};
	ssize_t n;

	if (poll(&p, 1, (int)timeout_ms) <= 0)
		return -2;
	n = recv(l->fd, buf, len, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -2;
	return n < 0 && errno != ECONNRESET ? err_sys(err, "the console") : n < 0 ? 0 : n;
}

int builtin_console_write(void *console, const void *buf, size_t len, struct err *err)
{
	struct line *l = console;
	const char *at = buf;

	while (len) {
		struct pollfd p = {.fd = l->fd, .events = POLLOUT};
		ssize_t n = send(l->fd, at, len, MSG_NOSIGNAL);

		if (n > 0) {
			at += n;
			len -= (size_t)n;
		} else if (errno != EAGAIN && errno != EINTR) {
			return err_set(err, ERR_CONNECTION, "the console was closed");
		} else if (poll(&p, 1, TAKES_MS) == 0) { /* a guest that does not read */
			return err_set(err, ERR_TIMEOUT, "the console takes nothing for 10 s");
		}
	}
	return 0;
}

void builtin_console_close(void *console)
{
	struct line *l = console;

	(void)close(l->fd);
	free(l);
}
