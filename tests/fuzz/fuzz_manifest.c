/* Manifests: any bytes; what decodes encodes to text that decodes to the same again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/repo/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct snapshot first, second;
	char *one, *two;
	size_t n_one, n_two;

	if (manifest_decode(data, size, &first, NULL) < 0)
		return 0;
	if (manifest_encode(&first, &one, &n_one, NULL) < 0 ||
	    manifest_decode(one, n_one, &second, NULL) < 0 ||
	    manifest_encode(&second, &two, &n_two, NULL) < 0)
		abort();
	if (n_one != n_two || memcmp(one, two, n_one) != 0)
		abort();
	manifest_clear(&first);
	manifest_clear(&second);
	free(one);
	free(two);
	return 0;
}
