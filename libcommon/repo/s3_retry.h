/* When a request to an S3 server is tried again, and what its failure means. Pure functions. */
#ifndef VMKIT_REPO_S3_RETRY_H
#define VMKIT_REPO_S3_RETRY_H

#include <stdint.h>

#include "libcommon/base/err.h"

/** s3_verdict() - what an answer means
 *  @status: of HTTP
 *  @code: what the body calls the error; "" when it says nothing
 *  Return: ERR_NONE for 2xx and 304; ERR_TIMEOUT for what is worth another try; else how it failed for good: ERR_EXISTS
 *  is a precondition that did not hold (412), ERR_NOT_FOUND, ERR_DENIED, ERR_NO_SPACE, ERR_UNSUPPORTED, ERR_USAGE (wrong
 *  region, bad bucket name), ERR_FAILED */
enum err_code s3_verdict(long status, const char *code);

/** s3_retry_delay_ms() - before try @attempt (1: the second): exponential with full jitter
 *  @random: any number; the delay is between 0 and 100 ms times 2^(@attempt - 1), at most 20 s */
uint64_t s3_retry_delay_ms(unsigned attempt, uint64_t random);

#endif
