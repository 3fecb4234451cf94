/* vmctl exec: a command in the guest, by its agent. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd/vmctl/vmctl.h"
#include "libcommon/base/base64.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/log.h"
#include "libcommon/base/stop.h"

enum {
	/* In one message to the agent, in base64: with libvirt 9.0 and QEMU 7.2, 253 KB arrive, while of 266 KB and more
	 * a part was lost on the way: the agent saw broken JSON, or waited for the rest for ever (2026-11-25) */
	INPUT_MAX = 128 << 10,
	AGENT_S = 10,
};

static struct {
	bool input;
	uint64_t timeout;
	struct opt_list env;
} o;

static const struct opt options[] = {
	{.letter = 'i',
	 .name = "input",
	 .type = OPT_FLAG,
	 .value = &o.input,
	 .help = "hand standard input to the command, 128 KiB at most"},
	{.letter = 't',
	 .name = "timeout",
	 .type = OPT_DURATION,
	 .value = &o.timeout,
	 .arg = "TIME",
	 .help = "give up after this; the command goes on in the guest (default: never)"},
	{.letter = 'e',
	 .name = "env",
	 .type = OPT_LIST,
	 .value = &o.env,
	 .arg = "NAME=VALUE",
	 .help = "set in the command's environment; more than once for several"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl exec web -- uptime",
	"vmctl exec -i web -- sh -s <setup.sh",
	NULL,
};

static int read_input(char **ret, struct err *err)
{
	CLEANUP_FREE char *data = malloc(INPUT_MAX + 1);
	ssize_t n;

	if (!data)
		return err_nomem(err);
	n = io_read_upto(STDIN_FILENO, data, INPUT_MAX + 1, err);
	if (n < 0)
		return -1;
	if (n > INPUT_MAX)
		return err_set(
			err, ERR_UNSUPPORTED,
			"standard input has more than 128 KiB, which agents do not take whole");
	*ret = base64_encode(data, (size_t)n);
	return *ret ? 0 : err_nomem(err);
}

/* {"execute":"guest-exec","arguments":{...}}; NULL without memory, or when a word is not UTF-8 */
static json_t *make_command(int argc, char **argv, const char *input)
{
	json_t *args = json_array(), *arguments, *env;

	for (int i = 1; i < argc; i++)
		if (json_array_append_new(args, json_string(argv[i])) < 0) {
			json_decref(args);
			return NULL;
		}
	arguments = json_pack("{s:s, s:o, s:b}", "path", argv[0], "arg", args, "capture-output", 1);
	if (arguments && input)
		json_object_set_new(arguments, "input-data", json_string(input));
	env = o.env.count ? json_array() : NULL;
	for (size_t i = 0; i < o.env.count; i++)
		json_array_append_new(env, json_string(o.env.items[i]));
	if (arguments && env)
		json_object_set_new(arguments, "env", env);
	return arguments ? json_pack("{s:s, s:o}", "execute", "guest-exec", "arguments", arguments)
			 : NULL;
}

static int ask_status(struct domain *d, json_int_t pid, json_t **ret, struct err *err)
{
	json_t *command = json_pack("{s:s, s:{s:I}}", "execute", "guest-exec-status", "arguments",
				    "pid", pid);
	int rc = command ? domain_agent(d, command, AGENT_S, ret, err) : err_nomem(err);

	json_decref(command);
	return rc;
}

static int wait_exit(struct domain *d, json_int_t pid, json_t **ret, struct err *err)
{
	struct timespec pause = {.tv_nsec = 20000000};
	uint64_t waited_ms = 0;

	for (;;) {
		if (ask_status(d, pid, ret, err) < 0)
			return -1;
		if (json_is_true(json_object_get(*ret, "exited")))
			return 0;
		json_decref(*ret);
		*ret = NULL;
		if (stop_check(err) < 0)
			return -1;
		if (o.timeout && waited_ms >= o.timeout) {
			err_set(err, ERR_TIMEOUT, "the command has not ended after %.3g s",
				(double)o.timeout / 1000);
			return err_object(err, domain_name(d));
		}
		(void)nanosleep(&pause, NULL);
		waited_ms += (uint64_t)pause.tv_nsec / 1000000;
		if (pause.tv_nsec < 320000000)
			pause.tv_nsec *= 2;
	}
}

static int write_out(const json_t *status, const char *key, const char *cut, int fd,
		     struct err *err)
{
	const char *text = json_string_value(json_object_get(status, key));
	CLEANUP_FREE void *data = NULL;
	size_t len;

	if (!text)
		return 0;
	if (base64_decode(text, &data, &len) < 0)
		return err_set(err, ERR_FAILED, "the guest agent's answer is not understood");
	if (json_is_true(json_object_get(status, cut)))
		log_warning("the agent kept only the first %zu bytes of %s", len,
			    fd == STDOUT_FILENO ? "standard output" : "standard error");
	return io_write(fd, data, len, err);
}

static int finish(struct cli *cli, const json_t *status, struct err *err)
{
	const json_t *signal = json_object_get(status, "signal");
	json_int_t code = json_integer_value(json_object_get(status, "exitcode"));

	if (write_out(status, "out-data", "out-truncated", STDOUT_FILENO, err) < 0 ||
	    write_out(status, "err-data", "err-truncated", STDERR_FILENO, err) < 0)
		return -1;
	if (json_is_integer(signal))
		code = 128 + json_integer_value(signal);
	cli->status = (int)(code & 255);
	return 0;
}

static int run_in(struct cli *cli, struct domain *d, int argc, char **argv, struct err *err)
{
	CLEANUP_FREE char *input = NULL;
	json_t *command, *answer = NULL, *status = NULL;
	int rc;

	if (o.input && read_input(&input, err) < 0)
		return -1;
	command = make_command(argc, argv, input);
	if (!command)
		return err_set(err, ERR_USAGE, "the command is not UTF-8");
	rc = domain_agent(d, command, AGENT_S, &answer, err);
	json_decref(command);
	if (rc < 0)
		return -1;
	rc = wait_exit(d, json_integer_value(json_object_get(answer, "pid")), &status, err);
	json_decref(answer);
	if (rc == 0)
		rc = finish(cli, status, err);
	json_decref(status);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct host *h;
	struct domain *d;
	int rc;

	if (vmctl_find(argv[0], false, &h, &d, err) < 0)
		return -1;
	rc = run_in(cli, d, argc - 1, argv + 1, err);
	domain_close(d);
	host_close(h);
	return rc;
}

const struct verb verb_exec = {
	.name = "exec",
	.usage = "[OPTIONS] NAME -- COMMAND [ARGUMENT...]",
	.summary = "run a command in a machine through its guest agent",
	.details =
		"Its output comes when it has ended, standard output and standard error apart; its "
		"exit status is vmctl's, 128+N when signal N ended it. There is no shell: say sh "
		"-c. What vmctl itself has to say is one line that begins with \"vmctl:\".",
	.options = options,
	.examples = examples,
	.statuses = "0 the command ended well, 1 to 255 its own status, 4 no such machine, 7 the "
		    "agent does not answer, 10 "
		    "--timeout ran out",
	.min_args = 2,
	.max_args = UINT_MAX,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
