/* Sizes and durations as people write them: see size.h. */
#include "libcommon/base/size.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/err.h"

/* DIGITS[.DIGITS] as value * 10^-decimals; no strtod: it takes signs, blanks, hex, inf and locales. */
static const char *parse_decimal(const char *s, uint64_t *ret_value, unsigned *ret_decimals)
{
	uint64_t v = 0;
	unsigned decimals = 0;
	bool point = false;

	if (!isdigit((unsigned char)*s))
		return NULL;
	for (;; s++) {
		if (*s == '.' && !point && isdigit((unsigned char)s[1])) {
			point = true;
			continue;
		}
		if (!isdigit((unsigned char)*s))
			break;
		if (point && ++decimals > 6)
			return NULL;
		if (!u64_mul(v, 10, &v) || !u64_add(v, (uint64_t)(*s - '0'), &v))
			return NULL;
	}
	*ret_value = v;
	*ret_decimals = decimals;
	return s;
}

static bool scale(uint64_t v, unsigned decimals, uint64_t unit, uint64_t *ret)
{
	unsigned __int128 product = (unsigned __int128)v * unit;
	uint64_t divisor = 1;

	while (decimals--)
		divisor *= 10;
	if (product % divisor || product / divisor > INT64_MAX)
		return false;
	*ret = (uint64_t)(product / divisor);
	return true;
}

int size_parse(const char *text, uint64_t *ret_bytes, struct err *err)
{
	static const char letters[] = "bkmgtpe";
	uint64_t v, unit = 1;
	unsigned decimals;
	const char *s = parse_decimal(text, &v, &decimals);

	if (!s)
		goto bad;
	if (*s) {
		const char *l = strchr(letters, tolower((unsigned char)*s));

		if (!l)
			goto bad;
		unit = (uint64_t)1 << (10 * (l - letters));
		s++;
		if (unit > 1 && (!strcasecmp(s, "ib") || !strcasecmp(s, "b")))
			s += strlen(s);
		if (*s)
			goto bad;
	}
	if (!scale(v, decimals, unit, ret_bytes))
		goto bad;
	return 0;
bad:
	return err_set(err, ERR_USAGE, "'%s' is not a size (such as 4096, 512M, 10G)", text);
}

char *size_format(uint64_t bytes, char buf[SIZE_TEXT_MAX])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double v = (double)bytes;
	unsigned u = 0;

	while (v >= 1023.5 && u < 6) {
		v /= 1024;
		u++;
	}
	if (u == 0)
		(void)snprintf(buf, SIZE_TEXT_MAX, "%u B", (unsigned)bytes);
	else
		(void)snprintf(buf, SIZE_TEXT_MAX,
			       v < 9.995   ? "%.2f %s"
			       : v < 99.95 ? "%.1f %s"
					   : "%.0f %s",
			       v, units[u]);
	return buf;
}

int duration_parse(const char *text, uint64_t *ret_ms, struct err *err)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} units[] = {{"", 1000},     {"ms", 1},	     {"s", 1000},     {"m", 60000},
		     {"min", 60000}, {"h", 3600000}, {"d", 86400000}, {"w", 604800000}};
	uint64_t v;
	unsigned decimals;
	const char *s = parse_decimal(text, &v, &decimals);

	for (size_t i = 0; s && i < sizeof(units) / sizeof(units[0]); i++)
		if (!strcmp(s, units[i].name) && scale(v, decimals, units[i].ms, ret_ms))
			return 0;
	return err_set(err, ERR_USAGE, "'%s' is not a time (such as 90s, 15m, 2h, 7d)", text);
}

char *duration_format(double seconds, char buf[SIZE_TEXT_MAX])
{
	unsigned long s = (unsigned long)(seconds + 0.5);

	if (seconds < 59.95)
		(void)snprintf(buf, SIZE_TEXT_MAX, seconds < 9.995 ? "%.2f s" : "%.1f s", seconds);
	else if (s < 3600)
		(void)snprintf(buf, SIZE_TEXT_MAX, "%lu min %lu s", s / 60, s % 60);
	else
		(void)snprintf(buf, SIZE_TEXT_MAX, "%lu h %lu min", s / 3600, s % 3600 / 60);
	return buf;
}
