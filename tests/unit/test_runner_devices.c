/* The machine's parts without KVM: ports, ACPI tables, memory map, the UART, power registers, ephemeral disks, CPUID, archives
 * that are cut off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libcommon/base/bytes.h"
#include "libcommon/image/image.h"
#include "libcommon/image/protocol.h"
#include "libcommon/runner/acpi.h"
#include "libcommon/runner/bus.h"
#include "libcommon/runner/disk.h"
#include "libcommon/runner/kvm.h"
#include "libcommon/runner/legacy.h"
#include "libcommon/runner/linux.h"
#include "libcommon/runner/pci.h"
#include "libcommon/runner/serial.h"

static struct {
	unsigned raised[24], level[24], messages;
	uint64_t address;
	uint32_t data;
} irqs;

static void on_line(void *ctx, unsigned gsi, bool high)
{
	(void)ctx;
	irqs.raised[gsi] += high && !irqs.level[gsi];
	irqs.level[gsi] = high;
}

static void on_msi(void *ctx, uint64_t address, uint32_t data)
{
	(void)ctx;
	irqs.messages++;
	irqs.address = address;
	irqs.data = data;
}

static const struct irq_sink sink = {on_line, on_msi, NULL};

/* ---- memory, memory map */

static void memory_bounds(void **state)
{
	struct guest_memory m;
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(guest_memory_create(&m, 4 << 20, NULL), 0);
	assert_non_null(guest_range(&m, 0, 4 << 20));
	assert_null(guest_range(&m, 0, (4 << 20) + 1));
	assert_null(guest_range(&m, 4 << 20, 1));
	assert_null(guest_range(&m, UINT64_MAX, 2));
	assert_null(guest_range(&m, 16, UINT64_MAX));
	assert_null(guest_range(&m, 16, 0));
	guest_memory_destroy(&m);
	assert_int_equal(guest_memory_create(&m, UINT64_C(1) << 50, &err), -1);
	assert_int_equal(err.code, ERR_UNSUPPORTED);
	assert_int_equal(guest_memory_create(&m, 4096, &err), -1);
	assert_int_equal(guest_memory_create(&m, (4 << 20) + 512, &err), -1);
	assert_int_equal(err.code, ERR_USAGE);
	/* Around the hole: nothing leads from one region into the other */
	assert_int_equal(guest_memory_create(&m, UINT64_C(4) << 30, NULL), 0);
	assert_int_equal(m.regions, 2);
	assert_null(guest_range(&m, GUEST_HOLE_START - 1, 2));
	assert_null(guest_range(&m, GUEST_HOLE_START, 1));
	assert_non_null(guest_range(&m, GUEST_HOLE_END, UINT64_C(1) << 30));
	assert_null(guest_range(&m, GUEST_HOLE_END, (UINT64_C(1) << 30) + 1));

	struct e820_entry map[E820_MAX];
	unsigned n = linux_e820(&m, map);
	uint64_t ram = 0;

	for (unsigned i = 0; i < n; i++) {
		assert_true(i == 0 || map[i].start >= map[i - 1].start + map[i - 1].size);
		if (map[i].type == E820_RAM) {
			ram += map[i].size;
			assert_non_null(guest_range(&m, map[i].start, map[i].size));
		}
	}
	assert_true(ram > (UINT64_C(4) << 30) - (1 << 20) && ram < UINT64_C(4) << 30);
	guest_memory_destroy(&m);
}

/* ---- ACPI */

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	for (size_t i = 0; i < len; i++)
		s = (uint8_t)(s + p[i]);
	return s;
}

static void acpi_tables(void **state)
{
	static uint8_t t[ACPI_SPACE];
	size_t len = 0, xsdt, fadt, dsdt;

	(void)state;
	for (unsigned cpus = 1; cpus <= 16; cpus++) {
		memset(t, 0, sizeof(t));
		len = acpi_build(t, ACPI_BASE, cpus, PCI_WINDOW);
	}
	assert_true(len < ACPI_SPACE);
	assert_memory_equal(t, "RSD PTR ", 8);
	assert_int_equal(sum(t, 20), 0);
	assert_int_equal(sum(t, 36), 0);
	xsdt = get_le64(t + 24) - ACPI_BASE;
	assert_memory_equal(t + xsdt, "XSDT", 4);
	assert_int_equal(sum(t + xsdt, get_le32(t + xsdt + 4)), 0);
	fadt = get_le64(t + xsdt + 36) - ACPI_BASE;
	assert_memory_equal(t + fadt, "FACP", 4);
	assert_int_equal(sum(t + fadt, get_le32(t + fadt + 4)), 0);
	dsdt = get_le64(t + fadt + 140) - ACPI_BASE;
	assert_memory_equal(t + dsdt, "DSDT", 4);
	assert_int_equal(sum(t + dsdt, get_le32(t + dsdt + 4)), 0);
	assert_memory_equal(t + get_le32(t + fadt + 36) - ACPI_BASE, "FACS", 4);
	assert_int_equal(get_le32(t + fadt + 36) % 64, 0);

	size_t madt = get_le64(t + xsdt + 44) - ACPI_BASE, at = madt + 44,
	       end = madt + get_le32(t + madt + 4);
	unsigned cpus = 0;

	assert_int_equal(sum(t + madt, end - madt), 0);
	for (; at < end; at += t[at + 1]) {
		assert_true(t[at + 1] >= 2);
		if (t[at] == 0)
			assert_int_equal(t[at + 3], cpus++);
	}
	assert_int_equal(at, end);
	assert_int_equal(cpus, 16);
}

/* ---- ports */

static uint32_t echo_read(void *dev, uint16_t off, unsigned size)
{
	return *(uint32_t *)dev + off + size * 0x100;
}

static void echo_write(void *dev, uint16_t off, unsigned size, uint32_t value)
{
	*(uint32_t *)dev = value ^ (uint32_t)off << 16 ^ size << 24;
}

static void port_bus(void **state)
{
	static struct bus b;
	uint32_t dev = 0, v = 0;
	uint8_t odd[8] = {0};

	(void)state;
	assert_true(bus_add(&b, &(struct bus_range){0x100, 4, echo_read, echo_write, &dev, false}));
	bus_access(&b, false, 0x100, 4, &v);
	assert_int_equal(v, 0x400);
	bus_access(&b, false, 0x102, 4, &v); /* leaves the device: bytes, and all ones behind it */
	assert_int_equal(v, 0xffff0302);
	bus_access(&b, false, 0x2000, 2, &v);
	assert_int_equal(v & 0xffff, 0xffff);
	bus_access(&b, false, 0xffff, 4, &v);
	bus_access(&b, false, 0x100, 8, odd);
	assert_int_equal(odd[7], 0xff);
	bus_access(&b, true, 0x103, 1, &v);
	assert_int_equal(dev, (v & 0xff) ^ 3 << 16 ^ 1 << 24);
	while (bus_add(&b, &(struct bus_range){0, 1, NULL, NULL, NULL, false}))
		;
	assert_int_equal(b.ranges, BUS_RANGES_MAX);
}

/* ---- UART */

static uint8_t out[64];
static unsigned outs, rooms;

static void on_byte(void *ctx, uint8_t byte)
{
	(void)ctx;
	out[outs++ % sizeof(out)] = byte;
}

static void on_room(void *ctx)
{
	(void)ctx;
	rooms++;
}

static void uart(void **state)
{
	struct serial s;
	uint8_t many[100];

	(void)state;
	memset(&irqs, 0, sizeof(irqs));
	serial_init(&s, &sink);
	s.output = on_byte;
	s.room = on_room;
	serial_write(&s, 0, 1, 'x');
	assert_int_equal(outs, 1);
	assert_int_equal(out[0], 'x');
	assert_int_equal(irqs.raised[4], 0);
	/* Enabling it tells that the transmitter is empty, each byte tells again; reading the cause clears it */
	serial_write(&s, 1, 1, 2);
	assert_int_equal(irqs.raised[4], 1);
	assert_int_equal(serial_read(&s, 2, 1), 2);
	assert_int_equal(irqs.level[4], 0);
	assert_int_equal(serial_read(&s, 2, 1), 1);
	serial_write(&s, 0, 1, 'y');
	serial_write(&s, 0, 1, 'z');
	assert_int_equal(irqs.raised[4], 3);
	(void)serial_read(&s, 2, 1);
	/* Input waits in the FIFO, and none is lost */
	memset(many, 'i', sizeof(many));
	assert_int_equal(serial_input(&s, many, sizeof(many)), SERIAL_FIFO);
	assert_int_equal(serial_room(&s), 0);
	assert_int_equal(serial_read(&s, 5, 1), 0x61);
	serial_write(&s, 1, 1, 3);
	assert_int_equal(serial_read(&s, 2, 1) & 0x0f, 4);
	rooms = 0;
	for (unsigned i = 0; i < SERIAL_FIFO; i++)
		assert_int_equal(serial_read(&s, 0, 1), 'i');
	assert_int_equal(rooms, 2); /* no longer full, and empty */
	assert_int_equal(serial_read(&s, 5, 1), 0x60);
	assert_int_equal(serial_room(&s), SERIAL_FIFO);
	/* The divisor is behind the data register */
	serial_write(&s, 3, 1, 0x83);
	serial_write(&s, 0, 1, 12);
	assert_int_equal(serial_read(&s, 0, 1), 12);
	serial_write(&s, 3, 1, 3);
	/* Loopback: what the driver's probe looks at */
	outs = 0;
	serial_write(&s, 4, 1, 0x1a);
	assert_int_equal(serial_read(&s, 6, 1) & 0xf0, 0x90);
	serial_write(&s, 0, 1, 'l');
	assert_int_equal(outs, 0);
	assert_int_equal(serial_read(&s, 0, 1), 'l');
	assert_int_equal(serial_read(&s, 7, 1), 0);
	serial_write(&s, 7, 1, 0x5a);
	assert_int_equal(serial_read(&s, 7, 1), 0x5a);
}

/* ---- power, clock */

static int last_event;

static void on_event(void *ctx, enum legacy_event e)
{
	(void)ctx;
	last_event = (int)e;
}

static uint32_t port_in(const struct bus *b, uint16_t port, unsigned size)
{
	uint32_t v = 0;

	bus_access(b, false, port, size, &v);
	return v;
}

static void port_out(const struct bus *b, uint16_t port, unsigned size, uint32_t v)
{
	bus_access(b, true, port, size, &v);
}

static unsigned cmos(const struct bus *b, uint8_t at)
{
	port_out(b, CMOS_PORT, 1, at);
	return port_in(b, CMOS_PORT + 1, 1);
}

static void memory_in_cmos(void **state)
{
	static struct bus b;
	struct legacy l;

	(void)state;
	legacy_init(&l, &sink);
	assert_true(legacy_attach(&l, &b));
	legacy_set_memory(&l, GUEST_HOLE_START, UINT64_C(0x123450000));
	assert_int_equal(cmos(&b, 0x15) | cmos(&b, 0x16) << 8, 640);
	assert_int_equal(cmos(&b, 0x30) | cmos(&b, 0x31) << 8, 0xffff);
	assert_int_equal(cmos(&b, 0x34) | cmos(&b, 0x35) << 8, 0xbf00);
	assert_int_equal(cmos(&b, 0x5b) | cmos(&b, 0x5c) << 8 | cmos(&b, 0x5d) << 16, 0x12345);
	legacy_set_memory(&l, 8 << 20, 0);
	assert_int_equal(cmos(&b, 0x17) | cmos(&b, 0x18) << 8, 7 << 10);
	assert_int_equal(cmos(&b, 0x34) | cmos(&b, 0x35) | cmos(&b, 0x5d), 0);
}

static void power_and_clock(void **state)
{
	static struct bus b;
	struct legacy l;

	(void)state;
	memset(&irqs, 0, sizeof(irqs));
	legacy_init(&l, &sink);
	l.event = on_event;
	assert_true(legacy_attach(&l, &b));
	last_event = -1;
	assert_int_equal(port_in(&b, PM_PORT + 4, 2), 1); /* ACPI is on */
	port_out(&b, PM_PORT + 4, 2, 1 << 13 | 1 << 10);  /* some other sleep */
	assert_int_equal(last_event, -1);
	port_out(&b, PM_PORT + 4, 2, 1 << 13 | PM_SLEEP_OFF << 10);
	assert_int_equal(last_event, LEGACY_POWEROFF);
	port_out(&b, 0x64, 1, 0xfe);
	assert_int_equal(last_event, LEGACY_RESET);
	port_out(&b, PVPANIC_PORT, 1, 1);
	assert_int_equal(last_event, LEGACY_PANIC);
	assert_int_equal(port_in(&b, 0x64, 1) & 2, 0); /* a reset need not wait */
	/* The button is an interrupt when it is enabled, until its status is cleared */
	legacy_press_power(&l);
	assert_int_equal(irqs.raised[9], 0);
	port_out(&b, PM_PORT + 2, 2, 0x100);
	assert_int_equal(irqs.raised[9], 1);
	assert_int_equal(port_in(&b, PM_PORT, 4), 0x1000100);
	port_out(&b, PM_PORT, 2, 0x100);
	assert_int_equal(irqs.level[9], 0);
	port_out(&b, 0x70, 1, 0x0a);
	assert_int_equal(port_in(&b, 0x71, 1) & 0x80, 0);
	port_out(&b, 0x70, 1, 0x32);
	assert_int_equal(port_in(&b, 0x71, 1), 0x20);
	for (unsigned i = 0; i < 256; i++) {
		port_out(&b, 0x70, 1, i);
		(void)port_in(&b, 0x71, 1);
		port_out(&b, 0x71, 1, i);
	}
}

/* ---- disks */

static void ephemeral_disk(void **state)
{
	enum { BYTES = 100 * 1024 + 512 };
	static uint8_t data[BYTES], want[BYTES], got[BYTES];
	const struct image_open_opts opts = {.format = "raw"};
	struct image *img;
	struct bfile *file;
	struct disk *d, *ro;
	struct err err = ERR_INIT;
	uint32_t seed = 1;

	(void)state;
	for (unsigned i = 0; i < BYTES; i++)
		data[i] = (uint8_t)(i / 512 + 1);
	memcpy(want, data, BYTES);
	assert_int_equal(bfile_of_memory(&file, data, BYTES, NULL), 0);
	assert_int_equal(image_open_bfile(&img, file, &opts, NULL), 0);
	assert_int_equal(disk_open(&d, img, DISK_EPHEMERAL, &err), 0);
	assert_int_equal(disk_open(&ro, img, DISK_READ_ONLY, &err), 0);
	for (unsigned i = 0; i < 2000; i++) {
		uint32_t off, len;

		seed = seed * 1103515245 + 12345;
		off = (seed >> 8) % (BYTES - 1);
		len = 1 + (seed >> 4) % 9000;
		if (len > BYTES - off)
			len = BYTES - off;
		if (i % 3) {
			memset(want + off, (int)i, len);
			assert_int_equal(disk_write(d, want + off, off, len, &err), 0);
		} else {
			memset(want + off, 0, len);
			assert_int_equal(disk_zero(d, off, len, true, &err), 0);
		}
		off = off / 2;
		assert_int_equal(disk_read(d, got, off, len, &err), 0);
		assert_memory_equal(got, want + off, len);
	}
	assert_int_equal(disk_read(d, got, 0, BYTES, &err), 0);
	assert_memory_equal(got, want, BYTES);
	assert_int_equal(disk_read(ro, got, 0, BYTES, &err), 0);
	for (unsigned i = 0; i < BYTES; i++)
		assert_int_equal(got[i], (uint8_t)(i / 512 + 1)); /* the image is as it was */
	assert_int_equal(disk_write(ro, got, 0, 512, &err), -1);
	assert_int_equal(err.code, ERR_DENIED);
	assert_int_equal(disk_read(d, got, BYTES, 1, &err), -1);
	assert_int_equal(disk_write(d, got, UINT64_MAX, 2, &err), -1);
	assert_int_equal(disk_zero(d, 1, UINT64_MAX, false, &err), -1);
	disk_close(d);
	disk_close(ro);
	image_close(img);
}

/* ---- CPUID */

static void cpuid_of_each(void **state)
{
	(void)state;
	for (unsigned count = 1; count <= 16; count++) {
		struct kvm_cpuid_entry2 e[] = {
			{.function = 1, .ebx = 0xff00ff00, .edx = 1 << 28},
			{.function = 0xa, .eax = 0xffff},
			{.function = 0xb, .index = 0},
			{.function = 0xb, .index = 1},
			{.function = 0x80000008, .ecx = 0xffff},
		};

		kvm_cpuid_filter(e, sizeof(e) / sizeof(e[0]), count - 1, count);
		assert_int_equal(e[0].ebx >> 24, count - 1);
		assert_int_equal(e[0].ebx >> 16 & 0xff, count);
		assert_int_equal(e[0].edx >> 28 & 1, count > 1);
		assert_true(e[0].ecx & 0x80000000);
		assert_int_equal(e[1].eax, 0);
		assert_int_equal(e[3].ebx, count);
		assert_int_equal(e[3].edx, count - 1);
		assert_true(1U << e[3].eax >= count && 1U << e[3].eax < 2 * count);
		assert_int_equal(e[4].ecx & 0xff, count - 1);
	}
}

/* ---- archives */

/* "name" with @size bytes; Return: its length, padded */
static size_t cpio_entry(uint8_t *at, const char *name, uint32_t size)
{
	char text[120];

	memset(at, 0, 200 + size);
	(void)snprintf(text, sizeof(text),
		       "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", 1, 0100644, 0,
		       0, 1, 0, size, 0, 0, 0, 0, (unsigned)strlen(name) + 1, 0);
	memcpy(at, text, 110);
	memcpy(at + 110, name, strlen(name) + 1);
	return ((110 + strlen(name) + 1 + 3) & ~3UL) + ((size + 3) & ~3UL);
}

static void initrd_cut_off(void **state)
{
	static uint8_t a[4096];
	static const uint8_t zstd[] = {0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0x19, 0,
				       0,    'a',  'b',	 'c',  1,    2,	   3,	 4};
	size_t member = cpio_entry(a, "hello", 700), len = member;

	(void)state;
	len += cpio_entry(a + len, "TRAILER!!!", 0);
	assert_int_equal(linux_check_initrd(a, len, NULL), 0);
	assert_int_equal(linux_check_initrd(a, len + 400, NULL), 0); /* zeros behind it */
	for (size_t cut = 6; cut < len - 4; cut++)
		assert_int_equal(linux_check_initrd(a, cut, NULL),
				 cut == member ? 0 : -1); /* whole without a trailer */
	a[60] = 'x';					  /* no number */
	assert_int_equal(linux_check_initrd(a, len, NULL), -1);
	memcpy(a + 54, "ffffffff", 8);
	assert_int_equal(linux_check_initrd(a, len, NULL), -1);
	assert_int_equal(linux_check_initrd(zstd, sizeof(zstd), NULL), 0);
	for (size_t cut = 4; cut < sizeof(zstd); cut++)
		assert_int_equal(linux_check_initrd(zstd, cut, NULL), -1);
	assert_int_equal(linux_check_initrd((const uint8_t *)"\x1f\x8b", 2, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_bounds),  cmocka_unit_test(acpi_tables),
		cmocka_unit_test(port_bus),	  cmocka_unit_test(uart),
		cmocka_unit_test(memory_in_cmos), cmocka_unit_test(power_and_clock),
		cmocka_unit_test(ephemeral_disk), cmocka_unit_test(cpuid_of_each),
		cmocka_unit_test(initrd_cut_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
