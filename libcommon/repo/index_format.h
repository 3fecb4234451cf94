/* What the reader and the writer of index runs share: for index.c and index_write.c, and prune.c for the filter. */
#ifndef VMKIT_REPO_INDEX_FORMAT_H
#define VMKIT_REPO_INDEX_FORMAT_H

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/repo/index.h"

enum {
	INDEX_PIECE = 64 << 10,
	INDEX_PACKS_MAX = 1 << 24,
	INDEX_FILTER_BITS = 12 /* a blob: 0.6 % false hits */
};
enum {
	INDEX_PART_HEADER = 0,
	INDEX_PART_BLOCK,
	INDEX_PART_FIRSTS,
	INDEX_PART_FILTER,
	INDEX_PART_PACKS
};

static const char index_magic[8] = {'V', 'M', 'K', 'I', 'T', 'I', 'D', 'X'};

/* Size in the file of a part of @len plain bytes: pieces and their tags */
static inline uint64_t index_part_size(uint64_t len)
{
	return len + div_up(len, INDEX_PIECE) * CRYPTO_TAG;
}

/* Ids are hashes: their bytes are the filter's hash functions. Six bits of one 64-byte block. */
static inline uint64_t *index_filter_block(uint64_t *filter, uint64_t n, const struct repo_id *id)
{
	return filter + 8 * (uint64_t)(((unsigned __int128)get_le64(id->bytes + 8) * n) >> 64);
}

static inline bool index_filter_has(uint64_t *filter, uint64_t n, const struct repo_id *id)
{
	const uint64_t *b = index_filter_block(filter, n, id);
	uint64_t bits = get_le64(id->bytes + 16);

	for (int i = 0; i < 6; i++, bits >>= 9)
		if (!(b[(bits >> 6) & 7] >> (bits & 63) & 1))
			return false;
	return true;
}

static inline void index_filter_add(uint64_t *filter, uint64_t n, const struct repo_id *id)
{
	uint64_t *b = index_filter_block(filter, n, id), bits = get_le64(id->bytes + 16);

	for (int i = 0; i < 6; i++, bits >>= 9)
		b[(bits >> 6) & 7] |= 1ULL << (bits & 63);
}

#endif
