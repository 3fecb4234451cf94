/* config and key files: see keys.h and docs/repository-format.md. */
#include "libcommon/repo/keys.h"

#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/iszero.h"
#include "libcommon/base/libcrypto.h"
#include "libcommon/repo/parity.h"

static const char config_magic[8] = {'V', 'M', 'K', 'I', 'T', 'R', 'E', 'P'};
static const char key_magic[8] = {'V', 'M', 'K', 'I', 'T', 'K', 'E', 'Y'};

enum { CONFIG_ENCRYPTED = 1 };
static const char generated_prefix[] = "vmkit-key-";

enum { KDF_SCRYPT = 1, KDF_HKDF = 2, KEY_SEALED_OFF = 80 };

/* 2^15 with r = 8 takes 32 MiB; three passes make it as dear to try a passphrase as 2^17 with one, which takes
 * 128 MiB. What a key file may ask for is bounded: 1 GiB, and the time of 2^20 with one pass. */
enum {
	SCRYPT_MIN = 10,
	SCRYPT_DEFAULT = 15,
	SCRYPT_MAX = 20,
	SCRYPT_PASSES = 3,
	SCRYPT_ONE_PASS = 17, /* from here N alone is dear enough */
	SCRYPT_PASSES_MAX = 16,
};

void config_encode(const struct repo_config *cfg, uint8_t ret[CONFIG_SIZE])
{
	memset(ret, 0, CONFIG_SIZE);
	memcpy(ret, config_magic, 8);
	put_le32(ret + 8, cfg->version);
	put_le32(ret + 12, cfg->encrypted ? CONFIG_ENCRYPTED : 0);
	memcpy(ret + 16, cfg->uuid, CRYPTO_UUID);
	ret[32] = cfg->block_bits;
	ret[33] = cfg->chunk_min_bits;
	ret[34] = cfg->chunk_avg_bits;
	ret[35] = cfg->chunk_max_bits;
	ret[36] = cfg->region_bits;
	ret[37] = cfg->level;
	ret[38] = cfg->parity;
}

int config_decode(const uint8_t *data, size_t len, struct repo_config *ret, struct err *err)
{
	struct repo_config c = {0};

	if (len < 12 || memcmp(data, config_magic, 8))
		return err_set(err, ERR_CORRUPT, "is no config of a vmkit repository");
	c.version = get_le32(data + 8);
	if (c.version < 1 || c.version > REPO_VERSION)
		return err_set(err, ERR_UNSUPPORTED,
			       "repository version %u is not known to this program (1 to %d)",
			       c.version, REPO_VERSION);
	if (len != CONFIG_SIZE)
		return err_set(err, ERR_CORRUPT, "is %zu bytes long instead of %d", len,
			       CONFIG_SIZE);
	if (get_le32(data + 12) & ~(uint32_t)CONFIG_ENCRYPTED)
		return err_set(err, ERR_UNSUPPORTED, "unknown features 0x%x", get_le32(data + 12));
	c.encrypted = get_le32(data + 12) & CONFIG_ENCRYPTED;
	memcpy(c.uuid, data + 16, CRYPTO_UUID);
	c.block_bits = data[32];
	c.chunk_min_bits = data[33];
	c.chunk_avg_bits = data[34];
	c.chunk_max_bits = data[35];
	c.region_bits = data[36];
	c.level = data[37];
	if (c.block_bits < 9 || c.chunk_min_bits < c.block_bits ||
	    c.chunk_avg_bits < c.chunk_min_bits || c.chunk_max_bits < c.chunk_avg_bits ||
	    c.chunk_max_bits > 20 || c.region_bits < c.chunk_max_bits || c.region_bits > 30)
		return err_set(err, ERR_CORRUPT,
			       "chunk sizes 2^%u, 2^%u, 2^%u, 2^%u, 2^%u make no sense",
			       c.block_bits, c.chunk_min_bits, c.chunk_avg_bits, c.chunk_max_bits,
			       c.region_bits);
	if (c.level < 1 || c.level > 22)
		return err_set(err, ERR_CORRUPT, "compression level %u is not in 1 to 22", c.level);
	c.parity = c.version > 1 ? data[38] : 0;
	if (c.parity > PARITY_PERCENT_MAX)
		return err_set(err, ERR_CORRUPT, "%u percent of parity are not in 0 to %d",
			       c.parity, PARITY_PERCENT_MAX);
	if (!is_zero(data + 39, CONFIG_MAC_OFF - 39) || (c.version == 1 && data[38]))
		return err_set(err, ERR_UNSUPPORTED, "reserved bytes are not zero");
	*ret = c;
	return 0;
}

int config_seal(struct crypto *c, uint8_t data[CONFIG_SIZE], struct err *err)
{
	return crypto_config_mac(c, data, CONFIG_MAC_OFF, data + CONFIG_MAC_OFF, err);
}

int config_check(struct crypto *c, const uint8_t data[CONFIG_SIZE], struct err *err)
{
	uint8_t mac[32];

	if (crypto_config_mac(c, data, CONFIG_MAC_OFF, mac, err))
		return -1;
	if (CRYPTO_memcmp(mac, data + CONFIG_MAC_OFF, sizeof(mac)))
		return err_set(err, ERR_CORRUPT,
			       "does not match its authenticator: damaged or changed by another");
	return 0;
}

/* the 256 bits of a generated key; false: @passphrase is one that a person chose */
static bool generated_bytes(const char *passphrase, uint8_t ret[CRYPTO_KEY])
{
	size_t skip = sizeof(generated_prefix) - 1;

	return strlen(passphrase) == KEY_GENERATED_LEN &&
	       !memcmp(passphrase, generated_prefix, skip) &&
	       !hex_decode(passphrase + skip, ret, CRYPTO_KEY);
}

int key_generate(char ret[KEY_GENERATED_LEN + 1], struct err *err)
{
	size_t skip = sizeof(generated_prefix) - 1;
	uint8_t bytes[CRYPTO_KEY];

	if (crypto_random(bytes, sizeof(bytes), err))
		return -1;
	memcpy(ret, generated_prefix, skip);
	hex_encode(bytes, sizeof(bytes), ret + skip);
	OPENSSL_cleanse(bytes, sizeof(bytes));
	return 0;
}

/* What has 256 random bits is not guessed, so nothing is won by making each try dear. */
static int hkdf_key(const char *passphrase, const uint8_t *file, uint8_t ret[CRYPTO_KEY],
		    struct err *err)
{
	static const char label[] = "vmkit generated key", digest[] = "SHA256";
	uint8_t bytes[CRYPTO_KEY];
	EVP_KDF *kdf;
	EVP_KDF_CTX *ctx;
	OSSL_PARAM params[] = {
		{OSSL_KDF_PARAM_DIGEST, OSSL_PARAM_UTF8_STRING, (void *)(uintptr_t)digest,
		 sizeof(digest) - 1, 0},
		{OSSL_KDF_PARAM_KEY, OSSL_PARAM_OCTET_STRING, bytes, sizeof(bytes), 0},
		{OSSL_KDF_PARAM_SALT, OSSL_PARAM_OCTET_STRING, (void *)(uintptr_t)(file + 32), 32,
		 0},
		{OSSL_KDF_PARAM_INFO, OSSL_PARAM_OCTET_STRING, (void *)(uintptr_t)label,
		 sizeof(label) - 1, 0},
		OSSL_PARAM_construct_end(),
	};
	bool ok;

	if (!generated_bytes(passphrase, bytes))
		return err_set(err, ERR_DENIED, "wrong passphrase");
	kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	ok = ctx && EVP_KDF_derive(ctx, ret, CRYPTO_KEY, params) == 1;
	OPENSSL_cleanse(bytes, sizeof(bytes));
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return ok ? 0 : err_set(err, ERR_FAILED, "OpenSSL cannot derive a key with HKDF");
}

static int scrypt_key(const char *passphrase, const uint8_t *file, uint8_t ret[CRYPTO_KEY],
		      struct err *err)
{
	uint64_t n = 1ULL << file[13], r = file[14], p = file[15];
	uint64_t max = 128 * r * (n + p + 2) + (1 << 20);
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "SCRYPT", NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	OSSL_PARAM params[] = {
		{OSSL_KDF_PARAM_PASSWORD, OSSL_PARAM_OCTET_STRING, (void *)(uintptr_t)passphrase,
		 strlen(passphrase), 0},
		{OSSL_KDF_PARAM_SALT, OSSL_PARAM_OCTET_STRING, (void *)(uintptr_t)(file + 32), 32,
		 0},
		OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n),
		OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_R, &r),
		OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_P, &p),
		OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &max),
		OSSL_PARAM_construct_end(),
	};
	bool ok = ctx && EVP_KDF_derive(ctx, ret, CRYPTO_KEY, params) == 1;

	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return ok ? 0
		  : err_set(err, ERR_FAILED, "scrypt with N = 2^%u failed: is there memory for it?",
			    file[13]);
}

static int derive_key(const char *passphrase, const uint8_t *file, uint8_t ret[CRYPTO_KEY],
		      struct err *err)
{
	return file[12] == KDF_HKDF ? hkdf_key(passphrase, file, ret, err)
				    : scrypt_key(passphrase, file, ret, err);
}

/* AES-256-GCM over the master key; the first 80 bytes of the file are bound. Return: 0, or -1 without an error */
static int wrap(bool enc, const uint8_t kek[CRYPTO_KEY], const uint8_t *file, const uint8_t *in,
		uint8_t *out, uint8_t tag[CRYPTO_TAG])
{
	EVP_CIPHER *gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	EVP_CIPHER_CTX *x = EVP_CIPHER_CTX_new();
	int n;
	bool ok = gcm && x && EVP_CipherInit_ex2(x, gcm, kek, file + 64, enc, NULL) == 1 &&
		  EVP_CipherUpdate(x, NULL, &n, file, KEY_SEALED_OFF) == 1 &&
		  EVP_CipherUpdate(x, out, &n, in, CRYPTO_KEY) == 1;

	if (ok && !enc)
		ok = EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_SET_TAG, CRYPTO_TAG, tag) == 1;
	if (ok) {
		uint8_t none[16];

		ok = EVP_CipherFinal_ex(x, none, &n) == 1;
	}
	if (ok && enc)
		ok = EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_AEAD_GET_TAG, CRYPTO_TAG, tag) == 1;
	EVP_CIPHER_CTX_free(x);
	EVP_CIPHER_free(gcm);
	return ok ? 0 : -1;
}

int keyfile_wrap(const uint8_t master[CRYPTO_KEY], const uint8_t uuid[CRYPTO_UUID],
		 const char *passphrase, unsigned log2n, uint8_t ret[KEYFILE_SIZE], struct err *err)
{
	uint8_t kek[CRYPTO_KEY];
	int rc = 0;

	if (!log2n)
		log2n = SCRYPT_DEFAULT;
	if (log2n < SCRYPT_MIN || log2n > SCRYPT_MAX)
		return err_set(err, ERR_USAGE, "scrypt N = 2^%u is not in 2^%d to 2^%d", log2n,
			       SCRYPT_MIN, SCRYPT_MAX);
	memset(ret, 0, KEYFILE_SIZE);
	memcpy(ret, key_magic, 8);
	put_le32(ret + 8, 1);
	if (generated_bytes(passphrase, kek)) {
		ret[12] = KDF_HKDF;
	} else {
		ret[12] = KDF_SCRYPT;
		ret[13] = (uint8_t)log2n;
		ret[14] = 8;
		ret[15] = log2n < SCRYPT_ONE_PASS ? SCRYPT_PASSES : 1;
	}
	memcpy(ret + 16, uuid, CRYPTO_UUID);
	if (crypto_random(ret + 32, 32 + 12, err) || derive_key(passphrase, ret, kek, err))
		return -1;
	if (wrap(true, kek, ret, master, ret + KEY_SEALED_OFF, ret + KEY_SEALED_OFF + CRYPTO_KEY))
		rc = err_set(err, ERR_FAILED, "OpenSSL cannot wrap the key");
	OPENSSL_cleanse(kek, sizeof(kek));
	return rc;
}

bool keyfile_is_generated(const uint8_t data[KEYFILE_SIZE])
{
	return data[12] == KDF_HKDF;
}

int keyfile_check(const uint8_t *data, size_t len, const uint8_t uuid[CRYPTO_UUID], struct err *err)
{
	if (len < 12 || memcmp(data, key_magic, 8))
		return err_set(err, ERR_CORRUPT, "is no key of a vmkit repository");
	if (get_le32(data + 8) != 1)
		return err_set(err, ERR_UNSUPPORTED, "key version %u is not known",
			       get_le32(data + 8));
	if (len != KEYFILE_SIZE)
		return err_set(err, ERR_CORRUPT, "is %zu bytes long instead of %d", len,
			       KEYFILE_SIZE);
	if (data[12] != KDF_SCRYPT && data[12] != KDF_HKDF)
		return err_set(err, ERR_UNSUPPORTED, "key derivation %u is not known", data[12]);
	if (data[12] == KDF_HKDF && (data[13] || data[14] || data[15]))
		return err_set(err, ERR_CORRUPT, "has scrypt parameters but is no scrypt key");
	if (data[12] == KDF_SCRYPT &&
	    (data[13] < SCRYPT_MIN || data[13] > SCRYPT_MAX || data[14] != 8 || data[15] < 1 ||
	     data[15] > SCRYPT_PASSES_MAX || (uint64_t)data[15] << data[13] > 1 << SCRYPT_MAX))
		return err_set(err, ERR_CORRUPT,
			       "scrypt parameters N = 2^%u, r = %u, p = %u are out of bounds",
			       data[13], data[14], data[15]);
	if (memcmp(data + 16, uuid, CRYPTO_UUID))
		return err_set(err, ERR_CORRUPT, "belongs to another repository");
	return 0;
}

int keyfile_unwrap(const uint8_t *data, size_t len, const uint8_t uuid[CRYPTO_UUID],
		   const char *passphrase, uint8_t ret_master[CRYPTO_KEY], struct err *err)
{
	uint8_t kek[CRYPTO_KEY], tag[CRYPTO_TAG];
	int rc = 0;

	if (keyfile_check(data, len, uuid, err) || derive_key(passphrase, data, kek, err))
		return -1;
	memcpy(tag, data + KEY_SEALED_OFF + CRYPTO_KEY, sizeof(tag));
	if (wrap(false, kek, data, data + KEY_SEALED_OFF, ret_master, tag)) {
		OPENSSL_cleanse(ret_master, CRYPTO_KEY);
		rc = err_set(err, ERR_DENIED, "wrong passphrase");
	}
	OPENSSL_cleanse(kek, sizeof(kek));
	return rc;
}
