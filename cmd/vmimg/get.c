/* vmimg get: files and folders out of a disk, into a folder or as a tar archive. */
#include <inttypes.h>
#include <stdlib.h>
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

static int get(struct guest *g, const struct guest_place *places, size_t n, const char *target,
	       const struct extract_opts *opts, struct extract_stats *stats, struct err *err)
{
	int rc = 0;

	if (strcmp(target, "-") == 0)
		return guest_tar(g, places, n, STDOUT_FILENO, opts, stats, err);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = guest_extract(g, &places[i], target, opts, stats, err);
	return rc;
}

static int find_and_get(struct cli *cli, struct guest *g, char **specs, size_t n,
			const char *target, struct err *err)
{
	struct guest_place *places = calloc(n, sizeof(*places));
	const struct extract_opts opts = {.force = force, .progress = &cli->progress};
	struct extract_stats stats = {0};
	size_t found = 0;
	int rc = 0;

	if (!places)
		return err_nomem(err);
	while (found < n && rc == 0) {
		/* As cp: a link that is named stays one, unless a "/" asks for the folder behind it */
		rc = guest_find(g, specs[found], GUEST_NO_FOLLOW, &places[found], err);
		found += rc == 0;
	}
	progress_begin(&cli->progress, "get", 0);
	if (rc == 0)
		rc = get(g, places, n, target, &opts, &stats, err);
	for (size_t i = 0; i < found; i++)
		guest_place_release(&places[i]);
	free(places);
	if (rc == 0 && stats.skipped) {
		err_set(err, ERR_DIFFERS, "%" PRIu64 " devices, pipes or sockets were left out",
			stats.skipped);
		return strcmp(target, "-") == 0 ? -1
						: err_hint(err, "a tar archive (-) has devices");
	}
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	const char *target = argv[argc - 1];
	struct image *img;
	struct guest *g;
	int rc;

	if (strcmp(target, "-") == 0 && cli_refuse_terminal(err) < 0)
		return -1;
	if (inside_open(argv[0], &img, &g, err) < 0)
		return -1;
	rc = find_and_get(cli, g, argv + 1, (size_t)argc - 2, target, err);
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
