/* AWS Signature Version 4: see s3_sign.h. */
#include "libcommon/repo/s3_sign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/libcrypto.h"

enum { SHA = 32, TEXT_MAX = 8192 };

const char s3_sha256_empty[S3_HEX] =
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

void s3_date(time_t t, char ret[S3_DATE])
{
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(ret, S3_DATE, "%Y%m%dT%H%M%SZ", &tm))
		memcpy(ret, "19700101T000000Z", S3_DATE);
}

int s3_sha256(const void *data, size_t len, char ret[S3_HEX], struct err *err)
{
	unsigned char md[SHA];

	if (EVP_Digest(data, len, md, NULL, EVP_sha256(), NULL) != 1)
		return err_set(err, ERR_FAILED, "OpenSSL cannot make a SHA-256");
	hex_encode(md, SHA, ret);
	return 0;
}

int s3_encode(const char *text, int keep_slash, char *ret, size_t cap)
{
	size_t n = 0;

	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		int plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
			    (*p >= '0' && *p <= '9') || strchr("-._~", *p) ||
			    (keep_slash && *p == '/');

		if (n + 4 > cap)
			return -1;
		if (plain)
			ret[n++] = (char)*p;
		else
			n += (size_t)snprintf(ret + n, 4, "%%%02X", *p);
	}
	if (n >= cap)
		return -1;
	ret[n] = 0;
	return (int)n;
}

/* Text that grows at its end; what does not fit shows as n > cap. */
struct text {
	char *p;
	size_t n;
};

static void add(struct text *t, const char *s)
{
	size_t len = strlen(s);

	if (t->n + len < TEXT_MAX)
		memcpy(t->p + t->n, s, len + 1);
	t->n += len;
}

static int compare_headers(const void *a, const void *b)
{
	return strcmp(((const struct s3_header *)a)->name, ((const struct s3_header *)b)->name);
}

/* The canonical request; @signed_names becomes "host;x-amz-date". */
static void canonical(const struct s3_to_sign *in, struct text *t, struct text *signed_names)
{
	struct s3_header sorted[S3_HEADERS_MAX];

	memcpy(sorted, in->headers, in->n_headers * sizeof(*sorted));
	qsort(sorted, in->n_headers, sizeof(*sorted), compare_headers);
	add(t, in->method);
	add(t, "\n");
	add(t, in->path);
	add(t, "\n");
	add(t, in->query);
	add(t, "\n");
	for (size_t i = 0; i < in->n_headers; i++) {
		add(t, sorted[i].name);
		add(t, ":");
		add(t, sorted[i].value);
		add(t, "\n");
		add(signed_names, i ? ";" : "");
		add(signed_names, sorted[i].name);
	}
	add(t, "\n");
	if (signed_names->n < TEXT_MAX)
		add(t, signed_names->p);
	add(t, "\n");
	add(t, in->payload_sha256);
}

static int hmac(const void *key, size_t key_len, const char *data, unsigned char ret[SHA])
{
	unsigned len = SHA;

	return HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)data, strlen(data), ret,
		    &len)
		       ? 0
		       : -1;
}

static int signing_key(const struct s3_to_sign *in, const char *day, unsigned char key[SHA],
		       struct err *err)
{
	char first[256];
	int n = snprintf(first, sizeof(first), "AWS4%s", in->secret_key), rc;

	if (n < 0 || (size_t)n >= sizeof(first)) {
		OPENSSL_cleanse(first, sizeof(first));
		return err_set(err, ERR_USAGE, "the secret key of S3 is longer than 250 bytes");
	}
	rc = hmac(first, (size_t)n, day, key) || hmac(key, SHA, in->region, key) ||
	     hmac(key, SHA, "s3", key) || hmac(key, SHA, "aws4_request", key);
	OPENSSL_cleanse(first, sizeof(first));
	return rc ? err_set(err, ERR_FAILED, "OpenSSL cannot make an HMAC") : 0;
}

int s3_sign(const struct s3_to_sign *in, char ret[S3_AUTH_MAX], struct err *err)
{
	CLEANUP_FREE char *request = malloc(TEXT_MAX), *names = malloc(TEXT_MAX);
	struct text t = {.p = request}, signed_names = {.p = names};
	char hash[S3_HEX], signature[S3_HEX], scope[160], to_sign[320], day[9];
	unsigned char key[SHA], mac[SHA];
	int rc, n;

	if (!request || !names)
		return err_nomem(err);
	names[0] = 0;
	if (in->n_headers > S3_HEADERS_MAX)
		return err_set(err, ERR_USAGE, "%zu headers are too many to sign", in->n_headers);
	canonical(in, &t, &signed_names);
	if (t.n >= TEXT_MAX || signed_names.n >= TEXT_MAX)
		return err_set(err, ERR_USAGE, "a request of %zu bytes is too long to sign", t.n);
	if (s3_sha256(request, t.n, hash, err))
		return -1;
	snprintf(day, sizeof(day), "%.8s", in->date);
	n = snprintf(scope, sizeof(scope), "%s/%s/s3/aws4_request", day, in->region);
	if (n < 0 || (size_t)n >= sizeof(scope))
		return err_set(err, ERR_USAGE, "the region '%.40s...' is too long", in->region);
	snprintf(to_sign, sizeof(to_sign), "AWS4-HMAC-SHA256\n%s\n%s\n%s", in->date, scope, hash);
	if (signing_key(in, day, key, err))
		return -1;
	rc = hmac(key, SHA, to_sign, mac);
	OPENSSL_cleanse(key, sizeof(key));
	if (rc)
		return err_set(err, ERR_FAILED, "OpenSSL cannot make an HMAC");
	hex_encode(mac, SHA, signature);
	n = snprintf(ret, S3_AUTH_MAX,
		     "AWS4-HMAC-SHA256 Credential=%s/%s,SignedHeaders=%s,Signature=%s",
		     in->access_key, scope, names, signature);
	return n > 0 && n < S3_AUTH_MAX
		       ? 0
		       : err_set(err, ERR_USAGE, "the access key of S3 is too long");
}
