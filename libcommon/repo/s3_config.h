/* Where an S3 repository lies and who asks: "s3://bucket/prefix", the endpoint, credentials. */
#ifndef VMKIT_REPO_S3_CONFIG_H
#define VMKIT_REPO_S3_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/repo/s3_opts.h"

enum { S3_SECRET_MAX = 256, S3_SESSION_MAX = 4096, S3_GRACE_MOST_S = 86400 };

struct s3_config {
	bool https;
	char host[264]; /* as the header Host has it: without a port that the scheme implies */
	char base[280]; /* "https://host:port" */
	char bucket[64];
	char prefix[512]; /* "" or "a/b/" */
	char region[64];
	char access_key[S3_SECRET_MAX], secret_key[S3_SECRET_MAX],
		token[S3_SESSION_MAX]; /* token may be "" */
	char ca_file[512];	       /* or "" */
	unsigned retries;
	uint64_t cache_size;
	uint64_t rate_limit;
	const char *lock_mode; /* "GOVERNANCE", "COMPLIANCE" or NULL; static */
	unsigned lock_days;
	unsigned stall_s;
	unsigned grace_s;
};

/** s3_config_url() - bucket and prefix of "[s3:]//bucket[/prefix]"; ERR_USAGE */
int s3_config_url(struct s3_config *ret, const char *url, struct err *err);

/** s3_config_endpoint() - scheme, host and port; no path, user or query; ERR_USAGE */
int s3_config_endpoint(struct s3_config *ret, const char *endpoint, struct err *err);

/** s3_config_lock() - "governance:30", "compliance:1": what is made may not be removed for so many days; ERR_USAGE */
int s3_config_lock(struct s3_config *ret, const char *text, struct err *err);

/**
 * s3_config_load() - all of it, from @opts and the environment: AWS_ENDPOINT_URL, AWS_REGION, AWS_DEFAULT_REGION,
 * AWS_CA_BUNDLE; AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, else the profile AWS_PROFILE (default
 * "default") of the file AWS_SHARED_CREDENTIALS_FILE (default ~/.aws/credentials)
 *
 * Return: 0, or -1 with ERR_USAGE or ERR_DENIED (no credentials). Holds secrets: s3_config_wipe().
 */
int s3_config_load(struct s3_config *ret, const char *url, const struct repo_s3_opts *opts,
		   struct err *err);
void s3_config_wipe(struct s3_config *c);

/** s3_home() - the user's folder, of HOME or else of the passwd database; Return: 0, or -1 without an error object */
int s3_home(char *ret, size_t cap);

/** s3_config_profile() - the keys of one profile out of a credentials file's text; ERR_DENIED when it has none */
int s3_config_profile(struct s3_config *ret, const char *text, const char *profile,
		      struct err *err);

#endif
