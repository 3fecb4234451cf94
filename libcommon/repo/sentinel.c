/* Sentinels of dirty bitmaps: see sentinel.h. */
#include "libcommon/repo/sentinel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/libcrypto.h"

#define PREFIX "vmkit-dirty-"

void sentinel_prefix(const char *uuid, char ret[SENTINEL_NAME_MAX])
{
	(void)snprintf(ret, SENTINEL_NAME_MAX, PREFIX "%.8s-", uuid);
}

bool sentinel_is_ours(const char *name)
{
	return strncmp(name, PREFIX, strlen(PREFIX)) == 0;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

unsigned sentinel_places(const char *name, uint64_t size, uint64_t ret[SENTINELS_MAX])
{
	uint64_t granules = div_up(size, SENTINEL_GRANULE);
	unsigned n = (unsigned)min_u64(SENTINELS_MAX, granules / 8 + 1), kept = 0;

	if (!size)
		return 0;
	for (unsigned i = 0; i < n; i++) {
		char text[SENTINEL_NAME_MAX + 16];
		uint8_t hash[EVP_MAX_MD_SIZE];
		int len = snprintf(text, sizeof(text), "%.*s %u", SENTINEL_NAME_MAX, name, i);

		if (EVP_Digest(text, (size_t)len, hash, NULL, EVP_sha256(), NULL) != 1)
			return 0;
		ret[i] = get_le64(hash) % granules * SENTINEL_GRANULE;
	}
	qsort(ret, n, sizeof(*ret), compare);
	for (unsigned i = 0; i < n; i++)
		if (!kept || ret[kept - 1] != ret[i])
			ret[kept++] = ret[i];
	return kept;
}

bool sentinel_all_set(const char *name, uint64_t size, const struct changes *c, bool *ret_others)
{
	uint64_t places[SENTINELS_MAX], bytes = 0;
	unsigned n = sentinel_places(name, size, places);

	for (unsigned i = 0; i < n; i++) {
		if (!changes_touch(c, places[i], 1))
			return false;
		bytes += min_u64(SENTINEL_GRANULE, size - places[i]);
	}
	*ret_others = changes_bytes(c) > bytes;
	return n > 0;
}
