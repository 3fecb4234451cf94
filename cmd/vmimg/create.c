/* vmimg create: a new empty image. */
#include "cmd/vmimg/newimage.h"
#include "cmd/vmimg/vmimg.h"
#include "libcommon/base/size.h"
#include "libcommon/image/copy/engine.h"

static struct {
	const char *format, *backing, *backing_format, *target;
	struct opt_list options, allow;
	bool force;
} o;

static const struct opt options[] = {
	{'f', "format", OPT_STRING, &o.format, .arg = "FORMAT",
	 .help = "format of the image; without it the file's suffix tells",
	 .complete = COMPLETE_FORMAT},
	{'o', "option", OPT_LIST, &o.options, .arg = "KEY=VALUE",
	 .help = "an option of the format, as cluster_size=1M; several with commas"},
	{0, "for", OPT_CHOICE, &o.target, .arg = "TARGET",
	 .help = "what this cloud or hypervisor takes: format, options, size",
	 .choices = IMAGE_PRESET_NAMES},
	{'b', "backing", OPT_STRING, &o.backing, .arg = "FILE",
	 .help = "the image shows this file where nothing has been written; kept as given",
	 .complete = COMPLETE_FILE},
	{'F', "backing-format", OPT_STRING, &o.backing_format, .arg = "FORMAT",
	 .help = "format of the backing file", .complete = COMPLETE_FORMAT},
	{0, "allow-backing", OPT_LIST, &o.allow, .arg = "DIR",
	 .help = "folder outside of the image's own where the backing file may lie",
	 .complete = COMPLETE_DIR},
	{0, "force", OPT_FLAG, &o.force, .help = "replace an existing file"},
	OPT_END};

static const char *const examples[] = {
	"vmimg create disk.qcow2 20G", "vmimg create -b base.qcow2 -F qcow2 overlay.qcow2",
	"vmimg create -o cluster_size=1M,compat=v3 disk.qcow2 1T", NULL};

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct new_options values = {0};
	struct copy_opts opts = {
		.force = o.force,
		.progress = &cli->progress,
		.target_format = o.format,
		.allow_dirs = o.allow.items,
		.n_allow_dirs = o.allow.count,
		.params = {.backing_name = o.backing, .backing_format = o.backing_format}};
	int rc = -1;

	if (o.backing_format && !o.backing)
		return err_set(err, ERR_USAGE, "-F needs -b");
	if (argc < 2 && !o.backing)
		return err_set(
			err, ERR_USAGE,
			"a size is wanted, or -b FILE for a disk of the backing file's size");
	if (argc > 1 && size_parse(argv[1], &opts.params.size, err) < 0)
		return -1;
	if (new_options_parse(&o.options, &values, err) == 0) {
		opts.params.options = values.values;
		opts.params.n_options = values.count;
		if (new_preset(o.target, argv[0], &values, &opts.params, &opts.target_format,
			       &opts.preset, err) < 0)
			rc = -1;
		else if (opts.preset && opts.preset->archive)
			rc = err_set(err, ERR_USAGE,
				     "%s takes an archive of a disk: convert makes it", o.target);
		else
			rc = image_create(argv[0], &opts, err);
	}
	new_options_free(&values);
	return rc;
}

const struct verb verb_create = {
	.name = "create",
	.usage = "[OPTIONS] FILE [SIZE]",
	.summary = "make a new empty image",
	.details = "With -b the new image is an overlay: SIZE may be left out, the backing file's "
		   "is taken then.\n"
		   "The backing file's name is stored as given and read relative to FILE's folder.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 usage, 4 no such backing file, 5 the file exists, 9 unsupported, 12 "
		    "the backing file "
		    "lies outside of the folder, 13 no space",
	.min_args = 1,
	.max_args = 2,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
