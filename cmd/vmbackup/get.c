/* vmbackup get: files and folders out of a disk of a snapshot. */
#include <string.h>
#include <unistd.h>

#include "cmd/vmbackup/inside.h"
#include "libcommon/guest/extract.h"

static bool force;

static const struct opt options[] = {
	{0, "force", OPT_FLAG, &force, .help = "replace files that exist in the folder"}, OPT_END};

static const char *const examples[] = {
	"vmbackup -r /backup/vms get web@latest /etc /var/lib/postgresql out",
	"vmbackup -r /backup/vms get web@2026-11-23:vda /home - | tar -tv", NULL};

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	const struct extract_opts opts = {.force = force, .progress = &cli->progress};
	struct inside in;
	int rc;

	if (strcmp(argv[argc - 1], "-") == 0 && cli_refuse_terminal(err) < 0)
		return -1;
	if (inside_open(&in, argv[0], err) < 0)
		return -1;
	progress_begin(&cli->progress, "get", 0);
	rc = guest_get(in.guest, argv + 1, (size_t)argc - 2, argv[argc - 1], STDOUT_FILENO, &opts,
		       err);
	inside_close(&in);
	return rc;
}

const struct verb verb_get = {
	.name = "get",
	.usage = "[OPTIONS] NAME@WHEN[:DISK] [PARTITION:]PATH... DIR|-",
	.summary = "copy files and folders out of a disk of a snapshot, without restoring it",
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
	.complete_args = COMPLETE_SNAPSHOT,
	.run = run,
};
