/* Backup of a running domain: one moment of all disks, read through NBD while the guest goes on.
 *
 * A checkpoint begins with the moment, so that the next backup reads what changed since. Its name has the repository in
 * it: each repository has a chain of its own. What a killed run left (a job, a folder, a checkpoint that no snapshot
 * names) is found by these names and removed.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "cmd/vmbackup/domain.h"
#include "cmd/vmbackup/live_dir.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/log.h"
#include "libcommon/base/stop.h"
#include "libcommon/host/live.h"
#include "libcommon/image/protocol/nbd.h"

enum { RECONNECTS = 40, RECONNECT_MS = 500 };

struct live {
	struct domain_run *r;
	struct live_dir dir;
	char socket[112];
	char prefix[24];	 /* of our checkpoints in this repository */
	char checkpoint[64];	 /* the new one; "": none */
	struct live_disk *disks; /* r->all of them */
	char **scratch;
	bool began;
	char uuid[UUID_TEXT_MAX];
};

/* ---- a daemon that goes away and comes back */

static int reconnect(struct live *l, struct err *err)
{
	struct domain_run *r = l->r;

	domain_close(r->domain);
	host_close(r->host);
	r->domain = NULL;
	r->host = NULL;
	if (host_open(&r->host, r->a->uri, 0, 0, err) < 0)
		return -1;
	return host_find(r->host, l->uuid, &r->domain, err);
}

/* @fn on the domain; when the connection is gone, on a new one. A signal does not keep us from cleaning up. */
static int insist(struct live *l, int (*fn)(struct live *l, struct err *err), struct err *err)
{
	static const struct timespec pause = {.tv_nsec = RECONNECT_MS * 1000000L};
	int rc = l->r->domain ? fn(l, err) : err_set(err, ERR_CONNECTION, "the daemon is gone");

	for (int i = 0; rc < 0 && err->code == ERR_CONNECTION && i < RECONNECTS; i++) {
		(void)nanosleep(&pause, NULL);
		err_clear(err);
		rc = reconnect(l, err);
		if (rc == 0)
			rc = fn(l, err);
	}
	return rc;
}

/* ---- before */

/* A job that a dead run of ours left is ended; any other one is a reason to go. */
static int clear_the_way(struct live *l, struct err *err)
{
	struct domain *d = l->r->domain;
	CLEANUP_FREE char *socket = NULL;
	bool alive;
	long pid;

	if (domain_backup_socket(d, &socket, err) < 0)
		return -1;
	if (!socket || !live_dir_is_ours(socket, &alive, &pid))
		return domain_idle(d, err);
	if (alive) {
		if (pid)
			err_set(err, ERR_BUSY, "process %ld is backing it up", pid);
		else
			err_set(err, ERR_BUSY, "another backup by vmbackup is under way");
		return err_object(err, domain_name(d));
	}
	log_info("%s: a backup that was killed left its job: ended", domain_name(d));
	if (domain_backup_end(d, err) < 0)
		return -1;
	live_dir_clear(socket);
	return 0;
}

static bool is_one_of(char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

/* The newest snapshot of disk @i that a checkpoint of the domain began with. */
static int find_base(struct live *l, size_t i, const struct snapshot *list, size_t n_list,
		     char *const *names, size_t n_names, struct err *err)
{
	struct backup_disk *out = &l->r->out[i];

	for (size_t s = n_list; s-- > 0;) {
		for (size_t k = 0; k < list[s].n_disks; k++) {
			const struct snapshot_disk *d = &list[s].disks[k];

			if (strcmp(d->name, out->name) != 0 || !d->checkpoint ||
			    !is_one_of(names, n_names, d->checkpoint))
				continue;
			out->base = list[s].id;
			l->disks[i].since = strdup(d->checkpoint);
			return l->disks[i].since ? 0 : err_nomem(err);
		}
	}
	return 0;
}

static int find_bases(struct live *l, struct err *err)
{
	struct domain_run *r = l->r;
	struct snapshot *list = NULL;
	size_t n_list = 0, n_names = 0;
	char **names = NULL;
	int rc;

	if (r->opts->no_parent)
		return 0;
	rc = domain_checkpoints(r->domain, &names, &n_names, err);
	if (rc == 0)
		rc = repo_list(r->repo, r->opts->vm, &list, &n_list, NULL, err);
	for (size_t i = 0; rc == 0 && i < r->n; i++)
		rc = find_base(l, i, list, n_list, names, n_names, err);
	snapshots_free(list, n_list);
	for (size_t i = 0; i < n_names; i++)
		free(names[i]);
	free(names);
	return rc;
}

/* QEMU's user, when we are root and it is another one: from the security label of the running machine. */
static long qemu_uid(struct live *l)
{
	CLEANUP_FREE char *xml = NULL;
	const char *at;

	if (geteuid() != 0 || domain_xml(l->r->domain, 0, &xml, NULL) < 0)
		return -1;
	at = strstr(xml, "model='dac'");
	at = at ? strstr(at, "<label>+") : NULL;
	return at && isdigit((unsigned char)at[8]) ? strtol(at + 8, NULL, 10) : -1;
}

static int name_checkpoint(struct live *l, struct err *err)
{
	const struct domain_run *r = l->r;
	uint8_t random[8];
	char repo[33], text[17];
	bool any = false;

	repo_uuid(r->repo, repo);
	(void)snprintf(l->prefix, sizeof(l->prefix), "vmkit-%.8s-", repo);
	for (size_t i = 0; i < r->n; i++) {
		l->disks[i].checkpoint = strcmp(r->disks[i].format, "qcow2") == 0;
		any |= l->disks[i].checkpoint;
	}
	if (!any || r->a->no_checkpoint || r->opts->dry_run)
		return 0;
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return err_sys(err, "no random bytes");
	hex_encode(random, sizeof(random), text);
	(void)snprintf(l->checkpoint, sizeof(l->checkpoint), "%s%s", l->prefix, text);
	return 0;
}

static int prepare(struct live *l, struct err *err)
{
	struct domain_run *r = l->r;

	(void)snprintf(l->uuid, sizeof(l->uuid), "%s", domain_uuid(r->domain));
	l->disks = calloc(r->all, sizeof(*l->disks));
	l->scratch = calloc(r->all, sizeof(*l->scratch));
	if (!l->disks || !l->scratch)
		return err_nomem(err);
	if (clear_the_way(l, err) < 0 || find_bases(l, err) < 0 || name_checkpoint(l, err) < 0 ||
	    live_dir_make(&l->dir, r->a->scratch, qemu_uid(l), err) < 0)
		return -1;
	(void)snprintf(l->socket, sizeof(l->socket), "%s/nbd", l->dir.path);
	for (size_t i = 0; i < r->all; i++) {
		l->disks[i].target = r->disks[i].target;
		if (i >= r->n)
			continue;
		if (asprintf(&l->scratch[i], "%s/%s.scratch", l->dir.path, r->disks[i].target) <
		    0) {
			l->scratch[i] = NULL;
			return err_nomem(err);
		}
		l->disks[i].scratch = l->scratch[i];
	}
	return 0;
}

/* ---- the moment */

static int freeze(struct live *l, bool *ret_frozen, struct err *err)
{
	const struct domain_run *r = l->r;
	struct err why = ERR_INIT;

	*ret_frozen = false;
	if (r->a->quiesce && strcmp(r->a->quiesce, "no") == 0)
		return 0;
	if (guard_freeze(r->guard, r->domain, 0, &why) == 0) {
		*ret_frozen = true;
		return 0;
	}
	if (r->a->quiesce && strcmp(r->a->quiesce, "require") == 0) {
		*err = why;
		return err_prefix(err, "cannot freeze the guest");
	}
	if (stop_check(err) < 0)
		return -1;
	log_info("%s: not frozen, so its disks are as after a crash: %s", domain_name(r->domain),
		 why.message);
	return 0;
}

/* What the daemon says when QEMU ends just then is about its own jobs. */
static int ended(struct domain *d, struct err *err)
{
	enum domain_state state;

	if (domain_state(d, &state, NULL, NULL) < 0 ||
	    (state != DOMAIN_OFF && state != DOMAIN_CRASHED))
		return -1;
	err_set(err, ERR_FAILED, "ended before its backup began");
	return err_object(err, domain_name(d));
}

static int begin_once(struct live *l, struct err *err)
{
	struct domain_run *r = l->r;
	const struct live_job job = {
		.socket = l->socket,
		.checkpoint = *l->checkpoint ? l->checkpoint : NULL,
		.disks = l->disks,
		.n_disks = r->all,
	};
	struct freeze f = {0};
	struct err why = ERR_INIT;
	bool frozen;
	int rc;

	if (guard_job(r->guard, l->uuid, l->socket, err) < 0 || freeze(l, &frozen, err) < 0)
		return -1;
	rc = domain_backup_begin(r->domain, &job, err);
	/* A daemon that is gone may have begun. */
	l->began = rc == 0 || (err && err->code == ERR_CONNECTION);
	if (frozen && guard_thaw(r->guard, &f, &why) < 0)
		log_warning("%s: could not be thawed yet, which goes on being tried: %s",
			    domain_name(r->domain), why.message);
	if (rc < 0)
		return ended(r->domain, err);
	r->report->frozen = frozen && f.held && f.file_systems;
	r->report->freeze_ms = f.window_ms;
	r->report->consistency = r->report->frozen ? "quiesced" : "crash";
	if (frozen && !f.held) {
		if (r->a->quiesce && strcmp(r->a->quiesce, "require") == 0)
			return err_set(err, ERR_FAILED, "the guest thawed before the backup began");
		log_warning("%s: thawed before the backup began, so its disks are as after a crash",
			    domain_name(r->domain));
	}
	return 0;
}

/* Without the bitmap of the disk that the error names; of all, when it names none. Return: is there one less? */
static bool drop_bases(struct live *l, const struct err *why)
{
	bool any = false, named = false;

	for (int all = 0; all < 2 && !any; all++) {
		for (size_t i = 0; i < l->r->n; i++) {
			char quoted[80];

			(void)snprintf(quoted, sizeof(quoted), "'%s'", l->disks[i].target);
			named = strstr(why->message, quoted);
			if (!l->disks[i].since || (!all && !named))
				continue;
			log_warning("disk %s: all of it is read, because what changed is not "
				    "known: %s",
				    l->disks[i].target, why->message);
			free((char *)(uintptr_t)l->disks[i].since);
			l->disks[i].since = NULL;
			any = true;
		}
	}
	return any;
}

static int check_full(const struct live *l, struct err *err)
{
	for (size_t i = 0; l->r->a->no_full && i < l->r->n; i++)
		if (!l->disks[i].since) {
			err_set(err, ERR_BASE_GONE,
				"disk %s has no checkpoint that a snapshot began with",
				l->disks[i].target);
			return err_object(err, domain_name(l->r->domain));
		}
	return 0;
}

static int begin(struct live *l, struct err *err)
{
	for (;;) {
		struct err why = ERR_INIT;

		if (check_full(l, err) < 0)
			return -1;
		if (begin_once(l, &why) == 0)
			return 0;
		if (why.code == ERR_BASE_GONE && drop_bases(l, &why))
			continue;
		if (why.code == ERR_UNSUPPORTED && *l->checkpoint) {
			log_warning("%s: no checkpoint, so the next backup reads all: %s",
				    domain_name(l->r->domain), why.message);
			*l->checkpoint = '\0';
			continue;
		}
		*err = why;
		return -1;
	}
}

/* ---- reading */

/* A path in an URI. */
static void encode(char *out, size_t room, const char *text)
{
	size_t used = 0;

	for (; *text && used + 4 < room; text++) {
		if (isalnum((unsigned char)*text) || strchr("-._~/", *text))
			out[used++] = *text;
		else
			used += (size_t)snprintf(out + used, room - used, "%%%02X",
						 (unsigned)(unsigned char)*text);
	}
	out[used] = '\0';
}

static int open_disk(struct live *l, size_t i, struct err *err)
{
	const struct image_open_opts opts = {.format = "raw"};
	struct backup_disk *out = &l->r->out[i];
	char uri[1024], name[256], socket[400];
	struct err why = ERR_INIT;
	struct changes *changes = NULL;

	encode(name, sizeof(name), l->disks[i].target);
	encode(socket, sizeof(socket), l->socket);
	(void)snprintf(uri, sizeof(uri), "nbd+unix:///%s?socket=%s", name, socket);
	if (image_open(&out->image, uri, &opts, err) < 0)
		return -1;
	out->consistency = l->r->report->consistency;
	out->checkpoint = *l->checkpoint && l->disks[i].checkpoint ? l->checkpoint : NULL;
	out->changes_from = "checkpoint";
	if (!l->disks[i].since)
		return 0;
	if (nbd_changes(&changes, uri, LIVE_BITMAP, &why) < 0) {
		if (l->r->a->no_full || why.code == ERR_CANCELLED) {
			*err = why;
			return -1;
		}
		log_warning("disk %s: all of it is read, because what changed is not known: %s",
			    l->disks[i].target, why.message);
		return 0;
	}
	out->changes = changes;
	l->r->report->incremental[i] = true;
	return 0;
}

static int same_job(struct live *l, struct err *err)
{
	CLEANUP_FREE char *socket = NULL;

	if (domain_backup_socket(l->r->domain, &socket, err) < 0)
		return -1;
	if (socket && strcmp(socket, l->socket) == 0)
		return 0;
	err_set(err, ERR_FAILED, "its backup job ended before all was read");
	err_object(err, l->r->report->name);
	return err_hint(err, "the disk of the scratch files may be full: --scratch names another");
}

/* A job that failed meanwhile no longer keeps the moment: nothing that was read may be trusted. */
static int confirm(void *ctx, struct err *err)
{
	struct err why = ERR_INIT;

	if (insist(ctx, same_job, &why) == 0)
		return 0;
	*err = why;
	return -1;
}

/* ---- after */

static int end_job(struct live *l, struct err *err)
{
	CLEANUP_FREE char *socket = NULL;

	if (domain_backup_socket(l->r->domain, &socket, err) < 0)
		return -1;
	return socket && strcmp(socket, l->socket) == 0 ? domain_backup_end(l->r->domain, err) : 0;
}

/* Ours of this repository: all but the newest that a snapshot begins with; after a failure the one that was made. */
static int drop_checkpoints(struct live *l, bool done, struct err *err)
{
	char **names;
	size_t n;

	if (domain_checkpoints(l->r->domain, &names, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		bool made = strcmp(names[i], l->checkpoint) == 0;
		bool old = done && *l->checkpoint && !made &&
			   strncmp(names[i], l->prefix, strlen(l->prefix)) == 0;
		struct err why = ERR_INIT;

		if (((!done && made) || old) &&
		    domain_checkpoint_delete(l->r->domain, names[i], &why) < 0)
			log_info("checkpoint %s stays: %s", names[i], why.message);
		free(names[i]);
	}
	free(names);
	return 0;
}

static int drop_made(struct live *l, struct err *err)
{
	return drop_checkpoints(l, false, err);
}

static int drop_old(struct live *l, struct err *err)
{
	return drop_checkpoints(l, true, err);
}

static void finish(struct live *l, bool done)
{
	struct err why = ERR_INIT;
	bool ended = false;

	for (size_t i = 0; i < l->r->n; i++) {
		image_close(steal_ptr(&l->r->out[i].image));
		changes_free((struct changes *)(uintptr_t)l->r->out[i].changes);
		l->r->out[i].changes = NULL;
	}
	if (l->began && insist(l, end_job, &why) < 0 && why.code != ERR_NOT_FOUND)
		log_warning(
			"%s: its backup job could not be ended yet, which goes on being tried: %s",
			l->r->report->name, why.message);
	else
		ended = true;
	live_dir_remove(&l->dir);
	if (ended)
		(void)guard_job(l->r->guard, l->uuid, NULL, NULL);
	err_clear(&why);
	if (l->began && insist(l, done ? drop_old : drop_made, &why) < 0)
		log_info("checkpoints stay: %s", why.message);
}

static void release(struct live *l)
{
	for (size_t i = 0; i < l->r->all; i++) {
		if (l->disks)
			free((char *)(uintptr_t)l->disks[i].since);
		if (l->scratch)
			free(l->scratch[i]);
	}
	free(l->disks);
	free(l->scratch);
}

int live_backup(struct domain_run *r, struct backup_stats *ret, struct err *err)
{
	struct live l = {.r = r, .dir = LIVE_DIR_NONE};
	int rc = prepare(&l, err);

	if (rc == 0)
		rc = begin(&l, err);
	for (size_t i = 0; rc == 0 && i < r->n; i++)
		rc = open_disk(&l, i, err);
	if (rc == 0) {
		r->opts->confirm = confirm;
		r->opts->confirm_ctx = &l;
		r->opts->freeze_ms = r->report->frozen ? r->report->freeze_ms : 0;
		rc = repo_backup(r->repo, r->opts, ret, err);
	}
	finish(&l, rc == 0);
	if (rc == 0)
		(void)snprintf(r->report->checkpoint, sizeof(r->report->checkpoint), "%s",
			       l.checkpoint);
	release(&l);
	return rc;
}
