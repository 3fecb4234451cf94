/* vmctl autostart: with the host. */
#include <limits.h>

#include "cmd/vmctl/vmctl.h"

static struct {
	bool all;
	bool off;
} o;

static const struct opt options[] = {
	{.name = "all", .type = OPT_FLAG, .value = &o.all, .help = "every machine of the host"},
	{.name = "off",
	 .type = OPT_FLAG,
	 .value = &o.off,
	 .help = "they stay off when the host starts"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl autostart web",
	"vmctl autostart --off web",
	NULL,
};

static int one(struct domain *d, void *ctx, struct err *err)
{
	(void)ctx;
	return domain_act(d, o.off ? DOMAIN_AUTOSTART_OFF : DOMAIN_AUTOSTART_ON, err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	(void)cli;
	return vmctl_each(argc, argv, o.all, false, one, NULL, err);
}

const struct verb verb_autostart = {
	.name = "autostart",
	.usage = "[OPTIONS] NAME...",
	.summary = "start machines with their host, or no longer",
	.details = "Without --off they start when the host does.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 3 some of several failed, 4 no such machine, 6 a job is under way, 7 "
		    "no connection",
	.max_args = UINT_MAX,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
