/* Sizes and durations from the command line: no input may crash, and a refusal is
 * ERR_USAGE with a sentence. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/err.h"
#include "libcommon/base/size.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[256], printed[SIZE_TEXT_MAX];
	struct err err = ERR_INIT;
	uint64_t value = 0;

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (size_parse(text, &value, &err) == 0) {
		if (value > INT64_MAX)
			abort();
		(void)size_format(value, printed);
		if (strlen(printed) >= sizeof(printed))
			abort();
	} else if (err.code != ERR_USAGE || err.message[0] == '\0') {
		abort();
	}
	err_clear(&err);
	if (duration_parse(text, &value, &err) == 0)
		(void)duration_format((double)value / 1000, printed);
	else if (err.code != ERR_USAGE || err.message[0] == '\0')
		abort();
	return 0;
}
