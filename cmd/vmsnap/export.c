/* vmsnap export: a snapshot as an image of its own. */
#include <stdlib.h>
#include <string.h>

#include "cmd/vmsnap/vmsnap.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/copy/engine.h"

static struct {
	const char *format;
	bool compress, force, verify;
	unsigned threads;
} o;

static const struct opt options[] = {
	{'O', "target-format", OPT_STRING, &o.format, .arg = "FORMAT",
	 .help = "format of the target; without it the target's suffix tells, and - is raw",
	 .complete = COMPLETE_FORMAT},
	{'c', "compress", OPT_FLAG, &o.compress, .help = "compress as suits the format"},
	{0, "verify", OPT_FLAG, &o.verify, .help = "read the target back and compare it"},
	{0, "force", OPT_FLAG, &o.force, .help = "replace an existing target"},
	{0, "threads", OPT_UINT, &o.threads, .arg = "N",
	 .help = "threads; default: the processors this process may use", .min = 1, .max = 1024},
	OPT_END};

static const char *const examples[] = {"vmsnap export disk.qcow2@tuesday tuesday.vmdk",
				       "vmsnap export disk.raw@tuesday - | zstd >tuesday.raw.zst",
				       NULL};

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	const struct copy_opts opts = {.threads = o.threads,
				       .force = o.force,
				       .verify = o.verify,
				       .progress = &cli->progress,
				       .target_format = o.format,
				       .params = {.compress = o.compress}};
	CLEANUP_FREE char *disk = NULL;
	struct image *img = NULL;
	struct copy_stats stats;
	struct snap_disk *d;
	const char *name;
	int rc;

	(void)argc;
	if (strcmp(argv[1], "-") == 0 && cli_refuse_terminal(err) < 0)
		return -1;
	if (split_name(argv[0], &disk, &name, err) < 0 || snap_open(&d, disk, false, err) < 0)
		return -1;
	rc = snap_image(d, name, &img, err);
	if (rc == 0)
		rc = image_copy(img, argv[1], &opts, &stats, err);
	image_close(img);
	snap_close(d);
	return rc;
}

const struct verb verb_export = {
	.name = "export",
	.usage = "[OPTIONS] DISK@NAME TARGET",
	.summary = "write a snapshot as an image of its own, of any format",
	.details = "- is standard output. The target appears under its name only when it is whole.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 usage, 4 no such disk or snapshot, 5 the target exists, 6 in use, 8 "
		    "corrupt, 9 unsupported, 13 no space",
	.min_args = 2,
	.max_args = 2,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
