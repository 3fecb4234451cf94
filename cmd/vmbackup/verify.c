/* vmbackup verify: is everything there and whole? */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"
#include "libcommon/base/size.h"

enum { SENTENCES_MAX = 1000, SHARES_MAX = 10000 };

static struct {
	bool quick, heal;
	const char *share;
	unsigned threads;
} o;

static const struct opt options[] = {
	{.name = "quick",
	 .type = OPT_FLAG,
	 .value = &o.quick,
	 .help = "structure and checksums of packs only: nothing is decompressed"},
	{.name = "heal",
	 .type = OPT_FLAG,
	 .value = &o.heal,
	 .help = "packs whose parity can heal them are healed, and said to be"},
	{.name = "share",
	 .type = OPT_STRING,
	 .value = &o.share,
	 .arg = "N/M|PERCENT",
	 .help = "only a part of the packs: the Nth of M, or so many percent, other ones each day "
		 "until all were looked at"},
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
	"vmbackup -r /backup/vms verify",
	"vmbackup -r /backup/vms verify --quick",
	"vmbackup -r /backup/vms verify --share 10%",
	"vmbackup -r /backup/vms verify web@latest",
	NULL,
};

/* Faults as they are found; repo_verify() calls report() from one thread at a time. */
struct faults {
	bool json;
	json_t *list;
	size_t n;
};

static void report(void *ctx, const char *sentence)
{
	struct faults *f = ctx;

	if (f->n++ >= SENTENCES_MAX)
		return;
	if (f->json) {
		json_array_append_new(f->list, cli_json_string(sentence));
	} else {
		CLEANUP_FREE char *text = cli_printable(sentence);

		(void)printf("%s\n", text ? text : "a fault, and no memory to name it");
	}
}

static void healed(void *ctx, const char *sentence)
{
	(void)ctx;
	log_warning("%s", sentence);
}

static json_t *result_json(const struct verify_result *r, json_t *faults)
{
	return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "ok",
			 r->faults == 0, "all_packs", (json_int_t)r->all_packs, "snapshots",
			 (json_int_t)r->snapshots, "packs", (json_int_t)r->packs, "frames",
			 (json_int_t)r->frames, "chunks", (json_int_t)r->chunks, "pages",
			 (json_int_t)r->pages, "bytes_read", (json_int_t)r->bytes_read, "faults",
			 (json_int_t)r->faults, "damaged_snapshots",
			 (json_int_t)r->damaged_snapshots, "healed", (json_int_t)r->healed,
			 "messages", faults);
}

static int say(struct cli *cli, const struct verify_result *r, struct faults *f, struct err *err)
{
	char size[SIZE_TEXT_MAX];

	if (cli->json) {
		if (cli_print_json(cli, result_json(r, f->list), err) < 0)
			return -1;
	} else {
		if (f->n > SENTENCES_MAX)
			(void)printf("and %zu faults more\n", f->n - SENTENCES_MAX);
		if (cli->verbose) {
			(void)printf("%" PRIu64 " snapshots, ", r->snapshots);
			if (o.share)
				(void)printf("%" PRIu64 " of %" PRIu64 " packs (%.1f %%), ",
					     r->packs, r->all_packs,
					     r->all_packs ? 100.0 * (double)r->packs /
								    (double)r->all_packs
							  : 100.0);
			else
				(void)printf("%" PRIu64 " packs, ", r->packs);
			(void)printf("%" PRIu64 " chunks, %s read\n", r->chunks,
				     size_format(r->bytes_read, size));
		}
	}
	if (r->faults == 0)
		return 0;
	err_set(err, ERR_CORRUPT, "%" PRIu64 " fault%s, %" PRIu64 " snapshot%s damaged", r->faults,
		r->faults == 1 ? "" : "s", r->damaged_snapshots,
		r->damaged_snapshots == 1 ? "" : "s");
	return err_hint(
		err, "vmbackup repair heals what it can; the next backup of the same data stores "
		     "the rest again");
}

/* Digits alone, at most @max. Return: what follows them, or NULL */
static const char *number(const char *p, unsigned max, unsigned *ret)
{
	*ret = 0;
	if (*p < '0' || *p > '9')
		return NULL;
	for (; *p >= '0' && *p <= '9'; p++) {
		*ret = *ret * 10 + (unsigned)(*p - '0');
		if (*ret > max)
			return NULL;
	}
	return *ret ? p : NULL;
}

/* "2/7"; "15%": 15 of 100 parts, the day (UTC) says from which on, so that no part is left out for longer than it must be */
static int parse_share(struct verify_opts *opts, struct err *err)
{
	unsigned n, m;
	const char *p = number(o.share, SHARES_MAX, &n), *end;

	if (p && *p == '/') {
		end = number(p + 1, SHARES_MAX, &m);
		if (end && !*end && n <= m) {
			opts->share = n;
			opts->shares = m;
			opts->share_parts = 1;
			return 0;
		}
	} else if (p && n <= 100 && strcmp(p, "%") == 0) {
		opts->shares = 100;
		opts->share_parts = n;
		opts->share = 1 + (unsigned)((uint64_t)time(NULL) / 86400 * n % 100);
		return 0;
	}
	return err_set(err, ERR_USAGE, "\"%s\" is no share: N/M, as 2/7, or 1%% to 100%%", o.share);
}

static int check(int argc, char **argv, struct err *err)
{
	struct verify_opts opts = {0};

	(void)argv;
	if (o.share && argc)
		return err_set(err, ERR_USAGE, "--share is of the whole repository");
	return o.share ? parse_share(&opts, err) : 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct faults faults = {.json = cli->json, .list = cli->json ? json_array() : NULL};
	struct verify_opts opts = {
		.spec = argc ? argv[0] : NULL,
		.quick = o.quick,
		.heal = o.heal,
		.threads = o.threads,
		.progress = &cli->progress,
		.report = report,
		.healed = healed,
		.ctx = &faults,
	};
	struct verify_result result;
	struct repo *repo;
	int rc;

	if ((o.share && parse_share(&opts, err) < 0) || vmbackup_open(&repo, err) < 0) {
		json_decref(faults.list);
		return -1;
	}
	rc = repo_verify(repo, &opts, &result, err);
	repo_close(repo);
	if (rc < 0) {
		json_decref(faults.list);
		return -1;
	}
	return say(cli, &result, &faults, err);
}

const struct verb verb_verify = {
	.name = "verify",
	.usage = "[OPTIONS] [NAME@WHEN]",
	.summary = "check that everything in the repository, or one snapshot, can be restored",
	.details = "Every pack is read, every frame decrypted and decompressed, every chunk "
		   "hashed, and every snapshot's "
		   "tree walked. A fault is printed with the snapshot, the disk and the bytes that "
		   "it costs, and "
		   "remembered: the next backup of the same data stores it again.",
	.options = options,
	.examples = examples,
	.statuses = "0 all is well, 4 no such snapshot, 8 faults were found, 12 wrong passphrase",
	.max_args = 1,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_SNAPSHOT,
	.check = check,
	.run = run,
};
