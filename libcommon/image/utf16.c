/* UTF-16 names: see utf16.h. */
#include "libcommon/image/utf16.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/cleanup.h"

static bool is_high(uint32_t c)
{
	return c >= 0xd800 && c < 0xdc00;
}

static bool is_low(uint32_t c)
{
	return c >= 0xdc00 && c < 0xe000;
}

static char *put_utf8(char *out, uint32_t c)
{
	unsigned more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
	static const uint8_t lead[4] = {0, 0xc0, 0xe0, 0xf0};

	*out++ = (char)(lead[more] | c >> 6 * more);
	while (more--)
		*out++ = (char)(0x80 | (c >> 6 * more & 0x3f));
	return out;
}

int utf16_to_utf8(const uint8_t *p, size_t len, bool big_endian, char **ret, struct err *err)
{
	char *text = malloc(len / 2 * 3 + 2), *out = text;

	if (!text)
		return err_nomem(err);
	for (size_t i = 0; i + 1 < len; i += 2) {
		uint32_t c = big_endian ? get_be16(p + i) : get_le16(p + i);
		uint32_t next = 0;

		if (!c)
			break;
		if (i + 3 < len)
			next = big_endian ? get_be16(p + i + 2) : get_le16(p + i + 2);
		if (is_high(c) && is_low(next)) {
			c = 0x10000 + ((c - 0xd800) << 10) + (next - 0xdc00);
			i += 2;
		} else if (is_high(c) || is_low(c)) {
			c = '?';
		}
		out = put_utf8(out, c);
	}
	*out = '\0';
	*ret = text;
	return 0;
}

/* The character at *@p, which is moved behind it. Return: false when it is none */
static bool get_utf8(const uint8_t **p, uint32_t *ret)
{
	const uint8_t *s = *p;
	unsigned more = *s < 0x80   ? 0
			: *s < 0xc2 ? 9
			: *s < 0xe0 ? 1
			: *s < 0xf0 ? 2
			: *s < 0xf5 ? 3
				    : 9;
	static const uint32_t least[4] = {0, 0x80, 0x800, 0x10000};
	uint32_t c;

	if (more == 9)
		return false;
	c = more ? *s & (0x3fU >> more) : *s;
	for (unsigned i = 1; i <= more; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return false;
		c = c << 6 | (s[i] & 0x3f);
	}
	*p = s + 1 + more;
	*ret = c;
	return c >= least[more] && c < 0x110000 && !is_high(c) && !is_low(c);
}

int utf8_to_utf16(const char *text, bool big_endian, uint8_t **ret, size_t *ret_len,
		  struct err *err)
{
	CLEANUP_FREE uint8_t *out = malloc(2 * strlen(text) + 2);
	const uint8_t *p = (const uint8_t *)text;
	size_t n = 0;

	if (!out)
		return err_nomem(err);
	while (*p) {
		uint16_t unit[2];
		unsigned units = 1;
		uint32_t c;

		if (!get_utf8(&p, &c))
			return err_set(err, ERR_USAGE, "the name %s is not UTF-8", text);
		unit[0] = (uint16_t)c;
		if (c >= 0x10000) {
			unit[0] = (uint16_t)(0xd800 + ((c - 0x10000) >> 10));
			unit[1] = (uint16_t)(0xdc00 + ((c - 0x10000) & 0x3ff));
			units = 2;
		}
		for (unsigned i = 0; i < units; i++, n += 2) {
			if (big_endian)
				put_be16(out + n, unit[i]);
			else
				put_le16(out + n, unit[i]);
		}
	}
	*ret = steal_ptr(&out);
	*ret_len = n;
	return 0;
}
