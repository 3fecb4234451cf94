/* Keys, ids and sealing of the repository. Everything OpenSSL is in crypto.c and keys.c.
 *
 *	master key (32 random bytes, wrapped in keys/; 32 zero bytes without encryption)
 *	  HKDF-SHA-256, salt = repository id
 *	    "vmkit id"		HMAC-SHA-256 of blobs
 *	    "vmkit config"	HMAC of config
 *	    "vmkit chunker"	the boundary hash
 *	    "vmkit mark"	GMAC of chunks: are they the same as last time
 *	    "vmkit data"	  HKDF-SHA-256, salt = 32 random bytes of a pack, run or object: one AES-256-GCM key each
 *
 * Without encryption the same code runs with the known key: tags are then checksums, and ids are plain SHA-256.
 * A struct crypto may be used by all threads at once.
 */
#ifndef VMKIT_REPO_CRYPTO_H
#define VMKIT_REPO_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/repo/repo.h"

enum { CRYPTO_KEY = 32, CRYPTO_SALT = 32, CRYPTO_TAG = 16, CRYPTO_UUID = 16 };

struct crypto;

/** struct seal_key - one pack's, run's or object's key */
struct seal_key {
	uint8_t bytes[CRYPTO_KEY];
};

/** crypto_new() - @master NULL: no encryption */
int crypto_new(struct crypto **ret, const uint8_t *master, const uint8_t uuid[CRYPTO_UUID],
	       struct err *err);
void crypto_free(struct crypto *c);

const uint8_t *crypto_uuid(const struct crypto *c);
const uint8_t *crypto_chunker_secret(const struct crypto *c); /* CRYPTO_KEY bytes */

/** crypto_id() - of type byte and data */
int crypto_id(struct crypto *c, uint8_t type, const void *data, size_t len, struct repo_id *ret,
	      struct err *err);

/** crypto_mark() - see store_mark() */
int crypto_mark(struct crypto *c, const void *data, size_t len, uint8_t ret[16], struct err *err);

/** crypto_config_mac() - of the bytes of config before the authenticator */
int crypto_config_mac(struct crypto *c, const void *data, size_t len, uint8_t ret[32],
		      struct err *err);

/** crypto_seal_key() - the key for @salt; @label ("pack", "index", "object") keeps uses apart */
int crypto_seal_key(struct crypto *c, const char *label, const uint8_t salt[CRYPTO_SALT],
		    struct seal_key *ret, struct err *err);

/** struct seal - which nonce and what is bound: a nonce (part, number) must be used once with a key */
struct seal {
	uint32_t part;
	uint64_t number;
	const void *aad, *aad2; /* both are bound, after the repository's id */
	size_t aad_len, aad2_len;
};

/** crypto_seal() - @out has room for @len + CRYPTO_TAG; may be @in */
int crypto_seal(struct crypto *c, const struct seal_key *key, const struct seal *s, const void *in,
		size_t len, void *out, struct err *err);

/** crypto_open() - @in holds @len bytes and the tag; ERR_CORRUPT when they were not sealed so; @out may be @in, and
 *  holds nothing to trust after a failure; NULL when @len is 0 */
int crypto_open(struct crypto *c, const struct seal_key *key, const struct seal *s, const void *in,
		size_t len, void *out, struct err *err);

int crypto_random(void *buf, size_t len, struct err *err);

/*
 * Sealed objects: manifests, tables of packs, records.
 *	"VMKITOBJ" | le32 version 1 | le32 kind | le64 length | 8 zero bytes | 32 salt | sealed bytes | tag
 */
enum sealed_kind { SEALED_OBJECT = 1, SEALED_TABLE = 2, SEALED_BAD = 3 };
enum { SEALED_HEADER = 64, SEALED_OVERHEAD = SEALED_HEADER + CRYPTO_TAG };

/** sealed_encode() - @name is bound: an object moved to another name does not open; *@ret is owned */
int sealed_encode(struct crypto *c, enum sealed_kind kind, const char *name, const void *data,
		  size_t len, uint8_t **ret, size_t *ret_len, struct err *err);

/** sealed_decode() - of @len bytes in memory; *@ret is owned, with a NUL behind it */
int sealed_decode(struct crypto *c, enum sealed_kind kind, const char *name, const uint8_t *data,
		  size_t len, uint8_t **ret, size_t *ret_len, struct err *err);

#endif
