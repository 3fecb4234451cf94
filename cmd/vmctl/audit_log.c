/* Writing the audit log: a line of JSON a deed, appended under a lock. Each carries a SHA-256 over the one before it and itself,
 * so that a line that is changed or taken out shows (vmctl audit --verify). It is no protection from who may write the file:
 * for that it lies on another host, or has the attribute "append only" (chattr +a).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cmd/vmctl/audit.h"
#include "cmd/vmctl/hosts.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/io.h"
#include "libcommon/base/log.h"

enum { LINE_MAX_BYTES = 1 << 20, ARGS_MAX = 64 << 10 };

/* Of the verbs those that change machines, networks or pools */
static const char *const changing[] = {"start",	    "stop",   "reboot", "suspend", "resume", "save",
				       "restore",   "delete", "create", "clone",   "edit",   "set",
				       "autostart", "attach", "detach", "migrate", "import", "exec",
				       "net",	    "pool",   "console"};

char *audit_path(void)
{
	const char *set = cli_config("audit_log"), *state = getenv("XDG_STATE_HOME"),
		   *home = getenv("HOME");
	char *path = NULL;
	int n = -1;

	if (set && *set)
		return strdup(set);
	if (state && state[0] == '/')
		n = asprintf(&path, "%s/vmkit/audit.ndjson", state);
	else if (home && home[0] == '/')
		n = asprintf(&path, "%s/.local/state/vmkit/audit.ndjson", home);
	return n < 0 ? NULL : path;
}

int audit_chain(const char *previous, const char *line, size_t len, char ret[65], struct err *err)
{
	char hex[DIGEST_HEX_MAX];
	struct digest *d;
	int rc;

	if (digest_new(&d, "sha256", err) < 0)
		return -1;
	rc = digest_update(d, previous, strlen(previous), err) < 0 ||
			     digest_update(d, line, len, err) < 0 || digest_final(d, hex, err) < 0
		     ? -1
		     : 0;
	digest_free(d);
	if (rc == 0)
		memcpy(ret, hex, 65);
	return rc;
}

static void make_folders(const char *path)
{
	CLEANUP_FREE char *copy = strdup(path);

	for (char *s = copy ? copy + 1 : NULL; s && *s; s++)
		if (*s == '/') {
			*s = '\0';
			(void)mkdir(copy, 0700);
			*s = '/';
		}
}

/* The seal of the last whole line; "" for the first. *@ret_torn: the file does not end with a newline */
static int last_chain(int fd, char ret[65], bool *ret_torn, struct err *err)
{
	CLEANUP_FREE char *buf = NULL;
	struct stat st;
	uint64_t from;
	size_t len;
	char *line, *end;
	json_t *doc;
	const char *chain;

	ret[0] = '\0';
	*ret_torn = false;
	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot look at it");
	if (st.st_size == 0)
		return 0;
	len = st.st_size < LINE_MAX_BYTES ? (size_t)st.st_size : LINE_MAX_BYTES;
	from = (uint64_t)st.st_size - len;
	buf = malloc(len + 1);
	if (!buf)
		return err_nomem(err);
	if (io_pread(fd, buf, len, from, err) < 0)
		return -1;
	buf[len] = '\0';
	*ret_torn = buf[len - 1] != '\n';
	end = strrchr(buf, '\n'); /* what is behind it was torn by a crash: its seal is missing */
	if (!end)
		return 0;
	*end = '\0';
	line = strrchr(buf, '\n');
	doc = json_loads(line ? line + 1 : buf, 0, NULL);
	chain = json_string_value(json_object_get(doc, "chain"));
	if (chain && strlen(chain) == 64)
		memcpy(ret, chain, 65);
	json_decref(doc);
	return 0;
}

/* @record without its seal; the seal goes over exactly these bytes. */
static int append(int fd, json_t *record, struct err *err)
{
	CLEANUP_FREE char *text = json_dumps(record, JSON_COMPACT), *line = NULL;
	char previous[65], chain[65];
	bool torn;
	int n;

	if (!text)
		return err_nomem(err);
	if (flock(fd, LOCK_EX) < 0)
		return err_sys(err, "cannot lock");
	if (last_chain(fd, previous, &torn, err) < 0 ||
	    audit_chain(previous, text, strlen(text), chain, err) < 0)
		return -1;
	text[strlen(text) - 1] = '\0'; /* the brace */
	n = asprintf(&line, "%s%s,\"chain\":\"%s\"}\n", torn ? "\n" : "", text, chain);
	if (n < 0) {
		line = NULL;
		return err_nomem(err);
	}
	return io_write(fd, line, (size_t)n, err);
}

static void write_record(json_t *record)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* flock() is for processes */
	CLEANUP_FREE char *path = audit_path();
	CLEANUP_CLOSE int fd = -1;
	struct err why = ERR_INIT;
	int rc = -1;

	if (path) {
		make_folders(path);
		fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
		(void)pthread_mutex_lock(&lock);
		rc = fd < 0 ? err_sys(&why, "cannot open") : append(fd, record, &why);
		(void)pthread_mutex_unlock(&lock);
	}
	/* What was done is done: the record's failure is told, and is not the verb's. */
	if (rc < 0 && path)
		log_warning("audit log %s: %s", path, why.message);
	json_decref(record);
}

/* ---- what is in a record */

static json_t *arguments(void)
{
	CLEANUP_FREE char *text = NULL;
	json_t *list = json_array();
	size_t len;

	if (io_read_file("/proc/self/cmdline", ARGS_MAX, &text, &len, NULL) < 0)
		return list;
	for (size_t at = 0; at < len; at += strlen(text + at) + 1)
		(void)json_array_append_new(list, cli_json_string(text + at));
	return list;
}

/* Who logged in, whatever su and sudo were used since; the kernel knows. NULL: nobody did */
static json_t *login_uid(void)
{
	CLEANUP_FREE char *text = NULL;
	unsigned long uid;
	size_t len;

	if (io_read_file("/proc/self/loginuid", 64, &text, &len, NULL) < 0)
		return json_null();
	uid = strtoul(text, NULL, 10);
	return uid >= UINT32_MAX ? json_null() : json_integer((json_int_t)uid);
}

static json_t *user_name(void)
{
	struct passwd pw, *found = NULL;
	char buf[4096];

	if (getpwuid_r(geteuid(), &pw, buf, sizeof(buf), &found) != 0 || !found)
		return json_null();
	return cli_json_string(found->pw_name);
}

static json_t *begin(void)
{
	const char *sudo = getenv("SUDO_USER");
	char now[32] = "", name[256] = "";
	time_t t = time(NULL);
	struct tm tm;

	if (gmtime_r(&t, &tm))
		(void)strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", &tm);
	(void)gethostname(name, sizeof(name) - 1);
	return json_pack("{s:s, s:o, s:o, s:I, s:o, s:o, s:I}", "time", now, "from",
			 cli_json_string(name), "user", user_name(), "uid", (json_int_t)geteuid(),
			 "sudo_user", sudo ? cli_json_string(sudo) : json_null(), "login_uid",
			 login_uid(), "pid", (json_int_t)getpid());
}

static bool is_changing(const char *verb)
{
	for (size_t i = 0; i < sizeof(changing) / sizeof(changing[0]); i++)
		if (strcmp(verb, changing[i]) == 0)
			return true;
	return false;
}

/* Of vmctl net and pool, which do both */
static bool only_looks(const char *verb, int argc, char **argv)
{
	return (strcmp(verb, "net") == 0 || strcmp(verb, "pool") == 0) && argc &&
	       (strcmp(argv[0], "list") == 0 || strcmp(argv[0], "info") == 0 ||
		strcmp(argv[0], "volumes") == 0);
}

static json_t *names(int argc, char **argv)
{
	json_t *list = json_array();

	for (int i = 0; i < argc; i++)
		(void)json_array_append_new(list, cli_json_string(argv[i]));
	return list;
}

static json_t *hosts(void)
{
	json_t *list = json_array();

	for (size_t i = 0; i < vmctl_hosts_named.count; i++)
		(void)json_array_append_new(list, cli_json_string(vmctl_hosts_named.items[i]));
	if (!vmctl_hosts_named.count && vmctl_hosts_default && *vmctl_hosts_default)
		(void)json_array_append_new(list, cli_json_string(vmctl_hosts_default));
	return list;
}

void audit_done(const struct cli *cli, int argc, char **argv, int rc, const struct err *err)
{
	json_t *r;

	/* Wrong usage has touched nothing. */
	if (!is_changing(cli->verb->name) || only_looks(cli->verb->name, argc, argv) ||
	    (rc < 0 && err->code == ERR_USAGE))
		return;
	r = begin();
	if (!r)
		return;
	(void)json_object_set_new(r, "verb", json_string(cli->verb->name));
	(void)json_object_set_new(r, "hosts", hosts());
	(void)json_object_set_new(r, "arguments", names(argc, argv));
	(void)json_object_set_new(r, "command", arguments());
	(void)json_object_set_new(r, "result",
				  json_string(rc < 0 ? err_code_name(err->code) : "done"));
	(void)json_object_set_new(r, "message", cli_json_string(rc < 0 ? err->message : ""));
	write_record(r);
}

void audit_action(const json_t *action)
{
	const char *machine = json_string_value(json_object_get(action, "machine")),
		   *host = json_string_value(json_object_get(action, "host")),
		   *what = json_string_value(json_object_get(action, "action")),
		   *detail = json_string_value(json_object_get(action, "detail"));
	json_t *r;

	if (!machine || json_is_true(json_object_get(action, "dry_run")) || !(r = begin()))
		return;
	(void)json_object_set_new(r, "verb", json_sprintf("watch %s", what ? what : ""));
	(void)json_object_set_new(r, "hosts", json_pack("[o]", cli_json_string(host ? host : "")));
	(void)json_object_set_new(r, "arguments", json_pack("[o]", cli_json_string(machine)));
	(void)json_object_set_new(r, "command", arguments());
	(void)json_object_set_new(
		r, "result",
		json_string(json_is_true(json_object_get(action, "done")) ? "done" : "failed"));
	(void)json_object_set_new(r, "message", cli_json_string(detail ? detail : ""));
	write_record(r);
}
