/* Linux's 64-bit boot protocol (Documentation/x86/boot.rst, "64-bit BOOT PROTOCOL"): a bzImage, its command line and its
 * initial RAM disk in guest memory, page tables and segments for the first instruction. Or an ELF file, by PVH (elf.h).
 */
#ifndef VMKIT_RUNNER_LINUX_H
#define VMKIT_RUNNER_LINUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/runner/memory.h"

#define LINUX_GDT     UINT64_C(0x500)
#define LINUX_PARAMS  UINT64_C(0x7000)
#define LINUX_STACK   UINT64_C(0x8ff0)
#define LINUX_TABLES  UINT64_C(0x9000) /* six pages: the first 4 GiB, by 2 MiB */
#define LINUX_COMMAND UINT64_C(0x20000)
enum { LINUX_COMMAND_MAX = 65536, LINUX_CODE = 0x10, LINUX_DATA = 0x18 };

struct linux_boot {
	uint64_t entry; /* address of the first instruction; %rsi holds LINUX_PARAMS */
	bool pvh;	/* it is 32-bit code without paging, and %ebx holds LINUX_PARAMS (elf.h) */
};

/** linux_load() - read kernel and initrd into memory, with e820 map and all else that the protocol asks for
 * @initrd: NULL for none
 * @initrd_fd: another one that lies behind it, -1 for none; borrowed
 *
 * Return: 0 or -1: ERR_NOT_FOUND, ERR_UNSUPPORTED (no bzImage, no 64-bit entry), ERR_CORRUPT (cut off), ERR_USAGE (does
 * not fit into the memory; the command line is too long); the error names the file.
 */
int linux_load(const struct guest_memory *mem, const char *kernel, const char *initrd,
	       int initrd_fd, const char *command, struct linux_boot *ret, struct err *err);

/** linux_open() - a kernel or initrd for reading, without a wait; Return: 0 or -1, ERR_USAGE: not a regular file. *@ret_fd
 *  is the caller's; the error names the file */
int linux_open(const char *name, int *ret_fd, uint64_t *ret_size, struct err *err);

/* Parts of it, for tests */

enum { E820_RAM = 1, E820_RESERVED = 2, E820_MAX = 8 };

struct e820_entry {
	uint64_t start, size;
	uint32_t type;
};

/** linux_e820() - the memory map, in order; Return: entries */
unsigned linux_e820(const struct guest_memory *mem, struct e820_entry out[E820_MAX]);

/** linux_check_initrd() - an archive that is visibly cut off or none at all is ERR_CORRUPT; what cannot be told is good */
int linux_check_initrd(const uint8_t *data, size_t len, struct err *err);

#endif
