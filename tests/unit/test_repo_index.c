/* Index runs: what goes in is found, what does not is not, merging loses nothing. */
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/repo_store_util.h"

enum { N = 2000 };

static struct index_entry entry(struct store *st, unsigned i)
{
	struct index_entry e;

	memset(&e, 0, sizeof(e));
	must(store_id(st, BLOB_CHUNK, &i, sizeof(i), &e.id, &err));
	e.place.pack[0] = (uint8_t)(i % 5);
	e.place.section_off = 0xfffff000U + i % 7;
	e.place.section_len = (1U << 22) - 1;
	e.place.off = FRAME_RAW_MAX - 1;
	e.place.len = i % 2 ? BLOB_MAX : 1;
	e.place.type = BLOB_PAGE;
	return e;
}

static void write_run(struct store *st, unsigned from, unsigned to, char name[INDEX_NAME_MAX])
{
	struct index_entry *e = malloc((to - from) * sizeof(*e));
	uint8_t packs[6 * PACK_ID] = {0};

	for (unsigned i = 0; i < 6; i++)
		packs[i * PACK_ID] = (uint8_t)(5 - i); /* unsorted; 5 has no entries */
	for (unsigned i = from; i < to; i++)
		e[i - from] = entry(st, i);
	must(index_write(st->backend, st->crypto, e, to - from, packs, 6, name, &err));
	free(e);
}

static void expect_range(struct store *st, struct run *r, unsigned from, unsigned to, int want)
{
	for (unsigned i = from; i < to; i++) {
		struct index_entry e = entry(st, i);
		struct blob_place p[INDEX_PLACES];

		assert_int_equal(run_find(r, &e.id, p, INDEX_PLACES, &err), want);
		if (want)
			assert_memory_equal(&p[0], &e.place,
					    offsetof(struct blob_place, type) + 1); /* no padding */
	}
}

static void test_find_and_merge(void **state)
{
	char names[2][INDEX_NAME_MAX], merged[INDEX_NAME_MAX];
	struct run *runs[2], *m;
	struct store *st;
	struct repo *r;

	(void)state;
	make_repo("index", true);
	r = open_repo();
	st = repo_store(r);
	write_run(st, 0, N, names[0]);
	write_run(st, N / 2, 2 * N, names[1]); /* half of the first again */
	for (int i = 0; i < 2; i++)
		must(run_open(&runs[i], st->backend, st->crypto, names[i], &err));
	expect_range(st, runs[0], 0, N, 1);
	expect_range(st, runs[0], N, 2 * N, 0);
	must(index_merge(st->backend, st->crypto, runs, 2, NULL, 0, merged, &err));
	must(run_open(&m, st->backend, st->crypto, merged, &err));
	assert_int_equal(m->n_entries, 2 * N);
	assert_int_equal(m->n_packs, 6);
	expect_range(st, m, 0, 2 * N, 1);
	expect_range(st, m, 2 * N, 3 * N, 0);
	assert_true(run_has_pack(m, (const uint8_t[PACK_ID]){5}));
	assert_false(run_has_pack(m, (const uint8_t[PACK_ID]){6}));
	run_free(m);
	run_free(runs[0]);
	run_free(runs[1]);
	repo_close(r);
}

static void test_empty_run(void **state)
{
	char name[INDEX_NAME_MAX];
	struct store *st;
	struct repo *r;
	struct run *run;

	(void)state;
	make_repo("empty", false);
	r = open_repo();
	st = repo_store(r);
	write_run(st, 0, 0, name);
	must(run_open(&run, st->backend, st->crypto, name, &err));
	expect_range(st, run, 0, 10, 0);
	run_free(run);
	repo_close(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find_and_merge),
		cmocka_unit_test(test_empty_run),
	};

	return cmocka_run_group_tests_name("repo index", tests, make_folder, remove_folder);
}
