/* Listings and errors of an S3 server: no input may crash; a page that is taken has bounded names. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/repo/s3_xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int key(void *ctx, const struct s3_list_entry *e, struct err *err)
{
	(void)ctx;
	(void)err;
	if (!*e->key || strlen(e->key) >= S3_KEY_MAX || strlen(e->etag) >= 128)
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct s3_list_page page;
	struct err err = ERR_INIT;
	struct s3_error error;

	if (s3_list_parse((const char *)data, size, key, NULL, &page, &err)) {
		if (err.code != ERR_CORRUPT || !err.message[0])
			abort();
	} else if (page.truncated && !page.token[0]) {
		abort();
	}
	s3_error_parse((const char *)data, size, &error);
	if (strlen(error.code) >= sizeof(error.code) ||
	    strlen(error.message) >= sizeof(error.message))
		abort();
	return 0;
}
