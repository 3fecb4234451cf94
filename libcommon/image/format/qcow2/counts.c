/* Reference counts of host clusters in pages that exist where something is counted. */
#include "libcommon/image/format/qcow2/counts.h"

#include <inttypes.h>
#include <stdlib.h>

#include "libcommon/base/checked.h"

#define MAX_PAGES (1ULL << 28)
#define MAX_BYTES (2ULL << 30) /* a full file of 64 TiB with 64 KiB clusters */

int counts_init(struct counts *c, uint64_t clusters, struct err *err)
{
	uint64_t pages = div_up(clusters, COUNTS_PAGE);

	*c = (struct counts){.clusters = clusters};
	if (pages > MAX_PAGES)
		return err_set(err, ERR_UNSUPPORTED,
			       "a file of %" PRIu64 " clusters is too large to be checked",
			       clusters);
	/* Untouched parts of it stay unbacked zero pages */
	c->pages = calloc((size_t)pages + 1, sizeof(*c->pages));
	return c->pages ? 0 : err_nomem(err);
}

void counts_release(struct counts *c)
{
	uint64_t pages = div_up(c->clusters, COUNTS_PAGE);

	/* Not an entry of the table is looked at beyond the pages that were made */
	for (uint64_t i = 0; c->pages && c->bytes && i < pages; i++) {
		if (!c->pages[i])
			continue;
		free(c->pages[i]);
		c->bytes -= COUNTS_PAGE * sizeof(uint16_t);
	}
	free(c->pages);
	c->pages = NULL;
}

int counts_add(struct counts *c, uint64_t cluster, uint64_t weight, struct err *err)
{
	uint16_t **page = &c->pages[cluster / COUNTS_PAGE];
	uint16_t *n;

	if (!*page) {
		if (c->bytes >= MAX_BYTES)
			return err_set(err, ERR_UNSUPPORTED,
				       "checking needs more than %llu MiB of memory",
				       MAX_BYTES >> 20);
		*page = calloc(COUNTS_PAGE, sizeof(uint16_t));
		if (!*page)
			return err_nomem(err);
		c->bytes += COUNTS_PAGE * sizeof(uint16_t);
	}
	n = &(*page)[cluster % COUNTS_PAGE];
	*n = weight > (uint64_t)(COUNTS_MOST - *n) ? COUNTS_MOST : (uint16_t)(*n + weight);
	return 0;
}

uint64_t counts_skip(const struct counts *c, uint64_t cluster, uint64_t end)
{
	end = min_u64(end, c->clusters);
	while (cluster < end && !c->pages[cluster / COUNTS_PAGE])
		cluster = (cluster / COUNTS_PAGE + 1) * COUNTS_PAGE;
	return cluster;
}
