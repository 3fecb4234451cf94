/* vmbackup repair: heal what parity can, and fetch the rest from another repository. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"

static struct {
	const char *from, *from_password;
	unsigned threads;
} o;

static const struct opt options[] = {
	{.name = "from",
	 .type = OPT_STRING,
	 .value = &o.from,
	 .arg = "REPO",
	 .help = "another repository with the same snapshots, as vmbackup copy makes it",
	 .complete = COMPLETE_DIR},
	{.name = "from-password-file",
	 .type = OPT_STRING,
	 .value = &o.from_password,
	 .arg = "FILE",
	 .help = "its passphrase (default: the same as the first one's)",
	 .complete = COMPLETE_FILE,
	 .env = "VMKIT_FROM_PASSWORD_FILE"},
	{.name = "threads",
	 .type = OPT_UINT,
	 .value = &o.threads,
	 .arg = "N",
	 .help = "work with so many threads (default: all processors)",
	 .min = 1,
	 .max = 256},
	OPT_END,
};

static const char *const examples[] = {
	"vmbackup -r /backup/vms repair",
	"vmbackup -r /backup/vms repair --from /mnt/usb/vms --from-password-file usb.key",
	NULL,
};

static int from_key(void *ctx, bool confirm, char **ret, struct err *err)
{
	(void)ctx;
	return cli_password(o.from_password, "passphrase of the other repository", confirm, ret,
			    err);
}

static void release(void *ctx, char *passphrase)
{
	(void)ctx;
	cli_password_free(passphrase);
}

static void healed(void *ctx, const char *sentence)
{
	(void)ctx;
	log_warning("%s", sentence);
}

/* @ctx: a list of JSON, or NULL */
static void report(void *ctx, const char *sentence)
{
	if (ctx) {
		json_array_append_new(ctx, cli_json_string(sentence));
	} else {
		CLEANUP_FREE char *text = cli_printable(sentence);

		(void)printf("%s\n", text ? text : "a fault, and no memory to name it");
	}
}

static int say(struct cli *cli, const struct repair_result *r, json_t *list, struct err *err)
{
	if (cli->json &&
	    cli_print_json(cli,
			   json_pack("{s:b, s:I, s:I, s:I, s:I, s:O}", "ok",
				     (int)(r->damaged_snapshots == 0), "healed",
				     (json_int_t)r->healed, "fetched_bytes",
				     (json_int_t)r->fetched_bytes, "faults", (json_int_t)r->faults,
				     "damaged_snapshots", (json_int_t)r->damaged_snapshots,
				     "messages", list),
			   err) < 0)
		return -1;
	if (!r->damaged_snapshots)
		return 0;
	err_set(err, ERR_CORRUPT, "%" PRIu64 " snapshot%s still damaged", r->damaged_snapshots,
		r->damaged_snapshots == 1 ? " is" : "s are");
	return err_hint(err, o.from ? "the next backup of the same data stores again what is lost"
				    : "--from names another repository that has the snapshots");
}

static int repair(struct cli *cli, struct repo *repo, struct repo *from, struct err *err)
{
	json_t *list = cli->json ? json_array() : NULL;
	const struct repair_opts opts = {
		.from = from,
		.threads = o.threads,
		.progress = &cli->progress,
		.healed = healed,
		.report = report,
		.ctx = list,
	};
	struct repair_result result;
	int rc = repo_repair(repo, &opts, &result, err);

	if (rc == 0)
		rc = say(cli, &result, list, err);
	json_decref(list);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	const struct repo_key_source key = {.get = from_key, .release = release};
	struct repo *repo, *from = NULL;
	int rc;

	(void)argc;
	(void)argv;
	if (vmbackup_open(&repo, err) < 0)
		return -1;
	if (o.from && repo_open(&from, o.from, &key, err) < 0) {
		repo_close(repo);
		return err_object(err, o.from);
	}
	if (from && repo_same_place(repo, from)) {
		err_set(err, ERR_USAGE, "this is the repository that is to be repaired");
		err_object(err, o.from);
		rc = err_hint(err, "--from names another one, or a mirror that lies elsewhere");
	} else {
		rc = repair(cli, repo, from, err);
	}
	repo_close(from);
	repo_close(repo);
	return rc;
}

const struct verb verb_repair = {
	.name = "repair",
	.usage = "[OPTIONS]",
	.summary = "heal what is damaged: by parity, or from another repository",
	.details = "Everything is looked at, as verify does. Packs are healed by their parity. Of "
		   "a disk that is damaged still, "
		   "what is lost is read from the other repository, when that has the same "
		   "snapshot, and stored again as it was (pages that tell of deltas need the "
		   "machine's "
		   "snapshot before, too). What "
		   "is printed is damaged still; packs in which only copies are damaged that are "
		   "elsewhere too cost no snapshot, and the next prune rewrites them.",
	.options = options,
	.examples = examples,
	.statuses = "0 no snapshot is damaged now, 2 both are the same repository, 4 no such "
		    "repository, 8 some still are, 12 wrong "
		    "passphrase, 13 no space",
	.json = true,
	.progress = true,
	.run = run,
};
