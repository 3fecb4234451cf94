/* vmctl set: processors, memory and limits, now and at the next start. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmctl/set_limits.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/size.h"
#include "libcommon/host/xmldoc.h"

static struct {
	unsigned cpus, max_cpus;
	uint64_t memory, max_memory;
	struct set_limits limits;
	bool live, config;
} o;

static const struct opt options[] = {
	{.name = "cpus",
	 .type = OPT_UINT,
	 .value = &o.cpus,
	 .arg = "N",
	 .help = "virtual processors",
	 .min = 1,
	 .max = 4096},
	{.name = "max-cpus",
	 .type = OPT_UINT,
	 .value = &o.max_cpus,
	 .arg = "N",
	 .help = "how many it may get while it runs; at the next start",
	 .min = 1,
	 .max = 4096},
	{.name = "memory",
	 .type = OPT_SIZE,
	 .value = &o.memory,
	 .arg = "SIZE",
	 .help = "memory it has; while it runs its balloon must give it or take it"},
	{.name = "max-memory",
	 .type = OPT_SIZE,
	 .value = &o.max_memory,
	 .arg = "SIZE",
	 .help = "memory it may get; at the next start"},
	{.name = "cpu-limit",
	 .type = OPT_STRING,
	 .value = &o.limits.cpu_limit,
	 .arg = "PERCENT",
	 .help = "of one processor's time for the whole machine: 150; none"},
	{.name = "cpu-shares",
	 .type = OPT_UINT,
	 .value = &o.limits.cpu_shares,
	 .arg = "N",
	 .help = "its weight where processors are short; the usual one is 1024",
	 .min = 2,
	 .max = 262144},
	{.name = "memory-limit",
	 .type = OPT_STRING,
	 .value = &o.limits.memory_limit,
	 .arg = "SIZE",
	 .help = "of the host's memory for the whole machine, which is ended when it takes more: "
		 "above what the guest has; none"},
	{.name = "pin",
	 .type = OPT_LIST,
	 .value = &o.limits.pin,
	 .arg = "VCPU=CPUS",
	 .help = "virtual processor VCPU (or all, or emulator: what is no virtual processor) "
		 "runs on the host's CPUS: 2-3,7, or any; repeatable"},
	{.name = "disk-limit",
	 .type = OPT_LIST,
	 .value = &o.limits.disk,
	 .arg = "DISK:LIMITS",
	 .help = "a second: iops=500,bytes=50M, or read-iops, write-iops, read-bytes, "
		 "write-bytes; none; what of iops or bytes is not named has no limit then; "
		 "repeatable"},
	{.name = "net-limit",
	 .type = OPT_LIST,
	 .value = &o.limits.net,
	 .arg = "MAC=LIMITS",
	 .help = "bytes a second to and from the guest: in:10M,out:1M, or none; repeatable"},
	{.name = "live", .type = OPT_FLAG, .value = &o.live, .help = "the running machine only"},
	{.name = "config", .type = OPT_FLAG, .value = &o.config, .help = "the next start only"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl set --cpus 4 web",
	"vmctl set --memory 2G --config web",
	"vmctl set --max-memory 8G --memory 4G db",
	"vmctl set --cpu-limit 150 --pin all=2-3 --disk-limit vda:iops=500,bytes=50M web",
	NULL,
};

/* The greatest first: what it may get bounds what it has. */
static int apply(struct domain *d, unsigned where, struct err *err)
{
	unsigned config = where & DOMAIN_CONFIG;

	if ((o.max_cpus || o.max_memory) && !config)
		return err_set(err, ERR_USAGE,
			       "what it may get holds from the next start on: not --live");
	if ((o.max_cpus && domain_set_cpus(d, o.max_cpus, DOMAIN_CONFIG, true, err) < 0) ||
	    (o.max_memory && domain_set_memory(d, o.max_memory, DOMAIN_CONFIG, true, err) < 0))
		return -1;
	/* Live first: when the guest's hypervisor refuses, the definition stays as it is. */
	for (unsigned w = DOMAIN_LIVE; w <= DOMAIN_CONFIG; w <<= 1) {
		if (!(where & w))
			continue;
		if ((o.cpus && domain_set_cpus(d, o.cpus, w, false, err) < 0) ||
		    (o.memory && domain_set_memory(d, o.memory, w, false, err) < 0) ||
		    set_limits_apply(&o.limits, d, w, err) < 0)
			return err_prefix(err, w == DOMAIN_LIVE ? "now" : "at the next start");
	}
	return 0;
}

static json_int_t number_at(const struct xmldoc *x, const char *path)
{
	CLEANUP_FREE char *text = xmldoc_get(x, path);

	return text ? (json_int_t)strtoll(text, NULL, 10) : 0;
}

/* libvirt writes KiB, and no "current" when all processors are there. */
static int read_back(struct domain *d, bool inactive, json_t **ret, struct err *err)
{
	CLEANUP_FREE char *xml = NULL;
	struct xmldoc *x;
	json_int_t cpus;

	if (domain_xml(d, inactive ? DOMAIN_XML_CONFIG : 0, &xml, err) < 0 ||
	    xmldoc_parse(&x, xml, "domain", err) < 0)
		return -1;
	cpus = number_at(x, "/domain/vcpu/@current");
	*ret = json_pack("{s:I, s:I, s:I, s:I, s:o}", "cpus",
			 cpus ? cpus : number_at(x, "/domain/vcpu"), "max_cpus",
			 number_at(x, "/domain/vcpu"), "memory",
			 number_at(x, "/domain/currentMemory") * 1024, "max_memory",
			 number_at(x, "/domain/memory") * 1024, "limits", domain_limits_json(x));
	xmldoc_free(x);
	return *ret ? 0 : err_nomem(err);
}

static void print_one(const char *when, const json_t *v)
{
	char memory[SIZE_TEXT_MAX], most[SIZE_TEXT_MAX];

	if (!json_is_object(v))
		return;
	(void)printf(
		"%-12s %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT " processors, %s of %s\n",
		when, json_integer_value(json_object_get(v, "cpus")),
		json_integer_value(json_object_get(v, "max_cpus")),
		size_format((uint64_t)json_integer_value(json_object_get(v, "memory")), memory),
		size_format((uint64_t)json_integer_value(json_object_get(v, "max_memory")), most));
	set_limits_print(when, json_object_get(v, "limits"));
}

static int tell(struct cli *cli, struct domain *d, bool runs, struct err *err)
{
	json_t *live = NULL, *config = NULL, *out;

	if ((runs && read_back(d, false, &live, err) < 0) || read_back(d, true, &config, err) < 0) {
		json_decref(live);
		return -1;
	}
	if (cli->json) {
		out = json_pack("{s:o, s:s, s:o, s:o}", "name", cli_json_string(domain_name(d)),
				"uuid", domain_uuid(d), "live", live ? live : json_null(), "config",
				config);
		return cli_print_json(cli, out, err);
	}
	print_one("now", live);
	print_one("next start", config);
	json_decref(live);
	json_decref(config);
	return 0;
}

static int run_on(struct cli *cli, struct domain *d, struct err *err)
{
	enum domain_state state;
	unsigned where;

	if (vmctl_where(d, o.live, o.config, &where, err) < 0 ||
	    domain_state(d, &state, NULL, err) < 0 || apply(d, where, err) < 0)
		return -1;
	return tell(cli, d, state != DOMAIN_OFF && state != DOMAIN_CRASHED, err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct host *h;
	struct domain *d;
	int rc;

	(void)argc;
	if (set_limits_parse(&o.limits, err) < 0 || vmctl_find(argv[0], false, &h, &d, err) < 0) {
		set_limits_release(&o.limits);
		return -1;
	}
	rc = run_on(cli, d, err);
	if (rc < 0)
		err_object(err, argv[0]);
	domain_close(d);
	host_close(h);
	set_limits_release(&o.limits);
	return rc;
}

const struct verb verb_set = {
	.name = "set",
	.usage = "[OPTIONS] NAME",
	.summary = "change a machine's processors, memory and limits, and show what it has",
	.details = "A machine that runs is changed now and for its next start, one that is off for "
		   "its "
		   "next start. Then both are read back from the host and printed, also when "
		   "nothing was asked for: a guest may take its time to give memory back.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 1 refused by the host, 4 no such machine, 6 a job is under way, 7 no "
		    "connection, 9 the machine cannot",
	.min_args = 1,
	.max_args = 1,
	.json = true,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
