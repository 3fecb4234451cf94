/* vmsnap list: the snapshots of a disk. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmsnap/domain.h"
#include "cmd/vmsnap/vmsnap.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/size.h"

static struct {
	bool tree;
} o;

static const struct opt options[] = {
	{0, "tree", OPT_FLAG, &o.tree,
	 .help = "each below the one that the disk was then made from"},
	OPT_END};

static const char *const examples[] = {"vmsnap list disk.qcow2", "vmsnap list --tree disk.raw",
				       "vmsnap list --json disk.raw", NULL};

static void row(struct table *t, const struct snap_entry *e, unsigned depth)
{
	char name[2 * 20 + SNAP_NAME_MAX + 1024], when[32], size[SIZE_TEXT_MAX], own[SIZE_TEXT_MAX];
	char files[16];
	unsigned indent = depth < 20 ? depth : 20;

	(void)snprintf(files, sizeof(files), "%u", e->depth);
	(void)snprintf(name, sizeof(name), "%*s%s", (int)(2 * indent), "", e->name);

	const char *const cells[] = {name,
				     snap_engine_name(e->engine),
				     local_time(e->created, when),
				     size_format(e->virtual_size, size),
				     e->file ? size_format(own_bytes(e), own) : "-",
				     e->engine == SNAP_EXTERNAL ? files : "-",
				     e->automatic && e->current ? "automatic, current"
				     : e->automatic		? "automatic"
				     : e->current		? "current"
								: ""};

	table_row(t, cells);
}

static bool is_root(const struct snap_entry *list, size_t n, const struct snap_entry *e)
{
	for (size_t i = 0; i < n; i++)
		if (&list[i] != e && strcmp(list[i].name, e->parent) == 0)
			return false;
	return true;
}

/* @shown guards against loops that damaged records could make */
static void branch(struct table *t, const struct snap_entry *list, size_t n, const char *parent,
		   bool *shown, unsigned depth)
{
	for (size_t i = 0; i < n; i++) {
		bool here =
			parent ? strcmp(list[i].parent, parent) == 0 : is_root(list, n, &list[i]);

		if (!here || shown[i])
			continue;
		shown[i] = true;
		row(t, &list[i], depth);
		branch(t, list, n, list[i].name, shown, depth + 1);
	}
}

static int print_table(const struct snap_entry *list, size_t n, struct err *err)
{
	static const char *const headers[] = {"NAME", "ENGINE", "CREATED", "SIZE",
					      "FILE", "DEPTH",	"",	   NULL};
	struct table *t = table_new(headers, "lllrrrl");
	bool *shown = calloc(n + 1, sizeof(*shown));

	if (t && shown && o.tree)
		branch(t, list, n, NULL, shown, 0);
	for (size_t i = 0; t && shown && i < n; i++) /* what is left are loops */
		if (!shown[i])
			row(t, &list[i], 0);
	if (t && shown && n)
		table_print(t, stdout);
	table_free(t);
	free(shown);
	return t && shown ? 0 : err_nomem(err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	CLEANUP_FREE char *disk = NULL;
	struct snap_entry *list;
	struct snap_disk *d;
	size_t n;
	int rc;

	(void)argc;
	if (one_disk(argv[0], false, &disk, err) < 0 || snap_open(&d, disk, false, err) < 0)
		return -1;
	rc = snap_list(d, &list, &n, err);
	snap_close(d);
	if (rc < 0)
		return -1;
	if (cli->json) {
		json_t *out = json_array();

		for (size_t i = 0; out && i < n; i++)
			json_array_append_new(out, entry_json(&list[i], disk));
		rc = cli_print_json(cli, out, err);
	} else {
		rc = print_table(list, n, err);
	}
	snap_list_free(list, n);
	return rc;
}

const struct verb verb_list = {
	.name = "list",
	.usage = "[OPTIONS] DISK|DOMAIN:TARGET",
	.summary = "list the snapshots of a disk, oldest first",
	.details = "FILE is the storage of a snapshot that is a file of its own; blocks that it "
		   "shares with the disk\n"
		   "count too. DEPTH: how many of the snapshots' files an external one leans on; "
		   "current: "
		   "the disk leans on it.\n"
		   "Times are local; --json has them in UTC. A running machine does not "
		   "hinder the list.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 1 an interrupted change waits for recover, 4 not found, 6 another "
		    "vmsnap is at work, 8 corrupt",
	.min_args = 1,
	.max_args = 1,
	.json = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
