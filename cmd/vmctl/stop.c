/* vmctl stop: off, by the gentlest way that works. */
#include <limits.h>
#include <stdlib.h>
#include <time.h>

#include "cmd/vmctl/vmctl.h"
#include "libcommon/base/log.h"
#include "libcommon/base/size.h"

static struct {
	bool all, now, no_force;
	uint64_t timeout;
} o = {.timeout = 30000};

static const struct opt options[] = {
	{.name = "all", .type = OPT_FLAG, .value = &o.all, .help = "every machine of the host"},
	{.name = "now",
	 .type = OPT_FLAG,
	 .value = &o.now,
	 .help = "pull the plug at once: what the guest has not written is lost"},
	{.name = "no-force",
	 .type = OPT_FLAG,
	 .value = &o.no_force,
	 .help = "never pull the plug: a guest that does not listen is status 10"},
	{.letter = 't',
	 .name = "timeout",
	 .type = OPT_DURATION,
	 .value = &o.timeout,
	 .arg = "TIME",
	 .help = "what each step gets before the next is tried (default: 30s)"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl stop web",
	"vmctl stop --timeout 2m --no-force db",
	"vmctl stop --all --json",
	NULL,
};

struct job {
	struct cli *cli;
	json_t *list;
};

static double seconds_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Return: 1 it is off; 0 this way did not work; -1 no other will either */
static int try_step(struct domain *d, enum domain_action how, struct err *err)
{
	struct err why = ERR_INIT;

	if (domain_act(d, how, &why) < 0) {
		enum domain_state state;
		struct err ignored = ERR_INIT;

		/* It may have gone off by itself meanwhile. */
		if (domain_state(d, &state, NULL, &ignored) < 0 ? ignored.code == ERR_NOT_FOUND
								: state == DOMAIN_OFF)
			return 1;
		*err = why;
		if (why.code == ERR_BUSY || why.code == ERR_NOT_FOUND || why.code == ERR_DENIED)
			return -1;
		log_info("%s: %s", domain_name(d), why.message);
		return 0;
	}
	if (domain_wait(d, DOMAIN_OFF, o.timeout, err) == 0)
		return 1;
	return err->code == ERR_TIMEOUT ? 0 : -1;
}

/* *@ret_how: which step worked */
static int stop_it(struct domain *d, const char **ret_how, struct err *err)
{
	static const struct {
		enum domain_action how;
		const char *name;
	} steps[] = {{DOMAIN_SHUTDOWN_AGENT, "agent"},
		     {DOMAIN_SHUTDOWN_ACPI, "acpi"},
		     {DOMAIN_DESTROY, "destroy"}};
	size_t n = o.no_force ? 2 : 3;
	enum domain_state state;

	*ret_how = "off already";
	if (domain_state(d, &state, NULL, err) < 0)
		return -1;
	if (state == DOMAIN_OFF)
		return 0;
	/* A guest whose processors wait cannot do what it is asked for. */
	if (state != DOMAIN_RUNNING && o.no_force) {
		err_set(err, ERR_FAILED, "is %s, so its guest cannot shut down",
			domain_state_name(state));
		return err_object(err, domain_name(d));
	}
	for (size_t i = o.now || state != DOMAIN_RUNNING ? 2 : 0; i < n; i++) {
		int rc = try_step(d, steps[i].how, err);

		*ret_how = steps[i].name;
		if (rc != 0)
			return rc < 0 ? -1 : 0;
	}
	return -1;
}

static int one(struct domain *d, void *ctx, struct err *err)
{
	struct job *job = ctx;
	double start = seconds_now(), took;
	struct err why = ERR_INIT;
	const char *how;
	char text[SIZE_TEXT_MAX];

	if (stop_it(d, &how, &why) < 0) {
		if (err)
			*err = why;
		return -1;
	}
	took = seconds_now() - start;
	if (job->cli->json)
		json_array_append_new(job->list,
				      json_pack("{s:o, s:s, s:s, s:f}", "name",
						cli_json_string(domain_name(d)), "uuid",
						domain_uuid(d), "method", how, "seconds", took));
	else if (!job->cli->quiet)
		(void)printf("%s: %s, %s\n", domain_name(d), how, duration_format(took, text));
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct job job = {.cli = cli, .list = json_array()};
	struct err why = ERR_INIT;
	int rc;

	if (o.now && o.no_force) {
		json_decref(job.list);
		return err_set(err, ERR_USAGE, "--now and --no-force do not go together");
	}
	rc = vmctl_each(argc, argv, o.all, false, one, &job, err);
	/* What was stopped is told, also when others failed. */
	if (!cli->json || (rc < 0 && json_array_size(job.list) == 0))
		json_decref(job.list);
	else if (cli_print_json(cli, job.list, &why) < 0) {
		*err = why;
		rc = -1;
	}
	return rc;
}

const struct verb verb_stop = {
	.name = "stop",
	.usage = "[OPTIONS] NAME...",
	.summary = "switch machines off: by the guest agent, by the power button, by the plug",
	.details =
		"Each way gets --timeout before the next is tried; what worked is printed. A "
		"machine that is off already is fine. One that is paused is unplugged, since its "
		"guest cannot listen.",
	.options = options,
	.examples = examples,
	.statuses =
		"0 it is off, 3 some of several failed, 4 no such machine, 6 a job is under way, "
		"7 no connection, 10 the guest does not listen and --no-force is given",
	.max_args = UINT_MAX,
	.json = true,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
