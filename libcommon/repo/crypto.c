/* Ids, AEAD and key derivation with OpenSSL. */
#include "libcommon/repo/crypto.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/libcrypto.h"

/* OpenSSL contexts are for one thread; they wait in a list between uses. */
struct crypto_ctx {
	struct crypto_ctx *next;
	EVP_CIPHER_CTX *cipher;
	EVP_MD_CTX *md;
	EVP_MAC_CTX *mac;
	EVP_CIPHER_CTX *mark;
};

struct crypto {
	bool encrypted;
	uint8_t uuid[CRYPTO_UUID];
	uint8_t id_key[CRYPTO_KEY], config_key[CRYPTO_KEY], chunker[CRYPTO_KEY],
		data_key[CRYPTO_KEY], mark_key[CRYPTO_KEY];
	EVP_CIPHER *gcm;
	EVP_MD *sha256;
	EVP_MAC *hmac;
	EVP_KDF *hkdf;
	pthread_mutex_t lock; /* idle */
	struct crypto_ctx *idle;
};

static int ssl_failed(struct err *err, const char *what)
{
	return err_set(err, ERR_FAILED, "OpenSSL cannot %s", what);
}

static int hkdf(struct crypto *c, const uint8_t key[CRYPTO_KEY], const void *salt, size_t salt_len,
		const void *info, size_t info_len, uint8_t ret[CRYPTO_KEY], struct err *err)
{
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(c->hkdf);
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
		{OSSL_KDF_PARAM_KEY, OSSL_PARAM_OCTET_STRING, (void *)(uintptr_t)key, CRYPTO_KEY,
		 0},
		{OSSL_KDF_PARAM_SALT, OSSL_PARAM_OCTET_STRING, (void *)(uintptr_t)salt, salt_len,
		 0},
		{OSSL_KDF_PARAM_INFO, OSSL_PARAM_OCTET_STRING, (void *)(uintptr_t)info, info_len,
		 0},
		OSSL_PARAM_construct_end(),
	};
	int ok = ctx && EVP_KDF_derive(ctx, ret, CRYPTO_KEY, params) == 1;

	EVP_KDF_CTX_free(ctx);
	return ok ? 0 : ssl_failed(err, "derive a key");
}

static void ctx_free(struct crypto_ctx *x)
{
	if (!x)
		return;
	EVP_CIPHER_CTX_free(x->cipher);
	EVP_MD_CTX_free(x->md);
	EVP_MAC_CTX_free(x->mac);
	EVP_CIPHER_CTX_free(x->mark);
	free(x);
}

static struct crypto_ctx *ctx_new(struct crypto *c)
{
	struct crypto_ctx *x = calloc(1, sizeof(*x));
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
			       OSSL_PARAM_construct_end()};

	if (!x)
		return NULL;
	x->cipher = EVP_CIPHER_CTX_new();
	x->md = EVP_MD_CTX_new();
	x->mac = EVP_MAC_CTX_new(c->hmac);
	x->mark = EVP_CIPHER_CTX_new();
	if (!x->cipher || !x->md || !x->mac || !x->mark ||
	    EVP_MAC_init(x->mac, c->id_key, CRYPTO_KEY, params) != 1 ||
	    EVP_EncryptInit_ex2(x->mark, c->gcm, c->mark_key, NULL, NULL) != 1) {
		ctx_free(x);
		return NULL;
	}
	return x;
}

static struct crypto_ctx *ctx_get(struct crypto *c, struct err *err)
{
	struct crypto_ctx *x;

	pthread_mutex_lock(&c->lock);
	x = c->idle;
	if (x)
		c->idle = x->next;
	pthread_mutex_unlock(&c->lock);
	if (!x)
		x = ctx_new(c);
	if (!x)
		ssl_failed(err, "make a context");
	return x;
}

static void ctx_put(struct crypto *c, struct crypto_ctx *x)
{
	pthread_mutex_lock(&c->lock);
	x->next = c->idle;
	c->idle = x;
	pthread_mutex_unlock(&c->lock);
}

static int derive_all(struct crypto *c, const uint8_t *master, struct err *err)
{
	static const uint8_t zero[CRYPTO_KEY];
	const struct {
		const char *label;
		uint8_t *key;
	} keys[] = {{"vmkit id", c->id_key},
		    {"vmkit config", c->config_key},
		    {"vmkit chunker", c->chunker},
		    {"vmkit data", c->data_key},
		    {"vmkit mark", c->mark_key}};

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		if (hkdf(c, master ? master : zero, c->uuid, CRYPTO_UUID, keys[i].label,
			 strlen(keys[i].label), keys[i].key, err))
			return -1;
	return 0;
}

int crypto_new(struct crypto **ret, const uint8_t *master, const uint8_t uuid[CRYPTO_UUID],
	       struct err *err)
{
	struct crypto *c = calloc(1, sizeof(*c));

	if (!c)
		return err_nomem(err);
	(void)mlock(
		c,
		sizeof(*c)); /* best effort: without the right to lock, swap is the administrator's choice */
	pthread_mutex_init(&c->lock, NULL);
	c->encrypted = master != NULL;
	memcpy(c->uuid, uuid, CRYPTO_UUID);
	c->gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	c->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	c->hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	c->hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	if (!c->gcm || !c->sha256 || !c->hmac || !c->hkdf) {
		crypto_free(c);
		return ssl_failed(err, "provide AES-256-GCM, SHA-256, HMAC and HKDF");
	}
	if (derive_all(c, master, err)) {
		crypto_free(c);
		return -1;
	}
	*ret = c;
	return 0;
}

void crypto_free(struct crypto *c)
{
	if (!c)
		return;
	while (c->idle) {
		struct crypto_ctx *x = c->idle;

		c->idle = x->next;
		ctx_free(x);
	}
	EVP_CIPHER_free(c->gcm);
	EVP_MD_free(c->sha256);
	EVP_MAC_free(c->hmac);
	EVP_KDF_free(c->hkdf);
	pthread_mutex_destroy(&c->lock);
	OPENSSL_cleanse(c, sizeof(*c));
	(void)munlock(c, sizeof(*c));
	free(c);
}

const uint8_t *crypto_uuid(const struct crypto *c)
{
	return c->uuid;
}

const uint8_t *crypto_chunker_secret(const struct crypto *c)
{
	return c->chunker;
}

int crypto_id(struct crypto *c, uint8_t type, const void *data, size_t len, struct repo_id *ret,
	      struct err *err)
{
	struct crypto_ctx *x = ctx_get(c, err);
	size_t out = 0;
	bool ok;

	if (!x)
		return -1;
	if (c->encrypted)
		ok = EVP_MAC_init(x->mac, NULL, 0, NULL) == 1 &&
		     EVP_MAC_update(x->mac, &type, 1) == 1 &&
		     EVP_MAC_update(x->mac, data, len) == 1 &&
		     EVP_MAC_final(x->mac, ret->bytes, &out, sizeof(ret->bytes)) == 1;
	else
		ok = EVP_DigestInit_ex2(x->md, c->sha256, NULL) == 1 &&
		     EVP_DigestUpdate(x->md, &type, 1) == 1 &&
		     EVP_DigestUpdate(x->md, data, len) == 1 &&
		     EVP_DigestFinal_ex(x->md, ret->bytes, NULL) == 1;
	ctx_put(c, x);
	return ok ? 0 : ssl_failed(err, "hash");
}

int crypto_mark(struct crypto *c, const void *data, size_t len, uint8_t ret[16], struct err *err)
{
	/* Always the same nonce: the pad that it gives is a constant, and marks are never seen from outside. */
	static const uint8_t iv[12];
	struct crypto_ctx *x = ctx_get(c, err);
	int n;
	bool ok;

	if (!x)
		return -1;
	ok = len <= INT32_MAX && EVP_EncryptInit_ex2(x->mark, NULL, NULL, iv, NULL) == 1 &&
	     EVP_EncryptUpdate(x->mark, NULL, &n, data, (int)len) == 1 &&
	     EVP_EncryptFinal_ex(x->mark, ret, &n) == 1 &&
	     EVP_CIPHER_CTX_ctrl(x->mark, EVP_CTRL_AEAD_GET_TAG, 16, ret) == 1;
	ctx_put(c, x);
	return ok ? 0 : ssl_failed(err, "hash");
}

int crypto_config_mac(struct crypto *c, const void *data, size_t len, uint8_t ret[32],
		      struct err *err)
{
	size_t out = 0;

	if (!EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, c->config_key, CRYPTO_KEY, data, len,
		       ret, 32, &out))
		return ssl_failed(err, "authenticate config");
	return 0;
}

int crypto_seal_key(struct crypto *c, const char *label, const uint8_t salt[CRYPTO_SALT],
		    struct seal_key *ret, struct err *err)
{
	return hkdf(c, c->data_key, salt, CRYPTO_SALT, label, strlen(label), ret->bytes, err);
}

static void nonce(const struct seal *s, uint8_t iv[12])
{
	put_le32(iv, s->part);
	put_le64(iv + 4, s->number);
}

static bool cipher_begin(struct crypto *c, struct crypto_ctx *x, const struct seal_key *key,
			 const struct seal *s, int enc)
{
	uint8_t iv[12];
	int n;

	nonce(s, iv);
	return EVP_CipherInit_ex2(x->cipher, c->gcm, key->bytes, iv, enc, NULL) == 1 &&
	       EVP_CipherUpdate(x->cipher, NULL, &n, c->uuid, CRYPTO_UUID) == 1 &&
	       (!s->aad_len ||
		EVP_CipherUpdate(x->cipher, NULL, &n, s->aad, (int)s->aad_len) == 1) &&
	       (!s->aad2_len ||
		EVP_CipherUpdate(x->cipher, NULL, &n, s->aad2, (int)s->aad2_len) == 1);
}

int crypto_seal(struct crypto *c, const struct seal_key *key, const struct seal *s, const void *in,
		size_t len, void *out, struct err *err)
{
	struct crypto_ctx *x = ctx_get(c, err);
	uint8_t *tag = (uint8_t *)out + len;
	int n = 0;
	bool ok;

	if (!x)
		return -1;
	ok = len <= INT32_MAX && cipher_begin(c, x, key, s, 1) &&
	     (!len ||
	      (EVP_EncryptUpdate(x->cipher, out, &n, in, (int)len) == 1 && (size_t)n == len)) &&
	     EVP_EncryptFinal_ex(x->cipher, tag, &n) == 1 &&
	     EVP_CIPHER_CTX_ctrl(x->cipher, EVP_CTRL_AEAD_GET_TAG, CRYPTO_TAG, tag) == 1;
	ctx_put(c, x);
	return ok ? 0 : ssl_failed(err, "encrypt");
}

int crypto_open(struct crypto *c, const struct seal_key *key, const struct seal *s, const void *in,
		size_t len, void *out, struct err *err)
{
	struct crypto_ctx *x = ctx_get(c, err);
	uint8_t tag[CRYPTO_TAG], none[16];
	int n = 0;
	bool begun, ok;

	if (!x)
		return -1;
	memcpy(tag, (const uint8_t *)in + len, sizeof(tag));
	begun = len <= INT32_MAX && cipher_begin(c, x, key, s, 0) &&
		(!len ||
		 (EVP_DecryptUpdate(x->cipher, out, &n, in, (int)len) == 1 && (size_t)n == len)) &&
		EVP_CIPHER_CTX_ctrl(x->cipher, EVP_CTRL_AEAD_SET_TAG, CRYPTO_TAG, tag) == 1;
	ok = begun && EVP_DecryptFinal_ex(x->cipher, none, &n) == 1;
	ctx_put(c, x);
	if (!begun)
		return ssl_failed(err, "decrypt");
	return ok ? 0 : err_set(err, ERR_CORRUPT, "does not match its authentication tag");
}

int crypto_random(void *buf, size_t len, struct err *err)
{
	return RAND_bytes(buf, (int)len) == 1 ? 0 : ssl_failed(err, "give random bytes");
}

static const char sealed_magic[8] = {'V', 'M', 'K', 'I', 'T', 'O', 'B', 'J'};

int sealed_encode(struct crypto *c, enum sealed_kind kind, const char *name, const void *data,
		  size_t len, uint8_t **ret, size_t *ret_len, struct err *err)
{
	uint8_t *p = calloc(1, len + SEALED_OVERHEAD);
	struct seal s = {
		.aad = p, .aad_len = SEALED_HEADER, .aad2 = name, .aad2_len = strlen(name)};
	struct seal_key key;
	int rc;

	if (!p)
		return err_nomem(err);
	memcpy(p, sealed_magic, 8);
	put_le32(p + 8, 1);
	put_le32(p + 12, kind);
	put_le64(p + 16, len);
	rc = crypto_random(p + 32, CRYPTO_SALT, err) ||
	     crypto_seal_key(c, "vmkit object", p + 32, &key, err) ||
	     crypto_seal(c, &key, &s, data, len, p + SEALED_HEADER, err);
	OPENSSL_cleanse(&key, sizeof(key));
	if (rc) {
		free(p);
		return -1;
	}
	*ret = p;
	*ret_len = len + SEALED_OVERHEAD;
	return 0;
}

int sealed_decode(struct crypto *c, enum sealed_kind kind, const char *name, const uint8_t *data,
		  size_t len, uint8_t **ret, size_t *ret_len, struct err *err)
{
	struct seal s = {
		.aad = data, .aad_len = SEALED_HEADER, .aad2 = name, .aad2_len = strlen(name)};
	struct seal_key key;
	uint8_t *out;
	size_t n;
	int rc;

	if (len < SEALED_OVERHEAD || memcmp(data, sealed_magic, 8))
		return err_set(err, ERR_CORRUPT, "is no sealed object (%zu bytes)", len);
	if (get_le32(data + 8) != 1)
		return err_set(err, ERR_UNSUPPORTED, "version %u of sealed objects is not known",
			       get_le32(data + 8));
	if (get_le32(data + 12) != (uint32_t)kind || get_le64(data + 16) != len - SEALED_OVERHEAD)
		return err_set(err, ERR_CORRUPT,
			       "is %zu bytes of kind %u, %llu bytes of kind %d are expected", len,
			       get_le32(data + 12),
			       (unsigned long long)get_le64(data + 16) + SEALED_OVERHEAD,
			       (int)kind);
	n = len - SEALED_OVERHEAD;
	out = malloc(n + 1);
	if (!out)
		return err_nomem(err);
	rc = crypto_seal_key(c, "vmkit object", data + 32, &key, err) ||
	     crypto_open(c, &key, &s, data + SEALED_HEADER, n, out, err);
	OPENSSL_cleanse(&key, sizeof(key));
	if (rc) {
		free(out);
		return -1;
	}
	out[n] = 0;
	*ret = out;
	*ret_len = n;
	return 0;
}
