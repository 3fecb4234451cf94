/* UTF-16 names in the headers of images, to UTF-8 and back. */
#ifndef VMKIT_IMAGE_UTF16_H
#define VMKIT_IMAGE_UTF16_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"

/**
 * utf16_to_utf8() - @len bytes, up to a NUL
 * Half a surrogate pair and an odd last byte become "?". *@ret is owned (free) and may be empty.
 */
int utf16_to_utf8(const uint8_t *p, size_t len, bool big_endian, char **ret, struct err *err);

/**
 * utf8_to_utf16() - without a NUL at the end; bytes that are no UTF-8 are ERR_USAGE
 * @ret_len: bytes; *@ret is owned (free)
 */
int utf8_to_utf16(const char *text, bool big_endian, uint8_t **ret, size_t *ret_len,
		  struct err *err);

#endif
