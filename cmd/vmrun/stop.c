/* vmrun stop: by the power button, and where that does nothing by the end of the process. */
#include <limits.h>
#include <string.h>
#include <time.h>

#include "cmd/vmrun/vmrun.h"
#include "libcommon/base/log.h"
#include "libcommon/base/size.h"
#include "libcommon/runner/control.h"

enum { END_MS = 60000 /* flushing the disks may take a while */ };

static struct {
	bool now;
	uint64_t timeout;
} o = {.timeout = 30000};

static const struct opt options[] = {
	{.name = "now",
	 .type = OPT_FLAG,
	 .value = &o.now,
	 .help = "end the machine at once: what the guest has not written is lost"},
	{.letter = 't',
	 .name = "timeout",
	 .type = OPT_DURATION,
	 .value = &o.timeout,
	 .arg = "TIME",
	 .help = "what the guest gets to power off before it is ended (default: 30s)"},
	OPT_END,
};

static const char *const examples[] = {
	"vmrun stop web",
	"vmrun stop --timeout 2m db web",
	"vmrun stop --now web --json",
	NULL,
};

static double seconds_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* *@ret_acpi: did the guest do it */
static int stop_it(const char *name, bool *ret_acpi, struct err *err)
{
	json_t *answer;
	const char *method;
	int pid;

	if (control_ask(name, o.now ? CONTROL_KILL : CONTROL_STOP, ANSWER_MS, &answer, err) < 0)
		return -1;
	pid = (int)json_integer_value(json_object_get(answer, "pid"));
	method = json_string_value(json_object_get(answer, "method"));
	*ret_acpi = method && strcmp(method, "acpi") == 0;
	json_decref(answer);
	if (!*ret_acpi)
		return control_wait_end(name, pid, END_MS, err);
	if (control_wait_end(name, pid, o.timeout, err) == 0)
		return 0;
	if (err->code != ERR_TIMEOUT)
		return -1;
	log_info("%s: the guest did not power off", name);
	*ret_acpi = false;
	err_clear(err);
	if (control_ask(name, CONTROL_KILL, ANSWER_MS, &answer, err) == 0) {
		json_decref(answer);
	} else if (err->code != ERR_NOT_FOUND && err->code != ERR_BUSY) {
		return -1; /* else it ends just now */
	}
	err_clear(err);
	return control_wait_end(name, pid, END_MS, err);
}

static int one(struct cli *cli, const char *name, json_t *list, struct err *err)
{
	double start = seconds_now();
	char text[SIZE_TEXT_MAX];
	const char *method;
	bool acpi;

	if (stop_it(name, &acpi, err) < 0)
		return -1;
	method = acpi ? "acpi" : "destroy";
	if (cli->json)
		(void)json_array_append_new(list,
					    json_pack("{s:s, s:s, s:f}", "name", name, "method",
						      method, "seconds", seconds_now() - start));
	else if (!cli->quiet)
		(void)printf("%s: %s, %s\n", name, method,
			     duration_format(seconds_now() - start, text));
	return 0;
}

/* All of them; the first failure is the status */
static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	json_t *list = json_array();
	struct err why = ERR_INIT, out = ERR_INIT;
	int rc = 0;

	for (int i = 0; i < argc && why.code != ERR_CANCELLED; i++) {
		struct err failure = ERR_INIT;

		if (one(cli, argv[i], list, &failure) == 0)
			continue;
		if (rc < 0)
			log_warning("%s: %s", argv[i], failure.message);
		else
			why = failure;
		rc = -1;
	}
	if (rc < 0)
		*err = why;
	if (!cli->json || (rc < 0 && json_array_size(list) == 0)) {
		json_decref(list);
		return rc;
	}
	if (cli_print_json(cli, list, &out) < 0) {
		*err = rc < 0 ? why : out;
		return -1;
	}
	return rc;
}

const struct verb verb_stop = {
	.name = "stop",
	.usage = "[OPTIONS] NAME...",
	.summary = "stop machines: by the power button, else hard; says which",
	.details =
		"A guest that has enabled ACPI's power button gets it pressed, and --timeout to "
		"power "
		"off; a paused one is resumed for that. One that has not is ended at once, as with "
		"--now: its vmrun ends with status 3. Either way the machine's disks are flushed, "
		"and "
		"free when this ends.",
	.options = options,
	.examples = examples,
	.statuses =
		"0 they are off, 4 no machine of this name, 7 it does not answer, 10 it was ended "
		"but its process is still there after a minute",
	.min_args = 1,
	.max_args = UINT_MAX,
	.json = true,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
