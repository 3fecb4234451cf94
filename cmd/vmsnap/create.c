/* vmsnap create: keep the present state of a disk. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cmd/vmsnap/domain.h"
#include "cmd/vmsnap/vmsnap.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/host/guard.h"

static struct {
	const char *engine, *quiesce;
	bool memory;
} o;

static const struct opt options[] = {
	{'e', "engine", OPT_CHOICE, &o.engine, .arg = "ENGINE",
	 .choices = "auto|reflink|internal|external",
	 .help = "how to keep it; default: auto, the first that the disk can"},
	{0, "quiesce", OPT_CHOICE, &o.quiesce, .arg = "HOW", .choices = "auto|require|no",
	 .help = "let the guest agent of a running domain write all to its disks first; default: "
		 "auto, if it can"},
	{'m', "memory", OPT_FLAG, &o.memory,
	 .help = "keep the memory of a running domain as well: revert goes on from that moment"},
	OPT_END};

static const char *const examples[] = {
	"vmsnap create disk.qcow2 before-upgrade",
	"vmsnap create --engine internal disk.qcow2 tuesday",
	"vmsnap create system.qcow2 data.qcow2 tuesday",
	"vmsnap -c qemu:///system create --quiesce=require web tuesday",
	"vmsnap -c qemu:///system create --memory web before-test",
	NULL};

static enum snap_engine engine_named(const char *name)
{
	for (int e = SNAP_REFLINK; name && e <= SNAP_EXTERNAL; e++)
		if (strcmp(name, snap_engine_name((enum snap_engine)e)) == 0)
			return (enum snap_engine)e;
	return SNAP_AUTO;
}

/* An object; an array of them for several disks */
static int print_made(struct cli *cli, struct snap_disk **disks, size_t n, const char *name,
		      struct err *err)
{
	json_t *out = n > 1 ? json_array() : NULL;

	for (size_t i = 0; i < n; i++) {
		struct snap_entry *e;
		json_t *one;

		if (snap_find(disks[i], name, &e, err) < 0) {
			json_decref(out);
			return -1;
		}
		one = entry_json(e, snap_path(disks[i]));
		snap_list_free(e, 1);
		if (n == 1)
			out = one;
		else
			json_array_append_new(out, one);
	}
	return cli_print_json(cli, out, err);
}

/* The machine would go on with what its firmware wrote since; QEMU keeps the disks of one that is paused shut afterwards */
static int refuse_memory(struct disk_set *t, struct err *err)
{
	enum domain_state state;
	bool nvram;

	if (domain_state(t->domain, &state, NULL, err) < 0)
		return -1;
	if (state != DOMAIN_RUNNING) {
		err_set(err, ERR_UNSUPPORTED,
			"is %s: only of a machine that runs can the memory be kept",
			domain_state_name(state));
		err_hint(err, "vmctl resume");
		return err_object(err, domain_name(t->domain));
	}
	if (domain_keeps_nvram(t->domain, &nvram, err) < 0)
		return -1;
	if (!nvram)
		return 0;
	err_set(err, ERR_UNSUPPORTED,
		"has variables of its firmware (NVRAM), which are not kept: memory would not fit "
		"to them");
	return err_object(err, domain_name(t->domain));
}

static int create_live(struct cli *cli, struct disk_set *t, struct snap_disk **disks,
		       const char *name, enum quiesce how, struct guard *guard, struct err *err)
{
	const struct live_opts opts = {
		.quiesce = how, .guard = guard, .memory = o.memory, .progress = &cli->progress};
	bool frozen;

	if (o.engine && engine_named(o.engine) != SNAP_EXTERNAL && engine_named(o.engine)) {
		err_set(err, ERR_UNSUPPORTED, "runs, and can only have external snapshots then");
		return err_object(err, domain_name(t->domain));
	}
	if (o.memory && (refuse_memory(t, err) < 0 || domain_idle(t->domain, err) < 0 ||
			 live_memory_fits(t, snap_path(disks[0]), err) < 0))
		return -1;
	if (live_create(t, disks, name, &opts, &frozen, err) < 0)
		return -1;
	if (cli->verbose && !o.memory)
		(void)fprintf(stderr, "vmsnap: %s: the guest %s\n", domain_name(t->domain),
			      frozen ? "stood still" : "did not stand still");
	return 0;
}

/* It has no agent, and with its memory nothing has to be at rest */
static int create_still(struct cli *cli, struct disk_set *t, struct snap_disk **disks,
			const char *name, enum quiesce how, struct err *err)
{
	double ms = 0;

	if (how == QUIESCE_REQUIRE) {
		err_set(err, ERR_UNSUPPORTED,
			"its guest has no agent that would make its file systems stand still");
		err_hint(err, "--memory: then they need not");
		return err_object(err, domain_name(t->domain));
	}
	if (still_create(t, disks, name, engine_named(o.engine), o.memory, &ms, err) < 0)
		return -1;
	if (cli->verbose)
		(void)fprintf(stderr, "vmsnap: %s: the machine stood still for %.0f ms\n",
			      domain_name(t->domain), ms);
	return 0;
}

static int create(struct cli *cli, char **argv, size_t n, const char *name, enum quiesce how,
		  struct guard *guard, struct err *err)
{
	struct snap_disk **disks = NULL;
	struct disk_set t;
	int rc;

	if (disks_open(&t, argv, n, true, err) < 0)
		return -1;
	rc = disks_refuse(&t, false,
			  engine_named(o.engine) == SNAP_REFLINK ||
				  (engine_named(o.engine) == SNAP_INTERNAL && t.domain &&
				   !domain_can_hold(t.domain)),
			  err);
	if (rc == 0 && o.memory && !t.running) {
		rc = err_set(err, ERR_USAGE, "is no domain that runs: there is no memory to keep");
		err_object(err, argv[0]);
	}
	if (rc == 0)
		rc = snaps_open(&t, &disks, err);
	if (rc == 0) {
		rc = !t.running ? snap_set_create(disks, t.n, name, engine_named(o.engine), err)
		     : domain_can_hold(t.domain)
			     ? create_still(cli, &t, disks, name, how, err)
			     : create_live(cli, &t, disks, name, how, guard, err);
		if (rc == 0 && cli->json)
			rc = print_made(cli, disks, t.n, name, err);
		snap_set_close(disks, t.n);
	}
	disks_close(&t);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	size_t n = (size_t)argc - 1;
	enum quiesce how = QUIESCE_AUTO;
	CLEANUP_FREE char *uri = NULL;
	struct guard *guard = NULL;
	const char *domain;
	int rc;

	if (snap_name_check(argv[n], err) < 0)
		return err_object(err, argv[n]);
	if (o.quiesce)
		how = !strcmp(o.quiesce, "no")	      ? QUIESCE_NO
		      : !strcmp(o.quiesce, "require") ? QUIESCE_REQUIRE
						      : QUIESCE_AUTO;
	if (o.memory && how == QUIESCE_REQUIRE)
		return err_set(err, ERR_USAGE,
			       "with --memory nothing has to stand still: not with "
			       "--quiesce=require");
	if (o.memory)
		how = QUIESCE_NO;
	/* Before the first connection */
	if (is_domain(argv[0], &uri, &domain) && how != QUIESCE_NO &&
	    (!uri || strcmp(uri, BUILTIN_URI) != 0) && guard_start(&guard, uri, NULL, err) < 0)
		return -1;
	rc = create(cli, argv, n, argv[n], how, guard, err);
	guard_end(guard);
	return rc;
}

const struct verb verb_create = {
	.name = "create",
	.usage = "[OPTIONS] DISK...|DOMAIN NAME",
	.summary = "keep the present state of a disk, or of several at once, under a name",
	.details =
		"DISK is an image file. reflink: a clone that shares blocks, on XFS and btrfs, "
		"in milliseconds.\n"
		"internal: in a qcow2 file itself, as qemu-img snapshot does. external: the file "
		"of "
		"a qcow2 disk is put aside\n"
		"as STEM.NAME.SUFFIX, and the disk becomes an overlay of it. Names have letters, "
		"digits and ._+:-.\n"
		"A libvirt domain (-c URI, or qemu:///system/web) gets it on all its disks; a "
		"running "
		"one goes on in new overlays,\n"
		"STEM.live-N.qcow2, at one moment for all. With --memory it runs on while that is "
		"written, and stops for the last of it.\n"
		"One of vmrun's (-c builtin) is saved, gets it by the engine that fits, and goes "
		"on: -v says "
		"how long it stood still.\n"
		"Several disks get the snapshot all or none, whatever interrupts it; nobody may "
		"write to "
		"them meanwhile.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 usage, 3 made, but the guest did not stand still as required, 4 not "
		    "found, 5 the name is taken, 6 the disk is in use, 7 no connection, or no "
		    "agent, 9 no "
		    "engine fits, 13 no space",
	.min_args = 2,
	.max_args = UINT_MAX,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
