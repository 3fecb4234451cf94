/* vmctl events: what happens to machines, a line each, as it happens. */
#include "cmd/vmctl/events.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"

enum { WAIT_MS = 100, QUEUE = 100000 };

static struct {
	struct opt_list kinds;
	bool present;
	unsigned count, queue;
	uint64_t timeout_ms;
	/* The arguments; as the rest written before the threads start. */
	char **machines;
	int machines_n;
} o;

#define KINDS "lifecycle, reboot, agent, io-error, block-job, device, host"

static const struct opt options[] = {
	{.name = "kind",
	 .type = OPT_LIST,
	 .value = &o.kinds,
	 .arg = "KIND",
	 .help = "only events of this kind (more than once: of these): " KINDS},
	{.name = "present",
	 .type = OPT_FLAG,
	 .value = &o.present,
	 .help = "begin with the present state of each machine"},
	{.name = "count",
	 .type = OPT_UINT,
	 .value = &o.count,
	 .arg = "N",
	 .min = 1,
	 .max = UINT_MAX,
	 .help = "end after N events; those of kind host count when --kind asks for them"},
	{.name = "timeout",
	 .type = OPT_DURATION,
	 .value = &o.timeout_ms,
	 .arg = "TIME",
	 .help = "end after this time; with --count that is a failure"},
	{.name = "debug-queue",
	 .type = OPT_UINT,
	 .value = &o.queue,
	 .arg = "N",
	 .min = 1,
	 .max = QUEUE,
	 .hidden = true,
	 .help = "events that may wait to be printed"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl events",
	"vmctl -c all events --kind io-error --kind agent >>events.ndjson",
	"vmctl events web --kind lifecycle --count 1 --timeout 5m",
	NULL,
};

static bool kind_named(const char *kind)
{
	for (size_t i = 0; i < o.kinds.count; i++)
		if (strcmp(o.kinds.items[i], kind) == 0)
			return true;
	return false;
}

static bool machine_named(const char *name, const char *uuid)
{
	for (int i = 0; i < o.machines_n; i++)
		if (strcmp(o.machines[i], name) == 0 || strcmp(o.machines[i], uuid) == 0)
			return true;
	return false;
}

/* Where machines are named, what happens to hosts must be asked for. */
static bool wanted(const char *kind, const char *machine, const char *uuid)
{
	if (o.kinds.count ? !kind_named(kind) : !machine && o.machines_n)
		return false;
	return !machine || !o.machines_n || machine_named(machine, uuid);
}

static int check_kinds(struct err *err)
{
	static const char *const names[] = {"lifecycle", "reboot", "agent", "io-error",
					    "block-job", "device", "host"};

	for (size_t i = 0; i < o.kinds.count; i++) {
		bool known = false;

		for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
			known |= strcmp(o.kinds.items[i], names[k]) == 0;
		if (!known)
			return err_set(err, ERR_USAGE, "no kind of event is called '%s': " KINDS,
				       o.kinds.items[i]);
	}
	return 0;
}

static const char *text(const json_t *event, const char *key)
{
	const char *s = json_string_value(json_object_get(event, key));

	return s ? s : "";
}

static void print_word(const char *before, const char *s, const char *after)
{
	CLEANUP_FREE char *shown = *s ? cli_printable(s) : NULL;

	if (shown)
		(void)printf("%s%s%s", before, shown, after);
}

static void print_text(const json_t *e)
{
	print_word("", text(e, "time"), "");
	print_word("  ", text(e, "host"), "");
	print_word("  ", text(e, "machine"), "");
	print_word("  ", text(e, "kind"), "");
	print_word(" ", text(e, "event"), "");
	print_word(" ", text(e, "state"), "");
	print_word(" (", text(e, "detail"), ")");
	print_word(" ", text(e, "device"), "");
	print_word(" ", text(e, "path"), "");
	(void)putchar('\n');
}

/* @event is consumed. */
static int print(struct cli *cli, json_t *event, struct err *err)
{
	int rc = 0;

	if (cli->json_lines) {
		rc = cli_print_json(cli, event, err);
	} else {
		print_text(event);
		json_decref(event);
	}
	if (rc == 0 && fflush(stdout) != 0)
		rc = err_sys(err, "cannot write to standard output");
	/* A signal that came while the reader let us wait is no error of the reader. */
	if (rc < 0 && stop_requested())
		return stop_check(err);
	return rc;
}

/* Without an event to write it would not be noticed. */
static int check_reader(struct err *err)
{
	struct pollfd p = {.fd = STDOUT_FILENO};

	if (poll(&p, 1, 0) == 1 && p.revents & (POLLERR | POLLHUP))
		return err_set(err, ERR_PIPE, "the reader of standard output is gone");
	return 0;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int out_of_time(unsigned done, struct err *err)
{
	if (!o.count)
		return 0;
	return err_set(err, ERR_TIMEOUT, "%u of %u events came within %.3g s", done, o.count,
		       (double)o.timeout_ms / 1000);
}

static int loop(struct cli *cli, struct err *err)
{
	uint64_t start = now_ms();
	unsigned done = 0;

	while (!o.count || done < o.count) {
		json_t *event = follow_next(WAIT_MS);

		if (event) {
			done += json_is_string(json_object_get(event, "machine")) ||
				kind_named("host");
			if (print(cli, event, err) < 0)
				return -1;
		}
		if (stop_check(err) < 0 || follow_verdict(err) < 0 || check_reader(err) < 0)
			return -1;
		if (o.timeout_ms && now_ms() - start >= o.timeout_ms &&
		    (!o.count || done < o.count))
			return out_of_time(done, err);
	}
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	static struct follow follow;
	struct vmctl_answer *hosts;
	size_t n;
	int rc;

	o.machines = argv;
	o.machines_n = argc;
	/* Events are for programs: whole documents make no sense, and people sit at terminals. */
	cli->json_lines = cli->json || !cli_is_terminal(STDOUT_FILENO);
	if (check_kinds(err) < 0 || vmctl_hosts(&hosts, &n, err) < 0)
		return -1;
	follow = (struct follow){
		.present = o.present, .queue_max = o.queue ? o.queue : QUEUE, .wanted = wanted};
	rc = follow_start(&follow, hosts, n, err);
	if (rc == 0)
		rc = loop(cli, err);
	if (follow_stop())
		vmctl_answers_free(hosts, n);
	return rc;
}

const struct verb verb_events = {
	.name = "events",
	.usage = "[OPTIONS] [MACHINE...]",
	.summary = "tell what happens to machines as it happens, of one host or of several",
	.details =
		"One JSON object a line (NDJSON), or words on a terminal; until a signal, --count "
		"or --timeout ends it. Kinds are: lifecycle (started, stopped, ...), reboot, agent "
		"(of the guest), io-error (of a disk), block-job, device (added, removed), and "
		"host: connected, lost, and overflow when events had to be dropped because the "
		"reader is slow. A host that is lost is tried again, at first after half a "
		"second, at most every 30; then, and after an overflow, each machine has a line "
		"with the event \"present\" and its state, for what was missed. Only a start at "
		"which no host answers is a failure. With names of machines the kind host must "
		"be asked for. --json changes nothing but the form on a terminal.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 4 no host of that name, 7 no host answered, 10 not as many events as "
		    "--count within --timeout",
	.max_args = UINT_MAX,
	.json = true,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
