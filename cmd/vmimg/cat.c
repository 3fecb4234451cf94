/* vmimg cat: files inside of a disk to standard output. */
#include <unistd.h>

#include "cmd/vmimg/inside.h"
#include "libcommon/guest/extract.h"

static const struct opt options[] = {INSIDE_OPTIONS, OPT_END};

static const char *const examples[] = {"vmimg cat disk.qcow2 /etc/hostname",
				       "vmimg cat disk.vmdk 1:/EFI/debian/grub.cfg", NULL};

static int cat_one(struct guest *g, const char *spec, struct err *err)
{
	struct guest_place p;
	int rc;

	if (guest_find(g, spec, 0, &p, err) < 0)
		return -1;
	if (p.node.type == FS_DIR)
		rc = err_set(err, ERR_USAGE, "is a folder");
	else if (p.node.type != FS_FILE)
		rc = err_set(err, ERR_UNSUPPORTED, "is no file that holds bytes");
	else
		rc = guest_copy_out(p.fs, &p.node, STDOUT_FILENO, err);
	guest_place_release(&p);
	return rc < 0 ? err_object(err, spec) : 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct image *img;
	struct guest *g;
	int rc = 0;

	(void)cli;
	if (inside_open(argv[0], &img, &g, err) < 0)
		return -1;
	for (int i = 1; i < argc && rc == 0; i++)
		rc = cat_one(g, argv[i], err);
	inside_close(img, g);
	return rc;
}

const struct verb verb_cat = {
	.name = "cat",
	.usage = "[OPTIONS] IMAGE [PARTITION:]PATH...",
	.summary = "print files that are inside of a disk",
	.details = INSIDE_PATHS,
	.options = options,
	.examples = examples,
	.statuses = INSIDE_STATUSES,
	.min_args = 2,
	.max_args = 1000,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
