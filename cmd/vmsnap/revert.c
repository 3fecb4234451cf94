/* vmsnap revert: a snapshot's state becomes the present. */
#include <limits.h>
#include <stdio.h>

#include "cmd/vmsnap/vmsnap.h"

static struct {
	bool discard;
} o;

static const struct opt options[] = {
	{0, "discard-current", OPT_FLAG, &o.discard, .help = "do not keep the present state"},
	OPT_END};

static const char *const examples[] = {"vmsnap revert disk.qcow2 before-upgrade",
				       "vmsnap revert --discard-current disk.raw clean",
				       "vmsnap revert system.qcow2 data.qcow2 tuesday", NULL};

/* The disk, or an array of several */
static json_t *disks_json(char **argv, size_t n)
{
	json_t *list = n > 1 ? json_array() : cli_json_string(argv[0]);

	for (size_t i = 0; n > 1 && i < n; i++)
		json_array_append_new(list, cli_json_string(argv[i]));
	return list;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	size_t n = (size_t)argc - 1;
	char kept[SNAP_NAME_MAX + 1];
	struct snap_disk **disks;
	int rc;

	if (snap_set_open(&disks, argv, n, err) < 0)
		return -1;
	rc = snap_set_revert(disks, n, argv[n], o.discard, kept, err);
	snap_set_close(disks, n);
	if (rc < 0)
		return -1;
	if (cli->json)
		return cli_print_json(cli,
				      json_pack("{s:o, s:o, s:o}", "disk", disks_json(argv, n),
						"snapshot", cli_json_string(argv[n]), "kept",
						*kept ? cli_json_string(kept) : json_null()),
				      err);
	if (*kept && !cli->quiet)
		(void)fprintf(stderr, "vmsnap: the former state is snapshot %s\n", kept);
	return 0;
}

const struct verb verb_revert = {
	.name = "revert",
	.usage = "[OPTIONS] DISK... NAME",
	.summary = "go back to a snapshot, which stays",
	.details = "The present state is kept as a snapshot auto-TIME, so that a revert can be "
		   "undone, unless\n"
		   "--discard-current is given. Nobody may have the disk open. Several disks go "
		   "back all or "
		   "none.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 usage, 4 no such disk or snapshot, 6 the disk is in use, 8 corrupt, "
		    "13 no space",
	.min_args = 2,
	.max_args = UINT_MAX,
	.json = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
