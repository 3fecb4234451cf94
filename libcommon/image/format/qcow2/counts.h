/* Reference counts of host clusters, in memory: 2 bytes for a cluster, only where something is counted. */
#ifndef VMKIT_FORMAT_QCOW2_COUNTS_H
#define VMKIT_FORMAT_QCOW2_COUNTS_H

#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"

#define COUNTS_PAGE                                                                                \
	512U /* counters of a page: small, so that a scattered hostile image costs little */
#define COUNTS_MOST UINT16_MAX /* a counter stops here; it then stands for "this or more" */

struct counts {
	uint16_t **pages;
	uint64_t clusters; /* room */
	uint64_t bytes;	   /* taken for pages */
};

/** counts_init() - for @clusters; ERR_UNSUPPORTED when the table of pages alone would be absurd */
int counts_init(struct counts *c, uint64_t clusters, struct err *err);
void counts_release(struct counts *c);

/** counts_add() - @cluster must be below the room */
int counts_add(struct counts *c, uint64_t cluster, uint64_t weight, struct err *err);

static inline uint64_t counts_get(const struct counts *c, uint64_t cluster)
{
	const uint16_t *page;

	if (cluster >= c->clusters)
		return 0;
	page = c->pages[cluster / COUNTS_PAGE];
	return page ? page[cluster % COUNTS_PAGE] : 0;
}

/** counts_skip() - the first cluster from @cluster on, below @end, whose page exists; else @end */
uint64_t counts_skip(const struct counts *c, uint64_t cluster, uint64_t end);

#endif
