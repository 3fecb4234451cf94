/* vmctl restore: a machine goes on from a file of save --to. */
#include "cmd/vmctl/vmctl.h"

static struct {
	bool paused;
} o;

static const struct opt options[] = {
	{.name = "paused",
	 .type = OPT_FLAG,
	 .value = &o.paused,
	 .help = "its processors wait for resume"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl restore /var/tmp/web.save",
	"vmctl restore --paused /var/tmp/web.save",
	NULL,
};

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct host *h;
	int rc;

	(void)cli;
	(void)argc;
	if (argv[0][0] != '/')
		return err_set(err, ERR_USAGE,
			       "the file needs its whole path, for the host's daemon");
	if (vmctl_connect(&h, false, err) < 0)
		return -1;
	rc = host_restore(h, argv[0], o.paused, err);
	host_close(h);
	return rc;
}

const struct verb verb_restore = {
	.name = "restore",
	.usage = "[OPTIONS] FILE",
	.summary = "let a machine go on from what save --to kept",
	.details = "FILE lies on the host and stays. The disks must be as they were when it was "
		   "written: going on with disks that changed since damages them.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 1 the machine runs, 4 no such file, 7 no connection",
	.min_args = 1,
	.max_args = 1,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
