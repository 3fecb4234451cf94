/* Signed requests to one S3 endpoint, over libcurl: connections that are kept, retries with back-off. Any thread may send
 * requests at once; each has a connection of its own meanwhile.
 */
#ifndef VMKIT_REPO_BACKEND_S3_HTTP_H
#define VMKIT_REPO_BACKEND_S3_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/repo/s3_config.h"
#include "libcommon/repo/s3_sign.h"
#include "libcommon/repo/s3_xml.h"

struct s3_http;

enum { S3_VERSION_MAX = 128 };

/** struct s3_request - zero-initialized; strings are borrowed */
struct s3_request {
	const char *method;
	const char *name;	       /* of an object, below the prefix; NULL: the bucket itself */
	const char *query;	       /* canonical, or NULL */
	const struct s3_header *extra; /* signed too; at most 8 */
	size_t n_extra;
	/* what is sent: @len bytes of @data, or of the file @fd when @data is NULL; @sha256 of them (NULL: none is sent) */
	const void *data;
	int fd;
	uint64_t len;
	const char *sha256;
	/* where the body of a good answer goes: exactly @into_len bytes to @into; or, with @max, at most so many bytes to
	 * memory that becomes .body of the answer */
	void *into;
	size_t into_len;
	size_t max;
	/* of a PUT that must not replace anything: goes with the object, so that after a lost answer a look tells whether it
	 * was this very request that made it; NULL: none */
	const char *nonce;
	/* asked before each try, with the time that it is signed with: -1 and it is not sent; NULL: always sent */
	int (*may)(void *ctx, int64_t now, struct err *err);
	void *may_ctx;
	int shift_s; /* signed as if it were so much earlier; for the probe alone */
	bool last;   /* sent once, even after a signal, and not waited for for long */
};

/** struct s3_response - free with s3_response_free() */
struct s3_response {
	long status; /* of HTTP */
	char *body;  /* owned; NUL behind it */
	size_t body_len;
	uint64_t length; /* Content-Length; UINT64_MAX: not said */
	uint64_t total;	 /* of Content-Range; UINT64_MAX: not said */
	char etag[128], nonce[64] /* x-amz-meta-vmkit-nonce */;
	char sha256
		[S3_HEX]; /* x-amz-meta-vmkit-sha256: of the whole object, from the one who made it; may be "" */
	char lease[48]; /* x-amz-meta-vmkit-lease */
	unsigned tries;
	bool sure;	/* of a request with .may: of no try of it can anything be done later */
	bool versioned; /* the bucket keeps versions, and this is the one that is there */
	char version[S3_VERSION_MAX];
	int64_t locked_until; /* seconds since 1970; 0: not locked, or not said */
	bool held;	      /* somebody put a legal hold on it */
	struct s3_error error;
};

/** s3_http_new() - consumes @config's secrets (wiped when freed) */
int s3_http_new(struct s3_http **ret, const struct s3_config *config, struct err *err);
void s3_http_free(struct s3_http *h);

const struct s3_config *s3_http_config(const struct s3_http *h);

/** s3_http_now() - seconds since 1970 by the server's clock: its last answer and what has passed here since, sleep
 *  included; our own clock until there was one */
int64_t s3_http_now(struct s3_http *h);
bool s3_http_knows_time(const struct s3_http *h);

/** s3_http_versions() - has an answer said that the bucket keeps versions? */
bool s3_http_versions(const struct s3_http *h);

/** s3_http_abort() - requests under way and later ones end with ERR_CANCELLED */
void s3_http_abort(struct s3_http *h);

/**
 * s3_http_do() - send, and try again what is worth it
 *
 * Return: 0 with any final answer below 300 or 304; -1 with the class of the failure: ERR_NOT_FOUND (404), ERR_EXISTS
 * (412), ERR_DENIED, ERR_CONNECTION (tries ran out), ... *@ret is filled in all cases.
 */
int s3_http_do(struct s3_http *h, const struct s3_request *q, struct s3_response *ret,
	       struct err *err);
void s3_response_free(struct s3_response *r);

#endif
