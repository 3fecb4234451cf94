/* Block-aligned content-defined chunking: see chunker.h. */
#include "libcommon/repo/chunker.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "libcommon/base/iszero.h"
#include "libcommon/base/libcrypto.h"

/* One block in 13 ends a chunk: with the least length of 4 blocks the mean is 3 + 13 = 16 blocks, 64 KiB. */
enum { BOUNDARY_ONE_IN = 13, KEY_MIN = 32, KEY_MAX = 256 };

/* XXH3 wants 192 bytes of secret; the repository's key has fewer. */
int chunker_init(struct chunker *c, const uint8_t *key, size_t key_len, struct err *err)
{
	uint8_t in[KEY_MAX + 1];

	if (key_len < KEY_MIN || key_len > KEY_MAX)
		return err_set(err, ERR_FAILED,
			       "the chunker's key has %zu bytes, %d to %d are needed", key_len,
			       KEY_MIN, KEY_MAX);
	memcpy(in, key, key_len);
	for (unsigned i = 0; i * SHA256_DIGEST_LENGTH < CHUNKER_SECRET; i++) {
		in[key_len] = (uint8_t)i;
		if (!SHA256(in, key_len + 1, c->secret + (size_t)i * SHA256_DIGEST_LENGTH))
			return err_set(err, ERR_FAILED, "OpenSSL has no SHA-256");
	}
	OPENSSL_cleanse(in, sizeof(in));
	return 0;
}

static bool is_boundary(const struct chunker *c, const uint8_t *block, size_t len)
{
	uint64_t h = XXH3_64bits_withSecret(block, len, c->secret, sizeof(c->secret));

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
