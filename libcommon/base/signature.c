/* Signatures by X.509 certificates: see signature.h. */
#include "libcommon/base/signature.h"

#include <limits.h>
#include <string.h>

#include "libcommon/base/err.h"
#include "libcommon/base/libcrypto.h"

static X509 *read_certificate(const char *pem, size_t len)
{
	BIO *bio = len <= INT_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	return cert;
}

static char *subject_of(X509 *cert)
{
	char text[512];

	if (!X509_NAME_oneline(X509_get_subject_name(cert), text, sizeof(text)))
		return NULL;
	return strdup(text);
}

/* Return: 1 it fits, 0 it does not, -1 OpenSSL cannot tell */
static int verify(EVP_PKEY *key, const char *algorithm, const void *signature, size_t signature_len,
		  const void *data, size_t len)
{
	EVP_MD *md = EVP_MD_fetch(NULL, algorithm, NULL);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int rc = -1;

	if (md && ctx && EVP_DigestVerifyInit(ctx, NULL, md, NULL, key) == 1)
		rc = EVP_DigestVerify(ctx, signature, signature_len, data, len) == 1;
	EVP_MD_CTX_free(ctx);
	EVP_MD_free(md);
	return rc;
}

int signature_verify(const char *pem, size_t pem_len, const char *algorithm, const void *signature,
		     size_t signature_len, const void *data, size_t len, char **ret_subject,
		     struct err *err)
{
	X509 *cert = read_certificate(pem, pem_len);
	EVP_PKEY *key = cert ? X509_get0_pubkey(cert) : NULL;
	int rc = -1;

	if (!cert) {
		err_set(err, ERR_CORRUPT, "there is no certificate");
	} else if (!key || (rc = verify(key, algorithm, signature, signature_len, data, len)) < 0) {
		rc = -1;
		err_set(err, ERR_UNSUPPORTED, "a key that OpenSSL here cannot use with %s",
			algorithm);
	} else if (rc == 0) {
		rc = err_set(err, ERR_CORRUPT, "the signature does not fit the certificate");
	} else {
		*ret_subject = subject_of(cert);
		rc = *ret_subject ? 0 : err_nomem(err);
	}
	X509_free(cert);
	return rc;
}
