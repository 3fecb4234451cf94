/* Manifests that go: their numbers are never used again, whoever counts at the same time. */
#include <pthread.h>

#include "libcommon/base/pipeline.h"
#include "libcommon/repo/manifest.h"
#include "tests/unit/repo_store_util.h"

enum { WRITERS = 4, ROUNDS = 40 };

struct race {
	struct store *st;
	uint64_t seqs[WRITERS * ROUNDS];
};

static void snapshot(struct snapshot *s, char *vm)
{
	static char host[] = "host", time_[] = "2026-11-23T10:00:00Z", tool[] = "test";

	*s = (struct snapshot){.vm = vm, .host = host, .time = time_, .tool = tool};
}

/* Each commits and removes at once, so that the highest number is free again and again. */
static int commit_and_remove(void *ctx, size_t i, unsigned worker, struct err *e)
{
	struct race *r = ctx;
	char vm[] = "m";

	(void)worker;
	for (size_t k = 0; k < ROUNDS; k++) {
		struct snapshot s;
		size_t removed;

		snapshot(&s, vm);
		if (manifest_commit(r->st, &s, e) < 0)
			return -1;
		r->seqs[i * ROUNDS + k] = s.seq;
		if (k + 1 < ROUNDS && manifest_remove(r->st, &s.seq, 1, &removed, e) < 0)
			return -1;
	}
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void numbers_are_used_once(void **state)
{
	struct race race = {0};
	struct snapshot *list;
	size_t n, damaged;
	struct repo *repo;

	(void)state;
	make_repo("race", false);
	repo = open_repo();
	race.st = repo_store(repo);
	must(parallel_for(WRITERS, WRITERS, commit_and_remove, &race, &err));
	qsort(race.seqs, WRITERS * ROUNDS, sizeof(*race.seqs), by_number);
	for (size_t i = 1; i < WRITERS * ROUNDS; i++)
		assert_true(race.seqs[i] > race.seqs[i - 1]);
	must(repo_list(repo, NULL, &list, &n, &damaged, &err));
	assert_int_equal(n, WRITERS);
	assert_int_equal(damaged, 0);
	snapshots_free(list, n);
	repo_close(repo);
}

static void removal(void **state)
{
	uint64_t seqs[] = {1, 2, 77};
	struct snapshot s;
	struct repo *repo;
	char vm[] = "m";
	size_t removed;

	(void)state;
	make_repo("removal", true);
	repo = open_repo();
	for (int i = 0; i < 3; i++) {
		snapshot(&s, vm);
		must(manifest_commit(repo_store(repo), &s, &err));
	}
	must(manifest_remove(repo_store(repo), seqs, 2, &removed, &err));
	assert_int_equal(removed, 2);
	snapshot(&s, vm);
	must(manifest_commit(repo_store(repo), &s, &err));
	assert_int_equal(s.seq, 4);
	/* One that is not there; the number counts as used all the same */
	must(manifest_remove(repo_store(repo), seqs + 2, 1, &removed, &err));
	snapshot(&s, vm);
	must(manifest_commit(repo_store(repo), &s, &err));
	assert_int_equal(s.seq, 78);
	must(manifest_remove(repo_store(repo), NULL, 0, &removed, &err));
	repo_close(repo);
}

/* A collector that opened the repository before another one worked begins with what that one left. */
static void collectors_in_turn(void **state)
{
	const struct prune_opts o = {.threads = 1};
	struct prune_result res;
	struct repo *first, *late;

	(void)state;
	make_repo("turn", false);
	late = open_repo();
	first = open_repo();
	put_range(repo_store(first), 0, 20);
	must(repo_prune(first, &o, &res, &err));
	assert_int_equal(res.pending, 1); /* @late may need it */
	assert_int_equal(res.removed, 0);
	repo_close(first);

	must(repo_prune(late, &o, &res, &err));
	assert_int_equal(res.packs, 1);
	assert_int_equal(res.removed, 1);
	assert_int_equal(res.pending, 0);
	repo_close(late);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(removal),
		cmocka_unit_test(numbers_are_used_once),
		cmocka_unit_test(collectors_in_turn),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
