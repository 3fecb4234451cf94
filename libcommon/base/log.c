/* Messages beside the result: see log.h. */
#include "libcommon/base/log.h"

#include <stdarg.h>
#include <stdio.h>

static log_sink *the_sink; /* set once before threads start */
static enum log_level the_most;

void log_set_sink(log_sink *sink, enum log_level most)
{
	the_sink = sink;
	the_most = most;
}

static void __attribute__((format(printf, 2, 0)))
emit(enum log_level level, const char *fmt, va_list ap)
{
	char text[1024];

	if (!the_sink || level > the_most)
		return;
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	the_sink(level, text);
}

#define LOG_FUNCTION(name, level)                                                                  \
	void name(const char *fmt, ...)                                                            \
	{                                                                                          \
		va_list ap;                                                                        \
                                                                                                   \
		va_start(ap, fmt);                                                                 \
		emit(level, fmt, ap);                                                              \
		va_end(ap);                                                                        \
	}

LOG_FUNCTION(log_warning, LOG_WARNING)
LOG_FUNCTION(log_info, LOG_INFO)
LOG_FUNCTION(log_debug, LOG_DEBUG)
