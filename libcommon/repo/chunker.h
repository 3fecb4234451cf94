/* Where chunks begin and end: content-defined, but only at multiples of 4 KiB of the virtual disk.
 *
 * File systems put file contents at multiples of 4 KiB, so cutting there finds what byte-wise chunkers find, at the
 * cost of one fast hash a block. A block ends a chunk when its keyed hash says so, when the chunk has reached
 * CHUNK_MAX, or when a block of zeros follows; blocks of zeros belong to no chunk. Regions of CHUNK_REGION are cut
 * each by itself, so they can be worked on in any order. docs/repository-format.md, "Chunks".
 */
#ifndef VMKIT_REPO_CHUNKER_H
#define VMKIT_REPO_CHUNKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"

enum {
	CHUNK_BLOCK = 4 << 10,
	CHUNK_MIN = 16 << 10,
	CHUNK_MAX = 256 << 10,
	CHUNK_REGION = 16 << 20,
};

enum { CHUNKER_SECRET = 192 };

struct chunker {
	uint8_t secret[CHUNKER_SECRET]; /* SHA-256(key, 0), SHA-256(key, 1), ... */
};

struct piece {
	size_t len;
	bool zero; /* a run of zero blocks, not a chunk */
};

/** chunker_init() - @key: at least 32 bytes, fixed for the repository; ERR_FAILED when shorter */
int chunker_init(struct chunker *c, const uint8_t *key, size_t key_len, struct err *err);

/**
 * chunker_next() - the chunk or run of zeros that begins at @data
 * @len: bytes there; a multiple of CHUNK_BLOCK unless @last
 * @last: nothing follows in this region (or a hole does)
 *
 * Return: true with *@ret; false when more bytes are needed to tell (never with CHUNK_MAX bytes or with @last),
 * or when @len is 0.
 */
bool chunker_next(const struct chunker *c, const uint8_t *data, size_t len, bool last,
		  struct piece *ret);

#endif
