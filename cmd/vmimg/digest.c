/* vmimg digest: what sha256sum would say of the disk as a raw file. */
#include <errno.h>
#include <string.h>

#include "cmd/vmimg/vmimg.h"
#include "libcommon/base/log.h"
#include "libcommon/image/copy/engine.h"
#include "libcommon/image/image.h"

static struct {
	const char *algorithm, *format, *snapshot;
	struct opt_list allow;
	bool shared;
	unsigned threads;
} o = {.algorithm = "sha256"};

static const struct opt options[] = {
	{'a', "algorithm", OPT_STRING, &o.algorithm, .arg = "ALGORITHM",
	 .help = "sha256 (default), sha512, sha384, sha1, blake2b or md5",
	 .complete = COMPLETE_DIGEST},
	{'f', "format", OPT_STRING, &o.format, .arg = "FORMAT",
	 .help = "format of the images; without it they are probed", .complete = COMPLETE_FORMAT},
	{0, "snapshot", OPT_STRING, &o.snapshot, .arg = "NAME",
	 .help = "read this internal snapshot, by name or id"},
	{0, "allow-backing", OPT_LIST, &o.allow, .arg = "DIR",
	 .help = "folder outside of an image's own where its chain may lead",
	 .complete = COMPLETE_DIR},
	{'U', "force-share", OPT_FLAG, &o.shared,
	 .help = "read images that another process may be writing"},
	{0, "threads", OPT_UINT, &o.threads, .arg = "N",
	 .help = "threads; default: the processors this process may use", .min = 1, .max = 1024},
	OPT_END};

static const char *const examples[] = {"vmimg digest disk.qcow2",
				       "vmimg digest --algorithm blake2b *.qcow2",
				       "vmimg digest --json disk.qcow2", NULL};

/* As sha256sum: a name with a newline or a backslash is escaped, and a backslash before the line says so. */
static int print_line(const char *hex, const char *name, struct err *err)
{
	bool escape = strpbrk(name, "\\\n\r") != NULL;

	printf("%s%s  ", escape ? "\\" : "", hex);
	for (; *name; name++) {
		const char *as = *name == '\\'	 ? "\\\\"
				 : *name == '\n' ? "\\n"
				 : *name == '\r' ? "\\r"
						 : NULL;

		if (as)
			(void)fputs(as, stdout);
		else
			(void)putchar(*name);
	}
	(void)putchar('\n');
	errno = 0;
	if (fflush(stdout) != 0) /* now: the next one may take minutes */
		return err_sys(err, "cannot write to standard output");
	return 0;
}

static int digest_one(struct cli *cli, const char *name, json_t *list, struct err *err)
{
	const struct image_open_opts opts = {.format = o.format,
					     .flags = o.shared ? IMAGE_SHARED : 0,
					     .snapshot = o.snapshot,
					     .allow_dirs = o.allow.items,
					     .n_allow_dirs = o.allow.count};
	struct image *img;
	char hex[129];
	int rc;

	if (image_open(&img, name, &opts, err) < 0)
		return -1;
	rc = image_digest(img, o.algorithm, o.threads, &cli->progress, hex, err);
	if (rc == 0 && !cli->json)
		rc = print_line(hex, name, err);
	if (rc == 0 && cli->json &&
	    json_array_append_new(list,
				  json_pack("{s:o, s:s, s:s, s:I}", "name", cli_json_string(name),
					    "algorithm", o.algorithm, "digest", hex, "virtual_size",
					    (json_int_t)image_size(img))) < 0)
		rc = err_nomem(err);
	image_close(img);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	json_t *list = json_array();
	int failed = 0, rc = 0;

	if (!list)
		return err_nomem(err);
	for (int i = 0; i < argc && rc == 0; i++) {
		struct err one = ERR_INIT;

		if (digest_one(cli, argv[i], list, &one) == 0)
			continue;
		/* One of several does not keep the others from being read; a signal or a usage error does. */
		if (argc == 1 || one.code == ERR_CANCELLED || one.code == ERR_USAGE ||
		    one.code == ERR_PIPE) {
			*err = one;
			rc = -1;
		}
		failed++;
		if (rc == 0)
			log_warning("%s: %s", one.object[0] ? one.object : argv[i], one.message);
	}
	if (rc == 0 && cli->json)
		rc = cli_print_json(cli, json_incref(list), err);
	json_decref(list);
	if (rc == 0 && failed)
		return err_set(err, ERR_DIFFERS, "%d of %d images could not be read", failed, argc);
	return rc;
}

const struct verb verb_digest = {
	.name = "digest",
	.usage = "[OPTIONS] IMAGE...",
	.summary = "print a digest of the disk's content, independent of the format",
	.details = "The value is that of the disk as a raw file, so sha256sum -c agrees after a "
		   "conversion to raw.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 usage, 3 some images could not be read, 4 not found, 6 locked, 8 "
		    "corrupt",
	.min_args = 1,
	.max_args = (unsigned)-1,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
