/* Base64 (RFC 4648, section 4), as the guest agent speaks it. */
#ifndef VMKIT_BASE_BASE64_H
#define VMKIT_BASE_BASE64_H

#include <stddef.h>

/** base64_encode() - owned, NUL-terminated; NULL without memory */
char *base64_encode(const void *data, size_t len);

/**
 * base64_decode() - groups of four, padding at the end, nothing else
 * *@ret is owned, with a NUL behind it
 * Return: 0 or -1, no error object: bad text, or no memory
 */
int base64_decode(const char *text, void **ret, size_t *ret_len);

#endif
