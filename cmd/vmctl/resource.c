/* Networks and pools: their actions are the same. See resource.h. */
#include "cmd/vmctl/resource.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"
#include "libcommon/base/size.h"
#include "libcommon/host/xmldoc.h"

enum { COLUMNS = 8 };

bool xml_piece(FILE *f, const char *before, const char *text, const char *after)
{
	CLEANUP_FREE char *safe = text ? xml_escape(text) : NULL;

	if (safe)
		(void)fprintf(f, "%s%s%s", before, safe, after);
	return safe || !text;
}

static const char *cell(const json_t *o, const char *key, char buf[SIZE_TEXT_MAX])
{
	const json_t *v = json_object_get(o, key);

	if (json_is_boolean(v))
		return json_is_true(v) ? "yes" : "no";
	if (json_is_integer(v))
		return size_format((uint64_t)json_integer_value(v), buf);
	return json_is_string(v) ? json_string_value(v) : "-";
}

static int print_table(const json_t *list, const char *const *headers, const char *const *keys,
		       const char *alignment, struct err *err)
{
	struct table *t = table_new(headers, alignment);
	const json_t *o;
	size_t i;

	if (!t)
		return err_nomem(err);
	json_array_foreach(list, i, o)
	{
		char buf[COLUMNS][SIZE_TEXT_MAX];
		const char *cells[COLUMNS + 1] = {NULL};

		for (size_t k = 0; k < COLUMNS && keys[k]; k++)
			cells[k] = cell(o, keys[k], buf[k]);
		table_row(t, cells);
	}
	if (json_array_size(list))
		table_print(t, stdout);
	table_free(t);
	return 0;
}

static int list(const struct resource_verb *v, struct cli *cli, struct host *h, struct err *err)
{
	json_t *all;
	int rc;

	if (host_resources(h, v->kind, &all, err) < 0)
		return -1;
	if (cli->json)
		return cli_print_json(cli, all, err);
	rc = print_table(all, v->headers, v->keys, v->alignment, err);
	json_decref(all);
	return rc;
}

static int volumes(struct cli *cli, struct host *h, const char *pool, struct err *err)
{
	static const char *const headers[] = {"NAME", "FORMAT", "SIZE", "ALLOCATED", "PATH", NULL},
				 *const keys[] = {"name",	"format", "capacity",
						  "allocation", "path",	  NULL};
	json_t *all;
	int rc;

	if (host_volumes(h, pool, &all, err) < 0)
		return -1;
	if (cli->json)
		return cli_print_json(cli, all, err);
	rc = print_table(all, headers, keys, "llrrl", err);
	json_decref(all);
	return rc;
}

static bool is_there(struct host *h, enum resource_kind kind, const char *name)
{
	CLEANUP_FREE char *xml = NULL;

	return host_resource_xml(h, kind, name, &xml, NULL) == 0;
}

/* What was defined goes when it does not start, or what was asked for is not all there. */
static int make(const struct resource_verb *v, struct host *h, const char *name, bool ensure,
		struct err *err)
{
	CLEANUP_FREE char *xml = NULL;
	bool there = is_there(h, v->kind, name);
	int rc = 0;

	if (there && !ensure) {
		err_set(err, ERR_EXISTS, "it is there already");
		return err_object(err, name);
	}
	if (!there &&
	    (v->define(name, &xml, err) < 0 || host_resource_define(h, v->kind, xml, err) < 0))
		return -1;
	if (!there && v->kind == RESOURCE_POOL) /* a folder that is there is fine */
		(void)host_resource_act(h, v->kind, name, RESOURCE_BUILD, NULL);
	rc = host_resource_act(h, v->kind, name, RESOURCE_START, err);
	if (rc == 0 && v->autostart)
		rc = host_resource_act(h, v->kind, name, RESOURCE_AUTOSTART_ON, err);
	if (rc < 0 && !there) {
		(void)host_resource_act(h, v->kind, name, RESOURCE_STOP, NULL);
		(void)host_resource_act(h, v->kind, name, RESOURCE_DELETE, NULL);
	}
	return rc;
}

static int info(const struct resource_verb *v, struct host *h, const char *name, struct err *err)
{
	CLEANUP_FREE char *xml = NULL;

	if (host_resource_xml(h, v->kind, name, &xml, err) < 0)
		return -1;
	(void)fputs(xml, stdout);
	return 0;
}

static int delete (const struct resource_verb *v, struct host *h, const char *name, struct err *err)
{
	return host_resource_act(h, v->kind, name, RESOURCE_STOP, err) < 0
		       ? -1
		       : host_resource_act(h, v->kind, name, RESOURCE_DELETE, err);
}

/* Return: 1: @what is no action of one name */
static int one(const struct resource_verb *v, struct cli *cli, struct host *h, const char *what,
	       const char *name, struct err *err)
{
	static const struct {
		const char *name;
		enum resource_action action;
	} actions[] = {{"start", RESOURCE_START},
		       {"stop", RESOURCE_STOP},
		       {"autostart", RESOURCE_AUTOSTART_ON},
		       {"no-autostart", RESOURCE_AUTOSTART_OFF}};

	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
		if (strcmp(what, actions[i].name) == 0)
			return host_resource_act(h, v->kind, name, actions[i].action, err);
	if (strcmp(what, "create") == 0 || strcmp(what, "ensure") == 0)
		return make(v, h, name, *what == 'e', err);
	if (strcmp(what, "info") == 0)
		return info(v, h, name, err);
	if (strcmp(what, "delete") == 0)
		return delete (v, h, name, err);
	if (v->kind == RESOURCE_POOL && strcmp(what, "refresh") == 0)
		return host_resource_act(h, v->kind, name, RESOURCE_REFRESH, err);
	if (v->kind == RESOURCE_POOL && strcmp(what, "volumes") == 0)
		return volumes(cli, h, name, err);
	return 1;
}

static int each(const struct resource_verb *v, struct cli *cli, struct host *h, int argc,
		char **argv, struct err *err)
{
	size_t failed = 0;

	for (int i = 1; i < argc; i++) {
		struct err why = ERR_INIT;
		int rc = one(v, cli, h, argv[0], argv[i], &why);

		if (rc > 0)
			return err_set(err, ERR_USAGE, "there is no action '%s'", argv[0]);
		if (rc == 0)
			continue;
		if (argc == 2) {
			*err = why;
			return -1;
		}
		failed++;
		log_warning("%s: %s", argv[i], why.message);
	}
	return failed ? err_set(err, ERR_DIFFERS, "%zu of %d failed", failed, argc - 1) : 0;
}

int resource_run(const struct resource_verb *v, struct cli *cli, int argc, char **argv,
		 struct err *err)
{
	bool lists = strcmp(argv[0], "list") == 0,
	     reads = lists || strcmp(argv[0], "info") == 0 || strcmp(argv[0], "volumes") == 0;
	struct host *h;
	int rc;

	if (lists ? argc != 1 : argc < 2)
		return err_set(err, ERR_USAGE, lists ? "list takes no name" : "no name is given");
	if (cli->json && !lists && strcmp(argv[0], "volumes") != 0)
		return err_set(err, ERR_USAGE, "--json is for list%s",
			       v->kind == RESOURCE_POOL ? " and volumes" : "");
	if (cli->json && argc > 2)
		return err_set(err, ERR_USAGE, "with --json one pool at a time");
	if (vmctl_connect(&h, reads, err) < 0)
		return -1;
	rc = lists ? list(v, cli, h, err) : each(v, cli, h, argc, argv, err);
	host_close(h);
	return rc;
}
