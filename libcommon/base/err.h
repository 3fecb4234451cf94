/* Errors: one object on the caller's stack, a code, errno and one sentence. Only main prints.
 *
 * Calling sequence:
 *
 *	int thing_open(struct thing **ret_thing, const char *path, struct err *err)
 *	{
 *		int fd = open(path, O_RDONLY | O_CLOEXEC);
 *		if (fd < 0)
 *			return err_sys(err, "cannot open");	// "...: No such file or directory"
 *		if (bad)
 *			return err_set(err, ERR_CORRUPT, "L1 table lies at %" PRIu64, off);
 *	}
 *
 * A level that knows what the object is called says err_object(err, path); a level that adds context
 * puts it in front with err_prefix(err, "backing file of %s", name). The sentence has no program name,
 * no final full stop and no newline.
 */
#ifndef VMKIT_BASE_ERR_H
#define VMKIT_BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>

/* One value a class of failure; the table in err.c maps each to an exit status and a JSON code. */
enum err_code {
	ERR_NONE = 0,
	ERR_FAILED,    /* none of the reasons below */
	ERR_USAGE,     /* nothing was touched */
	ERR_DIFFERS,   /* done, but the answer is no, or only a part is done */
	ERR_NOT_FOUND, /* image, snapshot, machine, repository */
	ERR_EXISTS,
	ERR_BUSY,	 /* locked or in use; the sentence says by whom */
	ERR_CONNECTION,	 /* daemon, agent, host, object store */
	ERR_CORRUPT,	 /* damaged input */
	ERR_UNSUPPORTED, /* a feature of the input or of this host */
	ERR_TIMEOUT,
	ERR_BASE_GONE, /* base of an incremental is gone and a full one is forbidden */
	ERR_DENIED,    /* wrong key, no permission */
	ERR_NO_SPACE,
	ERR_NO_MEMORY, /* status 1; kept apart for tests */
	ERR_CANCELLED, /* by a signal: stop_signal() says which; status 128+N */
	ERR_PIPE,      /* standard output was closed by its reader: quiet, status 128+SIGPIPE */
	ERR_CODE_COUNT
};

struct err {
	enum err_code code;
	int sys;	    /* errno, or 0 */
	char object[256];   /* file, snapshot, machine; may be empty */
	char message[1024]; /* the sentence, without the object */
	char hint[256];	    /* what the reader can do; may be empty */
};

#define ERR_INIT ((struct err){.code = ERR_NONE})

/**
 * err_set() - replace what @err holds by a code and a sentence
 * @err: may be NULL, then nothing is recorded
 *
 * Return: always -1, so that a function can end with `return err_set(...)`.
 */
int err_set(struct err *err, enum err_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int err_setv(struct err *err, enum err_code code, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

/**
 * err_sys() - as err_set(), with the code and the end of the sentence taken from errno
 *
 * ENOSPC and EDQUOT become ERR_NO_SPACE, ENOENT ERR_NOT_FOUND, EACCES, EPERM and EROFS ERR_DENIED, EEXIST
 * ERR_EXISTS, EBUSY and ETXTBSY ERR_BUSY, ENOMEM ERR_NO_MEMORY, EPIPE ERR_PIPE, the rest ERR_FAILED.
 * Return: always -1. errno is preserved.
 */
int err_sys(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** err_nomem() - "out of memory"; Return: always -1 */
int err_nomem(struct err *err);

/** err_prefix() - put "CONTEXT: " in front of the sentence; Return: always -1 */
int err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** err_object() - name the object, unless a level further down did already; Return: always -1 */
int err_object(struct err *err, const char *name);

/** err_hint() - say what the reader can do; Return: always -1 */
int err_hint(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** err_clear() - back to ERR_INIT */
void err_clear(struct err *err);

/** err_status() - the exit status of a code, as CLI.md says; ERR_CANCELLED needs stop_signal() */
int err_status(enum err_code code);

/** err_code_name() - "busy", "corrupt", ...: the code field of JSON errors; static string */
const char *err_code_name(enum err_code code);

#endif
