/* A hostile guest at the flash chip of UEFI machines. In its array mode the chip reads as its bytes; what it handed out is, in the
 * end, what it holds.
 *
 * Input: accesses, each of four bytes: bit 7 read, bits 0 to 1 the size (2^n); two bytes, where (in units of 2); the value.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/runner/flash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SIZE = 4 * FLASH_BLOCK, ACCESS = 4 };

static uint8_t chip[SIZE], kept[SIZE];
static bool shown;

static bool show(void *ctx, bool on)
{
	(void)ctx;
	if (on == shown)
		abort();
	shown = on;
	return true;
}

static int store(void *ctx, const uint8_t *from, uint64_t off, size_t len, struct err *err)
{
	(void)ctx;
	(void)err;
	if (off > SIZE || len > SIZE - off)
		abort();
	memcpy(kept + off, from, len);
	return 0;
}

static void one(struct flash *f, const uint8_t *in)
{
	unsigned size = 1U << (in[0] & 3);
	uint64_t off = get_le16(in + 1) * 2 % (SIZE - 7), v;

	if (!(in[0] & 0x80)) {
		flash_write(f, off, size, in[3] * UINT64_C(0x0101010101010101));
		return;
	}
	v = flash_read(f, off, size);
	if (shown && (uint8_t)v != chip[off])
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct flash f;

	for (size_t i = 0; i < SIZE; i++)
		chip[i] = kept[i] = (uint8_t)(i * 11 >> 4);
	flash_init(&f, chip, SIZE);
	f.show = show;
	f.store = store;
	shown = true;
	for (; size >= ACCESS; data += ACCESS, size -= ACCESS)
		one(&f, data);
	if (flash_sync(&f, NULL) < 0 || memcmp(chip, kept, SIZE) != 0)
		abort();
	return 0;
}
