/* Integers in byte arrays, big and little endian, at any alignment. */
#ifndef VMKIT_BASE_BYTES_H
#define VMKIT_BASE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define VMKIT_BYTES(bits, order, ORDER)                                                            \
	static inline uint##bits##_t get_##order##bits(const void *p)                              \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
		memcpy(&v, p, sizeof(v));                                                          \
		return order##bits##toh(v);                                                        \
	}                                                                                          \
	static inline void put_##order##bits(void *p, uint##bits##_t v)                            \
	{                                                                                          \
		v = hto##order##bits(v);                                                           \
		memcpy(p, &v, sizeof(v));                                                          \
	}

VMKIT_BYTES(16, be, BE)
VMKIT_BYTES(32, be, BE)
VMKIT_BYTES(64, be, BE)
VMKIT_BYTES(16, le, LE)
VMKIT_BYTES(32, le, LE)
VMKIT_BYTES(64, le, LE)

#undef VMKIT_BYTES

#endif
