/* The keeper of a machine: a process in the background that starts vmrun, holds its serial line, starts it again when the
 * guest reboots, and writes down how it ended. See builtin.h.
 *
 * Its socket, NAME.keeper beside vmrun's, takes one line a connection, from its user alone:
 *	request = ("again" | "end" | "saved" | "stays" | "console" | "console-force") LF		answer = "ok" LF | SENTENCE LF
 * After "console" the connection is the serial line. What the guest says is kept while nobody listens, the last RING bytes
 * of it, and is what the next one sees first.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"
#include "libcommon/base/stop.h"
#include "libcommon/host/builtin/builtin.h"
#include "libcommon/runner/control.h"

enum {
	RING = 1 << 16,
	LINE_MAX_ = 64,
	LOG_MAX = 1 << 20, /* then it becomes NAME.log.1 */
	READY_MS = 60000,
	QUICK_MS = 2000, /* a guest that resets itself sooner */
	QUICK_PAUSE_MS = 1000,
};

struct keeper {
	const struct builtin_host *host;
	const struct builtin_machine *m;
	const char *from; /* a saved state, for the first time; NULL */
	unsigned flags;	  /* of @from: KEEPER_... */
	int lock, folder, listener, log;
	uint64_t log_size;
	char *log_path;
	struct spawned vm;
	uint64_t since_ms;
	bool ready, again, ending, saved;
	const char *no_limits; /* why they do not hold; NULL: they do */
	int report;	       /* where keeper_start() waits for a struct err; -1: told */

	int client, pending; /* the console's, and one that has not said what it wants; -1 */
	bool deaf;	     /* the client reads no more; what it has sent still counts */
	char line[LINE_MAX_];
	size_t line_n;
	char ring[RING]; /* what the client has still to get */
	size_t ring_at, ring_n;
	char input[4096]; /* what vmrun has still to get */
	size_t input_at, input_n;
	char errors[2048]; /* the end of what vmrun said on standard error */
	size_t errors_n;
};

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- what is said */

static void open_log(struct keeper *k)
{
	struct stat st;

	k->log = open(k->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	k->log_size = k->log >= 0 && fstat(k->log, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void log_bytes(struct keeper *k, const char *data, size_t len)
{
	CLEANUP_FREE char *old = NULL;

	if (k->log_size + len > LOG_MAX && asprintf(&old, "%s.1", k->log_path) > 0) {
		(void)rename(k->log_path, old);
		if (k->log >= 0)
			(void)close(k->log);
		open_log(k);
	} else {
		old = NULL;
	}
	if (k->log >= 0 &&
	    write(k->log, data, len) > 0) /* a full disk loses log, not the machine */
		k->log_size += len;
}

static void ring_add(struct keeper *k, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		k->ring[(k->ring_at + k->ring_n) % RING] = data[i];
		if (k->ring_n < RING)
			k->ring_n++;
		else
			k->ring_at = (k->ring_at + 1) % RING;
	}
}

static void take_output(struct keeper *k)
{
	char buf[16384];
	ssize_t n;

	while ((n = read(k->vm.out, buf, sizeof(buf))) > 0) {
		log_bytes(k, buf, (size_t)n);
		ring_add(k, buf, (size_t)n);
	}
}

static void take_errors(struct keeper *k)
{
	char buf[1024];
	ssize_t n;

	while ((n = read(k->vm.errors, buf, sizeof(buf))) > 0) {
		size_t len = (size_t)n, room = sizeof(k->errors) - 1;

		log_bytes(k, buf, len);
		if (k->errors_n + len > room) {
			size_t drop = k->errors_n + len - room;

			memmove(k->errors, k->errors + drop, k->errors_n - drop);
			k->errors_n -= drop;
		}
		memcpy(k->errors + k->errors_n, buf, len);
		k->errors_n += len;
		k->errors[k->errors_n] = '\0';
	}
}

/* The last line but hints, without "vmrun: " */
static void last_sentence(const struct keeper *k, char ret[512])
{
	const char *found = "", *line = k->errors;
	size_t len = 0;

	for (const char *end; *line; line = *end ? end + 1 : end) {
		end = line + strcspn(line, "\n");
		if (end != line && strncmp(line, "hint: ", 6) != 0) {
			found = line;
			len = (size_t)(end - line);
		}
	}
	if (strncmp(found, "vmrun: ", 7) == 0) {
		found += 7;
		len -= 7;
	}
	(void)snprintf(ret, 512, "%.*s", (int)len, found);
}

/* ---- the console's client, and who wants to be it */

static void drop_client(struct keeper *k)
{
	if (k->client >= 0)
		(void)close(k->client);
	k->client = -1;
	k->deaf = false;
}

static void feed_client(struct keeper *k)
{
	while (k->client >= 0 && !k->deaf && k->ring_n) {
		size_t part = RING - k->ring_at < k->ring_n ? RING - k->ring_at : k->ring_n;
		ssize_t n = send(k->client, k->ring + k->ring_at, part, MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			k->deaf = true;
			return;
		}
		k->ring_at = (k->ring_at + (size_t)n) % RING;
		k->ring_n -= (size_t)n;
	}
}

static void take_input(struct keeper *k)
{
	ssize_t n = recv(k->client, k->input, sizeof(k->input), 0);

	if (n > 0) {
		k->input_at = 0;
		k->input_n = (size_t)n;
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		drop_client(k);
	}
}

static void feed_vm(struct keeper *k)
{
	ssize_t n = write(k->vm.in, k->input + k->input_at, k->input_n);

	if (n > 0) {
		k->input_at += (size_t)n;
		k->input_n -= (size_t)n;
	} else if (errno != EAGAIN && errno != EINTR) {
		k->input_n = 0; /* vmrun is about to end */
	}
}

static void drop_pending(struct keeper *k)
{
	if (k->pending >= 0)
		(void)close(k->pending);
	k->pending = -1;
	k->line_n = 0;
}

static void answer(struct keeper *k, const char *text)
{
	(void)send(k->pending, text, strlen(text), MSG_NOSIGNAL);
}

static void obey(struct keeper *k)
{
	bool force = strcmp(k->line, "console-force") == 0;

	if (strcmp(k->line, "again") == 0) {
		k->again = true;
		answer(k, "ok\n");
	} else if (strcmp(k->line, "end") == 0 || strcmp(k->line, "saved") == 0) {
		k->ending = true;
		k->saved = k->line[0] == 's';
		answer(k, "ok\n");
	} else if (strcmp(k->line, "stays") == 0) {
		k->ending = k->saved = false;
		answer(k, "ok\n");
	} else if (!force && strcmp(k->line, "console") != 0) {
		answer(k, "the request is of no known kind\n");
	} else if (k->client >= 0 && !force) {
		answer(k, "busy\n");
	} else {
		drop_client(k);
		answer(k, "ok\n");
		k->client = k->pending;
		k->pending = -1;
	}
	drop_pending(k);
}

/* A byte at a time: what follows the line is the console's. */
static void take_line(struct keeper *k)
{
	char c;
	ssize_t n;

	while ((n = recv(k->pending, &c, 1, 0)) == 1 && c != '\n' && k->line_n < LINE_MAX_ - 1)
		k->line[k->line_n++] = c;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	k->line[k->line_n] = '\0';
	if (n == 1 && c == '\n')
		obey(k);
	else
		drop_pending(k);
}

static void take_connection(struct keeper *k)
{
	int fd = accept4(k->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	drop_pending(k); /* one that says nothing keeps no other out */
	k->pending = fd;
}

/* ---- vmrun */

static void report(struct keeper *k, const struct err *err)
{
	if (k->report < 0)
		return;
	(void)!write(k->report, err, sizeof(*err));
	(void)close(k->report);
	k->report = -1;
}

static void limits_do_not_hold(struct keeper *k, const char *why)
{
	CLEANUP_FREE char *text = NULL;

	k->no_limits = why;
	if (asprintf(&text, "vmkit: limits do not hold: %s\n", why) > 0)
		log_bytes(k, text, strlen(text));
	else
		text = NULL;
}

static void look_whether_ready(struct keeper *k)
{
	struct err none = ERR_INIT;
	const char *why;
	json_t *said;

	/* Busy: it starts. Not found: it has not come that far. */
	if (control_ask(k->m->name, CONTROL_STATS, ASK_MS, &said, NULL) < 0)
		return;
	why = pin_threads(k->m, k->vm.pid, said);
	if (why)
		limits_do_not_hold(k, why);
	json_decref(said);
	k->ready = true;
	if (k->from && (k->flags & KEEPER_ONCE))
		(void)unlink(k->from);
	if (k->from)
		builtin_forget_held(k->host, k->m->name);
	builtin_record(k->host, k->m->name, true, "", "");
	/* No error, but a sentence all the same */
	(void)snprintf(none.message, sizeof(none.message), "%s", k->no_limits ? k->no_limits : "");
	report(k, &none);
}

static int spawn(struct keeper *k, struct err *err)
{
	CLEANUP_FREE char *held =
		k->flags & KEEPER_HELD ? builtin_held_file(k->host, k->m->name) : NULL;
	const char *why;

	k->errors_n = 0;
	k->errors[0] = '\0';
	k->input_n = 0;
	k->ready = k->again = false;
	k->no_limits = NULL;
	if (spawn_vmrun(k->m, k->from, held, &k->vm, err) < 0)
		return -1;
	k->since_ms = now_ms();
	cgroup_enter(k->m, k->vm.pid, &why);
	if (why)
		limits_do_not_hold(k, why);
	return 0;
}

/* Serve until vmrun has ended. Return: its status, as waitpid() has it */
static int serve(struct keeper *k)
{
	bool told = false;
	int status = 0;

	for (;;) {
		struct pollfd p[] = {
			{.fd = k->vm.pidfd, .events = POLLIN},
			{.fd = k->vm.out, .events = POLLIN},
			{.fd = k->vm.errors, .events = POLLIN},
			{.fd = k->listener, .events = POLLIN},
			{.fd = k->pending, .events = POLLIN},
			{.fd = k->client,
			 .events = (short)((k->ring_n && !k->deaf ? POLLOUT : 0) |
					   (k->input_n ? 0 : POLLIN))},
			{.fd = k->input_n ? k->vm.in : -1, .events = POLLOUT},
		};

		if (stop_requested() && !told) {
			(void)kill(k->vm.pid, SIGTERM);
			told = true;
		}
		(void)poll(p, sizeof(p) / sizeof(p[0]), k->ready ? 1000 : 20);
		take_output(k);
		take_errors(k);
		if (p[0].revents & POLLIN)
			break;
		if (!k->ready)
			look_whether_ready(k);
		if (k->client >= 0 && p[5].revents & (POLLIN | POLLHUP | POLLERR) && !k->input_n)
			take_input(k);
		feed_client(k);
		if (k->input_n)
			feed_vm(k);
		if (p[4].revents)
			take_line(k);
		if (p[3].revents & POLLIN)
			take_connection(k);
	}
	while (waitpid(k->vm.pid, &status, 0) < 0 && errno == EINTR)
		;
	take_output(k);
	take_errors(k);
	feed_client(k);
	spawn_close(&k->vm);
	return status;
}

/* A guest that does nothing but reset itself is not to have a processor for that; who asks is answered meanwhile. */
static void hold(struct keeper *k)
{
	for (uint64_t end = now_ms() + QUICK_PAUSE_MS;
	     now_ms() < end && !stop_requested() && !k->ending;) {
		struct pollfd p[] = {{.fd = k->listener, .events = POLLIN},
				     {.fd = k->pending, .events = POLLIN}};

		(void)poll(p, 2, 50);
		if (p[1].revents)
			take_line(k);
		if (p[0].revents & POLLIN)
			take_connection(k);
		feed_client(k);
	}
}

/* Why a machine has ended, of what vmrun's manual says of its statuses. "reboot": it starts again */
static const char *reason_of(const struct keeper *k, int status)
{
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

	if (k->saved && !stop_requested())
		return "saved";
	if (stop_requested() || k->ending)
		return code == 0 ? "shutdown" : "destroyed";
	if (k->again && (code == 0 || code == 3))
		return "reboot";
	if (code == 0)
		return "shutdown";
	if (code == 3)
		return strstr(k->errors, "reset itself") ? "reboot" : "destroyed";
	if (code == -1 && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM)
		return "destroyed";
	if (code == 128 + SIGTERM || code == 128 + SIGINT)
		return "destroyed";
	return code == 1 || code == -1 ? "crashed" : "failed";
}

static enum err_code code_of(int status)
{
	for (int i = ERR_FAILED; WIFEXITED(status) && i < ERR_NO_MEMORY; i++)
		if (err_status((enum err_code)i) == WEXITSTATUS(status))
			return (enum err_code)i;
	return ERR_FAILED;
}

static void keep(struct keeper *k)
{
	struct err err = ERR_INIT;
	const char *reason;
	char sentence[512];
	int status;

	do {
		if (spawn(k, &err) < 0) {
			report(k, &err);
			builtin_record(k->host, k->m->name, false, "failed", err.message);
			return;
		}
		status = serve(k);
		reason = reason_of(k, status);
		/* A guest that resets itself before anybody looked has run, too. */
		if (strcmp(reason, "reboot") == 0 && k->report >= 0) {
			builtin_record(k->host, k->m->name, true, "", "");
			report(k, &(struct err){.code = ERR_NONE});
		}
		k->from = NULL;
		if (strcmp(reason, "reboot") == 0 && now_ms() - k->since_ms < QUICK_MS)
			hold(k);
	} while (strcmp(reason, "reboot") == 0 && !stop_requested() && !k->ending);
	cgroup_leave(k->m);
	last_sentence(k, sentence);
	/* A guest that was done before anybody looked has run. */
	if (k->report >= 0 && strcmp(reason, "shutdown") != 0)
		err_set(&err, code_of(status), "%s",
			*sentence ? sentence : "vmrun ended without a word");
	if (strcmp(reason, "reboot") == 0)
		reason = "destroyed";
	builtin_record(k->host, k->m->name, false, reason, sentence);
	report(k, &err);
}

/* ---- becoming a keeper */

static int open_socket(struct keeper *k, struct err *err)
{
	char file[CONTROL_NAME_MAX + sizeof(KEEPER_SUFFIX)];

	if (control_folder(true, &k->folder, err) < 0)
		return -1;
	(void)snprintf(file, sizeof(file), "%s" KEEPER_SUFFIX, k->m->name);
	(void)unlinkat(k->folder, file, 0); /* we hold the lock: it is a dead one's */
	k->listener = control_bind(k->folder, file);
	return k->listener < 0 ? err_sys(err, "cannot make the keeper's socket") : 0;
}

static void close_socket(struct keeper *k)
{
	char file[CONTROL_NAME_MAX + sizeof(KEEPER_SUFFIX)];

	(void)snprintf(file, sizeof(file), "%s" KEEPER_SUFFIX, k->m->name);
	(void)unlinkat(k->folder, file, 0);
}

/* Nothing of who called us stays: no terminal, no stream that somebody waits for the end of. */
static void detach(int report_fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)setsid();
	for (int i = 0; i < 3; i++)
		(void)dup2(null, i);
	if (report_fd != 3)
		(void)dup2(report_fd, 3);
	(void)close_range(4, ~0U, 0);
	(void)fcntl(3, F_SETFD, FD_CLOEXEC);
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGPIPE, SIG_IGN);
	log_set_sink(NULL, LOG_WARNING);
	(void)!chdir("/");
	(void)umask(077);
	(void)prctl(PR_SET_NAME, "vmkit-keeper");
}

static void run(const struct builtin_host *b, const struct builtin_machine *m, const char *from,
		unsigned flags)
{
	static struct keeper k;
	struct err err = ERR_INIT;

	/* Who starts it may have been told to stop: that is not for the machine */
	stop_reset();
	k = (struct keeper){.host = b,
			    .m = m,
			    .from = from,
			    .flags = flags,
			    .lock = -1,
			    .folder = -1,
			    .listener = -1,
			    .log = -1,
			    .client = -1,
			    .pending = -1,
			    .report = 3};
	k.log_path = builtin_path(b->state, m->name, "log");
	if (!k.log_path)
		err_nomem(&err);
	if (!k.log_path || builtin_lock(b, m->name, &k.lock, &err) < 0 ||
	    open_socket(&k, &err) < 0) {
		report(&k, &err);
		_exit(1);
	}
	open_log(&k);
	keep(&k);
	close_socket(&k);
	drop_client(&k);
	_exit(0);
}

int keeper_start(const struct builtin_host *b, const struct builtin_machine *m, const char *from,
		 unsigned flags, struct err *err)
{
	struct err said = ERR_INIT;
	struct pollfd p = {.events = POLLIN};
	int fds[2], status = 0;
	pid_t pid;

	if (stop_check(err) < 0)
		return -1;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(err, "cannot make a pipe");
	pid = fork();
	if (pid == 0) {
		/* Twice, so that it is nobody's child to wait for. */
		pid = fork();
		if (pid != 0)
			_exit(pid < 0);
		detach(fds[1]);
		run(b, m, from, flags);
	}
	(void)close(fds[1]);
	if (pid < 0 || (waitpid(pid, &status, 0) == pid && status != 0)) {
		(void)close(fds[0]);
		return err_sys(err, "cannot start a process");
	}
	p.fd = fds[0];
	for (uint64_t end = now_ms() + READY_MS; now_ms() < end && !stop_requested();)
		if (poll(&p, 1, 100) > 0)
			break;
	if (!(p.revents & (POLLIN | POLLHUP))) {
		(void)close(fds[0]);
		return stop_check(err) < 0
			       ? -1
			       : err_set(err, ERR_TIMEOUT,
					 "does not run after a minute: it is let go on");
	}
	if (read(fds[0], &said, sizeof(said)) != (ssize_t)sizeof(said))
		err_set(&said, ERR_FAILED, "its keeper ended");
	(void)close(fds[0]);
	if (said.code == ERR_NONE && *said.message)
		log_warning("%s: it runs, but its limits do not hold: %s", m->name, said.message);
	if (said.code == ERR_NONE)
		return 0;
	if (err)
		*err = said;
	return -1;
}
