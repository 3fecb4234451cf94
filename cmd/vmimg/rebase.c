/* vmimg rebase: an overlay on another backing file. */
#include "cmd/vmimg/vmimg.h"
#include "libcommon/base/size.h"
#include "libcommon/image/copy/chain.h"

static struct {
	const char *format, *backing, *backing_format;
	struct opt_list allow;
	bool header, dry_run;
	unsigned threads;
} o;

static const struct opt options[] = {
	{'b', "backing", OPT_STRING, &o.backing, .arg = "FILE",
	 .help = "the new backing file, relative to IMAGE's folder; kept as given; \"\": none",
	 .complete = COMPLETE_FILE},
	{'F', "backing-format", OPT_STRING, &o.backing_format, .arg = "FORMAT",
	 .help = "format of the backing file", .complete = COMPLETE_FORMAT},
	{'u', "unsafe", OPT_FLAG, &o.header,
	 .help = "change the header alone: for a backing file that was moved, or whose format "
		 "shall be stated"},
	{'f', "format", OPT_STRING, &o.format, .arg = "FORMAT",
	 .help = "format of the image; without it the image is probed",
	 .complete = COMPLETE_FORMAT},
	{0, "allow-backing", OPT_LIST, &o.allow, .arg = "DIR",
	 .help = "folder outside of the image's own where its chain may lead",
	 .complete = COMPLETE_DIR},
	{0, "threads", OPT_UINT, &o.threads, .arg = "N",
	 .help = "threads; default: the processors this process may use", .min = 1, .max = 1024},
	{0, "dry-run", OPT_FLAG, &o.dry_run, .help = "say what would be written, write nothing"},
	OPT_END};

static const char *const examples[] = {
	"vmimg rebase -b newbase.qcow2 overlay.qcow2", "vmimg rebase -b '' overlay.qcow2",
	"vmimg rebase -u -b moved/base.raw -F raw overlay.qcow2", NULL};

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	const struct chain_opts opts = {.format = o.format,
					.allow_dirs = o.allow.items,
					.n_allow_dirs = o.allow.count,
					.threads = o.threads,
					.progress = &cli->progress,
					.dry_run = o.dry_run,
					.header = o.header};
	struct chain_stats s;
	char text[2][SIZE_TEXT_MAX];

	(void)argc;
	if (!o.backing && !(o.header && o.backing_format))
		return err_set(err, ERR_USAGE, "-b FILE is wanted, or -u and -F FORMAT");
	if (image_rebase(argv[0], o.backing, o.backing_format, &opts, &s, err) < 0)
		return -1;
	if (cli->json)
		return cli_print_json(
			cli,
			json_pack("{s:o, s:o, s:I, s:I, s:I, s:b}", "image",
				  cli_json_string(argv[0]), "backing_file",
				  *s.backing ? cli_json_string(s.backing) : json_null(),
				  "virtual_size", (json_int_t)s.size, "data_bytes",
				  (json_int_t)s.data_bytes, "zero_bytes", (json_int_t)s.zero_bytes,
				  "dry_run", (int)o.dry_run),
			err);
	if (o.dry_run)
		printf("would write %s of data and %s of zeros into %s\n",
		       size_format(s.data_bytes, text[0]), size_format(s.zero_bytes, text[1]),
		       argv[0]);
	return 0;
}

const struct verb verb_rebase = {
	.name = "rebase",
	.usage = "[OPTIONS] -b FILE IMAGE",
	.summary = "put an overlay on another backing file",
	.details =
		"The image shows the same disk before, during and after: where the new backing "
		"file differs from the\n"
		"old one, the old content is written into the image first. -u believes that they "
		"show the same, and\n"
		"the new one needs not to exist then if -F tells its format. With -b '' all "
		"content moves into the\n"
		"image. For qcow2; for VMDK, VHD and VHDX, on a backing file of the same format, "
		"which has to\n"
		"exist. For these and VDI -u -F FORMAT alone takes the backing file with the "
		"content "
		"that it has by\n"
		"now, if you know that this is right: also when an overlay's backing file was "
		"itself "
		"rebased. Images\n"
		"with internal snapshots are refused, but with -u.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 usage, 4 not found, 6 locked, 8 corrupt, 9 unsupported, 12 the "
		    "backing file lies "
		    "outside of the folder, 13 no space",
	.min_args = 1,
	.max_args = 1,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
