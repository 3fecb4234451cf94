/* vmsnap delete: snapshots that are not needed any more. */
#include <limits.h>
#include <stdio.h>

#include "cmd/vmsnap/vmsnap.h"

static struct {
	bool dry_run;
} o;

static const struct opt options[] = {
	{0, "dry-run", OPT_FLAG, &o.dry_run, .help = "say what would be deleted, delete nothing"},
	OPT_END};

static const char *const examples[] = {"vmsnap delete disk.qcow2 before-upgrade",
				       "vmsnap delete --dry-run disk.raw monday tuesday", NULL};

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct snap_entry *e = NULL;
	struct snap_disk *d;
	int rc = 0;

	if (snap_open(&d, argv[0], true, err) < 0)
		return -1;
	/* All or none for what can be known before */
	for (int i = 1; rc == 0 && i < argc; i++) {
		rc = snap_find(d, argv[i], &e, err);
		if (rc == 0)
			snap_list_free(e, 1);
	}
	for (int i = 1; rc == 0 && i < argc; i++) {
		if (o.dry_run)
			printf("would delete %s\n", argv[i]);
		else
			rc = snap_delete(d, argv[i], &cli->progress, err);
	}
	snap_close(d);
	return rc;
}

const struct verb verb_delete = {
	.name = "delete",
	.usage = "[OPTIONS] DISK NAME...",
	.summary = "delete snapshots; the disk and the others stay as they are",
	.details =
		"What others need of an external snapshot is moved to them first. Interrupted, it "
		"goes on with vmsnap recover.",
	.options = options,
	.examples = examples,
	.statuses =
		"0 done, 2 usage, 4 no such disk or snapshot (nothing is deleted), 6 in use, 13 "
		"no space",
	.min_args = 2,
	.max_args = UINT_MAX,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
