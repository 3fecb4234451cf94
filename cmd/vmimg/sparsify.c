/* vmimg sparsify: give back what the file systems of a disk do not use. */
#include <stdlib.h>
#include <string.h>

#include "cmd/vmimg/newimage.h"
#include "cmd/vmimg/vmimg.h"
#include "libcommon/base/size.h"
#include "libcommon/image/copy/engine.h"
#include "libcommon/image/disk/sparsify.h"

enum { NUMBERS_MOST = 128 };

static struct {
	const char *format, *target_format, *compress;
	struct opt_list options, allow, partitions;
	bool force, dry_run;
	unsigned threads;
} o;

static const struct opt options[] = {
	{'f', "format", OPT_STRING, &o.format, .arg = "FORMAT",
	 .help = "format of the image; without it the image is probed",
	 .complete = COMPLETE_FORMAT},
	{0, "partition", OPT_LIST, &o.partitions, .arg = "NUMBER",
	 .help = "only this partition; may be repeated"},
	{'O', "target-format", OPT_STRING, &o.target_format, .arg = "FORMAT",
	 .help = "format of the target; without it the target's suffix tells",
	 .complete = COMPLETE_FORMAT},
	{'o', "option", OPT_LIST, &o.options, .arg = "KEY=VALUE",
	 .help = "an option of the target's format, as cluster_size=1M; several with commas"},
	{'c', "compress", OPT_OPTIONAL, &o.compress, .arg = "ALGORITHM[:LEVEL]",
	 .help = "compress the target: zstd or zlib"},
	{0, "allow-backing", OPT_LIST, &o.allow, .arg = "DIR",
	 .help = "folder outside of the image's own where its chain may lead",
	 .complete = COMPLETE_DIR},
	{0, "force", OPT_FLAG, &o.force, .help = "replace an existing target"},
	{0, "threads", OPT_UINT, &o.threads, .arg = "N",
	 .help = "threads; default: the processors this process may use", .min = 1, .max = 1024},
	{0, "dry-run", OPT_FLAG, &o.dry_run, .help = "say what is free, write nothing"},
	OPT_END};

static const char *const examples[] = {"vmimg sparsify --dry-run disk.qcow2",
				       "vmimg sparsify disk.raw",
				       "vmimg sparsify -c disk.raw small.qcow2", NULL};

static json_t *parts_json(const struct sparsify_plan *p)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < p->n; i++)
		json_array_append_new(list, json_pack("{s:i, s:I, s:I, s:s, s:I}", "number",
						      (int)p->parts[i].number, "offset",
						      (json_int_t)p->parts[i].off, "length",
						      (json_int_t)p->parts[i].len, "filesystem",
						      p->parts[i].filesystem, "free_bytes",
						      (json_int_t)p->parts[i].free_bytes));
	return list;
}

static int print_plan(const struct sparsify_plan *p, struct err *err)
{
	static const char *const headers[] = {"PARTITION", "SIZE", "FILE SYSTEM", "FREE", NULL};
	struct table *t = table_new(headers, "rrlr");
	char number[16], size[SIZE_TEXT_MAX], free_text[SIZE_TEXT_MAX];

	if (!t)
		return err_nomem(err);
	for (size_t i = 0; i < p->n; i++) {
		(void)snprintf(number, sizeof(number), "%u", p->parts[i].number);
		const char *cells[] = {p->parts[i].number ? number : "-",
				       size_format(p->parts[i].len, size), p->parts[i].filesystem,
				       size_format(p->parts[i].free_bytes, free_text)};

		table_row(t, cells);
	}
	table_print(t, stdout);
	table_free(t);
	return 0;
}

static int print_result(struct cli *cli, const char *name, const char *target,
			const struct sparsify_plan *p, uint64_t before, uint64_t after,
			struct err *err)
{
	if (!cli->json)
		return o.dry_run ? print_plan(p, err) : 0;
	return cli_print_json(
		cli,
		json_pack(
			"{s:o, s:o, s:s, s:o, s:I, s:I, s:I, s:b}", "image", cli_json_string(name),
			"target", target ? cli_json_string(target) : json_null(), "partition_table",
			partition_scheme_name(p->scheme), "partitions", parts_json(p), "free_bytes",
			(json_int_t)p->map.bytes, "actual_size_before", (json_int_t)before,
			"actual_size_after", (json_int_t)after, "dry_run", (int)o.dry_run),
		err);
}

/* @img is consumed. */
static int copy(struct cli *cli, struct image *img, const char *target,
		const struct sparsify_plan *p, uint64_t *ret_after, struct err *err)
{
	struct copy_opts opts = {.threads = o.threads,
				 .force = o.force,
				 .progress = &cli->progress,
				 .target_format = o.target_format};
	struct new_options values = {0};
	struct copy_stats stats = {0};
	struct image *view = NULL;
	int rc = -1;

	if (sparsify_view(img, p, &view, err) == 0 &&
	    new_options_parse(&o.options, &values, err) == 0 &&
	    new_compression_parse(o.compress, &opts.params, err) == 0) {
		opts.params.options = values.values;
		opts.params.n_options = values.count;
		rc = image_copy(view, target, &opts, &stats, err);
	}
	*ret_after = stats.target_bytes;
	image_close(view);
	new_options_free(&values);
	return rc;
}

static int numbers(unsigned ret[NUMBERS_MOST], size_t *ret_n, struct err *err)
{
	for (size_t i = 0; i < o.partitions.count; i++) {
		const char *text = o.partitions.items[i];
		char *end;
		unsigned long n = strtoul(text, &end, 10);

		if (*text < '1' || *text > '9' || *end || n > 100000 || i >= NUMBERS_MOST)
			return err_set(err, ERR_USAGE, "--partition: '%s' is no number of one",
				       text);
		ret[i] = (unsigned)n;
	}
	*ret_n = o.partitions.count;
	return 0;
}

static int check_usage(const char *target, struct err *err)
{
	if (!target && (o.target_format || o.compress || o.options.count || o.force))
		return err_set(err, ERR_USAGE, "-O, -o, -c and --force need a TARGET");
	if (target && strcmp(target, "-") == 0)
		return cli_refuse_terminal(err);
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	const char *target = argc > 1 ? argv[1] : NULL;
	bool in_place = !target && !o.dry_run;
	const struct image_open_opts open_opts = {.format = o.format,
						  .flags = in_place ? IMAGE_RDWR : 0,
						  .allow_dirs = o.allow.items,
						  .n_allow_dirs = o.allow.count};
	struct sparsify_plan plan = {0};
	struct image *img = NULL;
	unsigned wanted[NUMBERS_MOST];
	uint64_t before, after;
	size_t n = 0;
	int rc = -1;

	if (check_usage(target, err) < 0 || numbers(wanted, &n, err) < 0 ||
	    image_open(&img, argv[0], &open_opts, err) < 0)
		return -1;
	if (image_is_stream(img)) {
		image_close(img);
		return err_set(err, ERR_USAGE, "a pipe cannot be searched for what is free");
	}
	before = after = sparsify_allocated(img);
	if (sparsify_plan(img, wanted, n, &plan, err) < 0) {
		image_close(img);
		return -1;
	}
	if (o.dry_run) {
		rc = 0;
	} else if (in_place) {
		rc = sparsify_in_place(img, &plan, &cli->progress, err);
		after = sparsify_allocated(img);
	} else {
		rc = copy(cli, img, target, &plan, &after, err);
		img = NULL;
	}
	if (rc == 0 && !(target && strcmp(target, "-") == 0))
		rc = print_result(cli, argv[0], target, &plan, before, after, err);
	image_close(img);
	sparsify_release(&plan);
	return rc;
}

const struct verb verb_sparsify = {
	.name = "sparsify",
	.usage = "[OPTIONS] IMAGE [TARGET]",
	.summary = "give back what the file systems of a disk do not use",
	.details =
		"Without TARGET the free space is punched out of IMAGE (raw, qcow2); with it a "
		"copy is made that "
		"leaves the\n"
		"free space out. The maps of ext2, ext3, ext4, XFS, FAT, NTFS and swap space are "
		"read, without root and "
		"without\n"
		"starting a machine; partitions with something else stay as they are. A file "
		"system that was not "
		"unmounted\n"
		"cleanly is refused: --partition passes it over.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 usage, 4 not found, 5 the target exists, 6 locked, 8 corrupt, 9 "
		    "unsupported, or a "
		    "file system in use, 13 no space",
	.min_args = 1,
	.max_args = 2,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
