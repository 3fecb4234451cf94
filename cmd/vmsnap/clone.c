/* vmsnap clone: a new disk from a snapshot. */
#include <stdio.h>
#include <stdlib.h>

#include "cmd/vmsnap/vmsnap.h"
#include "libcommon/base/cleanup.h"

static struct {
	bool full;
} o;

static const struct opt options[] = {
	{0, "full", OPT_FLAG, &o.full, .help = "a disk that needs no other file: all is copied"},
	OPT_END};

static const char *const examples[] = {"vmsnap clone disk.qcow2@clean test1.qcow2",
				       "vmsnap clone --full disk.qcow2@clean /srv/test1.qcow2",
				       NULL};

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	CLEANUP_FREE char *disk = NULL;
	struct snap_disk *d;
	const char *name;
	bool linked;
	int rc;

	(void)argc;
	/* No snapshot can be deleted while it is cloned */
	if (split_name(argv[0], &disk, &name, err) < 0 || snap_open(&d, disk, false, err) < 0)
		return -1;
	rc = snap_clone(d, name, argv[1], o.full, &cli->progress, &linked, err);
	snap_close(d);
	if (rc == 0 && cli->json)
		rc = cli_print_json(cli,
				    json_pack("{s:o, s:o, s:b}", "snapshot",
					      cli_json_string(argv[0]), "file",
					      cli_json_string(argv[1]), "linked", (int)linked),
				    err);
	return rc;
}

const struct verb verb_clone = {
	.name = "clone",
	.usage = "[OPTIONS] DISK@NAME NEW",
	.summary = "make a new disk that begins as a snapshot",
	.details =
		"reflink: a file that shares blocks. external: an overlay of the snapshot, which "
		"can then not be deleted;\n"
		"it must lie in the folder of the disk. internal: all is copied. The format is "
		"that of the disk.",
	.options = options,
	.examples = examples,
	.statuses =
		"0 done, 2 usage, 4 no such disk or snapshot, 5 NEW exists, 6 in use, 9 another "
		"folder, 13 no space",
	.min_args = 2,
	.max_args = 2,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
