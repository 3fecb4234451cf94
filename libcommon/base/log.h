/* Messages beside the result: warnings and, with -v, what is going on. Libraries call these; the
 * program decides where they go (log_set_sink). Without a sink they are dropped. */
#ifndef VMKIT_BASE_LOG_H
#define VMKIT_BASE_LOG_H

enum log_level { LOG_WARNING = 0, LOG_INFO = 1, LOG_DEBUG = 2 };

typedef void log_sink(enum log_level level, const char *message);

/** log_set_sink() - once, at start; @sink must be callable from any thread; messages above @most are
 *  dropped (0: warnings, 1: -v, 2: -vv) */
void log_set_sink(log_sink *sink, enum log_level most);

void log_warning(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
