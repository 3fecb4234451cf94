/* vmimg ls: names inside of a disk. */
#include <errno.h>
#include <stdio.h>

#include "cmd/vmimg/inside.h"
#include "libcommon/guest/listing.h"

static struct listing_opts o;

static const struct opt options[] = {
	{'l', "long", OPT_FLAG, &o.long_form,
	 .help = "kind, permissions, owner, group, size and time too"},
	{'R', "recursive", OPT_FLAG, &o.recursive, .help = "all that is below, by its path"},
	{'d', "directory", OPT_FLAG, &o.itself, .help = "a folder itself, not what is in it"},
	{'0', "null", OPT_FLAG, &o.null_end, .help = "names as they are, each ended by a NUL byte"},
	INSIDE_OPTIONS,
	OPT_END};

static const char *const examples[] = {"vmimg ls -l disk.qcow2 /etc", "vmimg ls disk.vhdx 1:/EFI",
				       "vmimg ls -R -0 disk.raw /var/log | xargs -0 -n 1 echo",
				       NULL};

static int put(const char *text, size_t len, struct err *err)
{
	errno = 0;
	if (fwrite(text, 1, len, stdout) != len)
		return err_sys(err, "cannot write to standard output");
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	o.json = cli->json;
	o.json_lines = cli->json_lines;
	o.printable = cli_printable;
	o.json_text = cli_json_string;
	o.put = put;

	struct image *img;
	struct guest *g;
	int rc;

	if (listing_check(&o, err) < 0 || inside_open(argv[0], &img, &g, err) < 0)
		return -1;
	rc = listing_print(g, argv + 1, (size_t)argc - 1, &o, err);
	inside_close(img, g);
	return rc;
}

const struct verb verb_ls = {
	.name = "ls",
	.usage = "[OPTIONS] IMAGE [[PARTITION:]PATH...]",
	.summary = "list files that are inside of a disk",
	.details = INSIDE_PATHS
	"\n"
	"Names are sorted by their bytes, hidden ones among them. Control characters in them are "
	"shown as \\xNN.",
	.options = options,
	.examples = examples,
	.statuses = INSIDE_STATUSES,
	.min_args = 1,
	.max_args = 1000,
	.json = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
