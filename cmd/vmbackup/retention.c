/* What forget and prune remove: see retention.h. */
#include "cmd/vmbackup/retention.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/clock.h"
#include "libcommon/base/digest.h"

enum { PREFIX_MIN = 4, ID_DIGITS = 64 };

struct retention retention;

static bool machine_wanted(const char *vm)
{
	for (size_t i = 0; i < retention.machines.count; i++)
		if (!strcmp(retention.machines.items[i], vm))
			return true;
	return retention.machines.count == 0;
}

static bool has_machine(const struct retention_plan *p, const char *vm, size_t before)
{
	for (size_t i = 0; i < before; i++)
		if (!strcmp(p->list[i].vm, vm))
			return true;
	return false;
}

/* The rules, for the snapshots of one machine. */
static int plan_machine(struct retention_plan *p, const char *vm, struct err *err)
{
	CLEANUP_FREE struct retain_item *items = calloc(p->n, sizeof(*items));
	CLEANUP_FREE unsigned *why = calloc(p->n, sizeof(*why));
	CLEANUP_FREE size_t *at = calloc(p->n, sizeof(*at));
	size_t n = 0;

	if (!items || !why || !at)
		return err_nomem(err);
	for (size_t i = 0; i < p->n; i++) {
		struct snapshot *s = &p->list[i];

		if (strcmp(s->vm, vm) != 0)
			continue;
		(void)clock_parse_utc(s->time, &items[n].time);
		items[n].tags = (const char *const *)s->tags;
		items[n].n_tags = s->n_tags;
		at[n++] = i;
	}
	if (retain_plan(items, n, &retention.keep, time(NULL), why, err) < 0)
		return -1;
	for (size_t k = 0; k < n; k++) {
		p->considered[at[k]] = true;
		p->why[at[k]] = why[k];
		p->remove[at[k]] = !why[k];
	}
	return 0;
}

static int plan_by_rules(struct retention_plan *p, struct err *err)
{
	retention.keep.tags = retention.tags.items;
	retention.keep.n_tags = retention.tags.count;
	retention.keep.newest = true;
	for (size_t i = 0; i < retention.machines.count; i++)
		if (!has_machine(p, retention.machines.items[i], p->n)) {
			err_set(err, ERR_NOT_FOUND, "there is no snapshot of this machine");
			return err_object(err, retention.machines.items[i]);
		}
	for (size_t i = 0; i < p->n; i++)
		if (machine_wanted(p->list[i].vm) && !has_machine(p, p->list[i].vm, i) &&
		    plan_machine(p, p->list[i].vm, err) < 0)
			return -1;
	return 0;
}

/* A machine's name alone stands for its newest snapshot elsewhere, and a date for the newest before it: too easily
 * meant otherwise by who removes something. */
static int check_form(const struct retention_plan *p, const char *name, struct err *err)
{
	const char *at = strchr(name, '@'), *when = at ? at + 1 : name;
	size_t len = strlen(when);
	bool prefix = len >= PREFIX_MIN && len <= ID_DIGITS &&
		      strspn(when, "0123456789abcdefABCDEF") == len;

	if (at ? prefix || !strcmp(when, "latest") : prefix && !has_machine(p, name, p->n))
		return 0;
	err_set(err, ERR_USAGE, "this names no single snapshot to remove");
	err_object(err, name);
	return err_hint(err, "say NAME@ID, NAME@latest or an id");
}

static int plan_by_names(struct retention_plan *p, struct repo *repo, int n_names, char **names,
			 struct err *err)
{
	p->named = true;
	for (int i = 0; i < n_names; i++) {
		struct snapshot *s;

		if (check_form(p, names[i], err) < 0 || repo_find(repo, names[i], &s, err) < 0)
			return -1;
		for (size_t k = 0; k < p->n; k++)
			if (!memcmp(&p->list[k].id, &s->id, sizeof(s->id)))
				p->considered[k] = p->remove[k] = true;
		snapshots_free(s, 1);
	}
	return 0;
}

static int check_options(int n_names, bool needed, struct err *err)
{
	bool rules = !retain_is_empty(&retention.keep) || retention.tags.count;

	if (n_names && (rules || retention.machines.count))
		return err_set(err, ERR_USAGE,
			       "snapshots are named and %s is given: one or the other",
			       rules ? "a --keep rule" : "--vm");
	if (rules || n_names || (!needed && !retention.machines.count && !retention.max_delete))
		return 0;
	err_set(err, ERR_USAGE, "no snapshot is named and no --keep rule is given");
	return err_hint(err, "as --keep-daily 7 --keep-weekly 4; --dry-run shows what would go");
}

/* What a lock keeps can only be removed later; the next run does so. */
static int keep_locked(struct retention_plan *p, struct repo *repo, struct err *err)
{
	for (size_t i = 0; i < p->n; i++) {
		if (!p->remove[i])
			continue;
		if (repo_locked_until(repo, &p->list[i], &p->locked[i], err) < 0)
			return -1;
		p->remove[i] = !p->locked[i];
		p->n_locked += p->locked[i] != 0;
	}
	return 0;
}

const char *retention_lock_end(int64_t until, char ret[LOCK_END_MAX])
{
	time_t t = (time_t)until;
	struct tm tm;

	if (until == INT64_MAX || !gmtime_r(&t, &tm) ||
	    !strftime(ret, LOCK_END_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm))
		(void)snprintf(ret, LOCK_END_MAX, "somebody ends it");
	return ret;
}

int retention_plan(struct retention_plan *ret, struct repo *repo, int n_names, char **names,
		   bool needed, struct err *err)
{
	struct retention_plan p = {0};
	int rc;

	if (check_options(n_names, needed, err) < 0 ||
	    repo_list(repo, NULL, &p.list, &p.n, &p.unreadable, err) < 0)
		return -1;
	p.considered = calloc(p.n + 1, sizeof(*p.considered));
	p.remove = calloc(p.n + 1, sizeof(*p.remove));
	p.why = calloc(p.n + 1, sizeof(*p.why));
	p.locked = calloc(p.n + 1, sizeof(*p.locked));
	if (!p.considered || !p.remove || !p.why || !p.locked)
		rc = err_nomem(err);
	else if (n_names)
		rc = plan_by_names(&p, repo, n_names, names, err);
	else
		rc = retain_is_empty(&retention.keep) && !retention.tags.count
			     ? 0
			     : plan_by_rules(&p, err);
	if (rc < 0) {
		retention_plan_free(&p);
		return -1;
	}
	if (keep_locked(&p, repo, err) < 0) {
		retention_plan_free(&p);
		return -1;
	}
	for (size_t i = 0; i < p.n; i++) {
		p.n_keep += p.considered[i] && !p.remove[i];
		p.n_remove += p.remove[i];
	}
	*ret = p;
	return 0;
}

void retention_plan_free(struct retention_plan *p)
{
	snapshots_free(p->list, p->n);
	free(p->considered);
	free(p->remove);
	free(p->why);
	free(p->locked);
}

bool retention_refused(const struct retention_plan *p)
{
	return retention.max_delete && p->n_remove > retention.max_delete;
}

int retention_apply(const struct retention_plan *p, struct repo *repo, struct err *err)
{
	size_t removed;

	if (retention_refused(p))
		return err_set(err, ERR_FAILED,
			       "%zu snapshots would be removed, more than --max-delete %u allows: "
			       "none %s",
			       p->n_remove, retention.max_delete,
			       retention.dry_run ? "will be" : "was");
	if (retention.dry_run)
		return 0;
	if (repo_forget(repo, p->list, p->remove, p->n, &removed, err) < 0)
		return err_prefix(err, "%zu of %zu snapshots are removed", removed, p->n_remove);
	return 0;
}

static const char *removal_reason(const struct retention_plan *p)
{
	return p->named ? "named" : "no rule keeps it";
}

static void print_one(const struct retention_plan *p, size_t i)
{
	const struct snapshot *s = &p->list[i];
	const char *sep = ": ";
	char id[9], when[32], end[LOCK_END_MAX];

	(void)printf("%s %s@%s %s",
		     !p->remove[i]	 ? "keep"
		     : retention.dry_run ? "would remove"
					 : "remove",
		     s->vm, snapshot_short_id(&s->id, id), local_time(s->time, when));
	for (unsigned r = 0; r < RETAIN_REASONS; r++) {
		const char *name = retain_reason_name(p->why[i], r);

		if (name) {
			(void)printf("%s%s", sep, name);
			sep = ", ";
		}
	}
	if (p->locked[i])
		(void)printf("%slocked until %s", sep, retention_lock_end(p->locked[i], end));
	(void)printf(p->remove[i] ? ": %s\n" : "\n", removal_reason(p));
}

void retention_print(const struct cli *cli, const struct retention_plan *p)
{
	for (size_t i = 0; (retention.dry_run || cli->verbose) && i < p->n; i++)
		if (p->considered[i])
			print_one(p, i);
}

static json_t *reasons_json(const struct retention_plan *p, size_t i)
{
	json_t *list = json_array();

	for (unsigned r = 0; r < RETAIN_REASONS; r++) {
		const char *name = retain_reason_name(p->why[i], r);

		if (name)
			json_array_append_new(list, json_string(name));
	}
	if (p->locked[i])
		json_array_append_new(list, json_string("locked"));
	if (p->remove[i])
		json_array_append_new(list, json_string(removal_reason(p)));
	return list;
}

static json_t *one_json(const struct retention_plan *p, size_t i)
{
	const struct snapshot *s = &p->list[i];
	char hex[ID_DIGITS + 1];
	json_t *tags = json_array();

	hex_encode(s->id.bytes, sizeof(s->id.bytes), hex);
	for (size_t k = 0; k < s->n_tags; k++)
		json_array_append_new(tags, cli_json_string(s->tags[k]));
	return json_pack("{s:s, s:s, s:I, s:s, s:o, s:b, s:o}", "id", hex, "vm", s->vm, "seq",
			 (json_int_t)s->seq, "time", s->time, "tags", tags, "keep",
			 (int)!p->remove[i], "reasons", reasons_json(p, i));
}

json_t *retention_json(const struct retention_plan *p)
{
	json_t *list = json_array();

	for (size_t i = 0; i < p->n; i++)
		if (p->considered[i])
			json_array_append_new(list, one_json(p, i));
	return json_pack("{s:b, s:I, s:I, s:I, s:o}", "dry_run", (int)retention.dry_run, "kept",
			 (json_int_t)p->n_keep, "removed", (json_int_t)p->n_remove, "unreadable",
			 (json_int_t)p->unreadable, "snapshots", list);
}

int retention_end(const struct retention_plan *p, struct err *err)
{
	if (p->named && p->n_locked)
		return err_set(err, ERR_DIFFERS, "%zu snapshot%s locked and stay%s", p->n_locked,
			       p->n_locked == 1 ? " is" : "s are", p->n_locked == 1 ? "s" : "");
	if (!p->unreadable)
		return 0;
	return err_set(err, ERR_DIFFERS, "%zu snapshot%s cannot be read and stay%s", p->unreadable,
		       p->unreadable == 1 ? "" : "s", p->unreadable == 1 ? "s" : "");
}
