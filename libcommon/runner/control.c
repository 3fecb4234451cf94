/* The machine's side of its control socket: one thread that no peer can keep waiting. See control.h. */
#include "libcommon/runner/control.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PEERS = 8, PEER_MS = 5000 /* from connection to the last byte of the answer */ };

struct peer {
	int fd; /* -1: free */
	uint64_t since_ms;
	char line[CONTROL_LINE_MAX];
	size_t len;
	char *answer; /* NULL: the request is not whole yet */
	size_t answer_len, sent;
	bool console; /* what it gets behind that is the console's */
	int passed;   /* a descriptor that came with the request; -1: none */
};

struct control {
	char name[CONTROL_NAME_MAX + 1], file[CONTROL_NAME_MAX + sizeof(CONTROL_SUFFIX)];
	int folder, socket, wake;
	uint64_t since_ms;
	time_t started;
	pthread_t thread;
	bool running;
	struct peer peer[PEERS]; /* the thread's alone */

	pthread_mutex_t lock; /* guards the four below, and is held during an answer */
	control_fn fn;	      /* NULL: no machine */
	control_take_fn take;
	void *ctx;
	const char *state; /* without a machine */
};

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void drop(struct peer *p)
{
	if (p->fd >= 0)
		(void)close(p->fd);
	if (p->passed >= 0)
		(void)close(p->passed);
	free(p->answer);
	p->answer = NULL;
	p->fd = p->passed = -1;
}

static void add(json_t *answer, const char *key, json_t *value)
{
	(void)json_object_set_new(answer, key, value);
}

static int answer_request(struct control *c, const struct control_request *r, json_t *answer,
			  struct err *err)
{
	char started[32] = "";
	struct tm tm;
	int rc = 0;

	if (gmtime_r(&c->started, &tm))
		(void)strftime(started, sizeof(started), "%Y-%m-%dT%H:%M:%SZ", &tm);
	add(answer, "ok", json_true());
	add(answer, "name", json_string(c->name));
	add(answer, "pid", json_integer(getpid()));
	add(answer, "started", json_string(started));
	add(answer, "seconds", json_real((double)(now_ms() - c->since_ms) / 1000));
	(void)pthread_mutex_lock(&c->lock);
	if (c->fn)
		rc = c->fn(c->ctx, r, answer, err);
	else if (r->verb == CONTROL_INFO)
		add(answer, "state", json_string(c->state));
	else
		rc = err_set(err, ERR_BUSY, "the machine is %s: try later", c->state);
	(void)pthread_mutex_unlock(&c->lock);
	return rc;
}

/* Return: an owned line, or NULL without memory */
static char *answer_line(struct control *c, const char *line, size_t len, int fd, bool *ret_console)
{
	struct err err = ERR_INIT;
	json_t *json = json_object();
	struct control_request r = {.verb = CONTROL_INFO, .fd = fd};
	char *text;

	*ret_console = false;
	if (!json || control_parse(line, len, &r, &err) < 0 ||
	    answer_request(c, &r, json, &err) < 0) {
		json_decref(json);
		json = json_pack("{s:b, s:s, s:s}", "ok", 0, "code", err_code_name(err.code),
				 "message", err.message);
	} else {
		*ret_console = r.verb == CONTROL_CONSOLE;
	}
	text = json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII);
	json_decref(json);
	return text;
}

/* Bytes of the request, and the first descriptor that comes along; more than one do not fit and are closed by the kernel */
static ssize_t receive(struct peer *p)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {p->line + p->len, sizeof(p->line) - p->len};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(p->fd, &msg, MSG_CMSG_CLOEXEC);
	const struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);
	int fd;

	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
	    c->cmsg_len < CMSG_LEN(sizeof(int)))
		return n;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	if (p->passed >= 0)
		(void)close(p->passed);
	p->passed = fd;
	return n;
}

static void read_from(struct control *c, struct peer *p)
{
	ssize_t n = receive(p);
	const char *end;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop(p);
		return;
	}
	p->len += (size_t)n;
	end = memchr(p->line, '\n', p->len);
	if (!end && p->len < sizeof(p->line))
		return;
	p->answer = answer_line(c, p->line, end ? (size_t)(end - p->line) : p->len, p->passed,
				&p->console);
	p->since_ms = now_ms(); /* an answer may take its time: saving does */
	if (!p->answer) {
		drop(p);
		return;
	}
	p->answer_len = strlen(p->answer);
	p->answer[p->answer_len++] = '\n'; /* where the NUL was */
	p->sent = 0;
}

/* From now on it is the machine's, unless that has ended meanwhile */
static void hand_over(struct control *c, struct peer *p)
{
	(void)pthread_mutex_lock(&c->lock);
	if (c->fn && c->take) {
		c->take(c->ctx, p->fd);
		p->fd = -1;
	}
	(void)pthread_mutex_unlock(&c->lock);
	drop(p);
}

static void write_to(struct control *c, struct peer *p)
{
	ssize_t n = send(p->fd, p->answer + p->sent, p->answer_len - p->sent, MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		p->sent += (size_t)n;
	if (n > 0 && p->sent == p->answer_len && p->console)
		hand_over(c, p);
	else if (n <= 0 || p->sent == p->answer_len)
		drop(p);
}

/* Who came first gives way: peers that say nothing cannot keep others out. */
static void accept_one(struct control *c)
{
	struct peer *p = &c->peer[0];
	int fd = accept4(c->socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		const struct timespec pause = {0, 50000000};

		/* Out of descriptors: poll() would come back at once. */
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			(void)nanosleep(&pause, NULL);
		return;
	}
	for (unsigned i = 0; i < PEERS; i++) {
		if (c->peer[i].fd < 0) {
			p = &c->peer[i];
			break;
		}
		if (c->peer[i].since_ms < p->since_ms)
			p = &c->peer[i];
	}
	drop(p);
	p->fd = fd;
	p->len = 0;
	p->since_ms = now_ms();
}

/* Return: ms until the first peer's time is over, -1: there is none */
static int drop_late(struct control *c)
{
	uint64_t now = now_ms();
	int wait = -1;

	for (unsigned i = 0; i < PEERS; i++) {
		struct peer *p = &c->peer[i];
		int left;

		if (p->fd < 0)
			continue;
		if (now - p->since_ms >= PEER_MS) {
			drop(p);
			continue;
		}
		left = (int)(PEER_MS - (now - p->since_ms));
		if (wait < 0 || left < wait)
			wait = left;
	}
	return wait;
}

static void *serve(void *arg)
{
	struct control *c = arg;

	for (;;) {
		int wait = drop_late(c);
		struct pollfd p[PEERS + 2];

		for (unsigned i = 0; i < PEERS; i++)
			p[i] = (struct pollfd){.fd = c->peer[i].fd,
					       .events = c->peer[i].answer ? POLLOUT : POLLIN};
		p[PEERS] = (struct pollfd){.fd = c->socket, .events = POLLIN};
		p[PEERS + 1] = (struct pollfd){.fd = c->wake, .events = POLLIN};
		if (poll(p, PEERS + 2, wait) < 0)
			continue;
		if (p[PEERS + 1].revents)
			break;
		for (unsigned i = 0; i < PEERS; i++) {
			if (!p[i].revents)
				continue;
			if (c->peer[i].answer)
				write_to(c, &c->peer[i]);
			else
				read_from(c, &c->peer[i]);
		}
		if (p[PEERS].revents)
			accept_one(c);
	}
	/* Who asked for the end is told that it was heard. */
	for (unsigned i = 0; i < PEERS; i++) {
		if (c->peer[i].fd >= 0 && c->peer[i].answer)
			write_to(c, &c->peer[i]);
		drop(&c->peer[i]);
	}
	return NULL;
}

/* With the folder's lock: a socket on which nobody listens is one that a dead process left. */
static int take_name(struct control *c, struct err *err)
{
	int fd;

	c->socket = control_bind(c->folder, c->file);
	if (c->socket < 0 && errno == EADDRINUSE) {
		fd = control_connect(c->folder, c->file);
		if (fd >= 0 || errno != ECONNREFUSED) {
			int pid = fd < 0 ? 0 : control_peer(fd);

			if (fd >= 0)
				(void)close(fd);
			if (pid)
				err_set(err, ERR_EXISTS,
					"a machine of this name runs already, as process %d", pid);
			else
				err_set(err, ERR_EXISTS, "a machine of this name runs already");
			return err_object(err, c->name);
		}
		(void)unlinkat(c->folder, c->file, 0);
		c->socket = control_bind(c->folder, c->file);
	}
	if (c->socket < 0) {
		err_sys(err, "cannot make the control socket");
		return err_object(err, c->name);
	}
	return 0;
}

static int start(struct control *c, struct err *err)
{
	sigset_t all, before;
	int rc;

	c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->wake < 0)
		return err_sys(err, "cannot make an eventfd");
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_BLOCK, &all, &before); /* signals are not for this thread */
	rc = pthread_create(&c->thread, NULL, serve, c);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc) {
		errno = rc;
		return err_sys(err, "cannot start a thread");
	}
	c->running = true;
	return 0;
}

const char *control_name(const struct control *c)
{
	return c->name;
}

int control_open(struct control **ret, const char *name, struct err *err)
{
	struct control *c;
	int rc;

	if (control_check_name(name, err) < 0)
		return -1;
	c = calloc(1, sizeof(*c));
	if (!c)
		return err_nomem(err);
	(void)snprintf(c->name, sizeof(c->name), "%s", name);
	(void)snprintf(c->file, sizeof(c->file), "%s" CONTROL_SUFFIX, c->name);
	c->folder = c->socket = c->wake = -1;
	c->state = "starting";
	c->started = time(NULL);
	c->since_ms = now_ms();
	for (unsigned i = 0; i < PEERS; i++)
		c->peer[i].fd = c->peer[i].passed = -1;
	(void)pthread_mutex_init(&c->lock, NULL);
	rc = control_folder(true, &c->folder, err);
	if (rc == 0)
		rc = control_lock(c->folder, err);
	if (rc == 0) {
		rc = take_name(c, err);
		control_unlock(c->folder);
	}
	if (rc == 0)
		rc = start(c, err);
	if (rc < 0) {
		control_close(c);
		return -1;
	}
	*ret = c;
	return 0;
}

void control_attach(struct control *c, control_fn fn, control_take_fn take, void *ctx)
{
	(void)pthread_mutex_lock(&c->lock);
	c->fn = fn;
	c->take = take;
	c->ctx = ctx;
	(void)pthread_mutex_unlock(&c->lock);
}

void control_detach(struct control *c)
{
	(void)pthread_mutex_lock(&c->lock);
	c->fn = NULL;
	c->state = "ending";
	(void)pthread_mutex_unlock(&c->lock);
}

void control_close(struct control *c)
{
	uint64_t one = 1;

	if (!c)
		return;
	if (c->running) {
		while (write(c->wake, &one, sizeof(one)) < 0 && errno == EINTR)
			;
		(void)pthread_join(c->thread, NULL);
	}
	/* The name while the socket still listens: nobody can have taken it for a dead one's. */
	if (c->socket >= 0) {
		(void)unlinkat(c->folder, c->file, 0);
		(void)close(c->socket);
	}
	if (c->folder >= 0)
		(void)close(c->folder);
	if (c->wake >= 0)
		(void)close(c->wake);
	(void)pthread_mutex_destroy(&c->lock);
	free(c);
}
