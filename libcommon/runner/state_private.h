/* Places in the head of a saved machine's file, for state.c, state_write.c and state_memory.c. */
#ifndef VMKIT_RUNNER_STATE_PRIVATE_H
#define VMKIT_RUNNER_STATE_PRIVATE_H

#include <stddef.h>

#include "libcommon/base/digest.h"

#define STATE_MAGIC "VMKSTATE"

enum {
	STATE_VERSION = 1,
	STATE_AT_VERSION = 8,
	STATE_AT_FLAGS = 12,
	STATE_AT_GUEST = 16,
	STATE_AT_MEMORY = 24,
	STATE_AT_SECTIONS = 40,
	STATE_AT_LENGTH = 56,
	STATE_AT_SECTIONS_DIGEST = 64,
	STATE_AT_HEAD_DIGEST = 4032,
	STATE_DIGEST = 64, /* digits */
	STATE_COMPRESSED = 1,
	STATE_WAITS = 2,
	STATE_UNIT = 1 << 20, /* of compressed memory */
};

/** state_digest() - SHA-256 in digits */
int state_digest(const void *data, size_t len, char ret[DIGEST_HEX_MAX], struct err *err);

#endif
