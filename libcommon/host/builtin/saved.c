/* Memory that is kept: vmrun saves it, and goes on from it. See builtin.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/outfile.h"
#include "libcommon/base/stop.h"
#include "libcommon/host/builtin/builtin.h"
#include "libcommon/runner/control.h"
#include "libcommon/runner/state.h"

enum { SAVE_MS = 3600000 /* memory goes to a disk */ };

bool builtin_saved(const struct builtin_host *b, const char *name)
{
	CLEANUP_FREE char *path = builtin_path(b->state, name, "save");

	return path && access(path, F_OK) == 0;
}

int builtin_forget_saved(const struct builtin_host *b, const char *name, struct err *err)
{
	CLEANUP_FREE char *path = builtin_path(b->state, name, "save");

	if (!path)
		return err_nomem(err);
	builtin_forget_held(b, name);
	if (unlink(path) < 0 && errno != ENOENT) {
		err_sys(err, "cannot remove");
		return err_object(err, path);
	}
	return 0;
}

/* Return: 0 with *@ret_runs (else it is paused); -1: ERR_FAILED when it is off */
static int look(const struct builtin_host *b, const char *name, bool *ret_runs, struct err *err)
{
	struct builtin_now now;

	if (builtin_now(b, name, &now, err) < 0)
		return -1;
	json_decref(now.answer);
	*ret_runs = now.state == DOMAIN_RUNNING;
	if (now.pid < 0 || (now.state != DOMAIN_RUNNING && now.state != DOMAIN_PAUSED))
		return err_set(err, ERR_FAILED, "is %s", domain_state_name(now.state));
	return 0;
}

/* Its socket is read in order: whatever another process asked before, it has heard before it answers. One that ends says so. */
int builtin_settle(struct domain *d, bool resume, bool *ret_runs, struct err *err)
{
	static const struct timespec pause = {.tv_nsec = 20000000};
	const struct builtin_host *b = builtin_of(d->host);
	enum control_verb what = resume ? CONTROL_RESUME : CONTROL_STATS;
	json_t *answer;

	*ret_runs = false;
	for (int i = 0; i < END_MS / 20; i++) {
		struct err why = ERR_INIT;

		/* It may be about to write all of its memory */
		if (control_ask(d->name, what, SAVE_MS, &answer, &why) == 0) {
			json_decref(answer);
			*ret_runs = true;
			(void)keeper_ask(d->name, "stays", NULL, &why);
			return 0;
		}
		if (why.code == ERR_NOT_FOUND && !builtin_kept(b, d->name))
			return 0;
		/* Busy: it starts or ends. It may hang up on its way, too */
		if (why.code != ERR_NOT_FOUND && why.code != ERR_BUSY &&
		    (why.code != ERR_CONNECTION || i > 100)) {
			if (err)
				*err = why;
			return -1;
		}
		if (stop_check(err) < 0)
			return -1;
		(void)nanosleep(&pause, NULL);
	}
	return err_set(err, ERR_TIMEOUT, "neither runs nor ends");
}

/* Its file has its name, so the machine ends. The keeper first: it is not to start it again. @runs: it did before
 * Return: 0, or -1 when it goes on, and the file is gone; the file stays when nobody knows */
static int end(struct domain *d, const char *path, bool runs, struct err *err)
{
	struct err why = ERR_INIT;
	json_t *answer;
	bool goes_on;

	if (keeper_ask(d->name, "saved", NULL, err) == 0) {
		if (control_ask(d->name, CONTROL_KILL, ASK_MS, &answer, &why) == 0)
			json_decref(answer);
		err_clear(&why);
		if (domain_wait(d, DOMAIN_OFF, END_MS, err) == 0)
			return 0;
	}
	if (builtin_settle(d, runs, &goes_on, &why) < 0)
		return err_hint(err, "its memory is kept in %s", path);
	if (!goes_on)
		return 0;
	/* And so do its disks. */
	(void)unlink(path);
	return -1;
}

/* The machine has ended afterwards, or goes on. Signals are heard while its memory is written. */
static int save_into(struct domain *d, const char *path, unsigned flags, bool runs, struct err *err)
{
	struct control_request r = {.verb = CONTROL_SAVE};
	struct outfile *out;
	json_t *answer;
	bool deferred;
	int rc;

	if (outfile_open(&out, path, OUTFILE_PRIVATE | flags, err) < 0)
		return -1;
	r.fd = outfile_fd(out);
	rc = control_ask_with(d->name, &r, SAVE_MS, &answer, err);
	if (rc == 0) {
		json_decref(answer);
		rc = stop_check(err);
	}
	deferred = stop_defer(true);
	if (rc < 0)
		outfile_discard(out);
	else
		rc = outfile_commit(out, err);
	if (rc == 0)
		rc = end(d, path, runs, err);
	else if (runs)
		control_tell(d->name, CONTROL_RESUME);
	(void)stop_defer(deferred);
	return rc;
}

int builtin_put_aside(struct domain *d, const char *path, struct err *err)
{
	const struct builtin_host *b = builtin_of(d->host);
	CLEANUP_FREE char *own = builtin_path(b->state, d->name, "save");
	bool runs;

	if (!own)
		return err_nomem(err);
	if (look(b, d->name, &runs, err) < 0)
		return -1;
	return save_into(d, path ? path : own, path ? 0 : OUTFILE_FORCE, runs, err);
}

int builtin_save_to(struct domain *d, const char *path, struct err *err)
{
	/* Of before; its keeper took it away but for a kill */
	builtin_forget_held(builtin_of(d->host), d->name);
	return builtin_put_aside(d, path, err);
}

int builtin_go_on(const struct builtin_host *b, const struct builtin_machine *m, struct err *err)
{
	CLEANUP_FREE char *path = builtin_path(b->state, m->name, "save");

	if (!path)
		return err_nomem(err);
	if (access(path, F_OK) < 0)
		return keeper_start(b, m, NULL, 0, err);
	if (keeper_start(b, m, path, KEEPER_ONCE | KEEPER_HELD, err) == 0)
		return 0;
	if (err->code == ERR_BUSY)
		return -1;
	return err_hint(err, builtin_is_held(b, m->name)
				     ? "a snapshot of it was interrupted: vmsnap -c builtin "
				       "recover lets it go on"
				     : "vmctl start --fresh throws its memory away");
}

int builtin_restore(struct host *h, const char *path, bool paused, struct err *err)
{
	const struct builtin_host *b = builtin_of(h);
	CLEANUP_FREE char *name = NULL;
	struct builtin_machine m;
	struct state *s;
	const char *said;
	int rc;

	if (paused)
		return err_set(err, ERR_UNSUPPORTED,
			       "the driver builtin does not start machines paused");
	if (state_open(&s, path, err) < 0)
		return -1;
	said = json_string_value(json_object_get(s->conf, "name"));
	name = said && control_check_name(said, NULL) == 0 ? strdup(said) : NULL;
	state_close(s);
	if (!name)
		return err_set(err, ERR_UNSUPPORTED, "it was saved without a machine's name");
	if (builtin_load(b, name, &m, err) < 0)
		return -1;
	rc = builtin_saved(b, name)
		     ? err_set(err, ERR_BUSY, "%s has saved memory of its own: vmctl start", name)
		     : keeper_start(b, &m, path, 0, err);
	builtin_release(&m);
	return rc;
}
