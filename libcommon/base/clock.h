/* Dates and times in digits: "2026-11-23", "2026-11-23T10:00", "2026-11-23T10:00:59"; and the end of a wait. */
#ifndef VMKIT_BASE_CLOCK_H
#define VMKIT_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

/**
 * clock_fields() - the fields of a date, without a zone
 * @text: @len bytes; a blank may stand for the "T"
 * @ret: fields that are not given stay as they are; for timegm() or mktime()
 * Return: how many of hours and minutes (1), and seconds (2) were given, 0 for a date alone; -1: no date
 */
int clock_fields(const char *text, size_t len, struct tm *ret);

/** clock_parse_utc() - exactly "2026-11-23T10:00:59Z"; Return: 0, or -1 without an error object */
int clock_parse_utc(const char *text, time_t *ret);

/** clock_after() - @ms milliseconds from now on @clock: for pthread_cond_timedwait() and its like */
struct timespec clock_after(clockid_t clock, uint64_t ms);

#endif
