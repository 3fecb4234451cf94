/* The reading half of qcow2: headers there and back, descriptors, refcounts of every width, counts, runs of clusters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libcommon/base/bytes.h"
#include "libcommon/image/format/qcow2/check.h"
#include "libcommon/image/format/qcow2/qcow2.h"

static struct qcow2_header whole_header(uint32_t cluster_bits)
{
	return (struct qcow2_header){
		.version = 3,
		.cluster_bits = cluster_bits,
		.size = 1 << 20,
		.l1_entries = (uint32_t)qcow2_l1_needed(1 << 20, cluster_bits, false),
		.l1_offset = 3ULL << cluster_bits,
		.reftable_offset = 1ULL << cluster_bits,
		.reftable_clusters = 1,
		.refcount_order = 4,
	};
}

static int read_back(const uint8_t *image, size_t len, struct qcow2_header *ret, struct err *err)
{
	struct bfile *file;
	int rc;

	assert_int_equal(bfile_of_memory(&file, image, len, err), 0);
	rc = qcow2_header_read(file, ret, false, err);
	bfile_close(file);
	return rc;
}

static void test_header_roundtrip(void **state)
{
	char backing[] = "base.qcow2", format[] = "qcow2", data[] = "disk.raw";

	(void)state;
	for (uint32_t bits = 9; bits <= 21; bits++) {
		size_t cluster = (size_t)1 << bits, len = cluster * 64;
		struct qcow2_header h = whole_header(bits), got;
		struct err err = ERR_INIT;
		uint8_t *image = calloc(1, len < 1 << 20 ? 1 << 20 : len);

		assert_non_null(image);
		h.incompatible = QCOW2_INCOMPAT_COMPRESSION | QCOW2_INCOMPAT_DATA_FILE;
		h.compression_type = QCOW2_COMPRESSION_ZSTD;
		h.compatible = QCOW2_COMPAT_LAZY_REFCOUNTS;
		h.backing_name = backing;
		h.backing_format = format;
		h.data_file = data;
		assert_int_equal(qcow2_header_write(&h, image, cluster, &err), 0);
		assert_int_equal(read_back(image, len < 1 << 20 ? 1 << 20 : len, &got, &err), 0);
		assert_int_equal(got.cluster_bits, bits);
		assert_int_equal(got.incompatible, h.incompatible);
		assert_int_equal(got.compatible, h.compatible);
		assert_int_equal(got.compression_type, h.compression_type);
		assert_int_equal(got.l1_entries, h.l1_entries);
		assert_string_equal(got.backing_name, backing);
		assert_string_equal(got.backing_format, format);
		assert_string_equal(got.data_file, data);
		qcow2_header_release(&got);
		free(image);
	}
}

static void test_header_no_room(void **state)
{
	uint8_t buf[512] = {0};
	char name[600];
	struct qcow2_header h = whole_header(9);
	struct err err = ERR_INIT;

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	h.backing_name = name;
	assert_int_equal(qcow2_header_write(&h, buf, sizeof(buf), &err), -1);
	assert_int_equal(err.code, ERR_USAGE);
	/* As long as fits: the feature names give way */
	name[512 - 112 - 8] = '\0';
	memset(buf, 0, sizeof(buf));
	assert_int_equal(qcow2_header_write(&h, buf, sizeof(buf), &err), 0);
	name[512 - 112 - 8] = 'x';
	name[512 - 112 - 7] = '\0';
	memset(buf, 0, sizeof(buf));
	assert_int_equal(qcow2_header_write(&h, buf, sizeof(buf), &err), -1);
}

static void test_compressed_descriptors(void **state)
{
	(void)state;
	for (uint32_t bits = 9; bits <= 21; bits++) {
		struct qcow2 q = {.h.cluster_bits = bits, .cluster_size = 1U << bits};
		static const uint64_t offs[] = {0x10000, 0x10001, 0x101ff, 0xffffff, 0x123456789};

		for (size_t i = 0; i < sizeof(offs) / sizeof(offs[0]); i++) {
			for (uint64_t len = 1; len < 1U << bits; len += len / 3 + 1) {
				struct qcow2_cluster c;
				uint64_t entry;

				assert_true(qcow2_encode_compressed(bits, offs[i], len, &entry));
				qcow2_decode(&q, entry, &c);
				assert_int_equal(c.kind, QCOW2_COMPRESSED);
				assert_int_equal(c.host_off, offs[i]);
				assert_true(c.host_len >= len && c.host_len < len + 512);
			}
		}
		assert_false(qcow2_encode_compressed(bits, 1ULL << 56, 1, &(uint64_t){0}));
	}
	/* 2 MiB clusters: the offset has 49 bits */
	assert_false(qcow2_encode_compressed(21, 1ULL << 49, 1, &(uint64_t){0}));
	assert_true(qcow2_encode_compressed(21, (1ULL << 49) - 1, 1, &(uint64_t){0}));
}

static void test_refcount_widths(void **state)
{
	uint8_t block[64];

	(void)state;
	for (uint32_t order = 0; order <= 6; order++) {
		uint64_t n = sizeof(block) * 8 >> order;
		uint64_t most = order == 6 ? UINT64_MAX : (1ULL << (1U << order)) - 1;

		memset(block, 0xff, sizeof(block));
		for (uint64_t i = 0; i < n; i++)
			refcount_put(block, i, order, i & most);
		for (uint64_t i = 0; i < n; i++)
			assert_int_equal(refcount_get(block, i, order), i & most);
	}
	/* "bit 0 means the least significant bit" */
	memset(block, 0, sizeof(block));
	refcount_put(block, 1, 1, 3);
	assert_int_equal(block[0], 0x0c);
}

static void test_counts(void **state)
{
	struct counts c;
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(counts_init(&c, 1 << 20, &err), 0);
	assert_int_equal(counts_skip(&c, 0, 1 << 20), 1 << 20);
	assert_int_equal(counts_add(&c, 70000, 2, &err), 0);
	assert_int_equal(counts_add(&c, 70000, 3, &err), 0);
	assert_int_equal(counts_get(&c, 70000), 5);
	assert_int_equal(counts_get(&c, 69999), 0);
	assert_int_equal(counts_get(&c, 1ULL << 40), 0);
	assert_true(counts_skip(&c, 0, 1 << 20) <= 70000);
	assert_int_equal(counts_add(&c, 70000, UINT64_MAX, &err), 0);
	assert_int_equal(counts_get(&c, 70000), COUNTS_MOST);
	counts_release(&c);
	assert_int_equal(counts_init(&c, UINT64_MAX / 2, &err), -1);
	assert_int_equal(err.code, ERR_UNSUPPORTED);
	counts_release(&c);
}

/* 512-byte clusters, 64 entries a table: L1 at 1536, L2 tables at 2048 and 2560, data from 4096 on */
static void test_runs_join(void **state)
{
	size_t len = 1 << 20;
	uint8_t *image = calloc(1, len);
	struct qcow2_header h = whole_header(9);
	struct image_open_opts opts = {.format = "qcow2"};
	struct err err = ERR_INIT;
	struct bfile *file;
	struct image *img;
	struct extent e;

	(void)state;
	assert_non_null(image);
	assert_int_equal(qcow2_header_write(&h, image, 512, &err), 0);
	put_be64(image + 1536, 2048 | QCOW2_FLAG_COPIED);
	put_be64(image + 1544, 2560 | QCOW2_FLAG_COPIED);
	for (uint64_t i = 0; i < 128; i++)
		put_be64(image + 2048 + 8 * i, (4096 + 512 * i) | QCOW2_FLAG_COPIED);
	put_be64(image + 2048 + 8 * 100, QCOW2_FLAG_ZERO);
	assert_int_equal(bfile_of_memory(&file, image, len, &err), 0);
	assert_int_equal(image_open_bfile(&img, file, &opts, &err), 0);
	/* Across the border of two tables, up to the zero cluster */
	assert_int_equal(image_extent(img, 100, UINT64_MAX / 2, &e, &err), 0);
	assert_int_equal(e.kind, EXTENT_DATA);
	assert_int_equal(e.host_off, 4196);
	assert_int_equal(e.len, 100 * 512 - 100);
	assert_int_equal(image_extent(img, 51200, 1 << 20, &e, &err), 0);
	assert_int_equal(e.kind, EXTENT_ZERO);
	assert_int_equal(e.len, 512);
	/* The rest of the disk has no table at all: one extent */
	assert_int_equal(image_extent(img, 65536, image_size(img) - 65536, &e, &err), 0);
	assert_int_equal(e.kind, EXTENT_UNALLOCATED);
	assert_int_equal(e.len, image_size(img) - 65536);
	image_close(img);
	free(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header_roundtrip),
		cmocka_unit_test(test_header_no_room),
		cmocka_unit_test(test_compressed_descriptors),
		cmocka_unit_test(test_refcount_widths),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_runs_join),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
