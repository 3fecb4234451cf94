/* vmimg compare: do two images show the same disk? */
#include <inttypes.h>

#include "cmd/vmimg/vmimg.h"
#include "libcommon/image/copy/engine.h"
#include "libcommon/image/image.h"

static struct {
	const char *format_a, *format_b;
	struct opt_list allow;
	bool strict, all, shared;
	unsigned threads;
} o;

static const struct opt options[] = {
	{'f', "format", OPT_STRING, &o.format_a, .arg = "FORMAT",
	 .help = "format of the first image", .complete = COMPLETE_FORMAT},
	{'F', "second-format", OPT_STRING, &o.format_b, .arg = "FORMAT",
	 .help = "format of the second image", .complete = COMPLETE_FORMAT},
	{'s', "strict", OPT_FLAG, &o.strict,
	 .help = "disks of different sizes differ, even if the rest of the longer one is zero"},
	{'a', "all", OPT_FLAG, &o.all,
	 .help = "go on after the first difference and count the 4 KiB blocks that differ"},
	{0, "allow-backing", OPT_LIST, &o.allow, .arg = "DIR",
	 .help = "folder outside of an image's own where its chain may lead",
	 .complete = COMPLETE_DIR},
	{'U', "force-share", OPT_FLAG, &o.shared,
	 .help = "read images that another process may be writing"},
	{0, "threads", OPT_UINT, &o.threads, .arg = "N",
	 .help = "threads; default: the processors this process may use", .min = 1, .max = 1024},
	OPT_END};

static const char *const examples[] = {"vmimg compare disk.raw disk.qcow2",
				       "vmimg compare --all --json before.qcow2 after.qcow2", NULL};

static int print_result(struct cli *cli, char **argv, const struct compare_result *r,
			struct err *err)
{
	if (cli->json) {
		json_t *obj = json_pack(
			"{s:b, s:o, s:I, s:I}", "equal", (int)r->equal, "first_difference",
			r->equal ? json_null() : json_integer((json_int_t)r->first_difference),
			"size_a", (json_int_t)r->size_a, "size_b", (json_int_t)r->size_b);

		if (obj && o.all)
			json_object_set_new(obj, "differing_bytes",
					    json_integer((json_int_t)r->differing_bytes));
		return cli_print_json(cli, obj, err);
	}
	if (r->equal || cli->quiet)
		return 0;
	printf("%s and %s differ at offset %" PRIu64, argv[0], argv[1], r->first_difference);
	if (o.strict && r->size_a != r->size_b)
		printf(", sizes %" PRIu64 " and %" PRIu64, r->size_a, r->size_b);
	if (o.all)
		printf(", %" PRIu64 " bytes in blocks that differ", r->differing_bytes);
	printf("\n");
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct image_open_opts opts = {.format = o.format_a,
				       .flags = o.shared ? IMAGE_SHARED : 0,
				       .allow_dirs = o.allow.items,
				       .n_allow_dirs = o.allow.count};
	struct image *a = NULL, *b = NULL;
	struct compare_result r;
	int rc = -1;

	(void)argc;
	if (image_open(&a, argv[0], &opts, err) == 0) {
		opts.format = o.format_b;
		if (image_open(&b, argv[1], &opts, err) == 0)
			rc = image_compare(a, b, o.threads, o.all, o.strict, &cli->progress, &r,
					   err);
	}
	image_close(a);
	image_close(b);
	if (rc < 0 || print_result(cli, argv, &r, err) < 0)
		return -1;
	return r.equal ? 0 : err_set(err, ERR_DIFFERS, "%s", "");
}

const struct verb verb_compare = {
	.name = "compare",
	.usage = "[OPTIONS] A B",
	.summary = "say whether two images hold the same disk",
	.details = "Formats do not matter, only what a guest would read. Unless --strict is given, "
		   "a longer disk equals\n"
		   "a shorter one when the rest of it is zero. Nothing is printed when they are "
		   "equal.",
	.options = options,
	.examples = examples,
	.statuses = "0 equal, 2 usage, 3 they differ, 4 not found, 6 locked, 8 corrupt",
	.min_args = 2,
	.max_args = 2,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
