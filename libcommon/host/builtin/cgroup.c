/* Limits of a machine's process: a control group of its own, where this process may make one.
 *
 * Version 2 (one tree): below our own group when that has the controllers for its children. Version 1, or both at once: below
 * our own group of the controllers cpu and memory. Whoever has no right to that gets the machine without limits, and is told.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/host/builtin/builtin.h"

#define ROOT "/sys/fs/cgroup"
enum { PERIOD_US = 100000 };

/* Our own group of @controller ("" : version 2) as a folder; owned; NULL: there is none */
static char *own_group(const char *controller)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[4096], *path = NULL;

	while (f && !path && fgets(line, sizeof(line), f)) {
		char *names = strchr(line, ':'), *at = names ? strchr(names + 1, ':') : NULL;

		if (!at)
			continue;
		*at++ = '\0';
		at[strcspn(at, "\n")] = '\0';
		if (strcmp(names + 1, controller) == 0 &&
		    asprintf(&path, ROOT "%s%s%s", *controller ? "/" : "", controller,
			     strcmp(at, "/") == 0 ? "" : at) < 0)
			path = NULL;
	}
	if (f)
		(void)fclose(f);
	return path;
}

static bool is_unified(void)
{
	return access(ROOT "/cgroup.controllers", F_OK) == 0;
}

/* The group's folder; owned; NULL */
static char *group(const struct builtin_machine *m, const char *controller)
{
	CLEANUP_FREE char *own = own_group(is_unified() ? "" : controller);
	char *path = NULL;

	return own && asprintf(&path, "%s/vmkit-%s", own, m->name) >= 0 ? path : NULL;
}

static bool put(const char *folder, const char *file, const char *text)
{
	CLEANUP_FREE char *path = NULL;
	CLEANUP_CLOSE int fd = -1;
	size_t len = strlen(text);

	if (asprintf(&path, "%s/%s", folder, file) < 0) {
		path = NULL;
		return false;
	}
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, text, len) == (ssize_t)len;
}

static bool limit_cpu(const char *g, unsigned percent)
{
	char text[64];

	if (is_unified()) {
		(void)snprintf(text, sizeof(text), "%u %d", percent * (PERIOD_US / 100), PERIOD_US);
		return put(g, "cpu.max", text);
	}
	(void)snprintf(text, sizeof(text), "%u", percent * (PERIOD_US / 100));
	return put(g, "cpu.cfs_quota_us", text);
}

/* Version 2 has weights of 1 to 10000, of which the usual one is 100, where version 1 has 1024. */
static bool weigh_cpu(const char *g, unsigned shares)
{
	unsigned weight = shares * 100 / 1024;
	char text[32];

	(void)snprintf(text, sizeof(text), "%u", !is_unified() ? shares : weight ? weight : 1);
	return put(g, is_unified() ? "cpu.weight" : "cpu.shares", text);
}

static bool limit_memory(const char *g, uint64_t bytes)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%" PRIu64, bytes);
	return put(g, is_unified() ? "memory.max" : "memory.limit_in_bytes", text);
}

static bool limit(const struct builtin_limits *l, const char *g, const char *controller)
{
	if (strcmp(controller, "memory") == 0)
		return limit_memory(g, l->memory);
	return (!l->cpu_percent || limit_cpu(g, l->cpu_percent)) &&
	       (!l->cpu_shares || weigh_cpu(g, l->cpu_shares));
}

static const char *enter(const struct builtin_machine *m, int pid, const char *controller)
{
	CLEANUP_FREE char *g = group(m, controller);
	char text[16];

	if (!g)
		return "there are no control groups here";
	if (mkdir(g, 0755) < 0 && errno != EEXIST)
		return "no control group can be made";
	if (!limit(&m->limits, g, controller))
		return "the control group has no such limit";
	(void)snprintf(text, sizeof(text), "%d", pid);
	return put(g, "cgroup.procs", text) ? NULL : "the machine cannot be moved to its group";
}

static bool has_cpu(const struct builtin_machine *m)
{
	return m->limits.cpu_percent || m->limits.cpu_shares;
}

void cgroup_enter(const struct builtin_machine *m, int pid, const char **ret_why)
{
	*ret_why = has_cpu(m) ? enter(m, pid, "cpu") : NULL;
	if (m->limits.memory && !*ret_why)
		*ret_why = enter(m, pid, "memory");
}

void cgroup_leave(const struct builtin_machine *m)
{
	CLEANUP_FREE char *cpu = group(m, "cpu"), *memory = group(m, "memory");

	if (cpu && has_cpu(m))
		(void)rmdir(cpu);
	if (memory && m->limits.memory)
		(void)rmdir(memory);
}
