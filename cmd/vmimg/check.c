/* vmimg check: look for faults in an image's metadata, and mend what can be mended. */
#include <inttypes.h>
#include <string.h>

#include "cmd/vmimg/packages.h"
#include "cmd/vmimg/vmimg.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/size.h"
#include "libcommon/image/image.h"
#include "libcommon/package/package.h"

static const char *format, *repair;
static bool deep, shared;

static const struct opt options[] = {
	{'f', "format", OPT_STRING, &format, "FORMAT", "format of the image; probed without it",
	 .complete = COMPLETE_FORMAT},
	{.name = "repair",
	 .type = OPT_OPTIONAL,
	 .value = &repair,
	 .choices = "leaks|all",
	 .help = "mend: leaks alone, or (the default) all that can be mended without guessing"},
	{.name = "deep",
	 .type = OPT_FLAG,
	 .value = &deep,
	 .help = "decompress every compressed cluster too"},
	{'U', "force-share", OPT_FLAG, &shared,
	 .help = "check even while another process writes to it; faults may then be seen that are "
		 "none"},
	OPT_END,
};

/* The faults as they are found: printed at once for people, kept for JSON. */
struct faults {
	json_t *list;
};

static void report(void *ctx, const char *sentence)
{
	struct faults *f = ctx;
	CLEANUP_FREE char *text = f->list ? NULL : cli_printable(sentence);

	if (f->list)
		(void)json_array_append_new(f->list,
					    cli_json_string(sentence)); /* the counts stay true */
	else
		(void)printf("%s\n", text ? text : "?");
}

/* The counts are of what is left after a repair. */
static bool is_clean(const struct image_check_result *r)
{
	return r->corruptions == 0 && r->leaks == 0;
}

static json_t *result_json(const struct image *img, const struct image_check_result *r,
			   json_t *faults)
{
	return json_pack("{s:o, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O}",
			 "name", cli_json_string(image_name(img)), "format", image_format_name(img),
			 "clean", (int)is_clean(r), "corruptions", (json_int_t)r->corruptions,
			 "corruptions_fixed", (json_int_t)r->corruptions_fixed, "leaks",
			 (json_int_t)r->leaks, "leaks_fixed", (json_int_t)r->leaks_fixed,
			 "image_end", (json_int_t)r->image_end, "total_clusters",
			 (json_int_t)r->total_clusters, "allocated_clusters",
			 (json_int_t)r->allocated_clusters, "compressed_clusters",
			 (json_int_t)r->compressed_clusters, "fragmented_clusters",
			 (json_int_t)r->fragmented_clusters, "faults", faults);
}

static unsigned percent(uint64_t part, uint64_t whole)
{
	return whole ? (unsigned)((double)part * 100 / (double)whole + 0.5) : 0;
}

static void count_line(const char *what, uint64_t left, uint64_t fixed)
{
	if (!left && !fixed)
		return;
	(void)printf("%" PRIu64 " %s%s found", left + fixed, what, left + fixed == 1 ? "" : "s");
	if (fixed)
		(void)printf(", %" PRIu64 " mended", fixed);
	(void)putchar('\n');
}

static void print_summary(const struct image_check_result *r)
{
	char size[SIZE_TEXT_MAX];

	if (is_clean(r) && !r->corruptions_fixed && !r->leaks_fixed)
		(void)printf("no faults found\n");
	count_line("corruption", r->corruptions, r->corruptions_fixed);
	count_line("leaked cluster", r->leaks, r->leaks_fixed);
	if (r->total_clusters)
		(void)printf("%" PRIu64 " of %" PRIu64
			     " clusters allocated (%u %%), %u %% of them compressed, "
			     "%u %% fragmented; used up to %s\n",
			     r->allocated_clusters, r->total_clusters,
			     percent(r->allocated_clusters, r->total_clusters),
			     percent(r->compressed_clusters, r->allocated_clusters),
			     percent(r->fragmented_clusters, r->allocated_clusters),
			     size_format(r->image_end, size));
}

static int check(struct cli *cli, struct image *img, json_t *list, struct err *err)
{
	struct faults f = {.list = list};
	struct image_check_result r = {0};
	unsigned flags = deep ? CHECK_DEEP : 0;

	if (repair)
		flags |= !strcmp(repair, "leaks") ? CHECK_REPAIR_LEAKS : CHECK_REPAIR_ALL;
	if (image_check(img, flags, report, &f, &r, err) < 0)
		return -1;
	if (cli->json && cli_print_json(cli, result_json(img, &r, list), err) < 0)
		return -1;
	if (!cli->json && !cli->quiet)
		print_summary(&r);
	if (!is_clean(&r))
		return err_set(err, ERR_CORRUPT, "%s", ""); /* all is said: status 8 alone */
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	/* The backing file is no part of what is checked: it may be missing. */
	struct image_open_opts opts = {
		.format = format,
		.flags = IMAGE_CHECK | IMAGE_NO_BACKING | (repair ? IMAGE_RDWR : 0) |
			 (shared ? IMAGE_SHARED : 0),
	};
	struct image *img;
	json_t *list = NULL;

	(void)argc;
	if (repair && shared) {
		err_set(err, ERR_USAGE, "an image in use cannot be repaired");
		return err_hint(err, "leave out --force-share");
	}
	if (package_named(argv[0], format)) {
		if (repair)
			return err_set(err, ERR_UNSUPPORTED, "packages cannot be repaired");
		return check_package(cli, package_path(argv[0]), opts.flags, deep, err);
	}
	if (image_open(&img, argv[0], &opts, err) < 0)
		return -1;
	if (cli->json)
		list = json_array();

	int rc = cli->json && !list ? err_nomem(err) : check(cli, img, list, err);

	json_decref(list);
	image_close(img);
	return rc;
}

static const char *const examples[] = {
	"vmimg check disk.qcow2",
	"vmimg check --repair --json disk.qcow2",
	NULL,
};

const struct verb verb_check = {
	.name = "check",
	.usage = "[OPTIONS] IMAGE",
	.summary = "look for faults in the metadata, and mend them",
	.details = "Every fault is a line on standard output. Leaked clusters waste space and are "
		   "harmless otherwise; "
		   "corruptions are dangerous. Backing files are not looked at: check them by "
		   "themselves. Formats without "
		   "metadata (raw) have nothing to check: status 9. Of an OVF or OVA every digest "
		   "of the manifest, the "
		   "certificate's signature, sizes, names and order are checked; with --deep the "
		   "disks as well.",
	.options = options,
	.examples = examples,
	.statuses = "0 no faults, or all are mended, 4 no such image, 6 in use, 8 faults remain, "
		    "9 the format has nothing to check, 12 no permission",
	.min_args = 1,
	.max_args = 1,
	.json = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
