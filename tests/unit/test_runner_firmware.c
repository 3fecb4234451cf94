/* fw_cfg as a firmware reads it: its directory, the memory map, and ACPI tables that its script links at another address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libcommon/base/bytes.h"
#include "libcommon/runner/fw_cfg.h"

enum { TABLES_AT = 0x3fe0040, RSDP_AT = 0xf5000 };

static struct fw_cfg cfg;

static size_t read_key(uint16_t key, uint8_t *to, size_t len)
{
	fw_cfg_write(&cfg, 0, 2, key);
	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)fw_cfg_read(&cfg, 1, 1);
	return len;
}

/* Return: owned, NULL: there is no such file */
static uint8_t *read_file(const char *name, size_t *ret_len)
{
	uint8_t count[4], entry[64];

	read_key(0x19, count, 4);
	for (uint32_t i = 0; i < get_be32(count); i++) {
		for (size_t b = 0; b < sizeof(entry); b++)
			entry[b] = (uint8_t)fw_cfg_read(&cfg, 1, 1);
		if (strcmp((char *)entry + 8, name) == 0) {
			uint8_t *data = malloc(get_be32(entry) + 1);

			*ret_len = get_be32(entry);
			(void)read_key(get_be16(entry + 4), data, *ret_len);
			return data;
		}
	}
	return NULL;
}

static void start(uint64_t memory, unsigned cpus, struct guest_memory *mem)
{
	assert_int_equal(guest_memory_create(mem, memory, NULL), 0);
	fw_cfg_init(&cfg, mem, cpus, false);
}

static void what_is_there(void **state)
{
	struct guest_memory mem;
	uint8_t raw[8], *map;
	size_t len;

	(void)state;
	start(UINT64_C(4) << 30, 3, &mem);
	read_key(0, raw, 8);
	assert_memory_equal(raw, "QEMU\0\0\0\0", 8); /* zeros behind its end */
	read_key(5, raw, 2);
	assert_int_equal(get_le16(raw), 3);
	read_key(0x7777, raw, 4);
	assert_int_equal(get_le32(raw), 0);
	/* Only words select, only bytes are read */
	assert_int_equal(fw_cfg_read(&cfg, 0, 2), UINT32_MAX);
	map = read_file("etc/e820", &len);
	assert_int_equal(len, 60);
	assert_int_equal(get_le64(map), 0);
	assert_int_equal(get_le64(map + 8), GUEST_HOLE_START);
	assert_int_equal(get_le64(map + 20), GUEST_HOLE_END);
	assert_int_equal(get_le32(map + 56), 2);
	free(map);
	assert_null(read_file("etc/nothing", &len));
	guest_memory_destroy(&mem);
}

/* UEFI firmware places devices from 2 GiB on, or behind memory, and is told not to wait for a key */
static void for_uefi(void **state)
{
	const uint64_t sizes[] = {UINT64_C(256) << 20, UINT64_C(4) << 30};
	const uint32_t windows[] = {0x80000000, GUEST_HOLE_START};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		const uint8_t range[] = {0x87, 23, 0, 0, 0x0c, 1}; /* addresses of memory */
		struct guest_memory mem;
		uint8_t raw[2], *file, *at;
		size_t len;

		assert_int_equal(guest_memory_create(&mem, sizes[i], NULL), 0);
		fw_cfg_init(&cfg, &mem, 1, true);
		read_key(14, raw, 2);
		assert_int_equal(get_le16(raw), 1);
		file = read_file("etc/boot-menu-wait", &len);
		assert_int_equal(len, 2);
		assert_int_equal(get_le16(file), 0);
		free(file);
		file = read_file("etc/acpi/tables", &len);
		at = memmem(file, len, range, sizeof(range));
		assert_non_null(at);
		assert_int_equal(get_le32(at + 10), windows[i]);
		free(file);
		guest_memory_destroy(&mem);
	}
}

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	for (size_t i = 0; i < len; i++)
		s = (uint8_t)(s + p[i]);
	return s;
}

static uint8_t *file_of(const char *name, uint8_t *tables, uint8_t *rsdp)
{
	return strcmp(name, "etc/acpi/tables") == 0 ? tables : rsdp;
}

static void run_script(const uint8_t *s, size_t len, uint8_t *tables, uint8_t *rsdp)
{
	for (; len >= 128; len -= 128, s += 128) {
		uint8_t *f = file_of((const char *)s + 4, tables, rsdp), *at;
		uint64_t v = 0;

		switch (get_le32(s)) {
		case 2:
			at = f + get_le32(s + 116);
			memcpy(&v, at, s[120]);
			v += TABLES_AT;
			memcpy(at, &v, s[120]);
			assert_string_equal((const char *)s + 60, "etc/acpi/tables");
			break;
		case 3:
			f[get_le32(s + 60)] =
				(uint8_t)(f[get_le32(s + 60)] -
					  sum(f + get_le32(s + 64), get_le32(s + 68)));
			break;
		default:
			assert_true(get_le32(s) <= 1);
			break;
		}
	}
}

static void tables_are_linked(void **state)
{
	struct guest_memory mem;
	size_t n_tables, n_rsdp, n_script;
	uint8_t *tables, *rsdp, *script, *t;
	uint64_t fadt;

	(void)state;
	start(64 << 20, 2, &mem);
	tables = read_file("etc/acpi/tables", &n_tables);
	rsdp = read_file("etc/acpi/rsdp", &n_rsdp);
	script = read_file("etc/table-loader", &n_script);
	assert_true(tables && rsdp && script && n_rsdp == 36);
	run_script(script, n_script, tables, rsdp);
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	t = tables + (get_le64(rsdp + 24) - TABLES_AT);
	assert_memory_equal(t, "XSDT", 4);
	assert_int_equal(sum(t, get_le32(t + 4)), 0);
	fadt = get_le64(t + 36);
	assert_memory_equal(tables + (get_le64(t + 44) - TABLES_AT), "APIC", 4);
	t = tables + (get_le32(rsdp + 16) - TABLES_AT);
	assert_memory_equal(t, "RSDT", 4);
	assert_int_equal(sum(t, get_le32(t + 4)), 0);
	assert_int_equal(get_le32(t + 36), fadt);
	t = tables + (fadt - TABLES_AT);
	assert_memory_equal(t, "FACP", 4);
	assert_int_equal(sum(t, get_le32(t + 4)), 0);
	assert_int_equal(get_le32(t + 40), get_le64(t + 140));
	assert_memory_equal(tables + (get_le32(t + 40) - TABLES_AT), "DSDT", 4);
	assert_memory_equal(tables + (get_le32(t + 36) - TABLES_AT), "FACS", 4);
	free(tables);
	free(rsdp);
	free(script);
	guest_memory_destroy(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_there),
		cmocka_unit_test(for_uefi),
		cmocka_unit_test(tables_are_linked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
