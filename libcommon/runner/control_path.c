/* Where control sockets lie, how they are reached, what may be asked. See control.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/runner/control.h"

enum { BACKLOG = 16, LOCK_TRIES = 300, LOCK_PAUSE_MS = 10 };

static const char *const verbs[CONTROL_VERBS] = {
	[CONTROL_INFO] = "info",       [CONTROL_STATS] = "stats",
	[CONTROL_PAUSE] = "pause",     [CONTROL_RESUME] = "resume",
	[CONTROL_STOP] = "stop",       [CONTROL_KILL] = "kill",
	[CONTROL_SAVE] = "save",       [CONTROL_SAVE_COMPRESSED] = "save-compressed",
	[CONTROL_CONSOLE] = "console", [CONTROL_BALLOON] = "balloon",
};

const char *control_verb_name(enum control_verb verb)
{
	return verbs[verb];
}

int control_parse(const char *line, size_t len, struct control_request *ret, struct err *err)
{
	const json_t *bytes;
	const char *word;
	json_t *json;
	int rc = -1;

	if (len > CONTROL_LINE_MAX)
		return err_set(err, ERR_USAGE, "a request has at most %d bytes", CONTROL_LINE_MAX);
	json = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	word = json_string_value(json_object_get(json, "request"));
	for (int v = 0; word && rc < 0 && v < CONTROL_VERBS; v++) {
		if (strcmp(word, verbs[v]) == 0) {
			ret->verb = (enum control_verb)v;
			rc = 0;
		}
	}
	if (rc < 0)
		err_set(err, ERR_USAGE,
			!json	? "the request is not one line of JSON"
			: !word ? "the request has no string \"request\""
				: "the request is of no known kind");
	bytes = json_object_get(json, "bytes");
	if (rc == 0)
		ret->bytes = (uint64_t)json_integer_value(bytes);
	if (rc == 0 && ret->verb == CONTROL_BALLOON &&
	    (!json_is_integer(bytes) || json_integer_value(bytes) < 0))
		rc = err_set(err, ERR_USAGE, "the request has no number \"bytes\"");
	json_decref(json);
	return rc;
}

int control_check_name(const char *name, struct err *err)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t len = strlen(name);

	if (len && len <= CONTROL_NAME_MAX && strspn(name, letters) == len &&
	    !strchr("._-", name[0]))
		return 0;
	err_set(err, ERR_USAGE,
		"a machine's name is 1 to %d letters, digits, dots, underscores and dashes, and "
		"begins with a letter or digit",
		CONTROL_NAME_MAX);
	return err_object(err, name);
}

static bool is_own_folder(const char *path)
{
	struct stat st;

	return path && path[0] == '/' && stat(path, &st) == 0 && S_ISDIR(st.st_mode) &&
	       st.st_uid == geteuid();
}

/* Return: an owned path, or NULL without memory */
static char *folder_path(void)
{
	const char *set = getenv("XDG_RUNTIME_DIR");
	unsigned uid = (unsigned)geteuid();
	char *path = NULL, usual[64];
	int rc;

	(void)snprintf(usual, sizeof(usual), "/run/user/%u", uid);
	if (is_own_folder(set) || is_own_folder(usual)) {
		rc = asprintf(&path, "%s/vmkit", is_own_folder(set) ? set : usual);
	} else {
		set = getenv("TMPDIR");
		rc = asprintf(&path, "%s/vmkit-%u", set && *set ? set : "/tmp", uid);
	}
	return rc < 0 ? NULL : path;
}

int control_folder(bool make, int *ret_fd, struct err *err)
{
	CLEANUP_FREE char *path = folder_path();
	CLEANUP_CLOSE int fd = -1;
	struct stat st;

	if (!path)
		return err_nomem(err);
	if (make && mkdir(path, 0700) < 0 && errno != EEXIST) {
		err_sys(err, "cannot make the folder for control sockets");
		return err_object(err, path);
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		err_sys(err, "cannot open the folder for control sockets");
		return err_object(err, path);
	}
	if (st.st_uid != geteuid() || (st.st_mode & 077)) {
		err_set(err, ERR_DENIED,
			"the folder for control sockets has to be yours alone (mode 0700)");
		return err_object(err, path);
	}
	*ret_fd = steal_fd(&fd);
	return 0;
}

int control_lock(int folder, struct err *err)
{
	const struct timespec pause = {0, LOCK_PAUSE_MS * 1000000L};

	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(folder, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_sys(err, "cannot lock the folder for control sockets");
		(void)nanosleep(&pause, NULL);
	}
	return err_set(err, ERR_BUSY, "another process has locked the folder for control sockets");
}

void control_unlock(int folder)
{
	(void)flock(folder, LOCK_UN);
}

/* An address has 108 bytes, and a folder's path may be longer: it is named by its descriptor. */
static struct sockaddr_un address(int folder, const char *file)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/%s", folder, file);
	return a;
}

static int fail(int fd)
{
	int saved = errno;

	if (fd >= 0)
		(void)close(fd);
	errno = saved;
	return -1;
}

int control_connect(int folder, const char *file)
{
	struct sockaddr_un a = address(folder, file);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
		return fail(fd);
	return fd;
}

int control_bind(int folder, const char *file)
{
	struct sockaddr_un a = address(folder, file);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* The mode before the name: there is no moment at which others could connect. */
	if (fd < 0 || fchmod(fd, 0600) < 0 ||
	    bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, BACKLOG) < 0)
		return fail(fd);
	return fd;
}

int control_peer(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 ? 0 : cred.pid;
}
