/* Pages: encoding and decoding, the one allowed form, damaged input; tree heights. */
#include "libcommon/repo/page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libcommon/base/bytes.h"
#include "libcommon/repo/store.h"
#include "libcommon/repo/tree.h"

static uint8_t buf[PAGE_BYTES_MAX];

static struct repo_id make_id(unsigned n)
{
	struct repo_id id;

	memset(id.bytes, 0xab, sizeof(id.bytes));
	put_le32(id.bytes, n);
	return id;
}

static struct page_chunk make_chunk(uint32_t off, uint32_t len, unsigned n)
{
	struct page_chunk c = {.off = off, .len = len, .id = make_id(n)};

	memset(c.mark, (int)(n & 0xff), sizeof(c.mark));
	return c;
}

static void test_leaf(void **unused)
{
	const struct page_chunk in[] = {
		make_chunk(0, 16384, 1),
		make_chunk(16384, 4096, 2),
		make_chunk(1 << 20, 262144, 1),
		make_chunk(15 << 20, 777, 3),
	};
	struct err err = ERR_INIT;
	struct page *p;
	size_t len = page_encode_leaf(in, 4, buf);

	(void)unused;
	assert_int_equal(len, PAGE_HEADER + 6 * 4 + 4 * (32 + 16));
	assert_int_equal(page_decode(&p, buf, len, 0, &err), 0);
	assert_int_equal(p->n, 4);
	assert_memory_equal(p->chunks, in, sizeof(in));
	assert_int_equal(page_find(p, 0), 0);
	assert_int_equal(page_find(p, 16383), 0);
	assert_int_equal(page_find(p, 16384), 1);
	assert_int_equal(page_find(p, 20480), 2);
	assert_int_equal(page_find(p, (15 << 20) + 776), 3);
	assert_int_equal(page_find(p, (15 << 20) + 777), 4);
	page_free(p);
}

static struct page_chunk make_delta(struct page_chunk c, uint32_t len, uint32_t n_bases)
{
	c.delta = (struct page_delta){.id = make_id(1000 + len), .len = len, .n_bases = n_bases};
	for (uint32_t i = 0; i < n_bases; i++)
		c.delta.bases[i] = (struct page_base){make_id(2000 + i), 4096 * (i + 1)};
	return c;
}

static void test_deltas(void **unused)
{
	const struct page_chunk in[] = {
		make_chunk(0, 16384, 1),
		make_delta(make_chunk(16384, 4096, 2), 77, 1),
		make_chunk(1 << 20, 262144, 1),
		make_delta(make_chunk(15 << 20, 777, 3), 1, PAGE_BASES_MAX),
	};
	const size_t plain = PAGE_HEADER + 6 * 4 + 4 * (32 + 16);
	struct err err = ERR_INIT;
	struct page *p;
	size_t len = page_encode_leaf(in, 4, buf);

	(void)unused;
	assert_memory_equal(buf, "VPG2", 4);
	assert_int_equal(len, plain + 4 + 2 * (8 + 36) + 5 * 36);
	assert_int_equal(page_decode(&p, buf, len, 0, &err), 0);
	assert_memory_equal(p->chunks, in, sizeof(in));
	page_free(p);
	/* Any other length, every 32-bit number of the deltas at its worst, and one form for each content. */
	for (size_t n = 0; n < len; n++)
		assert_int_equal(page_decode(&p, buf, n, 0, &err), -1);
	for (size_t at = plain; at + 8 <= plain + 12; at += 4) {
		uint32_t was = get_le32(buf + at);

		put_le32(buf + at, UINT32_MAX);
		assert_int_equal(page_decode(&p, buf, len, 0, &err), -1);
		assert_int_equal(err.code, ERR_CORRUPT);
		put_le32(buf + at, was);
	}
	put_le32(buf + plain + 4, 3); /* the index of the first is not below that of the second */
	assert_int_equal(page_decode(&p, buf, len, 0, &err), -1);
	put_le32(buf + plain + 4, 1);
	put_le32(buf + plain + 44, 0); /* a delta of no bytes */
	assert_int_equal(page_decode(&p, buf, len, 0, &err), -1);
	put_le32(buf + plain + 44, 77);
	put_le32(buf + plain + 80, BLOB_MAX + 1); /* a base that is too long */
	assert_int_equal(page_decode(&p, buf, len, 0, &err), -1);
	put_le32(buf + plain + 80, 4096);
	assert_int_equal(page_decode(&p, buf, len, 0, &err), 0);
	page_free(p);
	put_le32(buf + plain, 0);
	assert_int_equal(page_decode(&p, buf, plain + 4, 0, &err),
			 -1); /* a plain page in disguise */
	assert_int_equal(page_decode(&p, buf, len, 1, &err), -1);
}

static void test_leaf_largest(void **unused)
{
	struct page_chunk *in = calloc(PAGE_WORDS_MAX, sizeof(*in));
	struct err err = ERR_INIT;
	struct page *p;
	size_t len;

	(void)unused;
	for (unsigned i = 0; i < PAGE_WORDS_MAX; i++)
		in[i] = make_chunk(i * CHUNK_BLOCK, CHUNK_BLOCK, i + 1);
	len = page_encode_leaf(in, PAGE_WORDS_MAX, buf);
	assert_int_equal(len, PAGE_HEADER + PAGE_WORDS_MAX * (4 + 32 + PAGE_MARK));
	assert_int_equal(page_decode(&p, buf, len, 0, &err), 0);
	assert_memory_equal(p->chunks, in, PAGE_WORDS_MAX * sizeof(*in));
	page_free(p);
	free(in);
}

static void refuse(size_t len, unsigned level)
{
	struct err err = ERR_INIT;
	struct page *p = NULL;

	assert_int_equal(page_decode(&p, buf, len, level, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	assert_null(p);
}

static void test_leaf_bad(void **unused)
{
	const struct page_chunk in[] = {make_chunk(4096, 8192, 1), make_chunk(12288, 4096, 2)};
	size_t len = page_encode_leaf(in, 2, buf);
	uint8_t good[PAGE_HEADER + 3 * 4 + 2 * (32 + 16)];

	(void)unused;
	assert_int_equal(len, sizeof(good));
	memcpy(good, buf, len);
	refuse(len, 1);
	refuse(len - 1, 0);
	refuse(len + 1, 0);
	refuse(0, 0);
	refuse(PAGE_HEADER, 0);

	static const struct {
		unsigned at;
		uint32_t value;
	} changes[] = {
		{0, 0},	    /* magic */
		{4, 1},	    /* level */
		{4, 0x100}, /* reserved */
		{8, 0},	    /* nothing */
		{8, 2},	    /* fewer words */
		{8, 0xffffffff},
		{12, 0x80000000},		 /* zeros of no length */
		{12, 0x80000000 + 4095},	 /* off the grid */
		{12, 0x80000000 + CHUNK_REGION}, /* no room for what follows */
		{12, 4096},			 /* a chunk without an id */
		{16, 0},
		{16, (1 << 20) + 4096},	 /* longer than a blob */
		{16, 8191},		 /* off the grid, not the last */
		{16, 0x80000000 + 4096}, /* zeros after zeros */
		{20, 0x80000000 + 4096}, /* zeros at the end */
		{20, CHUNK_REGION},
	};

	for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
		memcpy(buf, good, sizeof(good));
		put_le32(buf + changes[i].at, changes[i].value);
		refuse(sizeof(good), 0);
	}
	memcpy(buf, good, sizeof(good));
	memset(buf + 24, 0, 32);
	refuse(sizeof(good), 0);
}

static void test_interior(void **unused)
{
	struct repo_id children[PAGE_FANOUT] = {0};
	struct err err = ERR_INIT;
	struct page *p;
	size_t len;

	(void)unused;
	children[0] = make_id(1);
	children[9] = make_id(2);
	children[255] = make_id(3);
	len = page_encode_interior(2, children, buf);
	assert_int_equal(len, PAGE_HEADER + 32 + 3 * 32);
	assert_int_equal(page_decode(&p, buf, len, 2, &err), 0);
	assert_int_equal(p->n, 3);
	assert_memory_equal(p->children, children, sizeof(children));
	page_free(p);

	refuse(len, 0);
	refuse(len, 3);
	refuse(len - 1, 2);
	buf[PAGE_HEADER] ^= 2; /* one bit more than children */
	refuse(len, 2);
	buf[PAGE_HEADER] ^= 2;
	put_le32(buf + 8, 257);
	refuse(len, 2);
	put_le32(buf + 8, 3);
	memset(buf + PAGE_HEADER + 32, 0, 32);
	refuse(len, 2);
}

static void test_levels(void **unused)
{
	(void)unused;
	assert_int_equal(tree_regions(0), 0);
	assert_int_equal(tree_regions(1), 1);
	assert_int_equal(tree_levels(0), 0);
	assert_int_equal(tree_levels(CHUNK_REGION), 0);
	assert_int_equal(tree_levels(CHUNK_REGION + 1), 1);
	assert_int_equal(tree_levels(256ULL * CHUNK_REGION), 1);
	assert_int_equal(tree_levels(256ULL * CHUNK_REGION + 1), 2);
	assert_int_equal(tree_levels(65536ULL * CHUNK_REGION), 2);
	assert_int_equal(tree_levels(TREE_DISK_MAX), PAGE_LEVELS_MAX);
}

static size_t pages_put;

static int put_page(void *ctx, const uint8_t *data, size_t len, struct repo_id *ret,
		    struct err *err)
{
	struct page *p;

	/* Every page that is built can be read again. */
	assert_int_equal(page_decode(&p, data, len, data[4], err), 0);
	page_free(p);
	(void)ctx;
	*ret = make_id((unsigned)++pages_put);
	return 0;
}

static void test_builder(void **unused)
{
	uint64_t regions = 3 * 65536 + 5, size = regions * CHUNK_REGION;
	struct repo_id id = make_id(77);
	struct err err = ERR_INIT;
	struct tree_builder *b;
	struct tree t;

	(void)unused;
	assert_int_equal(tree_builder_new(&b, regions, &err), 0);
	assert_int_equal(tree_builder_finish(b, size, put_page, NULL, &t, &err), 0);
	assert_true(id_is_none(&t.root));
	assert_int_equal(pages_put, 0);
	assert_int_equal(tree_builder_set(b, 0, &id, &err), 0);
	assert_int_equal(tree_builder_set(b, 1, &id, &err), 0);
	assert_int_equal(tree_builder_set(b, 2 * 65536 + 700, &id, &err), 0);
	assert_int_equal(tree_builder_set(b, regions - 1, &id, &err), 0);
	assert_int_equal(tree_builder_finish(b, size, put_page, NULL, &t, &err), 0);
	assert_int_equal(t.levels, 3);
	assert_int_equal(t.size, size);
	assert_int_equal(pages_put, 3 + 3 + 1); /* level 1, level 2, root */
	tree_builder_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_leaf),	     cmocka_unit_test(test_deltas),
		cmocka_unit_test(test_leaf_largest), cmocka_unit_test(test_leaf_bad),
		cmocka_unit_test(test_interior),     cmocka_unit_test(test_levels),
		cmocka_unit_test(test_builder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
