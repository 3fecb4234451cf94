/* vmsnap diff: what changed between two states of a disk. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmsnap/diff_files.h"
#include "cmd/vmsnap/vmsnap.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/size.h"
#include "libcommon/image/copy/diff.h"

static struct {
	bool extents, files, null_end;
} o;

static const struct opt options[] = {
	{'x', "extents", OPT_FLAG, &o.extents,
	 .help = "list the ranges: offset and length in bytes"},
	{'F', "files", OPT_FLAG, &o.files,
	 .help = "list the files that were added (A), deleted (D), changed (M), or got other "
		 "permissions, owners or times alone (m)"},
	{'0', "null", OPT_FLAG, &o.null_end,
	 .help = "with --files: paths alone, as they are, each ended by a NUL byte"},
	OPT_END};

static const char *const examples[] = {"vmsnap diff disk.qcow2@monday",
				       "vmsnap diff --extents disk.raw@monday disk.raw@tuesday",
				       "vmsnap diff --files disk.qcow2@monday", NULL};

struct sum {
	uint64_t bytes, ranges;
	json_t *list, *files;	 /* NULL: printed */
	struct changes *changes; /* NULL: not wanted */
};

static int changed(void *ctx, uint64_t off, uint64_t len, struct err *err)
{
	struct sum *s = ctx;

	s->bytes += len;
	s->ranges++;
	if (s->changes && changes_add(s->changes, off, len, err) < 0)
		return -1;
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
		if (out && o.files)
			json_object_set(out, "files", s->files);
		return cli_print_json(cli, out, err);
	}
	if (!o.extents && !o.files && !cli->quiet)
		printf("%s changed in %" PRIu64 " ranges\n", size_format(s->bytes, text),
		       s->ranges);
	return 0;
}

static int compare(struct cli *cli, struct sum *s, struct image *a, struct image *b,
		   struct err *err)
{
	struct err missed = ERR_INIT;
	int rc = image_diff(a, b, &cli->progress, changed, s, err);

	if (rc == 0 && o.files)
		rc = diff_files(a, b, s->changes, s->files, o.null_end, &missed);
	/* What could be told is told */
	if ((rc == 0 || missed.code == ERR_DIFFERS) && print_result(cli, s, a, b, err) < 0)
		return -1;
	if (rc < 0 && missed.code)
		*err = missed;
	return rc;
}

static int open_and_compare(struct cli *cli, int argc, char **argv, struct sum *s, struct err *err)
{
	struct image *a = NULL, *b = NULL;
	CLEANUP_FREE char *disk = NULL;
	struct snap_disk *d;
	const char *name;
	int rc;

	if (split_name(argv[0], &disk, &name, err) < 0 || snap_open(&d, disk, false, err) < 0)
		return -1;
	rc = snap_image(d, name, &a, err);
	if (rc == 0)
		rc = open_second(d, disk, argc > 1 ? argv[1] : NULL, &b, err);
	if (rc == 0)
		rc = compare(cli, s, a, b, err);
	image_close(a);
	image_close(b);
	snap_close(d);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct sum s = {0};
	int rc = 0;

	if (o.null_end && (!o.files || cli->json))
		return err_set(err, ERR_USAGE, "--null is for --files without --json");
	if (o.files && o.extents && !cli->json)
		return err_set(err, ERR_USAGE, "either --files or --extents, or both with --json");
	if (cli->json) {
		s.list = json_array();
		s.files = json_array();
		rc = s.list && s.files ? 0 : err_nomem(err);
	}
	if (rc == 0 && o.files)
		rc = changes_new(&s.changes, err);
	if (rc == 0)
		rc = open_and_compare(cli, argc, argv, &s, err);
	changes_free(s.changes);
	json_decref(s.list);
	json_decref(s.files);
	return rc;
}

const struct verb verb_diff = {
	.name = "diff",
	.usage = "[OPTIONS] DISK@A [DISK@B]",
	.summary = "say how much changed since a snapshot, or between two",
	.details = "In blocks of 4 KiB of the disk. Without a second snapshot the present state is "
		   "taken.\n"
		   "--files names what changed in ext2, ext3, ext4, XFS and FAT, in partitions and "
		   "LVM2 "
		   "volumes, without\n"
		   "mounting anything; where there are several, as PARTITION:/PATH. A file is read "
		   "where the "
		   "disks differ\n"
		   "alone. What lies in a journal that was not replayed is not seen.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, differences or not, 2 usage, 3 a changed file system is not read "
		    "here, 4 no such disk or snapshot, 6 in use, 8 "
		    "corrupt",
	.min_args = 1,
	.max_args = 2,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
