/* CRC-32C by tables of eight, enough for metadata; GUIDs. */
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/digest.h"
#include "libcommon/image/format/vhdx/vhdx.h"

#define POLYNOMIAL 0x82f63b78U

static uint32_t table[8][256]; /* written once, by make_table */
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void make_table(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int k = 0; k < 8; k++)
			c = c & 1 ? c >> 1 ^ POLYNOMIAL : c >> 1;
		table[0][i] = c;
	}
	for (int t = 1; t < 8; t++)
		for (uint32_t i = 0; i < 256; i++)
			table[t][i] = table[t - 1][i] >> 8 ^ table[0][table[t - 1][i] & 0xff];
}

static uint32_t update(uint32_t c, const uint8_t *p, size_t len)
{
	for (; len >= 8; p += 8, len -= 8) {
		uint32_t a = c ^ get_le32(p), b = get_le32(p + 4);

		c = table[7][a & 0xff] ^ table[6][a >> 8 & 0xff] ^ table[5][a >> 16 & 0xff] ^
		    table[4][a >> 24] ^ table[3][b & 0xff] ^ table[2][b >> 8 & 0xff] ^
		    table[1][b >> 16 & 0xff] ^ table[0][b >> 24];
	}
	while (len--)
		c = c >> 8 ^ table[0][(c ^ *p++) & 0xff];
	return c;
}

uint32_t vhdx_crc(uint32_t crc, const uint8_t *p, size_t len, size_t at)
{
	static const uint8_t zero[4];
	uint32_t c = ~crc;

	pthread_once(&table_once, make_table);
	if (at >= len)
		return ~update(c, p, len);
	c = update(c, p, at);
	c = update(c, zero, 4);
	return ~update(c, p + at + 4, len - at - 4);
}

/* The first three fields of a GUID are little endian numbers in a file */
static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

void vhdx_guid_from_uuid(const uint8_t uuid[16], struct vhdx_guid *ret)
{
	for (size_t i = 0; i < 16; i++)
		ret->b[i] = uuid[order[i]];
}

int vhdx_guid_parse(const char *text, struct vhdx_guid *ret)
{
	char digits[33];
	uint8_t uuid[16];
	size_t n = 0, len = strlen(text);

	if (len == 38 && text[0] == '{' && text[37] == '}') {
		text++;
		len = 36;
	}
	if (len != 36)
		return -1;
	for (size_t i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash != (text[i] == '-'))
			return -1;
		if (!dash)
			digits[n++] = (char)tolower((unsigned char)text[i]);
	}
	digits[n] = '\0';
	if (hex_decode(digits, uuid, 16) < 0)
		return -1;
	vhdx_guid_from_uuid(uuid, ret);
	return 0;
}

char *vhdx_guid_text(const struct vhdx_guid *g, char buf[VHDX_GUID_TEXT])
{
	char hex[33];
	uint8_t uuid[16];

	for (size_t i = 0; i < 16; i++)
		uuid[order[i]] = g->b[i];
	hex_encode(uuid, 16, hex);
	(void)snprintf(buf, VHDX_GUID_TEXT, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
		       hex + 16, hex + 20);
	return buf;
}

bool vhdx_guid_is(const struct vhdx_guid *g, const char *text)
{
	struct vhdx_guid other;

	return vhdx_guid_parse(text, &other) == 0 && !memcmp(g, &other, sizeof(other));
}

void vhdx_guid_put(uint8_t *p, const char *text)
{
	struct vhdx_guid g = {{0}};

	(void)vhdx_guid_parse(text, &g); /* a constant of ours */
	memcpy(p, g.b, 16);
}

bool vhdx_guid_zero(const struct vhdx_guid *g)
{
	static const struct vhdx_guid zero;

	return !memcmp(g, &zero, sizeof(zero));
}
