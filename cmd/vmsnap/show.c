/* vmsnap show: one snapshot. */
#include <stdio.h>
#include <stdlib.h>

#include "cmd/vmsnap/vmsnap.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/size.h"

static const struct opt options[] = {OPT_END};

static const char *const examples[] = {"vmsnap show disk.qcow2@before-upgrade",
				       "vmsnap show --json disk.raw@tuesday", NULL};

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	CLEANUP_FREE char *disk = NULL;
	struct snap_entry *e = NULL;
	char when[32], size[SIZE_TEXT_MAX];
	struct snap_disk *d;
	const char *name;
	int rc;

	(void)argc;
	if (split_name(argv[0], &disk, &name, err) < 0 || snap_open(&d, disk, false, err) < 0)
		return -1;
	rc = snap_find(d, name, &e, err);
	snap_close(d);
	if (rc < 0)
		return -1;
	if (cli->json) {
		rc = cli_print_json(cli, entry_json(e, disk), err);
	} else {
		printf("name: %s\nengine: %s\ncreated: %s\nsize: %s\n", e->name,
		       snap_engine_name(e->engine), local_time(e->created, when),
		       size_format(e->virtual_size, size));
		if (*e->parent)
			printf("parent: %s\n", e->parent);
		if (e->engine == SNAP_EXTERNAL)
			printf("depth: %u\ncurrent: %s\n", e->depth, e->current ? "yes" : "no");
		if (e->file)
			printf("file: %s\n", e->file);
		if (e->vm_state_size)
			printf("memory: %s\n", size_format(e->vm_state_size, size));
		if (e->automatic)
			printf("automatic: made by a revert\n");
	}
	snap_list_free(e, 1);
	return rc;
}

const struct verb verb_show = {
	.name = "show",
	.usage = "[OPTIONS] DISK@NAME",
	.summary = "say what is known of one snapshot",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 usage, 4 no such disk or snapshot, 6 another vmsnap is at work",
	.min_args = 1,
	.max_args = 1,
	.json = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
