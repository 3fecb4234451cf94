/* The memory of a guest: one or two regions around the hole below 4 GiB, backed by pages that are there once touched.
 *
 * Every address that comes from a guest goes through guest_range(): it lies in one region with its whole length, or there is
 * no pointer. The bytes behind the pointer may change at any time, since the guest runs meanwhile: what is decided upon is
 * copied first.
 */
#ifndef VMKIT_RUNNER_MEMORY_H
#define VMKIT_RUNNER_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "libcommon/base/err.h"

#define GUEST_HOLE_START UINT64_C(0xc0000000) /* devices lie from here up to 4 GiB */
#define GUEST_HOLE_END	 UINT64_C(0x100000000)
#define GUEST_MEMORY_MIN UINT64_C(0x200000)

struct guest_region {
	uint64_t start, size; /* guest physical, bytes */
	uint8_t *host;
	bool mapped; /* a saved machine's file lies behind it, not nothing */
};

struct guest_memory {
	struct guest_region region[2];
	unsigned regions;
};

/**
 * guest_memory_create() - map @size bytes, none of them touched yet
 * @size: multiple of 4096, at least GUEST_MEMORY_MIN, at most what this host has
 *
 * Return: 0 or -1: ERR_USAGE, ERR_UNSUPPORTED (more than the host has), ERR_NO_MEMORY
 */
int guest_memory_create(struct guest_memory *m, uint64_t size, struct err *err);

/** guest_memory_create_huge() - the same of huge pages of 2 MiB from the host's pool. It promises all of them, so that none is
 *  missing when the guest touches it; @size is a multiple of 2 MiB. Return: 0 or -1, ERR_UNSUPPORTED: the pool is too small */
int guest_memory_create_huge(struct guest_memory *m, uint64_t size, struct err *err);
void guest_memory_destroy(struct guest_memory *m);

/** guest_range() - where [@addr, @addr + @len) lies here; NULL unless all of it is in one region. @len 0: NULL */
void *guest_range(const struct guest_memory *m, uint64_t addr, uint64_t len);

/** guest_memory_resident() - bytes of it that are in the host's memory now */
uint64_t guest_memory_resident(const struct guest_memory *m);

#endif
