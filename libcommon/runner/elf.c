/* ELF kernels: see elf.h. */
#include "libcommon/runner/elf.h"

#include <elf.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/size.h"
#include "libcommon/runner/linux.h"

enum {
	PARTS_MAX = 128,
	NOTES_MAX = 1 << 20,
	NOTE_HEAD = 12,
	NOTE_ENTRY = 18, /* XEN_ELFNOTE_PHYS32_ENTRY */
	/* struct hvm_start_info, and what it names, from the page's beginning */
	START_MODULES = 0x40,
	START_MAP = 0x80,
	START_VERSION = 1,
	MAP_ENTRY = 24,
};
#define START_MAGIC UINT32_C(0x336ec578)

bool elf_is(int fd)
{
	uint8_t magic[SELFMAG];

	return io_pread_upto(fd, magic, sizeof(magic), 0, NULL) == SELFMAG &&
	       memcmp(magic, ELFMAG, SELFMAG) == 0;
}

static int not_a_kernel(const char *why, struct err *err)
{
	err_set(err, ERR_UNSUPPORTED, "not a kernel that can be started here: %s", why);
	return err_hint(err, "wanted is a bzImage, or an ELF file with a PVH entry, for x86-64");
}

static int read_parts(int fd, uint64_t size, Elf64_Ehdr *h, Elf64_Phdr *parts, struct err *err)
{
	if (size < sizeof(*h) || io_pread(fd, h, sizeof(*h), 0, err) < 0)
		return err_set(err, ERR_CORRUPT, "cut off: %" PRIu64 " bytes of an ELF file", size);
	if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB ||
	    h->e_machine != EM_X86_64)
		return not_a_kernel("an ELF file for another machine", err);
	if (h->e_phentsize != sizeof(*parts) || !h->e_phnum || h->e_phnum > PARTS_MAX)
		return err_set(err, ERR_CORRUPT, "an ELF file with %u parts of %u bytes",
			       h->e_phnum, h->e_phentsize);
	if (!range_inside(h->e_phoff, h->e_phnum * sizeof(*parts), size))
		return err_set(err, ERR_CORRUPT, "cut off: its table of parts is not there");
	return io_pread(fd, parts, h->e_phnum * sizeof(*parts), h->e_phoff, err);
}

static int load_part(const struct guest_memory *mem, int fd, uint64_t size, const Elf64_Phdr *p,
		     uint64_t *end, struct err *err)
{
	char need[SIZE_TEXT_MAX];
	uint8_t *to;

	if (!p->p_memsz)
		return 0;
	if (p->p_filesz > p->p_memsz || !range_inside(p->p_offset, p->p_filesz, size))
		return err_set(err, ERR_CORRUPT,
			       "cut off, or damaged: a part of %" PRIu64 " bytes at %" PRIu64
			       " is not there",
			       (uint64_t)p->p_filesz, (uint64_t)p->p_offset);
	if (p->p_paddr < ELF_LOWEST)
		return not_a_kernel("it wants to lie below 1 MiB", err);
	to = guest_range(mem, p->p_paddr, p->p_memsz);
	if (!to) {
		err_set(err, ERR_USAGE, "the kernel needs memory of %s up to %#" PRIx64,
			size_format(p->p_memsz, need), (uint64_t)p->p_paddr + p->p_memsz);
		return err_hint(err, "give it more with --memory");
	}
	if (p->p_paddr + p->p_memsz > *end)
		*end = p->p_paddr + p->p_memsz;
	memset(to + p->p_filesz, 0, (size_t)(p->p_memsz - p->p_filesz));
	return p->p_filesz ? io_pread(fd, to, (size_t)p->p_filesz, p->p_offset, err) : 0;
}

/* Notes: length of the name, of the value, type, then both, each up to a multiple of four. Return: the entry, 0: none */
static uint32_t entry_of(const uint8_t *notes, size_t len)
{
	for (size_t at = 0; len - at >= NOTE_HEAD;) {
		uint64_t name = get_le32(notes + at), value = get_le32(notes + at + 4);
		uint32_t type = get_le32(notes + at + 8);
		uint64_t need = round_up(name, 4) + round_up(value, 4);

		at += NOTE_HEAD;
		if (need > len - at)
			break;
		if (type == NOTE_ENTRY && name == 4 && memcmp(notes + at, "Xen", 4) == 0 &&
		    value >= 4)
			return get_le32(notes + at + 4);
		at += (size_t)need;
	}
	return 0;
}

static int find_entry(int fd, uint64_t size, const Elf64_Phdr *p, uint32_t *entry, struct err *err)
{
	CLEANUP_FREE uint8_t *notes = NULL;

	if (p->p_filesz > NOTES_MAX || !range_inside(p->p_offset, p->p_filesz, size))
		return err_set(err, ERR_CORRUPT, "cut off, or damaged: its notes are not there");
	notes = malloc((size_t)p->p_filesz + 1);
	if (!notes)
		return err_nomem(err);
	if (io_pread(fd, notes, (size_t)p->p_filesz, p->p_offset, err) < 0)
		return -1;
	*entry = entry_of(notes, (size_t)p->p_filesz);
	return 0;
}

int elf_load(const struct guest_memory *mem, int fd, uint64_t size, uint32_t *ret_entry,
	     uint64_t *ret_end, struct err *err)
{
	Elf64_Phdr parts[PARTS_MAX];
	uint32_t entry = 0;
	Elf64_Ehdr h;

	*ret_end = ELF_LOWEST;
	if (read_parts(fd, size, &h, parts, err) < 0)
		return -1;
	for (unsigned i = 0; i < h.e_phnum && !entry; i++)
		if (parts[i].p_type == PT_NOTE && find_entry(fd, size, &parts[i], &entry, err) < 0)
			return -1;
	if (!entry)
		return not_a_kernel("an ELF file without a PVH entry", err);
	for (unsigned i = 0; i < h.e_phnum; i++)
		if (parts[i].p_type == PT_LOAD &&
		    load_part(mem, fd, size, &parts[i], ret_end, err) < 0)
			return -1;
	if (!guest_range(mem, entry, 1))
		return err_set(err, ERR_CORRUPT, "its PVH entry %#" PRIx32 " is not in memory",
			       entry);
	*ret_entry = entry;
	return 0;
}

void pvh_put(const struct guest_memory *mem, uint64_t at, const struct pvh_start *start)
{
	uint8_t *p = guest_range(mem, at, 4096);
	struct e820_entry map[E820_MAX];
	unsigned n = linux_e820(mem, map);

	memset(p, 0, 4096);
	put_le32(p, START_MAGIC);
	put_le32(p + 4, START_VERSION);
	if (start->initrd_len) {
		put_le32(p + 12, 1);
		put_le64(p + 16, at + START_MODULES);
		put_le64(p + START_MODULES, start->initrd);
		put_le64(p + START_MODULES + 8, start->initrd_len);
	}
	put_le64(p + 24, start->command);
	put_le64(p + 32, start->rsdp);
	put_le64(p + 40, at + START_MAP);
	put_le32(p + 48, n);
	for (unsigned i = 0; i < n; i++) {
		uint8_t *e = p + START_MAP + MAP_ENTRY * (size_t)i;

		put_le64(e, map[i].start);
		put_le64(e + 8, map[i].size);
		put_le32(e + 16, map[i].type);
	}
}
