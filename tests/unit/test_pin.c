/* Pins of builtin machines: lists of processors as text, and what becomes of threads. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "libcommon/host/builtin/builtin.h"

static void lists_come_back_as_they_were(void **state)
{
	static const char *const texts[][2] = {
		{"0=0", "0"}, {"0=2-3,7", "2-3,7"}, {"0=4,3,2", "2-4"}, {"all=4095,0", "0,4095"}};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct pin p;
		char *text;

		assert_int_equal(pin_parse(texts[i][0], &p, NULL), 0);
		text = pin_cpus_text(&p);
		assert_string_equal(text, texts[i][1]);
		free(text);
	}
}

struct sleeper {
	pthread_t thread;
	int tid;
	pthread_barrier_t *begun, *end;
};

static void *sleep_on(void *arg)
{
	struct sleeper *s = arg;

	s->tid = gettid();
	(void)pthread_barrier_wait(s->begun);
	(void)pthread_barrier_wait(s->end);
	return NULL;
}

static bool runs_on(int tid, const cpu_set_t *want)
{
	cpu_set_t set;

	return sched_getaffinity(tid, sizeof(set), &set) == 0 && CPU_EQUAL(&set, want);
}

/* The threads of this process as those of a machine with two processors, the second of which is pinned, and all others are */
static void threads_are_pinned(void **state)
{
	char one[16], *cpus[2] = {one, one};
	struct builtin_machine m = {.limits.n_pins = 2};
	struct sleeper s[2];
	pthread_barrier_t begun, end;
	cpu_set_t before, last;
	int highest = CPU_SETSIZE - 1;
	json_t *stats;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	while (!CPU_ISSET(highest, &before))
		highest--;
	CPU_ZERO(&last);
	CPU_SET(highest, &last);
	(void)snprintf(one, sizeof(one), "%d", highest);
	(void)pthread_barrier_init(&begun, NULL, 3);
	(void)pthread_barrier_init(&end, NULL, 3);
	for (int i = 0; i < 2; i++) {
		s[i].begun = &begun;
		s[i].end = &end;
		assert_int_equal(pthread_create(&s[i].thread, NULL, sleep_on, &s[i]), 0);
	}
	(void)pthread_barrier_wait(&begun);
	stats = json_pack("{s:[{s:i},{s:i}]}", "cpus", "thread", s[0].tid, "thread", s[1].tid);
	m.limits.pins[0] = (struct builtin_pin){1, cpus[0]};
	m.limits.pins[1] = (struct builtin_pin){PIN_EMULATOR, cpus[1]};
	assert_null(pin_threads(&m, getpid(), stats));
	assert_true(runs_on(s[0].tid, &before));
	assert_true(runs_on(s[1].tid, &last));
	assert_true(runs_on(gettid(), &last));
	(void)snprintf(one, sizeof(one), "%d", PIN_CPUS_MAX - 1);
	assert_string_equal(pin_threads(&m, getpid(), stats),
			    "it is pinned to processors that it may not use");
	(void)sched_setaffinity(0, sizeof(before), &before);
	json_decref(stats);
	(void)pthread_barrier_wait(&end);
	for (int i = 0; i < 2; i++)
		(void)pthread_join(s[i].thread, NULL);
	(void)pthread_barrier_destroy(&begun);
	(void)pthread_barrier_destroy(&end);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_come_back_as_they_were),
		cmocka_unit_test(threads_are_pinned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
