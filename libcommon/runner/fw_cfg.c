/* fw_cfg: see fw_cfg.h. */
#include "libcommon/runner/fw_cfg.h"

#include <stdio.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/runner/acpi.h"
#include "libcommon/runner/linux.h"
#include "libcommon/runner/pci.h"
#include "libcommon/runner/serial.h"

enum {
	KEY_SIGNATURE = 0,
	KEY_ID = 1,
	KEY_CPUS = 5,
	KEY_BOOT_MENU = 14,
	KEY_MAX_CPUS = 15,
	KEY_DIRECTORY = 0x19,
	KEY_FILES = 0x20,
	DIRECTORY_ENTRY = 64,
	FILES_MOST = 8,
	NAME = 56,
	E820_ENTRY = 20,
	/* The script: entries of 128 bytes (SeaBIOS, src/fw/romfile_loader.h) */
	LINK = 128,
	LINK_ALLOCATE = 1,
	LINK_POINTER = 2,
	LINK_CHECKSUM = 3,
	ZONE_HIGH = 1,
	ZONE_LOW = 2,
	RSDP = 36,	   /* its length; it is apart from the other tables, below 1 MiB */
	XSDT_ENTRIES = 36, /* and those of the RSDT */
};

#define UEFI_WINDOW UINT64_C(0x80000000)

static const char tables_file[] = "etc/acpi/tables", rsdp_file[] = "etc/acpi/rsdp";

static uint8_t *add(struct fw_cfg *f, uint16_t key, uint32_t len)
{
	uint8_t *at = f->space + f->used;

	if (f->items == FW_CFG_ITEMS_MAX || len > FW_CFG_SPACE - f->used)
		return NULL; /* the sizes are ours: it does not happen */
	f->item[f->items].key = key;
	f->item[f->items].data = at;
	f->item[f->items++].len = len;
	f->used += (len + 15) & ~15U;
	return at;
}

static void add_number(struct fw_cfg *f, uint16_t key, uint64_t v, uint32_t len)
{
	uint8_t raw[8], *at = add(f, key, len);

	put_le64(raw, v);
	if (at)
		memcpy(at, raw, len);
}

/* A file's entry in the directory, whose numbers are big endian */
static uint8_t *add_file(struct fw_cfg *f, uint8_t *directory, const char *name, uint32_t len)
{
	uint32_t n = get_be32(directory);
	uint8_t *entry = directory + 4 + DIRECTORY_ENTRY * n, *at;

	if (n == FILES_MOST)
		return NULL; /* as with add(): what is in it is ours */
	at = add(f, (uint16_t)(KEY_FILES + n), len);
	put_be32(directory, n + 1);
	put_be32(entry, len);
	put_be16(entry + 4, (uint16_t)(KEY_FILES + n));
	(void)snprintf((char *)entry + 8, NAME, "%s", name);
	return at;
}

static void file_number(struct fw_cfg *f, uint8_t *directory, const char *name, uint64_t v,
			uint32_t len)
{
	uint8_t raw[8], *at = add_file(f, directory, name, len);

	put_le64(raw, v);
	if (at)
		memcpy(at, raw, len);
}

/* Memory as it is; what firmware takes of it, it marks itself */
static void add_map(struct fw_cfg *f, uint8_t *directory, const struct guest_memory *mem)
{
	struct e820_entry all[E820_MAX];
	unsigned n = linux_e820(mem, all), kept = 0;
	uint8_t *at = add_file(f, directory, "etc/e820", E820_ENTRY * (mem->regions + 1));

	for (unsigned i = 0; at && i < mem->regions; i++, kept++) {
		put_le64(at + E820_ENTRY * kept, mem->region[i].start);
		put_le64(at + E820_ENTRY * kept + 8, mem->region[i].size);
		put_le32(at + E820_ENTRY * kept + 16, E820_RAM);
	}
	for (unsigned i = 0; at && i < n; i++) {
		if (all[i].type != E820_RESERVED || all[i].start < GUEST_HOLE_START)
			continue;
		put_le64(at + E820_ENTRY * kept, all[i].start);
		put_le64(at + E820_ENTRY * kept + 8, all[i].size);
		put_le32(at + E820_ENTRY * kept + 16, all[i].type);
	}
}

struct links {
	uint8_t *at;
	unsigned n;
};

static uint8_t *link_add(struct links *l, uint32_t command, const char *file)
{
	uint8_t *e = l->at + LINK * l->n++;

	put_le32(e, command);
	(void)snprintf((char *)e + 4, NAME, "%s", file);
	return e + 4 + NAME;
}

static void allocate(struct links *l, const char *file, uint32_t align, uint8_t zone)
{
	uint8_t *e = link_add(l, LINK_ALLOCATE, file);

	put_le32(e, align);
	e[4] = zone;
}

/* The address of the tables is added to what stands there */
static void pointer(struct links *l, const char *file, uint32_t off, uint8_t size)
{
	uint8_t *e = link_add(l, LINK_POINTER, file);

	(void)snprintf((char *)e, NAME, "%s", tables_file);
	put_le32(e + NAME, off);
	e[NAME + 4] = size;
}

static void checksum(struct links *l, const char *file, uint32_t where, uint32_t start,
		     uint32_t len)
{
	uint8_t *e = link_add(l, LINK_CHECKSUM, file);

	put_le32(e, where);
	put_le32(e + 4, start);
	put_le32(e + 8, len);
}

/* The tables as acpi_build() lays them out from address 0 on, then what has to be added to each address in them. Sums are made
 * anew: they begin with the byte 0. */
static void add_acpi(struct fw_cfg *f, uint8_t *directory, unsigned cpus, uint32_t window)
{
	enum { LINKS = 16 };
	static const uint32_t fadt_pointers[] = {36, 40};
	static uint8_t built[ACPI_SPACE];
	uint32_t len, xsdt, rsdt, fadt;
	uint8_t *tables, *rsdp;
	struct links l;

	memset(built, 0, sizeof(built));
	len = (uint32_t)acpi_build(built, 0, cpus, window);
	xsdt = (uint32_t)get_le64(built + 24);
	rsdt = get_le32(built + 16);
	fadt = (uint32_t)get_le64(built + xsdt + XSDT_ENTRIES);
	tables = add_file(f, directory, tables_file, len);
	rsdp = add_file(f, directory, rsdp_file, RSDP);
	l = (struct links){add_file(f, directory, "etc/table-loader", LINK * LINKS), 0};
	if (!tables || !rsdp || !l.at)
		return;
	memcpy(rsdp, built, RSDP);
	rsdp[8] = rsdp[32] = 0;
	memset(built, 0, RSDP);
	built[xsdt + 9] = built[rsdt + 9] = built[fadt + 9] = 0;
	memcpy(tables, built, len);
	allocate(&l, tables_file, 64, ZONE_HIGH);
	allocate(&l, rsdp_file, 16, ZONE_LOW);
	for (size_t i = 0; i < sizeof(fadt_pointers) / sizeof(fadt_pointers[0]); i++)
		pointer(&l, tables_file, fadt + fadt_pointers[i], 4);
	pointer(&l, tables_file, fadt + 140, 8);
	checksum(&l, tables_file, fadt + 9, fadt, get_le32(built + fadt + 4));
	pointer(&l, tables_file, xsdt + XSDT_ENTRIES, 8);
	pointer(&l, tables_file, xsdt + XSDT_ENTRIES + 8, 8);
	checksum(&l, tables_file, xsdt + 9, xsdt, get_le32(built + xsdt + 4));
	pointer(&l, tables_file, rsdt + XSDT_ENTRIES, 4);
	pointer(&l, tables_file, rsdt + XSDT_ENTRIES + 4, 4);
	checksum(&l, tables_file, rsdt + 9, rsdt, get_le32(built + rsdt + 4));
	pointer(&l, rsdp_file, 16, 4);
	pointer(&l, rsdp_file, 24, 8);
	checksum(&l, rsdp_file, 8, 0, 20);
	checksum(&l, rsdp_file, 32, 0, RSDP);
}

/* UEFI firmware places PCI devices anew: behind memory, from 2 GiB on */
static uint32_t window_of(const struct guest_memory *mem, bool uefi)
{
	return uefi ? (uint32_t)max_u64(mem->region[0].size, UEFI_WINDOW) : PCI_WINDOW;
}

void fw_cfg_init(struct fw_cfg *f, const struct guest_memory *mem, unsigned cpus, bool uefi)
{
	uint8_t *signature, *directory;

	memset(f, 0, sizeof(*f));
	(void)pthread_mutex_init(&f->lock, NULL);
	signature = add(f, KEY_SIGNATURE, 4);
	memcpy(signature, "QEMU", 4);
	add_number(f, KEY_ID, 1, 4); /* no DMA */
	add_number(f, KEY_CPUS, cpus, 2);
	add_number(f, KEY_MAX_CPUS, cpus, 2);
	directory = add(f, KEY_DIRECTORY, 4 + DIRECTORY_ENTRY * FILES_MOST);
	add_map(f, directory, mem);
	add_acpi(f, directory, cpus, window_of(mem, uefi));
	/* There is no screen: the BIOS's output and keyboard are the serial line's. No menu is waited for. */
	file_number(f, directory, "etc/sercon-port", SERIAL_PORT, 2);
	file_number(f, directory, "etc/show-boot-menu", 0, 1);
	file_number(f, directory, "etc/boot-fail-wait", 0, 4);
	if (uefi) {
		add_number(f, KEY_BOOT_MENU, 1,
			   2); /* only then it looks how long that is waited for */
		file_number(f, directory, "etc/boot-menu-wait", 0, 2);
	}
}

uint32_t fw_cfg_read(void *fw_cfg, uint16_t off, unsigned size)
{
	struct fw_cfg *f = fw_cfg;
	uint8_t v = 0;

	if (off != 1 || size != 1)
		return UINT32_MAX;
	(void)pthread_mutex_lock(&f->lock);
	for (unsigned i = 0; i < f->items; i++)
		if (f->item[i].key == f->selected && f->at < f->item[i].len)
			v = f->item[i].data[f->at];
	f->at += f->at < UINT32_MAX;
	(void)pthread_mutex_unlock(&f->lock);
	return v;
}

void fw_cfg_write(void *fw_cfg, uint16_t off, unsigned size, uint32_t value)
{
	struct fw_cfg *f = fw_cfg;

	if (off != 0 || size != 2)
		return; /* data are not written */
	(void)pthread_mutex_lock(&f->lock);
	f->selected = (uint16_t)value;
	f->at = 0;
	(void)pthread_mutex_unlock(&f->lock);
}
