/* vmbackup restore: a disk of a snapshot as an image of any format, on a block device or on standard output. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/copy/engine.h"

static struct {
	const char *format, *compress, *digest;
	struct opt_list options;
	bool force, verify;
	unsigned threads;
	uint64_t rate_limit;
} o;

static const struct opt options[] = {
	{.letter = 'O',
	 .name = "target-format",
	 .type = OPT_STRING,
	 .value = &o.format,
	 .arg = "FORMAT",
	 .help = "format of the target (default: by its suffix)",
	 .complete = COMPLETE_FORMAT},
	{.letter = 'o',
	 .name = "option",
	 .type = OPT_LIST,
	 .value = &o.options,
	 .arg = "KEY=VALUE",
	 .help = "option of the target's format; more than once for several"},
	{.letter = 'c',
	 .name = "compress",
	 .type = OPT_OPTIONAL,
	 .value = &o.compress,
	 .arg = "ALGORITHM[:LEVEL]",
	 .help = "compress the target: zlib or zstd (default: the format's own)"},
	{.name = "force",
	 .type = OPT_FLAG,
	 .value = &o.force,
	 .help = "replace a target that exists"},
	{.name = "verify",
	 .type = OPT_FLAG,
	 .value = &o.verify,
	 .help = "read the target again and compare it with the backup before it gets its name"},
	{.name = "digest",
	 .type = OPT_STRING,
	 .value = &o.digest,
	 .arg = "ALGORITHM",
	 .help = "print the digest of the disk's content",
	 .complete = COMPLETE_DIGEST},
	{.name = "threads",
	 .type = OPT_UINT,
	 .value = &o.threads,
	 .arg = "N",
	 .help = "work with so many threads (default: all processors)",
	 .min = 1,
	 .max = 256},
	{.name = "rate-limit",
	 .type = OPT_SIZE,
	 .value = &o.rate_limit,
	 .arg = "SIZE",
	 .help = "read at most this much of the disk's data a second"},
	OPT_END,
};

static const char *const examples[] = {
	"vmbackup -r /backup/vms restore web@latest web.qcow2",
	"vmbackup -r /backup/vms restore web@2026-11-23:vda /dev/vg/web --force --verify",
	"vmbackup -r /backup/vms restore web - | ssh host 'cat > web.raw'",
	NULL,
};

/* Splits "KEY=VALUE" in place of copies that *@ret_text holds together. */
static int parse_options(struct image_option_value **ret, char ***ret_text, struct err *err)
{
	size_t n = o.options.count;

	*ret = calloc(n ? n : 1, sizeof(**ret));
	*ret_text = calloc(n ? n : 1, sizeof(**ret_text));
	if (!*ret || !*ret_text)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++) {
		char *text = (*ret_text)[i] = strdup(o.options.items[i]);
		char *eq = text ? strchr(text, '=') : NULL;

		if (!text)
			return err_nomem(err);
		if (!eq || eq == text)
			return err_set(err, ERR_USAGE, "-o %s is not of the form KEY=VALUE", text);
		*eq = '\0';
		(*ret)[i] = (struct image_option_value){text, eq + 1};
	}
	return 0;
}

static int parse_compress(struct bulk_params *p, struct err *err)
{
	const char *colon = o.compress ? strchr(o.compress, ':') : NULL;
	size_t len = colon ? (size_t)(colon - o.compress) : o.compress ? strlen(o.compress) : 0;
	char *end;
	long level;

	if (!o.compress)
		return 0;
	p->compress = true;
	if (len == 4 && strncmp(o.compress, "zstd", 4) == 0)
		p->compress_codec = CODEC_ZSTD;
	else if ((len == 4 && strncmp(o.compress, "zlib", 4) == 0) ||
		 (len == 7 && strncmp(o.compress, "deflate", 7) == 0))
		p->compress_codec = CODEC_DEFLATE;
	else if (len)
		return err_set(err, ERR_USAGE, "\"%.*s\" is no compression: zlib or zstd", (int)len,
			       o.compress);
	if (!colon)
		return 0;
	level = strtol(colon + 1, &end, 10);
	if (end == colon + 1 || *end || level < 1 || level > 22)
		return err_set(err, ERR_USAGE, "\"%s\" is no level of compression", colon + 1);
	p->compress_level = (int)level;
	return 0;
}

static int say(struct cli *cli, const struct snapshot *s, const char *disk, const char *target,
	       const struct copy_stats *st, struct err *err)
{
	bool to_stdout = strcmp(target, "-") == 0;
	char id[9];

	if (cli->json) {
		CLEANUP_FREE char *name = NULL;

		if (asprintf(&name, "%s@%s", s->vm, snapshot_short_id(&s->id, id)) < 0)
			return err_nomem(err);
		return cli_print_json(
			cli,
			json_pack("{s:s, s:s, s:o, s:I, s:I, s:I, s:o, s:o}", "snapshot", name,
				  "disk", disk, "target", cli_json_string(target), "virtual_size",
				  (json_int_t)st->virtual_size, "data_bytes",
				  (json_int_t)st->data_bytes, "target_bytes",
				  (json_int_t)st->target_bytes, "digest_algorithm",
				  o.digest ? json_string(o.digest) : json_null(), "digest",
				  o.digest ? json_string(st->digest) : json_null()),
			err);
	}
	if (o.digest)
		(void)fprintf(to_stdout ? stderr : stdout, "%s  %s\n", st->digest, target);
	return 0;
}

static int restore(struct cli *cli, struct repo *repo, const struct snapshot *s, const char *disk,
		   const char *target, const struct copy_opts *opts, struct err *err)
{
	struct copy_stats stats;
	struct image *img;
	int rc;

	if (repo_open_disk(repo, s, disk, &img, err) < 0)
		return -1;
	rc = image_copy(img, target, opts, &stats, err);
	image_close(img);
	if (rc < 0)
		return -1;
	return say(cli, s, disk ? disk : s->disks[0].name, target, &stats, err);
}

static int find_and_restore(struct cli *cli, const char *spec, const char *target,
			    const struct copy_opts *opts, struct err *err)
{
	CLEANUP_FREE char *disk = NULL;
	struct snapshot *s;
	struct repo *repo;
	int rc;

	if (vmbackup_open(&repo, err) < 0)
		return -1;
	rc = repo_find_disk(repo, spec, &s, &disk, err);
	if (rc == 0) {
		rc = restore(cli, repo, s, disk, target, opts, err);
		snapshots_free(s, 1);
	}
	repo_close(repo);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct image_option_value *values = NULL;
	char **text = NULL;
	struct copy_opts opts = {
		.threads = o.threads,
		.digest = o.digest,
		.force = o.force,
		.verify = o.verify,
		.rate_limit = o.rate_limit,
		.progress = &cli->progress,
		.target_format = o.format,
	};
	int rc = 0;

	(void)argc;
	if (strcmp(argv[1], "-") == 0) {
		if (cli->json)
			rc = err_set(err, ERR_USAGE,
				     "--json and the disk cannot both go to standard output");
		else
			rc = cli_refuse_terminal(err);
	}
	if (rc == 0)
		rc = parse_options(&values, &text, err);
	if (rc == 0)
		rc = parse_compress(&opts.params, err);
	opts.params.options = values;
	opts.params.n_options = o.options.count;
	if (rc == 0)
		rc = find_and_restore(cli, argv[0], argv[1], &opts, err);
	for (size_t i = 0; text && i < o.options.count; i++)
		free(text[i]);
	free(text);
	free(values);
	return rc;
}

const struct verb verb_restore = {
	.name = "restore",
	.usage = "[OPTIONS] NAME@WHEN[:DISK] TARGET|-",
	.summary = "write a disk of a snapshot to an image, a block device or standard output",
	.details = "WHEN is \"latest\" (also when it is left out), at least four digits of a "
		   "snapshot's id, or a date or "
		   "time: the newest snapshot not after it. DISK is needed when the snapshot has "
		   "several. The target "
		   "appears under its name only when it is whole.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 4 no such snapshot or disk, 5 the target exists, 8 the backup is "
		    "damaged, 12 wrong "
		    "passphrase, 13 no space",
	.min_args = 2,
	.max_args = 2,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_SNAPSHOT,
	.run = run,
};
