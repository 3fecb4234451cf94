/* vmctl reboot: the guest starts anew. */
#include <limits.h>

#include "cmd/vmctl/vmctl.h"

static struct {
	bool all;
	bool reset;
} o;

static const struct opt options[] = {
	{.name = "all", .type = OPT_FLAG, .value = &o.all, .help = "every machine of the host"},
	{.name = "reset",
	 .type = OPT_FLAG,
	 .value = &o.reset,
	 .help = "as the button does: what the guest has not written is lost"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl reboot web",
	"vmctl reboot --reset web",
	NULL,
};

static int one(struct domain *d, void *ctx, struct err *err)
{
	struct err why = ERR_INIT;

	(void)ctx;
	if (o.reset)
		return domain_act(d, DOMAIN_RESET, err);
	if (domain_act(d, DOMAIN_REBOOT_AGENT, &why) == 0)
		return 0;
	if (why.code == ERR_BUSY || why.code == ERR_NOT_FOUND) {
		if (err)
			*err = why;
		return -1;
	}
	return domain_act(d, DOMAIN_REBOOT_ACPI, err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	(void)cli;
	return vmctl_each(argc, argv, o.all, false, one, NULL, err);
}

const struct verb verb_reboot = {
	.name = "reboot",
	.usage = "[OPTIONS] NAME...",
	.summary = "restart the guest of machines",
	.details = "The guest agent is asked where there is one, else the power button is pressed. "
		   "--reset is the reset button: the guest is not asked. It does not wait until "
		   "the guest is up again.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 3 some of several failed, 4 no such machine, 6 a job is under way, 7 "
		    "no connection",
	.max_args = UINT_MAX,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
