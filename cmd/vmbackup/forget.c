/* vmbackup forget: remove snapshots, by name or by what no rule keeps. */
#include <limits.h>

#include "cmd/vmbackup/retention.h"

static bool unreadable;

static const struct opt options[] = {
	RETENTION_OPTIONS,
	{.name = "unreadable",
	 .type = OPT_FLAG,
	 .value = &unreadable,
	 .help = "give up the snapshots whose description is damaged"},
	OPT_END,
};

static const char *const examples[] = {
	"vmbackup -r /backup/vms forget --dry-run --keep-daily 7 --keep-weekly 4",
	"vmbackup -r /backup/vms forget --vm web --keep-last 10 --keep-tag golden",
	"vmbackup -r /backup/vms forget web@4f2a91c0",
	NULL,
};

static int report(struct cli *cli, const struct retention_plan *p, struct err *err)
{
	if (cli->json)
		return cli_print_json(cli, retention_json(p), err);
	retention_print(cli, p);
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct retention_plan plan;
	struct repo *repo;
	int rc;

	if (vmbackup_open(&repo, err) < 0)
		return -1;
	rc = retention_plan(&plan, repo, argc, argv, !unreadable, err);
	if (rc == 0) {
		/* A dry run shows what --max-delete would refuse. */
		if (retention.dry_run)
			rc = report(cli, &plan, err);
		if (rc == 0)
			rc = retention_apply(&plan, repo, err);
		if (rc == 0 && unreadable && !retention.dry_run)
			rc = repo_forget_unreadable(repo, &plan.unreadable, err);
		if (rc == 0 && !retention.dry_run)
			rc = report(cli, &plan, err);
		if (rc == 0)
			rc = retention_end(&plan, err);
		retention_plan_free(&plan);
	}
	repo_close(repo);
	return rc;
}

const struct verb verb_forget = {
	.name = "forget",
	.usage = "[OPTIONS] [NAME@ID]...",
	.summary = "remove snapshots, by name or by what no --keep rule keeps",
	.details =
		"The rules hold for each machine by itself, and a snapshot stays when any of them "
		"keeps it. Snapshots are in the order in which they were made, whatever the clocks "
		"said; hours, days, weeks (from Monday), months and years are those of UTC, and "
		"only those that have a snapshot count. The newest snapshot of a machine always "
		"stays, and so do those dated in the future. Only the snapshots go: the space they "
		"took is freed by vmbackup prune.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 1 more than --max-delete: nothing is removed, 2 neither names nor "
		    "rules, or both, 3 done, and some snapshots cannot be read or are locked, 4 no "
		    "such snapshot, "
		    "machine or repository, 7 no connection, 8 the repository is damaged, 9 it is "
		    "of a newer version, 12 wrong passphrase or no permission, 13 no room to note "
		    "which numbers are used",
	.max_args = UINT_MAX,
	.json = true,
	.complete_args = COMPLETE_SNAPSHOT,
	.run = run,
};
