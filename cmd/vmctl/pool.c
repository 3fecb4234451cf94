/* vmctl pool: storage pools of a host. */
#include <limits.h>
#include <stdlib.h>

#include "cmd/vmctl/resource.h"

static struct {
	const char *dir;
	bool autostart;
} o;

static const struct opt options[] = {
	{.name = "dir",
	 .type = OPT_STRING,
	 .value = &o.dir,
	 .arg = "DIR",
	 .help = "create, ensure: the folder on the host, made when it is not there",
	 .complete = COMPLETE_DIR},
	{.name = "autostart",
	 .type = OPT_FLAG,
	 .value = &o.autostart,
	 .help = "create, ensure: it starts with the host"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl pool list",
	"vmctl pool ensure images --dir /srv/images --autostart",
	"vmctl pool volumes images --json",
	NULL,
};

static int define(const char *name, char **ret, struct err *err)
{
	size_t len;
	FILE *f;
	bool ok;

	if (!o.dir || o.dir[0] != '/')
		return err_set(err, ERR_USAGE, "--dir with a whole path is needed");
	f = open_memstream(ret, &len);
	if (!f)
		return err_nomem(err);
	ok = xml_piece(f, "<pool type='dir'><name>", name, "</name>");
	ok = xml_piece(f, "<target><path>", o.dir, "</path></target></pool>") && ok;
	if (fclose(f) == 0 && ok)
		return 0;
	free(*ret);
	*ret = NULL;
	return err_nomem(err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	static const char *const headers[] = {"NAME", "ACTIVE",	   "AUTOSTART", "TYPE",
					      "SIZE", "AVAILABLE", "PATH",	NULL},
				 *const keys[] = {"name",     "active",	   "autostart", "type",
						  "capacity", "available", "path",	NULL};
	const struct resource_verb v = {.kind = RESOURCE_POOL,
					.headers = headers,
					.keys = keys,
					.alignment = "llllrrl",
					.autostart = o.autostart,
					.define = define};

	return resource_run(&v, cli, argc, argv, err);
}

const struct verb verb_pool = {
	.name = "pool",
	.usage = "[OPTIONS] ACTION [NAME...]",
	.summary = "storage pools of a host: list, create, look into, delete",
	.details = "Actions: list, info, volumes, create, ensure, start, stop, refresh, autostart, "
		   "no-autostart, delete. create defines a pool on a folder and starts it; ensure "
		   "does the same, and only "
		   "starts one that is there already. delete forgets the pool: files in it stay. "
		   "volumes lists what lies in it; info prints the XML.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 3 some of several failed, 4 no such pool, 5 create: it is there, 7 no "
		    "connection, 9 builtin has none",
	.min_args = 1,
	.max_args = UINT_MAX,
	.json = true,
	.run = run,
};
