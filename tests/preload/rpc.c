/* rpc.so: at the Nth call of this process to libvirt's daemon, somebody is killed.
 *
 *	RPC_AT=N RPC_KILL=self|PIDFILE RPC_WHEN=before|after LD_PRELOAD=rpc.so PROGRAM ...
 *	RPC_OF=PROCEDURE	only these calls count: a number of remote_protocol, or "agent"
 *	RPC_TRACE=FILE	gets a line "N PROCEDURE" a call: of remote_protocol, of the agent's "agent"
 *
 * before: the call never reaches the daemon; after: it has had a moment to be carried out, its answer is never seen. The
 * children that the process forks do not count.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REMOTE = 0x20008086, QEMU = 0x20008087, CALL = 0, MOMENT_US = 400000 };

static atomic_int calls;
static int at;
static pid_t ours;
static const char *whom, *when = "before", *trace, *of;

static void __attribute__((constructor)) begin(void)
{
	at = getenv("RPC_AT") ? atoi(getenv("RPC_AT")) : 0;
	whom = getenv("RPC_KILL");
	when = getenv("RPC_WHEN") ? getenv("RPC_WHEN") : when;
	trace = getenv("RPC_TRACE");
	of = getenv("RPC_OF");
	ours = getpid();
}

/* Is it a call? Its header: length, program, version, procedure, type */
static bool is_call(const void *buf, size_t len, uint32_t *ret_program, uint32_t *ret_procedure)
{
	uint32_t head[5];

	if (len < sizeof(head) || getpid() != ours)
		return false;
	memcpy(head, buf, sizeof(head));
	*ret_program = ntohl(head[1]);
	*ret_procedure = ntohl(head[3]);
	return ntohl(head[0]) == len && (*ret_program == REMOTE || *ret_program == QEMU) &&
	       ntohl(head[4]) == CALL;
}

static void kill_it(void)
{
	char text[32] = "";
	int fd;

	if (strcmp(whom, "self") == 0)
		(void)raise(SIGKILL);
	fd = open(whom, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && atoi(text) > 1)
		(void)kill(atoi(text), SIGKILL);
	if (fd >= 0)
		(void)close(fd);
}

static bool counted(uint32_t program, uint32_t procedure)
{
	char name[16];
	FILE *f;
	int n;

	(void)snprintf(name, sizeof(name), program == QEMU ? "agent" : "%u", procedure);
	if (of && strcmp(of, name) != 0)
		return false;
	n = atomic_fetch_add(&calls, 1) + 1;
	f = trace ? fopen(trace, "ae") : NULL;
	if (f) {
		(void)fprintf(f, "%d %s\n", n, name);
		(void)fclose(f);
	}
	return n == at && whom;
}

ssize_t write(int fd, const void *buf, size_t len)
{
	static ssize_t (*real)(int, const void *, size_t);
	uint32_t program = 0, procedure = 0;
	bool hit = is_call(buf, len, &program, &procedure) && counted(program, procedure);
	ssize_t n;

	if (!real)
		real = (ssize_t(*)(int, const void *, size_t))(uintptr_t)dlsym(RTLD_NEXT, "write");
	if (hit && strcmp(when, "before") == 0)
		kill_it();
	n = real(fd, buf, len);
	if (hit && strcmp(when, "before") != 0) {
		(void)usleep(MOMENT_US);
		kill_it();
	}
	return n;
}
