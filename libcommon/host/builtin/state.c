/* How a machine is: what vmrun says, whether a keeper is there, and what the last one wrote down. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/outfile.h"
#include "libcommon/host/builtin/builtin.h"
#include "libcommon/runner/control.h"

enum { RECORD_MAX = 1 << 16 };

int builtin_lock(const struct builtin_host *b, const char *name, int *ret_fd, struct err *err)
{
	CLEANUP_FREE char *path = builtin_path(b->state, name, "lock");
	CLEANUP_CLOSE int fd = -1;

	if (!path)
		return err_nomem(err);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		err_sys(err, "cannot open");
		return err_object(err, path);
	}
	/* One who only looks (builtin_kept()) holds it for a moment. */
	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
		static const struct timespec pause = {.tv_nsec = 10000000};

		if (i == 20)
			return err_set(err, ERR_BUSY, "runs already");
		(void)nanosleep(&pause, NULL);
	}
	*ret_fd = steal_fd(&fd);
	return 0;
}

bool builtin_kept(const struct builtin_host *b, const char *name)
{
	CLEANUP_FREE char *path = builtin_path(b->state, name, "lock");
	CLEANUP_CLOSE int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;

	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

void builtin_record(const struct builtin_host *b, const char *name, bool runs, const char *reason,
		    const char *message)
{
	CLEANUP_FREE char *path = builtin_path(b->state, name, "json"), *text = NULL;
	json_t *said = json_string(message), *doc;
	char now[32] = "";
	time_t t = time(NULL);
	struct tm tm;

	if (gmtime_r(&t, &tm))
		(void)strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", &tm);
	doc = json_pack("{s:b, s:s, s:o, s:s}", "runs", (int)runs, "reason", reason, "message",
			said ? said : json_string("?"), "time", now);
	text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	json_decref(doc);
	if (path && text)
		(void)outfile_write(path, text, strlen(text), OUTFILE_FORCE | OUTFILE_NO_SYNC,
				    NULL);
}

/* Reasons are static strings for those who ask. */
static const char *reason_of(const json_t *record)
{
	static const char *const known[] = {"shutdown", "destroyed", "crashed", "failed", "saved"};
	const char *s = json_string_value(json_object_get(record, "reason"));

	for (size_t i = 0; s && i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(s, known[i]) == 0)
			return known[i];
	return "";
}

/* There is no vmrun. */
static void look_at_record(const struct builtin_host *b, const char *name, bool kept,
			   struct builtin_now *ret)
{
	CLEANUP_FREE char *path = builtin_path(b->state, name, "json"), *text = NULL;
	json_t *doc = NULL;
	size_t len;
	bool runs;

	if (path && io_read_file(path, RECORD_MAX, &text, &len, NULL) == 0)
		doc = json_loadb(text, len, 0, NULL);
	runs = json_is_true(json_object_get(doc, "runs"));
	if (kept) {
		ret->state = runs ? DOMAIN_RUNNING : DOMAIN_STOPPING;
		ret->reason = runs ? "rebooting" : "";
	} else {
		/* It is written as running, and nobody keeps it: its keeper was killed. */
		ret->reason = runs ? "failed" : reason_of(doc);
	}
	json_decref(doc);
}

int builtin_now(const struct builtin_host *b, const char *name, struct builtin_now *ret,
		struct err *err)
{
	struct builtin_now now = {.state = DOMAIN_OFF, .reason = "", .pid = -1};
	struct err why = ERR_INIT;
	const char *state;

	if (control_ask(name, CONTROL_STATS, ASK_MS, &now.answer, &why) == 0) {
		state = json_string_value(json_object_get(now.answer, "state"));
		now.state = state && strcmp(state, "paused") == 0 ? DOMAIN_PAUSED : DOMAIN_RUNNING;
		now.reason = now.state == DOMAIN_PAUSED ? "user" : "";
		now.pid = (int)json_integer_value(json_object_get(now.answer, "pid"));
	} else if (why.code == ERR_NOT_FOUND || why.code == ERR_BUSY) {
		/* Busy: it is starting or ending. */
		look_at_record(b, name, why.code == ERR_BUSY || builtin_kept(b, name), &now);
	} else if (why.code == ERR_CONNECTION) {
		now.state = DOMAIN_RUNNING;
		now.reason = "not answering";
	} else {
		if (err)
			*err = why;
		return -1;
	}
	*ret = now;
	return 0;
}
