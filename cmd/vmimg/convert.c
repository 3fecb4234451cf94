/* vmimg convert: one image into another format. */
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cmd/vmimg/newimage.h"
#include "cmd/vmimg/vmimg.h"
#include "libcommon/base/size.h"
#include "libcommon/image/copy/engine.h"
#include "libcommon/image/image.h"

static struct {
	const char *format, *target_format, *compress, *digest, *snapshot, *backing,
		*backing_format, *target;
	struct opt_list options, allow;
	bool verify, force, shared, no_sync, dry_run;
	unsigned threads;
	uint64_t rate;
} o;

static const struct opt options[] = {
	{'f', "format", OPT_STRING, &o.format, .arg = "FORMAT",
	 .help = "format of the source; without it the source is probed",
	 .complete = COMPLETE_FORMAT},
	{'O', "target-format", OPT_STRING, &o.target_format, .arg = "FORMAT",
	 .help = "format of the target; without it the target's suffix tells, and - is raw",
	 .complete = COMPLETE_FORMAT},
	{'o', "option", OPT_LIST, &o.options, .arg = "KEY=VALUE",
	 .help = "an option of the target's format, as cluster_size=1M; several with commas"},
	{0, "for", OPT_CHOICE, &o.target, .arg = "TARGET",
	 .help = "what this cloud or hypervisor takes: format, options, size",
	 .choices = IMAGE_PRESET_NAMES},
	{'c', "compress", OPT_OPTIONAL, &o.compress, .arg = "ALGORITHM[:LEVEL]",
	 .help = "compress: zstd or zlib; without a value what suits the format"},
	{0, "digest", OPT_STRING, &o.digest, .arg = "ALGORITHM",
	 .help = "print the digest of the disk's content, computed on the way",
	 .complete = COMPLETE_DIGEST},
	{0, "verify", OPT_FLAG, &o.verify,
	 .help = "read the target back and compare it with the source"},
	{0, "snapshot", OPT_STRING, &o.snapshot, .arg = "NAME",
	 .help = "read this internal snapshot of the source, by name or id"},
	{'B', "backing", OPT_STRING, &o.backing, .arg = "FILE",
	 .help = "store only what differs from this backing file", .complete = COMPLETE_FILE},
	{'F', "backing-format", OPT_STRING, &o.backing_format, .arg = "FORMAT",
	 .help = "format of the backing file", .complete = COMPLETE_FORMAT},
	{0, "allow-backing", OPT_LIST, &o.allow, .arg = "DIR",
	 .help = "folder outside of the image's own where its chain may lead",
	 .complete = COMPLETE_DIR},
	{0, "force", OPT_FLAG, &o.force, .help = "replace an existing target, write to a device"},
	{0, "threads", OPT_UINT, &o.threads, .arg = "N",
	 .help = "threads; default: the processors this process may use", .min = 1, .max = 1024},
	{0, "rate-limit", OPT_SIZE, &o.rate, .arg = "SIZE",
	 .help = "read at most this many bytes of data a second"},
	{'U', "force-share", OPT_FLAG, &o.shared,
	 .help = "read a source that another process may be writing"},
	{0, "no-sync", OPT_FLAG, &o.no_sync, .help = "do not wait until the target is on the disk"},
	{0, "dry-run", OPT_FLAG, &o.dry_run, .help = "check everything, write nothing"},
	OPT_END};

static const char *const examples[] = {
	"vmimg convert disk.raw disk.qcow2",
	"vmimg convert -c -p disk.raw disk.qcow2",
	"vmimg convert --for azure disk.qcow2 disk.vhd",
	"vmimg convert --digest sha256 --verify disk.qcow2 disk.raw",
	"ssh host cat /dev/vg/disk | vmimg convert -f raw -O qcow2 -c - disk.qcow2",
	NULL};

static double seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	/* Milliseconds: more digits would only be noise in JSON. */
	int64_t ms = (now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000;

	return (double)ms / 1000;
}

static int print_result(struct cli *cli, struct image *src, const char *target,
			const struct copy_stats *s, double seconds, struct err *err)
{
	if (!cli->json) {
		if (o.digest)
			(void)fprintf(strcmp(target, "-") ? stdout : stderr, "%s  %s\n", s->digest,
				      image_name(src));
		return 0;
	}

	json_t *obj = json_pack(
		"{s:o, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:f}", "source",
		cli_json_string(image_name(src)), "source_format", image_format_name(src), "target",
		cli_json_string(target), "virtual_size", (json_int_t)s->virtual_size, "data_bytes",
		(json_int_t)s->data_bytes, "read_bytes", (json_int_t)s->read_bytes, "cloned_bytes",
		(json_int_t)s->cloned_bytes, "file_size", (json_int_t)s->file_size, "actual_size",
		(json_int_t)s->target_bytes, "verified", (int)o.verify, "seconds", seconds);

	if (obj && o.digest)
		json_object_set_new(
			obj, "digest",
			json_pack("{s:s, s:s}", "algorithm", o.digest, "value", s->digest));
	return cli_print_json(cli, obj, err);
}

/* What would be refused is refused; nothing is written. */
static int dry_run(struct cli *cli, struct image *src, const char *target,
		   const struct copy_opts *opts, struct err *err)
{
	const char *format;
	uint64_t required = 0, full = 0, size = image_is_stream(src) ? 0 : image_size(src);
	char text[2][SIZE_TEXT_MAX];
	struct stat st;
	bool exists = strcmp(target, "-") && stat(target, &st) == 0;

	if (image_copy_check(src, target, opts, &format, err) < 0)
		return -1;
	if (!image_is_stream(src) && !opts->params.compress &&
	    !(opts->preset && opts->preset->archive) &&
	    image_measure(src, format, &opts->params, false, &required, &full, err) < 0)
		return -1;
	if (cli->json)
		return cli_print_json(cli,
				      json_pack("{s:o, s:s, s:o, s:s, s:I, s:I, s:b, s:b}",
						"source", cli_json_string(image_name(src)),
						"source_format", image_format_name(src), "target",
						cli_json_string(target), "target_format", format,
						"virtual_size", (json_int_t)size, "required_size",
						(json_int_t)required, "would_replace", (int)exists,
						"dry_run", 1),
				      err);
	printf("would %s %s: %s", exists ? "replace" : "write", target, format);
	if (size)
		printf(", %s virtual", size_format(size, text[0]));
	if (required)
		printf(", a file of at most %s", size_format(required, text[1]));
	printf("\n");
	return 0;
}

static int convert(struct cli *cli, struct image *src, const char *target,
		   const struct copy_opts *opts, struct err *err)
{
	struct timespec start;
	struct copy_stats stats;

	if (o.dry_run)
		return dry_run(cli, src, target, opts, err);
	clock_gettime(CLOCK_MONOTONIC, &start);
	if (image_copy(src, target, opts, &stats, err) < 0)
		return -1;
	return print_result(cli, src, target, &stats, seconds_since(&start), err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	const char *target = argv[1];
	bool out = strcmp(target, "-") == 0;
	struct new_options values = {0};
	struct image *src = NULL;
	const struct image_open_opts open_opts = {.format = o.format,
						  .flags = o.shared ? IMAGE_SHARED : 0,
						  .snapshot = o.snapshot,
						  .allow_dirs = o.allow.items,
						  .n_allow_dirs = o.allow.count};
	struct copy_opts opts = {
		.threads = o.threads,
		.digest = o.digest,
		.force = o.force,
		.no_sync = o.no_sync,
		.verify = o.verify,
		.rate_limit = o.rate,
		.progress = &cli->progress,
		.target_format = o.target_format,
		.allow_dirs = o.allow.items,
		.n_allow_dirs = o.allow.count,
		.params = {.backing_name = o.backing, .backing_format = o.backing_format}};
	int rc = -1;

	(void)argc;
	if (o.backing_format && !o.backing)
		return err_set(err, ERR_USAGE, "-F needs -B");
	if (out && cli->json)
		return err_set(err, ERR_USAGE, "--json and the target - both want standard output");
	if (out && !o.dry_run && cli_refuse_terminal(err) < 0)
		return -1;
	if (new_options_parse(&o.options, &values, err) == 0 &&
	    new_compression_parse(o.compress, &opts.params, err) == 0 &&
	    image_open(&src, argv[0], &open_opts, err) == 0) {
		opts.params.options = values.values;
		opts.params.n_options = values.count;
		if (new_preset(o.target, out ? NULL : target, &values, &opts.params,
			       &opts.target_format, &opts.preset, err) == 0)
			rc = convert(cli, src, target, &opts, err);
	}
	image_close(src);
	new_options_free(&values);
	return rc;
}

const struct verb verb_convert = {
	.name = "convert",
	.usage = "[OPTIONS] SOURCE TARGET",
	.summary = "copy an image into a new one, of another format if wanted",
	.details = "The target appears under its name only when it is whole; what is under that "
		   "name now is not\n"
		   "touched without --force. Ranges that hold nothing cost nothing and stay holes. "
		   "The same source\n"
		   "and options give the same bytes, whatever the number of threads. - is standard "
		   "input or output;\n"
		   "formats that cannot be streamed go through a nameless file in TMPDIR.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 usage, 4 not found, 5 the target exists, 6 locked, 8 corrupt, 9 "
		    "unsupported, 13 no space",
	.min_args = 2,
	.max_args = 2,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
