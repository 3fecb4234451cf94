/* vmbackup ls: names inside of a disk of a snapshot. */
#include <errno.h>
#include <stdio.h>

#include "cmd/vmbackup/inside.h"
#include "libcommon/guest/listing.h"

static struct listing_opts o;

static const struct opt options[] = {
	{'l', "long", OPT_FLAG, &o.long_form,
	 .help = "kind, permissions, owner, group, size and time too"},
	{'R', "recursive", OPT_FLAG, &o.recursive, .help = "all that is below, by its path"},
	{'d', "directory", OPT_FLAG, &o.itself, .help = "a folder itself, not what is in it"},
	{'0', "null", OPT_FLAG, &o.null_end, .help = "names as they are, each ended by a NUL byte"},
	OPT_END};

static const char *const examples[] = {"vmbackup -r /backup/vms ls -l web@latest /etc",
				       "vmbackup -r /backup/vms ls web@2026-11-23:vda 1:/EFI",
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
	struct inside in;
	int rc;

	o.json = cli->json;
	o.json_lines = cli->json_lines;
	o.printable = cli_printable;
	o.json_text = cli_json_string;
	o.put = put;
	if (listing_check(&o, err) < 0 || inside_open(&in, argv[0], err) < 0)
		return -1;
	rc = listing_print(in.guest, argv + 1, (size_t)argc - 1, &o, err);
	inside_close(&in);
	return rc;
}

const struct verb verb_ls = {
	.name = "ls",
	.usage = "[OPTIONS] NAME@WHEN[:DISK] [[PARTITION:]PATH...]",
	.summary = "list files inside of a disk of a snapshot, without restoring it",
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
	.complete_args = COMPLETE_SNAPSHOT,
	.run = run,
};
