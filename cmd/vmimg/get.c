/* vmimg get: files and folders out of a disk, into a folder or as a tar archive. */
#include <string.h>
#include <unistd.h>

#include "cmd/vmimg/inside.h"
#include "libcommon/guest/extract.h"

static bool force;

static const struct opt options[] = {
	INSIDE_OPTIONS,
	{0, "force", OPT_FLAG, &force, .help = "replace files that exist in the folder"},
	OPT_END};

static const char *const examples[] = {"vmimg get disk.qcow2 /etc /var/log out",
				       "vmimg get disk.qcow2 / - | tar -tv", NULL};

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	const struct extract_opts opts = {.force = force, .progress = &cli->progress};
	const char *target = argv[argc - 1];
	struct image *img;
	struct guest *g;
	int rc;

	if (strcmp(target, "-") == 0 && cli_refuse_terminal(err) < 0)
		return -1;
	if (inside_open(argv[0], &img, &g, err) < 0)
		return -1;
	progress_begin(&cli->progress, "get", 0);
	rc = guest_get(g, argv + 1, (size_t)argc - 2, target, STDOUT_FILENO, &opts, err);
	inside_close(img, g);
	return rc;
}

const struct verb verb_get = {
	.name = "get",
	.usage = "[OPTIONS] IMAGE [PARTITION:]PATH... DIR|-",
	.summary = "copy files and folders out of a disk",
	.details = INSIDE_PATHS
	"\n"
	"Into DIR (made when it is missing) come contents, holes, permissions without set-id bits, "
	"times and\n"
	"links; owners do not, and devices, pipes and sockets are left out (status 3). Nothing is "
	"written outside\n"
	"of DIR. With - a tar archive of all of it goes to standard output.",
	.options = options,
	.examples = examples,
	.statuses = INSIDE_STATUSES ", 3 some were left out, 5 a file exists (see --force), "
				    "13 no space",
	.min_args = 3,
	.max_args = 1000,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
