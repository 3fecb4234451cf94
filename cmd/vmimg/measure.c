/* vmimg measure: how large a new image would be. */
#include <inttypes.h>

#include "cmd/vmimg/newimage.h"
#include "cmd/vmimg/vmimg.h"
#include "libcommon/image/copy/engine.h"
#include "libcommon/image/image.h"

static struct {
	const char *target_format, *format, *snapshot, *target;
	struct opt_list options, allow;
	uint64_t size;
	bool scan, shared;
} o = {.size = UINT64_MAX};

static const struct opt options[] = {
	{'O', "target-format", OPT_STRING, &o.target_format, .arg = "FORMAT",
	 .help = "format of the new image (default: raw)", .complete = COMPLETE_FORMAT},
	{'o', "option", OPT_LIST, &o.options, .arg = "KEY=VALUE",
	 .help = "an option of that format, as cluster_size=1M; several with commas"},
	{0, "for", OPT_CHOICE, &o.target, .arg = "TARGET",
	 .help = "what this cloud or hypervisor takes: format, options, size",
	 .choices = IMAGE_PRESET_NAMES},
	{0, "size", OPT_SIZE, &o.size, .arg = "SIZE", .help = "of an empty disk of this size"},
	{0, "scan", OPT_FLAG, &o.scan,
	 .help = "read the data and leave zeros out, as convert does: an exact figure"},
	{'f', "format", OPT_STRING, &o.format, .arg = "FORMAT",
	 .help = "format of the source; without it the source is probed",
	 .complete = COMPLETE_FORMAT},
	{0, "snapshot", OPT_STRING, &o.snapshot, .arg = "NAME",
	 .help = "measure this internal snapshot, by name or id"},
	{0, "allow-backing", OPT_LIST, &o.allow, .arg = "DIR",
	 .help = "folder outside of the image's own where its chain may lead",
	 .complete = COMPLETE_DIR},
	{'U', "force-share", OPT_FLAG, &o.shared,
	 .help = "read a source that another process may be writing"},
	OPT_END};

static const char *const examples[] = {"vmimg measure -O qcow2 disk.raw",
				       "vmimg measure -O qcow2 -o cluster_size=2M --size 1T", NULL};

/* --for TARGET: format, options, and the size that the disk grows to */
static int choose(struct image *src, struct new_options *values, struct bulk_params *params,
		  struct err *err)
{
	const struct image_preset *preset;

	if (new_preset(o.target, NULL, values, params, &o.target_format, &preset, err) < 0)
		return -1;
	if (!preset)
		return 0;
	if (preset->archive)
		return err_set(err, ERR_USAGE,
			       "the size of a compressed archive is not known before");
	if (src && image_is_stream(src))
		return err_set(err, ERR_USAGE, "--for needs a disk whose size is known");
	return image_preset_size(preset, src ? image_size(src) : params->size, &params->size, err);
}

static int measure(struct cli *cli, struct image *src, struct bulk_params *params, struct err *err)
{
	uint64_t required, full;

	if (!o.target_format)
		o.target_format = "raw";
	if (image_measure(src, o.target_format, params, o.scan, &required, &full, err) < 0)
		return -1;
	if (cli->json)
		return cli_print_json(cli,
				      json_pack("{s:s, s:I, s:I, s:b}", "format", o.target_format,
						"required", (json_int_t)required, "fully_allocated",
						(json_int_t)full, "exact", (int)(o.scan || !src)),
				      err);
	printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n", required, full);
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	const struct image_open_opts opts = {.format = o.format,
					     .flags = o.shared ? IMAGE_SHARED : 0,
					     .snapshot = o.snapshot,
					     .allow_dirs = o.allow.items,
					     .n_allow_dirs = o.allow.count};
	struct new_options values = {0};
	struct bulk_params params = {0};
	struct image *src = NULL;
	bool sized = o.size != UINT64_MAX;
	int rc = -1;

	if (sized == (argc == 1))
		return err_set(err, ERR_USAGE, "either an image or --size is wanted");
	if (sized)
		params.size = o.size;
	if (new_options_parse(&o.options, &values, err) == 0 &&
	    (sized || image_open(&src, argv[0], &opts, err) == 0)) {
		params.options = values.values;
		params.n_options = values.count;
		rc = choose(src, &values, &params, err) < 0 ? -1 : measure(cli, src, &params, err);
	}
	image_close(src);
	new_options_free(&values);
	return rc;
}

const struct verb verb_measure = {
	.name = "measure",
	.usage = "[OPTIONS] IMAGE | --size SIZE",
	.summary = "say how large a new image of another format would be",
	.details =
		"Figures are of uncompressed images. Without --scan every allocated range counts, "
		"so the required size is\n"
		"never too small; with it the figure is the size of the file that convert makes. A "
		"data file is counted with the image.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 usage, 4 not found, 6 locked, 8 corrupt, 9 unsupported",
	.min_args = 0,
	.max_args = 1,
	.json = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
