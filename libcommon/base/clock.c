/* Dates and times in digits: see clock.h. */
#include "libcommon/base/clock.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

static int number(const char *digits, size_t n)
{
	int v = 0;

	while (n--)
		v = v * 10 + (*digits++ - '0');
	return v;
}

int clock_fields(const char *text, size_t len, struct tm *ret)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd";
	static const size_t lengths[] = {10, 16, 19};
	struct tm tm = *ret;
	int given = 0;

	while (given < 3 && lengths[given] != len)
		given++;
	if (given == 3)
		return -1;
	for (size_t i = 0; i < len; i++) {
		bool ok = form[i] == 'd' ? isdigit((unsigned char)text[i]) != 0
					 : text[i] == form[i] || (form[i] == 'T' && text[i] == ' ');

		if (!ok)
			return -1;
	}
	tm.tm_year = number(text, 4) - 1900;
	tm.tm_mon = number(text + 5, 2) - 1;
	tm.tm_mday = number(text + 8, 2);
	if (given >= 1) {
		tm.tm_hour = number(text + 11, 2);
		tm.tm_min = number(text + 14, 2);
	}
	if (given >= 2)
		tm.tm_sec = number(text + 17, 2);
	if (tm.tm_mon < 0 || tm.tm_mon > 11 || tm.tm_mday < 1 || tm.tm_mday > 31 ||
	    tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
		return -1;
	*ret = tm;
	return given;
}

int clock_parse_utc(const char *text, time_t *ret)
{
	struct tm tm = {0};

	if (strlen(text) != 20 || text[10] != 'T' || text[19] != 'Z' ||
	    clock_fields(text, 19, &tm) != 2)
		return -1;
	*ret = timegm(&tm);
	return 0;
}

struct timespec clock_after(clockid_t clock, uint64_t ms)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	t.tv_sec += (time_t)(ms / 1000);
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}
