/* vmrun attach: the serial console of a machine that runs. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/vmrun/terminal.h"
#include "cmd/vmrun/vmrun.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/log.h"
#include "libcommon/base/stop.h"
#include "libcommon/runner/control.h"

enum { DETACH = 0x1d /* ^] */, ROOM = 16384 };

static const struct opt options[] = {OPT_END};

static const char *const examples[] = {
	"vmrun attach web",
	"vmrun attach web </dev/null | grep -m 1 'login:'",
	NULL,
};

/* What was typed and has not been taken yet */
struct input {
	char buf[4096];
	size_t start, len;
	bool ended, detached, terminal;
};

static int read_input(struct input *in, struct err *err)
{
	ssize_t n = read(STDIN_FILENO, in->buf, sizeof(in->buf));
	const char *key;

	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : err_sys(err, "standard input");
	in->ended = n == 0;
	key = in->terminal ? memchr(in->buf, DETACH, (size_t)n) : NULL;
	in->detached = key != NULL;
	in->start = 0;
	in->len = key ? (size_t)(key - in->buf) : (size_t)n;
	return 0;
}

static void send_input(struct input *in, int fd)
{
	ssize_t n = send(fd, in->buf + in->start, in->len, MSG_NOSIGNAL);

	if (n >= 0) {
		in->start += (size_t)n;
		in->len -= (size_t)n;
	} else if (errno != EAGAIN && errno != EINTR) {
		in->len = 0; /* nobody takes it; the machine's last words are still to come */
		in->ended = true;
	}
}

/* Return: 1, 0 at the machine's end, -1 */
static int show_output(int fd, struct err *err)
{
	static char buf[ROOM];
	ssize_t n = recv(fd, buf, sizeof(buf), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 1;
	if (n <= 0)
		return 0;
	return io_write(STDOUT_FILENO, buf, (size_t)n, err) < 0 ? -1 : 1;
}

static int talk(int fd, struct input *in, struct err *err)
{
	for (;;) {
		struct pollfd p[2] = {
			{.fd = in->ended || in->len ? -1 : STDIN_FILENO, .events = POLLIN},
			{.fd = fd, .events = (short)(POLLIN | (in->len ? POLLOUT : 0))}};
		int rc;

		if (stop_check(err) < 0)
			return -1;
		if (poll(p, 2, -1) < 0)
			continue;
		if (p[0].revents && read_input(in, err) < 0)
			return -1;
		if (p[1].revents & POLLOUT)
			send_input(in, fd);
		if (p[1].revents & ~POLLOUT) {
			rc = show_output(fd, err);
			if (rc <= 0)
				return rc;
		}
		if (in->detached && !in->len)
			return 0;
	}
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct input in = {.terminal = isatty(STDIN_FILENO)};
	CLEANUP_CLOSE int fd = -1;
	int rc;

	(void)cli;
	(void)argc;
	if (control_console(argv[0], ANSWER_MS, &fd, err) < 0)
		return -1;
	if (in.terminal) {
		log_info("the key to leave is ^]");
		terminal_raw(STDIN_FILENO);
	}
	rc = talk(fd, &in, err);
	terminal_restore();
	if (rc == 0)
		log_info("%s: %s", argv[0], in.detached ? "it runs on" : "the machine has ended");
	return rc;
}

const struct verb verb_attach = {
	.name = "attach",
	.usage = "[OPTIONS] NAME",
	.summary = "a running machine's serial console, for people and for scripts",
	.details =
		"Shows its last lines, then all that comes, beside the machine's own standard "
		"output; "
		"what "
		"is typed is the guest's. On a terminal, which is raw meanwhile, ^] leaves; the "
		"machine runs on. Up to four may be there at once, and one that does not read "
		"loses "
		"bytes: no guest waits for it. The end of standard input is not the end: until the "
		"machine ends, its console is shown. The streams of a command (vmrun -- COMMAND) "
		"are "
		"not on this console; its kernel's messages are.",
	.options = options,
	.examples = examples,
	.statuses = "0 the machine has ended, or ^] was typed, 4 no machine of this name, 6 it is "
		    "starting or ending, or four are at its console, 7 it does not answer",
	.min_args = 1,
	.max_args = 1,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
