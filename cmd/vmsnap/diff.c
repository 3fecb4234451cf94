/* vmsnap diff: what changed between two states of a disk. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmsnap/vmsnap.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/size.h"
#include "libcommon/image/copy/diff.h"

static struct {
	bool extents;
} o;

static const struct opt options[] = {{'x', "extents", OPT_FLAG, &o.extents,
				      .help = "list the ranges: offset and length in bytes"},
				     OPT_END};

static const char *const examples[] = {"vmsnap diff disk.qcow2@monday",
				       "vmsnap diff --extents disk.raw@monday disk.raw@tuesday",
				       NULL};

struct sum {
	uint64_t bytes, ranges;
	json_t *list; /* NULL: printed */
};

static int changed(void *ctx, uint64_t off, uint64_t len, struct err *err)
{
	struct sum *s = ctx;

	s->bytes += len;
	s->ranges++;
	if (!o.extents)
		return 0;
	if (!s->list) {
		printf("%" PRIu64 " %" PRIu64 "\n", off, len);
		return 0;
	}
	return json_array_append_new(s->list, json_pack("{s:I, s:I}", "offset", (json_int_t)off,
							"length", (json_int_t)len)) < 0
		       ? err_nomem(err)
		       : 0;
}

static int open_second(struct snap_disk *d, const char *disk, const char *text, struct image **ret,
		       struct err *err)
{
	CLEANUP_FREE char *other = NULL;
	const char *name;

	if (!text)
		return snap_image(d, NULL, ret, err);
	if (split_name(text, &other, &name, err) < 0)
		return -1;
	if (strcmp(other, disk) != 0)
		return err_set(err, ERR_USAGE, "both snapshots must be of the same disk");
	return snap_image(d, name, ret, err);
}

static int print_result(struct cli *cli, struct sum *s, struct image *a, struct image *b,
			struct err *err)
{
	char text[SIZE_TEXT_MAX];

	if (cli->json) {
		json_t *out =
			json_pack("{s:I, s:I, s:I, s:I}", "changed_bytes", (json_int_t)s->bytes,
				  "ranges", (json_int_t)s->ranges, "size_a",
				  (json_int_t)image_size(a), "size_b", (json_int_t)image_size(b));

		if (out && o.extents)
			json_object_set(out, "extents", s->list);
		return cli_print_json(cli, out, err);
	}
	if (!o.extents && !cli->quiet)
		printf("%s changed in %" PRIu64 " ranges\n", size_format(s->bytes, text),
		       s->ranges);
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct sum s = {.list = cli->json ? json_array() : NULL};
	struct image *a = NULL, *b = NULL;
	CLEANUP_FREE char *disk = NULL;
	struct snap_disk *d;
	const char *name;
	int rc;

	if (cli->json && !s.list)
		return err_nomem(err);
	rc = split_name(argv[0], &disk, &name, err) < 0 || snap_open(&d, disk, false, err) < 0 ? -1
											       : 0;
	if (rc == 0) {
		rc = snap_image(d, name, &a, err);
		if (rc == 0)
			rc = open_second(d, disk, argc > 1 ? argv[1] : NULL, &b, err);
		if (rc == 0)
			rc = image_diff(a, b, &cli->progress, changed, &s, err);
		if (rc == 0)
			rc = print_result(cli, &s, a, b, err);
		image_close(a);
		image_close(b);
		snap_close(d);
	}
	json_decref(s.list);
	return rc;
}

const struct verb verb_diff = {
	.name = "diff",
	.usage = "[OPTIONS] DISK@A [DISK@B]",
	.summary = "say how much changed since a snapshot, or between two",
	.details = "In blocks of 4 KiB of the disk. Without a second snapshot the present state is "
		   "taken.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, differences or not, 2 usage, 4 no such disk or snapshot, 6 in use, 8 "
		    "corrupt",
	.min_args = 1,
	.max_args = 2,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
