/* vmsnap check: is all there that the snapshots of a disk need? */
#include <stdio.h>

#include "cmd/vmsnap/domain.h"
#include "cmd/vmsnap/vmsnap.h"
#include "libcommon/base/cleanup.h"

static const struct opt options[] = {OPT_END};

static const char *const examples[] = {"vmsnap check disk.qcow2", "vmsnap check --json disk.raw",
				       NULL};

static json_t *faults;

static void report(void *ctx, const char *sentence)
{
	const struct cli *cli = ctx;
	char *text;

	if (cli->json) {
		json_array_append_new(faults, cli_json_string(sentence));
	} else {
		text = cli_printable(sentence);
		printf("%s\n", text ? text : "out of memory");
		free(text);
	}
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	CLEANUP_FREE char *disk = NULL;
	unsigned n_faults, n;

	(void)argc;
	if (one_disk(argv[0], false, &disk, err) < 0)
		return -1;
	faults = cli->json ? json_array() : NULL;
	if (snap_check(disk, report, cli, &n_faults, &n, err) < 0) {
		json_decref(faults);
		return -1;
	}
	if (cli->json &&
	    cli_print_json(cli,
			   json_pack("{s:o, s:i, s:o}", "disk", cli_json_string(argv[0]),
				     "snapshots", (int)n, "faults", faults),
			   err) < 0)
		return -1;
	/* All has been said */
	return n_faults ? err_set(err, ERR_CORRUPT, "%s", "") : 0;
}

const struct verb verb_check = {
	.name = "check",
	.usage = "[OPTIONS] DISK|DOMAIN:TARGET",
	.summary = "look whether all is there that the snapshots need",
	.details =
		"Records, files, chains, the tables of each image (not while a machine writes to "
		"it), and whether a change\n"
		"was interrupted. Nothing is changed.",
	.options = options,
	.examples = examples,
	.statuses = "0 all is well, 4 not found, 6 another vmsnap is at work, 8 faults, one a line",
	.min_args = 1,
	.max_args = 1,
	.json = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
