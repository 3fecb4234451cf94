/* The test guest's driver of virtio-blk: features, one queue, polling; MSI-X looked at in the local APIC. */
#include "tests/guest/virtio.h"

enum {
	DESC = 0x200000,
	AVAIL = 0x201000,
	USED = 0x202000,
	HEADER = 0x203000,
	STATUS = 0x203100,
	DATA = 0x210000,
	QSIZE = 8
};
enum { VECTOR = 0x51, KICKS = 2000, ALL_AT = 0x300000, ALL_LEN = 1 << 20 };

static uint64_t common, notify, device;
static uint16_t asked;
static unsigned slot;

static int find(unsigned number)
{
	struct vdev d;

	if (!virtio_find(2, number, &d))
		return 0;
	slot = d.slot;
	common = d.common;
	notify = d.notify;
	device = d.device;
	if (d.msix) { /* on, entry 0 to this processor */
		AT(uint32_t, d.bars[1]) = 0xfee00000;
		AT(uint32_t, d.bars[1] + 8) = VECTOR;
		AT(uint32_t, d.bars[1] + 12) = 0;
		outl(0xcf8, 0x80000000 | d.slot << 11 | d.msix);
		outw(0xcfe, 0x8000);
	}
	return 1;
}

static int start(void)
{
	AT(uint8_t, common + 0x14) = 0;
	AT(uint8_t, common + 0x14) = 3;
	AT(uint32_t, common + 8) = 1;
	AT(uint32_t, common + 12) = 1; /* version 1, and nothing else */
	AT(uint32_t, common + 8) = 0;
	AT(uint32_t, common + 12) = 1 << 9 | 1 << 13 | 1 << 14;
	AT(uint32_t, common) = 0;
	AT(uint32_t, common + 12) &= AT(uint32_t, common + 4);
	AT(uint8_t, common + 0x14) = 11;
	if (AT(uint8_t, common + 0x14) != 11)
		return 0;
	for (unsigned i = 0; i < 0x3000; i += 8)
		AT(uint64_t, DESC + i) = 0;
	asked = 0;
	AT(uint16_t, common + 0x16) = 0;
	AT(uint16_t, common + 0x18) = QSIZE;
	AT(uint32_t, common + 0x20) = DESC;
	AT(uint32_t, common + 0x28) = AVAIL;
	AT(uint32_t, common + 0x30) = USED;
	AT(uint16_t, common + 0x1a) = 0;
	AT(uint16_t, common + 0x1c) = 1;
	AT(uint8_t, common + 0x14) = 15;
	AT(uint32_t, 0xfee000f0) = 0x1ff; /* the APIC takes interrupts, which wait: IF is 0 */
	return 1;
}

static void desc(unsigned i, uint64_t addr, uint32_t len, uint16_t flags)
{
	AT(uint64_t, DESC + 16 * i) = addr;
	AT(uint32_t, DESC + 16 * i + 8) = len;
	AT(uint16_t, DESC + 16 * i + 12) = flags;
	AT(uint16_t, DESC + 16 * i + 14) = (uint16_t)(i + 1);
}

/* Return: the status byte of one request */
static int ask_at(uint64_t data, uint32_t type, uint64_t sector, uint32_t len, int write)
{
	AT(uint32_t, HEADER) = type;
	AT(uint32_t, HEADER + 4) = 0;
	AT(uint64_t, HEADER + 8) = sector;
	AT(uint8_t, STATUS) = 0xff;
	desc(0, HEADER, 16, 1);
	if (len)
		desc(1, data, len, (uint16_t)(write ? 1 : 3));
	desc(len ? 2 : 1, STATUS, 1, 2);
	AT(uint16_t, AVAIL + 4 + 2 * (asked % QSIZE)) = 0;
	__sync_synchronize();
	AT(uint16_t, AVAIL + 2) = ++asked;
	__sync_synchronize();
	AT(uint16_t, notify) = 0;
	while (AT(volatile uint16_t, USED + 2) != asked)
		__asm__ volatile("pause");
	return AT(uint8_t, STATUS);
}

static int ask(uint32_t type, uint64_t sector, uint32_t len, int write)
{
	return ask_at(DATA, type, sector, len, write);
}

/* Return: how many small reads went wrong */
static unsigned kicks(void)
{
	unsigned bad = 0;

	for (unsigned i = 0; i < KICKS; i++)
		bad += ask(0, i % 4, 512, 0) != 0;
	return bad;
}

static unsigned all(void)
{
	uint64_t end = AT(uint64_t, device);
	unsigned bad = 0;

	for (uint64_t at = 0; at < end; at += ALL_LEN / 512)
		bad += ask_at(ALL_AT, 0, at,
			      end - at < ALL_LEN / 512 ? (uint32_t)(end - at) * 512 : ALL_LEN,
			      0) != 0;
	return bad;
}

/* The registers to another place, as a guest's kernel may put them */
static void move(void)
{
	uint32_t was = pci_config(slot, 0x10) & ~15U, to = 0xe8000000;

	pci_config_write(slot, 4, pci_config(slot, 4) & 0xfffd); /* decode off */
	pci_config_write(slot, 0x10, to);
	pci_config_write(slot, 4, (pci_config(slot, 4) & 0xffff) | 2);
	common += to - was;
	notify += to - was;
	device += to - was;
}

static void range(uint64_t sector, uint32_t sectors)
{
	AT(uint64_t, DATA) = sector;
	AT(uint32_t, DATA + 8) = sectors;
	AT(uint32_t, DATA + 12) = 0;
}

static void say_status(int status)
{
	put("status ");
	put_number((uint64_t)status);
	put("\n");
}

/* A number in memory and in sector 0, which agree as long as the two go on together */
static void count(void)
{
	uint64_t n;

	if (ask(0, 0, 512, 0))
		return;
	n = AT(uint64_t, DATA);
	put("begins at ");
	put_number(n);
	for (;;) {
		put("\n");
		AT(uint64_t, DATA) = ~n;
		if (ask(0, 0, 512, 0) || AT(uint64_t, DATA) != n)
			put("BROKEN ");
		AT(uint64_t, DATA) = ++n;
		if (ask(1, 0, 512, 1) || ask(4, 0, 0, 0))
			put("FAILED ");
		put("count ");
		put_number(n);
		for (volatile unsigned i = 0; i < 1000000; i++)
			;
	}
}

/* What the requests are: 'r' prints sectors 0 and 1 as they are, 'D' sectors 8 to 15, 'w' fills sectors 8 to 15 with 'W', 'z' zeroes 9 and 10, 'd'
 * discards 12 and 13, 'f' flushes, 'k' reads small pieces 2000 times, 'a' all of it, 'm' moves the registers, 'b' asks beyond the end, 'i' says whether an interrupt came, 's' the size, 'h' lies, 'c' counts for ever, 'q' writes a
 * header of qcow2 to sector 0 */
void disk_request(char what)
{
	if (what == 'r') {
		int status = ask(0, 0, 1024, 0);

		if (status)
			say_status(status);
		for (unsigned i = 0; !status && i < 1024; i++)
			put_char((char)AT(uint8_t, DATA + i));
	} else if (what == 'D') {
		int status = ask(0, 8, 4096, 0);

		if (status)
			say_status(status);
		for (unsigned i = 0; !status && i < 4096; i++)
			put_char((char)AT(uint8_t, DATA + i));
	} else if (what == 'w') {
		for (unsigned i = 0; i < 4096; i++)
			AT(uint8_t, DATA + i) = 'W';
		say_status(ask(1, 8, 4096, 1));
	} else if (what == 'q') { /* a qcow2 header where none was */
		for (unsigned i = 0; i < 512; i++)
			AT(uint8_t, DATA + i) = (uint8_t)(i == 7 ? 3 : 0);
		AT(uint32_t, DATA) = 0xfb494651;
		say_status(ask(1, 0, 512, 1));
	} else if (what == 'z' || what == 'd') {
		range(what == 'z' ? 9 : 12, 2);
		say_status(ask(what == 'z' ? 13 : 11, 0, 16, 1));
	} else if (what == 'k') {
		say_status((int)kicks());
	} else if (what == 'a') {
		say_status((int)all());
	} else if (what == 'm') {
		move();
	} else if (what == 'c') {
		count();
	} else if (what == 'f') {
		say_status(ask(4, 0, 0, 0));
	} else if (what == 'b') {
		say_status(ask(0, AT(uint64_t, device), 512, 0));
	} else if (what == 's') {
		put_number(AT(uint64_t, device) * 512);
		put("\n");
	} else if (what == 'i') {
		put(AT(uint32_t, 0xfee00200 + (VECTOR >> 5) * 16) >> (VECTOR & 31) & 1
			    ? "interrupt\n"
			    : "none\n");
	} else if (what == 'h') {
		/* A chain that is a loop breaks the queue; a reset heals it */
		desc(0, HEADER, 16, 1);
		AT(uint16_t, DESC + 14) = 0;
		AT(uint16_t, AVAIL + 2) = (uint16_t)(AT(uint16_t, AVAIL + 2) + 1);
		AT(uint16_t, notify) = 0;
		while (!(AT(uint8_t, common + 0x14) & 0x40))
			;
		put(start() ? "broken and healed\n" : "broken\n");
	} else {
		put("disk: what?\n");
	}
}

int disk(const char *what)
{
	unsigned number = 0;

	if (*what >= '0' && *what <= '9')
		number = (unsigned)(*what++ - '0');
	if (!find(number) || !start()) {
		put("no disk\n");
		return -1;
	}
	while (*what >= 'a' && *what <= 'z')
		disk_request(*what++);
	return 0;
}
