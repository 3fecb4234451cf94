/* vmimg convert: one image into another format. */
#include <limits.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

#include "cmd/vmimg/newimage.h"
#include "cmd/vmimg/packages.h"
#include "cmd/vmimg/vmimg.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/size.h"
#include "libcommon/image/copy/engine.h"
#include "libcommon/image/image.h"
#include "libcommon/package/package.h"

static struct machine_options machine;

static struct {
	const char *format, *target_format, *compress, *digest, *snapshot, *backing,
		*backing_format, *target, *disk;
	struct opt_list options, allow;
	bool verify, force, shared, no_sync, dry_run, resume;
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
	{0, "resume", OPT_FLAG, &o.resume,
	 .help = "go on with what an interrupted convert --resume left, if source and options are "
		 "the same"},
	{0, "snapshot", OPT_STRING, &o.snapshot, .arg = "NAME",
	 .help = "read this internal snapshot of the source, by name or id"},
	{'B', "backing", OPT_STRING, &o.backing, .arg = "FILE",
	 .help = "store only what differs from this backing file", .complete = COMPLETE_FILE},
	{'F', "backing-format", OPT_STRING, &o.backing_format, .arg = "FORMAT",
	 .help = "format of the backing file", .complete = COMPLETE_FORMAT},
	{0, "allow-backing", OPT_LIST, &o.allow, .arg = "DIR",
	 .help = "folder outside of the image's own where its chain may lead",
	 .complete = COMPLETE_DIR},
	{0, "disk", OPT_STRING, &o.disk, .arg = "NAME",
	 .help = "the disk of an OVA or OVF to read: its id, file name or number"},
	{0, "name", OPT_STRING, &machine.name, .arg = "NAME",
	 .help = "to an OVA: name of the machine; default: that of the target"},
	{0, "cpus", OPT_UINT, &machine.cpus, .arg = "N",
	 .help = "to an OVA: virtual processors (1)", .min = 1, .max = MACHINE_CPUS_MAX},
	{0, "memory", OPT_SIZE, &machine.memory, .arg = "SIZE",
	 .help = "to an OVA: memory, rounded up to 4 MiB (1G)"},
	{0, "firmware", OPT_CHOICE, &machine.firmware, .arg = "FIRMWARE",
	 .help = "to an OVA: what boots the machine (bios)", .choices = "bios|efi|efi-secure"},
	{0, "nic", OPT_LIST, &machine.nics, .arg = "NETWORK[,MODEL]",
	 .help = "to an OVA: a network card (e1000, e1000e, vmxnet3, pcnet32); may be repeated"},
	{0, "os", OPT_STRING, &machine.os, .arg = "SYSTEM",
	 .help = "to an OVA: operating system, as debian or windows, or its number in CIM"},
	{0, "domain-xml", OPT_STRING, &machine.domain_xml, .arg = "FILE",
	 .help = "to an OVA: take from a libvirt domain what the options do not say",
	 .complete = COMPLETE_FILE},
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
	"vmimg convert --disk 2 appliance.ova data.qcow2",
	"vmimg convert --memory 4G --cpus 2 --nic 'VM Network' root.qcow2 data.raw web.ova",
	"vmimg convert --resume -c /mnt/nfs/disk.vmdk disk.qcow2",
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
		"{s:o, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:f}", "source",
		cli_json_string(image_name(src)), "source_format", image_format_name(src), "target",
		cli_json_string(target), "virtual_size", (json_int_t)s->virtual_size, "data_bytes",
		(json_int_t)s->data_bytes, "read_bytes", (json_int_t)s->read_bytes, "passed_bytes",
		(json_int_t)s->passed_bytes, "cloned_bytes", (json_int_t)s->cloned_bytes,
		"resumed_bytes", (json_int_t)s->resumed_bytes, "file_size",
		(json_int_t)s->file_size, "actual_size", (json_int_t)s->target_bytes, "verified",
		(int)o.verify, "seconds", seconds);

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

/* "ova:FILE#DISK" of --disk and the name of a package, owned; NULL without --disk. */
static int disk_name(const char *source, char **ret, struct err *err)
{
	*ret = NULL;
	if (!o.disk)
		return 0;
	if (!package_named(source, o.format)) {
		err_set(err, ERR_USAGE, "is no OVA or OVF: --disk names nothing");
		return err_object(err, source);
	}
	return asprintf(ret, "ova:%s#%s", package_path(source), o.disk) < 0 ? err_nomem(err) : 0;
}

static bool to_package(const char *target)
{
	return o.target_format ? strcmp(o.target_format, "ova") == 0 : package_named(target, NULL);
}

/* Disks are streamOptimized VMDKs whatever is asked, so nothing may be asked. */
static int make_package(struct cli *cli, int argc, char **argv, const struct image_open_opts *open,
			struct err *err)
{
	const char *target = argv[argc - 1];
	const char *bad = o.options.count ? "-o"
			  : o.backing	  ? "-B"
			  : o.digest	  ? "--digest"
			  : o.target	  ? "--for"
			  : o.resume	  ? "--resume"
			  : o.disk	  ? "--disk (name it ova:FILE#DISK)"
					  : NULL;
	struct bulk_params params = {0};

	if (bad)
		return err_set(err, ERR_USAGE, "an OVA is made without %s", bad);
	if (!o.target_format && package_named(target, NULL) &&
	    strcasecmp(target + strlen(target) - 4, ".ovf") == 0) {
		err_set(err, ERR_UNSUPPORTED, "an OVF with files beside it is not written");
		return err_hint(err, "name the target .ova");
	}
	if (new_compression_parse(o.compress, &params, err) < 0)
		return -1;
	if (params.compress_codec != CODEC_NONE && params.compress_codec != CODEC_DEFLATE)
		return err_set(err, ERR_USAGE, "disks of an OVA are compressed with zlib");

	const struct ova_write_opts opts = {.threads = o.threads,
					    .force = o.force,
					    .no_sync = o.no_sync,
					    .verify = o.verify,
					    .level = params.compress_level,
					    .rate_limit = o.rate,
					    .progress = &cli->progress};

	return convert_to_package(cli, argv, (size_t)argc - 1, target, &machine, open, &opts,
				  o.dry_run, err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	const char *target = argv[argc - 1];
	CLEANUP_FREE char *disk = NULL;
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
		.resume = o.resume,
		.source_state = o.snapshot,
		.rate_limit = o.rate,
		.progress = &cli->progress,
		.target_format = o.target_format,
		.allow_dirs = o.allow.items,
		.n_allow_dirs = o.allow.count,
		.params = {.backing_name = o.backing, .backing_format = o.backing_format}};
	int rc = -1;

	if (o.backing_format && !o.backing)
		return err_set(err, ERR_USAGE, "-F needs -B");
	if (o.resume && o.no_sync)
		return err_set(err, ERR_USAGE,
			       "--resume needs what was written on the disk: not with --no-sync");
	if (out && cli->json)
		return err_set(err, ERR_USAGE, "--json and the target - both want standard output");
	if (out && !o.dry_run && cli_refuse_terminal(err) < 0)
		return -1;
	if (to_package(target))
		return make_package(cli, argc, argv, &open_opts, err);
	if (argc > 2)
		return err_set(err, ERR_USAGE, "several sources make an OVA only");
	if (machine_options_given(&machine))
		return err_set(err, ERR_USAGE, "%s is for a target that is an OVA",
			       machine_options_given(&machine));
	if (disk_name(argv[0], &disk, err) < 0)
		return -1;
	if (new_options_parse(&o.options, &values, err) == 0 &&
	    new_compression_parse(o.compress, &opts.params, err) == 0 &&
	    image_open(&src, disk ? disk : argv[0], &open_opts, err) == 0) {
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
	.usage = "[OPTIONS] SOURCE... TARGET",
	.summary = "copy an image into a new one, of another format if wanted",
	.details = "The target appears under its name only when it is whole; what is under that "
		   "name now is not\n"
		   "touched without --force. Ranges that hold nothing cost nothing and stay holes. "
		   "The same source\n"
		   "and options give the same bytes, whatever the number of threads (but with -o "
		   "encryption=luks,\n"
		   "whose keys are random). - is standard input or output;\n"
		   "formats that cannot be streamed go through a nameless file in TMPDIR.\n\n"
		   "What the source has compressed stays as it is where codec and size of "
		   "cluster are the same and no\n"
		   "level is asked for; qcow2 with zlib becomes streamOptimized VMDK so, too.\n\n"
		   "With --resume a convert that was stopped, killed or ran out of space "
		   "leaves TARGET.part and\n"
		   "TARGET.part.record; the same command goes on from there and makes the "
		   "same bytes as if it had\n"
		   "never stopped. When a file of the source has changed in any way, or an "
		   "option, or the record is\n"
		   "lost or damaged, it begins anew. The source must be files, the target "
		   "one file.\n\n"
		   "A target called .ova (or -O ova) becomes a package of one machine with all "
		   "sources as its\n"
		   "disks. A source may be a package: ova:FILE#DISK, or --disk when it holds "
		   "several.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 usage, 4 not found, 5 the target exists, 6 locked, 8 corrupt, 9 "
		    "unsupported, 13 no space",
	.min_args = 2,
	.max_args = UINT_MAX,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
