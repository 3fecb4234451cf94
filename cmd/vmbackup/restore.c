/* vmbackup restore: a disk of a snapshot as an image of any format, on a block device or on standard output. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/vmbackup/define.h"
#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/outfile.h"
#include "libcommon/image/copy/engine.h"
#include "libcommon/image/format.h"

static struct {
	const char *format, *compress, *digest;
	struct opt_list options;
	bool force, verify, differential;
	unsigned threads;
	uint64_t rate_limit;
	struct define_args define;
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
	{.name = "differential",
	 .type = OPT_FLAG,
	 .value = &o.differential,
	 .help = "write into the target that is there, and only what differs; a target that is not "
		 "there is made"},
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
	{.name = "define",
	 .type = OPT_FLAG,
	 .value = &o.define.define,
	 .help = "bring the machine back: TARGET is a folder for all disks of a backup of "
		 "--domain, "
		 "and libvirt gets the machine's definition"},
	{.name = "name",
	 .type = OPT_STRING,
	 .value = &o.define.name,
	 .arg = "NAME",
	 .help = "with --define: as another machine of this name, with a UUID and MAC addresses of "
		 "its own"},
	{.name = "connect",
	 .type = OPT_STRING,
	 .value = &o.define.uri,
	 .arg = "URI",
	 .help = "with --define: libvirt's URI (default: libvirt's own)",
	 .env = "VMKIT_CONNECT"},
	OPT_END,
};

static const char *const examples[] = {
	"vmbackup -r /backup/vms restore web@latest web.qcow2",
	"vmbackup -r /backup/vms restore web@2026-11-23:vda /dev/vg/web --force --verify",
	"vmbackup -r /backup/vms restore --differential web:vda /dev/vg/web",
	"vmbackup -r /backup/vms restore -O qcow2 web@latest /var/lib/libvirt/images/",
	"vmbackup -r /backup/vms restore --define --name test web@latest /var/lib/vms",
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

/* What became of one disk. */
struct restored {
	const char *disk, *target;
	uint64_t size, data_bytes, written_bytes, target_bytes;
	char digest[129];
};

static json_t *restored_json(const struct snapshot *s, const struct restored *r)
{
	char name[80], id[9];

	(void)snprintf(name, sizeof(name), "%s@%s", s->vm, snapshot_short_id(&s->id, id));
	return json_pack("{s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:o, s:o}", "snapshot", name, "disk",
			 r->disk, "target", cli_json_string(r->target), "virtual_size",
			 (json_int_t)r->size, "data_bytes", (json_int_t)r->data_bytes,
			 "written_bytes", (json_int_t)r->written_bytes, "target_bytes",
			 (json_int_t)r->target_bytes, "digest_algorithm",
			 o.digest ? json_string(o.digest) : json_null(), "digest",
			 o.digest ? json_string(r->digest) : json_null());
}

static void say(const struct restored *r)
{
	if (o.digest)
		(void)fprintf(strcmp(r->target, "-") == 0 ? stderr : stdout, "%s  %s\n", r->digest,
			      r->target);
}

static int open_target(struct image **ret, const char *target, struct err *err)
{
	const struct image_format *format = o.format ? NULL : image_format_of_suffix(target);
	struct image_open_opts opts = {
		.format = o.format ? o.format
			  : format ? format->name
				   : "raw",
		.flags = IMAGE_RDWR,
	};

	return image_open(ret, target, &opts, err);
}

static int fit_target(struct image *target, uint64_t size, struct err *err)
{
	if (image_size(target) == size || (target->file && target->file->is_blockdev))
		return 0;
	return image_resize(target, size, err);
}

static bool is_in_place(const char *target)
{
	return o.differential && access(target, F_OK) == 0;
}

/* Would it be refused? With several disks all are asked before the first is written. */
static int check_target(struct repo *repo, const struct snapshot *s, const struct snapshot_disk *d,
			const char *target, const struct copy_opts *opts, struct err *err)
{
	bool in_place = is_in_place(target);
	struct image *img = NULL;
	const char *format;
	int rc = in_place ? open_target(&img, target, err)
			  : repo_open_disk(repo, s, d->name, &img, err);

	if (rc == 0 && !in_place)
		rc = image_copy_check(img, target, opts, &format, err);
	else if (rc == 0 && image_size(img) < d->size && img->file && img->file->is_blockdev)
		rc = err_set(err, ERR_NO_SPACE, "is smaller than the disk %s", d->name);
	image_close(img);
	return rc < 0 ? err_object(err, target) : 0;
}

/* The image that is there gets what differs. */
static int restore_in_place(struct cli *cli, struct repo *repo, const struct snapshot *s,
			    struct image *img, struct restored *r, struct err *err)
{
	const struct differential_opts opts = {
		.threads = o.threads, .rate_limit = o.rate_limit, .progress = &cli->progress};
	struct image *target;
	struct compare_result cmp;
	int rc;

	if (open_target(&target, r->target, err) < 0)
		return -1;
	rc = fit_target(target, r->size, err);
	if (rc == 0)
		rc = repo_restore_differential(repo, s, r->disk, target, &opts, &r->written_bytes,
					       err);
	if (rc == 0 && o.verify) {
		rc = image_compare(img, target, o.threads, false, false, &cli->progress, &cmp, err);
		if (rc == 0 && !cmp.equal)
			rc = err_set(err, ERR_CORRUPT,
				     "does not hold what was written at offset "
				     "%" PRIu64,
				     cmp.first_difference);
	}
	if (rc == 0 && o.digest)
		rc = image_digest(img, o.digest, o.threads, &cli->progress, r->digest, err);
	if (target->file)
		r->target_bytes = bfile_allocated(target->file);
	image_close(target);
	return rc < 0 ? err_object(err, r->target) : 0;
}

static int restore_new(struct image *img, const struct copy_opts *opts, struct restored *r,
		       struct err *err)
{
	struct copy_stats st;

	if (image_copy(img, r->target, opts, &st, err) < 0)
		return -1;
	r->written_bytes = st.data_bytes;
	r->target_bytes = st.target_bytes;
	(void)snprintf(r->digest, sizeof(r->digest), "%s", st.digest);
	return 0;
}

static int restore_disk(struct cli *cli, struct repo *repo, const struct snapshot *s,
			const struct snapshot_disk *d, const char *target,
			const struct copy_opts *opts, json_t *list, struct err *err)
{
	struct restored r = {
		.disk = d->name, .target = target, .size = d->size, .data_bytes = d->data_bytes};
	struct image *img;
	int rc;

	if (repo_open_disk(repo, s, d->name, &img, err) < 0)
		return -1;
	if (is_in_place(target))
		rc = restore_in_place(cli, repo, s, img, &r, err);
	else
		rc = restore_new(img, opts, &r, err);
	image_close(img);
	if (rc < 0)
		return -1;
	if (!cli->json)
		say(&r);
	return json_array_append_new(list, restored_json(s, &r)) < 0 ? err_nomem(err) : 0;
}

static int find_disk(const struct snapshot *s, const char *name, const struct snapshot_disk **ret,
		     struct err *err)
{
	for (size_t i = 0; i < s->n_disks; i++)
		if (name ? strcmp(name, s->disks[i].name) == 0 : s->n_disks == 1) {
			*ret = &s->disks[i];
			return 0;
		}
	if (name)
		return err_set(err, ERR_NOT_FOUND, "the snapshot has no disk %s", name);
	err_set(err, ERR_USAGE, "the snapshot has %zu disks", s->n_disks);
	return err_hint(err, "say which one, NAME@WHEN:DISK, or name a folder for all of them");
}

static bool is_folder(const char *target)
{
	size_t len = strlen(target);
	struct stat st;

	return (len && target[len - 1] == '/') || (stat(target, &st) == 0 && S_ISDIR(st.st_mode));
}

/* *@ret is owned, NULL when there is nothing to write */
static int machine_path(const struct snapshot *s, const char *folder, char **ret, struct err *err)
{
	*ret = NULL;
	if (!s->machine)
		return 0;
	if (asprintf(ret, "%s/machine.%s", folder, *s->machine == '<' ? "xml" : "txt") < 0) {
		*ret = NULL;
		return err_nomem(err);
	}
	return 0;
}

/* It may hold passwords: libvirt's of VNC, and others. */
static int write_machine(const struct snapshot *s, const char *path, struct err *err)
{
	return outfile_write(path, s->machine, strlen(s->machine),
			     OUTFILE_PRIVATE | (o.force || o.differential ? OUTFILE_FORCE : 0),
			     err);
}

static int check_machine(const char *path, struct err *err)
{
	struct outfile *of;

	if (outfile_open(&of, path, o.force || o.differential ? OUTFILE_FORCE : 0, err) < 0)
		return -1;
	outfile_discard(of);
	return 0;
}

static int suffix_of(const char *format, const char **ret, struct err *err)
{
	const struct image_format *f;

	*ret = "raw";
	if (!format)
		return 0;
	if (image_format_find(&f, format, err) < 0)
		return -1;
	*ret = f->suffixes && *f->suffixes ? *f->suffixes : f->name;
	return 0;
}

/* Each disk as DISK.SUFFIX, and what describes the machine. Once to look, once to write. */
static int each_target(struct cli *cli, struct repo *repo, const struct snapshot *s,
		       const char *only, const char *folder, struct copy_opts *opts, json_t *list,
		       bool write, struct err *err)
{
	CLEANUP_FREE char *machine = NULL;
	const char *suffix;
	int rc = suffix_of(o.format, &suffix, err);

	if (rc == 0 && !only)
		rc = machine_path(s, folder, &machine, err);
	for (size_t i = 0; rc == 0 && i < s->n_disks; i++) {
		const struct snapshot_disk *d = &s->disks[i];
		CLEANUP_FREE char *path = NULL;

		if (only && strcmp(only, d->name) != 0)
			continue;
		if (asprintf(&path, "%s/%s.%s", folder, d->name, suffix) < 0) {
			path = NULL;
			return err_nomem(err);
		}
		rc = write ? restore_disk(cli, repo, s, d, path, opts, list, err)
			   : check_target(repo, s, d, path, opts, err);
	}
	if (rc == 0 && machine)
		rc = write ? write_machine(s, machine, err) : check_machine(machine, err);
	return rc;
}

static int restore_folder(struct cli *cli, struct repo *repo, const struct snapshot *s,
			  const char *only, const char *folder, struct copy_opts *opts,
			  json_t *list, struct err *err)
{
	bool made = mkdir(folder, 0777) == 0;
	int rc;

	if (!made && errno != EEXIST)
		return err_object(err, folder), err_sys(err, "cannot make the folder");
	rc = each_target(cli, repo, s, only, folder, opts, list, false, err);
	if (rc < 0) {
		if (made)
			(void)rmdir(folder);
		return -1;
	}
	return each_target(cli, repo, s, only, folder, opts, list, true, err);
}

static int restore(struct cli *cli, struct repo *repo, const struct snapshot *s, const char *disk,
		   const char *target, struct copy_opts *opts, struct err *err)
{
	json_t *list = json_array();
	const struct snapshot_disk *d = NULL;
	int rc = list ? 0 : err_nomem(err);

	if (rc == 0 && (disk || !is_folder(target)))
		rc = find_disk(s, disk, &d, err);
	if (rc == 0 && is_folder(target))
		rc = restore_folder(cli, repo, s, disk, target, opts, list, err);
	else if (rc == 0)
		rc = restore_disk(cli, repo, s, d, target, opts, list, err);
	if (rc == 0 && cli->json) {
		json_t *out = is_folder(target) ? json_incref(list)
						: json_incref(json_array_get(list, 0));

		rc = cli_print_json(cli, out, err);
	}
	json_decref(list);
	return rc;
}

static int find_and_restore(struct cli *cli, const char *spec, const char *target,
			    struct copy_opts *opts, struct err *err)
{
	CLEANUP_FREE char *disk = NULL;
	struct snapshot *s;
	struct repo *repo;
	int rc;

	if (vmbackup_open(&repo, err) < 0)
		return -1;
	rc = repo_find_disk(repo, spec, &s, &disk, err);
	if (rc == 0 && o.define.define) {
		rc = disk ? err_set(err, ERR_USAGE, "--define restores all disks")
			  : restore_define(cli, repo, s, target, &o.define, opts, err);
		snapshots_free(s, 1);
	} else if (rc == 0) {
		rc = restore(cli, repo, s, disk, target, opts, err);
		snapshots_free(s, 1);
	}
	repo_close(repo);
	return rc;
}

/* What has no meaning for a target that is there already. */
static int check_differential(const char *target, struct err *err)
{
	if (!o.differential)
		return 0;
	if (strcmp(target, "-") == 0)
		return err_set(err, ERR_USAGE, "standard output holds nothing that could differ");
	if (o.compress || o.options.count)
		return err_set(err, ERR_USAGE,
			       "--differential keeps the target as it was made: no -c, no -o");
	return 0;
}

static int check(int argc, char **argv, struct err *err)
{
	struct bulk_params params = {0};
	struct digest *digest = NULL;
	const struct image_format *format;

	(void)argc;
	if (o.define.name && !o.define.define)
		return err_set(err, ERR_USAGE, "--name goes with --define");
	if (o.define.define && (o.digest || o.differential))
		return err_set(
			err, ERR_USAGE,
			"--digest and --differential are for one disk, --define restores all");
	if (o.define.define && strcmp(argv[1], "-") == 0)
		return err_set(err, ERR_USAGE, "--define needs a folder");
	if (o.digest && digest_new(&digest, o.digest, err) < 0)
		return -1;
	digest_free(digest);
	if (o.format && image_format_find(&format, o.format, err) < 0)
		return -1;
	if (check_differential(argv[1], err) < 0)
		return -1;
	return parse_compress(&params, err);
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
	.usage = "[OPTIONS] NAME@WHEN[:DISK] TARGET|FOLDER|-",
	.summary = "write disks of a snapshot to images, a block device or standard output",
	.details =
		"WHEN is \"latest\" (also when it is left out), at least four digits of a "
		"snapshot's id, or a date or "
		"time: the newest snapshot not after it. DISK is needed when the snapshot has "
		"several, unless the target is a folder (one that is there, or a name that ends "
		"with /): then each is DISK.SUFFIX in it, raw without -O, and the machine's "
		"description machine.xml. A target "
		"appears under its name only when it is whole.\n\n"
		"With --differential the target is changed in place: it is read, and what differs "
		"from the backup is written. A run that was stopped leaves a mixture; the next "
		"one makes it right. An image that another process uses is refused.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 4 no such snapshot or disk, 5 the target exists, 6 it is in use, 8 "
		    "the backup is "
		    "damaged, 12 wrong "
		    "passphrase, 13 no space",
	.min_args = 2,
	.max_args = 2,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_SNAPSHOT,
	.check = check,
	.run = run,
};
