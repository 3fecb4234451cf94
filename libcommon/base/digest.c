/* Digests by name, over OpenSSL: see digest.h. */
#include "libcommon/base/digest.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/err.h"
#include "libcommon/base/libcrypto.h"

struct digest {
	const char *name;
	EVP_MD *md;
	EVP_MD_CTX *ctx;
};

static const struct {
	const char *name, *evp;
} algorithms[] = {{"sha256", "SHA256"}, {"sha512", "SHA512"},	   {"sha384", "SHA384"},
		  {"sha1", "SHA1"},	{"blake2b", "BLAKE2B512"}, {"md5", "MD5"}};

int digest_new(struct digest **ret_digest, const char *name, struct err *err)
{
	for (size_t i = 0; i < sizeof(algorithms) / sizeof(algorithms[0]); i++) {
		if (strcasecmp(name, algorithms[i].name))
			continue;

		struct digest *d = calloc(1, sizeof(*d));

		if (!d)
			return err_nomem(err);
		d->name = algorithms[i].name;
		d->md = EVP_MD_fetch(NULL, algorithms[i].evp, NULL);
		d->ctx = EVP_MD_CTX_new();
		if (!d->md || !d->ctx || EVP_DigestInit_ex2(d->ctx, d->md, NULL) != 1) {
			digest_free(d);
			return err_set(err, ERR_UNSUPPORTED, "OpenSSL here has no %s", name);
		}
		*ret_digest = d;
		return 0;
	}
	return err_set(err, ERR_USAGE,
		       "'%s' is no digest known here (sha256, sha512, sha384, sha1, blake2b, md5)",
		       name);
}

int digest_update(struct digest *d, const void *buf, size_t len, struct err *err)
{
	if (EVP_DigestUpdate(d->ctx, buf, len) != 1)
		return err_set(err, ERR_FAILED, "OpenSSL cannot compute %s", d->name);
	return 0;
}

int digest_zeros(struct digest *d, uint64_t len, struct err *err)
{
	static const unsigned char zeros[65536];

	while (len) {
		size_t n = (size_t)min_u64(len, sizeof(zeros));

		if (digest_update(d, zeros, n, err) < 0)
			return -1;
		len -= n;
	}
	return 0;
}

int digest_final(struct digest *d, char ret_hex[DIGEST_HEX_MAX], struct err *err)
{
	unsigned char value[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	if (EVP_DigestFinal_ex(d->ctx, value, &len) != 1 || len > DIGEST_MAX)
		return err_set(err, ERR_FAILED, "OpenSSL cannot compute %s", d->name);
	hex_encode(value, len, ret_hex);
	return 0;
}

const char *digest_name(const struct digest *d)
{
	return d->name;
}

void digest_free(struct digest *d)
{
	if (!d)
		return;
	EVP_MD_CTX_free(d->ctx);
	EVP_MD_free(d->md);
	free(d);
}

void hex_encode(const void *data, size_t len, char *ret)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++) {
		ret[2 * i] = digits[p[i] >> 4];
		ret[2 * i + 1] = digits[p[i] & 15];
	}
	ret[2 * len] = '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

int hex_decode(const char *text, void *ret, size_t len)
{
	unsigned char *p = ret;

	for (size_t i = 0; i < len; i++) {
		int hi = hex_value(text[2 * i]);
		int lo = hi < 0 ? -1 : hex_value(text[2 * i + 1]);

		if (lo < 0)
			return -1;
		p[i] = (unsigned char)(hi << 4 | lo);
	}
	return text[2 * len] == '\0' ? 0 : -1;
}
