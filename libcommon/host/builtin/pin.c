/* Pinning the threads of a machine that runs: those of its processors, by what vmrun says which they are, and the others. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/host/builtin/builtin.h"

static const char *pin_one(int tid, const char *cpus)
{
	CLEANUP_FREE char *text = NULL;
	struct pin p;
	cpu_set_t set;

	if (asprintf(&text, "0=%s", cpus) < 0) {
		text = NULL;
		return "there is no memory";
	}
	if (pin_parse(text, &p, NULL) < 0)
		return "it is pinned to no processors";
	CPU_ZERO(&set);
	for (unsigned i = 0; i < PIN_CPUS_MAX && i < CPU_SETSIZE; i++)
		if (p.cpus[i / 8] & 1U << i % 8)
			CPU_SET(i, &set);
	if (sched_setaffinity(tid, sizeof(set), &set) == 0 || errno == ESRCH)
		return NULL;
	return errno == EINVAL ? "it is pinned to processors that it may not use"
			       : "its threads cannot be pinned";
}

static bool is_vcpu(const json_t *cpus, int tid)
{
	for (size_t i = 0; i < json_array_size(cpus); i++)
		if (json_integer_value(json_object_get(json_array_get(cpus, i), "thread")) == tid)
			return true;
	return false;
}

/* Of a thread; 0: the name is none */
static int number(const char *name)
{
	char *end;
	long n = strtol(name, &end, 10);

	return *end || n > INT_MAX ? 0 : (int)n;
}

/* All threads but those of its processors. What they start later has their processors too. */
static const char *pin_rest(int pid, const json_t *cpus, const char *to)
{
	const char *why = NULL;
	const struct dirent *e;
	char path[64];
	DIR *dir;
	int tid;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && !why && (e = readdir(dir)))
		if ((tid = number(e->d_name)) > 0 && !is_vcpu(cpus, tid))
			why = pin_one(tid, to);
	if (dir)
		(void)closedir(dir);
	return why;
}

const char *pin_threads(const struct builtin_machine *m, int pid, const json_t *stats)
{
	const json_t *cpus = json_object_get(stats, "cpus");
	const char *why = NULL;

	for (size_t i = 0; !why && i < m->limits.n_pins; i++) {
		const struct builtin_pin *p = &m->limits.pins[i];
		const json_t *thread =
			json_object_get(json_array_get(cpus, (size_t)p->vcpu), "thread");

		if (p->vcpu == PIN_EMULATOR)
			why = pin_rest(pid, cpus, p->cpus);
		else if (thread)
			why = pin_one((int)json_integer_value(thread), p->cpus);
	}
	return why;
}
