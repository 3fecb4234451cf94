/* vmsnap prune: delete snapshots that no rule keeps. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cmd/vmsnap/domain.h"
#include "cmd/vmsnap/vmsnap.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/retain.h"

static struct {
	struct retain_policy keep;
	unsigned max_chain;
	bool dry_run;
	uint64_t rate;
} o;

#define RULE(name_, field, what)                                                                   \
	{                                                                                          \
		0, "keep-" name_, OPT_UINT, &o.keep.field, .arg = "N", .help = (what)              \
	}

static const struct opt options[] = {
	RULE("last", last, "keep the newest N"),
	RULE("hourly", hourly, "keep the newest of each of the last N hours that have one"),
	RULE("daily", daily, "keep the newest of each of the last N days that have one"),
	RULE("weekly", weekly, "keep the newest of each of the last N weeks that have one"),
	RULE("monthly", monthly, "keep the newest of each of the last N months that have one"),
	RULE("yearly", yearly, "keep the newest of each of the last N years that have one"),
	{0, "keep-within", OPT_DURATION, &o.keep.within_ms, .arg = "TIME",
	 .help = "keep all that are not older, as 7d or 36h"},
	{0, "max-chain", OPT_UINT, &o.max_chain, .arg = "N",
	 .help = "let the disk lean on N external snapshots at most: the lowest beyond go, "
		 "whatever "
		 "keeps them",
	 .min = 1},
	RATE_OPTION(&o.rate),
	{0, "dry-run", OPT_FLAG, &o.dry_run,
	 .help = "say what would be done and why, delete nothing"},
	OPT_END};

static const char *const examples[] = {
	"vmsnap prune --keep-daily 7 --keep-weekly 4 disk.qcow2",
	"vmsnap prune --max-chain 8 disk.qcow2",
	"vmsnap prune --dry-run --keep-last 3 --keep-within 2d disk.raw", NULL};

static json_t *reasons_json(unsigned why)
{
	json_t *list = json_array();

	for (unsigned i = 0; list && i < RETAIN_REASONS; i++) {
		const char *name = retain_reason_name(why, i);

		if (name)
			json_array_append_new(list, json_string(name));
	}
	return list;
}

static void print_one(const struct snap_entry *e, unsigned why)
{
	const char *sep = ": ";

	printf("%s %s", why ? "keep" : o.dry_run ? "would delete" : "delete", e->name);
	for (unsigned i = 0; i < RETAIN_REASONS; i++) {
		const char *name = retain_reason_name(why, i);

		if (name) {
			printf("%s%s", sep, name);
			sep = ", ";
		}
	}
	printf("\n");
}

static int report(struct cli *cli, const struct snap_entry *list, size_t n, const unsigned *why,
		  struct err *err)
{
	json_t *out;

	if (!cli->json) {
		for (size_t i = 0; (o.dry_run || cli->verbose) && i < n; i++)
			print_one(&list[i], why[i]);
		return 0;
	}
	out = json_array();
	for (size_t i = 0; out && i < n; i++)
		json_array_append_new(
			out, json_pack("{s:o, s:b, s:o, s:b}", "name",
				       cli_json_string(list[i].name), "keep", (int)(why[i] != 0),
				       "reasons", reasons_json(why[i]), "dry_run", (int)o.dry_run));
	return cli_print_json(cli, out, err);
}

enum { NO_RULE = 1 << 16 }; /* beside enum retain_reason */

/* Without rules all stay that the chain has room for */
static int plan(const struct snap_entry *list, size_t n, const struct retain_item *items,
		unsigned *why, struct err *err)
{
	o.keep.local = true;
	if (retain_plan(items, n, &o.keep, time(NULL), why, err) < 0)
		return -1;
	for (size_t i = 0; retain_is_empty(&o.keep) && i < n; i++)
		why[i] = NO_RULE;
	if (!o.max_chain)
		return 0;
	/* The lowest first: what lies above takes their place */
	for (size_t i = 0; i < n; i++) {
		unsigned above = 0;

		for (size_t k = 0; k < n; k++)
			above += why[k] && list[k].current && list[k].depth > list[i].depth;
		if (list[i].current && above >= o.max_chain)
			why[i] = 0;
	}
	return 0;
}

static int prune(struct cli *cli, struct one *one, struct snap_disk *d,
		 const struct snap_entry *list, size_t n, struct err *err)
{
	CLEANUP_FREE struct retain_item *items = calloc(n + 1, sizeof(*items));
	CLEANUP_FREE unsigned *why = calloc(n + 1, sizeof(*why));

	if (!items || !why)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++)
		items[i].time = list[i].created;
	if (plan(list, n, items, why, err) < 0)
		return -1;
	for (size_t i = 0; !o.dry_run && i < n; i++)
		if (!why[i] && remove_snapshot(&one->set, one_target(one), d, list[i].name,
					       &cli->progress, err) < 0)
			return -1;
	return report(cli, list, n, why, err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct snap_entry *list = NULL;
	struct snap_disk *d;
	struct one one;
	size_t n = 0;
	int rc;

	(void)argc;
	if (retain_is_empty(&o.keep) && !o.max_chain)
		return err_set(err, ERR_USAGE, "no --keep rule is given: that would delete all");
	if (one_open(&one, argv[0], true, err) < 0)
		return -1;
	one.set.rate = o.rate;
	rc = one_snap(&one, &d, err);
	if (rc == 0)
		rc = snap_list(d, &list, &n, err);
	if (rc == 0)
		rc = prune(cli, &one, d, list, n, err);
	snap_list_free(list, n);
	snap_close(d);
	one_close(&one);
	return rc;
}

const struct verb verb_prune = {
	.name = "prune",
	.usage = "[OPTIONS] DISK|DOMAIN:TARGET",
	.summary = "delete the snapshots that no --keep rule keeps",
	.details =
		"A snapshot stays when any rule keeps it. Hours, days and so on are those of the "
		"local time zone, and\n"
		"only those that have a snapshot count. Snapshots dated in the future always "
		"stay, but for --max-chain.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 usage, 4 not found, 6 in use, 13 no space",
	.min_args = 1,
	.max_args = 1,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
