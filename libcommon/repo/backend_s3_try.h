/* One try of a request, as curl sees it: for backend_s3_http.c and backend_s3_try.c alone. */
#ifndef VMKIT_REPO_BACKEND_S3_TRY_H
#define VMKIT_REPO_BACKEND_S3_TRY_H

#include <pthread.h>
#include <stdatomic.h>

#include "libcommon/repo/backend_s3_curl.h"
#include "libcommon/repo/backend_s3_http.h"

/* A connection that waits for its next use. */
struct idle {
	struct idle *next;
	CURL *easy;
};

struct s3_http {
	const struct curl_lib *lib;
	struct s3_config config;
	atomic_bool aborted, answered;
	atomic_llong clock; /* the server's clock less CLOCK_BOOTTIME, once it answered */
	atomic_bool clock_known, clock_told;
	atomic_bool versions; /* the bucket keeps them */
	pthread_mutex_t lock; /* idle, free_ns */
	struct idle *idle;
	int64_t free_ns; /* when the next byte may move, with a limit */
};

/* One try. */
struct s3_try {
	struct s3_http *http;
	const struct s3_request *q;
	struct s3_response *r;
	uint64_t sent, got;
	size_t body_cap;
	time_t date; /* of the server */
	int64_t signed_at;
	unsigned retry_after; /* seconds */
	struct err sink;      /* why our side refused the body */
	unsigned heads; /* how often its head was sent: curl does it again on a torn connection */
	bool unsure; /* of this try or one before it: it was sent, and may be done after all that is known of it */
	char curl_says[CURL_ERROR_SIZE];
};

/** s3_boot_seconds() - CLOCK_BOOTTIME */
int64_t s3_boot_seconds(void);

/** s3_try_perform() - let curl do it; fills in the answer */
CURLcode s3_try_perform(struct s3_try *t, CURL *e, const char *url, struct curl_slist *headers);

#endif
