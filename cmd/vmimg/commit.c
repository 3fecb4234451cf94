/* vmimg commit: an overlay into its backing file. */
#include "cmd/vmimg/vmimg.h"
#include "libcommon/base/size.h"
#include "libcommon/image/copy/chain.h"

static struct {
	const char *format;
	struct opt_list allow;
	bool keep, dry_run;
	unsigned threads;
} o;

static const struct opt options[] = {
	{'f', "format", OPT_STRING, &o.format, .arg = "FORMAT",
	 .help = "format of the overlay; without it the image is probed",
	 .complete = COMPLETE_FORMAT},
	{'k', "keep", OPT_FLAG, &o.keep, .help = "leave the overlay as it is"},
	{0, "allow-backing", OPT_LIST, &o.allow, .arg = "DIR",
	 .help = "folder outside of the image's own where its chain may lead",
	 .complete = COMPLETE_DIR},
	{0, "threads", OPT_UINT, &o.threads, .arg = "N",
	 .help = "threads; default: the processors this process may use", .min = 1, .max = 1024},
	{0, "dry-run", OPT_FLAG, &o.dry_run, .help = "say what would be written, write nothing"},
	OPT_END};

static const char *const examples[] = {"vmimg commit overlay.qcow2",
				       "vmimg commit --keep -p overlay.qcow2", NULL};

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	const struct chain_opts opts = {.format = o.format,
					.allow_dirs = o.allow.items,
					.n_allow_dirs = o.allow.count,
					.threads = o.threads,
					.progress = &cli->progress,
					.dry_run = o.dry_run,
					.keep = o.keep};
	struct chain_stats s;
	char text[2][SIZE_TEXT_MAX];

	(void)argc;
	if (image_commit(argv[0], &opts, &s, err) < 0)
		return -1;
	if (cli->json)
		return cli_print_json(
			cli,
			json_pack("{s:o, s:o, s:I, s:I, s:I, s:b, s:b, s:b}", "image",
				  cli_json_string(argv[0]), "backing_file",
				  cli_json_string(s.backing), "virtual_size", (json_int_t)s.size,
				  "data_bytes", (json_int_t)s.data_bytes, "zero_bytes",
				  (json_int_t)s.zero_bytes, "backing_grown", (int)(s.grown_to > 0),
				  "emptied", (int)s.emptied, "dry_run", (int)o.dry_run),
			err);
	if (o.dry_run)
		printf("would write %s of data and %s of zeros into %s\n",
		       size_format(s.data_bytes, text[0]), size_format(s.zero_bytes, text[1]),
		       s.backing);
	return 0;
}

const struct verb verb_commit = {
	.name = "commit",
	.usage = "[OPTIONS] OVERLAY",
	.summary = "write what an overlay holds into its backing file",
	.details =
		"The backing file grows when its disk is the smaller one, and is safe on the "
		"disk before the overlay\n"
		"is emptied (qcow2; overlays of other formats keep their content). VMDK, VHDX and "
		"VDI know a backing\n"
		"file by an ID of its content: the overlay takes the new one at the first write, "
		"with --keep too. An\n"
		"interrupted commit changes nothing that the overlay shows: do it again. Other "
		"overlays of the same backing file "
		"show its new content\n"
		"afterwards, which breaks them. Images with internal snapshots are refused.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 usage, or no backing file, 4 not found, 6 locked, 8 corrupt, 9 "
		    "unsupported, "
		    "13 no space",
	.min_args = 1,
	.max_args = 1,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
