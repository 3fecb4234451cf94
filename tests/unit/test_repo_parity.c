/* Parity: what may be damaged is healed to the byte, what is beyond it is left and said, and a store heals as it reads. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/repo/parity.h"
#include "tests/unit/repo_store_util.h"

static const uint8_t pack_id[PACK_ID] = {1, 2, 3};

/* ---- bytes alone */

struct memory {
	uint8_t *buf;
	size_t len;
};

static int memory_read(void *ctx, uint64_t off, void *buf, size_t len, struct err *e)
{
	struct memory *m = ctx;

	if (!range_inside(off, len, m->len))
		return err_set(e, ERR_CORRUPT, "behind the end");
	memcpy(buf, m->buf + off, len);
	return 0;
}

static int memory_put(void *ctx, uint64_t off, const void *buf, size_t len, struct err *e)
{
	struct memory *m = ctx;

	(void)e;
	assert_true(off >= m->len); /* in order; a gap is what fills the last data block */
	m->buf = realloc(m->buf, off + len);
	assert_non_null(m->buf);
	memset(m->buf + m->len, 0, off - m->len);
	memcpy(m->buf + off, buf, len);
	m->len = off + len;
	return 0;
}

static uint64_t state = 1;

static uint32_t random_below(uint32_t n)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(state >> 33) % n;
}

static struct memory make(size_t end, unsigned percent)
{
	struct memory m = {.buf = malloc(end), .len = end};
	struct pack_source src = {.read = memory_read, .ctx = &m, .size = end};
	uint64_t parity_at_end;

	assert_non_null(m.buf);
	for (size_t i = 0; i < end; i++)
		m.buf[i] = (uint8_t)random_below(256);
	memcpy(src.id, pack_id, PACK_ID);
	must(parity_make(&src, end, percent, memory_put, &m, &parity_at_end, &err));
	assert_int_equal(parity_at_end, m.len);
	return m;
}

static uint64_t blocks_bad(struct memory *m, size_t end)
{
	struct pack_source src = {.read = memory_read, .ctx = m, .size = m->len};
	uint64_t bad;

	memcpy(src.id, pack_id, PACK_ID);
	must(parity_check(&src, end, m->len, &bad, &err));
	return bad;
}

/* Heal a copy with [off, off + len) damaged. Return: blocks that are bad still */
static uint64_t heal_damaged(const struct memory *m, size_t off, size_t len, unsigned how)
{
	struct parity_report r;
	uint8_t *buf = malloc(m->len);
	size_t n = m->len;

	assert_non_null(buf);
	memcpy(buf, m->buf, n);
	for (size_t i = off; i < off + len; i++)
		buf[i] = how == 0 ? 0 : how == 1 ? (uint8_t)~buf[i] : (uint8_t)random_below(256);
	must(parity_heal(&buf, &n, pack_id, &r, &err));
	if (r.found && !r.left) {
		assert_int_equal(n, m->len);
		assert_memory_equal(buf, m->buf, n);
		if (how == 1)
			assert_true(r.bad > 0 && r.ranges[0]);
	}
	free(buf);
	return r.found ? r.left : UINT64_MAX;
}

static void test_shapes(void **ctx)
{
	static const size_t ends[] = {96,	 4096,	     4097,	     8192,
				      99 * 4096, 100 * 4096, 100 * 4096 + 1, 700000};
	static const unsigned percents[] = {1, 4, 25, 100};

	(void)ctx;
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
		for (size_t k = 0; k < sizeof(percents) / sizeof(*percents); k++) {
			struct memory m = make(ends[i], percents[k]);
			struct parity_shape s;

			parity_shape(ends[i], percents[k], &s);
			assert_int_equal(parity_end(&s), m.len);
			assert_int_equal(blocks_bad(&m, ends[i]), 0);
			/* at least the share that was asked for, and no more than a block a shard more */
			assert_true((uint64_t)s.extra * 100 >= (uint64_t)s.shards * percents[k]);
			assert_true((uint64_t)(s.extra - 1) * 100 <
				    (uint64_t)s.shards * percents[k]);
			for (size_t b = 0; b < m.len; b += PARITY_BLOCK * (1 + m.len / 65536))
				for (unsigned how = 0; how < 3; how++)
					assert_int_equal(heal_damaged(&m, b, PARITY_BLOCK, how), 0);
			assert_int_equal(heal_damaged(&m, 0, 1, 1), 0);
			assert_int_equal(heal_damaged(&m, m.len - 1, 1, 1), 0);
			m.buf[m.len / 2] ^= 1;
			assert_int_equal(blocks_bad(&m, ends[i]), 1);
			free(m.buf);
		}
}

/* A burst as long as the extra shards is healed wherever it lies; nothing longer is ever healed wrongly. */
static void test_bursts(void **ctx)
{
	const size_t end = 1500000;
	struct memory m = make(end, 4);
	struct parity_shape s;
	size_t burst;

	(void)ctx;
	parity_shape(end, 4, &s);
	assert_int_equal(s.stride, 4);
	burst = ((size_t)s.extra * s.stride - 1) * PARITY_BLOCK + 1;
	for (size_t off = 0; off + burst <= m.len; off += 47 * 997)
		assert_int_equal(heal_damaged(&m, off, burst, off % 3), 0);
	for (size_t off = 0; off + 2 * burst <= end; off += 90 * 997)
		assert_true(heal_damaged(&m, off, 2 * burst, 1) > 0);
	assert_true(heal_damaged(&m, 0, m.len, 0) == UINT64_MAX); /* no map is left */
	free(m.buf);
}

/* Scattered blocks: exactly those columns are healed that have no more bad blocks than extra ones. */
static void test_scattered(void **ctx)
{
	const size_t end = 2000000;
	struct memory m = make(end, 4);
	struct parity_shape s;

	(void)ctx;
	parity_shape(end, 4, &s);
	for (unsigned round = 0; round < 40; round++) {
		struct parity_report r;
		uint8_t *buf = malloc(m.len), *column = calloc(s.stride, 1);
		uint8_t *hit = calloc(s.data, 1);
		uint64_t left = 0;
		size_t n = m.len;

		assert_true(buf && column && hit);
		memcpy(buf, m.buf, n);
		for (unsigned i = 0; i < 2 + round / 2; i++) {
			uint32_t b = random_below(s.data);

			if (!hit[b])
				column[b % s.stride]++;
			hit[b] = 1;
			memset(buf + (size_t)b * PARITY_BLOCK, (int)round, PARITY_BLOCK);
		}
		for (uint32_t b = 0; b < s.data; b++)
			left += hit[b] && column[b % s.stride] > s.extra;
		must(parity_heal(&buf, &n, pack_id, &r, &err));
		assert_true(r.found);
		assert_int_equal(r.left, left);
		for (uint32_t b = 0; b < s.data; b++)
			if (column[b % s.stride] <= s.extra)
				assert_memory_equal(buf + (size_t)b * PARITY_BLOCK,
						    m.buf + (size_t)b * PARITY_BLOCK, PARITY_BLOCK);
		free(buf);
		free(column);
		free(hit);
	}
	free(m.buf);
}

/* Cut in the parity: it is made anew. Cut before: what is left is left alone. Hostile maps: out of bounds is no map. */
static void test_cut_and_hostile(void **ctx)
{
	const size_t end = 600000;
	struct memory m = make(end, 4);
	struct parity_shape s;
	size_t map;

	(void)ctx;
	parity_shape(end, 4, &s);
	map = (size_t)s.data * PARITY_BLOCK;
	for (size_t len = 4096; len < m.len; len += 4096 * 7 - 100) {
		struct parity_report r;
		uint8_t *buf = malloc(len);
		size_t n = len;

		assert_non_null(buf);
		memcpy(buf, m.buf, len);
		must(parity_heal(&buf, &n, pack_id, &r, &err));
		assert_int_equal(r.found, len >= map + (size_t)s.map * PARITY_BLOCK);
		if (r.found)
			assert_true(n == m.len && r.left == 0 && !memcmp(buf, m.buf, n));
		free(buf);
	}
	for (unsigned round = 0; round < 400; round++) {
		struct parity_report r;
		uint8_t *buf = malloc(m.len);
		size_t n = m.len;

		assert_non_null(buf);
		memcpy(buf, m.buf, n);
		for (unsigned i = 0; i < 1 + round % 3; i++)
			buf[map + 8 + random_below(48)] = (uint8_t)random_below(256);
		must(parity_heal(&buf, &n, pack_id, &r, &err));
		assert_true(r.found && !r.left && !memcmp(buf, m.buf, n)); /* the other map */
		free(buf);
	}
	free(m.buf);
}

/* ---- a store */

enum { BLOBS = 90 };

static char original[128];

static void shell(const char *format, const char *a, const char *b)
{
	char command[512];

	snprintf(command, sizeof(command), "%s %s %s", format, a, b);
	assert_int_equal(system(command), 0);
}

static void pack_file(char ret[256])
{
	char command[200];
	FILE *f;

	snprintf(command, sizeof(command), "find %s/packs -type f", path);
	f = popen(command, "r");
	assert_non_null(f);
	assert_non_null(fgets(ret, 256, f));
	pclose(f);
	ret[strcspn(ret, "\n")] = 0;
}

static struct memory read_file(const char *file)
{
	struct memory m = {0};
	struct stat st;
	int fd = open(file, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	m.len = (size_t)st.st_size;
	m.buf = malloc(m.len);
	assert_non_null(m.buf);
	assert_int_equal(read(fd, m.buf, m.len), (ssize_t)m.len);
	close(fd);
	return m;
}

static void fresh_copy(char file[256])
{
	snprintf(path, sizeof(path), "%s/copy", folder);
	shell("rm -rf", path, "");
	shell("cp -a", original, path);
	pack_file(file);
}

static void damage(const char *file, uint64_t off, size_t len, unsigned how)
{
	int fd = open(file, O_RDWR);
	uint8_t *buf = malloc(len);

	assert_true(fd >= 0 && buf);
	assert_int_equal(pread(fd, buf, len, (off_t)off), (ssize_t)len);
	for (size_t i = 0; i < len; i++)
		buf[i] = how == 0 ? 0 : (uint8_t)~buf[i];
	assert_int_equal(pwrite(fd, buf, len, (off_t)off), (ssize_t)len);
	free(buf);
	close(fd);
}

static void count(void *ctx, const char *sentence)
{
	assert_true(strlen(sentence) > 10);
	++*(unsigned *)ctx;
}

static unsigned verify(bool heal, uint64_t *ret_healed)
{
	struct verify_result res = {0};
	struct repo *r = open_repo();
	unsigned faults = 0;
	const struct store_verify v = {.threads = 1, .heal = heal, .fault = count, .ctx = &faults};

	must(store_verify(repo_store(r), &v, &res, &err));
	*ret_healed = store_healed(repo_store(r));
	repo_close(r);
	return faults;
}

/* @want: the pack as it was made; what comes after @same bytes of it (the table) may have another salt */
static void assert_pack(const char *file, const struct memory *want, size_t same)
{
	struct memory now = read_file(file);

	assert_int_equal(now.len, want->len);
	assert_memory_equal(now.buf, want->buf, same);
	free(now.buf);
}

static void each_place(void (*check)(const char *file, const struct memory *m, uint64_t off,
				     size_t len, unsigned how))
{
	char file[256];
	struct memory m;
	uint64_t last;

	fresh_copy(file);
	m = read_file(file);
	last = (m.len - 1) / 4096 * 4096;
	for (unsigned i = 0; i < 18; i++) {
		/* both ends sector by sector: header, table, footer, maps; the middle in steps */
		uint64_t off = i < 3   ? i * 4096ULL
			       : i < 8 ? last - (i - 3) * 4096ULL
				       : round_down(m.len * (i - 7) / 11, 4096);

		check(file, &m, off, (size_t)min_u64(4096, m.len - off), i & 1);
		check(file, &m, min_u64(off + 77, m.len - 1), 1, 1);
	}
	free(m.buf);
}

static void heal_on_read(const char *unused, const struct memory *m, uint64_t off, size_t len,
			 unsigned how)
{
	char file[256];
	struct repo *r;
	uint64_t healed;

	(void)unused;
	fresh_copy(file);
	damage(file, off, len, how);
	r = open_repo();
	assert_int_equal(get_range(repo_store(r), 0, BLOBS), 0);
	repo_close(r);
	/* reading needs neither blob tables nor parity; what it met is healed, and all the rest by verify */
	verify(true, &healed);
	assert_int_equal(verify(false, &healed), 0);
	assert_pack(file, m, m->len - 4096);
	/* no record says that anything were bad */
	r = open_repo();
	assert_int_equal(repo_store(r)->n_bad, 0);
	repo_close(r);
}

static void heal_on_verify(const char *unused, const struct memory *m, uint64_t off, size_t len,
			   unsigned how)
{
	char file[256];
	uint64_t healed;
	struct repo *r;

	(void)unused;
	fresh_copy(file);
	damage(file, off, len, how);
	/* without --heal it is reported, and what is lost is remembered: healing forgets that again */
	assert_true(verify(false, &healed) > 0);
	assert_int_equal(healed, 0);
	assert_int_equal(verify(true, &healed), 0);
	assert_int_equal(healed, 1);
	assert_pack(file, m, m->len - 4096);
	r = open_repo();
	assert_int_equal(repo_store(r)->n_bad, 0);
	assert_int_equal(get_range(repo_store(r), 0, BLOBS), 0);
	repo_close(r);
}

static void test_heal_on_read(void **ctx)
{
	(void)ctx;
	each_place(heal_on_read);
}

static void test_heal_on_verify(void **ctx)
{
	(void)ctx;
	each_place(heal_on_verify);
}

/* Too much is damaged: what the frames say is true, and the rest is reported. */
static void test_beyond(void **ctx)
{
	char file[256];
	struct memory m;
	uint64_t healed;

	(void)ctx;
	fresh_copy(file);
	m = read_file(file);
	for (unsigned i = 0; i < 6; i++) {
		struct repo *r;
		unsigned bad;

		fresh_copy(file);
		damage(file, m.len / 8 * i, m.len / 4, i & 1);
		r = open_repo();
		bad = get_range(repo_store(r), 0, BLOBS);
		assert_true(bad > 0 && (bad < BLOBS || i == 0)); /* 0: the header, too */
		repo_close(r);
		assert_true(verify(true, &healed) > 0);
		r = open_repo();
		assert_int_equal(get_range(repo_store(r), 0, BLOBS), bad);
		assert_true(put_range(repo_store(r), 0, BLOBS) >= bad);
		assert_int_equal(get_range(repo_store(r), 0, BLOBS), 0);
		repo_close(r);
	}
	free(m.buf);
}

static int no_replace(struct backend *b, const char *name, const void *data, size_t len,
		      struct err *e)
{
	(void)b;
	(void)name;
	(void)data;
	(void)len;
	return err_set(e, ERR_DENIED, "read-only");
}

/* A repository that cannot be written to: what is read is healed in memory. */
static void test_read_only(void **ctx)
{
	char file[256];
	struct memory m, now;
	struct backend_ops ops;
	struct repo *r;

	(void)ctx;
	fresh_copy(file);
	m = read_file(file);
	damage(file, m.len / 2, 4096, 1);
	r = open_repo();
	ops = *repo_store(r)->backend->ops;
	ops.replace = no_replace;
	repo_store(r)->backend->ops = &ops;
	now = read_file(file);
	assert_int_equal(get_range(repo_store(r), 0, BLOBS), 0);
	assert_pack(file, &now, now.len);
	repo_close(r);
	free(m.buf);
	free(now.buf);
}

static void test_version_1(void **ctx)
{
	struct repo_config cfg = {.version = 1,
				  .block_bits = 12,
				  .chunk_min_bits = 14,
				  .chunk_avg_bits = 16,
				  .chunk_max_bits = 18,
				  .region_bits = 24,
				  .level = 3},
			   got;
	uint8_t data[CONFIG_SIZE];

	(void)ctx;
	config_encode(&cfg, data);
	must(config_decode(data, sizeof(data), &got, &err));
	assert_int_equal(got.parity, 0);
	data[38] = 4; /* reserved in version 1 */
	assert_int_equal(config_decode(data, sizeof(data), &got, &err), -1);
	assert_int_equal(err.code, ERR_UNSUPPORTED);
	data[8] = 2;
	err_clear(&err);
	must(config_decode(data, sizeof(data), &got, &err));
	assert_int_equal(got.parity, 4);
	data[38] = 101;
	assert_int_equal(config_decode(data, sizeof(data), &got, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	data[8] = REPO_VERSION + 1;
	assert_int_equal(config_decode(data, sizeof(data), &got, &err), -1);
	assert_int_equal(err.code, ERR_UNSUPPORTED);
}

static int setup(void **ctx)
{
	struct repo *r;

	if (make_folder(ctx))
		return -1;
	repo_parity = 4;
	make_repo("original", true);
	memcpy(original, path, sizeof(path));
	r = open_repo();
	put_range(repo_store(r), 0, BLOBS);
	repo_close(r);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shapes),	     cmocka_unit_test(test_bursts),
		cmocka_unit_test(test_scattered),    cmocka_unit_test(test_cut_and_hostile),
		cmocka_unit_test(test_heal_on_read), cmocka_unit_test(test_heal_on_verify),
		cmocka_unit_test(test_beyond),	     cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_version_1),
	};

	return cmocka_run_group_tests_name("repo parity", tests, setup, remove_folder);
}
