/* Control of a machine that runs: a unix socket under its name, one JSON line each way.
 *
 *	request = { "request": "info" | "stats" | "pause" | "resume" | "stop" | "kill" | "console" | "save" |
 *	          "save-compressed" | "balloon" } LF, at most CONTROL_LINE_MAX bytes; with the saves comes a descriptor (SCM_RIGHTS)
 *	          of the empty file to fill, "balloon" has a number "bytes" beside it: what the guest is to give up
 *	answer  = { "ok": true, ... } LF | { "ok": false, "code": CODE, "message": TEXT } LF	at most CONTROL_ANSWER_MAX bytes
 *
 * A connection is one request; behind the answer to "console" it goes on as the bytes of the serial console, both ways. The sockets are NAME.vmrun (mode 0600) in a folder of mode 0700 that is the caller's own:
 * vmkit below XDG_RUNTIME_DIR or /run/user/UID, whichever is a folder of the caller's, else vmkit-UID below TMPDIR (/tmp).
 * The folder's lock (flock) is held while a name is taken and while the socket of a dead process is removed.
 */
#ifndef VMKIT_RUNNER_CONTROL_H
#define VMKIT_RUNNER_CONTROL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"

enum { CONTROL_NAME_MAX = 64, CONTROL_LINE_MAX = 4096, CONTROL_ANSWER_MAX = 1 << 20 };
#define CONTROL_SUFFIX ".vmrun"

enum control_verb {
	CONTROL_INFO,
	CONTROL_STATS,
	CONTROL_PAUSE,
	CONTROL_RESUME,
	CONTROL_STOP, /* by the power button where the guest listens to it, else as CONTROL_KILL */
	CONTROL_KILL,
	CONTROL_CONSOLE, /* the connection becomes the serial console's */
	CONTROL_SAVE, /* it stands still and goes to a file; CONTROL_KILL or CONTROL_RESUME decides how it goes on */
	CONTROL_SAVE_COMPRESSED,
	CONTROL_BALLOON,
	CONTROL_VERBS
};

struct control_request {
	enum control_verb verb;
	int fd;		/* a descriptor that comes along, borrowed; -1: none */
	uint64_t bytes; /* of CONTROL_BALLOON */
};

/** control_verb_name() - the word in a request; static */
const char *control_verb_name(enum control_verb verb);

/** control_parse() - a request, @len bytes without its LF; sets all but fd. Return: 0 or -1: ERR_USAGE */
int control_parse(const char *line, size_t len, struct control_request *ret, struct err *err);

/** control_check_name() - 1 to CONTROL_NAME_MAX of A-Z a-z 0-9 . _ - of which the first is a letter or digit; ERR_USAGE */
int control_check_name(const char *name, struct err *err);

/* ---- the machine's side (control.c) */

struct control;

/** control_fn - answer by adding to @answer; called on the control thread, never after control_detach().
 *  Return: 0, or -1 with what the peer is told */
typedef int (*control_fn)(void *ctx, const struct control_request *r, json_t *answer,
			  struct err *err);

/** control_take_fn - @fd, consumed and non-blocking, is a peer whose CONTROL_CONSOLE was answered; called as a control_fn is */
typedef void (*control_take_fn)(void *ctx, int fd);

/** control_name() - borrowed */
const char *control_name(const struct control *c);

/**
 * control_open() - take @name and answer from a thread of its own
 *
 * Until control_attach() and after control_detach() only CONTROL_INFO is answered ("starting", "ending").
 * Return: 0 with *@ret owned (control_close()), or -1: ERR_USAGE (the name), ERR_EXISTS (a machine has it), ERR_DENIED
 */
int control_open(struct control **ret, const char *name, struct err *err);
void control_attach(struct control *c, control_fn fn, control_take_fn take, void *ctx);
/** control_detach() - waits for an answer that is under way; also when nothing was attached */
void control_detach(struct control *c);
/** control_close() - the name is free again; NULL is allowed */
void control_close(struct control *c);

/* ---- the other side (control_client.c) */

/**
 * control_ask() - one request to the machine @name
 * @timeout_ms: for connection and answer together
 * @ret: the answer, owned (json_decref); set on success only
 *
 * Return: 0 or -1: ERR_NOT_FOUND, ERR_CONNECTION (it does not answer, or not in this language), what the machine says
 */
int control_ask(const char *name, enum control_verb verb, uint64_t timeout_ms, json_t **ret,
		struct err *err);

/** control_console() - the serial console of the machine @name; *@ret_fd is owned, non-blocking. Return: as control_ask() */
int control_console(const char *name, uint64_t timeout_ms, int *ret_fd, struct err *err);
/** control_ask_with() - the same, of a whole request */
int control_ask_with(const char *name, const struct control_request *r, uint64_t timeout_ms,
		     json_t **ret, struct err *err);

/** control_tell() - a request whose answer nobody waits for; also while a stop signal ends this process */
void control_tell(const char *name, enum control_verb verb);

/** control_wait_end() - until the process @pid is no machine @name any more; Return: 0 or -1: ERR_TIMEOUT, ERR_CANCELLED */
int control_wait_end(const char *name, int pid, uint64_t timeout_ms, struct err *err);

/** control_list() - names of the machines there are, sorted; the sockets of dead ones are removed. *@ret is owned
 *  (control_list_free()); Return: 0 or -1 */
int control_list(char ***ret, size_t *ret_n, struct err *err);
void control_list_free(char **names, size_t n);

/* ---- both: control_path.c */

/** control_folder() - *@ret_fd is owned; Return: 0 or -1: ERR_DENIED (not the caller's alone). With @make it is made,
 *  else ERR_NOT_FOUND when it is not there */
int control_folder(bool make, int *ret_fd, struct err *err);

/** control_lock() - the folder's lock, until it is closed or unlocked; ERR_BUSY when another holds it for seconds */
int control_lock(int folder, struct err *err);
void control_unlock(int folder);

/** control_connect() - to the socket @file in @folder, without blocking; Return: a descriptor (owned), or -1 with errno:
 *  ENOENT, ECONNREFUSED (nobody listens), EAGAIN (it has too much to do), ... */
int control_connect(int folder, const char *file);

/** control_bind() - a new socket @file in @folder, mode 0600, listening, non-blocking; Return: as control_connect() */
int control_bind(int folder, const char *file);

/** control_peer() - the process at the other end of @fd; 0 when it cannot be told */
int control_peer(int fd);

#endif
