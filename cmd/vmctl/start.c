/* vmctl start: machines run. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmctl/vmctl.h"
#include "libcommon/base/log.h"
#include "libcommon/base/stop.h"

static struct {
	bool all, autostart;
	bool paused, fresh;
} o;

static const struct opt options[] = {
	{.name = "all", .type = OPT_FLAG, .value = &o.all, .help = "every machine of the host"},
	{.name = "autostart",
	 .type = OPT_FLAG,
	 .value = &o.autostart,
	 .help = "those that start with their host, in their order (see autostart)"},
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
	"vmctl start --autostart",
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

/* ---- those that start with their host */

static int by_order(const void *a, const void *b)
{
	const struct domain_info *x = a, *y = b;
	unsigned i = x->autostart_order ? x->autostart_order : UINT_MAX,
		 k = y->autostart_order ? y->autostart_order : UINT_MAX;

	return i < k ? -1 : i > k ? 1 : strcmp(x->name, y->name);
}

/* Return: 0; 1: a warning said why it failed; -1: stopped */
static int start_named(struct host *h, const char *name, struct err *err)
{
	struct err why = ERR_INIT;
	struct domain *d;
	int rc;

	if (stop_check(err) < 0)
		return -1;
	rc = host_find(h, name, &d, &why);
	if (rc == 0) {
		rc = one(d, NULL, &why);
		domain_close(d);
	}
	if (rc < 0)
		log_warning("%s: %s", name, why.message);
	err_clear(&why);
	return rc < 0;
}

static int start_in_order(struct host *h, const struct domain_info *list, size_t n, struct err *err)
{
	size_t failed = 0, tried = 0;

	for (size_t i = 0; i < n;) {
		unsigned order = list[i].autostart_order;
		uint64_t delay = 0;

		for (; i < n && list[i].autostart_order == order; i++) {
			bool due = list[i].autostart &&
				   (list[i].state == DOMAIN_OFF || list[i].state == DOMAIN_CRASHED);
			int rc = due ? start_named(h, list[i].name, err) : 0;

			if (rc < 0)
				return -1;
			tried += due;
			failed += rc > 0;
			if (due && rc == 0 && list[i].autostart_delay_ms > delay)
				delay = list[i].autostart_delay_ms;
		}
		if (i < n && stop_sleep(delay, err) < 0)
			return -1;
	}
	if (failed)
		return err_set(err, ERR_DIFFERS, "%zu of %zu machines failed", failed, tried);
	return 0;
}

static int start_autostart(struct err *err)
{
	struct domain_info *list;
	struct host *h;
	size_t n;
	int rc;

	if (vmctl_connect(&h, false, err) < 0)
		return -1;
	if (host_list(h, &list, &n, err) < 0) {
		host_close(h);
		return -1;
	}
	if (n)
		qsort(list, n, sizeof(*list), by_order);
	rc = start_in_order(h, list, n, err);
	host_list_free(list, n);
	host_close(h);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	(void)cli;
	if (o.paused && o.fresh)
		return err_set(err, ERR_USAGE, "--paused and --fresh do not go together");
	if (o.autostart && (o.all || argc))
		return err_set(err, ERR_USAGE, "--autostart, --all and names do not go together");
	if (o.autostart)
		return start_autostart(err);
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
