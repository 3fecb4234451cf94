/* Is a buffer all zero? Memory bandwidth on zeros, the first bytes on data. */
#ifndef VMKIT_BASE_ISZERO_H
#define VMKIT_BASE_ISZERO_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/** is_zero() - true when all @len bytes are 0; true for @len 0 */
static inline bool is_zero(const void *buf, size_t len)
{
	const unsigned char *p = buf;

	/* Compare the buffer with itself shifted by 16: libc's memcmp is vectorized for every processor. */
	if (len <= 16) {
		unsigned char any = 0;

		for (size_t i = 0; i < len; i++)
			any |= p[i];
		return any == 0;
	}

	unsigned long long a, b;

	memcpy(&a, p, 8);
	memcpy(&b, p + 8, 8);
	return (a | b) == 0 && memcmp(p, p + 16, len - 16) == 0;
}

#endif
