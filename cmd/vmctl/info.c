/* vmctl info: one machine, its disks and its network cards. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmctl/vmctl.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/size.h"
#include "libcommon/host/xmldoc.h"

static struct {
	bool xml, config;
} o;

static const struct opt options[] = {
	{.name = "xml",
	 .type = OPT_FLAG,
	 .value = &o.xml,
	 .help = "its definition as libvirt has it"},
	{.name = "config",
	 .type = OPT_FLAG,
	 .value = &o.config,
	 .help = "as it will be at the next start, not as it is now"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl info web",
	"vmctl info --json web db",
	"vmctl info --xml --config web",
	NULL,
};

static json_t *text_or_null(char *text)
{
	json_t *v = text ? cli_json_string(text) : json_null();

	free(text);
	return v;
}

static bool is_there(char *text)
{
	bool is = text != NULL;

	free(text);
	return is;
}

static json_t *disks_json(const struct xmldoc *x)
{
	static const char path[] = "/domain/devices/disk";
	size_t n = xmldoc_count(x, path);
	json_t *list = json_array();

	for (size_t i = 0; list && i < n; i++) {
		char *source = xmldoc_get_nth(
			x, path, i,
			"source/@file | source/@dev | source/@name | source/@volume | source/@dir");

		json_array_append_new(
			list,
			json_pack("{s:o, s:o, s:o, s:o, s:o, s:b}", "target",
				  text_or_null(xmldoc_get_nth(x, path, i, "target/@dev")), "bus",
				  text_or_null(xmldoc_get_nth(x, path, i, "target/@bus")), "device",
				  text_or_null(xmldoc_get_nth(x, path, i, "@device")), "format",
				  text_or_null(xmldoc_get_nth(x, path, i, "driver/@type")),
				  "source", text_or_null(source), "read_only",
				  (int)is_there(xmldoc_get_nth(x, path, i, "readonly"))));
	}
	return list;
}

static json_t *nics_json(const struct xmldoc *x)
{
	static const char path[] = "/domain/devices/interface";
	size_t n = xmldoc_count(x, path);
	json_t *list = json_array();

	for (size_t i = 0; list && i < n; i++)
		json_array_append_new(
			list, json_pack("{s:o, s:o, s:o, s:o}", "type",
					text_or_null(xmldoc_get_nth(x, path, i, "@type")), "mac",
					text_or_null(xmldoc_get_nth(x, path, i, "mac/@address")),
					"source",
					text_or_null(xmldoc_get_nth(
						x, path, i,
						"source/@network | source/@bridge | source/@dev")),
					"model",
					text_or_null(xmldoc_get_nth(x, path, i, "model/@type"))));
	return list;
}

static int collect(struct domain *d, const char *xml, json_t **ret, struct err *err)
{
	struct domain_info info;
	struct xmldoc *x;

	if (xmldoc_parse(&x, xml, "domain", err) < 0)
		return -1;
	if (domain_info(d, &info, err) < 0) {
		xmldoc_free(x);
		return -1;
	}

	json_t *out = vmctl_info_json(host_uri(domain_host(d)), &info);

	if (out) {
		json_object_set_new(out, "type", text_or_null(xmldoc_get(x, "/domain/@type")));
		json_object_set_new(out, "machine",
				    text_or_null(xmldoc_get(x, "/domain/os/type/@machine")));
		json_object_set_new(out, "disks", disks_json(x));
		json_object_set_new(out, "interfaces", nics_json(x));
	}
	domain_info_release(&info);
	xmldoc_free(x);
	*ret = out;
	return out ? 0 : err_nomem(err);
}

static const char *or_dash(const json_t *from, const char *key)
{
	const char *s = json_string_value(json_object_get(from, key));

	return s && *s ? s : "-";
}

static void print_line(const char *what, const char *text)
{
	char *safe = cli_printable(text);

	(void)printf("%-12s %s\n", what, safe ? safe : "?");
	free(safe);
}

static void print_autostart(const json_t *m)
{
	const json_t *order = json_object_get(m, "autostart_order");
	char text[48];

	(void)snprintf(text, sizeof(text), "yes, order %lld", (long long)json_integer_value(order));
	print_line("autostart", json_is_integer(order)				? text
				: json_is_true(json_object_get(m, "autostart")) ? "yes"
										: "no");
}

static void print_text(const json_t *m)
{
	char buf[256], size[SIZE_TEXT_MAX], most[SIZE_TEXT_MAX];
	const char *reason = json_string_value(json_object_get(m, "reason"));
	const json_t *e;
	size_t i;

	print_line("name", or_dash(m, "name"));
	print_line("uuid", or_dash(m, "uuid"));
	(void)snprintf(buf, sizeof(buf), "%s%s%s%s", or_dash(m, "state"),
		       reason && *reason ? " (" : "", reason ? reason : "",
		       reason && *reason ? ")" : "");
	print_line("state", buf);
	(void)snprintf(buf, sizeof(buf), "%lld",
		       (long long)json_integer_value(json_object_get(m, "cpus")));
	print_line("cpus", buf);
	(void)snprintf(
		buf, sizeof(buf), "%s of %s",
		size_format((uint64_t)json_integer_value(json_object_get(m, "memory")), size),
		size_format((uint64_t)json_integer_value(json_object_get(m, "memory_max")), most));
	print_line("memory", buf);
	print_autostart(m);
	if (json_is_true(json_object_get(m, "saved")))
		print_line("saved", "yes: start goes on from there");
	json_array_foreach(json_object_get(m, "disks"), i, e)
	{
		(void)snprintf(buf, sizeof(buf), "%s %s %s", or_dash(e, "target"),
			       or_dash(e, "format"), or_dash(e, "source"));
		print_line("disk", buf);
	}
	json_array_foreach(json_object_get(m, "interfaces"), i, e)
	{
		(void)snprintf(buf, sizeof(buf), "%s %s %s", or_dash(e, "mac"), or_dash(e, "type"),
			       or_dash(e, "source"));
		print_line("interface", buf);
	}
}

static int one(struct domain *d, void *ctx, struct err *err)
{
	json_t *list = ctx, *m;
	CLEANUP_FREE char *xml = NULL;

	if (domain_xml(d, o.config ? DOMAIN_XML_CONFIG : 0, &xml, err) < 0)
		return -1;
	if (o.xml) {
		(void)fputs(xml, stdout);
		return 0;
	}
	if (collect(d, xml, &m, err) < 0)
		return -1;
	return json_array_append_new(list, m) < 0 ? err_nomem(err) : 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	json_t *list = json_array();
	struct err why = ERR_INIT;
	const json_t *m;
	size_t i;
	int rc;

	if (!list)
		return err_nomem(err);
	if (o.xml && cli->json) {
		json_decref(list);
		return err_set(err, ERR_USAGE, "--xml and --json do not go together");
	}
	rc = vmctl_each(argc, argv, false, true, one, list, err);
	if (cli->json && (rc == 0 || json_array_size(list))) {
		if (cli_print_json(cli, list, &why) < 0) {
			*err = why;
			rc = -1;
		}
		return rc;
	}
	json_array_foreach(list, i, m)
	{
		if (i)
			(void)putchar('\n');
		print_text(m);
	}
	json_decref(list);
	return rc;
}

const struct verb verb_info = {
	.name = "info",
	.usage = "[OPTIONS] NAME...",
	.summary = "show machines with their disks and network cards",
	.details = "A machine is named by its name or its UUID.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 3 some of several failed, 4 no such machine, 7 no connection",
	.min_args = 1,
	.max_args = UINT_MAX,
	.json = true,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
