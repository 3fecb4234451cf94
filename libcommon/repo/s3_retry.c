/* The retry policy of the S3 backend: see s3_retry.h. */
#include "libcommon/repo/s3_retry.h"

#include <stddef.h>
#include <string.h>

enum { FIRST_MS = 100, MOST_MS = 20000 };

/* Codes that say more than the status. https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html */
static const struct {
	const char *code;
	enum err_code means;
} codes[] = {
	{"RequestTimeout", ERR_TIMEOUT},
	{"SlowDown", ERR_TIMEOUT},
	{"InternalError", ERR_TIMEOUT},
	{"ServiceUnavailable", ERR_TIMEOUT},
	{"OperationAborted", ERR_TIMEOUT},
	{"ConditionalRequestConflict", ERR_TIMEOUT},
	/* Bytes that changed on their way are sent again. */
	{"BadDigest", ERR_TIMEOUT},
	{"XAmzContentSHA256Mismatch", ERR_TIMEOUT},
	{"IncompleteBody", ERR_TIMEOUT},
	{"QuotaExceeded", ERR_NO_SPACE},
	{"AuthorizationHeaderMalformed", ERR_USAGE},
	{"PermanentRedirect", ERR_USAGE},
	{"InvalidBucketName", ERR_USAGE},
	{"InvalidAccessKeyId", ERR_DENIED},
	{"NotImplemented", ERR_UNSUPPORTED},
};

enum err_code s3_verdict(long status, const char *code)
{
	if ((status >= 200 && status < 300) || status == 304)
		return ERR_NONE;
	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++)
		if (!strcmp(code, codes[i].code))
			return codes[i].means;
	switch (status) {
	case 301:
	case 307:
		return ERR_USAGE;
	case 401:
	case 403:
		return ERR_DENIED;
	case 404:
		return ERR_NOT_FOUND;
	case 408:
	case 409:
	case 429:
		return ERR_TIMEOUT;
	case 412:
		return ERR_EXISTS;
	case 501:
	case 505:
		return ERR_UNSUPPORTED;
	case 507:
		return ERR_NO_SPACE;
	default:
		return status >= 500 ? ERR_TIMEOUT : ERR_FAILED;
	}
}

uint64_t s3_retry_delay_ms(unsigned attempt, uint64_t random)
{
	uint64_t most = attempt > 16 ? MOST_MS : (uint64_t)FIRST_MS << (attempt ? attempt - 1 : 0);

	if (most > MOST_MS)
		most = MOST_MS;
	return random % (most + 1);
}
