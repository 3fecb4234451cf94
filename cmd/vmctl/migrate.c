/* vmctl migrate: a running machine goes to another host. */
#include "cmd/vmctl/migrate.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/vmctl/vmctl.h"
#include "libcommon/base/log.h"
#include "libcommon/base/stop.h"
#include "libcommon/host/guard.h"

enum { POLL_MS = 100 };

static struct migrate_args o;

static const struct opt options[] = {
	{.name = "storage",
	 .type = OPT_CHOICE,
	 .value = &o.storage,
	 .choices = "shared|copy",
	 .arg = "HOW",
	 .help = "shared: the target sees the same disks (default); copy: they go along"},
	{.name = "disk-dir",
	 .type = OPT_STRING,
	 .value = &o.disk_dir,
	 .arg = "DIR",
	 .help = "with --storage copy: the target's folder for them (default: the same as here)"},
	{.name = "peer-to-peer",
	 .type = OPT_FLAG,
	 .value = &o.peer_to_peer,
	 .help = "the source's daemon reaches the target by itself; else both are told from here"},
	{.name = "uri",
	 .type = OPT_STRING,
	 .value = &o.data_uri,
	 .arg = "URI",
	 .help = "where the target takes the memory: tcp://ADDRESS[:PORT] (default: its name)"},
	{.letter = 't',
	 .name = "timeout",
	 .type = OPT_DURATION,
	 .value = &o.timeout,
	 .arg = "TIME",
	 .help = "after this what --on-timeout says is done"},
	{.name = "on-timeout",
	 .type = OPT_CHOICE,
	 .value = &o.on_timeout,
	 .choices = "cancel|suspend",
	 .arg = "WHAT",
	 .help = "cancel: the machine stays (default); suspend: it waits until it is there, so "
		 "that it gets there"},
	{.name = "auto-converge",
	 .type = OPT_FLAG,
	 .value = &o.auto_converge,
	 .help = "slow the machine down when it writes faster than the network carries"},
	{.name = "bandwidth",
	 .type = OPT_SIZE,
	 .value = &o.bandwidth,
	 .arg = "SIZE",
	 .help = "send at most this much a second"},
	{.name = "unsafe",
	 .type = OPT_FLAG,
	 .value = &o.unsafe,
	 .help = "with --storage shared: the disks are shared although libvirt doubts it"},
	{.name = "check",
	 .type = OPT_FLAG,
	 .value = &o.check,
	 .help = "only look whether anything is in the way"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl -c one migrate web two",
	"vmctl migrate web qemu+ssh://two/system --storage copy --timeout 10m --auto-converge",
	"vmctl migrate web two --check",
	NULL,
};

struct moving {
	struct domain *d;
	struct host *to;
	struct migrate_plan *plan;
	struct guard *guard; /* NULL: the daemons lead it themselves */
	struct err err;	     /* the thread's until it has ended */
	int rc;
	atomic_bool ended;
};

static void *move_thread(void *arg)
{
	struct moving *m = arg;

	m->rc = domain_migrate(m->d, m->to, &m->plan->m, &m->err);
	m->ended = true;
	return NULL;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Until it has ended, is cancelled or out of time. @ret_late: the time was over. */
static void watch(struct moving *m, struct progress *progress, bool *ret_late)
{
	static const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
	bool suspend = o.on_timeout && strcmp(o.on_timeout, "suspend") == 0;
	uint64_t start = now_ms(), shown = 0;

	progress_begin(progress, "migrate", 0);
	while (!m->ended) {
		struct migration_state s;
		struct err ignored = ERR_INIT;

		(void)nanosleep(&pause, NULL);
		if (domain_migrate_state(m->d, false, &s, &ignored) == 0 && s.done > shown) {
			progress_add(progress, s.done - shown);
			shown = s.done;
		}
		if (!*ret_late && o.timeout && now_ms() - start >= o.timeout) {
			*ret_late = true;
			if (suspend)
				(void)domain_migrate_suspend(m->d, &ignored);
		}
		/* QEMU would go on sending to a machine that nobody there starts. Before the job has begun
		 * there is nothing to cancel: again and again. */
		if (stop_requested() || (*ret_late && !suspend) || !domain_migrate_alive(m->to))
			(void)domain_migrate_cancel(m->d, &ignored);
	}
}

/* libvirt sees to it that it runs in one place; this says which, and mends what a lost daemon left. @ret_settled: it does */
static const char *where_is_it(struct moving *m, bool was_running, bool *ret_settled)
{
	enum domain_state here = DOMAIN_OFF, there = DOMAIN_OFF;
	struct err why = ERR_INIT;
	struct domain *other;
	bool on_target = false;

	if (host_find(m->to, domain_uuid(m->d), &other, &why) == 0) {
		on_target = domain_state(other, &there, NULL, NULL) == 0 && there != DOMAIN_OFF;
		domain_close(other);
	}
	if (domain_state(m->d, &here, NULL, NULL) < 0)
		return on_target ? "it is on the target" : "its host does not answer";
	if (here == DOMAIN_PAUSED && was_running && !on_target && why.code == ERR_NOT_FOUND &&
	    domain_act(m->d, DOMAIN_RESUME, NULL) == 0)
		here = DOMAIN_RUNNING;
	*ret_settled =
		on_target ? here == DOMAIN_OFF
			  : why.code == ERR_NOT_FOUND && (here == DOMAIN_RUNNING || !was_running);
	if (on_target)
		return here == DOMAIN_OFF ? "it is on the target" : "both hosts have it";
	return here == DOMAIN_RUNNING ? "it runs where it was" : "it is where it was, paused";
}

static int tell(struct cli *cli, struct moving *m, uint64_t ms, struct err *err)
{
	struct migration_state s = {0};
	struct domain *there = NULL;

	if (host_find(m->to, domain_uuid(m->d), &there, err) < 0)
		return -1;
	(void)domain_migrate_state(there, true, &s, NULL);
	domain_close(there);
	if (cli->json)
		return cli_print_json(
			cli,
			json_pack("{s:o, s:s, s:o, s:o, s:s, s:f, s:f, s:I}", "name",
				  cli_json_string(domain_name(m->d)), "uuid", domain_uuid(m->d),
				  "from", cli_json_string(host_uri(domain_host(m->d))), "to",
				  cli_json_string(host_uri(m->to)), "storage",
				  m->plan->m.copy_disks ? "copy" : "shared", "seconds",
				  (double)ms / 1000, "downtime_ms", s.downtime_ms, "bytes",
				  (json_int_t)(s.total & INT64_MAX)),
			err);
	if (cli->verbose)
		(void)printf("%s: %.1f s, of them %.0f ms without running\n", domain_name(m->d),
			     (double)ms / 1000, s.downtime_ms);
	return 0;
}

/* What is not settled by then is the guard's, when we are gone */
static void let_go(struct moving *m)
{
	if (m->guard)
		(void)guard_move(m->guard, "", NULL, NULL, false, NULL);
}

static int move(struct cli *cli, struct moving *m, struct err *err)
{
	enum domain_state before;
	uint64_t start = now_ms();
	pthread_t thread;
	bool late = false, settled = false;

	if (domain_state(m->d, &before, NULL, err) < 0)
		return -1;
	if (m->guard && guard_move(m->guard, domain_uuid(m->d), host_uri(domain_host(m->d)),
				   host_uri(m->to), before == DOMAIN_RUNNING, err) < 0)
		return -1;
	if (pthread_create(&thread, NULL, move_thread, m) != 0)
		return err_set(err, ERR_FAILED, "cannot start a thread");
	watch(m, &cli->progress, &late);
	(void)pthread_join(thread, NULL);
	if (m->rc == 0) {
		let_go(m);
		return tell(cli, m, now_ms() - start, err);
	}

	const char *place = where_is_it(m, before == DOMAIN_RUNNING, &settled);

	if (settled)
		let_go(m);

	if (stop_check(err) < 0) {
		log_warning("%s: %s", domain_name(m->d), place);
		return -1;
	}
	*err = m->err;
	if (late)
		err_set(err, ERR_TIMEOUT, "was not there within %.3g s", (double)o.timeout / 1000);
	err_object(err, domain_name(m->d));
	if (late || !*err->hint)
		err_hint(err, "%s", place);
	return -1;
}

static int run_on(struct cli *cli, struct domain *d, const char *target, struct guard *guard,
		  struct err *err)
{
	struct migrate_plan plan;
	struct host *to = NULL;
	struct moving m = {.d = d, .plan = &plan, .guard = guard, .err = ERR_INIT};
	char *uri = NULL;
	int rc;

	if (vmctl_target(target, &to, &uri, err) < 0)
		return -1;
	rc = migrate_plan(&plan, d, to, uri, &o, !o.check, err);
	m.to = to;
	if (rc == 0 && !o.check)
		rc = move(cli, &m, err);
	migrate_plan_release(&plan, rc < 0);
	host_close(to);
	free(uri);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct guard *guard = NULL;
	struct host *h;
	struct domain *d;
	int rc;

	(void)argc;
	if (o.disk_dir && (!o.storage || strcmp(o.storage, "copy") != 0))
		return err_set(err, ERR_USAGE, "--disk-dir goes with --storage copy");
	if (o.disk_dir && *o.disk_dir != '/')
		return err_set(err, ERR_USAGE, "--disk-dir is named from / on");
	if (o.on_timeout && !o.timeout)
		return err_set(err, ERR_USAGE, "--on-timeout goes with --timeout");
	if (o.check && cli->json)
		return err_set(err, ERR_USAGE, "--check says by its status what it found");
	/* Before there are threads */
	if (!o.check && !o.peer_to_peer && guard_start(&guard, NULL, NULL, err) < 0)
		return -1;
	rc = vmctl_find(argv[0], false, &h, &d, err);
	if (rc == 0) {
		rc = run_on(cli, d, argv[1], guard, err);
		domain_close(d);
		host_close(h);
	}
	guard_end(guard);
	return rc;
}

const struct verb verb_migrate = {
	.name = "migrate",
	.usage = "[OPTIONS] NAME HOST|URI",
	.summary = "move a running machine to another host while it runs",
	.details =
		"First it is looked whether anything is in the way: a job, a machine of the same "
		"name there, a disk's place that is taken; --check does no more. A machine "
		"with a definition takes it along. With --storage copy the target needs images "
		"of the same size, or a pool on their folder: where its files are this "
		"machine's, they are made, and removed after a failure; what was never "
		"written stays unallocated. The images here are left alone.\n\n"
		"A failure, a signal and a timeout leave the machine on one host; the hint says on "
		"which. When vmctl itself is killed, a process that it leaves behind asks both "
		"hosts, for an hour while one of them does not answer, until the machine runs on "
		"one of them alone.",
	.options = options,
	.examples = examples,
	.statuses = "0 it runs there, 1 failed, 4 no such machine or host, 5 the target has it or "
		    "its files, 6 a job is under way, 7 no connection, 10 --timeout ran out",
	.min_args = 2,
	.max_args = 2,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
