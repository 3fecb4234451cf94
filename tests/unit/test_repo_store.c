/* The object store: round trips, dedup, other processes, keys, what is lost and found again. */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/repo_store_util.h"

static void remove_all(const char *sub)
{
	char command[200];

	snprintf(command, sizeof(command), "find %s/%s -type f -delete", path, sub);
	assert_int_equal(system(command), 0);
}

static void round_trip(const char *name, bool encrypt)
{
	struct repo *r;

	make_repo(name, encrypt);
	r = open_repo();
	assert_int_equal(put_range(repo_store(r), 0, 200), 200);
	assert_int_equal(get_range(repo_store(r), 0, 200), 0);
	assert_int_equal(put_range(repo_store(r), 100, 250), 50);
	repo_close(r);
	r = open_repo();
	assert_int_equal(get_range(repo_store(r), 0, 250), 0);
	assert_int_equal(get_range(repo_store(r), 250, 260), 10);
	repo_close(r);
}

static void test_round_trip_encrypted(void **state)
{
	(void)state;
	round_trip("enc", true);
}

static void test_round_trip_plain(void **state)
{
	(void)state;
	round_trip("plain", false);
}

static void test_init_twice(void **state)
{
	const struct repo_init_opts o = {.scrypt_log2n = 10};

	(void)state;
	make_repo("twice", false);
	assert_int_equal(repo_init(path, &o, &key_source, &err), -1);
	assert_int_equal(err.code, ERR_EXISTS);
	assert_int_equal(repo_init(folder, &o, &key_source, &err), -1);
	assert_int_equal(err.code, ERR_EXISTS);
}

static void test_wrong_passphrase(void **state)
{
	struct repo *r;

	(void)state;
	make_repo("pass", true);
	passphrase = "wrong";
	assert_int_equal(repo_open(&r, path, &key_source, &err), -1);
	assert_int_equal(err.code, ERR_DENIED);
	assert_non_null(strstr(err.message, "wrong passphrase"));
	passphrase = "correct horse";
	assert_int_equal(repo_open(&r, folder, &key_source, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
}

static void test_lost_index(void **state)
{
	struct repo *r;

	(void)state;
	make_repo("noindex", true);
	r = open_repo();
	put_range(repo_store(r), 0, 100);
	repo_close(r);
	remove_all("index");
	r = open_repo();
	assert_int_equal(get_range(repo_store(r), 0, 100), 0);
	repo_close(r);
	r = open_repo(); /* a writer writes the index again and stores nothing twice */
	assert_int_equal(put_range(repo_store(r), 0, 100), 0);
	assert_int_equal(repo_store(r)->n_runs, 1);
	repo_close(r);
}

static void test_lost_pack_heals(void **state)
{
	struct repo *r;

	(void)state;
	make_repo("nopack", true);
	r = open_repo();
	put_range(repo_store(r), 0, 50);
	put_range(repo_store(r), 50, 60);
	repo_close(r);
	remove_all("packs");
	r = open_repo();
	assert_int_equal(get_range(repo_store(r), 0, 60), 60);
	repo_close(r);
	r = open_repo();
	assert_int_equal(put_range(repo_store(r), 0, 60), 60);
	assert_int_equal(get_range(repo_store(r), 0, 60), 0);
	repo_close(r);
	r = open_repo();
	assert_int_equal(get_range(repo_store(r), 0, 60), 0);
	repo_close(r);
}

static void test_objects(void **state)
{
	struct repo *r;
	uint8_t *data;
	char **names;
	size_t len, n;

	(void)state;
	make_repo("objects", true);
	r = open_repo();
	must(store_object_write(repo_store(r), "snapshots/a", "hello", 5, &err));
	must(store_object_write(repo_store(r), "snapshots/b", "", 0, &err));
	assert_int_equal(store_object_write(repo_store(r), "snapshots/a", "x", 1, &err), -1);
	assert_int_equal(err.code, ERR_EXISTS);
	must(store_object_read(repo_store(r), "snapshots/a", 100, &data, &len, &err));
	assert_int_equal(len, 5);
	assert_memory_equal(data, "hello", 5);
	free(data);
	assert_int_equal(store_object_read(repo_store(r), "snapshots/a", 4, &data, &len, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	err_clear(&err);
	assert_int_equal(store_object_read(repo_store(r), "snapshots/c", 4, &data, &len, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
	err_clear(&err);
	must(store_object_list(repo_store(r), "snapshots/", &names, &n, &err));
	assert_int_equal(n, 2);
	assert_string_equal(names[0], "snapshots/a");
	free(names[0]);
	free(names[1]);
	free(names);
	assert_int_equal(store_object_write(repo_store(r), "../x", "x", 1, &err), -1);
	assert_int_equal(store_object_write(repo_store(r), "a/../x", "x", 1, &err), -1);
	assert_int_equal(store_object_write(repo_store(r), "/x", "x", 1, &err), -1);
	assert_int_equal(store_object_read(repo_store(r), "a//x", 1, &data, &len, &err), -1);
	repo_close(r);
}

static void test_moved_object(void **state)
{
	char a[160], b[160];
	struct repo *r;
	uint8_t *data;
	size_t len;

	(void)state;
	make_repo("moved", true);
	r = open_repo();
	must(store_object_write(repo_store(r), "snapshots/a", "hello", 5, &err));
	snprintf(a, sizeof(a), "%s/snapshots/a", path);
	snprintf(b, sizeof(b), "%s/snapshots/b", path);
	assert_int_equal(rename(a, b), 0);
	assert_int_equal(store_object_read(repo_store(r), "snapshots/b", 9, &data, &len, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	assert_int_equal(symlink(b, a), 0);
	err_clear(&err);
	assert_int_equal(store_object_read(repo_store(r), "snapshots/a", 9, &data, &len, &err), -1);
	assert_int_equal(err.code, ERR_CORRUPT);
	repo_close(r);
}

static void writer_process(uint64_t from, uint64_t to, bool hang)
{
	const struct store_writer_opts o = {.level = 1, .workers = 1};
	struct repo *r = open_repo();
	struct store_writer *w;
	uint64_t stored;

	if (store_writer_new(&w, repo_store(r), &o, &err))
		_exit(1);
	for (uint64_t i = from; i < to; i++)
		put_one(repo_store(r), w, 0, i);
	while (hang)
		pause();
	_exit(store_writer_finish(w, &stored, &err) ? 1 : 0);
}

static void test_two_processes(void **state)
{
	struct repo *r;
	int status;

	(void)state;
	make_repo("two", true);
	for (int i = 0; i < 2; i++)
		if (!fork())
			writer_process((uint64_t)i * 200, (uint64_t)i * 200 + 400, false);
	for (int i = 0; i < 2; i++) {
		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
	r = open_repo();
	assert_int_equal(get_range(repo_store(r), 0, 600), 0);
	repo_close(r);
}

/* Killed at any moment: the next writer adopts all but the frames that were being filled, and nothing is damaged. */
static void test_kill_and_adopt(void **state)
{
	(void)state;
	make_repo("kill", true);
	for (unsigned round = 0; round < 8; round++) {
		struct verify_result res = {0};
		const struct store_verify v = {.threads = 1};
		uint64_t from = round * 1000;
		struct repo *r;
		pid_t pid = fork();

		if (!pid)
			writer_process(from, from + 1000, false);
		usleep(20000 * (round + 1));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		r = open_repo();
		put_range(repo_store(r), from, from + 200);
		assert_int_equal(get_range(repo_store(r), from, from + 200), 0);
		must(store_verify(repo_store(r), &v, &res, &err));
		assert_int_equal(res.faults, 0);
		repo_close(r);
	}
}

static void test_adoption_loses_one_frame(void **state)
{
	struct repo *r;
	unsigned again;
	char tmp[160];
	struct dirent **list;
	pid_t pid;

	(void)state;
	make_repo("adopt", true);
	pid = fork();
	if (!pid)
		writer_process(0, 300, true);
	snprintf(tmp, sizeof(tmp), "%s/tmp", path);
	usleep(1500000); /* it has put all and sleeps; a writer that lives is left alone */
	r = open_repo();
	put_range(repo_store(r), 1000, 1010);
	repo_close(r);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	r = open_repo();
	again = put_range(repo_store(r), 0, 300);
	assert_in_range(again, 1, 40); /* one frame of 1 MiB, blobs of 32 KiB on average */
	assert_int_equal(get_range(repo_store(r), 0, 300), 0);
	repo_close(r);
	assert_int_equal(scandir(tmp, &list, NULL, NULL), 2);
	free(list[0]);
	free(list[1]);
	free(list);
}

static void test_many_runs_merge(void **state)
{
	struct repo *r;

	(void)state;
	make_repo("merge", true);
	r = open_repo();
	for (uint64_t i = 0; i < 30; i++)
		put_range(repo_store(r), i * 3, i * 3 + 3);
	assert_true(repo_store(r)->n_runs < 16);
	assert_int_equal(get_range(repo_store(r), 0, 90), 0);
	repo_close(r);
	r = open_repo();
	assert_true(repo_store(r)->n_runs < 16);
	assert_int_equal(put_range(repo_store(r), 0, 90), 0);
	repo_close(r);
}

static void test_read_only(void **state)
{
	char command[400];
	pid_t pid;
	int status;

	(void)state;
	make_repo("ro", true);
	struct repo *r = open_repo();

	put_range(repo_store(r), 0, 20);
	repo_close(r);
	if (geteuid() != 0) {
		skip();
		return;
	}
	snprintf(command, sizeof(command), "chmod 755 %s && chmod -R a+rX,a-w %s", folder, path);
	assert_int_equal(system(command), 0);
	pid = fork();
	if (!pid) {
		const struct store_writer_opts o = {.workers = 1};
		struct store_writer *w;

		if (seteuid(65534))
			_exit(9);
		r = open_repo();
		if (get_range(repo_store(r), 0, 20))
			_exit(1);
		if (get_range(repo_store(r), 20, 22) != 2)
			_exit(2);
		if (!store_writer_new(&w, repo_store(r), &o, &err)) {
			bool is_new = put_one(repo_store(r), w, 0, 77);
			uint64_t stored;

			if (!is_new || !store_writer_finish(w, &stored, &err) ||
			    err.code != ERR_DENIED)
				_exit(3);
		}
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

struct hammer {
	struct store *st;
	struct store_writer *w;
	unsigned worker;
};

static void *hammer_put(void *arg)
{
	struct hammer *h = arg;

	for (uint64_t i = 0; i < 300; i++) {
		struct err e = ERR_INIT;

		put_one(h->st, h->w, h->worker, 1000 + (i * 7 + h->worker * 100) % 400);
		assert_int_equal(get_one(h->st, i % 100, &e), 0);
	}
	return NULL;
}

static void test_threads(void **state)
{
	const struct store_writer_opts o = {.level = 1, .workers = 4};
	struct hammer h[4];
	pthread_t t[4];
	uint64_t stored;
	struct repo *r;
	struct store_writer *w;

	(void)state;
	make_repo("threads", true);
	r = open_repo();
	put_range(repo_store(r), 0, 100);
	must(store_writer_new(&w, repo_store(r), &o, &err));
	for (unsigned i = 0; i < 4; i++) {
		h[i] = (struct hammer){repo_store(r), w, i};
		assert_int_equal(pthread_create(&t[i], NULL, hammer_put, &h[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	must(store_writer_finish(w, &stored, &err));
	assert_int_equal(get_range(repo_store(r), 1000, 1400), 0);
	repo_close(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip_encrypted),
		cmocka_unit_test(test_round_trip_plain),
		cmocka_unit_test(test_init_twice),
		cmocka_unit_test(test_wrong_passphrase),
		cmocka_unit_test(test_lost_index),
		cmocka_unit_test(test_lost_pack_heals),
		cmocka_unit_test(test_objects),
		cmocka_unit_test(test_moved_object),
		cmocka_unit_test(test_two_processes),
		cmocka_unit_test(test_kill_and_adopt),
		cmocka_unit_test(test_adoption_loses_one_frame),
		cmocka_unit_test(test_many_runs_merge),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_read_only),
	};

	return cmocka_run_group_tests_name("repo store", tests, make_folder, remove_folder);
}
