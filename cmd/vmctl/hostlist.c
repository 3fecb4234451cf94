/* vmctl hosts: the hosts themselves. */
#include "cmd/vmctl/hostlist.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/size.h"
#include "libcommon/host/stats.h"

static struct {
	bool pacemaker;
	const char *folder;
} o = {.folder = "/etc/libvirt/qemu"};

static const struct opt options[] = {
	{.name = "pacemaker",
	 .type = OPT_FLAG,
	 .value = &o.pacemaker,
	 .help = "print their machines as resources of a Pacemaker cluster (CIB XML)"},
	{.name = "definitions",
	 .type = OPT_STRING,
	 .value = &o.folder,
	 .arg = "DIR",
	 .help = "with --pacemaker: where every node has the machines' XML (default: "
		 "/etc/libvirt/qemu)",
	 .complete = COMPLETE_DIR},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl hosts",
	"vmctl -c all hosts --json",
	"vmctl -c all hosts --pacemaker --definitions /shared/xml >resources.xml",
	NULL,
};

static int ask(struct host *h, void *ctx, json_t **ret, struct err *err)
{
	(void)ctx;
	return host_node(h, ret, err);
}

static json_t *host_json(const struct vmctl_answer *a)
{
	json_t *out = json_pack("{s:o, s:b, s:o}", "name", cli_json_string(a->name), "up",
				a->value != NULL, "error",
				a->value ? json_null() : cli_json_string(a->err.message));

	if (out && a->value)
		(void)json_object_update(out, a->value);
	return out;
}

static int print_json(struct cli *cli, const struct vmctl_answer *a, size_t n, struct err *err)
{
	json_t *all = json_array();

	for (size_t i = 0; all && i < n; i++)
		json_array_append_new(all, host_json(&a[i]));
	return cli_print_json(cli, all, err);
}

static void row(struct table *t, const struct vmctl_answer *a)
{
	char cpus[24] = "-", memory[SIZE_TEXT_MAX] = "-", available[SIZE_TEXT_MAX] = "-",
	     machines[48] = "-";
	const json_t *v = a->value, *left = json_object_get(v, "memory_free");

	if (v) {
		(void)snprintf(cpus, sizeof(cpus), "%" JSON_INTEGER_FORMAT,
			       json_integer_value(json_object_get(v, "cpus")));
		(void)size_format((uint64_t)json_integer_value(json_object_get(v, "memory")),
				  memory);
		(void)snprintf(machines, sizeof(machines),
			       "%" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT,
			       json_integer_value(json_object_get(v, "running")),
			       json_integer_value(json_object_get(v, "machines")));
	}
	if (json_is_integer(left))
		(void)size_format((uint64_t)json_integer_value(left), available);

	const char *name = json_string_value(json_object_get(v, "hostname"));
	const char *const cells[] = {*a->name ? a->name : "(default)",
				     v ? "up" : "down",
				     cpus,
				     memory,
				     available,
				     machines,
				     v ? (name ? name : "-") : a->err.message};

	table_row(t, cells);
}

static int print_table(const struct vmctl_answer *a, size_t n, struct err *err)
{
	static const char *const headers[] = {"HOST", "STATE",	 "CPUS", "MEMORY",
					      "FREE", "RUNNING", "NAME", NULL};
	struct table *t = table_new(headers, "llrrrrl");

	if (!t)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++)
		row(t, &a[i]);
	table_print(t, stdout);
	table_free(t);
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct vmctl_answer *answers;
	struct err why = ERR_INIT;
	size_t n;
	int rc;

	(void)argc;
	(void)argv;
	if (o.pacemaker && cli->json)
		return err_set(err, ERR_USAGE, "--pacemaker prints XML, not JSON");
	if (o.pacemaker)
		return hosts_pacemaker(o.folder, err);
	if (vmctl_ask_all(ask, NULL, &answers, &n, err) < 0)
		return -1;
	rc = vmctl_verdict(answers, n, err);
	if ((cli->json ? print_json(cli, answers, n, &why) : print_table(answers, n, &why)) < 0) {
		*err = why;
		rc = -1;
	}
	vmctl_answers_free(answers, n);
	return rc;
}

const struct verb verb_hosts = {
	.name = "hosts",
	.usage = "[OPTIONS]",
	.summary =
		"show the hosts that -c names: up or down, what they have, how many machines run",
	.details =
		"All are asked at the same time. One that does not answer is listed as down, with "
		"the reason, and the status says so. --pacemaker writes a VirtualDomain resource "
		"for each machine that has a definition, once for all hosts: a cluster with "
		"fencing "
		"starts it elsewhere when its node is gone, which vmctl watch must not do.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 3 some hosts are down, 4 no host of that name, 7 all are down",
	.max_args = 0,
	.json = true,
	.run = run,
};
