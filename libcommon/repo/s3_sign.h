/* AWS Signature Version 4 for S3: a pure function of a request, a key and a time.
 *
 *	https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
 *
 * libcurl 7.88 has a signer too, but it sends no x-amz-content-sha256 and Ceph's RGW answers 403 (2026-11).
 */
#ifndef VMKIT_REPO_S3_SIGN_H
#define VMKIT_REPO_S3_SIGN_H

#include <stddef.h>
#include <time.h>

#include "libcommon/base/err.h"

enum {
	S3_HEX = 65,	    /* a SHA-256 in hexadecimal, with its end */
	S3_DATE = 17,	    /* "20130524T000000Z" */
	S3_AUTH_MAX = 1024, /* the value of Authorization */
	S3_HEADERS_MAX = 16,
};

/** struct s3_header - @name in lower case; @value without blanks at its ends; both borrowed */
struct s3_header {
	const char *name, *value;
};

/** struct s3_to_sign - what is signed; strings are borrowed, path and query encoded by s3_encode() already */
struct s3_to_sign {
	const char *method, *path,
		*query; /* query: "a=1&b=": in order of name, without "?"; "" for none */
	const struct s3_header
		*headers; /* at most S3_HEADERS_MAX, in any order; "host" must be among them */
	size_t n_headers;
	const char *payload_sha256; /* hexadecimal */
	const char *date;	    /* s3_date() */
	const char *region, *access_key, *secret_key;
};

/** s3_sign() - the value of the header Authorization; ERR_USAGE when it does not fit */
int s3_sign(const struct s3_to_sign *in, char ret[S3_AUTH_MAX], struct err *err);

/** s3_date() - @t as x-amz-date has it */
void s3_date(time_t t, char ret[S3_DATE]);

/** s3_sha256() - of bytes in memory; Return: 0 or -1 (ERR_FAILED) */
int s3_sha256(const void *data, size_t len, char ret[S3_HEX], struct err *err);

/** s3_encode() - all but letters, digits and "-._~" as %XX; @keep_slash for paths. Return: the length, or -1: no room */
int s3_encode(const char *text, int keep_slash, char *ret, size_t cap);

/** s3_sha256_empty - of no bytes: the payload of GET, HEAD and DELETE */
extern const char s3_sha256_empty[S3_HEX];

#endif
