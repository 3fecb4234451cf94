/* Base64: see base64.h. */
#include "libcommon/base/base64.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *data, size_t len)
{
	const uint8_t *in = data;
	size_t groups = len / 3 + (len % 3 != 0);
	char *ret = groups > SIZE_MAX / 8 ? NULL : malloc(4 * groups + 1), *out = ret;

	if (!ret)
		return NULL;
	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t v = (uint32_t)in[i] << 16;

		if (n > 1)
			v |= (uint32_t)in[i + 1] << 8;
		if (n > 2)
			v |= in[i + 2];
		*out++ = digits[v >> 18];
		*out++ = digits[v >> 12 & 63];
		*out++ = '=';
		*out++ = '=';
		if (n > 1)
			out[-2] = digits[v >> 6 & 63];
		if (n > 2)
			out[-1] = digits[v & 63];
	}
	*out = '\0';
	return ret;
}

static int value_of(char c)
{
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

int base64_decode(const char *text, void **ret, size_t *ret_len)
{
	size_t len = strlen(text), pad = 0, n = 0;
	uint8_t *out;

	if (len % 4)
		return -1;
	while (pad < 2 && pad < len && text[len - 1 - pad] == '=')
		pad++;
	out = malloc(len / 4 * 3 + 1);
	if (!out)
		return -1;
	for (size_t i = 0; i < len; i += 4) {
		size_t here = i + 4 == len ? 4 - pad : 4;
		uint32_t v = 0;

		for (size_t k = 0; k < 4; k++) {
			int d = k < here ? value_of(text[i + k]) : 0;

			if (d < 0) {
				free(out);
				return -1;
			}
			v = v << 6 | (uint32_t)d;
		}
		for (size_t k = 0; k + 1 < here; k++)
			out[n++] = (uint8_t)(v >> (16 - 8 * k));
	}
	out[n] = 0;
	*ret = out;
	*ret_len = n;
	return 0;
}
