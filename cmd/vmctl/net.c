/* vmctl net: networks of a host. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmctl/resource.h"

static struct {
	const char *bridge, *nat, *isolated;
	bool autostart;
} o;

static const struct opt options[] = {
	{.name = "bridge",
	 .type = OPT_STRING,
	 .value = &o.bridge,
	 .arg = "NAME",
	 .help = "create, ensure: machines are on this bridge of the host"},
	{.name = "nat",
	 .type = OPT_STRING,
	 .value = &o.nat,
	 .arg = "ADDRESS/BITS",
	 .help = "create, ensure: machines are behind the host, which has this address there, and "
		 "get theirs by DHCP"},
	{.name = "isolated",
	 .type = OPT_STRING,
	 .value = &o.isolated,
	 .arg = "ADDRESS/BITS",
	 .help = "create, ensure: the same without a way out"},
	{.name = "autostart",
	 .type = OPT_FLAG,
	 .value = &o.autostart,
	 .help = "create, ensure: it starts with the host"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl net list",
	"vmctl net ensure lan --bridge br0 --autostart",
	"vmctl net create test --nat 192.168.77.1/24",
	NULL,
};

static char *dotted(uint32_t v, char buf[INET_ADDRSTRLEN])
{
	struct in_addr a = {.s_addr = htonl(v)};

	return (char *)(uintptr_t)inet_ntop(AF_INET, &a, buf, INET_ADDRSTRLEN);
}

/* "192.168.77.1/24": the host's address, and all others by DHCP */
static int write_ip(FILE *f, const char *text, struct err *err)
{
	char address[INET_ADDRSTRLEN], buf[4][INET_ADDRSTRLEN], *end = NULL;
	const char *slash = strchr(text, '/');
	unsigned long bits = slash ? strtoul(slash + 1, &end, 10) : 0;
	uint32_t host, mask, first, last;
	struct in_addr a;

	(void)snprintf(address, sizeof(address), "%.*s", slash ? (int)(slash - text) : 0, text);
	if (!slash || !end || *end || bits < 8 || bits > 29 || inet_pton(AF_INET, address, &a) != 1)
		return err_set(err, ERR_USAGE,
			       "'%s' is no ADDRESS/BITS with 8 to 29 bits, like 192.168.77.1/24",
			       text);
	host = ntohl(a.s_addr);
	mask = UINT32_MAX << (32 - bits);
	first = (host & mask) + 1;
	last = (host | ~mask) - 1;
	if (host < first || host > last)
		return err_set(err, ERR_USAGE, "%s is no address of a host in its network", text);
	/* The range is the larger part beside the host's own address. */
	if (host - first > last - host)
		last = host - 1;
	else
		first = host + 1;
	(void)fprintf(
		f, "<ip address='%s' netmask='%s'><dhcp><range start='%s' end='%s'/></dhcp></ip>",
		dotted(host, buf[0]), dotted(mask, buf[1]), dotted(first, buf[2]),
		dotted(last, buf[3]));
	return 0;
}

static int define(const char *name, char **ret, struct err *err)
{
	size_t len;
	FILE *f;
	bool ok;
	int rc = 0;

	if (!!o.bridge + !!o.nat + !!o.isolated != 1)
		return err_set(err, ERR_USAGE, "one of --bridge, --nat and --isolated is needed");
	f = open_memstream(ret, &len);
	if (!f)
		return err_nomem(err);
	ok = xml_piece(f, "<network><name>", name, "</name>");
	ok = xml_piece(f, "<forward mode='bridge'/><bridge name='", o.bridge, "'/>") && ok;
	if (o.nat)
		(void)fputs("<forward mode='nat'/>", f);
	if (!o.bridge)
		rc = write_ip(f, o.nat ? o.nat : o.isolated, err);
	(void)fputs("</network>", f);
	if (fclose(f) != 0 || !ok)
		rc = err_nomem(err);
	if (rc < 0) {
		free(*ret);
		*ret = NULL;
	}
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	static const char *const headers[] = {"NAME",	"ACTIVE",  "AUTOSTART", "FORWARD",
					      "BRIDGE", "ADDRESS", NULL},
				 *const keys[] = {"name",   "active",  "autostart", "forward",
						  "bridge", "address", NULL};
	const struct resource_verb v = {.kind = RESOURCE_NETWORK,
					.headers = headers,
					.keys = keys,
					.alignment = "llllll",
					.autostart = o.autostart,
					.define = define};

	return resource_run(&v, cli, argc, argv, err);
}

const struct verb verb_net = {
	.name = "net",
	.usage = "[OPTIONS] ACTION [NAME...]",
	.summary = "networks of a host: list, create, start, stop, delete",
	.details =
		"Actions: list, info, create, ensure, start, stop, autostart, no-autostart, "
		"delete. "
		"create defines a network and starts it; ensure does the same, and only starts one "
		"that is there already. start and stop of one that runs, or does not, are fine. "
		"delete stops it first; machines that are connected lose it. info prints the XML.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 3 some of several failed, 4 no such network, 5 create: it is there, 7 "
		    "no connection, 9 builtin has none",
	.min_args = 1,
	.max_args = UINT_MAX,
	.json = true,
	.run = run,
};
