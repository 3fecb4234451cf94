/* guard: a guest frozen under libcommon/host/guard.h, for tests of what thaws it.
 *
 *	guard URI DOMAIN hold SECONDS [MAX_MS]	freeze, wait, thaw; prints "FILE_SYSTEMS held|lost"
 *	guard URI DOMAIN die			freeze, then be killed without a word
 *	guard URI DOMAIN alone			freeze, kill the guard, thaw; prints as hold does
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libcommon/host/guard.h"

/* The only child there is */
static int kill_guard(struct err *err)
{
	char name[64];
	FILE *f;
	int pid = 0;

	(void)snprintf(name, sizeof(name), "/proc/self/task/%d/children", (int)getpid());
	f = fopen(name, "r");
	if (f) {
		if (fscanf(f, "%d", &pid) != 1)
			pid = 0;
		(void)fclose(f);
	}
	return pid > 0 && kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid
		       ? 0
		       : err_sys(err, "cannot kill the guard");
}

static int freeze(struct guard *g, struct domain *d, int argc, char **argv, struct err *err)
{
	struct freeze f;

	if (guard_freeze(g, d, argc > 5 ? (unsigned)atoi(argv[5]) : 0, err) < 0)
		return -1;
	if (strcmp(argv[3], "die") == 0)
		(void)kill(getpid(), SIGKILL);
	if (strcmp(argv[3], "alone") == 0 && kill_guard(err) < 0)
		return -1;
	(void)sleep(argc > 4 ? (unsigned)atoi(argv[4]) : 0);
	if (guard_thaw(g, &f, err) < 0)
		return -1;
	(void)printf("%u %s\n", f.file_systems, f.held ? "held" : "lost");
	(void)fprintf(stderr, "%.1f ms\n", f.window_ms);
	return 0;
}

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	struct host *h = NULL;
	struct domain *d = NULL;
	struct guard *g = NULL;
	int rc;

	if (argc < 4)
		return 2;
	rc = guard_start(&g, argv[1], NULL, &err);
	if (rc == 0)
		rc = host_open(&h, argv[1], 0, 0, &err);
	if (rc == 0)
		rc = host_find(h, argv[2], &d, &err);
	if (rc == 0)
		rc = freeze(g, d, argc, argv, &err);
	if (rc < 0)
		(void)fprintf(stderr, "guard: %s: %s\n", err.object, err.message);
	guard_end(g);
	domain_close(d);
	host_close(h);
	return rc < 0 ? err_status(err.code) : 0;
}
