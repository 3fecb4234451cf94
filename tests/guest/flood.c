/* A queue of the console that holds hundreds of gigabytes: 256 chains of the same 256 descriptors, each all of memory. "flood:QUEUE"
 * resets the device then, as kernels do that power off; "flood:QUEUE:off" does not; with "flood:QUEUE:ap" a second processor
 * powers off meanwhile. */
#include "tests/guest/virtio.h"

enum {
	CONSOLE = 3,
	RING = 0x300000, /* descriptors, available, used, a page each */
	ENTRIES = 256,
	BIG = 0x600000
};

/* Counts for a moment in real mode, then powers off */
static void power_off_by_another(void)
{
	static const uint8_t code[] = {
		0xba, 0x04, 0x06,		    /* mov $0x604, %dx */
		0x66, 0xb9, 0x00, 0x00, 0x10, 0x00, /* mov $0x100000, %ecx */
		0x66, 0x49, 0x75, 0xfc,		    /* 1: dec %ecx; jnz 1b */
		0xb8, 0x00, 0x34, 0xef,		    /* mov $0x3400, %ax; out %ax, (%dx) */
		0xf4, 0xeb, 0xfd};		    /* 2: hlt; jmp 2b */

	for (unsigned i = 0; i < sizeof(code); i++)
		AT(uint8_t, 0x3000 + i) = code[i];
	AT(uint32_t, 0xfee000f0) = 0x1ff;
	AT(uint32_t, 0xfee00300) = 0xc4500;
	for (volatile unsigned i = 0; i < 1000; i++)
		;
	AT(uint32_t, 0xfee00300) = 0xc4603;
}

void flood(const char *what)
{
	struct vdev d;
	uint16_t queue = (uint16_t)(*what - '0');

	if (!virtio_find(CONSOLE, 0, &d)) {
		put("no console\n");
		return;
	}
	pci_config_write(d.slot, 4, 7);
	for (unsigned i = 0; i < 0x3000; i += 8)
		AT(uint64_t, RING + i) = 0;
	for (unsigned i = 0; i < ENTRIES; i++) {
		uint64_t at = RING + 16 * i;

		AT(uint64_t, at) = 0x100000;
		AT(uint32_t, at + 8) = BIG;
		AT(uint16_t, at + 12) = i + 1 < ENTRIES; /* goes on */
		AT(uint16_t, at + 14) = (uint16_t)(i + 1);
	}
	AT(uint8_t, d.common + 0x14) = 0;
	AT(uint8_t, d.common + 0x14) = 3;
	for (unsigned half = 0; half < 2; half++) {
		AT(uint32_t, d.common + 8) = half;
		AT(uint32_t, d.common + 12) = half ? 1 : 2; /* version 1, several ports */
	}
	AT(uint8_t, d.common + 0x14) = 11;
	AT(uint16_t, d.common + 0x16) = queue;
	AT(uint16_t, d.common + 0x18) = ENTRIES;
	AT(uint64_t, d.common + 0x20) = RING;
	AT(uint64_t, d.common + 0x28) = RING + 0x1000;
	AT(uint64_t, d.common + 0x30) = RING + 0x2000;
	AT(uint16_t, d.common + 0x1c) = 1;
	AT(uint16_t, RING + 0x1002) = ENTRIES;
	__sync_synchronize();
	AT(uint8_t, d.common + 0x14) = 15;
	if (what[1] == ':' && what[2] == 'a')
		power_off_by_another();
	if (what[1] != ':' || what[2] == 'a')
		AT(uint8_t, d.common + 0x14) = 0;
}
