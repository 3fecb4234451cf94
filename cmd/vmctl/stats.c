/* vmctl stats: what machines use, of one host or of many. */
#include "cmd/vmctl/stats.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/outfile.h"
#include "libcommon/base/size.h"
#include "libcommon/host/stats.h"

static struct {
	bool prometheus;
	const char *metrics;
} o;

static const struct opt options[] = {
	{.name = "prometheus",
	 .type = OPT_FLAG,
	 .value = &o.prometheus,
	 .help = "in the text format of Prometheus"},
	{.name = "metrics",
	 .type = OPT_STRING,
	 .value = &o.metrics,
	 .arg = "FILE.prom",
	 .help = "the same into a file, which is replaced as a whole: for node_exporter's textfile "
		 "collector",
	 .complete = COMPLETE_FILE},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl stats",
	"vmctl -c all --host-timeout 5s stats --metrics /var/lib/node_exporter/vm.prom",
	"vmctl stats --json | jq '.[] | {name, cpu_seconds}'",
	NULL,
};

static int ask(struct host *h, void *ctx, json_t **ret, struct err *err)
{
	(void)ctx;
	return host_stats(h, ret, err);
}

/* Return: @ret: the sum of all devices, "-" when not one of them has a figure */
static const char *sum(const json_t *machine, const char *list, const char *key,
		       char ret[SIZE_TEXT_MAX])
{
	const json_t *a = json_object_get(machine, list);
	uint64_t total = 0;
	bool known = false;

	for (size_t i = 0; i < json_array_size(a); i++) {
		const json_t *v = json_object_get(json_array_get(a, i), key);

		known = known || json_is_integer(v);
		total += (uint64_t)json_integer_value(v);
	}
	return known ? size_format(total, ret) : "-";
}

static void row(struct table *t, const json_t *m, const char *host, bool many)
{
	char memory[SIZE_TEXT_MAX] = "-", rd[SIZE_TEXT_MAX], wr[SIZE_TEXT_MAX], rx[SIZE_TEXT_MAX],
	     tx[SIZE_TEXT_MAX], cpu[32] = "-";
	const json_t *seconds = json_object_get(m, "cpu_seconds"),
		     *bytes = json_object_get(m, "memory");

	if (json_is_number(seconds))
		(void)snprintf(cpu, sizeof(cpu), "%.1f s", json_number_value(seconds));
	if (json_is_integer(bytes))
		(void)size_format((uint64_t)json_integer_value(bytes), memory);

	const char *const cells[] = {
		json_string_value(json_object_get(m, "name")),
		json_is_true(json_object_get(m, "stale"))
			? "busy"
			: json_string_value(json_object_get(m, "state")),
		cpu,
		memory,
		sum(m, "disks", "read_bytes", rd),
		sum(m, "disks", "write_bytes", wr),
		sum(m, "interfaces", "rx_bytes", rx),
		sum(m, "interfaces", "tx_bytes", tx),
		many ? host : NULL,
	};

	table_row(t, cells);
}

static int print_table(const struct vmctl_answer *a, size_t n, struct err *err)
{
	static const char *const one[] = {"NAME",    "STATE",	 "CPU",	 "MEMORY", "READ",
					  "WRITTEN", "RECEIVED", "SENT", NULL};
	static const char *const several[] = {"NAME",	 "STATE",    "CPU",  "MEMORY", "READ",
					      "WRITTEN", "RECEIVED", "SENT", "HOST",   NULL};
	struct table *t = table_new(n > 1 ? several : one, n > 1 ? "llrrrrrrl" : "llrrrrrr");
	size_t rows = 0;

	if (!t)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < json_array_size(a[i].value); k++, rows++)
			row(t, json_array_get(a[i].value, k), a[i].name, n > 1);
	if (rows)
		table_print(t, stdout);
	table_free(t);
	return 0;
}

static int write_metrics(const struct vmctl_answer *a, size_t n, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return err_nomem(err);
	stats_prometheus(f, a, n);
	if (fclose(f) != 0)
		return err_nomem(err);
	return outfile_write(o.metrics, text, len, OUTFILE_FORCE, err) < 0
		       ? err_object(err, o.metrics)
		       : 0;
}

static int print_json(struct cli *cli, const struct vmctl_answer *a, size_t n, struct err *err)
{
	json_t *all = json_array();

	for (size_t i = 0; all && i < n; i++)
		if (a[i].value)
			(void)json_array_extend(all, a[i].value);
	return cli_print_json(cli, all, err);
}

static int print(struct cli *cli, const struct vmctl_answer *a, size_t n, struct err *err)
{
	if (o.metrics)
		return write_metrics(a, n, err);
	if (o.prometheus) {
		stats_prometheus(stdout, a, n);
		return 0;
	}
	return cli->json ? print_json(cli, a, n, err) : print_table(a, n, err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct err why = ERR_INIT;
	struct vmctl_answer *answers;
	size_t n;
	int rc;

	(void)argc;
	(void)argv;
	if (o.prometheus + (o.metrics != NULL) + cli->json > 1)
		return err_set(err, ERR_USAGE, "one form at a time");
	if (vmctl_ask_all(ask, NULL, &answers, &n, err) < 0)
		return -1;
	rc = vmctl_verdict(answers, n, err);
	/* For a collector a host that is down is a result. */
	if ((rc == 0 || err->code == ERR_DIFFERS || o.prometheus || o.metrics) &&
	    print(cli, answers, n, &why) < 0) {
		*err = why;
		rc = -1;
	}
	vmctl_answers_free(answers, n);
	return rc;
}

const struct verb verb_stats = {
	.name = "stats",
	.usage = "[OPTIONS]",
	.summary = "show what the machines of one host or of several use",
	.details =
		"All hosts are asked at the same time, and none for longer than --host-timeout to "
		"connect. A machine that is busy (a job holds it) is not waited for: it is "
		"\"stale\", and what could not be asked is null. Counters begin when the machine "
		"starts.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 3 some hosts did not answer, 4 no host of that name, 7 none answered",
	.max_args = 0,
	.json = true,
	.run = run,
};
