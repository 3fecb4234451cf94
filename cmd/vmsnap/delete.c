/* vmsnap delete: snapshots that are not needed any more. */
#include <limits.h>
#include <stdio.h>

#include "cmd/vmsnap/domain.h"
#include "cmd/vmsnap/vmsnap.h"
#include "libcommon/base/cleanup.h"

static struct {
	struct opt_list disks;
	bool dry_run, lost;
	uint64_t rate;
} o;

static const struct opt options[] = {
	{'d', "disk", OPT_LIST, &o.disks, .arg = "DISK",
	 .help = "of this disk as well; several times", .complete = COMPLETE_FILE},
	{0, "lost", OPT_FLAG, &o.lost,
	 .help = "forget a snapshot whose file is gone for good; others may need what it held"},
	RATE_OPTION(&o.rate),
	{0, "dry-run", OPT_FLAG, &o.dry_run, .help = "say what would be deleted, delete nothing"},
	OPT_END};

static const char *const examples[] = {"vmsnap delete disk.qcow2 before-upgrade",
				       "vmsnap delete --dry-run disk.raw monday tuesday",
				       "vmsnap delete -d data.qcow2 system.qcow2 monday", NULL};

/* All or none for what can be known before */
static int look(struct snap_disk **disks, size_t n, char **names, struct err *err)
{
	struct snap_entry *e;

	for (size_t i = 0; i < n; i++)
		for (char **name = names; *name; name++) {
			if (snap_find(disks[i], *name, &e, err) < 0)
				return -1;
			snap_list_free(e, 1);
		}
	return 0;
}

static int delete_all(struct cli *cli, struct disk_set *t, struct snap_disk **disks, char **names,
		      struct err *err)
{
	CLEANUP_FREE const char **targets = targets_of(t, disks, err);

	if (!targets)
		return -1;
	for (char **name = names; *name; name++)
		for (size_t i = 0; i < t->n; i++) {
			int rc = o.dry_run ? 0
				 : o.lost  ? snap_forget(disks[i], *name, err)
					   : remove_snapshot(t, targets[i], disks[i], *name,
							     &cli->progress, err);

			if (rc < 0)
				return -1;
			if (o.dry_run && t->n == 1)
				printf("would delete %s\n", *name);
			else if (o.dry_run)
				printf("would delete %s of %s\n", *name, snap_path(disks[i]));
		}
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	size_t n = o.disks.count + 1;
	CLEANUP_FREE char **paths = calloc(n, sizeof(*paths));
	struct snap_disk **disks;
	struct disk_set t;
	int rc;

	(void)argc; /* argv ends with NULL */
	if (!paths)
		return err_nomem(err);
	paths[0] = argv[0];
	for (size_t i = 1; i < n; i++)
		paths[i] = (char *)(uintptr_t)o.disks.items[i - 1];
	if (disks_open(&t, paths, n, true, err) < 0)
		return -1;
	t.rate = o.rate;
	rc = snaps_open(&t, &disks, err);
	if (rc == 0) {
		rc = look(disks, t.n, argv + 1, err);
		if (rc == 0)
			rc = delete_all(cli, &t, disks, argv + 1, err);
		snap_set_close(disks, t.n);
	}
	disks_close(&t);
	return rc;
}

const struct verb verb_delete = {
	.name = "delete",
	.usage = "[OPTIONS] DISK|DOMAIN NAME...",
	.summary = "delete snapshots; the disk and the others stay as they are",
	.details =
		"What others need of an external snapshot is moved to them first. Interrupted, it "
		"goes on with vmsnap recover.\n"
		"A running domain does that itself and goes on without the file; when what it "
		"writes to "
		"is written down,\n"
		"its disk is the file below from then on.\n"
		"Nothing is removed while it is not known of all snapshots, and of the images in "
		"the "
		"disk's folder, what they lean on.",
	.options = options,
	.examples = examples,
	.statuses =
		"0 done, 2 usage, 4 no such disk or snapshot (nothing is deleted), 6 in use, 8 a "
		"file of the chain is missing or damaged, 9 internal snapshots or bitmaps would be "
		"lost, 13 no "
		"space",
	.min_args = 2,
	.max_args = UINT_MAX,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
