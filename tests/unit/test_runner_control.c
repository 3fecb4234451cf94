/* The control socket: what is a request, whose name is whose, peers that do not behave. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "libcommon/runner/control.h"

static enum err_code parse_request(const char *line, size_t len, struct control_request *ret)
{
	struct err err = ERR_INIT;

	return control_parse(line, len, ret, &err) < 0 ? err.code : ERR_NONE;
}

static enum err_code parse(const char *line, size_t len, enum control_verb *ret)
{
	struct control_request r = {.fd = -1};
	enum err_code code = parse_request(line, len, &r);

	if (code == ERR_NONE)
		*ret = r.verb;
	return code;
}

static void every_verb_is_parsed(void **state)
{
	(void)state;
	for (int v = 0; v < CONTROL_VERBS; v++) {
		enum control_verb got = CONTROL_VERBS;
		char line[96];
		int len = snprintf(line, sizeof(line),
				   " {\"request\": \"%s\", \"more\": [1], \"bytes\": 0} ",
				   control_verb_name((enum control_verb)v));

		assert_int_equal(parse(line, (size_t)len, &got), ERR_NONE);
		assert_int_equal(got, v);
	}
}

static void what_is_no_request_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		" ",
		"info",
		"\"info\"",
		"null",
		"[]",
		"{}",
		"{\"request\":}",
		"{\"request\":1}",
		"{\"request\":null}",
		"{\"request\":[\"info\"]}",
		"{\"request\":\"\"}",
		"{\"request\":\"inf\"}",
		"{\"request\":\"infos\"}",
		"{\"request\":\"info\"} x",
		"{\"request\":\"info\"}{\"request\":\"info\"}",
		"{\"request\":\"info\",\"request\":\"kill\"}",
		"{\"request\":\"info\"",
		"{\"request\":\"\xff\xfe\"}",
		"{\"request\":\"info\\u0000\"}",
	};
	char deep[CONTROL_LINE_MAX];
	enum control_verb verb = CONTROL_VERBS;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (parse(bad[i], strlen(bad[i]), &verb) != ERR_USAGE)
			fail_msg("taken: %s", bad[i]);
	assert_int_equal(parse("{\"request\":\"info\0\"}", 18, &verb), ERR_USAGE);
	memset(deep, '[', sizeof(deep));
	assert_int_equal(parse(deep, sizeof(deep), &verb), ERR_USAGE);
	assert_int_equal(parse(deep, CONTROL_LINE_MAX + 1, &verb), ERR_USAGE);
	assert_int_equal(verb, CONTROL_VERBS);
}

static void a_number_goes_along(void **state)
{
	static const char good[] = "{\"request\":\"balloon\",\"bytes\":4096}";
	static const char *const bad[] = {"{\"request\":\"balloon\"}",
					  "{\"request\":\"balloon\",\"bytes\":-1}",
					  "{\"request\":\"balloon\",\"bytes\":\"1\"}",
					  "{\"request\":\"balloon\",\"bytes\":1.5}"};
	struct control_request r = {.fd = -1};

	(void)state;
	assert_int_equal(parse_request(good, strlen(good), &r), ERR_NONE);
	assert_int_equal(r.verb, CONTROL_BALLOON);
	assert_int_equal(r.bytes, 4096);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(parse_request(bad[i], strlen(bad[i]), &r), ERR_USAGE);
}

/* Every request with one byte changed, cut off or doubled: an answer, never a crash */
static void damaged_requests(void **state)
{
	const char whole[] = "{\"request\":\"stats\"}";
	char line[sizeof(whole)];
	enum control_verb verb;

	(void)state;
	for (size_t at = 0; at < sizeof(whole) - 1; at++) {
		for (unsigned byte = 0; byte < 256; byte++) {
			memcpy(line, whole, sizeof(whole));
			line[at] = (char)byte;
			if (parse(line, sizeof(whole) - 1, &verb) == ERR_NONE)
				assert_int_equal(verb, CONTROL_STATS);
		}
		assert_int_equal(parse(whole, at, &verb), ERR_USAGE);
	}
}

static void names(void **state)
{
	static const char *const good[] = {
		"a", "Web-1", "0.x_y-",
		"a234567890123456789012345678901234567890123456789012345678901234"};
	static const char *const bad[] = {
		"",
		".",
		"..",
		"-a",
		"_a",
		"a/b",
		"../a",
		"a b",
		"a\n",
		"\xc3\xa4",
		"a2345678901234567890123456789012345678901234567890123456789012345"};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(control_check_name(good[i], NULL), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(control_check_name(bad[i], NULL), -1);
}

/* ---- over a socket */

static int answer(void *ctx, const struct control_request *r, json_t *to, struct err *err)
{
	enum control_verb verb = r->verb;
	unsigned *calls = ctx;
	int fd = r->fd;

	(*calls)++;
	if (verb == CONTROL_SAVE)
		return fd >= 0 && write(fd, "state", 5) == 5
			       ? 0
			       : err_set(err, ERR_USAGE, "nothing came along");
	if (verb == CONTROL_PAUSE)
		return err_set(err, ERR_UNSUPPORTED, "no \"pause\" here");
	return json_object_set_new(to, "verb", json_string(control_verb_name(verb)));
}

static enum err_code ask(const char *name, enum control_verb verb, json_t **ret)
{
	struct err err = ERR_INIT;

	*ret = NULL;
	return control_ask(name, verb, 3000, ret, &err) < 0 ? err.code : ERR_NONE;
}

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static void a_machine_answers(void **state)
{
	struct control *c, *second;
	struct err err = ERR_INIT;
	unsigned calls = 0;
	int ends[2];
	char bytes[8];
	json_t *got;

	(void)state;
	assert_int_equal(control_open(&c, "m", &err), 0);
	assert_int_equal(control_open(&second, "m", &err), -1);
	assert_int_equal(err.code, ERR_EXISTS);
	assert_int_equal(ask("m", CONTROL_INFO, &got), ERR_NONE);
	assert_string_equal(text(got, "state"), "starting");
	assert_int_equal(json_integer_value(json_object_get(got, "pid")), getpid());
	json_decref(got);
	assert_int_equal(ask("m", CONTROL_STOP, &got), ERR_BUSY);
	control_attach(c, answer, NULL, &calls);
	assert_int_equal(ask("m", CONTROL_STATS, &got), ERR_NONE);
	assert_string_equal(text(got, "verb"), "stats");
	json_decref(got);
	assert_int_equal(ask("m", CONTROL_PAUSE, &got), ERR_UNSUPPORTED);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(
		control_ask_with("m",
				 &(struct control_request){.verb = CONTROL_SAVE, .fd = ends[1]},
				 3000, &got, &err),
		0);
	json_decref(got);
	(void)close(ends[1]);
	assert_int_equal(read(ends[0], bytes, sizeof(bytes)), 5);
	assert_int_equal(read(ends[0], bytes, sizeof(bytes)), 0); /* nobody keeps it */
	(void)close(ends[0]);
	assert_int_equal(ask("m", CONTROL_SAVE, &got), ERR_USAGE);
	control_detach(c);
	assert_int_equal(calls, 4);
	assert_int_equal(ask("m", CONTROL_STATS, &got), ERR_BUSY);
	assert_int_equal(ask("m", CONTROL_INFO, &got), ERR_NONE);
	assert_string_equal(text(got, "state"), "ending");
	json_decref(got);
	assert_int_equal(control_wait_end("m", getpid(), 50, &err), -1);
	assert_int_equal(err.code, ERR_TIMEOUT);
	control_close(c);
	assert_int_equal(ask("m", CONTROL_INFO, &got), ERR_NOT_FOUND);
	assert_int_equal(control_wait_end("m", getpid(), 50, &err), 0);
	assert_int_equal(ask("../m", CONTROL_INFO, &got), ERR_USAGE);
}

static sem_t asked;

/* The machine ends while its answer is made */
static int slow_answer(void *ctx, const struct control_request *r, json_t *to, struct err *err)
{
	static const struct timespec pause = {.tv_nsec = 200000000};

	(void)ctx, (void)r, (void)to, (void)err;
	(void)sem_post(&asked);
	(void)nanosleep(&pause, NULL);
	return 0;
}

static void *end_it(void *arg)
{
	(void)sem_wait(&asked);
	control_close(arg);
	return NULL;
}

static void the_last_answer_comes(void **state)
{
	struct control *c;
	pthread_t thread;
	json_t *said = NULL;

	(void)state;
	assert_int_equal(sem_init(&asked, 0, 0), 0);
	assert_int_equal(control_open(&c, "ends", NULL), 0);
	control_attach(c, slow_answer, NULL, NULL);
	assert_int_equal(pthread_create(&thread, NULL, end_it, c), 0);
	assert_int_equal(ask("ends", CONTROL_KILL, &said), ERR_NONE);
	json_decref(said);
	assert_int_equal(pthread_join(thread, NULL), 0);
	(void)sem_destroy(&asked);
}

static int raw(const char *file)
{
	int folder = -1, fd;

	assert_int_equal(control_folder(false, &folder, NULL), 0);
	fd = control_connect(folder, file);
	(void)close(folder);
	return fd;
}

/* More that say nothing than it has places, one that sends without end, one that never reads: others are served at once */
static void hostile_peers(void **state)
{
	enum { SILENT = 20 };
	struct control *c;
	struct timespec start, end;
	unsigned calls = 0;
	char rubbish[CONTROL_LINE_MAX];
	int fd[SILENT], one;
	json_t *got;

	(void)state;
	memset(rubbish, '{', sizeof(rubbish));
	assert_int_equal(control_open(&c, "m", NULL), 0);
	control_attach(c, answer, NULL, &calls);
	(void)clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned i = 0; i < SILENT; i++) {
		while ((fd[i] = raw("m" CONTROL_SUFFIX)) < 0)
			assert_int_equal(errno, EAGAIN);
		if (i % 2)
			(void)send(fd[i], "{\"request\"", 10, MSG_NOSIGNAL);
	}
	one = raw("m" CONTROL_SUFFIX);
	for (unsigned i = 0; i < 64; i++)
		(void)send(one, rubbish, sizeof(rubbish), MSG_NOSIGNAL | MSG_DONTWAIT);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(ask("m", CONTROL_INFO, &got), ERR_NONE);
		json_decref(got);
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &end);
	assert_true(end.tv_sec - start.tv_sec < 4);
	assert_int_equal(calls, 20);
	for (unsigned i = 0; i < SILENT; i++)
		(void)close(fd[i]);
	(void)close(one);
	control_close(c); /* with peers connected it ends at once, too */
}

static void a_dead_ones_socket_is_removed(void **state)
{
	struct control *c;
	int folder = -1, fd;
	char **list;
	size_t n;
	struct stat st;

	(void)state;
	assert_int_equal(control_folder(true, &folder, NULL), 0);
	fd = control_bind(folder, "dead" CONTROL_SUFFIX);
	assert_true(fd >= 0);
	assert_int_equal(fstatat(folder, "dead" CONTROL_SUFFIX, &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(control_list(&list, &n, NULL), 0);
	assert_int_equal(n, 1);
	control_list_free(list, n);
	(void)close(fd);
	assert_int_equal(control_open(&c, "live", NULL), 0);
	assert_int_equal(control_list(&list, &n, NULL), 0);
	assert_int_equal(n, 1);
	assert_string_equal(list[0], "live");
	control_list_free(list, n);
	assert_int_equal(fstatat(folder, "dead" CONTROL_SUFFIX, &st, 0), -1);
	control_close(c);
	/* and one of one's own name is no obstacle */
	fd = control_bind(folder, "dead" CONTROL_SUFFIX);
	(void)close(fd);
	assert_int_equal(control_open(&c, "dead", NULL), 0);
	control_close(c);
	assert_int_equal(control_list(&list, &n, NULL), 0);
	assert_int_equal(n, 0);
	control_list_free(list, n);
	(void)close(folder);
}

static void the_folder_has_to_be_ours_alone(void **state)
{
	struct err err = ERR_INIT;
	char path[4096];
	int fd = -1;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/vmkit", getenv("XDG_RUNTIME_DIR"));
	assert_int_equal(control_folder(true, &fd, NULL), 0);
	assert_int_equal(fchmod(fd, 0755), 0);
	(void)close(fd);
	assert_int_equal(control_folder(true, &fd, &err), -1);
	assert_int_equal(err.code, ERR_DENIED);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(symlink("/tmp", path), 0);
	assert_int_equal(control_folder(true, &fd, &err), -1);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(control_folder(false, &fd, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_verb_is_parsed),
		cmocka_unit_test(what_is_no_request_is_refused),
		cmocka_unit_test(damaged_requests),
		cmocka_unit_test(a_number_goes_along),
		cmocka_unit_test(names),
		cmocka_unit_test(a_machine_answers),
		cmocka_unit_test(the_last_answer_comes),
		cmocka_unit_test(hostile_peers),
		cmocka_unit_test(a_dead_ones_socket_is_removed),
		cmocka_unit_test(the_folder_has_to_be_ours_alone),
	};
	char folder[4096];
	const char *tmp = getenv("TMPDIR");
	int failed;

	(void)snprintf(folder, sizeof(folder), "%s/control-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(folder) || setenv("XDG_RUNTIME_DIR", folder, 1) < 0)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	(void)rmdir(folder);
	return failed;
}
