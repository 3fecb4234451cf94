/* vmctl audit: what vmctl did, by whom. */
#include "cmd/vmctl/audit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/clock.h"
#include "libcommon/base/log.h"

static struct {
	const char *file, *verb, *user, *machine, *since;
	bool verify;
} o;

static const struct opt options[] = {
	{.name = "verb",
	 .type = OPT_STRING,
	 .value = &o.verb,
	 .arg = "VERB",
	 .help = "only of this verb"},
	{.name = "user",
	 .type = OPT_STRING,
	 .value = &o.user,
	 .arg = "NAME",
	 .help = "only by this user, or through sudo by it"},
	{.name = "machine",
	 .type = OPT_STRING,
	 .value = &o.machine,
	 .arg = "NAME",
	 .help = "only with this among the arguments",
	 .complete = COMPLETE_MACHINE},
	{.name = "since",
	 .type = OPT_STRING,
	 .value = &o.since,
	 .arg = "DATE",
	 .help = "only from then on: 2026-11-23, 2026-11-23T10:00 (UTC)"},
	{.name = "file",
	 .type = OPT_STRING,
	 .value = &o.file,
	 .arg = "FILE",
	 .help = "another log",
	 .complete = COMPLETE_FILE},
	{.name = "verify",
	 .type = OPT_FLAG,
	 .value = &o.verify,
	 .help = "look whether a line was changed, added or taken out, and print nothing"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl audit --machine web --since 2026-11-01",
	"vmctl audit --json=lines --user root | jq 'select(.result != \"done\")'",
	"vmctl audit --verify",
	NULL,
};

static bool has_argument(const json_t *r)
{
	const json_t *list = json_object_get(r, "arguments"), *v;
	size_t i;

	json_array_foreach(list, i, v)
	{
		if (json_is_string(v) && strcmp(json_string_value(v), o.machine) == 0)
			return true;
	}
	return false;
}

static const char *text(const json_t *r, const char *key)
{
	const char *s = json_string_value(json_object_get(r, key));

	return s ? s : "";
}

static bool meant(const json_t *r, const char *since)
{
	return (!o.verb || strcmp(text(r, "verb"), o.verb) == 0) &&
	       (!o.user || strcmp(text(r, "user"), o.user) == 0 ||
		strcmp(text(r, "sudo_user"), o.user) == 0) &&
	       (!o.machine || has_argument(r)) && strcmp(text(r, "time"), since) >= 0;
}

/* *@ret: as times are in the log, which sort as text */
static int parse_since(char ret[32], struct err *err)
{
	struct tm tm = {.tm_isdst = 0};
	time_t t;

	ret[0] = '\0';
	if (!o.since)
		return 0;
	if (clock_fields(o.since, strlen(o.since), &tm) < 0)
		return err_set(err, ERR_USAGE, "--since '%s' is no date", o.since);
	t = timegm(&tm);
	if (!gmtime_r(&t, &tm) || !strftime(ret, 32, "%Y-%m-%dT%H:%M:%SZ", &tm))
		return err_set(err, ERR_USAGE, "--since '%s' is no date", o.since);
	return 0;
}

/* The seal is the last member, behind the bytes that it seals. Return: does it fit? */
static bool sealed(const char *line, size_t len, char previous[65])
{
	static const char mark[] = ",\"chain\":\"";
	size_t tail = sizeof(mark) - 1 + 64 + 2;
	CLEANUP_FREE char *body = NULL;
	const char *chain;
	char want[65];
	bool fits;

	if (len <= tail || memcmp(line + len - tail, mark, sizeof(mark) - 1) != 0)
		return false;
	chain = line + len - 66;
	body = strndup(line, len - tail + 1);
	if (!body)
		return false;
	body[len - tail] = '}';
	fits = audit_chain(previous, body, len - tail + 1, want, NULL) == 0 &&
	       memcmp(want, chain, 64) == 0;
	memcpy(previous, chain, 64);
	previous[64] = '\0';
	return fits;
}

struct reading {
	json_t *list;
	char since[32], previous[65];
	size_t line, faults;
};

static void one_line(struct reading *r, const char *line, size_t len)
{
	json_t *record;

	r->line++;
	if (o.verify) {
		if (!sealed(line, len, r->previous)) {
			r->faults++;
			log_warning("line %zu is not what was written, or not behind what was",
				    r->line);
		}
		return;
	}
	record = json_loadb(line, len, 0, NULL);
	if (!record) {
		log_warning("line %zu is no JSON: it was torn, or changed", r->line);
		return;
	}
	if (meant(record, r->since))
		(void)json_array_append(r->list, record);
	json_decref(record);
}

static int read_log(struct reading *r, const char *path, struct err *err)
{
	CLEANUP_FREE char *line = NULL;
	FILE *f = fopen(path, "re");
	size_t room = 0;
	ssize_t n;

	if (!f && errno == ENOENT && !o.file)
		return 0; /* nothing was done yet */
	if (!f) {
		err_sys(err, "cannot open");
		return err_object(err, path);
	}
	while ((n = getline(&line, &room, f)) > 0)
		one_line(r, line, line[n - 1] == '\n' ? (size_t)n - 1 : (size_t)n);
	n = ferror(f) ? err_sys(err, "cannot read") : 0;
	(void)fclose(f);
	return n < 0 ? err_object(err, path) : 0;
}

static void print_line(const json_t *r)
{
	const json_t *v;
	const char *sudo = text(r, "sudo_user"), *message = text(r, "message");
	size_t i;
	char *safe;

	(void)printf("%s  %s%s%s%s  %s", text(r, "time"), text(r, "user"), *sudo ? " (" : "", sudo,
		     *sudo ? ")" : "", text(r, "verb"));
	json_array_foreach(json_object_get(r, "arguments"), i, v)
	{
		safe = cli_printable(json_is_string(v) ? json_string_value(v) : "?");
		(void)printf(" %s", safe ? safe : "?");
		free(safe);
	}
	(void)printf(": %s", text(r, "result"));
	safe = *message ? cli_printable(message) : NULL;
	if (safe)
		(void)printf(" (%s)", safe);
	free(safe);
	(void)putchar('\n');
}

static int tell(struct cli *cli, struct reading *r, struct err *err)
{
	const json_t *v;
	size_t i;

	if (o.verify && r->faults)
		return err_set(err, ERR_CORRUPT, "%zu of %zu lines were tampered with", r->faults,
			       r->line);
	if (o.verify)
		return 0;
	if (cli->json)
		return cli_print_json(cli, json_incref(r->list), err);
	json_array_foreach(r->list, i, v)
	{
		print_line(v);
	}
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	CLEANUP_FREE char *path = o.file ? strdup(o.file) : audit_path();
	struct reading r = {.list = json_array()};
	int rc;

	(void)argc;
	(void)argv;
	if (o.verify && cli->json) {
		json_decref(r.list);
		return err_set(err, ERR_USAGE, "--verify says by its status what it found");
	}
	if (!path || !r.list) {
		json_decref(r.list);
		return path ? err_nomem(err)
			    : err_set(err, ERR_USAGE, "there is no log: HOME is not set");
	}
	rc = parse_since(r.since, err);
	if (rc == 0)
		rc = read_log(&r, path, err);
	if (rc == 0)
		rc = tell(cli, &r, err);
	if (rc < 0)
		err_object(err, path);
	json_decref(r.list);
	return rc;
}

const struct verb verb_audit = {
	.name = "audit",
	.usage = "[OPTIONS]",
	.summary = "show what vmctl did to machines, by whom, and how it ended",
	.details =
		"Each verb that changes something, and each action of vmctl watch, is a line of "
		"JSON in ~/.local/state/vmkit/audit.ndjson, or in audit_log of the section [vmctl] "
		"of the configuration: user, who that is behind sudo, who logged in, the command. "
		"Lines are appended, each sealed with a SHA-256 over the one before it and itself: "
		"--verify finds what was changed since, but for lines cut off at the end. A log "
		"that must resist its own users belongs to another one, or has chattr +a.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 4 no such file, 8 the log was tampered with",
	.max_args = 0,
	.json = true,
	.run = run,
};
