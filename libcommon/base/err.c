/* Errors: see err.h. */
#include "libcommon/base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "libcommon/base/stop.h"

static const struct {
	int status;
	const char *name;
} codes[ERR_CODE_COUNT] = {
	[ERR_NONE] = {0, "none"},
	[ERR_FAILED] = {1, "failed"},
	[ERR_USAGE] = {2, "usage"},
	[ERR_DIFFERS] = {3, "differs"},
	[ERR_NOT_FOUND] = {4, "not_found"},
	[ERR_EXISTS] = {5, "exists"},
	[ERR_BUSY] = {6, "busy"},
	[ERR_CONNECTION] = {7, "no_connection"},
	[ERR_CORRUPT] = {8, "corrupt"},
	[ERR_UNSUPPORTED] = {9, "unsupported"},
	[ERR_TIMEOUT] = {10, "timeout"},
	[ERR_BASE_GONE] = {11, "base_gone"},
	[ERR_DENIED] = {12, "denied"},
	[ERR_NO_SPACE] = {13, "no_space"},
	[ERR_NO_MEMORY] = {1, "no_memory"},
	[ERR_CANCELLED] = {128, "cancelled"},
	[ERR_PIPE] = {128 + 13, "broken_pipe"},
};

int err_setv(struct err *err, enum err_code code, const char *fmt, va_list ap)
{
	if (!err)
		return -1;
	err->code = code;
	err->sys = 0;
	err->object[0] = '\0';
	err->hint[0] = '\0';
	/* A sentence longer than the buffer is cut: never a reason to fail twice. */
	(void)vsnprintf(err->message, sizeof(err->message), fmt, ap);
	return -1;
}

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	err_setv(err, code, fmt, ap);
	va_end(ap);
	return -1;
}

static enum err_code code_of_errno(int e)
{
	switch (e) {
	case ENOSPC:
	case EDQUOT:
		return ERR_NO_SPACE;
	case ENOENT:
	case ENOTDIR:
		return ERR_NOT_FOUND;
	case EACCES:
	case EPERM:
	case EROFS:
		return ERR_DENIED;
	case EEXIST:
		return ERR_EXISTS;
	case EBUSY:
	case ETXTBSY:
		return ERR_BUSY;
	case ENOMEM:
		return ERR_NO_MEMORY;
	case EPIPE:
		return ERR_PIPE;
	default:
		return ERR_FAILED;
	}
}

int err_sys(struct err *err, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	if (!err)
		return -1;
	va_start(ap, fmt);
	err_setv(err, code_of_errno(saved), fmt, ap);
	va_end(ap);
	err->sys = saved;

	char text[128];
	size_t used = strlen(err->message);

	(void)snprintf(err->message + used, sizeof(err->message) - used, ": %s",
		       strerror_r(saved, text, sizeof(text)));
	errno = saved;
	return -1;
}

int err_nomem(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, "out of memory");
}

int err_prefix(struct err *err, const char *fmt, ...)
{
	if (!err)
		return -1;

	char old[sizeof(err->message)];
	va_list ap;

	memcpy(old, err->message, sizeof(old));
	va_start(ap, fmt);
	(void)vsnprintf(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);

	size_t used = strlen(err->message);

	/* The object of a lower level belongs behind the context, not in front of it. */
	(void)snprintf(err->message + used, sizeof(err->message) - used, ": %s%s%s", err->object,
		       err->object[0] ? ": " : "", old);
	err->object[0] = '\0';
	return -1;
}

int err_object(struct err *err, const char *name)
{
	if (err && !err->object[0])
		(void)snprintf(err->object, sizeof(err->object), "%s", name);
	return -1;
}

int err_hint(struct err *err, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return -1;
	va_start(ap, fmt);
	(void)vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
	va_end(ap);
	return -1;
}

void err_clear(struct err *err)
{
	*err = ERR_INIT;
}

int err_status(enum err_code code)
{
	if ((unsigned)code >= ERR_CODE_COUNT)
		return 1;
	if (code == ERR_CANCELLED)
		return 128 + stop_signal();
	return codes[code].status;
}

const char *err_code_name(enum err_code code)
{
	return (unsigned)code < ERR_CODE_COUNT ? codes[code].name : "failed";
}
