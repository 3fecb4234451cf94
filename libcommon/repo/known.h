/* What of a region needs no reading, because the parent's page says it and nothing changed there.
 *
 * Chunks depend on nothing before their first block, and end by what is in them, or because the block behind them is
 * zero. So a chunk of the parent is a chunk of the new disk too when the cutting arrives at its first block, and neither
 * it nor the block behind it changed: the tree is the one that a full scan gives.
 */
#ifndef VMKIT_REPO_KNOWN_H
#define VMKIT_REPO_KNOWN_H

#include "libcommon/image/changes.h"
#include "libcommon/repo/page.h"

struct known {
	const struct page *page; /* the parent's; NULL: all zeros */
	const struct changes *changes;
	uint64_t base; /* disk offset of the region */
	uint32_t end;  /* its length, which is the parent's too */
};

/** known_changed() - may anything in the region have changed? */
bool known_changed(const struct known *k);

/** known_skip() - bytes from @at on, a place where a chunk may begin, that are as they were: a chunk in *@ret_chunk, or zeros
 *  (NULL); 0: they must be read */
uint32_t known_skip(const struct known *k, uint32_t at, const struct page_chunk **ret_chunk);

/** known_pause() - reading from @pos on, behind which byte the cutting may be back in step; in (pos, end] */
uint32_t known_pause(const struct known *k, uint32_t pos);

#endif
