/* vmbackup run: what a profile says, in one go: backups, retention, a partial verification. Made for timers.
 *
 * Each step is this program itself with options out of the profile, so that a step does what the same words do at the
 * prompt. A machine that fails does not keep the others from being backed up; nothing is removed then.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "cmd/vmbackup/child.h"
#include "cmd/vmbackup/metrics.h"
#include "cmd/vmbackup/profile.h"
#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"
#include "libcommon/base/size.h"
#include "libcommon/base/stop.h"

#define CONFIG_DIR "/etc/vmkit/backup.d"
#define SELF	   "/proc/self/exe"

static struct {
	const char *dir, *wait, *metrics;
	uint64_t jitter_ms;
} o = {.dir = CONFIG_DIR};

static const struct opt options[] = {
	{.name = "config-dir",
	 .type = OPT_STRING,
	 .value = &o.dir,
	 .arg = "DIR",
	 .help = "where PROFILE.conf is (default: " CONFIG_DIR ")",
	 .complete = COMPLETE_DIR},
	{.name = "wait",
	 .type = OPT_OPTIONAL,
	 .value = &o.wait,
	 .arg = "TIME",
	 .help = "wait for another run of the profile to end; without TIME for as long as it "
		 "takes"},
	{.name = "jitter",
	 .type = OPT_DURATION,
	 .value = &o.jitter_ms,
	 .arg = "TIME",
	 .help = "begin at a random moment within so long, so that many hosts do not begin at "
		 "once"},
	{.name = "metrics",
	 .type = OPT_STRING,
	 .value = &o.metrics,
	 .arg = "FILE",
	 .help = "write what happened for Prometheus (node_exporter's textfile collector); "
		 "default: "
		 "the profile's",
	 .complete = COMPLETE_FILE},
	OPT_END,
};

static const char *const examples[] = {
	"vmbackup run nightly",
	"vmbackup run nightly --jitter 30m --wait 2h --metrics /var/lib/node_exporter/backup.prom",
	NULL,
};

/* One run. @status is that of the first step that failed. */
struct job {
	const struct cli *cli;
	const char *name;
	struct profile profile;
	struct words given; /* what our own command line says of every verb: it beats the profile */
	struct machine_metrics *machines;
	int status;
	int lock;
};

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* -1 when a signal ended it */
static int nap(uint64_t ms, struct err *err)
{
	int64_t end = now_ms() + (int64_t)ms, left;

	while ((left = end - now_ms()) > 0) {
		if (stop_check(err) < 0)
			return -1;
		(void)poll(NULL, 0, left < 200 ? (int)left : 200);
	}
	return stop_check(err);
}

static int jitter(struct err *err)
{
	uint64_t random = 0;

	if (!o.jitter_ms)
		return 0;
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return err_sys(err, "no random bytes");
	return nap(random % o.jitter_ms, err);
}

/* The profile's file is the lock: it ends with us, whatever ends us. */
static int lock(const char *path, int *ret, struct err *err)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t wait_ms = 0;
	int64_t began = now_ms();

	if (fd < 0)
		return err_object(err, path), err_sys(err, "cannot open");
	if (o.wait && *o.wait && duration_parse(o.wait, &wait_ms, err) < 0)
		return -1;
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return err_object(err, path), err_sys(err, "cannot be locked");
		if (!o.wait || (*o.wait && now_ms() - began >= (int64_t)wait_ms)) {
			err_object(err, path);
			err_set(err, ERR_BUSY, "another run of the profile is at work");
			err_object(err, path);
			return err_hint(err, "--wait waits for it");
		}
		if (nap(100, err) < 0)
			return -1;
	}
	*ret = steal_fd(&fd);
	return 0;
}

static void note(struct job *j, int status)
{
	if (!j->status)
		j->status = status;
}

static int add_all(struct words *to, const struct words *from, struct err *err)
{
	for (size_t i = 0; i < from->n; i++)
		if (words_add(to, from->items[i], err) < 0)
			return -1;
	return 0;
}

/* "vmbackup VERB" with the common options of the profile and of our command line */
static int begin(const struct job *j, struct words *w, const char *verb, struct err *err)
{
	if (words_add(w, SELF, err) < 0 || words_add(w, verb, err) < 0)
		return -1;
	for (unsigned i = 0; i < j->cli->verbose; i++)
		if (words_add(w, "-v", err) < 0)
			return -1;
	if (j->cli->quiet && words_add(w, "-q", err) < 0)
		return -1;
	if (add_all(w, &j->profile.common, err) < 0)
		return -1;
	return add_all(w, &j->given, err);
}

/* The lock goes along: when we are killed it is there as long as the step is. */
static int run_step(const struct job *j, const struct words *w, char **ret_output, int *ret_status,
		    struct err *err)
{
	const struct child_opts opts = {.keep = j->lock};

	return child_run(w->items, &opts, ret_output, ret_status, err);
}

/* A hook has no lock: what it may start in the background would hold it for ever. */
static int hook(struct job *j, const char *what, const char *command, bool last, struct err *err)
{
	const struct child_opts opts = {.last = last, .keep = -1};
	char *argv[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, strdup(command ? command : ""), NULL};
	char status[16];
	int rc = 0, got = 0;

	if (!argv[2])
		return err_nomem(err);
	(void)snprintf(status, sizeof(status), "%d", j->status);
	(void)setenv("VMKIT_STATUS", status, 1);
	(void)setenv("VMKIT_PROFILE", j->name, 1);
	if (command)
		rc = child_run(argv, &opts, NULL, &got, err);
	free(argv[2]);
	if (rc == 0 && !last && stop_check(err) < 0)
		return -1;
	if (rc == 0 && got) {
		err_set(err, ERR_FAILED, "the command \"%s\" ended with status %d", what, got);
		rc = err_object(err, j->profile.path);
	}
	return rc;
}

static uint64_t number(const json_t *o_, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(o_, key));
}

static int backup_words(const struct job *j, const struct profile_machine *m, struct words *w,
			struct err *err)
{
	char vm[80];

	(void)snprintf(vm, sizeof(vm), "--vm=%s", m->name);
	return begin(j, w, "backup", err) < 0 || words_add(w, "--json", err) < 0 ||
			       words_add(w, vm, err) < 0 ||
			       add_all(w, &j->profile.backup, err) < 0 ||
			       add_all(w, &m->options, err) < 0 || words_add(w, "--", err) < 0 ||
			       add_all(w, &m->disks, err) < 0
		       ? -1
		       : 0;
}

static int backup(struct job *j, const struct profile_machine *m, struct machine_metrics *ret,
		  struct err *err)
{
	CLEANUP_FREE char *out = NULL;
	struct words w = {0};
	int rc = backup_words(j, m, &w, err);

	if (rc == 0)
		rc = run_step(j, &w, &out, &ret->status, err);
	words_free(&w);
	if (rc < 0)
		return -1;

	json_t *stats = json_loads(out, 0, NULL);

	ret->read_bytes = number(stats, "read_bytes");
	ret->new_bytes = number(stats, "new_bytes");
	ret->stored_bytes = number(stats, "stored_bytes");
	json_decref(stats);
	note(j, ret->status);
	return 0;
}

static int prune_words(const struct job *j, struct words *w, struct err *err)
{
	if (begin(j, w, "prune", err) < 0 || add_all(w, &j->profile.keep, err) < 0)
		return -1;
	for (size_t i = 0; i < j->profile.n_machines; i++) {
		char vm[80];

		(void)snprintf(vm, sizeof(vm), "--vm=%s", j->profile.machines[i].name);
		if (words_add(w, vm, err) < 0)
			return -1;
	}
	return 0;
}

static int verify_words(const struct job *j, struct words *w, struct err *err)
{
	const char *how = j->profile.verify;
	char share[64];

	if (begin(j, w, "verify", err) < 0)
		return -1;
	if (strcmp(how, "all") == 0)
		return 0;
	(void)snprintf(share, sizeof(share), "--share=%s", how);
	return words_add(w, strcmp(how, "quick") == 0 ? "--quick" : share, err);
}

static int step(struct job *j, int (*words)(const struct job *, struct words *, struct err *),
		struct err *err)
{
	struct words w = {0};
	int status = 0, rc = words(j, &w, err);

	if (rc == 0)
		rc = run_step(j, &w, NULL, &status, err);
	words_free(&w);
	note(j, status);
	return rc;
}

/* Consumes @w, which is a whole command. */
static int rehearse(const struct job *j, const struct verb *v, struct words *w, int rc,
		    struct err *err)
{
	if (rc == 0)
		rc = cli_rehearse(j->cli->program, v, (int)w->n - 2, w->items + 2, err);
	words_free(w);
	return rc;
}

/* Before the first hook: a word that a step would not take must not be found when half of them are done. */
static int check(const struct job *j, struct err *err)
{
	const struct profile *p = &j->profile;

	for (size_t i = 0; i < p->n_machines; i++) {
		struct words w = {0};
		int rc = backup_words(j, &p->machines[i], &w, err);

		if (rehearse(j, &verb_backup, &w, rc, err) < 0) {
			err_prefix(err, "[%s]", p->machines[i].name);
			return err_object(err, p->path);
		}
	}
	for (int i = 0; i < 2; i++) {
		struct words w = {0};
		int rc = 0;

		if (i == 0 && p->keep.n)
			rc = rehearse(j, &verb_prune, &w, prune_words(j, &w, err), err);
		else if (i == 1 && p->verify)
			rc = rehearse(j, &verb_verify, &w, verify_words(j, &w, err), err);
		if (rc < 0)
			return err_object(err, p->path);
	}
	return 0;
}

static int steps(struct job *j, struct err *err)
{
	const struct profile *p = &j->profile;
	bool all = true;

	if (hook(j, "before", p->before, false, err) < 0)
		return -1;
	for (size_t i = 0; i < p->n_machines; i++) {
		if (stop_check(err) < 0 || backup(j, &p->machines[i], &j->machines[i], err) < 0)
			return -1;
		all &= j->machines[i].status == 0;
	}
	if (stop_check(err) < 0)
		return -1;
	/* With a backup missing the rules would count it out. */
	if (all && p->keep.n && step(j, prune_words, err) < 0)
		return -1;
	if (stop_check(err) < 0)
		return -1;
	return p->verify ? step(j, verify_words, err) : 0;
}

static int write_metrics(const struct job *j, time_t began, int64_t took_ms, struct err *err)
{
	const char *path = o.metrics ? o.metrics : j->profile.metrics;
	const struct run_metrics m = {
		.profile = j->name,
		.status = j->status,
		.began = began,
		.seconds = (double)took_ms / 1000,
		.machines = j->machines,
		.n_machines = j->profile.n_machines,
	};

	return path ? metrics_write(path, &m, err) : 0;
}

static void set_keys(const struct profile *p)
{
	if (p->password_file || p->password_command) {
		(void)unsetenv("VMKIT_PASSWORD_FILE");
		(void)unsetenv("VMKIT_PASSWORD_COMMAND");
	}
	if (p->password_file)
		(void)setenv("VMKIT_PASSWORD_FILE", p->password_file, 1);
	if (p->password_command)
		(void)setenv("VMKIT_PASSWORD_COMMAND", p->password_command, 1);
}

/* An error after the steps: the first one is the run's, the others are only told. */
static int tell(struct job *j, int rc, struct err *late, struct err *err)
{
	note(j, err_status(late->code));
	if (rc == 0)
		*err = *late;
	else
		log_warning("%s%s%s", late->object, *late->object ? ": " : "", late->message);
	*late = (struct err)ERR_INIT;
	return -1;
}

/* What the steps came to goes into the metrics and to the hook, whatever it was. */
static int run_job(struct job *j, struct err *err)
{
	time_t began = time(NULL);
	int64_t start = now_ms();
	struct err late = ERR_INIT;
	int rc;

	j->machines = calloc(j->profile.n_machines, sizeof(*j->machines));
	if (!j->machines)
		return err_nomem(err);
	for (size_t i = 0; i < j->profile.n_machines; i++)
		j->machines[i] = (struct machine_metrics){.machine = j->profile.machines[i].name,
							  .status = -1};
	set_keys(&j->profile);
	rc = steps(j, err);
	if (rc < 0)
		note(j, err_status(err->code));
	if (write_metrics(j, began, now_ms() - start, &late) < 0)
		rc = tell(j, rc, &late, err);
	if (hook(j, "after", j->profile.after, true, &late) < 0) {
		bool first = j->status == 0;

		rc = tell(j, rc, &late, err);
		/* The hook may have used the figures, so they were there before it; now they are other ones. */
		if (first && write_metrics(j, began, now_ms() - start, &late) < 0)
			rc = tell(j, rc, &late, err);
	}
	free(j->machines);
	return rc;
}

static int add_given(void *ctx, const char *word, struct err *err)
{
	return words_add(ctx, word, err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	CLEANUP_FREE char *path = NULL;
	struct job j = {.cli = cli, .name = argv[0], .lock = -1};
	int rc;

	(void)argc;
	if (!repo_name_valid(argv[0]))
		return err_set(err, ERR_USAGE,
			       "\"%s\" is not a profile's name: letters, digits, '.', '_', '-'",
			       argv[0]);
	if (asprintf(&path, "%s/%s.conf", o.dir, argv[0]) < 0) {
		path = NULL;
		return err_nomem(err);
	}
	if (profile_read(path, &j.profile, err) < 0)
		return -1;
	rc = vmbackup_each_given(add_given, &j.given, err);
	if (rc == 0)
		rc = check(&j, err);
	if (rc == 0)
		rc = lock(path, &j.lock, err);
	if (rc == 0)
		rc = jitter(err);
	if (rc == 0)
		rc = run_job(&j, err);
	if (j.lock >= 0)
		(void)close(j.lock);
	profile_free(&j.profile);
	words_free(&j.given);
	cli->status = cli->failure_status = j.status;
	return rc;
}

const struct verb verb_run = {
	.name = "run",
	.usage = "[OPTIONS] PROFILE",
	.summary = "do what a profile says: backups, retention, a partial verification",
	.details =
		"A profile is a file of KEY = VALUE lines and [MACHINE] sections with disk = "
		"[DISK=]IMAGE lines, or one line domain = MACHINE for a libvirt machine. Above the "
		"machines: repository, password_file or "
		"password_command, before and after (shell commands), keep_last, keep_hourly, "
		"keep_daily, keep_weekly, keep_monthly, keep_yearly, keep_within, keep_tag, "
		"max_delete, max_unused (as prune's options; without a keep_ key nothing is "
		"removed), verify (quick, all, or a share as 10% or 1/7), metrics, and "
		"expect_at_least, s3_endpoint, s3_region, s3_ca, s3_retries, s3_rate_limit, "
		"s3_object_lock, s3_cache_size (as the options that every verb has, which beat "
		"them). Above or "
		"below: tag, description, machine, consistency, format, allow_backing, level, "
		"threads, rate_limit, connect, quiesce, exclude_disk, scratch and, with yes, "
		"force_share, keep_clone, keep_bitmap, no_full, no_checkpoint, as backup's "
		"options.\n\n"
		"Nothing is begun when the profile is wrong. "
		"It says nothing when all went well. A machine whose backup fails does not keep "
		"the others from theirs, but nothing is removed then. The command \"after\" is "
		"always run, with the status in VMKIT_STATUS.",
	.options = options,
	.examples = examples,
	.statuses =
		"0 all done, 1 a hook failed, 2 the profile is wrong, 4 no such profile, 6 it is "
		"being run; else that of the first step that failed",
	.min_args = 1,
	.max_args = 1,
	.complete_args = COMPLETE_NONE,
	.run = run,
};
