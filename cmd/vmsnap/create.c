/* vmsnap create: keep the present state of a disk. */
#include <limits.h>
#include <string.h>

#include "cmd/vmsnap/vmsnap.h"

static struct {
	const char *engine;
} o;

static const struct opt options[] = {
	{'e', "engine", OPT_CHOICE, &o.engine, .arg = "ENGINE",
	 .choices = "auto|reflink|internal|external",
	 .help = "how to keep it; default: auto, the first that the disk can"},
	OPT_END};

static const char *const examples[] = {"vmsnap create disk.qcow2 before-upgrade",
				       "vmsnap create --engine internal disk.qcow2 tuesday",
				       "vmsnap create system.qcow2 data.qcow2 tuesday", NULL};

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
		one = entry_json(e);
		json_object_set_new(one, "disk", cli_json_string(snap_path(disks[i])));
		snap_list_free(e, 1);
		if (n == 1)
			out = one;
		else
			json_array_append_new(out, one);
	}
	return cli_print_json(cli, out, err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	size_t n = (size_t)argc - 1;
	const char *name = argv[n];
	struct snap_disk **disks;
	int rc;

	if (snap_name_check(name, err) < 0)
		return err_object(err, name);
	if (snap_set_open(&disks, argv, n, err) < 0)
		return -1;
	rc = snap_set_create(disks, n, name, engine_named(o.engine), err);
	if (rc == 0 && cli->json)
		rc = print_made(cli, disks, n, name, err);
	snap_set_close(disks, n);
	return rc;
}

const struct verb verb_create = {
	.name = "create",
	.usage = "[OPTIONS] DISK... NAME",
	.summary = "keep the present state of a disk, or of several at once, under a name",
	.details =
		"DISK is an image file. reflink: a clone that shares blocks, on XFS and btrfs, "
		"in milliseconds.\n"
		"internal: in a qcow2 file itself, as qemu-img snapshot does. external: the file "
		"of "
		"a qcow2 disk is put aside\n"
		"as STEM.NAME.SUFFIX, and the disk becomes an overlay of it. Names have letters, "
		"digits and ._+:-.\n"
		"Several disks get the snapshot all or none, whatever interrupts it; nobody may "
		"write to "
		"them meanwhile.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 usage, 4 not found, 5 the name is taken, 6 the disk is in use, 9 no "
		    "engine fits, 13 no space",
	.min_args = 2,
	.max_args = UINT_MAX,
	.json = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
