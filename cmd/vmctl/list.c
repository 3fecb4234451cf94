/* vmctl list: the machines of one host or of many. */
#include <stdlib.h>
#include <string.h>

#include "cmd/vmctl/vmctl.h"
#include "libcommon/base/size.h"

static struct {
	const char *state;
	bool names;
} o;

static const struct opt options[] = {
	{.name = "state",
	 .type = OPT_CHOICE,
	 .value = &o.state,
	 .arg = "STATE",
	 .choices = "off|running|paused|stopping|crashed|sleeping",
	 .help = "only machines in this state"},
	{.letter = '0',
	 .name = "null",
	 .type = OPT_FLAG,
	 .value = &o.names,
	 .help = "names alone, each with a NUL behind it: for xargs -0"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl list",
	"vmctl -c web -c db list --json",
	"vmctl list --state running -0 | xargs -0 vmctl stop",
	NULL,
};

json_t *vmctl_info_json(const char *host, const struct domain_info *i)
{
	return json_pack("{s:o, s:o, s:s, s:o, s:s, s:s, s:I, s:I, s:I, s:f, s:b, s:b, s:o, s:b}",
			 "host", cli_json_string(host), "name", cli_json_string(i->name), "uuid",
			 i->uuid, "id", i->id < 0 ? json_null() : json_integer(i->id), "state",
			 domain_state_name(i->state), "reason", i->reason, "cpus",
			 (json_int_t)i->cpus, "memory", (json_int_t)i->memory, "memory_max",
			 (json_int_t)i->memory_max, "cpu_seconds", (double)i->cpu_time_ns / 1e9,
			 "persistent", (int)i->persistent, "autostart", (int)i->autostart,
			 "autostart_order",
			 i->autostart_order ? json_integer(i->autostart_order) : json_null(),
			 "saved", (int)i->saved);
}

static int ask(struct host *h, void *ctx, json_t **ret, struct err *err)
{
	struct domain_info *list;
	json_t *out = json_array();
	size_t n;

	(void)ctx;
	if (!out)
		return err_nomem(err);
	if (host_list(h, &list, &n, err) < 0) {
		json_decref(out);
		return -1;
	}
	for (size_t i = 0; i < n; i++)
		if (!o.state || strcmp(o.state, domain_state_name(list[i].state)) == 0)
			json_array_append_new(out, vmctl_info_json(host_uri(h), &list[i]));
	host_list_free(list, n);
	*ret = out;
	return 0;
}

static const char *text_of(const json_t *machine, const char *key)
{
	const char *s = json_string_value(json_object_get(machine, key));

	return s ? s : "";
}

static void row(struct table *t, const json_t *m, const char *host, bool many)
{
	char cpus[32], memory[SIZE_TEXT_MAX], state[64];
	const char *reason = text_of(m, "reason");

	(void)snprintf(cpus, sizeof(cpus), "%lld",
		       (long long)json_integer_value(json_object_get(m, "cpus")));
	(void)snprintf(state, sizeof(state), "%s%s%s%s", text_of(m, "state"), *reason ? " (" : "",
		       reason, *reason ? ")" : "");

	const char *const cells[] = {
		text_of(m, "name"), state, cpus,
		size_format((uint64_t)json_integer_value(json_object_get(m, "memory")), memory),
		many ? host : NULL};

	table_row(t, cells);
}

static int print_table(const struct vmctl_answer *a, size_t n, struct err *err)
{
	static const char *const one[] = {"NAME", "STATE", "CPUS", "MEMORY", NULL};
	static const char *const several[] = {"NAME", "STATE", "CPUS", "MEMORY", "HOST", NULL};
	struct table *t = table_new(n > 1 ? several : one, n > 1 ? "llrrl" : "llrr");
	size_t rows = 0;

	if (!t)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < json_array_size(a[i].value); k++, rows++)
			row(t, json_array_get(a[i].value, k), a[i].name, n > 1);
	}
	if (rows)
		table_print(t, stdout);
	table_free(t);
	return 0;
}

static void print_names(const struct vmctl_answer *a, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < json_array_size(a[i].value); k++)
			(void)printf("%s%c", text_of(json_array_get(a[i].value, k), "name"), 0);
}

static int print_json(struct cli *cli, const struct vmctl_answer *a, size_t n, struct err *err)
{
	json_t *all = json_array();

	for (size_t i = 0; all && i < n; i++)
		if (a[i].value)
			(void)json_array_extend(all, a[i].value);
	return cli_print_json(cli, all, err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct vmctl_answer *answers;
	size_t n;
	int rc;

	(void)argc;
	(void)argv;
	if (o.names && cli->json)
		return err_set(err, ERR_USAGE, "--null and --json do not go together");
	if (vmctl_ask_all(ask, NULL, &answers, &n, err) < 0)
		return -1;
	rc = vmctl_verdict(answers, n, err);
	if (rc < 0 && err->code != ERR_DIFFERS)
		goto out;

	struct err why = ERR_INIT;
	int printed = 0;

	if (cli->json)
		printed = print_json(cli, answers, n, &why);
	else if (o.names)
		print_names(answers, n);
	else
		printed = print_table(answers, n, &why);
	if (printed < 0) {
		*err = why;
		rc = -1;
	}
out:
	vmctl_answers_free(answers, n);
	return rc;
}

const struct verb verb_list = {
	.name = "list",
	.usage = "[OPTIONS]",
	.summary = "list the machines of one host or of several",
	.details =
		"With several hosts (-c more than once, or a group) all are asked at the same "
		"time; one that does not answer is told on standard error and keeps no other from "
		"being listed. MEMORY is what the machine has now; STATE says why a machine is "
		"paused or off.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 3 some hosts did not answer, 4 no host of that name, 7 none answered",
	.max_args = 0,
	.json = true,
	.run = run,
};
