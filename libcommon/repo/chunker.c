/* Block-aligned content-defined chunking: see chunker.h. */
#include "libcommon/repo/chunker.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "libcommon/base/iszero.h"

/* One block in 13 ends a chunk: with the least length of 4 blocks the mean is 3 + 13 = 16 blocks, 64 KiB. */
enum { BOUNDARY_ONE_IN = 13, SECRET_MIN = 192 };

int chunker_init(struct chunker *c, const uint8_t *secret, size_t secret_len, struct err *err)
{
	if (secret_len < SECRET_MIN)
		return err_set(err, ERR_FAILED, "the chunker's secret has %zu bytes, %d are needed",
			       secret_len, SECRET_MIN);
	c->secret = secret;
	c->secret_len = secret_len;
	return 0;
}

static bool is_boundary(const struct chunker *c, const uint8_t *block, size_t len)
{
	uint64_t h = XXH3_64bits_withSecret(block, len, c->secret, c->secret_len);

	/* The upper half scaled to [0, 13): no division, no bias worth naming. */
	return ((h >> 32) * BOUNDARY_ONE_IN) >> 32 == 0;
}

static size_t block_len(size_t len, size_t pos)
{
	return len - pos < CHUNK_BLOCK ? len - pos : CHUNK_BLOCK;
}

static size_t zero_run(const uint8_t *data, size_t len)
{
	size_t pos = 0;

	while (pos < len) {
		size_t n = block_len(len, pos);

		if (!is_zero(data + pos, n))
			break;
		pos += n;
	}
	return pos;
}

bool chunker_next(const struct chunker *c, const uint8_t *data, size_t len, bool last,
		  struct piece *ret)
{
	size_t pos = zero_run(data, len);

	if (pos || len == 0) {
		*ret = (struct piece){.len = pos, .zero = true};
		return pos != 0;
	}
	*ret = (struct piece){.zero = false};
	while (pos < len) {
		size_t n = block_len(len, pos);
		const uint8_t *block = data + pos;

		if (pos && is_zero(block, n)) {
			ret->len = pos;
			return true;
		}
		pos += n;
		if (pos >= CHUNK_MAX || (pos >= CHUNK_MIN && is_boundary(c, block, n))) {
			ret->len = pos;
			return true;
		}
	}
	ret->len = pos;
	return last;
}
