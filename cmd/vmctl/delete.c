/* vmctl delete: no such machine any more. */
#include <limits.h>
#include <stdio.h>

#include "cmd/vmctl/vmctl.h"

static struct {
	bool all;
	bool force, dry_run;
} o;

static const struct opt options[] = {
	{.name = "all", .type = OPT_FLAG, .value = &o.all, .help = "every machine of the host"},
	{.letter = 'f',
	 .name = "force",
	 .type = OPT_FLAG,
	 .value = &o.force,
	 .help = "pull the plug of machines that run"},
	{.letter = 'n',
	 .name = "dry-run",
	 .type = OPT_FLAG,
	 .value = &o.dry_run,
	 .help = "only say which would be removed"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl delete old",
	"vmctl delete --force broken",
	"vmctl delete --dry-run --all",
	NULL,
};

static int one(struct domain *d, void *ctx, struct err *err)
{
	enum domain_state state;

	(void)ctx;
	if (domain_state(d, &state, NULL, err) < 0)
		return -1;
	if (state != DOMAIN_OFF && state != DOMAIN_CRASHED && !o.force) {
		err_set(err, ERR_FAILED, "is %s", domain_state_name(state));
		err_object(err, domain_name(d));
		return err_hint(err, "stop it first, or say --force");
	}
	if (o.dry_run) {
		(void)printf("%s\n", domain_name(d));
		return 0;
	}
	if (state == DOMAIN_OFF || state == DOMAIN_CRASHED)
		return domain_act(d, DOMAIN_UNDEFINE, err);
	if (domain_act(d, DOMAIN_DESTROY, err) < 0)
		return -1;

	struct err why = ERR_INIT;

	if (domain_act(d, DOMAIN_UNDEFINE, &why) == 0 || why.code == ERR_NOT_FOUND)
		return 0; /* one without a definition is gone already */
	if (err)
		*err = why;
	return -1;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	(void)cli;
	return vmctl_each(argc, argv, o.all, false, one, NULL, err);
}

const struct verb verb_delete = {
	.name = "delete",
	.usage = "[OPTIONS] NAME...",
	.summary = "remove the definition of machines; their disks stay",
	.details = "A machine must be off, unless --force is given. Its saved memory, NVRAM and "
		   "records of snapshots go with it. Disk files are not touched.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 1 a machine runs, 3 some of several failed, 4 no such machine, 7 no "
		    "connection",
	.max_args = UINT_MAX,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
