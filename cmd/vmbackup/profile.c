/* Reading a profile: see profile.h. Values go into options as they are: the verbs check them. */
#include "cmd/vmbackup/profile.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/cli/cli.h"
#include "libcommon/repo/repo.h"

enum { PROFILE_MAX = 1 << 20, MACHINES_MAX = 1000 };

enum where {
	COMMON,	     /* an option of every verb */
	BACKUP,	     /* of backup; before the first machine for all of them, else for the machine */
	BACKUP_FLAG, /* yes or no */
	KEEP,	     /* of prune */
	DISK,
	DOMAIN, /* a libvirt machine instead of disks */
	FIELD,	/* a text of struct profile */
};

/* The keys, and where they go. Of an option the name is the key's with dashes. */
static const struct key {
	const char *name;
	enum where where;
	size_t field;
} keys[] = {
	{"repository", COMMON, 0},
	{"expect_at_least", COMMON, 0},
	{"s3_endpoint", COMMON, 0},
	{"s3_region", COMMON, 0},
	{"s3_ca", COMMON, 0},
	{"s3_retries", COMMON, 0},
	{"s3_rate_limit", COMMON, 0},
	{"s3_object_lock", COMMON, 0},
	{"s3_cache_size", COMMON, 0},
	{"disk", DISK, 0},
	{"domain", DOMAIN, 0},
	{"connect", BACKUP, 0},
	{"quiesce", BACKUP, 0},
	{"exclude_disk", BACKUP, 0},
	{"scratch", BACKUP, 0},
	{"no_checkpoint", BACKUP_FLAG, 0},
	{"tag", BACKUP, 0},
	{"description", BACKUP, 0},
	{"machine", BACKUP, 0},
	{"consistency", BACKUP, 0},
	{"format", BACKUP, 0},
	{"allow_backing", BACKUP, 0},
	{"level", BACKUP, 0},
	{"threads", BACKUP, 0},
	{"rate_limit", BACKUP, 0},
	{"force_share", BACKUP_FLAG, 0},
	{"keep_clone", BACKUP_FLAG, 0},
	{"keep_bitmap", BACKUP_FLAG, 0},
	{"no_full", BACKUP_FLAG, 0},
	{"keep_last", KEEP, 0},
	{"keep_hourly", KEEP, 0},
	{"keep_daily", KEEP, 0},
	{"keep_weekly", KEEP, 0},
	{"keep_monthly", KEEP, 0},
	{"keep_yearly", KEEP, 0},
	{"keep_within", KEEP, 0},
	{"keep_tag", KEEP, 0},
	{"max_delete", KEEP, 0},
	{"max_unused", KEEP, 0},
	{"verify", FIELD, offsetof(struct profile, verify)},
	{"password_file", FIELD, offsetof(struct profile, password_file)},
	{"password_command", FIELD, offsetof(struct profile, password_command)},
	{"before", FIELD, offsetof(struct profile, before)},
	{"after", FIELD, offsetof(struct profile, after)},
	{"metrics", FIELD, offsetof(struct profile, metrics)},
};

enum { N_KEYS = sizeof(keys) / sizeof(*keys) };

int words_add(struct words *w, const char *word, struct err *err)
{
	char **more = reallocarray(w->items, w->n + 2, sizeof(*more));

	if (!more)
		return err_nomem(err);
	w->items = more;
	more[w->n] = strdup(word);
	if (!more[w->n])
		return err_nomem(err);
	more[++w->n] = NULL; /* as execv() takes it */
	return 0;
}

void words_free(struct words *w)
{
	for (size_t i = 0; i < w->n; i++)
		free(w->items[i]);
	free(w->items);
	*w = (struct words){0};
}

void profile_free(struct profile *p)
{
	for (size_t i = 0; i < p->n_machines; i++) {
		free(p->machines[i].name);
		words_free(&p->machines[i].options);
		words_free(&p->machines[i].disks);
	}
	free(p->machines);
	words_free(&p->common);
	words_free(&p->backup);
	words_free(&p->keep);
	for (size_t i = 0; i < N_KEYS; i++)
		if (keys[i].where == FIELD)
			free(*(char **)((char *)p + keys[i].field));
	free(p->path);
	*p = (struct profile){0};
}

static char *trim(char *s)
{
	char *end;

	while (isspace((unsigned char)*s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		*--end = '\0';
	return s;
}

static int unknown_key(const char *name, struct err *err)
{
	const char *names[N_KEYS];
	const char *near;

	for (size_t i = 0; i < N_KEYS; i++)
		names[i] = keys[i].name;
	near = cli_suggest(name, names, N_KEYS);
	err_set(err, ERR_USAGE, "there is no key \"%s\"", name);
	return near ? err_hint(err, "did you mean %s?", near) : -1;
}

/* "--keep-daily=7" */
static int add_option(struct words *w, const char *key, const char *value, struct err *err)
{
	CLEANUP_FREE char *word = NULL;
	int n = value ? asprintf(&word, "--%s=%s", key, value) : asprintf(&word, "--%s", key);

	if (n < 0) {
		word = NULL;
		return err_nomem(err);
	}
	for (char *c = word; *c && *c != '='; c++)
		if (*c == '_')
			*c = '-';
	return words_add(w, word, err);
}

/* "DISK=IMAGE", as backup takes it; but a timer has no standard input. */
static int add_disk(struct profile_machine *m, const char *value, struct err *err)
{
	const char *eq = strrchr(value, '=');

	if (strcmp(value, "-") == 0 || (eq && strcmp(eq, "=-") == 0))
		return err_set(err, ERR_USAGE, "a profile has no standard input");
	return words_add(&m->disks, value, err);
}

static int set(struct profile *p, const char *name, const char *value, struct err *err)
{
	struct profile_machine *m = p->n_machines ? &p->machines[p->n_machines - 1] : NULL;
	struct words *backup = m ? &m->options : &p->backup;
	const struct key *k = keys;
	char **field;

	while (k < keys + N_KEYS && strcmp(k->name, name) != 0)
		k++;
	if (k == keys + N_KEYS)
		return unknown_key(name, err);
	if (!*value)
		return err_set(err, ERR_USAGE, "%s has no value", name);
	if (strcmp(name, "machine") == 0 && strcmp(value, "-") == 0)
		return err_set(err, ERR_USAGE, "a profile has no standard input");
	switch (k->where) {
	case BACKUP:
		return add_option(backup, name, value, err);
	case BACKUP_FLAG:
		if (strcmp(value, "yes") == 0)
			return add_option(backup, name, NULL, err);
		return strcmp(value, "no") == 0 ? 0
						: err_set(err, ERR_USAGE, "%s is yes or no", name);
	case DISK:
		if (!m)
			return err_set(err, ERR_USAGE, "a disk belongs below a [MACHINE]");
		return add_disk(m, value, err);
	case DOMAIN:
		if (!m)
			return err_set(err, ERR_USAGE, "a domain belongs below a [MACHINE]");
		if (m->domain)
			return err_set(err, ERR_USAGE, "domain is given twice");
		m->domain = true;
		return add_option(&m->options, name, value, err);
	default:
		break;
	}
	if (m)
		return err_set(err, ERR_USAGE, "%s belongs above the first [MACHINE]", name);
	if (k->where != FIELD)
		return add_option(k->where == KEEP ? &p->keep : &p->common, name, value, err);
	field = (char **)((char *)p + k->field);
	if (*field)
		return err_set(err, ERR_USAGE, "%s is given twice", name);
	*field = strdup(value);
	return *field ? 0 : err_nomem(err);
}

static int section(struct profile *p, char *line, struct err *err)
{
	size_t len = strlen(line);
	struct profile_machine *more;

	if (line[len - 1] != ']')
		return err_set(err, ERR_USAGE, "a machine is [NAME]");
	line[len - 1] = '\0';
	line = trim(line + 1);
	if (!repo_name_valid(line))
		return err_set(err, ERR_USAGE,
			       "\"%s\" is not a machine's name: letters, digits, '.', '_', '-'",
			       line);
	for (size_t i = 0; i < p->n_machines; i++)
		if (strcmp(p->machines[i].name, line) == 0)
			return err_set(err, ERR_USAGE, "[%s] is there twice", line);
	if (p->n_machines == MACHINES_MAX)
		return err_set(err, ERR_USAGE, "more than %d machines", MACHINES_MAX);
	more = reallocarray(p->machines, p->n_machines + 1, sizeof(*more));
	if (!more)
		return err_nomem(err);
	p->machines = more;
	more[p->n_machines] = (struct profile_machine){.name = strdup(line)};
	return more[p->n_machines++].name ? 0 : err_nomem(err);
}

static int read_line(struct profile *p, char *line, struct err *err)
{
	char *eq;

	line = trim(line);
	if (!*line || *line == '#')
		return 0;
	if (*line == '[')
		return section(p, line, err);
	eq = strchr(line, '=');
	if (!eq)
		return err_set(err, ERR_USAGE, "neither KEY = VALUE nor [MACHINE]");
	*eq = '\0';
	return set(p, trim(line), trim(eq + 1), err);
}

static int check(const struct profile *p, struct err *err)
{
	if (!p->n_machines)
		return err_set(err, ERR_USAGE, "no [MACHINE] is named");
	for (size_t i = 0; i < p->n_machines; i++) {
		const struct profile_machine *m = &p->machines[i];

		if (!m->disks.n && !m->domain)
			return err_set(err, ERR_USAGE, "[%s] has no disk", m->name);
		if (m->disks.n && m->domain)
			return err_set(err, ERR_USAGE, "[%s] has a disk and a domain", m->name);
	}
	return 0;
}

int profile_read(const char *path, struct profile *ret, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	struct profile p = {.path = strdup(path)};
	unsigned number = 0;
	size_t len;
	int rc = p.path ? io_read_file(path, PROFILE_MAX, &text, &len, err) : err_nomem(err);

	for (char *line = text; rc == 0 && line;) {
		char *next = strchr(line, '\n');

		if (next)
			*next++ = '\0';
		number++;
		if (read_line(&p, line, err) < 0)
			rc = err_prefix(err, "line %u", number);
		line = next;
	}
	if (rc == 0)
		rc = check(&p, err);
	if (rc < 0) {
		profile_free(&p);
		return err_object(err, path);
	}
	*ret = p;
	return 0;
}
