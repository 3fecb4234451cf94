/* VHD: probing by head and by tail, checksums, geometry, the size that a footer means, bits, random ids. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "libcommon/base/bytes.h"
#include "libcommon/image/format/vhd/vhd.h"
#include "libcommon/image/utf16.h"

static const struct image_format *vhd(void)
{
	const struct image_format *f;

	assert_int_equal(image_format_find(&f, "vhd", NULL), 0);
	return f;
}

static void make_footer(uint8_t p[VHD_SECTOR], enum vhd_type type, const char *creator)
{
	struct vhd_footer f = {.version = 0x10000,
			       .data_offset = type == VHD_FIXED ? VHD_NO_OFFSET : 512,
			       .current_size = 10 << 20,
			       .cylinders = 100,
			       .heads = 4,
			       .sectors = 17,
			       .type = type};

	memcpy(f.creator_raw, creator, 4);
	vhd_footer_encode(&f, p);
}

static void probes_head_and_tail(void **state)
{
	uint8_t dynamic[VHD_SECTOR], fixed[VHD_SECTOR], old[VHD_SECTOR], none[VHD_SECTOR] = {0};

	(void)state;
	make_footer(dynamic, VHD_DYNAMIC, "win ");
	make_footer(fixed, VHD_FIXED, "win ");
	memcpy(old + 1, fixed, VHD_SECTOR - 1);
	old[0] = 0;
	assert_int_equal(vhd()->probe(dynamic, 512, dynamic, 512, 1 << 20), 100);
	assert_int_equal(vhd()->probe(none, 512, fixed, 512, 1 << 20), 90);
	assert_int_equal(vhd()->probe(none, 512, old, 512, 1 << 20), 90);
	assert_int_equal(vhd()->probe(none, 512, none, 512, 1 << 20), 0);
	assert_int_equal(vhd()->probe(none, 512, NULL, 0, 0), 0);
	assert_int_equal(vhd()->probe(dynamic, 100, NULL, 0, 0), 0);
	fixed[60] ^= 1; /* the sum is wrong: a raw disk whose last sector only looks like it */
	assert_int_equal(vhd()->probe(none, 512, fixed, 512, 1 << 20), 0);
	dynamic[60] ^= 1;
	assert_int_equal(vhd()->probe(dynamic, 512, none, 512, 1 << 20), 40);
}

static void footer_round_trip(void **state)
{
	uint8_t p[VHD_SECTOR], q[VHD_SECTOR];
	struct vhd_footer f;

	(void)state;
	make_footer(p, VHD_DYNAMIC, "tap\0");
	assert_true(vhd_footer_valid(p, VHD_SECTOR));
	assert_true(vhd_footer_valid(p, VHD_SECTOR - 1));
	vhd_footer_parse(p, &f);
	assert_string_equal(f.creator, "tap");
	vhd_footer_encode(&f, q);
	assert_memory_equal(p, q, VHD_SECTOR);
}

static void size_rule(void **state)
{
	static const struct {
		char creator[5];
		bool chs;
	} rules[] = {{"vpc ", true},   {"qemu", true},	{"VBOX", true},
		     {"win ", false},  {"qem2", false}, {"d2v ", false},
		     {"tap\0", false}, {"CTXS", false}, {"wa\0\0", false}};
	uint8_t p[VHD_SECTOR];
	struct vhd_footer f;

	(void)state;
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		make_footer(p, VHD_FIXED, rules[i].creator);
		vhd_footer_parse(p, &f);
		assert_int_equal(vhd_size_by_chs(&f), rules[i].chs);
		assert_int_equal(vhd_size_of(&f), rules[i].chs ? 100 * 4 * 17 * 512 : 10 << 20);
	}
	make_footer(p, VHD_FIXED, "vpc ");
	vhd_footer_parse(p, &f);
	f.cylinders = 65535;
	f.heads = 16;
	f.sectors = 255;
	assert_int_equal(vhd_size_of(&f), 10 << 20);
	f.cylinders = 0;
	assert_int_equal(vhd_size_of(&f), 10 << 20);
}

/* Figures of qemu-img 7.2 for 1 GiB and 10 MiB, and the largest */
static void geometries(void **state)
{
	uint16_t c;
	uint8_t h, s;

	(void)state;
	vhd_geometry((1ULL << 30) / 512, &c, &h, &s);
	assert_int_equal(h, 16);
	assert_int_equal(s, 63);
	assert_int_equal(c, 2080);
	vhd_geometry((10ULL << 20) / 512, &c, &h, &s);
	assert_int_equal(h, 4);
	assert_int_equal(s, 17);
	assert_int_equal(c, 301);
	vhd_geometry(UINT64_MAX, &c, &h, &s);
	assert_int_equal(c, 65535);
	assert_int_equal(h, 16);
	assert_int_equal(s, 255);
}

static void bits(void **state)
{
	const uint8_t map[4] = {0x80, 0x00, 0xff, 0xfe};
	bool set;

	(void)state;
	assert_int_equal(vhd_bits_run(map, 0, 32, &set), 1);
	assert_true(set);
	assert_int_equal(vhd_bits_run(map, 1, 32, &set), 15);
	assert_false(set);
	assert_int_equal(vhd_bits_run(map, 16, 32, &set), 15);
	assert_true(set);
	assert_int_equal(vhd_bits_run(map, 18, 20, &set), 2);
	assert_int_equal(vhd_bits_run(map, 31, 32, &set), 1);
	assert_false(set);
}

static void make_disk(uint8_t uuid[16], bool random_ids)
{
	char path[] = "/tmp/vmkit-vhd-XXXXXX";
	struct bulk_params p = {.size = 1 << 20, .target_is_zero = true, .random_ids = random_ids};
	struct bulk b = {.ops = vhd()->bulk, .params = &p};
	uint32_t stamp;
	int fd = mkostemp(path, O_CLOEXEC);

	assert_true(fd >= 0);
	(void)unlink(path);
	assert_int_equal(bfile_of_fd(&b.file, fd, path, true, NULL), 0);
	assert_int_equal(b.ops->begin(&b, NULL), 0);
	assert_int_equal(b.ops->finish(&b, NULL), 0);
	assert_int_equal(vhd_uuid_of(b.file, uuid, &stamp, NULL), 0);
	b.ops->abort(&b);
	bfile_close(b.file);
}

static void ids(void **state)
{
	uint8_t a[16], b[16], c[16], d[16];

	(void)state;
	make_disk(a, false);
	make_disk(b, false);
	make_disk(c, true);
	make_disk(d, true);
	assert_memory_equal(a, b, 16);
	assert_memory_not_equal(a, c, 16);
	assert_memory_not_equal(c, d, 16);
	assert_int_equal(a[6] >> 4, 8);
	assert_int_equal(c[6] >> 4, 4);
}

static void utf16(void **state)
{
	static const char text[] = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x92\xbe";
	static const uint8_t lone[] = {0xd8, 0x00, 0x00, 'x', 0x00};
	uint8_t *bytes;
	char *back;
	size_t n;

	(void)state;
	for (int big = 0; big < 2; big++) {
		assert_int_equal(utf8_to_utf16(text, big, &bytes, &n, NULL), 0);
		assert_int_equal(n, 10);
		assert_int_equal(big ? get_be16(bytes) : get_le16(bytes), 'a');
		assert_int_equal(utf16_to_utf8(bytes, n, big, &back, NULL), 0);
		assert_string_equal(back, text);
		free(bytes);
		free(back);
	}
	assert_int_equal(utf16_to_utf8(lone, sizeof(lone), true, &back, NULL), 0);
	assert_string_equal(back, "?x");
	free(back);
	assert_int_equal(utf8_to_utf16("\xff", true, &bytes, &n, NULL), -1);
	assert_int_equal(utf8_to_utf16("\xed\xa0\x80", true, &bytes, &n, NULL), -1);
	assert_int_equal(utf8_to_utf16("\xc3", true, &bytes, &n, NULL), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(probes_head_and_tail),
		cmocka_unit_test(footer_round_trip),
		cmocka_unit_test(size_rule),
		cmocka_unit_test(geometries),
		cmocka_unit_test(bits),
		cmocka_unit_test(ids),
		cmocka_unit_test(utf16),
	};

	return cmocka_run_group_tests_name("vhd", tests, NULL, NULL);
}
