/* vmctl save: memory to disk, and off. */
#include <stdio.h>

#include "cmd/vmctl/vmctl.h"

static struct {
	const char *to;
} o;

static const struct opt options[] = {
	{.letter = 'o',
	 .name = "to",
	 .type = OPT_STRING,
	 .value = &o.to,
	 .arg = "FILE",
	 .help = "a file of the host, for vmctl restore (default: start takes it up by itself)",
	 .complete = COMPLETE_FILE},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl save web",
	"vmctl save --to /var/tmp/web.save web",
	NULL,
};

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct host *h;
	struct domain *d;
	int rc;

	(void)cli;
	(void)argc;
	if (o.to && o.to[0] != '/')
		return err_set(err, ERR_USAGE,
			       "the file needs its whole path, for the host's daemon");
	if (vmctl_find(argv[0], false, &h, &d, err) < 0)
		return -1;
	rc = o.to ? domain_save_to(d, o.to, err) : domain_act(d, DOMAIN_SAVE, err);
	domain_close(d);
	host_close(h);
	return rc;
}

const struct verb verb_save = {
	.name = "save",
	.usage = "[OPTIONS] NAME",
	.summary = "keep a machine's memory on disk and switch it off",
	.details = "start goes on where it was. With --to the file is the caller's to keep, and "
		   "restore reads it.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 1 it does not run, 4 no such machine, 6 a job is under way, 7 no "
		    "connection, 13 no space",
	.min_args = 1,
	.max_args = 1,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
