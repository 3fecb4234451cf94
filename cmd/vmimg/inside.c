/* Opening a disk to look inside, and serving it to libguestfs's appliance when that is asked: see inside.h. */
#include "cmd/vmimg/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/stop.h"
#include "libcommon/image/image.h"

struct inside_options inside_options;

/* The child that serves the disk: `vmimg serve` on a socket in a folder of its own, which ends when we do. */
static struct {
	const char *image;
	pid_t pid;
	char dir[64], socket[80];
} server;

enum { WAIT_MS = 20, WAIT_MOST = 500 };

/* No return */
static void become_server(void)
{
	const struct inside_options *o = &inside_options;
	const char **argv = calloc(16 + 2 * o->allow.count, sizeof(*argv));
	int null = open("/dev/null", O_RDWR), n = 0;

	if (!argv || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		_exit(1);
	argv[n++] = "vmimg";
	argv[n++] = "serve";
	argv[n++] = "--exit-with-parent";
	argv[n++] = "--socket";
	argv[n++] = server.socket;
	if (o->format) {
		argv[n++] = "--format";
		argv[n++] = o->format;
	}
	if (o->snapshot) {
		argv[n++] = "--snapshot";
		argv[n++] = o->snapshot;
	}
	if (o->shared)
		argv[n++] = "--force-share";
	for (size_t i = 0; i < o->allow.count; i++) {
		argv[n++] = "--allow-backing";
		argv[n++] = o->allow.items[i];
	}
	argv[n++] = "--";
	argv[n++] = server.image;
	(void)execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
	_exit(127);
}

static int wait_for_server(struct err *err)
{
	const struct timespec pause = {.tv_nsec = WAIT_MS * 1000000L};

	for (int i = 0; i < WAIT_MOST; i++) {
		if (stop_check(err) < 0)
			return -1;
		if (waitpid(server.pid, NULL, WNOHANG) == server.pid) {
			server.pid = 0; /* it has said why */
			break;
		}
		/* It listens at once after the socket has its name; a connection to try would be a client. */
		bool named = access(server.socket, F_OK) == 0;

		(void)nanosleep(&pause, NULL);
		if (named)
			return 0;
	}
	return err_set(err, ERR_FAILED, "the disk cannot be served to libguestfs");
}

static int start_server(void *ctx, const char **ret_socket, struct err *err)
{
	(void)ctx;
	if (!server.pid) {
		/* Not TMPDIR: names of sockets are short */
		(void)snprintf(server.dir, sizeof(server.dir), "/tmp/vmimg-XXXXXX");
		if (!mkdtemp(server.dir)) {
			*server.dir = '\0';
			return err_sys(err, "cannot make a folder in /tmp");
		}
		(void)snprintf(server.socket, sizeof(server.socket), "%s/disk", server.dir);
		server.pid = fork();
		if (server.pid == 0)
			become_server();
		if (server.pid < 0) {
			server.pid = 0;
			return err_sys(err, "cannot start a process");
		}
		if (wait_for_server(err) < 0)
			return -1;
	}
	*ret_socket = server.socket;
	return 0;
}

static void stop_server(void)
{
	if (server.pid) {
		(void)kill(server.pid, SIGTERM);
		while (waitpid(server.pid, NULL, 0) < 0 && errno == EINTR)
			;
		server.pid = 0;
	}
	if (*server.dir) {
		(void)unlink(server.socket);
		(void)rmdir(server.dir);
		*server.dir = '\0';
	}
}

int inside_open(const char *name, struct image **ret_img, struct guest **ret, struct err *err)
{
	static const struct guest_server how = {.start = start_server};
	const struct image_open_opts opts = {.format = inside_options.format,
					     .flags = inside_options.shared ? IMAGE_SHARED : 0,
					     .snapshot = inside_options.snapshot,
					     .allow_dirs = inside_options.allow.items,
					     .n_allow_dirs = inside_options.allow.count};

	if (image_open(ret_img, name, &opts, err) < 0)
		return -1;
	if (guest_open(ret, *ret_img, err) == 0) {
		server.image = name;
		/* What was read from a pipe cannot be read again */
		if (!inside_options.own_only && strcmp(name, "-") != 0)
			guest_use_server(*ret, &how);
		return 0;
	}
	image_close(*ret_img);
	return -1;
}

void inside_close(struct image *img, struct guest *g)
{
	guest_close(g);
	stop_server();
	image_close(img);
}
