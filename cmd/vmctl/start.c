/* vmctl start: machines run. */
#include <limits.h>

#include "cmd/vmctl/vmctl.h"

static struct {
	bool all;
	bool paused, fresh;
} o;

static const struct opt options[] = {
	{.name = "all", .type = OPT_FLAG, .value = &o.all, .help = "every machine of the host"},
	{.name = "paused",
	 .type = OPT_FLAG,
	 .value = &o.paused,
	 .help = "its processors wait for resume"},
	{.name = "fresh",
	 .type = OPT_FLAG,
	 .value = &o.fresh,
	 .help = "throw saved memory away and boot"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl start web",
	"vmctl start --all",
	"vmctl start --paused db",
	NULL,
};

static int one(struct domain *d, void *ctx, struct err *err)
{
	enum domain_state state;

	(void)ctx;
	if (domain_state(d, &state, NULL, err) < 0)
		return -1;
	if (state == DOMAIN_RUNNING || (state == DOMAIN_PAUSED && o.paused))
		return 0;
	if (state != DOMAIN_OFF && state != DOMAIN_CRASHED) {
		err_set(err, ERR_FAILED, "is %s", domain_state_name(state));
		err_object(err, domain_name(d));
		return state == DOMAIN_PAUSED ? err_hint(err, "vmctl resume lets it go on") : -1;
	}
	return domain_act(d,
			  o.paused  ? DOMAIN_START_PAUSED
			  : o.fresh ? DOMAIN_START_FRESH
				    : DOMAIN_START,
			  err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	(void)cli;
	if (o.paused && o.fresh)
		return err_set(err, ERR_USAGE, "--paused and --fresh do not go together");
	return vmctl_each(argc, argv, o.all, false, one, NULL, err);
}

const struct verb verb_start = {
	.name = "start",
	.usage = "[OPTIONS] NAME...",
	.summary = "start machines",
	.details = "A machine that runs already is left alone, one that is paused needs resume. "
		   "One whose memory was saved goes on "
		   "where it was, unless --fresh is given.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 1 it is paused or about to stop, 3 some of several failed, 4 no such "
		    "machine, 6 a job is under way, 7 "
		    "no connection",
	.max_args = UINT_MAX,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
