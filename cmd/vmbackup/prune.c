/* vmbackup prune: free what no snapshot needs; with retention rules or names, forget first. */
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmbackup/retention.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"
#include "libcommon/base/size.h"

enum { MAX_UNUSED = 20 };

static struct {
	unsigned max_unused, threads;
	const char *wait;
} o = {.max_unused = MAX_UNUSED};

static const struct opt options[] = {
	RETENTION_OPTIONS,
	{.name = "max-unused",
	 .type = OPT_UINT,
	 .value = &o.max_unused,
	 .arg = "PERCENT",
	 .help = "rewrite packs of which more than this is unused (default: 20)",
	 .max = 100},
	{.name = "wait",
	 .type = OPT_OPTIONAL,
	 .value = &o.wait,
	 .arg = "TIME",
	 .help = "wait for processes that may still need what goes, as 30m; without TIME until "
		 "they "
		 "end"},
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
	"vmbackup -r /backup/vms prune",
	"vmbackup -r /backup/vms prune --keep-daily 7 --keep-weekly 5 --keep-monthly 12",
	"vmbackup -r /backup/vms prune --dry-run --keep-last 3 --vm web",
	NULL,
};

/* who holds up what is pending */
struct held {
	struct repo_holder *items;
	size_t n;
};

static json_t *result_json(const struct retention_plan *p, const struct prune_result *r,
			   const struct held *held)
{
	json_t *out = retention_json(p);
	json_t *c = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			      "snapshots", (json_int_t)r->snapshots, "blobs", (json_int_t)r->blobs,
			      "packs", (json_int_t)r->packs, "pack_bytes",
			      (json_int_t)r->pack_bytes, "removed_packs", (json_int_t)r->removed,
			      "removed_bytes", (json_int_t)r->removed_bytes, "rewritten_packs",
			      (json_int_t)r->rewritten, "new_bytes", (json_int_t)r->new_bytes,
			      "pending_packs", (json_int_t)r->pending, "locked_packs",
			      (json_int_t)r->locked, "locked_bytes", (json_int_t)r->locked_bytes);

	if (c && json_object_set_new(c, "holders", holders_json(held->items, held->n)) < 0) {
		json_decref(c);
		c = NULL;
	}
	if (!out || !c || json_object_set_new(out, "collection", c) < 0) {
		json_decref(out);
		return NULL;
	}
	return out;
}

static void print_collection(const struct prune_result *r, const struct held *held)
{
	char end[LOCK_END_MAX], before[SIZE_TEXT_MAX], gone[SIZE_TEXT_MAX], fresh[SIZE_TEXT_MAX];

	(void)printf("%s%" PRIu64 " of %" PRIu64 " packs, %s of %s; %" PRIu64
		     " of them rewritten, to %s\n",
		     retention.dry_run ? "would remove about " : "removed ", r->removed, r->packs,
		     size_format(r->removed_bytes, gone), size_format(r->pack_bytes, before),
		     r->rewritten, size_format(r->new_bytes, fresh));
	if (r->locked)
		(void)printf("%" PRIu64 " packs, %s, stay: locked until %s\n", r->locked,
			     size_format(r->locked_bytes, before),
			     retention_lock_end(r->locked_until, end));
	if (r->pending)
		(void)printf("%" PRIu64
			     " packs may still be needed by processes that began before: "
			     "the next prune removes them\n",
			     r->pending);
	holders_print(held->items, held->n);
}

static int report(struct cli *cli, const struct retention_plan *p, const struct prune_result *r,
		  const struct held *held, struct err *err)
{
	if (cli->json)
		return cli_print_json(cli, result_json(p, r, held), err);
	retention_print(cli, p);
	/* With more than --max-delete nothing would be collected either. */
	if (!(retention.dry_run && retention_refused(p)) && (retention.dry_run || cli->verbose))
		print_collection(r, held);
	return 0;
}

static int parse_wait(uint64_t *ret, struct err *err)
{
	*ret = 0;
	if (!o.wait)
		return 0;
	*ret = UINT64_MAX;
	return *o.wait ? duration_parse(o.wait, ret, err) : 0;
}

static int collect(struct cli *cli, const struct retention_plan *p, struct repo *repo,
		   struct err *err)
{
	CLEANUP_FREE uint64_t *without = calloc(p->n + 1, sizeof(*without));
	struct prune_opts opts = {
		.without = without,
		.max_unused = o.max_unused,
		.threads = o.threads,
		.dry_run = retention.dry_run,
		.progress = &cli->progress,
	};
	struct prune_result result;
	struct held held = {0};
	struct err why = ERR_INIT;
	int rc;

	if (!without)
		return err_nomem(err);
	if (parse_wait(&opts.wait_ms, err) < 0)
		return -1;
	for (size_t i = 0; retention.dry_run && i < p->n; i++)
		if (p->remove[i])
			without[opts.n_without++] = p->list[i].seq;
	if (retention.dry_run && retention_refused(p)) {
		result = (struct prune_result){0};
	} else if (repo_prune(repo, &opts, &result, err) < 0) {
		return -1;
	}
	if (result.pending && repo_get_holders(repo, false, &held.items, &held.n, &why) < 0)
		log_warning("whose processes they are cannot be told: %s", why.message);
	rc = report(cli, p, &result, &held, err);
	repo_holders_free(held.items, held.n);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct retention_plan plan;
	struct repo *repo;
	uint64_t wait;
	int rc;

	if (parse_wait(&wait, err) < 0 || vmbackup_open(&repo, err) < 0)
		return -1;
	/* Nothing is forgotten where nothing can be freed. */
	rc = repo_can_prune(repo, err);
	if (rc == 0)
		rc = retention_plan(&plan, repo, argc, argv, false, err);
	if (rc == 0) {
		/* A dry run shows what --max-delete would refuse. */
		if (!retention.dry_run)
			rc = retention_apply(&plan, repo, err);
		if (rc == 0)
			rc = collect(cli, &plan, repo, err);
		if (rc == 0 && retention.dry_run)
			rc = retention_apply(&plan, repo, err);
		if (rc == 0)
			rc = retention_end(&plan, err);
		retention_plan_free(&plan);
	}
	repo_close(repo);
	return rc;
}

const struct verb verb_prune = {
	.name = "prune",
	.usage = "[OPTIONS] [NAME@ID]...",
	.summary = "free the space that no snapshot needs, and forget snapshots before that",
	.details =
		"With --keep rules or names, snapshots are removed first, as vmbackup forget does. "
		"Then packs of which nothing is needed are removed, and those of which too much is "
		"not are rewritten. Other processes may use the repository all the while, and no "
		"lock is ever left behind: what a process that began earlier may still need is "
		"only marked, and the next prune removes it, unless --wait waits for that process. "
		"On an S3 API, -v and --json say whose process it is. "
		"What an object lock of S3 keeps stays, as --dry-run and -v say.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 1 more than --max-delete: nothing is removed, 2 names and rules at "
		    "once, 3 done, but snapshots that were named are locked and stay, 4 no such "
		    "snapshot, machine or repository, 6 another prune works, or --wait ran "
		    "out, 7 no connection, 8 a snapshot is damaged: nothing is freed, 9 not in a "
		    "repository of this kind or version, 12 wrong passphrase or no permission, 13 "
		    "no room to rewrite packs: what needed none is freed",
	.max_args = UINT_MAX,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_SNAPSHOT,
	.run = run,
};
