/* vmsnap recover: finish or undo what a killed vmsnap began. */
#include <stdio.h>

#include "cmd/vmsnap/domain.h"
#include "cmd/vmsnap/vmsnap.h"
#include "libcommon/base/log.h"

static bool unchanged;

static const struct opt options[] = {
	{0, "unchanged", OPT_FLAG, &unchanged,
	 .help = "nobody else wrote to the disks of a machine of vmrun that a snapshot left off: "
		 "its memory goes on with them, although nothing shows it"},
	OPT_END};

static const char *const examples[] = {"vmsnap recover disk.qcow2",
				       "vmsnap recover --json disk.raw", NULL};

/* Memory that was saved since is not ours to throw away, nor a machine with it to start */
static int start(struct disk_set *t, struct err *err)
{
	struct domain_info info;
	bool saved;

	if (domain_info(t->domain, &info, err) < 0)
		return -1;
	saved = info.saved;
	domain_info_release(&info);
	if (!saved)
		return domain_act(t->domain, DOMAIN_START_FRESH, err);
	log_warning("%s: was saved since it was stopped to go back, and stays off",
		    domain_name(t->domain));
	return 0;
}

/* That was stopped to go back, and is off since. It boots: how far its disks came decides nothing then */
static int restart(struct disk_set *t, enum snap_recovered *ret, struct err *err)
{
	for (size_t i = 0; i < t->n; i++) {
		struct snap_disk *d;
		int rc = 0;

		if (!snap_restart_is_set(t->paths[i]))
			continue;
		if (snap_open(&d, t->paths[i], true, err) < 0)
			return -1;
		if (!t->running)
			rc = start(t, err);
		if (rc == 0)
			rc = snap_restart_set(d, false, err);
		snap_close(d);
		if (rc < 0)
			return -1;
		t->running = true;
		if (*ret == SNAP_NOTHING)
			*ret = SNAP_FINISHED;
	}
	return 0;
}

/* The machine first: the disks of what it was told alone cannot say how far that came */
static int recover(struct cli *cli, char *name, enum snap_recovered *ret, struct err *err)
{
	enum snap_recovered live = SNAP_NOTHING;
	struct disk_set t;
	int rc;

	if (disks_open(&t, &name, 1, true, err) < 0)
		return -1;
	rc = t.domain ? live_recover(&t, &cli->progress, &live, err) : 0;
	*ret = live;
	if (rc == 0 && live != SNAP_NOTHING) { /* its disks may be other files now */
		disks_close(&t);
		if (disks_open(&t, &name, 1, true, err) < 0)
			return -1;
	}
	for (size_t i = 0; rc == 0 && i < t.n; i++) {
		enum snap_recovered one;

		rc = snap_recover(t.paths[i], &cli->progress, &one, err);
		if (one != SNAP_NOTHING)
			*ret = one;
	}
	if (rc == 0 && t.domain)
		rc = still_recover(&t, unchanged, ret, err) < 0 ? -1 : restart(&t, ret, err);
	else if (rc == 0 && snap_restart_is_set(t.paths[0]))
		log_warning("%s: its machine was stopped to go back: vmsnap -c URI recover MACHINE "
			    "starts it again",
			    name);
	disks_close(&t);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	static const char *const names[] = {"nothing", "finished", "undone"};
	enum snap_recovered what;

	(void)argc;
	if (recover(cli, argv[0], &what, err) < 0)
		return -1;
	if (cli->json)
		return cli_print_json(cli,
				      json_pack("{s:o, s:s}", "disk", cli_json_string(argv[0]),
						"result", names[what]),
				      err);
	if (what != SNAP_NOTHING && !cli->quiet)
		(void)fprintf(stderr, "vmsnap: %s: the interrupted change is %s\n", argv[0],
			      names[what]);
	return 0;
}

const struct verb verb_recover = {
	.name = "recover",
	.usage = "[OPTIONS] DISK|DOMAIN",
	.summary = "finish or undo a change that was killed",
	.details =
		"Every change is announced in DISK.snap/.journal.json before it begins; while "
		"that is there, other\n"
		"verbs refuse to work. Without such a journal nothing is done. A change of several "
		"disks is undone on all\n"
		"of them. A domain that was stopped to go back is started.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, or nothing to do, 4 not found, 6 in use, 7 no "
		    "connection, 8 corrupt",
	.min_args = 1,
	.max_args = 1,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
