/* VMDK: probing, headers there and back, descriptors in the forms that products write, entries of tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libcommon/base/bytes.h"
#include "libcommon/image/format/vmdk/vmdk.h"

static int probe(const void *head, size_t len)
{
	const struct image_format *f;

	assert_int_equal(image_format_find(&f, "vmdk", NULL), 0);
	assert_ptr_equal(f, &image_format_vmdk);
	return f->probe(head, len, NULL, 0, 0);
}

static int probe_text(const char *text)
{
	return probe(text, strlen(text));
}

static void test_probe(void **state)
{
	static const uint8_t sesparse[16] = {0xbe, 0xba, 0xfe, 0xca};

	(void)state;
	assert_int_equal(probe("KDMV\1\0\0\0", 8), 100);
	assert_int_equal(probe("KDMV\3\0\0\0", 8), 100);
	assert_int_equal(probe("KDMV\4\0\0\0", 8), 30);
	assert_int_equal(probe("COWD\1\0\0\0", 8), 100);
	assert_int_equal(probe(sesparse, sizeof(sesparse)), 100);
	assert_int_equal(probe_text("# Disk DescriptorFile\nversion=1\n"), 95);
	assert_int_equal(probe_text("# disk descriptorfile\r\nversion = 1\r\n"), 95);
	assert_int_equal(probe_text("\n# made by hand\nversion=1\n"), 95);
	assert_int_equal(probe_text("# a script\nset -e\nversion=1\n"), 0);
	assert_int_equal(probe_text("versions are\n"), 0);
	assert_int_equal(probe_text(""), 0);
	assert_int_equal(probe("KDM", 3), 0);
}

static const struct vmdk_header good = {.version = 1,
					.flags = VMDK_NEWLINES | VMDK_RGD,
					.capacity = 1000,
					.grain_sectors = 128,
					.desc_offset = 1,
					.desc_sectors = 20,
					.gtes = 512,
					.rgd_offset = 21,
					.gd_offset = 26,
					.overhead = 128};

static void test_header(void **state)
{
	uint8_t s[VMDK_SECTOR];
	struct vmdk_header h;

	(void)state;
	vmdk_header_encode(&good, s);
	assert_int_equal(vmdk_header_decode(s, &h, NULL), 0);
	assert_int_equal(h.version, 1);
	assert_int_equal(h.flags, 3);
	assert_int_equal(h.capacity, 1000);
	assert_int_equal(h.grain_sectors, 128);
	assert_int_equal(h.desc_offset, 1);
	assert_int_equal(h.desc_sectors, 20);
	assert_int_equal(h.gtes, 512);
	assert_int_equal(h.rgd_offset, 21);
	assert_int_equal(h.gd_offset, 26);
	assert_int_equal(h.overhead, 128);
	assert_int_equal(h.algorithm, 0);
}

static void refused(size_t at, uint32_t value, enum err_code code)
{
	uint8_t s[VMDK_SECTOR];
	struct err err = ERR_INIT;
	struct vmdk_header h;

	vmdk_header_encode(&good, s);
	put_le32(s + at, value);
	assert_int_equal(vmdk_header_decode(s, &h, &err), -1);
	assert_int_equal(err.code, code);
}

static void test_header_refused(void **state)
{
	(void)state;
	refused(0, 0, ERR_CORRUPT);
	refused(4, 0, ERR_UNSUPPORTED);
	refused(4, 4, ERR_UNSUPPORTED);
	refused(73, 0x0a0a200a, ERR_CORRUPT);
	refused(8, VMDK_COMPRESSED, ERR_UNSUPPORTED); /* by an algorithm 0 */
}

static void test_geometry(void **state)
{
	struct vmdk_extent x = {0};

	(void)state;
	assert_int_equal(vmdk_geometry_check(&x, 128 * 512 + 1, 128, 512, NULL), 0);
	assert_int_equal(x.gd_entries, 2);
	assert_int_equal(x.grain, 65536);
	assert_int_equal(vmdk_geometry_check(&x, UINT64_MAX, 128, 512, NULL), -1);
	assert_int_equal(vmdk_geometry_check(&x, 1, 0, 512, NULL), -1);
	assert_int_equal(vmdk_geometry_check(&x, 1, 96, 512, NULL), -1);
	assert_int_equal(vmdk_geometry_check(&x, 1, 1ULL << 60, 512, NULL), -1);
	assert_int_equal(vmdk_geometry_check(&x, 1, 128, 0, NULL), -1);
}

static int parse(const char *text, struct vmdk_descriptor *d, struct err *err)
{
	return vmdk_descriptor_parse(text, strlen(text), d, err);
}

static void test_descriptor(void **state)
{
	struct vmdk_descriptor d;

	(void)state;
	assert_int_equal(parse("# Disk DescriptorFile\r\nversion=1\r\n  cid = 0123abCD\r\n"
			       "parentCID=fffffffe\r\ncreateType=monolithicFlat\r\n"
			       "parentFileNameHint=\"a b=c.vmdk\"\r\n"
			       "rw 8 flat \"x y.vmdk\" 16\r\nRDONLY\t4 SPARSE  \"s\"\r\n"
			       "NOACCESS 63 ZERO\r\nRW 2 VMFS \"v\"\r\n"
			       "ddb.adapterType = \"ide\"\r\nunknown=1\r\nnonsense",
			       &d, NULL),
			 0);
	assert_int_equal(d.cid, 0x0123abcd);
	assert_int_equal(d.parent_cid, 0xfffffffe);
	assert_string_equal(d.create_type, "monolithicFlat");
	assert_string_equal(d.parent_hint, "a b=c.vmdk");
	assert_string_equal(d.adapter_type, "ide");
	assert_int_equal(d.n_lines, 4);
	assert_int_equal(d.lines[0].kind, VMDK_FLAT);
	assert_int_equal(d.lines[0].sectors, 8);
	assert_int_equal(d.lines[0].offset, 16);
	assert_string_equal(d.lines[0].name, "x y.vmdk");
	assert_int_equal(d.lines[1].access, VMDK_RDONLY);
	assert_int_equal(d.lines[1].kind, VMDK_SPARSE);
	assert_int_equal(d.lines[2].access, VMDK_NOACCESS);
	assert_null(d.lines[2].name);
	assert_int_equal(d.lines[3].kind, VMDK_FLAT);
	vmdk_descriptor_release(&d);
	/* what is behind a NUL does not count: embedded ones are padded */
	assert_int_equal(vmdk_descriptor_parse("CID=1\0CID=2\n", 12, &d, NULL), 0);
	assert_int_equal(d.cid, 1);
	assert_int_equal(d.parent_cid, VMDK_NO_PARENT);
	vmdk_descriptor_release(&d);
}

static void bad_text(const char *text, enum err_code code)
{
	struct vmdk_descriptor d;
	struct err err = ERR_INIT;

	assert_int_equal(parse(text, &d, &err), -1);
	assert_int_equal(err.code, code);
	assert_null(strchr(err.message, '\033'));
}

static void test_descriptor_refused(void **state)
{
	(void)state;
	bad_text("version=9\n", ERR_UNSUPPORTED);
	bad_text("CID=xyz\n", ERR_CORRUPT);
	bad_text("CID=123456789\n", ERR_CORRUPT);
	bad_text("RW 8 FLAT\n", ERR_CORRUPT);
	bad_text("RW 8 FLAT \"\" 0\n", ERR_CORRUPT);
	bad_text("RW 8 FLAT \"x\n", ERR_CORRUPT);
	bad_text("RW 8 FLAT \"x\" -1\n", ERR_CORRUPT);
	bad_text("RW -8 ZERO\n", ERR_CORRUPT);
	bad_text("RW 18446744073709551616 ZERO\n", ERR_CORRUPT);
	bad_text("RW 36028797018963968 ZERO\n", ERR_CORRUPT);
	bad_text("RW 8 VMFSRDM \"\033[31mx\"\n", ERR_UNSUPPORTED);
	bad_text("encoding=\"klingon\"\nRW 8 FLAT \"\xe9\" 0\n", ERR_UNSUPPORTED);
}

static void test_encoding(void **state)
{
	struct vmdk_descriptor d;

	(void)state;
	assert_int_equal(parse("encoding=\"windows-1252\"\nRW 8 FLAT \"d\xe9\x80\" 0\n", &d, NULL),
			 0);
	assert_string_equal(d.lines[0].name, "d\xc3\xa9\xe2\x82\xac");
	vmdk_descriptor_release(&d);
	assert_int_equal(parse("encoding=\"klingon\"\nRW 8 FLAT \"ascii\" 0\n", &d, NULL), 0);
	vmdk_descriptor_release(&d);
}

static void test_describe(void **state)
{
	char name[] = "a-flat.vmdk", create[] = "monolithicFlat", adapter[] = "lsilogic",
	     hw[] = "4", hint[] = "../p.vmdk", *text;
	struct vmdk_line line = {.type = "FLAT", .sectors = 4192256, .name = name};
	const struct vmdk_descriptor d = {.cid = 0xab,
					  .parent_cid = 0x12345678,
					  .create_type = create,
					  .parent_hint = hint,
					  .adapter_type = adapter,
					  .hw_version = hw,
					  .lines = &line,
					  .n_lines = 1};
	struct vmdk_descriptor got;
	size_t len;

	(void)state;
	assert_int_equal(vmdk_describe(&d, true, &text, &len, NULL), 0);
	assert_int_equal(strlen(text), len);
	assert_true(vmdk_is_descriptor((const uint8_t *)text, len));
	assert_non_null(strstr(text, "\nCID=000000ab\nparentCID=12345678\n"));
	assert_non_null(strstr(text, "\nddb.geometry.heads = \"255\"\n"));
	assert_int_equal(parse(text, &got, NULL), 0);
	assert_int_equal(got.cid, 0xab);
	assert_string_equal(got.parent_hint, hint);
	assert_int_equal(got.n_lines, 1);
	assert_int_equal(got.lines[0].sectors, 4192256);
	assert_string_equal(got.lines[0].name, name);
	vmdk_descriptor_release(&got);
	free(text);
}

static void test_entries(void **state)
{
	static const uint8_t file[8192];
	struct vmdk_extent x = {.kind = VMDK_SPARSE, .grain = 4096, .gtes = 4};
	uint64_t off;

	(void)state;
	assert_int_equal(bfile_of_memory(&x.file, file, sizeof(file), NULL), 0);
	assert_int_equal(vmdk_decode_entry(&x, 0, &off), GRAIN_NONE);
	assert_int_equal(vmdk_decode_entry(&x, 1, &off), GRAIN_ZERO);
	assert_int_equal(vmdk_decode_entry(&x, 15, &off), GRAIN_DATA);
	assert_int_equal(off, 15 * 512);
	assert_int_equal(vmdk_decode_entry(&x, 16, &off), GRAIN_BAD);
	assert_true(vmdk_decode_dir(&x, 0, &off) && off == 0);
	assert_true(vmdk_decode_dir(&x, 15, &off) && off == 15 * 512);
	assert_false(vmdk_decode_dir(&x, 16, &off));
	x.kind = VMDK_COWD;
	assert_int_equal(vmdk_decode_entry(&x, 1, &off), GRAIN_DATA);

	/* seSparse: the lowest bits of the number are on top */
	x.kind = VMDK_SESPARSE;
	assert_int_equal(vmdk_decode_entry(&x, 0, &off), GRAIN_NONE);
	assert_int_equal(vmdk_decode_entry(&x, 5, &off), GRAIN_BAD);
	assert_int_equal(vmdk_decode_entry(&x, 1ULL << 60, &off), GRAIN_ZERO);
	assert_int_equal(vmdk_decode_entry(&x, 2ULL << 60, &off), GRAIN_ZERO);
	assert_int_equal(vmdk_decode_entry(&x, 3ULL << 60 | 1ULL << 48, &off), GRAIN_DATA);
	assert_int_equal(off, 4096);
	assert_int_equal(vmdk_decode_entry(&x, 3ULL << 60 | 1, &off), GRAIN_BAD);
	assert_int_equal(vmdk_decode_entry(&x, 3ULL << 60 | 0x0000ffffffffffff, &off), GRAIN_BAD);
	assert_int_equal(vmdk_decode_entry(&x, 4ULL << 60, &off), GRAIN_BAD);
	x.table_base = 512;
	assert_true(vmdk_decode_dir(&x, 0x1000000000000003, &off) && off == 512 + 3 * 32);
	assert_false(vmdk_decode_dir(&x, 0x10000000ffffffff, &off));
	assert_false(vmdk_decode_dir(&x, 3, &off));
	bfile_close(x.file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_probe),	       cmocka_unit_test(test_header),
		cmocka_unit_test(test_header_refused), cmocka_unit_test(test_geometry),
		cmocka_unit_test(test_descriptor),     cmocka_unit_test(test_descriptor_refused),
		cmocka_unit_test(test_encoding),       cmocka_unit_test(test_describe),
		cmocka_unit_test(test_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
