/* ELF kernels that begin by PVH (Xen's docs/misc/pvh.pandoc: 32-bit code without paging, %ebx holds the address of a description). */
#ifndef VMKIT_RUNNER_ELF_H
#define VMKIT_RUNNER_ELF_H

#include <stdbool.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/runner/memory.h"

enum { ELF_LOWEST = 0x100000 };

/** elf_is() - does it begin as an ELF file? */
bool elf_is(int fd);

/**
 * elf_load() - its parts into memory, none of them below ELF_LOWEST
 * *@ret_entry: of the PVH note; *@ret_end: behind the last part
 * Return: 0 or -1: ERR_UNSUPPORTED (another machine, no note), ERR_CORRUPT (cut off, parts that make no sense), ERR_USAGE (too little
 * memory)
 */
int elf_load(const struct guest_memory *mem, int fd, uint64_t size, uint32_t *ret_entry,
	     uint64_t *ret_end, struct err *err);

/** struct pvh_start - what the kernel is told; addresses in guest memory, 0: there is none */
struct pvh_start {
	uint64_t command, rsdp, initrd, initrd_len;
};

/** pvh_put() - the description, with the memory map, at @at: 4096 bytes */
void pvh_put(const struct guest_memory *mem, uint64_t at, const struct pvh_start *start);

#endif
