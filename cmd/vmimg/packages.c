/* vmimg info and check of OVF and OVA packages. */
#include "cmd/vmimg/packages.h"

#include <inttypes.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/size.h"
#include "libcommon/package/package.h"

static void line(const char *label, const char *value)
{
	CLEANUP_FREE char *text = value ? cli_printable(value) : NULL;

	if (text)
		(void)printf("%-14s %s\n", label, text);
}

static const char *string(const json_t *obj, const char *key)
{
	return json_string_value(json_object_get(obj, key));
}

static void number_line(const json_t *obj, const char *key, const char *label)
{
	const json_t *v = json_object_get(obj, key);

	if (v)
		(void)printf("%-14s %lld\n", label, (long long)json_integer_value(v));
}

/* "4 GiB", or "-" where the package does not say */
static const char *size_cell(const json_t *obj, const char *key, char *buf)
{
	const json_t *v = json_object_get(obj, key);

	return v ? size_format((uint64_t)json_integer_value(v), buf) : "-";
}

static void print_machine(const json_t *m)
{
	const json_t *nics = json_object_get(m, "networks"), *nic;
	char text[SIZE_TEXT_MAX];
	size_t i;

	line("machine", string(m, "name"));
	number_line(m, "cpus", "CPUs");
	if (json_object_get(m, "memory"))
		line("memory", size_cell(m, "memory", text));
	line("firmware", string(m, "firmware"));
	line("system", string(m, "os"));
	line("hardware", string(m, "hardware"));
	json_array_foreach(nics, i, nic)
	{
		const char *network = string(nic, "network"), *model = string(nic, "model");
		char both[512];

		(void)snprintf(both, sizeof(both), "%s%s%s%s", network ? network : "-",
			       model ? " (" : "", model ? model : "", model ? ")" : "");
		line("network", both);
	}
}

static void print_disks(const json_t *list)
{
	static const char *const heads[] = {"  ID", "FILE", "VIRTUAL", "STORED", "AS"};
	struct table *t;
	const json_t *d;
	size_t i;

	if (json_array_size(list) == 0)
		return;
	t = table_new(heads, "llrrl");
	json_array_foreach(list, i, d)
	{
		char virtual[SIZE_TEXT_MAX], stored[SIZE_TEXT_MAX], id[256], as[80] = "";
		const char *file = string(d, "file"), *gzip = string(d, "compression");

		(void)snprintf(id, sizeof(id), "  %s", string(d, "id") ? string(d, "id") : "?");
		if (json_object_get(d, "missing"))
			(void)snprintf(as, sizeof(as), "missing");
		else if (json_object_get(d, "chunks"))
			(void)snprintf(as, sizeof(as), "%lld chunks%s",
				       (long long)json_integer_value(json_object_get(d, "chunks")),
				       gzip ? ", gzip" : "");
		else if (gzip)
			(void)snprintf(as, sizeof(as), "gzip");

		const char *cells[] = {id, file ? file : "(empty)",
				       size_cell(d, "virtual_size", virtual),
				       size_cell(d, "file_size", stored), as};

		table_row(t, cells);
	}
	(void)printf("disks\n");
	table_print(t, stdout);
	table_free(t);
}

static void print_package(const json_t *obj)
{
	const json_t *machines = json_object_get(obj, "machines"), *m;
	char text[SIZE_TEXT_MAX];
	size_t i;

	line("package", string(obj, "name"));
	line("format", string(obj, "format"));
	line("on disk", size_cell(obj, "actual_size", text));
	line("manifest", string(obj, "manifest") ? string(obj, "manifest") : "none");
	line("certificate", string(obj, "certificate"));
	json_array_foreach(machines, i, m)
	{
		if (json_array_size(machines) > 1)
			(void)putchar('\n');
		print_machine(m);
	}
	print_disks(json_object_get(obj, "disks"));
}

int info_package(struct cli *cli, const char *path, unsigned flags, struct err *err)
{
	struct package *p;
	json_t *obj;
	int rc;

	if (package_open(&p, path, flags, err) < 0)
		return -1;
	rc = package_info(p, &obj, err);
	package_close(p);
	if (rc < 0)
		return -1;
	if (cli->json)
		return cli_print_json(cli, obj, err);
	print_package(obj);
	json_decref(obj);
	return 0;
}

/* Faults are printed as they are found, or kept for JSON. */
static void report(void *ctx, const char *sentence)
{
	json_t *list = ctx;
	CLEANUP_FREE char *text = list ? NULL : cli_printable(sentence);

	if (list)
		(void)json_array_append_new(list, cli_json_string(sentence));
	else
		(void)printf("%s\n", text ? text : "?");
}

static int print_result(struct cli *cli, const char *path, const struct package *p, uint64_t faults,
			json_t *list, struct err *err)
{
	if (cli->json)
		return cli_print_json(
			cli,
			json_pack("{s:o, s:s, s:b, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, "
				  "s:O}",
				  "name", cli_json_string(path), "format",
				  package_is_ova(p) ? "ova" : "ovf", "clean", faults == 0,
				  "corruptions", (json_int_t)faults, "corruptions_fixed", 0,
				  "leaks", 0, "leaks_fixed", 0, "image_end", 0, "total_clusters", 0,
				  "allocated_clusters", 0, "compressed_clusters", 0,
				  "fragmented_clusters", 0, "faults", list),
			err);
	if (!cli->quiet && faults)
		(void)printf("%" PRIu64 " fault%s found\n", faults, faults == 1 ? "" : "s");
	else if (!cli->quiet)
		(void)printf("no faults found\n");
	return 0;
}

int check_package(struct cli *cli, const char *path, unsigned flags, bool deep, struct err *err)
{
	json_t *list = cli->json ? json_array() : NULL;
	struct package *p;
	uint64_t faults = 0;
	int rc;

	if (cli->json && !list)
		return err_nomem(err);
	if (package_open(&p, path, flags, err) < 0) {
		json_decref(list);
		return -1;
	}
	rc = package_check(p, deep, report, list, &faults, err);
	if (rc == 0)
		rc = print_result(cli, path, p, faults, list, err);
	package_close(p);
	json_decref(list);
	if (rc == 0 && faults)
		return err_set(err, ERR_CORRUPT, "%s", ""); /* all is said: status 8 alone */
	return rc;
}
