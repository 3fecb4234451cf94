/* Packages: names, units, manifests, tar headers, descriptors read and written, ranges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/package/manifest.h"
#include "libcommon/package/ova_read.h"
#include "libcommon/package/ovf.h"
#include "libcommon/package/range.h"
#include "libcommon/package/tar.h"
#include "libcommon/package/xml.h"

static void hrefs(void **state)
{
	static const char *const good[][2] = {
		{"a.vmdk", "a.vmdk"},	   {"a%20b.vmdk", "a b.vmdk"},
		{"./x/y", "x/y"},	   {"100%.vmdk", "100%.vmdk"},
		{"file:a.vmdk", "a.vmdk"}, {"a%zz", "a%zz"},
		{"..a/b..", "..a/b.."},	   {"%41", "A"},
		{"a%2Fb", "a/b"},	   {"a/b:c.vmdk", "a/b:c.vmdk"}};
	static const struct {
		const char *href;
		enum err_code code;
	} bad[] = {{"../a", ERR_DENIED},
		   {"a/..", ERR_DENIED},
		   {"..", ERR_DENIED},
		   {"/etc/passwd", ERR_DENIED},
		   {"%2e%2e/a", ERR_DENIED},
		   {"a%00b", ERR_DENIED},
		   {"a\\b", ERR_DENIED},
		   {"%2fetc", ERR_DENIED},
		   {"a%0ab", ERR_DENIED},
		   {"http://x/y", ERR_UNSUPPORTED},
		   {"file:///etc", ERR_UNSUPPORTED},
		   {"", ERR_CORRUPT},
		   {"./", ERR_CORRUPT}};
	struct err err = ERR_INIT;
	char *name;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(ovf_decode_href(good[i][0], &name, &err), 0);
		assert_string_equal(name, good[i][1]);
		free(name);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(ovf_decode_href(bad[i].href, &name, &err), -1);
		assert_int_equal(err.code, bad[i].code);
	}
}

static void units(void **state)
{
	static const struct {
		const char *text;
		uint64_t factor; /* 0: refused */
	} t[] = {{"byte", 1},
		 {"byte * 2^30", 1 << 30},
		 {"byte*2^20", 1 << 20},
		 {"byte * 1024", 1024},
		 {"byte * 10^9", 0},
		 {"MegaBytes", 1 << 20},
		 {"GigaBytes", 1 << 30},
		 {"KB", 1 << 10},
		 {"byte * 2^63", 0},
		 {"byte * 2^-1", 0},
		 {"byte * -2", 0},
		 {"byte * 0", 0},
		 {"byte *", 0},
		 {"furlong", 0},
		 {"", 0}};
	uint64_t v;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		if (strcmp(t[i].text, "byte * 10^9") == 0) {
			assert_true(ovf_units("byte * 10^9", &v));
			assert_int_equal(v, 1000000000);
			continue;
		}
		assert_int_equal(ovf_units(t[i].text, &v), t[i].factor != 0);
		if (t[i].factor)
			assert_int_equal(v, t[i].factor);
	}
}

static void numbers(void **state)
{
	uint64_t v;

	(void)state;
	assert_true(xml_number("0", &v));
	assert_true(xml_number("9223372036854775807", &v));
	assert_int_equal(v, INT64_MAX);
	assert_false(xml_number("9223372036854775808", &v));
	assert_false(xml_number("99999999999999999999999", &v));
	assert_false(xml_number("-1", &v));
	assert_false(xml_number("+1", &v));
	assert_false(xml_number(" 1", &v));
	assert_false(xml_number("1 ", &v));
	assert_false(xml_number("0x10", &v));
	assert_false(xml_number("", &v));
	assert_false(xml_number(NULL, &v));
}

#define HEX40 "0123456789abcdef0123456789ABCDEF01234567"

static void manifests(void **state)
{
	static const char *const bad[] = {"",
					  "\n\n",
					  "SHA1(a)=",
					  "SHA1(a)= 00",
					  "SHA1 a = " HEX40,
					  "SHA1()= " HEX40,
					  "SHA1(a)= x" HEX40,
					  "MD4(a)= " HEX40,
					  "SHA256(a)= " HEX40,
					  "=)(" HEX40,
					  "(a)= " HEX40};
	static const char text[] = "SHA1(a (1)=b.vmdk)= " HEX40 "\r\n\n sha1 (c%20d) = " HEX40;
	struct err err = ERR_INIT;
	struct manifest m;

	(void)state;
	assert_int_equal(manifest_parse(&m, text, sizeof(text) - 1, &err), 0);
	assert_int_equal(m.n, 2);
	assert_string_equal(m.lines[0].name, "a (1)=b.vmdk");
	assert_string_equal(m.lines[0].hex, "0123456789abcdef0123456789abcdef01234567");
	assert_string_equal(m.lines[1].algorithm, "sha1");
	assert_true(m.spaced);
	assert_non_null(manifest_find(&m, "c d"));
	assert_non_null(manifest_find(&m, "c%20d"));
	assert_null(manifest_find(&m, "a"));
	manifest_release(&m);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(manifest_parse(&m, bad[i], strlen(bad[i]), &err), -1);
		manifest_release(&m);
	}
	assert_int_equal(manifest_parse_cert(&m, "SHA256(a.mf)= abcd\nPEM", 22, &err), 0);
	assert_int_equal(m.pem_at, 19);
	manifest_release(&m);
}

/* What libarchive makes of our headers, 9 GiB included. */
static void tar_headers(void **state)
{
	static const uint64_t sizes[] = {0, 511, TAR_OCTAL_MAX, TAR_OCTAL_MAX + 1, 9ULL << 30};
	char long_name[TAR_NAME_MAX + 2];
	uint8_t block[TAR_BLOCK];

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char path[] = "/tmp/vmkit-tar-XXXXXX";
		int fd = mkstemp(path);
		struct ova_member *list;
		struct bfile *file;
		size_t n;

		assert_true(fd >= 0);
		unlink(path);
		assert_int_equal(tar_header(block, "disk.vmdk", sizes[i], 1, NULL), 0);
		assert_int_equal(pwrite(fd, block, TAR_BLOCK, 0), TAR_BLOCK);
		assert_int_equal(ftruncate(fd, (off_t)((sizes[i] + 511) / 512 * 512 + 1536)), 0);
		assert_int_equal(bfile_of_fd(&file, fd, "t.tar", false, NULL), 0);
		assert_int_equal(ova_index(file, &list, &n, NULL), 0);
		assert_int_equal(n, 1);
		assert_int_equal(list[0].size, sizes[i]);
		assert_int_equal(list[0].off, TAR_BLOCK);
		ova_index_free(list, n);
		bfile_close(file);
	}
	memset(long_name, 'a', sizeof(long_name));
	long_name[TAR_NAME_MAX + 1] = '\0';
	assert_int_equal(tar_header(block, long_name, 0, 0, NULL), -1);
	long_name[TAR_NAME_MAX] = '\0';
	assert_int_equal(tar_header(block, long_name, 0, 0, NULL), 0);
}

/* Descriptors of many disks on each bus: no address twice, and as many as fit. */
static void buses(void **state)
{
	static const struct {
		enum machine_bus bus;
		size_t most;
	} t[] = {{BUS_SCSI, 60}, {BUS_SATA, 120}, {BUS_IDE, 4}};
	struct ovf_write_disk disks[121];

	(void)state;
	for (size_t i = 0; i < 121; i++)
		disks[i] = (struct ovf_write_disk){"d.vmdk", 1, 512, 1};
	for (size_t i = 0; i < 3; i++) {
		struct machine m = {.cpus = 1, .memory = 4 << 20};
		struct err err = ERR_INIT;
		struct ovf o;
		char *text;
		size_t len;

		m.name = strdup("m");
		for (size_t j = 0; j < 121; j++)
			machine_add_disk(&m, NULL)->bus = t[i].bus;
		assert_int_equal(ovf_write(&m, disks, t[i].most, &text, &len, &err), 0);
		assert_int_equal(ovf_parse(&o, text, len, &err), 0);
		assert_int_equal(o.n_disks, t[i].most);
		assert_int_equal(o.machines[0].n_disks, t[i].most);
		assert_int_equal(o.n_faults, 0);
		ovf_release(&o);
		free(text);
		assert_int_equal(ovf_write(&m, disks, t[i].most + 1, &text, &len, &err), -1);
		assert_int_equal(err.code, ERR_UNSUPPORTED);
		machine_release(&m);
	}
}

static void systems(void **state)
{
	struct machine m = {0};
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(machine_set_os(&m, "debian", &err), 0);
	assert_int_equal(m.os_id, 96);
	assert_string_equal(machine_vmware_os(&m), "debian10_64Guest");
	assert_int_equal(machine_set_os(&m, "77", &err), 0);
	assert_int_equal(m.os_id, 77);
	assert_string_equal(machine_vmware_os(&m), "otherGuest64");
	assert_int_equal(machine_set_os(&m, "0", &err), -1);
	assert_int_equal(machine_set_os(&m, "70000", &err), -1);
	assert_int_equal(machine_set_os(&m, "-1", &err), -1);
	machine_release(&m);
}

static void ranges(void **state)
{
	static const char a[] = "0123456789", b[] = "abcdefghij";
	struct err err = ERR_INIT;
	struct bfile *files[2], *whole;
	char buf[16] = "";

	(void)state;
	assert_int_equal(bfile_of_memory(&files[0], a, 10, &err), 0);
	assert_int_equal(bfile_of_memory(&files[1], b, 10, &err), 0);

	const struct range_part parts[] = {
		{files[0], 2, 3}, {files[1], 0, 0}, {files[1], 5, 5}, {files[0], 9, 1}};
	const struct range_part outside = {files[0], 8, 3};

	assert_int_equal(range_file(&whole, "w", &outside, 1, files, 0, &err), -1);
	assert_int_equal(range_file(&whole, "w", parts, 4, files, 2, &err), 0);
	assert_int_equal(bfile_size(whole), 9);
	for (size_t from = 0; from < 9; from++)
		for (size_t len = 0; from + len <= 9; len++) {
			assert_int_equal(bfile_pread(whole, buf, len, from, &err), 0);
			assert_memory_equal(buf, &"234fghij9"[from], len);
		}
	assert_int_equal(bfile_pread(whole, buf, 2, 8, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	bfile_close(whole);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hrefs),       cmocka_unit_test(units),
		cmocka_unit_test(numbers),     cmocka_unit_test(manifests),
		cmocka_unit_test(tar_headers), cmocka_unit_test(buses),
		cmocka_unit_test(systems),     cmocka_unit_test(ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
