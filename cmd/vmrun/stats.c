/* vmrun stats: what a machine has used so far. */
#include <inttypes.h>
#include <string.h>

#include "cmd/vmrun/metrics.h"
#include "cmd/vmrun/vmrun.h"
#include "libcommon/base/size.h"
#include "libcommon/runner/control.h"

static bool prometheus;

static const struct opt options[] = {
	{.name = "prometheus",
	 .type = OPT_FLAG,
	 .value = &prometheus,
	 .help = "in the text format of Prometheus, as run --metrics writes at the end"},
	OPT_END,
};

static const char *const examples[] = {
	"vmrun stats web",
	"vmrun stats web --json | jq '[.cpus[].cpu_seconds] | add'",
	NULL,
};

static uint64_t number(const json_t *o, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(o, key));

	return v < 0 ? 0 : (uint64_t)v;
}

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "-";
}

static int print_cpus(const json_t *cpus, struct err *err)
{
	static const char *const headers[] = {"VCPU", "TIME", "EXITS", NULL};
	struct table *t = table_new(headers, "rrr");

	if (!t)
		return err_nomem(err);
	for (size_t i = 0; i < json_array_size(cpus); i++) {
		const json_t *o = json_array_get(cpus, i);
		char index[32], time[SIZE_TEXT_MAX], exits[32];
		const char *const cells[] = {index, time, exits, NULL};

		(void)snprintf(index, sizeof(index), "%zu", i);
		(void)snprintf(exits, sizeof(exits), "%" PRIu64, number(o, "exits"));
		(void)duration_format(json_number_value(json_object_get(o, "cpu_seconds")), time);
		table_row(t, cells);
	}
	table_print(t, stdout);
	table_free(t);
	return 0;
}

static int print_disks(const json_t *disks, struct err *err)
{
	static const char *const headers[] = {"DISK",	 "READS",  "READ",  "WRITES", "WRITTEN",
					      "FLUSHES", "ERRORS", "IMAGE", NULL};
	struct table *t;

	if (json_array_size(disks) == 0)
		return 0;
	t = table_new(headers, "lrrrrrrl");
	if (!t)
		return err_nomem(err);
	for (size_t i = 0; i < json_array_size(disks); i++) {
		const json_t *o = json_array_get(disks, i);
		char reads[32], read[SIZE_TEXT_MAX], writes[32], written[SIZE_TEXT_MAX],
			flushes[32], errors[32];
		const char *const cells[] = {
			text(o, "name"),  reads, read, writes, written, flushes, errors,
			text(o, "image"), NULL};

		(void)snprintf(reads, sizeof(reads), "%" PRIu64, number(o, "reads"));
		(void)size_format(number(o, "read_bytes"), read);
		(void)snprintf(writes, sizeof(writes), "%" PRIu64, number(o, "writes"));
		(void)size_format(number(o, "written_bytes"), written);
		(void)snprintf(flushes, sizeof(flushes), "%" PRIu64, number(o, "flushes"));
		(void)snprintf(errors, sizeof(errors), "%" PRIu64, number(o, "errors"));
		table_row(t, cells);
	}
	table_print(t, stdout);
	table_free(t);
	return 0;
}

static int print_nets(const json_t *nets, struct err *err)
{
	static const char *const headers[] = {"NET",	     "KIND", "LINK",	"PACKETS IN", "IN",
					      "PACKETS OUT", "OUT",  "DROPPED", "ADDRESS",    NULL};
	struct table *t;

	if (json_array_size(nets) == 0)
		return 0;
	t = table_new(headers, "lllrrrrrl");
	if (!t)
		return err_nomem(err);
	for (size_t i = 0; i < json_array_size(nets); i++) {
		const json_t *o = json_array_get(nets, i);
		char in[32], received[SIZE_TEXT_MAX], out[32], sent[SIZE_TEXT_MAX], dropped[32];
		const char *const cells[] = {text(o, "name"),
					     text(o, "kind"),
					     json_is_true(json_object_get(o, "link")) ? "up"
										      : "down",
					     in,
					     received,
					     out,
					     sent,
					     dropped,
					     text(o, "mac"),
					     NULL};

		(void)snprintf(in, sizeof(in), "%" PRIu64, number(o, "rx_packets"));
		(void)size_format(number(o, "rx_bytes"), received);
		(void)snprintf(out, sizeof(out), "%" PRIu64, number(o, "tx_packets"));
		(void)size_format(number(o, "tx_bytes"), sent);
		(void)snprintf(dropped, sizeof(dropped), "%" PRIu64,
			       number(o, "rx_dropped") + number(o, "tx_dropped"));
		table_row(t, cells);
	}
	table_print(t, stdout);
	table_free(t);
	return 0;
}

static void print_balloon(const json_t *balloon)
{
	const json_t *guest = json_object_get(balloon, "guest");
	char actual[SIZE_TEXT_MAX], target[SIZE_TEXT_MAX], free[SIZE_TEXT_MAX],
		available[SIZE_TEXT_MAX], total[SIZE_TEXT_MAX], caches[SIZE_TEXT_MAX];

	if (!balloon)
		return;
	(void)printf("balloon: %s of %s wanted", size_format(number(balloon, "actual"), actual),
		     size_format(number(balloon, "target"), target));
	if (json_object_size(guest))
		(void)printf("; the guest has %s, %s free, %s available, %s caches",
			     size_format(number(guest, "total"), total),
			     size_format(number(guest, "free"), free),
			     size_format(number(guest, "available"), available),
			     size_format(number(guest, "caches"), caches));
	(void)putchar('\n');
}

static int print(const char *name, const json_t *answer, struct err *err)
{
	char resident[SIZE_TEXT_MAX], size[SIZE_TEXT_MAX], age[SIZE_TEXT_MAX];

	(void)printf("%s: %s for %s, %s of %s memory in use\n", name, text(answer, "state"),
		     duration_format(json_number_value(json_object_get(answer, "seconds")), age),
		     size_format(number(answer, "memory_resident"), resident),
		     size_format(number(answer, "memory"), size));
	print_balloon(json_object_get(answer, "balloon"));
	if (print_cpus(json_object_get(answer, "cpus"), err) < 0)
		return -1;
	if (print_disks(json_object_get(answer, "disks"), err) < 0)
		return -1;
	return print_nets(json_object_get(answer, "nets"), err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	json_t *answer;
	int rc;

	(void)argc;
	if (prometheus && cli->json)
		return err_set(err, ERR_USAGE, "one form at a time");
	if (control_ask(argv[0], CONTROL_STATS, ANSWER_MS, &answer, err) < 0)
		return -1;
	if (cli->json) {
		(void)json_object_del(answer, "ok");
		return cli_print_json(cli, answer, err);
	}
	if (prometheus) {
		metrics_print(stdout, argv[0], answer);
		rc = 0;
	} else {
		rc = print(argv[0], answer, err);
	}
	json_decref(answer);
	return rc;
}

const struct verb verb_stats = {
	.name = "stats",
	.usage = "[OPTIONS] NAME",
	.summary = "what a machine has used: time of its vCPUs, disk requests, frames, memory",
	.details =
		"A vCPU's time is that of its thread, in the guest and for it. Exits are those "
		"that "
		"vmrun answers; most are answered by KVM and not counted. Requests count when "
		"they are "
		"done. Frames go in to the guest and out from it; dropped are those that did not "
		"fit or broke the rules. Memory in use is what of the guest's memory the host has "
		"in its own.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 4 no machine of this name, 6 it is starting or ending, 7 it does not "
		    "answer",
	.min_args = 1,
	.max_args = 1,
	.json = true,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
