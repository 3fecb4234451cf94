/* Loading a bzImage: see linux.h. */
#include "libcommon/runner/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/size.h"
#include "libcommon/runner/acpi.h"
#include "libcommon/runner/elf.h"

enum {
	H_START = 0x1f1,
	H_SETUP_SECTS = 0x1f1,
	H_BOOT_FLAG = 0x1fe,
	H_JUMP = 0x200,
	H_MAGIC = 0x202,
	H_VERSION = 0x206,
	H_LOADER = 0x210,
	H_FLAGS = 0x211,
	H_RAMDISK = 0x218,
	H_RAMDISK_SIZE = 0x21c,
	H_COMMAND = 0x228,
	H_INITRD_MAX = 0x22c,
	H_RELOCATABLE = 0x234,
	H_XLOADFLAGS = 0x236,
	H_COMMAND_SIZE = 0x238,
	H_PREF_ADDRESS = 0x258,
	H_INIT_SIZE = 0x260,
	H_END = 0x280,
	P_ACPI_RSDP = 0x070,
	P_E820_COUNT = 0x1e8,
	P_E820 = 0x2d0,
	PARAMS_SIZE = 4096,
	VERSION_XLOADFLAGS = 0x20c,
	XLOAD_64 = 1,
	FLAG_HIGH = 1,
	ENTRY_64 = 0x200,
	SECTOR = 512,
	LOAD_LOWEST = 0x100000,
	LOWMEM_END = 0x9fc00,
	PVH_COMMAND_MAX = 2047, /* what Linux has room for on x86 */
};

#define HOLE_RESERVED UINT64_C(0xfeffc000) /* kvm.c's pages for real mode */

struct file {
	int fd;
	uint64_t size;
	const char *name;
};

int linux_open(const char *name, int *ret_fd, uint64_t *ret_size, struct err *err)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would wait for a writer */
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		err_sys(err, "cannot open");
	else if (!S_ISREG(st.st_mode))
		err_set(err, ERR_USAGE, "not a regular file");
	else {
		*ret_fd = fd;
		*ret_size = (uint64_t)st.st_size;
		return 0;
	}
	if (fd >= 0)
		(void)close(fd);
	return err_object(err, name);
}

static int open_file(struct file *f, const char *name, struct err *err)
{
	*f = (struct file){.fd = -1, .name = name};
	return linux_open(name, &f->fd, &f->size, err);
}

static int not_a_kernel(const char *why, struct err *err)
{
	err_set(err, ERR_UNSUPPORTED, "not a Linux kernel that can be started here: %s", why);
	return err_hint(err, "wanted is a bzImage for x86-64, such as /boot/vmlinuz-*, or an ELF "
			     "file with a PVH "
			     "entry");
}

static int check_header(const struct file *f, const uint8_t h[H_END], struct err *err)
{
	uint64_t setup = (uint64_t)(h[H_SETUP_SECTS] ? h[H_SETUP_SECTS] : 4) * SECTOR + SECTOR;

	if (get_le16(h + H_BOOT_FLAG) != 0xaa55 || memcmp(h + H_MAGIC, "HdrS", 4) != 0)
		return not_a_kernel("it has no boot header", err);
	if (get_le16(h + H_VERSION) < VERSION_XLOADFLAGS ||
	    !(get_le16(h + H_XLOADFLAGS) & XLOAD_64) || !(h[H_FLAGS] & FLAG_HIGH))
		return not_a_kernel("it has no 64-bit entry", err);
	if (f->size <= setup + ENTRY_64)
		return err_set(err, ERR_CORRUPT,
			       "cut off: %" PRIu64 " bytes, and the kernel begins at %" PRIu64,
			       f->size, setup);
	return 0;
}

/* The header tells how long the code is, in units of 16 bytes */
static int check_length(const struct file *f, const uint8_t h[H_END], uint64_t code,
			struct err *err)
{
	uint64_t want = (uint64_t)get_le32(h + 0x1f4) * 16;

	if (want > f->size - code)
		return err_set(err, ERR_CORRUPT,
			       "cut off: the header tells of %" PRIu64 " bytes of code, %" PRIu64
			       " are there",
			       want, f->size - code);
	return 0;
}

static int no_room(const char *what, uint64_t size, const struct guest_memory *mem, struct err *err)
{
	char need[SIZE_TEXT_MAX], have[SIZE_TEXT_MAX];

	err_set(err, ERR_USAGE, "%s needs %s, which %s of memory do not have", what,
		size_format(size, need),
		size_format(mem->region[0].size + (mem->regions > 1 ? mem->region[1].size : 0),
			    have));
	return err_hint(err, "give it more with --memory");
}

/* Return: where the code lies in the file, 0 with an error. *@ret_end is behind what the kernel needs in memory. */
static int load_kernel(const struct guest_memory *mem, const struct file *f, uint8_t *params,
		       uint64_t *ret_entry, uint64_t *ret_end, struct err *err)
{
	uint8_t h[H_END] = {0};
	ssize_t n = io_pread_upto(f->fd, h, sizeof(h), 0, err);
	uint64_t code, at, need;
	void *to;

	if (n < 0)
		return -1;
	if (check_header(f, h, err) < 0)
		return -1;
	code = (uint64_t)(h[H_SETUP_SECTS] ? h[H_SETUP_SECTS] : 4) * SECTOR + SECTOR;
	if (check_length(f, h, code, err) < 0)
		return -1;
	at = LOAD_LOWEST;
	if (get_le64(h + H_PREF_ADDRESS) > at)
		at = get_le64(h + H_PREF_ADDRESS);
	need = max_u64(f->size - code, get_le32(h + H_INIT_SIZE));
	if (!guest_range(mem, at, need))
		return no_room("the kernel", at < GUEST_HOLE_START ? at + need : need, mem, err);
	to = guest_range(mem, at, f->size - code);
	if (io_pread(f->fd, to, (size_t)(f->size - code), code, err) < 0)
		return -1;
	memcpy(params + H_START, h + H_START, H_END - H_START);
	/* The header ends where the jump over it leads; what is behind is code */
	if (h[H_JUMP + 1] < H_END - H_MAGIC)
		memset(params + H_MAGIC + h[H_JUMP + 1], 0, H_END - H_MAGIC - h[H_JUMP + 1]);
	*ret_entry = at + ENTRY_64;
	*ret_end = at + need;
	return 0;
}

static int read_initrd(const struct guest_memory *mem, const struct file *f, uint64_t at,
		       struct err *err)
{
	uint8_t *to = guest_range(mem, at, f->size);

	if (!to || io_pread(f->fd, to, (size_t)f->size, 0, err) < 0 ||
	    linux_check_initrd(to, (size_t)f->size, err) < 0)
		return err_object(err, f->name);
	return 0;
}

/* As high as the kernel allows, so that nothing is in its way; of two, which the kernel takes one after the other, the
 * second begins on a multiple of four. Either may be empty. */
static int load_initrds(const struct guest_memory *mem, const struct file *first,
			const struct file *second, uint8_t *params, uint64_t lowest,
			struct err *err)
{
	uint64_t top = min_u64(mem->region[0].size, (uint64_t)get_le32(params + H_INITRD_MAX) + 1);
	uint64_t size = second->size ? round_up(first->size, 4) + second->size : first->size, at;

	if (!size)
		return 0;
	if (size > top || round_down(top - size, 4096) < lowest)
		return no_room("the initial RAM disk behind the kernel", lowest + size, mem, err);
	at = round_down(top - size, 4096);
	if (first->size && read_initrd(mem, first, at, err) < 0)
		return -1;
	if (second->size && read_initrd(mem, second, at + round_up(first->size, 4), err) < 0)
		return -1;
	put_le32(params + H_RAMDISK, (uint32_t)at);
	put_le32(params + H_RAMDISK_SIZE, (uint32_t)size);
	return 0;
}

static int with_initrds(const struct guest_memory *mem, const char *initrd, int initrd_fd,
			uint8_t *params, uint64_t lowest, struct err *err)
{
	struct file first = {.fd = -1},
		    second = {.fd = initrd_fd, .name = "the command's initial RAM disk"};
	struct stat st;
	int rc = 0;

	if (initrd && open_file(&first, initrd, err) < 0)
		rc = -1;
	else if (initrd && !first.size) {
		err_set(err, ERR_CORRUPT, "an empty file is no initial RAM disk");
		rc = err_object(err, initrd);
	}
	if (rc == 0 && initrd_fd >= 0) {
		rc = fstat(initrd_fd, &st) < 0 ? err_sys(err, "cannot look at the initial RAM disk")
					       : 0;
		second.size = rc == 0 ? (uint64_t)st.st_size : 0;
	}
	if (rc == 0)
		rc = load_initrds(mem, &first, &second, params, lowest, err);
	if (first.fd >= 0)
		(void)close(first.fd);
	if (rc < 0 && initrd)
		err_object(err, initrd);
	return rc;
}

unsigned linux_e820(const struct guest_memory *mem, struct e820_entry out[E820_MAX])
{
	unsigned n = 0;

	out[n++] = (struct e820_entry){0, LOWMEM_END, E820_RAM};
	out[n++] = (struct e820_entry){LOWMEM_END, 0xa0000 - LOWMEM_END, E820_RESERVED};
	out[n++] = (struct e820_entry){ACPI_BASE, ACPI_SPACE, E820_RESERVED};
	out[n++] = (struct e820_entry){LOAD_LOWEST, mem->region[0].size - LOAD_LOWEST, E820_RAM};
	out[n++] = (struct e820_entry){HOLE_RESERVED, 0x4000, E820_RESERVED};
	if (mem->regions > 1)
		out[n++] = (struct e820_entry){mem->region[1].start, mem->region[1].size, E820_RAM};
	return n;
}

static int put_command(const struct guest_memory *mem, uint8_t *params, const char *command,
		       struct err *err)
{
	size_t len = strlen(command), most = get_le32(params + H_COMMAND_SIZE);
	char *to = guest_range(mem, LINUX_COMMAND, LINUX_COMMAND_MAX);

	if (most >= LINUX_COMMAND_MAX)
		most = LINUX_COMMAND_MAX - 1;
	if (!to || len > most)
		return err_set(err, ERR_USAGE,
			       "the command line has %zu bytes, the kernel takes %zu", len, most);
	memcpy(to, command, len + 1);
	put_le32(params + H_COMMAND, (uint32_t)LINUX_COMMAND);
	return 0;
}

/* Identity: one page of level 4, one of level 3, four of level 2 with pages of 2 MiB */
static void put_tables(const struct guest_memory *mem)
{
	uint8_t *gdt = guest_range(mem, LINUX_GDT, 32),
		*t = guest_range(mem, LINUX_TABLES, UINT64_C(6) * 4096);

	memset(gdt, 0, 32);
	put_le64(gdt + LINUX_CODE, UINT64_C(0x00af9b000000ffff));
	put_le64(gdt + LINUX_DATA, UINT64_C(0x00cf93000000ffff));
	memset(t, 0, (size_t)6 * 4096);
	put_le64(t, (LINUX_TABLES + 4096) | 3);
	for (unsigned i = 0; i < 4; i++)
		put_le64(t + 4096 + 8 * (size_t)i, (LINUX_TABLES + (2 + i) * UINT64_C(4096)) | 3);
	for (unsigned i = 0; i < 4 * 512; i++)
		put_le64(t + (size_t)2 * 4096 + 8 * (size_t)i, (uint64_t)i << 21 | 0x83);
}

static void put_params(const struct guest_memory *mem, uint8_t *params)
{
	struct e820_entry map[E820_MAX];
	unsigned n = linux_e820(mem, map);

	params[P_E820_COUNT] = (uint8_t)n;
	for (unsigned i = 0; i < n; i++) {
		put_le64(params + P_E820 + 20 * (size_t)i, map[i].start);
		put_le64(params + P_E820 + 20 * (size_t)i + 8, map[i].size);
		put_le32(params + P_E820 + 20 * (size_t)i + 16, map[i].type);
	}
	put_le64(params + P_ACPI_RSDP, ACPI_BASE);
	params[H_LOADER] = 0xff; /* a loader without a number */
}

/* By PVH: what a bzImage's header would say is made up; the kernel is told in another form */
static int load_pvh(const struct guest_memory *mem, const struct file *f, uint8_t *params,
		    struct linux_boot *ret, uint64_t *ret_end, struct err *err)
{
	uint32_t entry;

	if (elf_load(mem, f->fd, f->size, &entry, ret_end, err) < 0)
		return -1;
	ret->entry = entry;
	ret->pvh = true;
	put_le32(params + H_INITRD_MAX, INT32_MAX);
	put_le32(params + H_COMMAND_SIZE, PVH_COMMAND_MAX);
	return 0;
}

static void put_pvh(const struct guest_memory *mem, const uint8_t *params)
{
	const struct pvh_start start = {
		.command = LINUX_COMMAND,
		.rsdp = ACPI_BASE,
		.initrd = get_le32(params + H_RAMDISK),
		.initrd_len = get_le32(params + H_RAMDISK_SIZE),
	};

	pvh_put(mem, LINUX_PARAMS, &start);
}

int linux_load(const struct guest_memory *mem, const char *kernel, const char *initrd,
	       int initrd_fd, const char *command, struct linux_boot *ret, struct err *err)
{
	uint8_t *params = guest_range(mem, LINUX_PARAMS, PARAMS_SIZE);
	struct file f;
	uint64_t end;
	int rc;

	memset(params, 0, PARAMS_SIZE);
	ret->pvh = false;
	rc = open_file(&f, kernel, err);
	if (rc == 0) {
		rc = elf_is(f.fd) ? load_pvh(mem, &f, params, ret, &end, err)
				  : load_kernel(mem, &f, params, &ret->entry, &end, err);
		if (rc == 0)
			rc = put_command(mem, params, command, err);
		if (rc < 0)
			err_object(err, kernel);
	}
	if (f.fd >= 0)
		(void)close(f.fd);
	if (rc == 0)
		rc = with_initrds(mem, initrd, initrd_fd, params, end, err);
	if (rc < 0)
		return -1;
	if (ret->pvh) {
		put_pvh(mem, params);
		return 0;
	}
	put_tables(mem);
	put_params(mem, params);
	return 0;
}
