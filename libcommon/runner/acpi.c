/* ACPI tables: see acpi.h. */
#include "libcommon/runner/acpi.h"

#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/runner/aml.h"
#include "libcommon/runner/legacy.h"
#include "libcommon/runner/pci.h"
#include "libcommon/runner/serial.h"

enum {
	HEADER = 36,
	RSDP_LEN = 36,
	FACS_LEN = 64,
	FADT_LEN = 244,
	OP_SCOPE = 0x10,
	OP_PACKAGE = 0x12
};

static void checksum(uint8_t *at, size_t len, size_t where)
{
	uint8_t sum = 0;

	at[where] = 0;
	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + at[i]);
	at[where] = (uint8_t)-sum;
}

/* The header that all tables but RSDP and FACS have */
static void finish(uint8_t *at, const char *signature, uint8_t revision, size_t len)
{
	memcpy(at, signature, 4);
	put_le32(at + 4, (uint32_t)len);
	at[8] = revision;
	memcpy(at + 10, "VMKIT ", 6);
	memcpy(at + 16, "VMRUN   ", 8);
	put_le32(at + 24, 1);
	memcpy(at + 28, "VMKI", 4);
	put_le32(at + 32, 1);
	checksum(at, len, 9);
}

/* Each slot's INTA has an input of the IOAPIC */
static void interrupt_routing(struct aml *a)
{
	size_t all, one;

	aml_name(a, "_PRT");
	all = aml_open(a, OP_PACKAGE);
	aml_byte(a, PCI_SLOTS);
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		one = aml_open(a, OP_PACKAGE);
		aml_byte(a, 4);
		aml_int(a, slot << 16 | 0xffff);
		aml_int(a, 0);
		aml_int(a, 0);
		aml_int(a, pci_gsi(slot));
		aml_close(a, one);
	}
	aml_close(a, all);
}

static void host_bridge(struct aml *a, uint32_t window)
{
	size_t device = aml_device(a, "PCI0", "PNP0A03"), crs;

	aml_name(a, "_UID");
	aml_int(a, 0);
	crs = aml_crs_open(a);
	aml_res_space(a, 2, 0, 0);
	aml_res_io(a, 0xcf8, 8);
	aml_res_space(a, 1, 0, 0xcf7);
	aml_res_space(a, 1, 0xd00, 0xffff);
	aml_res_space(a, 0, window, PCI_WINDOW_END - 1);
	aml_crs_close(a, crs);
	interrupt_routing(a);
	aml_close(a, device);
}

static void port_device(struct aml *a, const char *name, const char *hid, uint16_t port,
			uint8_t len, int irq)
{
	size_t device = aml_device(a, name, hid), crs;

	aml_name(a, "_UID");
	aml_int(a, 0);
	crs = aml_crs_open(a);
	aml_res_io(a, port, len);
	if (irq >= 0)
		aml_res_irq(a, (unsigned)irq);
	aml_crs_close(a, crs);
	aml_close(a, device);
}

static size_t dsdt(uint8_t *at, size_t max, uint32_t window)
{
	struct aml a = {.at = at, .len = HEADER, .max = max};
	size_t block;

	aml_name(&a, "_S5_");
	block = aml_open(&a, OP_PACKAGE);
	aml_byte(&a, 4);
	aml_int(&a, PM_SLEEP_OFF);
	aml_int(&a, PM_SLEEP_OFF);
	aml_int(&a, 0);
	aml_int(&a, 0);
	aml_close(&a, block);
	block = aml_open(&a, OP_SCOPE);
	aml_bytes(&a, "\\_SB_", 5);
	host_bridge(&a, window);
	port_device(&a, "COM1", "PNP0501", SERIAL_PORT, SERIAL_PORTS, SERIAL_GSI);
	port_device(&a, "RTC_", "PNP0B00", CMOS_PORT, 2, -1);
	port_device(&a, "PEVT", "QEMU0001", PVPANIC_PORT, 1, -1);
	aml_close(&a, block);
	finish(at, "DSDT", 2, a.len);
	return a.len;
}

static size_t facs(uint8_t *at)
{
	memcpy(at, "FACS", 4);
	put_le32(at + 4, FACS_LEN);
	at[32] = 1;
	return FACS_LEN;
}

static void port_address(uint8_t *at, uint64_t port, uint8_t bits, uint8_t access)
{
	at[0] = 1; /* ports */
	at[1] = bits;
	at[3] = access;
	put_le64(at + 4, port);
}

static size_t fadt(uint8_t *at, uint64_t facs_at, uint64_t dsdt_at)
{
	put_le32(at + 36, (uint32_t)facs_at);
	put_le32(at + 40, (uint32_t)dsdt_at);
	put_le16(at + 46, PM_SCI);
	put_le32(at + 56, PM_PORT);
	put_le32(at + 64, PM_PORT + 4);
	put_le32(at + 76, PM_PORT + 8);
	at[88] = 4; /* lengths of the three */
	at[89] = 2;
	at[91] = 4;
	put_le16(at + 96, 0xfff); /* no C2, no C3 */
	put_le16(at + 98, 0xfff);
	at[108] = 0x32; /* the century in CMOS */
	/* Devices on ISA, no keyboard controller (its probe takes half a second), no VGA */
	put_le16(at + 109, 1 | 4);
	/* WBINVD, C1, no sleep button, no RTC in the fixed registers, 32-bit timer, reset register */
	put_le32(at + 112, 1 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 10);
	port_address(at + 116, 0xcf9, 8, 1);
	at[128] = 6; /* what is written there to reset */
	put_le64(at + 140, dsdt_at);
	port_address(at + 148, PM_PORT, 32, 2);
	port_address(at + 172, PM_PORT + 4, 16, 2);
	port_address(at + 208, PM_PORT + 8, 32, 3);
	finish(at, "FACP", 4, FADT_LEN);
	return FADT_LEN;
}

static size_t madt(uint8_t *at, unsigned cpus)
{
	uint8_t *p = at + HEADER;

	put_le32(p, 0xfee00000);
	put_le32(p + 4, 1); /* the two 8259s are there too */
	p += 8;
	for (unsigned i = 0; i < cpus; i++, p += 8) {
		p[1] = 8;
		p[2] = p[3] = (uint8_t)i;
		put_le32(p + 4, 1);
	}
	p[0] = 1; /* IOAPIC */
	p[1] = 12;
	put_le32(p + 4, 0xfec00000);
	p += 12;
	p[0] = 2; /* the SCI is level, active high; other interrupts of ISA are what they are */
	p[1] = 10;
	p[3] = PM_SCI;
	put_le32(p + 4, PM_SCI);
	put_le16(p + 8, 0xd);
	p += 10;
	p[0] = 4; /* NMI on LINT1 of all */
	p[1] = 6;
	p[2] = 0xff;
	p[5] = 1;
	p += 6;
	finish(at, "APIC", 4, (size_t)(p - at));
	return (size_t)(p - at);
}

static void rsdp(uint8_t *at, uint64_t xsdt_at, uint64_t rsdt_at)
{
	memcpy(at, "RSD PTR ", 8);
	memcpy(at + 9, "VMKIT ", 6);
	at[15] = 2;
	put_le32(at + 16, (uint32_t)rsdt_at);
	put_le32(at + 20, RSDP_LEN);
	put_le64(at + 24, xsdt_at);
	checksum(at, 20, 8);
	checksum(at, RSDP_LEN, 32);
}

size_t acpi_build(uint8_t *out, uint64_t base, unsigned cpus, uint32_t window)
{
	size_t at = 64, facs_at, dsdt_at, fadt_at, madt_at, xsdt_at;

	facs_at = at; /* on a multiple of 64 */
	at += facs(out + at);
	dsdt_at = at;
	at = round_up(at + dsdt(out + at, ACPI_SPACE - at, window), 16);
	fadt_at = at;
	at = round_up(at + fadt(out + at, base + facs_at, base + dsdt_at), 16);
	madt_at = at;
	at = round_up(at + madt(out + at, cpus), 16);
	xsdt_at = at;
	put_le64(out + at + HEADER, base + fadt_at);
	put_le64(out + at + HEADER + 8, base + madt_at);
	finish(out + at, "XSDT", 1, HEADER + 16);
	/* The same with 32 bits: GRUB looks there alone when it powers off */
	at = round_up(at + HEADER + 16, 16);
	put_le32(out + at + HEADER, (uint32_t)(base + fadt_at));
	put_le32(out + at + HEADER + 4, (uint32_t)(base + madt_at));
	finish(out + at, "RSDT", 1, HEADER + 8);
	rsdp(out, base + xsdt_at, base + at);
	return at + HEADER + 8;
}
