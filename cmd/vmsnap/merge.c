/* vmsnap merge: shorten a chain of overlays. */
#include <stdio.h>
#include <stdlib.h>

#include "cmd/vmsnap/domain.h"
#include "cmd/vmsnap/vmsnap.h"

static struct {
	bool all, dry_run;
	uint64_t rate;
} o;

static const struct opt options[] = {
	{'a', "all", OPT_FLAG, &o.all, .help = "all that the disk leans on, instead of FROM"},
	RATE_OPTION(&o.rate),
	{0, "dry-run", OPT_FLAG, &o.dry_run, .help = "say what would be merged, change nothing"},
	OPT_END};

static const char *const examples[] = {"vmsnap merge disk.qcow2 monday",
				       "vmsnap merge disk.qcow2 monday friday",
				       "vmsnap merge -p --all disk.qcow2", NULL};

static struct {
	json_t *list;
	bool print, failed;
} out;

static void merged(const char *name)
{
	if (out.list)
		out.failed |= json_array_append_new(out.list, cli_json_string(name)) < 0;
	else if (out.print)
		printf("%s %s\n", o.dry_run ? "would merge" : "merged", name);
}

static int refuse_engine(struct snap_disk *d, const char *disk, struct err *err)
{
	struct snap_entry *list;
	size_t n;
	bool other;

	if (snap_list(d, &list, &n, err) < 0)
		return -1;
	other = n && list[0].engine != SNAP_EXTERNAL;
	if (other) {
		err_set(err, ERR_UNSUPPORTED,
			"%s snapshots lean on nothing: there is nothing to merge",
			snap_engine_name(list[0].engine));
		err_hint(err, "vmsnap delete deletes them");
		err_object(err, disk);
	}
	snap_list_free(list, n);
	return other ? -1 : 0;
}

static int merge(struct cli *cli, struct one *one, struct snap_disk *d, const char *from,
		 const char *to, struct err *err)
{
	char **names;
	size_t n;
	int rc = snap_between(d, from, to, &names, &n, err);

	if (rc < 0)
		return -1;
	for (size_t i = 0; rc == 0 && i < n; i++) {
		if (!o.dry_run)
			rc = remove_snapshot(&one->set, one_target(one), d, names[i],
					     &cli->progress, err);
		if (rc == 0)
			merged(names[i]);
	}
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	const char *from = o.all || argc < 2 ? NULL : argv[1];
	const char *to = argc > (o.all ? 1 : 2) ? argv[o.all ? 1 : 2] : NULL;
	struct snap_disk *d;
	struct one one;
	int rc;

	if (!o.all && argc < 2)
		return err_set(err, ERR_USAGE, "DISK FROM [TO] or --all DISK [TO] is wanted");
	if (o.all && argc > 2)
		return err_set(err, ERR_USAGE, "with --all there is no FROM");
	if (one_open(&one, argv[0], true, err) < 0)
		return -1;
	one.set.rate = o.rate;
	out.list = cli->json ? json_array() : NULL;
	out.print = o.dry_run || cli->verbose;
	rc = cli->json && !out.list ? err_nomem(err) : one_snap(&one, &d, err);
	if (rc == 0) {
		rc = refuse_engine(d, argv[0], err);
		if (rc == 0)
			rc = merge(cli, &one, d, from, to, err);
		snap_close(d);
	}
	one_close(&one);
	if (rc == 0 && out.failed)
		rc = err_nomem(err);
	if (rc == 0 && cli->json)
		return cli_print_json(cli,
				      json_pack("{s:o, s:o, s:b}", "disk", cli_json_string(argv[0]),
						"merged", out.list, "dry_run", (int)o.dry_run),
				      err);
	json_decref(out.list);
	return rc;
}

const struct verb verb_merge = {
	.name = "merge",
	.usage = "[OPTIONS] DISK|DOMAIN:TARGET FROM [TO]",
	.summary = "merge snapshots of a chain into the one above them, or into the disk",
	.details = "FROM and all between it and TO (the present state) are deleted; what they hold "
		   "goes into what leans on\n"
		   "them. Whatever moves less data is done: up, or down and renamed. The disk and "
		   "all other snapshots show\n"
		   "what they showed, at any moment. Interrupted, it goes on with vmsnap recover.\n"
		   "A running domain does it itself, and goes on in the lowest file.\n"
		   "Only external snapshots form chains.",
	.options = options,
	.examples = examples,
	.statuses =
		"0 done, 2 usage, 4 no such disk or snapshot, or TO does not lean on FROM, 6 in "
		"use, 8 a file of the chain is missing or damaged, 9 not external, or internal "
		"snapshots or "
		"bitmaps would be lost, 13 no space",
	.min_args = 1,
	.max_args = 3,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
