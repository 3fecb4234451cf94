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
				       "vmsnap create --engine internal disk.qcow2 tuesday", NULL};

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	enum snap_engine engine = SNAP_AUTO;
	struct snap_entry *e = NULL;
	struct snap_disk *d;
	int rc;

	if (argc > 2)
		return err_set(err, ERR_UNSUPPORTED,
			       "this vmsnap takes snapshots of one disk at a time: DISK NAME");
	if (snap_name_check(argv[1], err) < 0)
		return err_object(err, argv[1]);
	if (o.engine && !strcmp(o.engine, "reflink"))
		engine = SNAP_REFLINK;
	else if (o.engine && !strcmp(o.engine, "internal"))
		engine = SNAP_INTERNAL;
	else if (o.engine && !strcmp(o.engine, "external"))
		engine = SNAP_EXTERNAL;
	if (snap_open(&d, argv[0], true, err) < 0)
		return -1;
	rc = snap_create(d, argv[1], engine, NULL, err);
	if (rc == 0 && cli->json)
		rc = snap_find(d, argv[1], &e, err);
	if (e)
		rc = cli_print_json(cli, entry_json(e), err);
	snap_list_free(e, e ? 1 : 0);
	snap_close(d);
	return rc;
}

const struct verb verb_create = {
	.name = "create",
	.usage = "[OPTIONS] DISK NAME",
	.summary = "keep the present state of a disk under a name",
	.details =
		"DISK is an image file. reflink: a clone that shares blocks, on XFS and btrfs, "
		"in milliseconds.\n"
		"internal: in a qcow2 file itself, as qemu-img snapshot does. external: the file "
		"of "
		"a qcow2 disk is put aside\n"
		"as STEM.NAME.SUFFIX, and the disk becomes an overlay of it. Names have letters, "
		"digits and ._+:-.\n"
		"Libvirt domains (qemu:///...), machines of vmrun and several disks at once are "
		"not supported yet.",
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
