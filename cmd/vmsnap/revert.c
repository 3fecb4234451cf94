/* vmsnap revert: a snapshot's state becomes the present. */
#include <limits.h>
#include <stdio.h>

#include "cmd/vmsnap/domain.h"
#include "cmd/vmsnap/vmsnap.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"

enum { STOP_MS = 30000 };

static struct {
	bool discard, no_start, boot;
} o;

static const struct opt options[] = {
	{0, "discard-current", OPT_FLAG, &o.discard, .help = "do not keep the present state"},
	{0, "no-start", OPT_FLAG, &o.no_start,
	 .help = "leave a domain off, instead of starting it from the snapshot"},
	{0, "boot", OPT_FLAG, &o.boot,
	 .help = "start a domain anew, also when its memory was kept with the snapshot"},
	OPT_END};

static const char *const examples[] = {"vmsnap revert disk.qcow2 before-upgrade",
				       "vmsnap revert --discard-current disk.raw clean",
				       "vmsnap revert system.qcow2 data.qcow2 tuesday",
				       "vmsnap -c qemu:///system revert web tuesday", NULL};

/* The disk or domain, or an array of several disks */
static json_t *disks_json(char **argv, size_t n)
{
	json_t *list = n > 1 ? json_array() : cli_json_string(argv[0]);

	for (size_t i = 0; n > 1 && i < n; i++)
		json_array_append_new(list, cli_json_string(argv[i]));
	return list;
}

/* All of @disks have it, and files of its own can be read? Then a machine may be stopped for it */
static int look(struct snap_disk **disks, size_t n, const char *name, struct err *err)
{
	struct snap_entry *e;

	for (size_t i = 0; i < n; i++) {
		struct image *img = NULL;
		int rc;

		if (snap_find(disks[i], name, &e, err) < 0)
			return -1;
		rc = e->file ? snap_image(disks[i], name, &img, err) : 0;
		snap_list_free(e, 1);
		image_close(img);
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* A machine that ran runs again, whatever becomes of its disks; one whose memory was kept in any case */
static int start(struct disk_set *t, const char *file, const char *xml, struct err *err)
{
	if (o.no_start || (!file && !t->running))
		return 0;
	if (file && domain_can_hold(t->domain))
		return domain_restore_memory(t->domain, file, err);
	if (file)
		return host_restore_as(t->host, file, xml, err);
	return domain_act(t->domain, DOMAIN_START_FRESH, err);
}

static int stop(struct disk_set *t, struct err *err)
{
	enum domain_state state;
	struct err why = ERR_INIT;

	if (!t->running)
		return 0;
	if (domain_act(t->domain, DOMAIN_DESTROY, &why) == 0 &&
	    domain_wait(t->domain, DOMAIN_OFF, STOP_MS, &why) == 0)
		return 0;
	/* By itself, just before */
	if (domain_state(t->domain, &state, NULL, NULL) == 0 && state == DOMAIN_OFF)
		return 0;
	if (err)
		*err = why;
	return -1;
}

/* The machine is off: its disks go back, and it runs again. Signals are kept until it does, but for the disks */
static int go_back(struct disk_set *t, struct snap_disk **disks, const char *name,
		   char kept[SNAP_NAME_MAX + 1], const char *file, const char *xml, struct err *err)
{
	struct err why = ERR_INIT;
	int rc;

	(void)stop_defer(false);
	rc = stop_check(err) < 0 ? -1 : snap_set_revert(disks, t->n, name, o.discard, kept, err);
	(void)stop_defer(true);
	/* With disks that did not go back memory does not go together */
	if (rc < 0 ? start(t, NULL, NULL, NULL) == 0 : start(t, file, xml, &why) == 0)
		return rc;
	if (rc == 0) {
		*err = why;
		err_prefix(err, "the disks went back, but it does not start");
	}
	return 1;
}

static int revert(struct disk_set *t, struct snap_disk **disks, const char *name,
		  char kept[SNAP_NAME_MAX + 1], bool *ret_memory, struct err *err)
{
	CLEANUP_FREE char *file = NULL, *xml = NULL;
	int rc;

	if (look(disks, t->n, name, err) < 0 || disks_refuse(t, true, false, err) < 0)
		return -1;
	/* Before anything is touched: can it be read? */
	if (!o.boot && !o.no_start && live_restore_xml(t, disks, name, &file, &xml, err) < 0)
		return -1;
	if (stop_check(err) < 0 ||
	    (t->running && !o.no_start && snap_restart_set(disks[0], true, err) < 0))
		return -1;
	(void)stop_defer(true);
	rc = stop(t, err) < 0 ? 1 : go_back(t, disks, name, kept, file, xml, err);
	(void)stop_defer(false);
	if (rc > 0) /* recover starts it, should it be off */
		return -1;
	*ret_memory = file != NULL;
	if (t->running && snap_restart_set(disks[0], false, rc < 0 ? NULL : err) < 0)
		return -1;
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	size_t n = (size_t)argc - 1;
	char kept[SNAP_NAME_MAX + 1];
	struct snap_disk **disks;
	bool memory = false;
	struct disk_set t;
	int rc;

	if (disks_open(&t, argv, n, true, err) < 0)
		return -1;
	rc = snaps_open(&t, &disks, err);
	if (rc == 0) {
		rc = revert(&t, disks, argv[n], kept, &memory, err);
		snap_set_close(disks, t.n);
	}
	disks_close(&t);
	if (rc < 0)
		return -1;
	if (cli->json)
		return cli_print_json(cli,
				      json_pack("{s:o, s:o, s:o, s:b}", "disk", disks_json(argv, n),
						"snapshot", cli_json_string(argv[n]), "kept",
						*kept ? cli_json_string(kept) : json_null(),
						"memory", (int)memory),
				      err);
	if (*kept && !cli->quiet)
		(void)fprintf(stderr, "vmsnap: the former state is snapshot %s\n", kept);
	return 0;
}

const struct verb verb_revert = {
	.name = "revert",
	.usage = "[OPTIONS] DISK...|DOMAIN NAME",
	.summary = "go back to a snapshot, which stays",
	.details = "The present state is kept as a snapshot auto-TIME, so that a revert can be "
		   "undone, unless\n"
		   "--discard-current is given. Nobody may have the disk open. Several disks go "
		   "back all or "
		   "none.\n"
		   "A domain that runs is stopped as by its plug, and started again. If its memory "
		   "was "
		   "kept (create --memory),\n"
		   "it goes on from that moment, also when it was off; of the former state the "
		   "disks alone "
		   "are kept.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 usage, 4 no such disk or snapshot, 6 the disk is in use, 8 corrupt, "
		    "13 no space",
	.min_args = 2,
	.max_args = UINT_MAX,
	.json = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
