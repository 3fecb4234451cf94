/* What an S3 server says in XML: pages of a listing and errors. A scanner of our own for the few elements that count: no
 * entities but the five and numbers, no DOCTYPE, nothing that grows.
 */
#ifndef VMKIT_REPO_S3_XML_H
#define VMKIT_REPO_S3_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"

enum {
	S3_KEY_MAX = 1025,   /* S3 allows 1024 bytes */
	S3_TOKEN_MAX = 2049, /* of a continuation */
	S3_LIST_MAX = 8 << 20,
};

/** struct s3_list_entry - @etag as the server says it, "" when it does not; @modified: seconds since 1970, 0: not said */
struct s3_list_entry {
	const char *key, *etag;
	uint64_t size;
	int64_t modified;
};

/** struct s3_list_page - of ListObjectsV2; @token is empty on the last page */
struct s3_list_page {
	bool truncated;
	char token[S3_TOKEN_MAX];
};

/**
 * s3_list_parse() - one page
 * @xml: @len bytes, hostile
 * @fn: called with each object; what it returns but 0 ends the scan
 *
 * Return: 0, or -1 with ERR_CORRUPT for what is no listing (a page that says it goes on and does not say how, too), or
 * what @fn set.
 */
int s3_list_parse(const char *xml, size_t len,
		  int (*fn)(void *ctx, const struct s3_list_entry *e, struct err *err), void *ctx,
		  struct s3_list_page *ret, struct err *err);

/** s3_time() - seconds since 1970 of "2026-11-26T07:00:00.000Z"; 0: not said, or said in another way */
int64_t s3_time(const char *text);

/** struct s3_error - empty strings where the server said nothing that can be read */
struct s3_error {
	char code[64], message[256];
};

/** s3_error_parse() - of the body of an answer that is none of 2xx; never fails */
void s3_error_parse(const char *xml, size_t len, struct s3_error *ret);

#endif
