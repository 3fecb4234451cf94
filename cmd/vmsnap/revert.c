/* vmsnap revert: a snapshot's state becomes the present. */
#include <stdio.h>

#include "cmd/vmsnap/vmsnap.h"

static struct {
	bool discard;
} o;

static const struct opt options[] = {
	{0, "discard-current", OPT_FLAG, &o.discard, .help = "do not keep the present state"},
	OPT_END};

static const char *const examples[] = {"vmsnap revert disk.qcow2 before-upgrade",
				       "vmsnap revert --discard-current disk.raw clean", NULL};

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	char kept[SNAP_NAME_MAX + 1];
	struct snap_disk *d;
	int rc;

	(void)argc;
	if (snap_open(&d, argv[0], true, err) < 0)
		return -1;
	rc = snap_revert(d, argv[1], o.discard, kept, err);
	snap_close(d);
	if (rc < 0)
		return -1;
	if (cli->json)
		return cli_print_json(cli,
				      json_pack("{s:o, s:o, s:o}", "disk", cli_json_string(argv[0]),
						"snapshot", cli_json_string(argv[1]), "kept",
						*kept ? cli_json_string(kept) : json_null()),
				      err);
	if (*kept && !cli->quiet)
		(void)fprintf(stderr, "vmsnap: the former state is snapshot %s\n", kept);
	return 0;
}

const struct verb verb_revert = {
	.name = "revert",
	.usage = "[OPTIONS] DISK NAME",
	.summary = "go back to a snapshot, which stays",
	.details = "The present state is kept as a snapshot auto-TIME, so that a revert can be "
		   "undone, unless\n"
		   "--discard-current is given. Nobody may have the disk open.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 usage, 4 no such disk or snapshot, 6 the disk is in use, 8 corrupt, "
		    "13 no space",
	.min_args = 2,
	.max_args = 2,
	.json = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
