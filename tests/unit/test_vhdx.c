/* VHDX: probing, checksums, GUIDs, headers, the interleaved table, logs made entry by entry. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libcommon/base/bytes.h"
#include "libcommon/image/format/vhdx/vhdx.h"

enum { FILE_BYTES = 4 << 20, LOG_AT = 1 << 20, LOG_BYTES = 1 << 20, SECTOR = 4096 };

static uint8_t file[FILE_BYTES];

static void probes(void **state)
{
	const struct image_format *f;
	uint8_t head[16] = "vhdxfile";

	(void)state;
	assert_int_equal(image_format_find(&f, "vhdx", NULL), 0);
	assert_int_equal(f->probe(head, 16, NULL, 0, 0), 100);
	assert_int_equal(f->probe(head, 7, NULL, 0, 0), 0);
	head[0] = 'V';
	assert_int_equal(f->probe(head, 16, NULL, 0, 0), 0);
}

/* RFC 3720, B.4, and what is known of all CRC-32C programs */
static void checksums(void **state)
{
	uint8_t p[48];

	(void)state;
	assert_int_equal(vhdx_crc(0, (const uint8_t *)"123456789", 9, SIZE_MAX), 0xe3069283);
	memset(p, 0, 32);
	assert_int_equal(vhdx_crc(0, p, 32, SIZE_MAX), 0x8a9136aa);
	memset(p, 0xff, 32);
	assert_int_equal(vhdx_crc(0, p, 32, SIZE_MAX), 0x62a8ab43);
	assert_int_equal(vhdx_crc(vhdx_crc(0, p, 13, SIZE_MAX), p + 13, 19, SIZE_MAX), 0x62a8ab43);
	memset(p, 0, sizeof(p));
	put_le32(p + 4, 0xdeadbeef);
	assert_int_equal(vhdx_crc(0, p, 32, 4), 0x8a9136aa);
}

static void guids(void **state)
{
	static const char text[] = "2dc27766-f623-4200-9d64-115e9bfd4a08";
	static const uint8_t bytes[16] = {0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
					  0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
	char back[VHDX_GUID_TEXT];
	struct vhdx_guid g;

	(void)state;
	assert_int_equal(vhdx_guid_parse(text, &g), 0);
	assert_memory_equal(g.b, bytes, 16);
	assert_string_equal(vhdx_guid_text(&g, back), text);
	assert_int_equal(vhdx_guid_parse("{2DC27766-F623-4200-9D64-115E9BFD4A08}", &g), 0);
	assert_true(vhdx_guid_is(&g, text));
	assert_int_equal(vhdx_guid_parse("2dc27766-f623-4200-9d64-115e9bfd4a0", &g), -1);
	assert_int_equal(vhdx_guid_parse("2dc27766-f623-4200-9d64-115e9bfd4a0g", &g), -1);
	assert_int_equal(vhdx_guid_parse("2dc27766f623-42000-9d64-115e9bfd4a08", &g), -1);
	assert_int_equal(vhdx_guid_parse("", &g), -1);
}

static void newer_header_counts(void **state)
{
	struct vhdx_header h = {.sequence = 5, .version = 1};
	struct vhdx v = {0};
	struct bfile *f;

	(void)state;
	memset(file, 0, sizeof(file));
	memcpy(file, VHDX_FILE_ID, 8);
	assert_int_equal(bfile_of_memory(&f, file, sizeof(file), NULL), 0);
	assert_int_equal(vhdx_headers_read(f, &v, NULL), -1);
	vhdx_header_encode(&h, file + 0x10000);
	h.sequence = 4;
	vhdx_header_encode(&h, file + 0x20000);
	assert_int_equal(vhdx_headers_read(f, &v, NULL), 0);
	assert_int_equal(v.current, 0);
	h.sequence = 6;
	vhdx_header_encode(&h, file + 0x20000);
	assert_int_equal(vhdx_headers_read(f, &v, NULL), 0);
	assert_int_equal(v.current, 1);
	file[0x20000 + 100] ^= 1;
	assert_int_equal(vhdx_headers_read(f, &v, NULL), 0);
	assert_int_equal(v.current, 0);
	assert_false(v.header_valid[1]);
	bfile_close(f);
}

static void interleaved_table(void **state)
{
	struct vhdx v = {.chunk_blocks = vhdx_chunk_blocks(1 << 20, 512)};

	(void)state;
	assert_int_equal(v.chunk_blocks, 4096);
	assert_int_equal(vhdx_chunk_blocks(256 << 20, 512), 16);
	assert_int_equal(vhdx_chunk_blocks(1 << 20, 4096), 32768);
	assert_int_equal(vhdx_bat_index(&v, 4095), 4095);
	assert_int_equal(vhdx_bat_index(&v, 4096), 4097);
	assert_int_equal(vhdx_bat_entries(4096, 4096, false), 4096);
	assert_int_equal(vhdx_bat_entries(4097, 4096, false), 4098);
	assert_int_equal(vhdx_bat_entries(1, 4096, true), 4097);
	assert_int_equal(vhdx_bat_entries(4097, 4096, true), 2 * 4097);
	assert_int_equal(vhdx_bat_entries(0, 4096, false), 0);
}

/* ---- logs */

static struct vhdx_header header = {
	.log = {{1}}, .version = 1, .log_length = LOG_BYTES, .log_offset = LOG_AT};

static void put_ring(uint32_t pos, const uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		file[LOG_AT + (pos + i) % LOG_BYTES] = p[i];
}

/* An entry of one descriptor: a sector of @fill at @off, or @zeros bytes of zeros. Return: the position behind it */
static uint32_t put_entry(uint32_t pos, uint64_t sequence, uint32_t tail, uint64_t off,
			  uint64_t zeros, uint8_t fill)
{
	static uint8_t p[2 * SECTOR];
	uint32_t len = zeros ? SECTOR : 2 * SECTOR;

	memset(p, 0, sizeof(p));
	memcpy(p, "loge", 4);
	put_le32(p + 8, len);
	put_le32(p + 12, tail);
	put_le64(p + 16, sequence);
	put_le32(p + 24, 1);
	memcpy(p + 32, header.log.b, 16);
	put_le64(p + 48, FILE_BYTES);
	put_le64(p + 56, FILE_BYTES);
	memcpy(p + 64, zeros ? "zero" : "desc", 4);
	if (zeros)
		put_le64(p + 72, zeros);
	else
		memset(p + 68, fill, 12);
	put_le64(p + 80, off);
	put_le64(p + 88, sequence);
	if (!zeros) {
		memset(p + SECTOR, fill, SECTOR);
		memcpy(p + SECTOR, "data", 4);
		put_le32(p + SECTOR + 4, (uint32_t)(sequence >> 32));
		put_le32(p + 2 * SECTOR - 4, (uint32_t)sequence);
	}
	put_le32(p + 4, vhdx_crc(0, p, len, 4));
	put_ring(pos, p, len);
	return (pos + len) % LOG_BYTES;
}

static struct vhdx_log *find(struct bfile **f, int want)
{
	struct vhdx_log *log = NULL;

	assert_int_equal(bfile_of_memory(f, file, sizeof(file), NULL), 0);
	assert_int_equal(vhdx_log_find(*f, &header, &log, NULL), want);
	return log;
}

static void assert_bytes(struct vhdx_log *log, uint64_t off, size_t len, uint8_t value)
{
	static uint8_t p[64 << 10];

	assert_int_equal(bfile_pread(vhdx_log_file(log), p, len, off, NULL), 0);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(p[i], value);
}

static void log_is_laid_over(void **state)
{
	struct vhdx_log *log;
	struct bfile *f;
	uint32_t pos = LOG_BYTES - 3 * SECTOR, tail = pos; /* goes around the end */

	(void)state;
	memset(file, 0x11, sizeof(file));
	memset(file + LOG_AT, 0, LOG_BYTES);
	pos = put_entry(pos, (1ULL << 32) - 2, tail, 0x300000, 0, 0x22);
	pos = put_entry(pos, (1ULL << 32) - 1, tail, 0x300000, 8 * SECTOR, 0);
	pos = put_entry(pos, 1ULL << 32, tail, 0x300000 + 3 * SECTOR, 0, 0x33);
	pos = put_entry(pos, (1ULL << 32) + 1, tail, 0x300000 + 6 * SECTOR, 4 * SECTOR, 0);
	(void)put_entry(pos, (1ULL << 32) + 3, tail, 0x310000, 0, 0x44); /* a number is left out */
	log = find(&f, 0);
	assert_non_null(log);
	assert_int_equal(vhdx_log_changes(log), 4);
	assert_bytes(log, 0x300000 - 100, 100, 0x11);
	assert_bytes(log, 0x300000, 3 * SECTOR, 0);
	assert_bytes(log, 0x300000 + 3 * SECTOR, SECTOR, 0x33);
	assert_bytes(log, 0x300000 + 3 * SECTOR + 4090, 6, 0x33);
	assert_bytes(log, 0x300000 + 4 * SECTOR, 6 * SECTOR, 0);
	assert_bytes(log, 0x300000 + 10 * SECTOR, SECTOR, 0x11);
	assert_bytes(log, 0x310000, SECTOR, 0x11);
	vhdx_log_free(log);
	bfile_close(f);
}

static void later_sequences_and_nothing(void **state)
{
	struct vhdx_log *log;
	struct bfile *f;

	(void)state;
	memset(file, 0x11, sizeof(file));
	memset(file + LOG_AT, 0, LOG_BYTES);
	assert_null(find(&f, 0)); /* a writer that died before its first entry */
	bfile_close(f);
	(void)put_entry(0, 100, 0, 0x300000, 0, 0x22);
	(void)put_entry(64 * SECTOR, 200, 64 * SECTOR, 0x300000, 0, 0x33);
	(void)put_entry(90 * SECTOR, 300, 64 * SECTOR, 0x300000, 0,
			0x44); /* its tail is not its own */
	log = find(&f, 0);
	assert_non_null(log);
	assert_bytes(log, 0x300000, SECTOR, 0x33);
	vhdx_log_free(log);
	bfile_close(f);
	header.log_length = LOG_BYTES - 1;
	assert_null(find(&f, -1));
	bfile_close(f);
	header.log_length = LOG_BYTES;
	header.log_offset = FILE_BYTES;
	assert_null(find(&f, -1));
	bfile_close(f);
	header.log_offset = LOG_AT;
}

static void hostile_entries(void **state)
{
	struct bfile *f;

	(void)state;
	memset(file, 0x11, sizeof(file));
	memset(file + LOG_AT, 0, LOG_BYTES);
	(void)put_entry(0, 100, 0, 0x300001, 0, 0x22); /* not at a sector */
	assert_null(find(&f, -1));
	bfile_close(f);
	(void)put_entry(0, 100, 0, 0x300000, 4095, 0x22);
	assert_null(find(&f, -1));
	bfile_close(f);
	(void)put_entry(0, 100, 0, 0x300000, UINT64_MAX & ~4095ULL, 0x22);
	assert_null(find(&f, -1));
	bfile_close(f);
	/* Every sector claims to begin an entry of all the rest: the sums must not be made of each */
	for (uint32_t i = 0; i < LOG_BYTES; i += SECTOR) {
		(void)put_entry(i, 100 + i, 0, 0x300000, SECTOR, 0);
		put_le32(file + LOG_AT + i + 8, LOG_BYTES);
	}
	assert_null(find(&f, -1));
	bfile_close(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(probes),
		cmocka_unit_test(checksums),
		cmocka_unit_test(guids),
		cmocka_unit_test(newer_header_counts),
		cmocka_unit_test(interleaved_table),
		cmocka_unit_test(log_is_laid_over),
		cmocka_unit_test(later_sequences_and_nothing),
		cmocka_unit_test(hostile_entries),
	};

	return cmocka_run_group_tests_name("vhdx", tests, NULL, NULL);
}
