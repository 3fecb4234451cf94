/* vmbackup copy: snapshots into another repository. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/log.h"
#include "libcommon/base/size.h"

static struct {
	const char *to, *to_password, *vm;
	unsigned level, threads;
	uint64_t rate_limit;
	bool dry_run;
} o;

static const struct opt options[] = {
	{.name = "to",
	 .type = OPT_STRING,
	 .value = &o.to,
	 .arg = "REPO",
	 .help = "the other repository; needed",
	 .complete = COMPLETE_DIR},
	{.name = "to-password-file",
	 .type = OPT_STRING,
	 .value = &o.to_password,
	 .arg = "FILE",
	 .help = "its passphrase (default: the same as the first one's)",
	 .complete = COMPLETE_FILE,
	 .env = "VMKIT_TO_PASSWORD_FILE"},
	{.name = "vm",
	 .type = OPT_STRING,
	 .value = &o.vm,
	 .arg = "NAME",
	 .help = "all snapshots of this machine",
	 .complete = COMPLETE_MACHINE},
	{.name = "level",
	 .type = OPT_UINT,
	 .value = &o.level,
	 .arg = "N",
	 .help = "zstd level (default: the other repository's)",
	 .min = 1,
	 .max = 22},
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
	 .help = "read at most this much of the disks' data a second"},
	{.letter = 'n',
	 .name = "dry-run",
	 .type = OPT_FLAG,
	 .value = &o.dry_run,
	 .help = "say which snapshots would be copied"},
	OPT_END,
};

static const char *const examples[] = {
	"vmbackup -r /backup/vms copy --to /mnt/usb/vms",
	"vmbackup -r /backup/vms copy --to /mnt/usb/vms --to-password-file usb.key web@latest",
	"vmbackup -r /backup/vms copy --to /mnt/usb/vms --vm web --json",
	NULL,
};

static int to_key(void *ctx, bool confirm, char **ret, struct err *err)
{
	(void)ctx;
	return cli_password(o.to_password, "passphrase of the other repository", confirm, ret, err);
}

static void release(void *ctx, char *passphrase)
{
	(void)ctx;
	cli_password_free(passphrase);
}

struct list {
	struct cli *cli;
	json_t *json; /* NULL: for people */
};

static const char *status_name(enum copy_status s)
{
	return s == COPY_DONE	   ? o.dry_run ? "to copy" : "copied"
	       : s == COPY_PRESENT ? "present"
				   : "failed";
}

static json_t *copied_json(const struct copied *c, const char *name)
{
	char hex[65];

	hex_encode(c->snapshot->id.bytes, sizeof(c->snapshot->id.bytes), hex);
	return json_pack("{s:s, s:s, s:s, s:o, s:I, s:I, s:I}", "id", hex, "name", name, "status",
			 status_name(c->status), "message",
			 c->why ? cli_json_string(c->why->message) : json_null(), "read_bytes",
			 (json_int_t)c->read_bytes, "new_bytes", (json_int_t)c->new_bytes,
			 "stored_bytes", (json_int_t)c->stored_bytes);
}

static void report(void *ctx, const struct copied *c)
{
	struct list *l = ctx;
	char id[9], name[80], read[SIZE_TEXT_MAX], stored[SIZE_TEXT_MAX];

	(void)snprintf(name, sizeof(name), "%s@%s", c->snapshot->vm,
		       snapshot_short_id(&c->snapshot->id, id));
	if (c->why)
		log_warning("%s: %s", name, c->why->message);
	if (l->json)
		json_array_append_new(l->json, copied_json(c, name));
	else if (o.dry_run && c->status == COPY_DONE)
		(void)printf("%s\n", name);
	else if (l->cli->verbose && c->status == COPY_DONE)
		(void)printf("%s: %s read, %s stored\n", name, size_format(c->read_bytes, read),
			     size_format(c->stored_bytes, stored));
}

static int say(struct cli *cli, struct list *l, const struct repo_copy_result *r, struct err *err)
{
	if (cli->json &&
	    cli_print_json(cli,
			   json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "dry_run",
				     (int)o.dry_run, "copied", (json_int_t)r->copied, "present",
				     (json_int_t)r->present, "failed", (json_int_t)r->failed,
				     "read_bytes", (json_int_t)r->read_bytes, "new_bytes",
				     (json_int_t)r->new_bytes, "stored_bytes",
				     (json_int_t)r->stored_bytes, "snapshots", l->json),
			   err) < 0)
		return -1;
	if (!r->failed)
		return 0;
	err_set(err, ERR_CORRUPT, "%" PRIu64 " snapshot%s damaged and not copied", r->failed,
		r->failed == 1 ? " is" : "s are");
	return err_hint(err, "see vmbackup verify");
}

static int copy(struct cli *cli, struct repo *from, struct repo *to, int argc, char **argv,
		struct err *err)
{
	struct list list = {.cli = cli, .json = cli->json ? json_array() : NULL};
	const struct repo_copy_opts opts = {
		.specs = (const char *const *)argv,
		.n_specs = (size_t)argc,
		.vm = o.vm,
		.level = (int)o.level,
		.threads = o.threads,
		.dry_run = o.dry_run,
		.rate_limit = o.rate_limit,
		.progress = &cli->progress,
		.report = report,
		.ctx = &list,
	};
	struct repo_copy_result result;
	int rc = repo_copy(from, to, &opts, &result, err);

	if (rc == 0)
		rc = say(cli, &list, &result, err);
	json_decref(list.json);
	return rc;
}

/* A mirror (cp -a, rsync) has the same id: it has its copies by being mirrored. */
static int check_other(struct repo *from, struct repo *to, struct err *err)
{
	char a[33], b[33];

	repo_uuid(from, a);
	repo_uuid(to, b);
	if (strcmp(a, b) != 0)
		return 0;
	err_set(err, ERR_USAGE,
		repo_same_place(from, to) ? "both are the same repository"
					  : "both are one repository: this is a mirror of it");
	err_object(err, o.to);
	return err_hint(err, "snapshots are copied into another one, which vmbackup init makes");
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	const struct repo_key_source key = {.get = to_key, .release = release};
	struct repo *from, *to;
	int rc;

	if (!o.to) {
		err_set(err, ERR_USAGE, "no other repository is named");
		return err_hint(err, "say --to REPO");
	}
	if (o.vm && argc)
		return err_set(err, ERR_USAGE, "--vm and names of snapshots exclude each other");
	if (vmbackup_open_beside(&from, o.to, err) < 0)
		return -1;
	rc = repo_open(&to, o.to, &key, err);
	if (rc < 0) {
		err_object(err, o.to);
	} else {
		rc = check_other(from, to, err);
		if (rc == 0)
			rc = copy(cli, from, to, argc, argv, err);
		repo_close(to);
	}
	repo_close(from);
	return rc;
}

const struct verb verb_copy = {
	.name = "copy",
	.usage = "[OPTIONS] --to REPO [NAME@WHEN]...",
	.summary = "copy snapshots to another repository",
	.details = "All of them, those of one machine, or those that are named. They keep their "
		   "ids, times and tags, so the "
		   "next run copies only what has come since; what the other repository holds "
		   "already is not stored again, and what changed in place since the machine's "
		   "snapshot before is stored as deltas there "
		   "too. It "
		   "has its own passphrase and settings. Snapshots are copied in their order; "
		   "\"latest\" there is what came last.",
	.options = options,
	.examples = examples,
	.statuses =
		"0 done, 2 both are the same repository, 4 no such snapshot or repository, 7 no "
		"connection, 8 some are damaged and were left "
		"out, 12 wrong passphrase, 13 no space",
	.max_args = UINT32_MAX,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_SNAPSHOT,
	.run = run,
};
