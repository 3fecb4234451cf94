/* Pages of a disk's tree: any bytes; what decodes encodes to the same bytes again. The first byte is the level. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/repo/page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t again[PAGE_BYTES_MAX];
	struct page *p;
	unsigned level;
	size_t len;

	if (size < 1)
		return 0;
	level = data[0] % (PAGE_LEVELS_MAX + 1U);
	if (page_decode(&p, data + 1, size - 1, level, NULL) < 0)
		return 0;
	len = level ? page_encode_interior(level, p->children, again)
		    : page_encode_leaf(p->chunks, p->n, again);
	if (len != size - 1 || memcmp(again, data + 1, len) != 0)
		abort();
	for (uint32_t off = 0; !level && off < CHUNK_REGION; off += 1U << 20)
		if (page_find(p, off) > p->n)
			abort();
	page_free(p);
	return 0;
}
