/* vmctl watch: machines that failed run again, those that wait for disk space go on, memory and processors follow the load. */
#include "cmd/vmctl/watch.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd/vmctl/audit.h"
#include "libcommon/base/log.h"
#include "libcommon/base/size.h"
#include "libcommon/base/stop.h"

static struct watch_opts o = {
	.restart = {.delay_ms = 5000, .max_delay_ms = 300000, .settle_ms = 600000, .tries = 5},
	.interval_ms = 5000,
	.space = 256 << 20,
	.least_memory = 256 << 20,
	.reserve = 1ULL << 30,
	.least_cpus = 1,
	.scale_at = 80,
};
static uint64_t timeout_ms;

static const struct opt options[] = {
	{.name = "interval",
	 .type = OPT_DURATION,
	 .value = &o.interval_ms,
	 .arg = "TIME",
	 .help = "how often is looked (default: 5s)"},
	{.name = "tries",
	 .type = OPT_UINT,
	 .value = &o.restart.tries,
	 .arg = "N",
	 .min = 1,
	 .max = 1000000,
	 .help = "a machine is started again so many times, then given up (default: 5)"},
	{.name = "delay",
	 .type = OPT_DURATION,
	 .value = &o.restart.delay_ms,
	 .arg = "TIME",
	 .help = "before the second try; twice as long before each further one (default: 5s)"},
	{.name = "max-delay",
	 .type = OPT_DURATION,
	 .value = &o.restart.max_delay_ms,
	 .arg = "TIME",
	 .help = "the longest of these pauses (default: 5m)"},
	{.name = "settle",
	 .type = OPT_DURATION,
	 .value = &o.restart.settle_ms,
	 .arg = "TIME",
	 .help = "a machine that has run so long has all its tries again (default: 10m)"},
	{.name = "no-restart",
	 .type = OPT_FLAG,
	 .value = &o.no_restart,
	 .help = "machines that failed stay off"},
	{.name = "no-resume",
	 .type = OPT_FLAG,
	 .value = &o.no_resume,
	 .help = "machines paused by a disk's error stay paused"},
	{.name = "space",
	 .type = OPT_SIZE,
	 .value = &o.space,
	 .arg = "SIZE",
	 .help = "what must be free where the disks of a paused machine lie (default: 256M)"},
	{.name = "balance",
	 .type = OPT_FLAG,
	 .value = &o.balance,
	 .help = "guests that are short of memory get more, up to their maximum; while the host is "
		 "short, guests give what they do not use"},
	{.name = "memory-least",
	 .type = OPT_SIZE,
	 .value = &o.least_memory,
	 .arg = "SIZE",
	 .help = "with --balance: what a guest keeps whatever happens (default: 256M)"},
	{.name = "reserve",
	 .type = OPT_SIZE,
	 .value = &o.reserve,
	 .arg = "SIZE",
	 .help = "with --balance: below this much free memory the host is short (default: 1G)"},
	{.name = "scale",
	 .type = OPT_FLAG,
	 .value = &o.scale,
	 .help = "one processor more for a machine that uses most of those it has, up to its "
		 "maximum; one less when that would be used by less than 20 %"},
	{.name = "cpus-least",
	 .type = OPT_UINT,
	 .value = &o.least_cpus,
	 .arg = "N",
	 .min = 1,
	 .max = 4096,
	 .help = "with --scale: never less (default: 1)"},
	{.name = "scale-at",
	 .type = OPT_UINT,
	 .value = &o.scale_at,
	 .arg = "PERCENT",
	 .min = 1,
	 .max = 100,
	 .help = "with --scale: of what it has (default: 80)"},
	{.name = "once",
	 .type = OPT_FLAG,
	 .value = &o.once,
	 .help = "look once, act, end: for cron"},
	{.name = "timeout",
	 .type = OPT_DURATION,
	 .value = &timeout_ms,
	 .arg = "TIME",
	 .help = "end after this time (default: a signal ends it)"},
	{.letter = 'n',
	 .name = "dry-run",
	 .type = OPT_FLAG,
	 .value = &o.dry_run,
	 .help = "tell what would be done, do nothing"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl watch >>/var/log/vmkit-watch.ndjson",
	"vmctl -c all watch --balance --reserve 4G --scale web db",
	"vmctl watch --once --dry-run | jq .",
	NULL,
};

static struct {
	pthread_mutex_t lock; /* guards what follows, and standard output */
	struct cli *cli;
	bool broken; /* nobody reads what is told */
	unsigned failed;
	struct err err;
} out = {.lock = PTHREAD_MUTEX_INITIALIZER};
static uint64_t end_ms; /* set before threads start; 0: none */

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool ending(void)
{
	bool broken;

	(void)pthread_mutex_lock(&out.lock);
	broken = out.broken;
	(void)pthread_mutex_unlock(&out.lock);
	return broken || stop_requested() || (end_ms && now_ms() >= end_ms);
}

static void print_number(const json_t *a, const char *key, const char *before, bool bytes)
{
	const json_t *v = json_object_get(a, key);
	char size[SIZE_TEXT_MAX];

	if (!json_is_integer(v))
		return;
	if (bytes)
		(void)printf("%s%s", before, size_format((uint64_t)json_integer_value(v), size));
	else
		(void)printf("%s%" JSON_INTEGER_FORMAT, before, json_integer_value(v));
}

static void print_text(const json_t *a)
{
	static const char *const keys[] = {"time", "host", "machine", "action"};
	const char *what = json_string_value(json_object_get(a, "action")),
		   *detail = json_string_value(json_object_get(a, "detail"));
	bool bytes = what && strcmp(what, "memory") == 0;
	char *safe;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *s = json_string_value(json_object_get(a, keys[i]));

		safe = s ? cli_printable(s) : NULL;
		if (safe)
			(void)printf("%s%s", i ? "  " : "", safe);
		free(safe);
	}
	print_number(a, "try", " try ", false);
	print_number(a, "from", " from ", bytes);
	print_number(a, "to", " to ", bytes);
	if (detail && *detail && (safe = cli_printable(detail))) {
		(void)printf(" (%s)", safe);
		free(safe);
	}
	if (!json_is_true(json_object_get(a, "done")))
		(void)fputs(json_is_true(json_object_get(a, "dry_run")) ? ": would be" : ": failed",
			    stdout);
	(void)putchar('\n');
}

static void tell(json_t *action)
{
	struct err why = ERR_INIT;
	int rc = 0;

	(void)pthread_mutex_lock(&out.lock);
	audit_action(action);
	out.failed += !json_is_true(json_object_get(action, "done")) && !o.dry_run;
	if (out.cli->json_lines) {
		rc = cli_print_json(out.cli, action, &why);
	} else {
		print_text(action);
		json_decref(action);
	}
	if (rc == 0 && fflush(stdout) != 0)
		rc = err_sys(&why, "cannot write to standard output");
	if (rc < 0 && !out.broken) {
		out.broken = true;
		out.err = why;
	}
	(void)pthread_mutex_unlock(&out.lock);
}

struct one {
	struct vmctl_answer *host;
	pthread_t thread;
	bool started;
	int rc;
};

static void *watch_one(void *arg)
{
	struct one *one = arg;

	one->rc = watch_host(&o, one->host->uri, one->host->name, &one->host->err);
	return NULL;
}

/* The machines of each host by a thread of its own: one that hangs keeps no other from being looked after. */
static int watch_all(struct vmctl_answer *hosts, size_t n, struct err *err)
{
	struct one *all = calloc(n, sizeof(*all));
	size_t failed = 0;

	if (!all)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++) {
		all[i].host = &hosts[i];
		if (i)
			all[i].started =
				pthread_create(&all[i].thread, NULL, watch_one, &all[i]) == 0;
	}
	for (size_t i = 0; i < n; i++)
		if (!all[i].started)
			(void)watch_one(&all[i]);
	for (size_t i = 0; i < n; i++) {
		if (all[i].started)
			(void)pthread_join(all[i].thread, NULL);
		failed += all[i].rc < 0;
	}
	for (size_t i = 0; i < n && n > 1; i++)
		if (all[i].rc < 0)
			log_warning("%s: %s", hosts[i].name, hosts[i].err.message);
	free(all);
	if (failed == 0)
		return 0;
	*err = hosts[0].err;
	return n == 1 ? -1
		      : err_set(err, failed == n ? hosts[0].err.code : ERR_DIFFERS,
				"%zu of %zu hosts did not answer", failed, n);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct vmctl_answer *hosts;
	size_t n;
	int rc;

	o.machines = argv;
	o.machines_n = argc;
	o.tell = tell;
	o.ending = ending;
	if (o.interval_ms < 100)
		return err_set(err, ERR_USAGE, "--interval is less than 0.1 s");
	out.cli = cli;
	cli->json_lines = cli->json || !cli_is_terminal(STDOUT_FILENO);
	end_ms = timeout_ms ? now_ms() + timeout_ms : 0;
	if (vmctl_hosts(&hosts, &n, err) < 0)
		return -1;
	rc = watch_all(hosts, n, err);
	vmctl_answers_free(hosts, n);
	if (out.broken) {
		*err = out.err;
		return -1;
	}
	if (stop_check(err) < 0)
		return -1;
	if (rc == 0 && o.once && out.failed)
		return err_set(err, ERR_DIFFERS, "%u of what was to be done failed", out.failed);
	return rc;
}

const struct verb verb_watch = {
	.name = "watch",
	.usage = "[OPTIONS] [MACHINE...]",
	.summary = "keep machines running: restart those that failed, resume those that ran out of "
		   "space",
	.details =
		"Looks at the machines named, or all, of one host or of several. One that crashed "
		"or "
		"failed (not one that was shut down or stopped) is started again, with growing "
		"pauses and not for ever. One that is paused by a disk's error goes on when there "
		"is "
		"--space again; where the disks cannot be looked at it is tried. --balance sets "
		"memory by the balloon between --memory-least and the machine's maximum; it needs "
		"the guest's figures (<memballoon><stats period=...>). What is done is told, one "
		"JSON object a line, or words on a terminal. A host that is lost is tried again. "
		"For "
		"machines of several hosts that must never run twice use a cluster: vmctl hosts "
		"--pacemaker.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 3 some hosts did not answer at the start, or with --once something "
		    "failed, 4 no host of that name, 7 no "
		    "host answered",
	.max_args = UINT_MAX,
	.json = true,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
