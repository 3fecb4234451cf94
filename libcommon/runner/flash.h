/* A NOR flash chip with bytes for words, that speaks the Intel command set (CFI, JEDEC JESD68.01, 0x0001) as far as UEFI firmware
 * uses it for its variables, and as QEMU's chip answers, which such firmware was written for.
 *
 * While it is in its array mode reads are those of memory, which the caller shows the guest by itself (.show); all writes,
 * and reads in other modes, come here. What is programmed or erased is handed out (.store) when the chip returns to its
 * array mode, and by flash_sync().
 *
 * Threads: any; one lock, with which both functions are called.
 */
#ifndef VMKIT_RUNNER_FLASH_H
#define VMKIT_RUNNER_FLASH_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"

enum {
	FLASH_BLOCK = 4096, /* what one command erases */
	FLASH_BUFFER =
		256, /* what one buffered write programs at most, in one block of this size */
	FLASH_READY = 0x80, /* the status register: nothing is under way */
	FLASH_ERASE_FAILED = 0x20,
	FLASH_PROGRAM_FAILED = 0x10, /* both: a wrong sequence of commands */
};

struct flash {
	pthread_mutex_t lock;
	uint8_t *data; /* borrowed */
	size_t size;
	/* The guest reads @data without us, or it does not; false: that cannot be changed now. NULL: it never does */
	bool (*show)(void *ctx, bool on);
	/* NULL: it is kept nowhere */
	int (*store)(void *ctx, const uint8_t *data, uint64_t off, size_t len, struct err *err);
	void *ctx;
	struct err err; /* of a .store that failed; what it should have kept is tried again */

	uint8_t mode;	 /* the command whose answer reads get; 0: the array */
	uint8_t command; /* one that more writes belong to; 0: none */
	uint8_t status;
	/* A buffered write: */
	enum { FLASH_COUNT, FLASH_FIRST, FLASH_DATA, FLASH_CONFIRM } step; /* what comes next */
	unsigned left;	    /* bytes that it still gets */
	bool bad;	    /* one of them lies elsewhere */
	uint64_t buffer_at; /* where its block lies */
	uint8_t buffer[FLASH_BUFFER];
	uint64_t dirty, dirty_end; /* not handed out yet */
};

/** flash_init() - @size: a multiple of FLASH_BLOCK up to 16 MiB. It starts in its array mode, which is not .show()n */
void flash_init(struct flash *f, uint8_t *data, size_t size);

/* @off + @size lies inside of it; @size is 1, 2, 4 or 8 */
uint64_t flash_read(struct flash *f, uint64_t off, unsigned size);
void flash_write(struct flash *f, uint64_t off, unsigned size, uint64_t value);

/** flash_sync() - hand out what was not; Return: 0 or -1 with the error of a .store(), also an earlier one */
int flash_sync(struct flash *f, struct err *err);

#endif
