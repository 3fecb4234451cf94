/* Hexadecimal from key files and object names: what decodes encodes to the same text again. */
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/digest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[2 * DIGEST_MAX + 2], again[2 * DIGEST_MAX + 1];
	unsigned char value[DIGEST_MAX];
	size_t len;

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	len = strlen(text) / 2;
	if (len > DIGEST_MAX || hex_decode(text, value, len) < 0)
		return 0;
	if (strlen(text) != 2 * len)
		abort();
	hex_encode(value, len, again);
	for (size_t i = 0; i < 2 * len; i++) {
		if (tolower((unsigned char)text[i]) != again[i])
			abort();
	}
	return 0;
}
