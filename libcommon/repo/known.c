/* Skipping what did not change: see known.h. */
#include "libcommon/repo/known.h"

#include "libcommon/base/checked.h"

/* The first changed run that ends behind @at, in whole blocks of the region; false: none */
static bool next_change(const struct known *k, uint32_t at, uint32_t *ret_start, uint32_t *ret_end)
{
	uint64_t start, end;

	if (!changes_run(k->changes, k->base + at, &start, &end) || start >= k->base + k->end)
		return false;
	start = start > k->base ? start - k->base : 0;
	end = min_u64(end - k->base, k->end);
	*ret_start = (uint32_t)round_down(start, CHUNK_BLOCK);
	*ret_end = (uint32_t)min_u64(round_up(end, CHUNK_BLOCK), k->end);
	return true;
}

bool known_changed(const struct known *k)
{
	uint32_t start, end;

	return next_change(k, 0, &start, &end);
}

/* The chunk that @at lies in, or NULL with the gap's end */
static const struct page_chunk *chunk_at(const struct known *k, uint32_t at, uint32_t *ret_gap_end)
{
	size_t i = k->page ? page_find(k->page, at) : 0;

	if (k->page && i < k->page->n && k->page->chunks[i].off <= at)
		return &k->page->chunks[i];
	*ret_gap_end = k->page && i < k->page->n ? k->page->chunks[i].off : k->end;
	return NULL;
}

uint32_t known_skip(const struct known *k, uint32_t at, const struct page_chunk **ret_chunk)
{
	uint32_t start = k->end, end, gap_end;
	const struct page_chunk *c = chunk_at(k, at, &gap_end);

	(void)next_change(k, at, &start, &end);
	*ret_chunk = NULL;
	if (!c) {
		uint32_t stop = start < gap_end ? start : gap_end;

		return stop > at ? stop - at : 0;
	}

	uint32_t behind = c->off + c->len;

	if (c->off != at || behind > k->end)
		return 0;
	if (behind < k->end)
		behind += CHUNK_BLOCK; /* the block that may have ended the chunk */
	if (start < behind && start < k->end)
		return 0;
	*ret_chunk = c;
	return c->len;
}

uint32_t known_pause(const struct known *k, uint32_t pos)
{
	uint32_t least = k->end - pos > CHUNK_BLOCK ? pos + CHUNK_BLOCK : k->end;
	uint32_t start, end, gap_end, stop = least;
	const struct page_chunk *c = chunk_at(k, pos, &gap_end);

	if (c)
		stop = c->off + c->len;
	/* A change in sight, even in the block behind the chunk: on to the end of what holds its last byte. */
	if (next_change(k, pos, &start, &end) && start <= stop) {
		c = chunk_at(k, end - 1, &gap_end);
		stop = c ? c->off + c->len : end;
	}
	if (stop > k->end)
		stop = k->end;
	return stop > least ? stop : least;
}
