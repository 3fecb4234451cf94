/* How S3 repositories are reached: what the command line says. Secrets come from the environment or a credentials file. */
#ifndef VMKIT_REPO_S3_OPTS_H
#define VMKIT_REPO_S3_OPTS_H

#include <stdint.h>

struct err;

#define S3_RETRIES    10
#define S3_CACHE_SIZE (4ULL << 30)

/** struct repo_s3_opts - strings are borrowed and may be NULL */
struct repo_s3_opts {
	const char *endpoint; /* "https://host[:port]"; NULL: AWS_ENDPOINT_URL, then AWS itself */
	const char *region;   /* NULL: AWS_REGION, AWS_DEFAULT_REGION, then us-east-1 */
	const char *
		ca_file; /* certificates that are trusted instead of the system's; NULL: AWS_CA_BUNDLE */
	unsigned retries;	 /* of one request */
	const char *object_lock; /* "governance:DAYS" or "compliance:DAYS"; NULL: none */
	uint64_t rate_limit;	 /* bytes a second, of all transfers together; 0: none */
	uint64_t cache_size;	 /* bytes of the local cache of one repository; 0: none */
	uint64_t stall_ms; /* a transfer that moves nothing for so long is tried again; 0: 30 s */
	uint64_t grace_ms; /* after which a session that was not renewed is dead; 0: half an hour */
};

/** repo_set_s3_opts() - once at start, before there are threads; @opts must stay */
void repo_set_s3_opts(const struct repo_s3_opts *opts);

/** repo_s3_check() - do the options that were set make sense for the repository @url? ERR_USAGE; no keys are asked for */
int repo_s3_check(const char *url, struct err *err);

/** repo_s3_opts() - what was set, or the defaults */
const struct repo_s3_opts *repo_s3_opts(void);

#endif
