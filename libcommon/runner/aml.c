/* AML: see aml.h. */
#include "libcommon/runner/aml.h"

#include <assert.h>
#include <string.h>

enum {
	OP_NAME = 0x08,
	OP_BYTE = 0x0a,
	OP_WORD = 0x0b,
	OP_DWORD = 0x0c,
	OP_STRING = 0x0d,
	OP_BUFFER = 0x11,
	OP_DEVICE = 0x5b82
};
enum { LENGTH_BYTES = 2, LENGTH_MAX = 0xfff };

void aml_bytes(struct aml *a, const void *bytes, size_t len)
{
	assert(len <= a->max - a->len);
	memcpy(a->at + a->len, bytes, len);
	a->len += len;
}

void aml_byte(struct aml *a, uint8_t v)
{
	aml_bytes(a, &v, 1);
}

void aml_le(struct aml *a, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		aml_byte(a, (uint8_t)(v >> 8 * i));
}

size_t aml_open(struct aml *a, unsigned op)
{
	if (op > 0xff)
		aml_byte(a, (uint8_t)(op >> 8));
	aml_byte(a, (uint8_t)op);
	aml_le(a, 0, LENGTH_BYTES);
	return a->len - LENGTH_BYTES;
}

void aml_close(struct aml *a, size_t mark)
{
	size_t len = a->len - mark;

	assert(len <= LENGTH_MAX);
	a->at[mark] = (uint8_t)(0x40 | (len & 0xf)); /* one more byte follows */
	a->at[mark + 1] = (uint8_t)(len >> 4);
}

void aml_name(struct aml *a, const char *four)
{
	aml_byte(a, OP_NAME);
	aml_bytes(a, four, 4);
}

void aml_int(struct aml *a, uint32_t v)
{
	if (v < 2) { /* Zero, One */
		aml_byte(a, (uint8_t)v);
	} else if (v <= 0xff) {
		aml_byte(a, OP_BYTE);
		aml_le(a, v, 1);
	} else if (v <= 0xffff) {
		aml_byte(a, OP_WORD);
		aml_le(a, v, 2);
	} else {
		aml_byte(a, OP_DWORD);
		aml_le(a, v, 4);
	}
}

void aml_string(struct aml *a, const char *s)
{
	aml_byte(a, OP_STRING);
	aml_bytes(a, s, strlen(s) + 1);
}

static unsigned hex(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A') + 10;
}

/* Three letters of five bits, four digits; big endian */
void aml_eisa(struct aml *a, const char *id)
{
	unsigned v = ((unsigned)(id[0] - 'A' + 1) << 10 | (unsigned)(id[1] - 'A' + 1) << 5 |
		      (unsigned)(id[2] - 'A' + 1))
		     << 16;

	v |= hex(id[3]) << 12 | hex(id[4]) << 8 | hex(id[5]) << 4 | hex(id[6]);
	aml_byte(a, OP_DWORD);
	aml_le(a, __builtin_bswap32(v), 4);
}

size_t aml_device(struct aml *a, const char *four, const char *hid)
{
	size_t mark = aml_open(a, OP_DEVICE);

	aml_bytes(a, four, 4);
	aml_name(a, "_HID");
	if (strncmp(hid, "PNP", 3) == 0)
		aml_eisa(a, hid);
	else
		aml_string(a, hid);
	return mark;
}

/* The buffer's size is a word that aml_crs_close() fills in, behind the block's length and the prefix. */
size_t aml_crs_open(struct aml *a)
{
	size_t mark;

	aml_name(a, "_CRS");
	mark = aml_open(a, OP_BUFFER);
	aml_byte(a, OP_WORD);
	aml_le(a, 0, 2);
	return mark;
}

void aml_crs_close(struct aml *a, size_t mark)
{
	size_t start = mark + LENGTH_BYTES + 3;
	size_t len;

	aml_le(a, 0x0079, 2); /* end tag, no checksum */
	len = a->len - start;
	a->at[start - 2] = (uint8_t)len;
	a->at[start - 1] = (uint8_t)(len >> 8);
	aml_close(a, mark);
}

void aml_res_io(struct aml *a, uint16_t port, uint8_t len)
{
	aml_le(a, 0x0147, 2); /* 16 address lines */
	aml_le(a, port, 2);
	aml_le(a, port, 2);
	aml_byte(a, 1);
	aml_byte(a, len);
}

void aml_res_irq(struct aml *a, unsigned irq)
{
	aml_byte(a, 0x22); /* edge, active high */
	aml_le(a, UINT64_C(1) << irq, 2);
}

void aml_res_space(struct aml *a, unsigned type, uint32_t first, uint32_t last)
{
	unsigned bytes = type == 0 ? 4 : 2;

	aml_byte(a, type == 0 ? 0x87 : 0x88);
	aml_le(a, 3 + 5 * bytes, 2);
	aml_byte(a, (uint8_t)type);
	aml_byte(a, 0x0c); /* both ends are fixed */
	aml_byte(a, type == 0 ? 1 : type == 1 ? 3 : 0);
	aml_le(a, 0, bytes);
	aml_le(a, first, bytes);
	aml_le(a, last, bytes);
	aml_le(a, 0, bytes);
	aml_le(a, (uint64_t)last - first + 1, bytes);
}
