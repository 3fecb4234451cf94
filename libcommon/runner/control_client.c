/* Asking machines: the other side of control.c. See control.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"
#include "libcommon/runner/control.h"

enum { AGAIN_MS = 20, MACHINES_MAX = 10000, FILE_MAX = CONTROL_NAME_MAX + sizeof(CONTROL_SUFFIX) };

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void pause_a_moment(void)
{
	const struct timespec pause = {0, AGAIN_MS * 1000000L};

	(void)nanosleep(&pause, NULL);
}

static int no_machine(const char *name, struct err *err)
{
	err_set(err, ERR_NOT_FOUND, "no machine of this name runs");
	err_object(err, name);
	return err_hint(err, "vmrun ps lists those that were started with --name");
}

static int no_answer(const char *name, const char *why, struct err *err)
{
	err_set(err, ERR_CONNECTION, "the machine does not answer: %s", why);
	return err_object(err, name);
}

static void file_of(const char *name, char file[FILE_MAX])
{
	(void)snprintf(file, FILE_MAX, "%.*s" CONTROL_SUFFIX, CONTROL_NAME_MAX, name);
}

static int connect_until(const char *name, uint64_t deadline, int *ret_fd, struct err *err)
{
	CLEANUP_CLOSE int folder = -1;
	char file[FILE_MAX];

	if (control_check_name(name, err) < 0)
		return -1;
	if (control_folder(false, &folder, err) < 0)
		return err->code == ERR_NOT_FOUND ? no_machine(name, err) : -1;
	file_of(name, file);
	for (;;) {
		*ret_fd = control_connect(folder, file);
		if (*ret_fd >= 0)
			return 0;
		if (errno == ENOENT || errno == ECONNREFUSED)
			return no_machine(name, err);
		if (errno != EAGAIN && errno != EINTR) {
			err_sys(err, "cannot connect to the machine");
			return err_object(err, name);
		}
		if (now_ms() >= deadline)
			return no_answer(name, "it has too much to do", err);
		if (stop_check(err) < 0)
			return -1;
		pause_a_moment();
	}
}

/* Return: 0, or -1 when the deadline is over or a signal came */
static int wait_for(const char *name, int fd, short events, uint64_t deadline, struct err *err)
{
	struct pollfd p = {.fd = fd, .events = events};

	for (;;) {
		uint64_t now = now_ms();

		if (stop_check(err) < 0)
			return -1;
		if (now >= deadline)
			return no_answer(name, "its time is over", err);
		if (poll(&p, 1, (int)(deadline - now > 60000 ? 60000 : deadline - now)) > 0)
			return 0;
	}
}

static int send_request(const char *name, int fd, const struct control_request *r, struct err *err)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
	char line[96];
	int len = snprintf(line, sizeof(line), "{\"request\":\"%s\",\"bytes\":%" PRIu64 "}\n",
			   control_verb_name(r->verb), r->bytes);
	struct iovec iov = {line, (size_t)len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c;

	if (r->fd >= 0) {
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &r->fd, sizeof(int));
	}
	/* A new socket's buffer takes these bytes at once. */
	return sendmsg(fd, &msg, MSG_NOSIGNAL) == len ? 0 : no_answer(name, "it has hung up", err);
}

/* *@ret: owned, *@ret_len bytes without the LF */
static int read_line(const char *name, int fd, uint64_t deadline, char **ret, size_t *ret_len,
		     struct err *err)
{
	CLEANUP_FREE char *buf = NULL;
	size_t len = 0, room = 0;

	for (;;) {
		const char *end;
		ssize_t n;

		if (len == room) {
			char *more = realloc(buf, room + 65536);

			if (!more)
				return err_nomem(err);
			buf = more;
			room += 65536;
		}
		if (wait_for(name, fd, POLLIN, deadline, err) < 0)
			return -1;
		n = recv(fd, buf + len, room - len, 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			return no_answer(name, "it has hung up", err);
		end = memchr(buf + len, '\n', (size_t)n);
		len += (size_t)n;
		if (end) {
			*ret_len = (size_t)(end - buf);
			*ret = steal_ptr(&buf);
			return 0;
		}
		if (len > CONTROL_ANSWER_MAX)
			return no_answer(name, "what it says is too long", err);
	}
}

/* An answer that is no "ok": the machine's code and sentence become ours */
static int refused(const char *name, const json_t *answer, struct err *err)
{
	const char *code = json_string_value(json_object_get(answer, "code"));
	const char *message = json_string_value(json_object_get(answer, "message"));

	if (!code || !message)
		return no_answer(name, "what it says is no answer", err);
	err_set(err, ERR_FAILED, "%s", message);
	for (int i = ERR_FAILED; i < ERR_CODE_COUNT; i++)
		if (strcmp(err_code_name((enum err_code)i), code) == 0 && i != ERR_CANCELLED &&
		    i != ERR_PIPE)
			err->code = (enum err_code)i;
	return err_object(err, name);
}

int control_ask(const char *name, enum control_verb verb, uint64_t timeout_ms, json_t **ret,
		struct err *err)
{
	return control_ask_with(name, &(struct control_request){.verb = verb, .fd = -1}, timeout_ms,
				ret, err);
}

int control_ask_with(const char *name, const struct control_request *r, uint64_t timeout_ms,
		     json_t **ret, struct err *err)
{
	uint64_t deadline = now_ms() + timeout_ms;
	CLEANUP_FREE char *line = NULL;
	CLEANUP_CLOSE int fd = -1;
	struct err why = ERR_INIT;
	json_t *answer;
	size_t len = 0;

	if (connect_until(name, deadline, &fd, &why) < 0 || send_request(name, fd, r, &why) < 0 ||
	    read_line(name, fd, deadline, &line, &len, &why) < 0) {
		if (err)
			*err = why;
		return -1;
	}
	answer = json_loadb(line, len, 0, NULL);
	if (json_is_true(json_object_get(answer, "ok"))) {
		*ret = answer;
		return 0;
	}
	(void)refused(name, answer, &why);
	json_decref(answer);
	if (err)
		*err = why;
	return -1;
}

/* A byte at a time: what is behind the line is the console's */
static int read_line_alone(const char *name, int fd, uint64_t deadline, char line[CONTROL_LINE_MAX],
			   size_t *ret_len, struct err *err)
{
	size_t len = 0;

	while (len < CONTROL_LINE_MAX) {
		ssize_t n;

		if (wait_for(name, fd, POLLIN, deadline, err) < 0)
			return -1;
		n = recv(fd, line + len, 1, 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			return no_answer(name, "it has hung up", err);
		if (line[len] == '\n') {
			*ret_len = len;
			return 0;
		}
		len++;
	}
	return no_answer(name, "what it says is too long", err);
}

int control_console(const char *name, uint64_t timeout_ms, int *ret_fd, struct err *err)
{
	const struct control_request plain = {.verb = CONTROL_CONSOLE, .fd = -1};
	uint64_t deadline = now_ms() + timeout_ms;
	char line[CONTROL_LINE_MAX];
	CLEANUP_CLOSE int fd = -1;
	json_t *answer;
	size_t len = 0;
	int rc = 0;

	if (connect_until(name, deadline, &fd, err) < 0 ||
	    send_request(name, fd, &plain, err) < 0 ||
	    read_line_alone(name, fd, deadline, line, &len, err) < 0)
		return -1;
	answer = json_loadb(line, len, 0, NULL);
	if (json_is_true(json_object_get(answer, "ok")))
		*ret_fd = steal_fd(&fd);
	else
		rc = refused(name, answer, err);
	json_decref(answer);
	return rc;
}

void control_tell(const char *name, enum control_verb verb)
{
	CLEANUP_CLOSE int folder = -1, fd = -1;
	char file[FILE_MAX];

	if (control_check_name(name, NULL) < 0 || control_folder(false, &folder, NULL) < 0)
		return;
	file_of(name, file);
	fd = control_connect(folder, file);
	if (fd >= 0)
		(void)send_request(name, fd, &(struct control_request){.verb = verb, .fd = -1},
				   NULL);
}

int control_wait_end(const char *name, int pid, uint64_t timeout_ms, struct err *err)
{
	uint64_t deadline = now_ms() + timeout_ms;
	CLEANUP_CLOSE int folder = -1;
	char file[FILE_MAX];

	if (control_folder(false, &folder, err) < 0)
		return -1;
	file_of(name, file);
	for (;;) {
		int fd = control_connect(folder, file), peer;

		if (fd < 0 && (errno == ENOENT || errno == ECONNREFUSED))
			return 0;
		peer = fd < 0 ? pid : control_peer(fd);
		if (fd >= 0)
			(void)close(fd);
		if (peer != pid && peer && pid)
			return 0; /* another has the name already */
		if (stop_check(err) < 0)
			return -1;
		if (now_ms() >= deadline) {
			err_set(err, ERR_TIMEOUT, "the machine still runs after %.3g s",
				(double)timeout_ms / 1000);
			return err_object(err, name);
		}
		pause_a_moment();
	}
}

/* The names that sockets in @folder have; Return: -1 without memory */
static int read_names(DIR *dir, char **names, size_t *n)
{
	const struct dirent *e;

	while (*n < MACHINES_MAX && (e = readdir(dir))) {
		size_t len = strlen(e->d_name), tail = strlen(CONTROL_SUFFIX);
		char *name;

		if (len <= tail || strcmp(e->d_name + len - tail, CONTROL_SUFFIX) != 0)
			continue;
		name = strndup(e->d_name, len - tail);
		if (!name)
			return -1;
		if (control_check_name(name, NULL) < 0)
			free(name);
		else
			names[(*n)++] = name;
	}
	return 0;
}

/* With the folder's lock, so that a socket which does not listen yet is not taken for a dead one */
static bool is_alive(int folder, const char *name)
{
	char file[FILE_MAX];
	int fd;

	file_of(name, file);
	fd = control_connect(folder, file);
	if (fd >= 0) {
		(void)close(fd);
		return true;
	}
	if (errno == ECONNREFUSED) {
		(void)unlinkat(folder, file, 0);
		return false;
	}
	return errno != ENOENT;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_folder(int folder, char **names, size_t *n, struct err *err)
{
	int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	size_t all = 0;
	int rc;

	if (!dir) {
		err_sys(err, "cannot read the folder for control sockets");
		if (copy >= 0)
			(void)close(copy);
		return -1;
	}
	rc = read_names(dir, names, &all);
	(void)closedir(dir);
	for (size_t i = 0; i < all; i++) {
		if (is_alive(folder, names[i]))
			names[(*n)++] = names[i];
		else
			free(names[i]);
	}
	qsort(names, *n, sizeof(*names), by_name);
	return rc < 0 ? err_nomem(err) : 0;
}

int control_list(char ***ret, size_t *ret_n, struct err *err)
{
	CLEANUP_CLOSE int folder = -1;
	struct err why = ERR_INIT;
	char **names = calloc(MACHINES_MAX, sizeof(*names));
	size_t n = 0;
	int rc;

	if (!names)
		return err_nomem(err);
	rc = control_folder(false, &folder, &why);
	if (rc == 0)
		rc = control_lock(folder, &why);
	if (rc == 0) {
		rc = list_folder(folder, names, &n, &why);
		control_unlock(folder);
	}
	if (rc < 0 && why.code != ERR_NOT_FOUND) {
		control_list_free(names, n);
		if (err)
			*err = why;
		return -1;
	}
	*ret = names;
	*ret_n = n;
	return 0;
}

void control_list_free(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
}
