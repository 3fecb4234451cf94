/* A window that moves over a table of variable-length entries: one read per 256 KiB, whatever the table claims. */
#ifndef VMKIT_FORMAT_QCOW2_TAPE_H
#define VMKIT_FORMAT_QCOW2_TAPE_H

#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/image/protocol.h"

#define TAPE_WINDOW (256U << 10) /* no entry may be longer */

struct tape {
	struct bfile *file; /* borrowed */
	uint64_t end;	    /* of the table in the file; reading beyond is ERR_CORRUPT */
	uint8_t *window;    /* owned: tape_release() */
	uint64_t at;
	size_t filled;
};

/** tape_init() - over [.., @end) of @file, cut to the end of the file */
int tape_init(struct tape *t, struct bfile *file, uint64_t end, struct err *err);
void tape_release(struct tape *t);

/** tape_get() - @len bytes at file offset @off; *@ret is borrowed until the next call */
int tape_get(struct tape *t, uint64_t off, size_t len, const uint8_t **ret, struct err *err);

#endif
