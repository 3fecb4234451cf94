/* vmctl autostart: with the host. */
#include <limits.h>

#include "cmd/vmctl/vmctl.h"

static struct {
	bool all;
	bool off;
	unsigned order;
	uint64_t delay;
} o;

static const struct opt options[] = {
	{.name = "all", .type = OPT_FLAG, .value = &o.all, .help = "every machine of the host"},
	{.name = "off",
	 .type = OPT_FLAG,
	 .value = &o.off,
	 .help = "they stay off when the host starts"},
	{.name = "order",
	 .type = OPT_UINT,
	 .value = &o.order,
	 .arg = "N",
	 .help = "1 is first, and those of one order together; vmctl start --autostart starts "
		 "them, not the host by itself",
	 .min = 1,
	 .max = AUTOSTART_ORDER_MAX},
	{.name = "delay",
	 .type = OPT_DURATION,
	 .value = &o.delay,
	 .arg = "TIME",
	 .help = "with --order: how long those of the next order wait after this one"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl autostart web",
	"vmctl autostart --order 1 --delay 20s db",
	"vmctl autostart --off web",
	NULL,
};

static int one(struct domain *d, void *ctx, struct err *err)
{
	(void)ctx;
	if (o.order)
		return domain_set_autostart(d, o.order, o.delay, err);
	return domain_act(d, o.off ? DOMAIN_AUTOSTART_OFF : DOMAIN_AUTOSTART_ON, err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	(void)cli;
	if (o.order && o.off)
		return err_set(err, ERR_USAGE, "--order and --off do not go together");
	if (o.delay && !o.order)
		return err_set(err, ERR_USAGE, "--delay belongs to --order");
	if (o.delay > AUTOSTART_DELAY_MAX_MS)
		return err_set(err, ERR_USAGE, "--delay: a day at most");
	return vmctl_each(argc, argv, o.all, false, one, NULL, err);
}

const struct verb verb_autostart = {
	.name = "autostart",
	.usage = "[OPTIONS] NAME...",
	.summary = "start machines with their host, or no longer",
	.details =
		"Without --off they start when the host does. libvirt does that by itself, all at "
		"once; with --order it is left to vmctl start --autostart, which the service "
		"vmctl-autostart runs when the host has started (for vmrun's machines: a user's "
		"service of the same name, and for all of them).",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 3 some of several failed, 4 no such machine, 6 a job is under way, 7 "
		    "no connection",
	.max_args = UINT_MAX,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
