/* vmimg resize: a larger or smaller disk, its partition table with it. */
#include <inttypes.h>

#include "cmd/vmimg/vmimg.h"
#include "libcommon/base/size.h"
#include "libcommon/image/disk/resize.h"

static struct {
	const char *format;
	struct opt_list allow;
	bool shrink, force, keep_table, dry_run;
} o;

static const struct opt options[] = {
	{'f', "format", OPT_STRING, &o.format, .arg = "FORMAT",
	 .help = "format of the image; without it the image is probed",
	 .complete = COMPLETE_FORMAT},
	{0, "shrink", OPT_FLAG, &o.shrink, .help = "allow a smaller size"},
	{0, "force", OPT_FLAG, &o.force,
	 .help = "shrink even if partitions or data beyond the new end are lost"},
	{0, "keep-table", OPT_FLAG, &o.keep_table, .help = "leave the partition table alone"},
	{0, "allow-backing", OPT_LIST, &o.allow, .arg = "DIR",
	 .help = "folder outside of the image's own where its chain may lead",
	 .complete = COMPLETE_DIR},
	{0, "dry-run", OPT_FLAG, &o.dry_run, .help = "say what would be done, write nothing"},
	OPT_END};

static const char *const examples[] = {"vmimg resize disk.qcow2 40G", "vmimg resize disk.raw +10G",
				       "vmimg resize --shrink disk.raw -2G", NULL};

static int new_size(const char *text, uint64_t old, uint64_t *ret, struct err *err)
{
	bool more = *text == '+', less = *text == '-';
	uint64_t n;

	if (size_parse(text + (more || less), &n, err) < 0)
		return -1;
	if (less && n > old)
		return err_set(err, ERR_USAGE, "the disk has %" PRIu64 " bytes, not %" PRIu64, old,
			       n);
	if (more && n > INT64_MAX - old)
		return err_set(err, ERR_USAGE, "that is more than a disk can have");
	*ret = more ? old + n : less ? old - n : n;
	return 0;
}

static int print_result(struct cli *cli, struct image *img, const struct disk_resize_result *r,
			struct err *err)
{
	char text[2][SIZE_TEXT_MAX];

	if (cli->json)
		return cli_print_json(cli,
				      json_pack("{s:o, s:s, s:I, s:I, s:s, s:I, s:b, s:b}", "image",
						cli_json_string(image_name(img)), "format",
						image_format_name(img), "old_size",
						(json_int_t)r->old_size, "new_size",
						(json_int_t)r->new_size, "partition_table",
						partition_scheme_name(r->scheme), "partitions_end",
						(json_int_t)r->partitions_end, "table_moved",
						(int)r->table_moved, "dry_run", (int)o.dry_run),
				      err);
	if (o.dry_run)
		printf("would resize from %s to %s%s\n", size_format(r->old_size, text[0]),
		       size_format(r->new_size, text[1]),
		       r->table_moved ? " and move the backup GPT" : "");
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	const struct image_open_opts open_opts = {.format = o.format,
						  .flags = IMAGE_RDWR,
						  .allow_dirs = o.allow.items,
						  .n_allow_dirs = o.allow.count};
	const struct disk_resize_opts opts = {.shrink = o.shrink,
					      .force = o.force,
					      .keep_table = o.keep_table,
					      .dry_run = o.dry_run};
	struct disk_resize_result r;
	struct image *img = NULL;
	uint64_t size = 0;
	int rc = -1;

	(void)argc;
	if (image_open(&img, argv[0], &open_opts, err) == 0 &&
	    new_size(argv[1], image_size(img), &size, err) == 0 &&
	    disk_resize(img, size, &opts, &r, err) == 0)
		rc = print_result(cli, img, &r, err);
	image_close(img);
	return rc;
}

const struct verb verb_resize = {
	.name = "resize",
	.usage = "[OPTIONS] IMAGE SIZE|+SIZE|-SIZE",
	.summary = "make a disk larger or smaller, in place",
	.details = "New space reads as zero. The backup GPT is moved to the new end and the "
		   "protective MBR follows; +0 "
		   "does just\n"
		   "that, for a disk that something else has resized. Partitions and file systems "
		   "keep their sizes. A "
		   "smaller size\n"
		   "needs --shrink, and is refused when a partition ends beyond it, or, on a disk "
		   "without a partition "
		   "table, when\n"
		   "anything but zeros would be cut off. raw, qcow2, VHD, VHDX, VDI and VMDK of "
		   "one extent change in "
		   "place (what a\nsmaller VMDK loses stays in its file); others have to be "
		   "converted to one of these and back.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 usage, or something lies beyond the new end, 4 not found, 6 locked, "
		    "8 corrupt, 9 "
		    "unsupported, 13 no space",
	.min_args = 2,
	.max_args = 2,
	.json = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
