/* config and keys/: what a repository is, and how its master key is wrapped. Parsers work on bytes in memory. */
#ifndef VMKIT_REPO_KEYS_H
#define VMKIT_REPO_KEYS_H

#include "libcommon/repo/crypto.h"

enum { CONFIG_SIZE = 128, CONFIG_MAC_OFF = 96, KEYFILE_SIZE = 128, REPO_VERSION = 3 };

/** struct repo_config - the object "config", decoded; see docs/repository-format.md */
struct repo_config {
	uint32_t version;
	bool encrypted;
	uint8_t uuid[CRYPTO_UUID];
	uint8_t block_bits, chunk_min_bits, chunk_avg_bits, chunk_max_bits, region_bits;
	uint8_t level;	/* zstd */
	uint8_t parity; /* percent of new packs; always 0 in version 1 */
};

/** config_encode() - without its authenticator */
void config_encode(const struct repo_config *cfg, uint8_t ret[CONFIG_SIZE]);

/** config_decode() - ERR_CORRUPT, ERR_UNSUPPORTED; the authenticator is checked by config_check() once there is a key */
int config_decode(const uint8_t *data, size_t len, struct repo_config *ret, struct err *err);
int config_check(struct crypto *c, const uint8_t data[CONFIG_SIZE], struct err *err);
int config_seal(struct crypto *c, uint8_t data[CONFIG_SIZE], struct err *err);

/** keyfile_wrap() - @master under @passphrase; scrypt with N = 2^@log2n (0: 15), r = 8, p = 3 (1 from
 *  N = 2^17); HKDF when @passphrase is a generated key (repo_key_generate()) */
int keyfile_wrap(const uint8_t master[CRYPTO_KEY], const uint8_t uuid[CRYPTO_UUID],
		 const char *passphrase, unsigned log2n, uint8_t ret[KEYFILE_SIZE],
		 struct err *err);

/** keyfile_unwrap() - ERR_DENIED: wrong passphrase (or a damaged key: they cannot be told apart); ERR_CORRUPT,
 *  ERR_UNSUPPORTED: parameters out of bounds, another repository's */
int keyfile_unwrap(const uint8_t *data, size_t len, const uint8_t uuid[CRYPTO_UUID],
		   const char *passphrase, uint8_t ret_master[CRYPTO_KEY], struct err *err);

/** key_generate() - see repo_key_generate() */
int key_generate(char ret[KEY_GENERATED_LEN + 1], struct err *err);

/** keyfile_is_generated() - of a key that was checked: made of a generated key, not of a passphrase */
bool keyfile_is_generated(const uint8_t data[KEYFILE_SIZE]);

/** keyfile_check() - everything but the passphrase */
int keyfile_check(const uint8_t *data, size_t len, const uint8_t uuid[CRYPTO_UUID],
		  struct err *err);

#endif
