/* A test guest for any KVM: no interrupts, no paging of its own, a few thousand instructions. "do=WORD" on its command line says
 * what it does; then it powers off. */
#include "tests/guest/guest.h"

extern const uint8_t ap_start[], ap_end[];
void triple_fault(void);
void main(const uint8_t *params);

uint8_t stack[8192];
__asm__(".globl stack_top; .set stack_top, stack + 8192");

void put_char(char c)
{
	outb(0x3f8, (uint8_t)c);
}

void put(const char *s)
{
	while (*s)
		put_char(*s++);
}

void put_number(uint64_t v)
{
	char text[24], *p = text + 23;

	*p = 0;
	do
		*--p = (char)('0' + v % 10);
	while (v /= 10);
	put(p);
}

static void power_off(void)
{
	outw(0x604, 1 << 13 | 5 << 10);
}

static int starts(const char *s, const char *with)
{
	while (*with)
		if (*s++ != *with++)
			return 0;
	return 1;
}

/* Bytes of the serial line come back until a 'q'; the FIFO is smaller than what is sent */
static void echo(void)
{
	for (;;) {
		char c;

		if (!(inb(0x3fd) & 1))
			continue;
		c = (char)inb(0x3f8);
		if (c == 'q')
			return;
		put_char(c);
	}
}

/* What bytes of the serial line ask for: 'C' counts, 'M' says whether memory is as it was filled, 'T' sets channel 0 of the timer, 'U'
 * prints what it was set to, 'Q' ends, others are requests of
 * the first disk. "serve:WORK" does WORK on it first. A saved machine is asked again after it was restored. */
enum { FILLED = 0x400000, FILLED_END = 0x600000 };

static void serve(const char *work)
{
	unsigned count = 0;
	char c;

	if (*work == ':')
		(void)disk(work + 1);
	for (uint64_t i = FILLED; i < FILLED_END; i += 512)
		AT(uint64_t, i) = i * 0x9e3779b97f4a7c15;
	put("ready\n");
	for (;;) {
		if (!(inb(0x3fd) & 1))
			continue;
		c = (char)inb(0x3f8);
		if (c == 'Q')
			return;
		if (c == 'C') {
			put_number(++count);
			put("\n");
		} else if (c == 'M') {
			uint64_t i = FILLED;

			while (i < FILLED_END && AT(uint64_t, i) == i * 0x9e3779b97f4a7c15)
				i += 512;
			put(i == FILLED_END ? "memory is whole\n" : "memory is damaged\n");
		} else if (c == 'T') {
			outb(0x43, 0x34); /* both bytes, mode 2 */
			outb(0x40, 0);
			outb(0x40, 1);
			put("set\n");
		} else if (c == 'U') {
			outb(0x43, 0xe2); /* its status */
			put("timer ");
			put_number(inb(0x40) & 0x3f);
			put("\n");
		} else if (c > ' ') {
			disk_request(c);
		}
	}
}

static void memory(const uint8_t *params)
{
	uint64_t ram = 0;

	for (unsigned i = 0; i < params[0x1e8]; i++) {
		const uint8_t *e = params + 0x2d0 + 20 * i;

		if (AT(uint32_t, e + 16) == 1)
			ram += AT(uint64_t, e + 8);
	}
	put_number(ram >> 20);
	put("\n");
	/* The highest byte is there */
	AT(uint8_t, 0x100000 + AT(uint64_t, params + 0x2d0 + 20 * 3 + 8) - 1) = 1;
}

static void initrd(const uint8_t *params)
{
	const char *p = (const char *)(uintptr_t)AT(uint32_t, params + 0x218);

	for (uint32_t n = AT(uint32_t, params + 0x21c); n; n--)
		put_char(*p++);
}

/* INIT and SIPI to all others; each counts itself */
static void processors(void)
{
	uint8_t last = 0;

	for (unsigned i = 0; i < (unsigned)(ap_end - ap_start); i++)
		AT(uint8_t, 0x3000 + i) = ap_start[i];
	AT(uint8_t, 0x4000) = 0;
	AT(uint32_t, 0xfee000f0) = 0x1ff;
	AT(uint32_t, 0xfee00300) = 0xc4500;
	for (volatile unsigned i = 0; i < 1000; i++)
		;
	AT(uint32_t, 0xfee00300) = 0xc4603;
	for (volatile unsigned i = 0; i < 20000; i++)
		if (AT(uint8_t, 0x4000) != last) {
			last = AT(uint8_t, 0x4000);
			i = 0;
		}
	put_number(1U + last);
	put("\n");
}

/* Every port and some addresses that nobody answers */
static void poke(void)
{
	for (unsigned port = 0; port < 0x800; port++)
		if ((port < 0x502 || port > 0x60b) && (port < 0x3f5 || port > 0x3ff)) {
			(void)inb((uint16_t)port);
			(void)inl((uint16_t)port);
			if (port != 0x64 && port > 0x40)
				outl((uint16_t)port, 0xa5a5a5a5);
		}
	if (AT(uint64_t, 0xd0000001) != UINT64_MAX)
		put("not all ones\n");
	AT(uint32_t, 0xd0000000) = 1;
	for (unsigned reg = 0; reg < 0x10000; reg += 4) {
		outl(0xcf8, 0x80000000 | reg);
		(void)inl(0xcfc);
	}
	put("still here\n");
}

/* The power button's event enabled, then waited for; after work on a disk with "button:WORK" */
static void button(const char *work)
{
	if (*work == ':')
		(void)disk(work + 1);
	outw(0x602, 1 << 8);
	put("ready\n");
	while (!(inb(0x601) & 1))
		;
	put("pressed\n");
}

/* The timer: "g" opens the gate of channel 2 before all else and waits for the end of its count; "c" begins with the control word
 * of channel 0, counts down from 1000 and looks; "r" only reads. */
static void timer(const char *what)
{
	unsigned count;

	if (*what == 'g') {
		outb(0x61, 1);
		outb(0x43, 0xb0);
		outb(0x42, 0);
		outb(0x42, 0x20);
		while (!(inb(0x61) & 0x20))
			;
		put("over\n");
	} else if (*what == 'c') {
		outb(0x43, 0x34);
		outb(0x40, 1000 & 0xff);
		outb(0x40, 1000 >> 8);
		outb(0x43, 0);
		count = inb(0x40);
		count |= (unsigned)inb(0x40) << 8;
		put(count && count <= 1000 ? "counts\n" : "wrong\n");
	} else {
		put_number(inb(0x61) & 3);
		put("\n");
	}
}

void main(const uint8_t *params)
{
	const char *command = (const char *)(uintptr_t)AT(uint32_t, params + 0x228),
		   *what = command;

	while (*what && !starts(what, "do="))
		what++;
	what += *what ? 3 : 0;
	if (starts(what, "hello"))
		put("hello\n");
	else if (starts(what, "command")) {
		put(command);
		put("\n");
	} else if (starts(what, "hang"))
		for (;;)
			__asm__ volatile("hlt");
	else if (starts(what, "spin"))
		for (;;)
			;
	else if (starts(what, "talk"))
		for (;;)
			put("talk\n");
	else if (starts(what, "reset"))
		outb(0xcf9, 6);
	else if (starts(what, "keyboard"))
		outb(0x64, 0xfe);
	else if (starts(what, "panic"))
		outb(0x505, 1);
	else if (starts(what, "triple"))
		triple_fault();
	else if (starts(what, "echo"))
		echo();
	else if (starts(what, "serve"))
		serve(what + 5);
	else if (starts(what, "memory"))
		memory(params);
	else if (starts(what, "acpi")) { /* where the tables lie */
		for (unsigned i = 0; i < 4096; i++)
			put_char((char)AT(uint8_t, 0xf0000 + i));
	} else if (starts(what, "initrd"))
		initrd(params);
	else if (starts(what, "processors"))
		processors();
	else if (starts(what, "poke"))
		poke();
	else if (starts(what, "button"))
		button(what + 6);
	else if (starts(what, "ignore")) { /* the button's event, and then nothing */
		outw(0x602, 1 << 8);
		put("ready\n");
		for (;;)
			;
	} else if (starts(what, "hostile:"))
		hostile(what + 8);
	else if (starts(what, "flood:"))
		flood(what + 6);
	else if (starts(what, "timer:"))
		timer(what + 6);
	else if (starts(what, "disk:"))
		(void)disk(what + 5);
	else
		put("do= what?\n");
	power_off();
}
