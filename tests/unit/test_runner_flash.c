/* The flash chip that UEFI firmware keeps its variables in: commands, status, what is handed out. vmrun-uefi.bats holds it
 * against QEMU's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "libcommon/runner/flash.h"

enum { SIZE = 16 * FLASH_BLOCK };

static uint8_t data[SIZE], kept[SIZE];
static struct flash flash;
static struct {
	unsigned shown, hidden, stores;
	size_t last_len;
	bool full;
} seen;

static bool show(void *ctx, bool on)
{
	(void)ctx;
	seen.shown += on;
	seen.hidden += !on;
	return true;
}

static int store(void *ctx, const uint8_t *from, uint64_t off, size_t len, struct err *err)
{
	(void)ctx;
	seen.stores++;
	seen.last_len = len;
	if (seen.full)
		return err_set(err, ERR_NO_SPACE, "no space");
	memcpy(kept + off, from, len);
	return 0;
}

static int start(void **state)
{
	(void)state;
	for (size_t i = 0; i < SIZE; i++)
		data[i] = kept[i] = (uint8_t)(i * 7 >> 3);
	memset(&seen, 0, sizeof(seen));
	flash_init(&flash, data, SIZE);
	flash.show = show;
	flash.store = store;
	return 0;
}

static uint8_t byte(uint64_t off)
{
	return (uint8_t)flash_read(&flash, off, 1);
}

static void command(uint64_t off, uint8_t v)
{
	flash_write(&flash, off, 1, v);
}

/* As OVMF finds out what is there (a RAM, a ROM, or this), and then writes */
static void as_firmware_does(void **state)
{
	uint8_t was = data[100];

	(void)state;
	command(100, 0x50);
	assert_int_equal(byte(100), was);
	command(100, 0x70);
	assert_int_equal(byte(100), 0);
	command(100, 0xff);
	assert_int_equal(byte(100), was);
	assert_int_equal(seen.stores, 0);
	for (unsigned i = 0; i < 3; i++) {
		command(200 + i, 0x10);
		command(200 + i, (uint8_t)(0xa0 + i));
		assert_int_equal(byte(0), FLASH_READY);
	}
	assert_int_equal(seen.stores, 0);
	command(202, 0xff);
	assert_int_equal(seen.stores, 1);
	assert_int_equal(seen.last_len, 3);
	assert_int_equal(flash_read(&flash, 200, 4), (uint32_t)data[203] << 24 | 0xa2a1a0);
	assert_memory_equal(kept, data, SIZE);
	assert_int_equal(seen.shown, 2);
	assert_int_equal(seen.hidden, 2);
}

static void blocks_are_erased(void **state)
{
	(void)state;
	command(FLASH_BLOCK + 77, 0x20);
	assert_int_equal(data[FLASH_BLOCK],
			 FLASH_BLOCK * 7 >> 3 & 0xff); /* not before it is confirmed */
	command(FLASH_BLOCK + 77, 0xd0);
	assert_int_equal(byte(0), FLASH_READY);
	command(0, 0xff);
	for (unsigned i = 0; i < FLASH_BLOCK; i++)
		assert_int_equal(data[FLASH_BLOCK + i], 0xff);
	assert_int_equal(data[FLASH_BLOCK - 2], 0xfe);
	assert_int_equal(data[2 * FLASH_BLOCK], 2 * FLASH_BLOCK * 7 >> 3 & 0xff);
	assert_int_equal(seen.last_len, FLASH_BLOCK);
	/* Thought better of */
	command(0, 0x20);
	command(0, 0xff);
	assert_int_equal(byte(0), 0);
	command(0, 0x20);
	command(0, 0x33);
	assert_int_equal(byte(0), FLASH_READY | FLASH_ERASE_FAILED | FLASH_PROGRAM_FAILED);
	command(0, 0x50);
	assert_int_equal(byte(0), 0);
	assert_memory_equal(kept, data, SIZE);
}

/* @n bytes at @off, then @last */
static void buffered(uint64_t off, unsigned n, uint8_t last)
{
	command(off, 0xe8);
	assert_int_equal(byte(off) & FLASH_READY, FLASH_READY);
	flash_write(&flash, off, 2, n - 1);
	for (unsigned i = 0; i < n; i++)
		command(off + i, (uint8_t)(i + 1));
	command(off, last);
}

static void buffers_are_written(void **state)
{
	(void)state;
	buffered(FLASH_BUFFER, FLASH_BUFFER, 0xd0);
	assert_int_equal(byte(0), FLASH_READY);
	command(0, 0xff);
	assert_int_equal(byte(FLASH_BUFFER), 1);
	assert_int_equal(byte(2 * FLASH_BUFFER - 1), 0);
	assert_int_equal(byte(2 * FLASH_BUFFER), data[2 * FLASH_BUFFER]);
	assert_memory_equal(kept, data, SIZE);
	/* Not confirmed; beyond its block */
	buffered(5, 3, 0x10);
	assert_int_equal(byte(0), FLASH_READY | FLASH_ERASE_FAILED | FLASH_PROGRAM_FAILED);
	command(0, 0x50);
	buffered(FLASH_BUFFER - 2, 4, 0xd0);
	assert_int_equal(byte(0), FLASH_READY | FLASH_PROGRAM_FAILED);
	command(0, 0x50);
	assert_int_equal(byte(5), 5 * 7 >> 3);
	assert_memory_equal(kept, data, SIZE);
}

static void it_tells_what_it_is(void **state)
{
	(void)state;
	command(0, 0x98);
	assert_int_equal(flash_read(&flash, 0x10, 4), 0x01595251); /* QRY, the Intel command set */
	assert_int_equal(byte(0x27), 16);			   /* 2^16 bytes */
	assert_int_equal(byte(0x2a), 8);
	assert_int_equal(byte(0x2c), 1);
	assert_int_equal(byte(0x2d) + 1, SIZE / FLASH_BLOCK);
	assert_int_equal(byte(0x2f), FLASH_BLOCK >> 8);
	assert_int_equal(flash_read(&flash, 0x31, 4), 0x31495250); /* PRI, 1.0 */
	assert_int_equal(byte(0x1000), 0);
	command(0, 0x90);
	assert_int_equal(byte(0), 0x89);
	assert_int_equal(byte(2), 0); /* no block is locked */
	command(0, 0x60);
	command(0, 0x01);
	command(0, 0xff);
	assert_int_equal(seen.stores, 0);
	assert_int_equal(flash_read(&flash, 8, 8), 0x0d0c0b0a09080707);
}

/* What could not be kept is told at the end, and tried again */
static void a_full_disk(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	seen.full = true;
	command(9, 0x40);
	command(9, 0x77);
	command(9, 0xff);
	assert_int_equal(byte(9), 0x77);
	seen.full = false;
	assert_int_equal(flash_sync(&flash, &err), -1);
	assert_int_equal(err.code, ERR_NO_SPACE);
	assert_int_equal(kept[9], 0x77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(as_firmware_does, start),
		cmocka_unit_test_setup(blocks_are_erased, start),
		cmocka_unit_test_setup(buffers_are_written, start),
		cmocka_unit_test_setup(it_tells_what_it_is, start),
		cmocka_unit_test_setup(a_full_disk, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
