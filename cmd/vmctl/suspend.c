/* vmctl suspend: processors wait. */
#include <limits.h>

#include "cmd/vmctl/vmctl.h"

static struct {
	bool all;
} o;

static const struct opt options[] = {
	{.name = "all", .type = OPT_FLAG, .value = &o.all, .help = "every machine of the host"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl suspend web",
	"vmctl suspend --all",
	NULL,
};

static int one(struct domain *d, void *ctx, struct err *err)
{
	enum domain_state state;

	(void)ctx;
	if (domain_state(d, &state, NULL, err) < 0)
		return -1;
	return state == DOMAIN_PAUSED ? 0 : domain_act(d, DOMAIN_SUSPEND, err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	(void)cli;
	return vmctl_each(argc, argv, o.all, false, one, NULL, err);
}

const struct verb verb_suspend = {
	.name = "suspend",
	.usage = "[OPTIONS] NAME...",
	.summary = "stop the processors of machines, memory stays",
	.details = "A machine that is paused already is left alone; one that is off is an error.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 3 some of several failed, 4 no such machine, 6 a job is under way, 7 "
		    "no connection",
	.max_args = UINT_MAX,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
