/* What the parts of the test guest share: ports, memory, printing. */
#ifndef VMKIT_TESTS_GUEST_H
#define VMKIT_TESTS_GUEST_H

#include <stdint.h>

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}

static inline void outw(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port));
}

static inline void outl(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint32_t inl(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

#define AT(type, addr) (*(volatile type *)(uintptr_t)(addr))

void put(const char *s);
void put_char(char c);
void put_number(uint64_t v);
void hostile(const char *what); /* hostile.c: "SEED:ROUNDS" */
void flood(const char *what);	/* flood.c: "QUEUE", "QUEUE:off" */
void disk_request(char what);	/* one more, of a disk that works */
int disk(const char *what);	/* disk.c: 0, or what went wrong is printed */

#endif
