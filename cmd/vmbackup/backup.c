/* vmbackup backup: one snapshot of a machine's disks. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/vmbackup/domain.h"
#include "cmd/vmbackup/keep_bitmap.h"
#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/io.h"
#include "libcommon/base/size.h"
#include "libcommon/image/format.h"

enum { MACHINE_MAX = 1 << 20 };

static struct {
	const char *vm, *format, *description, *machine, *consistency;
	struct opt_list tags, allow;
	unsigned level, threads;
	bool shared, full, no_full, keep_clone, keep_bitmap, dry_run;
	uint64_t rate_limit;
	struct domain_args domain;
} o;

static const struct opt options[] = {
	{.name = "vm",
	 .type = OPT_STRING,
	 .value = &o.vm,
	 .arg = "NAME",
	 .help = "the machine's name; needed without --domain"},
	{.name = "domain",
	 .type = OPT_STRING,
	 .value = &o.domain.name,
	 .arg = "MACHINE",
	 .help = "a libvirt machine, running or not, instead of images: its disks at one moment, "
		 "and its XML",
	 .complete = COMPLETE_MACHINE},
	{.letter = 'c',
	 .name = "connect",
	 .type = OPT_STRING,
	 .value = &o.domain.uri,
	 .arg = "URI",
	 .help = "with --domain: libvirt's URI (default: libvirt's own)",
	 .env = "VMKIT_CONNECT"},
	{.name = "quiesce",
	 .type = OPT_CHOICE,
	 .value = &o.domain.quiesce,
	 .choices = "auto|require|no",
	 .arg = "HOW",
	 .help = "with --domain: freeze the guest's file systems for the moment: auto (default) "
		 "when its agent answers"},
	{.name = "exclude-disk",
	 .type = OPT_LIST,
	 .value = &o.domain.exclude,
	 .arg = "DISK",
	 .help = "with --domain: leave this disk out"},
	{.name = "no-checkpoint",
	 .type = OPT_FLAG,
	 .value = &o.domain.no_checkpoint,
	 .help = "with --domain: leave no checkpoint in the machine, so that the next backup reads "
		 "all"},
	{.name = "scratch",
	 .type = OPT_STRING,
	 .value = &o.domain.scratch,
	 .arg = "DIR",
	 .help = "with --domain: where what a guest overwrites is kept meanwhile (default: TMPDIR, "
		 "else /var/tmp)",
	 .complete = COMPLETE_DIR},
	{.letter = 't',
	 .name = "tag",
	 .type = OPT_LIST,
	 .value = &o.tags,
	 .arg = "TAG",
	 .help = "mark the snapshot with this; more than once for several"},
	{.name = "description",
	 .type = OPT_STRING,
	 .value = &o.description,
	 .arg = "TEXT",
	 .help = "a sentence for people, kept in the snapshot"},
	{.name = "machine",
	 .type = OPT_STRING,
	 .value = &o.machine,
	 .arg = "FILE",
	 .help = "what describes the machine, kept in the snapshot: libvirt's XML or any other "
		 "text; - is standard input",
	 .complete = COMPLETE_FILE},
	{.name = "consistency",
	 .type = OPT_CHOICE,
	 .value = &o.consistency,
	 .choices = "quiesced|offline|crash|unknown|none",
	 .arg = "STATE",
	 .help = "what state the disks are in, when the caller knows better than the locks: "
		 "crash for a storage snapshot of a running machine, quiesced when its file "
		 "systems were frozen"},
	{.letter = 'f',
	 .name = "format",
	 .type = OPT_STRING,
	 .value = &o.format,
	 .arg = "FORMAT",
	 .help = "format of the images (default: probed)",
	 .complete = COMPLETE_FORMAT},
	{.letter = 'U',
	 .name = "force-share",
	 .type = OPT_FLAG,
	 .value = &o.shared,
	 .help = "read images that are in use: no consistent state is promised"},
	{.name = "allow-backing",
	 .type = OPT_LIST,
	 .value = &o.allow,
	 .arg = "DIR",
	 .help = "backing files may lie below this folder too",
	 .complete = COMPLETE_DIR},
	{.name = "level",
	 .type = OPT_UINT,
	 .value = &o.level,
	 .arg = "N",
	 .help = "zstd level (default: the repository's)",
	 .min = 1,
	 .max = 22},
	{.name = "full",
	 .type = OPT_FLAG,
	 .value = &o.full,
	 .help = "read everything, whatever says what changed"},
	{.name = "no-full",
	 .type = OPT_FLAG,
	 .value = &o.no_full,
	 .help = "fail rather than read a disk whole because nothing tells what changed in it"},
	{.name = "keep-clone",
	 .type = OPT_FLAG,
	 .value = &o.keep_clone,
	 .help = "leave a reflink clone of each image beside it (XFS, btrfs), which tells the next "
		 "backup what changed; it takes the space of what changes"},
	{.name = "keep-bitmap",
	 .type = OPT_FLAG,
	 .value = &o.keep_bitmap,
	 .help = "leave a dirty bitmap in each qcow2 image, which QEMU keeps up to date and which "
		 "tells the next backup what changed; qemu-img makes it"},
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
	 .help = "read at most this much a second"},
	{.letter = 'n',
	 .name = "dry-run",
	 .type = OPT_FLAG,
	 .value = &o.dry_run,
	 .help = "read and compare, but store nothing; with --json says what would be new"},
	OPT_END,
};

static const char *const examples[] = {
	"vmbackup -r /backup/vms backup --vm web /var/lib/libvirt/images/web.qcow2",
	"vmbackup -r /backup/vms backup --vm db --tag weekly root=db.qcow2 data=/dev/vg/db",
	"virsh dumpxml web | vmbackup -r /backup/vms backup --vm web --machine - web.qcow2",
	"vmbackup -r /backup/vms backup --domain web -c qemu:///system",
	"ssh host cat /dev/vg/db | vmbackup -r /backup/vms backup --vm db -",
	NULL,
};

/* "DISK=IMAGE": a name and "=" in front; an image whose path has one is written ./a=b. */
static const char *split_argument(const char *arg, size_t i, char name[65])
{
	const char *eq = strchr(arg, '=');

	if (eq && eq > arg && eq - arg <= 64) {
		(void)snprintf(name, 65, "%.*s", (int)(eq - arg), arg);
		if (repo_name_valid(name))
			return eq + 1;
	}
	if (i < 26)
		(void)snprintf(name, 65, "vd%c", (char)('a' + i));
	else
		(void)snprintf(name, 65, "vd%c%c", (char)('a' + (i / 26 - 1) % 26),
			       (char)('a' + i % 26));
	return arg;
}

static json_t *stats_json(const struct backup_stats *s, const char *const *names, size_t n)
{
	char hex[65];
	json_t *disks = json_array();

	hex_encode(s->snapshot.bytes, sizeof(s->snapshot.bytes), hex);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(disks, json_string(names[i]));
	return json_pack("{s:o, s:o, s:s, s:o, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}",
			 "snapshot", o.dry_run ? json_null() : json_string(hex), "name",
			 o.dry_run ? json_null() : json_string(s->name), "vm", o.vm, "disks", disks,
			 "dry_run", (int)o.dry_run, "virtual_bytes", (json_int_t)s->virtual_bytes,
			 "data_bytes", (json_int_t)s->data_bytes, "read_bytes",
			 (json_int_t)s->read_bytes, "new_bytes", (json_int_t)s->new_bytes,
			 "stored_bytes", (json_int_t)s->stored_bytes, "chunks",
			 (json_int_t)s->chunks, "new_chunks", (json_int_t)s->new_chunks, "seconds",
			 s->seconds);
}

static int say(struct cli *cli, const struct backup_stats *s, const char *const *names, size_t n,
	       struct err *err)
{
	char read[SIZE_TEXT_MAX], data[SIZE_TEXT_MAX], stored[SIZE_TEXT_MAX], fresh[SIZE_TEXT_MAX],
		time[SIZE_TEXT_MAX];

	if (cli->json)
		return cli_print_json(cli, stats_json(s, names, n), err);
	if (cli->verbose || o.dry_run)
		(void)printf("%s: %s of data, %s read, %s new, %s stored, %s\n",
			     o.dry_run ? o.vm : s->name, size_format(s->data_bytes, data),
			     size_format(s->read_bytes, read), size_format(s->new_bytes, fresh),
			     size_format(s->stored_bytes, stored),
			     duration_format(s->seconds, time));
	return 0;
}

/* A whole small text, from a file or from standard input; *@ret is owned, NULL when there is none. */
static int read_machine(char **ret, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	ssize_t n;

	*ret = NULL;
	if (!o.machine)
		return 0;
	if (strcmp(o.machine, "-") == 0) {
		text = malloc(MACHINE_MAX + 2);
		if (!text)
			return err_nomem(err);
		n = io_read_upto(STDIN_FILENO, text, MACHINE_MAX + 1, err);
		if (n < 0)
			return -1;
		text[n] = '\0';
	} else {
		size_t len;

		if (io_read_file(o.machine, MACHINE_MAX + 1, &text, &len, err) < 0)
			return err_object(err, o.machine);
		n = (ssize_t)len;
	}

	json_t *utf8 = n > 0 && n <= MACHINE_MAX ? json_stringn(text, (size_t)n) : NULL;

	json_decref(utf8);
	if (!utf8 || strlen(text) != (size_t)n) {
		err_set(err, ERR_USAGE, "a machine's description is 1 byte to 1 MiB of UTF-8 text");
		return err_object(err, o.machine);
	}
	*ret = steal_ptr(&text);
	return 0;
}

static struct image_open_opts open_opts(void)
{
	return (struct image_open_opts){
		.format = o.format,
		.flags = o.shared ? IMAGE_SHARED : 0,
		.allow_dirs = o.allow.items,
		.n_allow_dirs = o.allow.count,
	};
}

/* Before the images are opened: what is written from now on is marked. @ret: as many names, owned, or NULL */
static void begin_bitmaps(struct repo *repo, char **argv, size_t n, char **ret)
{
	const struct image_open_opts opts = open_opts();

	for (size_t i = 0; i < n && o.keep_bitmap && !o.dry_run && !o.shared; i++) {
		char name[65];
		const char *path = split_argument(argv[i], i, name);

		if (strcmp(path, "-") != 0)
			keep_bitmap_begin(repo, o.vm, name, path, &opts, &ret[i]);
	}
}

static void end_bitmaps(struct repo *repo, const struct backup_disk *disks, size_t n, char **names)
{
	const struct image_open_opts opts = open_opts();

	for (size_t i = 0; i < n; i++)
		if (names[i])
			keep_bitmap_end(repo, disks[i].name, disks[i].source, &opts, names[i]);
}

/* argv opened one by one; what is open is closed by the caller. */
static int open_disks(char **argv, size_t n, struct backup_disk *disks, char (*names)[65],
		      char **bitmaps, struct err *err)
{
	const struct image_open_opts opts = open_opts();

	for (size_t i = 0; i < n; i++) {
		const char *path = split_argument(argv[i], i, names[i]);

		disks[i] = (struct backup_disk){.name = names[i],
						.source = path,
						.consistency = o.consistency,
						.checkpoint = bitmaps[i]};
		if (image_open(&disks[i].image, path, &opts, err) < 0)
			return err_object(err, path);
	}
	return 0;
}

static struct backup_opts common_opts(struct cli *cli)
{
	return (struct backup_opts){
		.vm = o.vm,
		.tags = o.tags.items,
		.n_tags = o.tags.count,
		.description = o.description,
		.compression_level = (int)o.level,
		.threads = o.threads,
		.no_parent = o.full,
		.no_full = o.no_full,
		.keep_clones = o.keep_clone,
		.dry_run = o.dry_run,
		.progress = cli ? &cli->progress : NULL,
		.rate_limit = o.rate_limit,
	};
}

static int run_on(struct cli *cli, struct repo *repo, struct backup_disk *disks, size_t n,
		  const char *machine, struct err *err)
{
	struct backup_opts opts = common_opts(cli);
	CLEANUP_FREE const char **names = calloc(n, sizeof(*names));
	struct backup_stats stats;

	if (!names)
		return err_nomem(err);
	opts.disks = disks;
	opts.n_disks = n;
	opts.machine = machine;
	for (size_t i = 0; i < n; i++)
		names[i] = disks[i].name;
	return repo_backup(repo, &opts, &stats, err) < 0 ? -1 : say(cli, &stats, names, n, err);
}

static json_t *domain_json(const struct domain_report *r)
{
	json_t *incremental = json_array();

	for (size_t i = 0; i < r->n_disks; i++)
		if (r->incremental[i])
			json_array_append_new(incremental, json_string(r->disks[i]));
	return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "name", r->name, "state", r->state,
			 "consistency", r->consistency, "freeze_ms",
			 r->frozen ? json_real(r->freeze_ms) : json_null(), "checkpoint",
			 *r->checkpoint ? json_string(r->checkpoint) : json_null(), "incremental",
			 incremental);
}

static int say_domain(struct cli *cli, const struct backup_stats *s, const struct domain_report *r,
		      struct err *err)
{
	const char *const *names = (const char *const *)r->disks;

	if (cli->json) {
		json_t *out = stats_json(s, names, r->n_disks);

		if (out)
			json_object_set_new(out, "domain", domain_json(r));
		return cli_print_json(cli, out, err);
	}
	if (cli->verbose || o.dry_run) {
		(void)printf("%s: %s, %s", r->name, r->state, r->consistency);
		if (r->frozen)
			(void)printf(", frozen for %.1f ms", r->freeze_ms);
		(void)printf("\n");
	}
	return say(cli, s, names, r->n_disks, err);
}

static int run_domain(struct cli *cli, struct err *err)
{
	const struct image_open_opts open = {.allow_dirs = o.allow.items,
					     .n_allow_dirs = o.allow.count};
	struct backup_opts opts = common_opts(cli);
	struct domain_report report = {0};
	struct backup_stats stats;
	int rc;

	o.domain.no_full = o.no_full;
	rc = domain_backup(&o.domain, &opts, &open, &stats, &report, err);
	if (rc == 0 && !o.vm)
		o.vm = report.name;
	if (rc == 0)
		rc = say_domain(cli, &stats, &report, err);
	domain_report_release(&report);
	return rc;
}

static int check_domain(int argc, struct err *err)
{
	if (argc || o.machine || o.consistency || o.format || o.shared || o.keep_bitmap)
		return err_set(err, ERR_USAGE,
			       "--domain finds images, formats, description and state by itself");
	if (o.vm && !repo_name_valid(o.vm))
		return err_set(err, ERR_USAGE, "\"%s\" cannot be a name in the repository", o.vm);
	return 0;
}

static int check_images(size_t n, char **argv, struct err *err)
{
	CLEANUP_FREE struct backup_disk *disks = calloc(n + 1, sizeof(*disks));
	CLEANUP_FREE char(*names)[65] = calloc(n + 1, sizeof(*names));
	struct backup_opts opts = common_opts(NULL);
	const struct image_format *format;
	size_t pipes = o.machine && strcmp(o.machine, "-") == 0;

	if (!disks || !names)
		return err_nomem(err);
	if (o.domain.quiesce || o.domain.exclude.count || o.domain.no_checkpoint ||
	    o.domain.scratch)
		return err_set(err, ERR_USAGE, "an option that only goes with --domain is given");
	if (!o.vm) {
		err_set(err, ERR_USAGE, "the machine has no name");
		return err_hint(err, "say --vm NAME, or --domain for a libvirt machine");
	}
	if (n == 0)
		return err_set(err, ERR_USAGE, "no image is named");
	for (size_t i = 0; i < n; i++) {
		pipes += strcmp(split_argument(argv[i], i, names[i]), "-") == 0;
		disks[i].name = names[i];
	}
	if (pipes > 1)
		return err_set(err, ERR_USAGE,
			       "standard input can be only one of the disks, or the machine's "
			       "description");
	opts.disks = disks;
	opts.n_disks = n;
	return o.format && image_format_find(&format, o.format, err) < 0
		       ? -1
		       : repo_backup_check(&opts, err);
}

static int check(int argc, char **argv, struct err *err)
{
	const char *url = NULL;

	if (vmbackup_url(&url, err) < 0)
		return -1;
	if (o.full && o.no_full)
		return err_set(err, ERR_USAGE, "--full and --no-full exclude each other");
	return o.domain.name ? check_domain(argc, err) : check_images((size_t)argc, argv, err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	size_t n = (size_t)argc;
	CLEANUP_FREE struct backup_disk *disks = calloc(n + 1, sizeof(*disks));
	CLEANUP_FREE char(*names)[65] = calloc(n + 1, sizeof(*names));
	CLEANUP_FREE char **bitmaps = calloc(n + 1, sizeof(*bitmaps));
	CLEANUP_FREE char *machine = NULL;
	struct repo *repo = NULL;
	int rc;

	if (!disks || !names || !bitmaps)
		return err_nomem(err);
	if (o.domain.name)
		return run_domain(cli, err);
	rc = read_machine(&machine, err);
	if (rc == 0 && o.keep_bitmap)
		rc = vmbackup_open(&repo, err);
	if (rc == 0)
		begin_bitmaps(repo, argv, n, bitmaps);
	if (rc == 0)
		rc = open_disks(argv, n, disks, names, bitmaps, err);
	if (rc == 0 && !repo)
		rc = vmbackup_open(&repo, err);
	if (rc == 0)
		rc = run_on(cli, repo, disks, n, machine, err);
	for (size_t i = 0; i < n; i++) {
		image_close(disks[i].image);
		disks[i].image = NULL;
	}
	if (rc == 0)
		end_bitmaps(repo, disks, n, bitmaps);
	for (size_t i = 0; i < n; i++)
		free(bitmaps[i]);
	repo_close(repo);
	return rc;
}

const struct verb verb_backup = {
	.name = "backup",
	.usage = "[OPTIONS] --vm NAME [DISK=]IMAGE... | [OPTIONS] --domain MACHINE",
	.summary = "make a snapshot of a machine's disks",
	.details =
		"Disks without a name are vda, vdb, and so on, by their place. Only what no "
		"earlier snapshot of any "
		"machine holds is stored, and of what changed in place only what differs from the "
		"snapshot before. What did not change "
		"since an earlier snapshot is not read again, where that can be known: a file that "
		"is as it was, a dirty bitmap that --keep-bitmap or libvirt left, an overlay on "
		"what "
		"was backed up, a clone that --keep-clone left. "
		"Else all is read and compared; -v says which.\n\n"
		"An image is of any format, with its chain; a block device; an NBD "
		"export (nbd://, nbd+unix://); a disk in a package (ova:FILE#DISK); or \"-\", "
		"standard input.\n\n"
		"The snapshot says what state each disk was in: \"offline\" when nobody could "
		"write to it from the first disk's begin to the last one's end, \"none\" with "
		"--force-share, \"unknown\" where no lock tells.\n\n"
		"With --domain a running machine's disks are read as they were at one moment, "
		"while it goes on. Its guest agent freezes the file systems for that moment; a "
		"guard process thaws them whatever happens to vmbackup. A checkpoint makes the "
		"next backup incremental; a disk whose checkpoint is missing or broken is read "
		"whole, with a note. The files of a machine that is off are locked and read.\n\n"
		"A run that was killed leaves nothing that needs cleaning up; the next one uses "
		"what it stored.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 4 image, machine or repository not found, 6 image in use, another job "
		    "of the machine runs, 7 no connection, 8 image damaged, 11 --no-full and "
		    "nothing tells what changed, 12 wrong passphrase, 13 no space",
	.min_args = 0,
	.max_args = UINT_MAX,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.check = check,
	.run = run,
};
