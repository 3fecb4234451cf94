/* Sizes as people write them: 10G, 512M, 1.5T, 4096; binary multiples. */
#ifndef VMKIT_BASE_SIZE_H
#define VMKIT_BASE_SIZE_H

#include <stddef.h>
#include <stdint.h>

struct err;

/**
 * size_parse() - "10G", "512M", "4096", "1.5T", "64k", "16MiB" to bytes
 *
 * Suffixes b, k, M, G, T, P, E in either case, with an optional "iB" or "B"; all binary. A fraction must
 * give whole bytes. Signs, blanks, empty strings and what does not fit 63 bits are ERR_USAGE.
 */
int size_parse(const char *text, uint64_t *ret_bytes, struct err *err);

enum { SIZE_TEXT_MAX = 32 };

/** size_format() - "4.2 GiB", "512 B": three digits at most, for people; returns @buf */
char *size_format(uint64_t bytes, char buf[SIZE_TEXT_MAX]);

/**
 * duration_parse() - "90", "90s", "15m", "2h", "7d", "4w" to milliseconds; "0.5" too; ERR_USAGE
 */
int duration_parse(const char *text, uint64_t *ret_ms, struct err *err);

/** duration_format() - "0.42 s", "3 min 20 s", "2 h 5 min"; returns @buf */
char *duration_format(double seconds, char buf[SIZE_TEXT_MAX]);

#endif
