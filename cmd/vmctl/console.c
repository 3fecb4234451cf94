/* vmctl console: a machine's serial console, for people and for scripts. */
#include <errno.h>
#include <poll.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cmd/vmctl/vmctl.h"
#include "libcommon/base/io.h"
#include "libcommon/base/stop.h"

enum { DETACH = 0x1d /* ^] */, SEEN_MAX = 64 << 10 };

static struct {
	const char *device, *wait_for, *send;
	bool force;
	uint64_t timeout;
} o;

static const struct opt options[] = {
	{.name = "device",
	 .type = OPT_STRING,
	 .value = &o.device,
	 .arg = "ALIAS",
	 .help = "which console: serial0, serial1, ... (default: the first)"},
	{.letter = 'f',
	 .name = "force",
	 .type = OPT_FLAG,
	 .value = &o.force,
	 .help = "take it from whoever has it open"},
	{.name = "send",
	 .type = OPT_STRING,
	 .value = &o.send,
	 .arg = "TEXT",
	 .help = "send this first; \\\\n, \\\\r, \\\\t and \\\\\\\\ mean what they do in C"},
	{.name = "wait-for",
	 .type = OPT_STRING,
	 .value = &o.wait_for,
	 .arg = "REGEX",
	 .help = "print what comes until a line matches (POSIX extended), then end"},
	{.letter = 't',
	 .name = "timeout",
	 .type = OPT_DURATION,
	 .value = &o.timeout,
	 .arg = "TIME",
	 .help = "give up waiting after this: status 10 (default: never)"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl console web",
	"vmctl console web --wait-for 'login: *$' --timeout 2m",
	"vmctl console web --send 'reboot\\\\n' --wait-for 'Restarting system'",
	NULL,
};

/* What came since the last whole line, for the expression. */
struct seen {
	regex_t regex;
	char line[SEEN_MAX];
	size_t n;
};

static double seconds_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A prompt has no newline behind it: unfinished lines are looked at too. */
static bool matches(struct seen *s, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = data[i];

		if (c == '\n') {
			s->line[s->n] = '\0';
			if (regexec(&s->regex, s->line, 0, NULL, 0) == 0)
				return true;
			s->n = 0;
		} else if (c != '\0' && c != '\r') {
			if (s->n == SEEN_MAX - 1)
				s->n = 0;
			s->line[s->n++] = c;
		}
	}
	s->line[s->n] = '\0';
	return s->n && regexec(&s->regex, s->line, 0, NULL, 0) == 0;
}

static int send_text(struct console *c, const char *text, struct err *err)
{
	char *copy = malloc(strlen(text) + 1), *out = copy;
	int rc;

	if (!copy)
		return err_nomem(err);
	for (const char *s = text; *s; s++) {
		if (*s == '\\' && s[1]) {
			s++;
			*out++ = *s == 'n' ? '\n' : *s == 'r' ? '\r' : *s == 't' ? '\t' : *s;
		} else {
			*out++ = *s;
		}
	}
	rc = console_write(c, copy, (size_t)(out - copy), err);
	free(copy);
	return rc;
}

/* Standard input to the guest. Return: 1 go on; 0 its end, or the detach key; -1 */
static int forward(struct console *c, bool terminal, struct err *err)
{
	struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
	char buf[4096];
	ssize_t n;

	if (poll(&p, 1, 0) <= 0)
		return 1;
	n = read(STDIN_FILENO, buf, sizeof(buf));
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 1 : err_sys(err, "standard input");
	if (n == 0)
		return 0;

	const char *detach = terminal ? memchr(buf, DETACH, (size_t)n) : NULL;
	size_t len = detach ? (size_t)(detach - buf) : (size_t)n;

	if (len && console_write(c, buf, len, err) < 0)
		return -1;
	return !detach;
}

/* Until the expression is seen, the console ends, or the user goes. */
static int talk(struct console *c, struct seen *seen, bool terminal, struct err *err)
{
	double start = seconds_now();
	bool input = !seen;
	char buf[16384];

	for (;;) {
		ssize_t n = console_read(c, buf, sizeof(buf), input ? 20 : 100, err);

		if (n == -1 || stop_check(err) < 0)
			return -1;
		if (n == 0)
			return seen ? err_set(err, ERR_DIFFERS,
					      "the console ended, and nothing matched '%s'",
					      o.wait_for)
				    : 0;
		if (n > 0 && io_write(STDOUT_FILENO, buf, (size_t)n, err) < 0)
			return -1;
		if (n > 0 && seen && matches(seen, buf, (size_t)n))
			return 0;
		if (o.timeout && seconds_now() - start >= (double)o.timeout / 1000)
			return err_set(err, ERR_TIMEOUT, "nothing matched within %.3g s",
				       (double)o.timeout / 1000);
		if (input) {
			int rc = forward(c, terminal, err);

			if (rc <= 0 && (rc < 0 || terminal))
				return rc;
			input = rc != 0; /* a pipe's end: what comes back is still shown */
		}
	}
}

static int with_terminal(struct console *c, struct seen *seen, struct err *err)
{
	bool terminal = !seen && isatty(STDIN_FILENO);
	struct termios old, raw;
	int rc;

	if (!terminal || tcgetattr(STDIN_FILENO, &old) < 0)
		return talk(c, seen, false, err);
	(void)io_write(STDERR_FILENO, "the key to leave is ^]\r\n", 24, NULL);
	raw = old;
	cfmakeraw(&raw);
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw);
	rc = talk(c, seen, true, err);
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
	return rc;
}

static int run_on(struct domain *d, struct seen *seen, struct err *err)
{
	enum domain_state state;
	struct console *c;
	int rc = 0;

	if (domain_state(d, &state, NULL, err) < 0)
		return -1;
	if (state == DOMAIN_OFF)
		return err_set(err, ERR_FAILED, "is off, and has no console then");
	if (console_open(d, o.device, o.force, &c, err) < 0)
		return -1;
	if (o.send)
		rc = send_text(c, o.send, err);
	if (rc == 0 && (seen || !o.send))
		rc = with_terminal(c, seen, err);
	console_close(c);
	return rc;
}

static int compile(struct seen **ret, struct err *err)
{
	struct seen *s = calloc(1, sizeof(*s));
	char why[200];
	int rc;

	if (!s)
		return err_nomem(err);
	rc = regcomp(&s->regex, o.wait_for, REG_EXTENDED | REG_NOSUB);
	if (rc != 0) {
		(void)regerror(rc, &s->regex, why, sizeof(why));
		free(s);
		return err_set(err, ERR_USAGE, "'%s': %s", o.wait_for, why);
	}
	*ret = s;
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct seen *seen = NULL;
	struct host *h;
	struct domain *d;
	int rc;

	(void)cli;
	(void)argc;
	if (o.timeout && !o.wait_for)
		return err_set(err, ERR_USAGE, "--timeout is for --wait-for");
	if (o.wait_for && compile(&seen, err) < 0)
		return -1;
	rc = vmctl_find(argv[0], false, &h, &d, err);
	if (rc == 0) {
		rc = run_on(d, seen, err);
		if (rc < 0)
			err_object(err, argv[0]);
		domain_close(d);
		host_close(h);
	}
	if (seen)
		regfree(&seen->regex);
	free(seen);
	return rc;
}

const struct verb verb_console = {
	.name = "console",
	.usage = "[OPTIONS] NAME",
	.summary = "a machine's serial console",
	.details =
		"On a terminal ^] leaves. From a pipe standard input is sent, and what the machine "
		"says is printed. --send alone sends and ends; with --wait-for nothing is read "
		"from standard input.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 1 the machine is off, 3 the console ended without a match, 4 no such "
		    "machine, 6 someone else has it, 7 no connection, 10 --timeout ran out",
	.min_args = 1,
	.max_args = 1,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
