/* stream KIND:WHERE - join standard input and output to a connection: unix:PATH, unix-listen:PATH, vsock:PORT (of the host),
 * vsock-listen:PORT (one connection is taken). Static, for guests that have nothing else. Ends when both ways have ended. */
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	exit(1);
}

static int open_socket(const char *kind, const char *where)
{
	int family = strncmp(kind, "unix", 4) == 0 ? AF_UNIX : AF_VSOCK;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sockaddr_vm vm = {.svm_family = AF_VSOCK, .svm_port = (unsigned)atoi(where)};
	struct sockaddr *a = family == AF_UNIX ? (struct sockaddr *)&un : (struct sockaddr *)&vm;
	socklen_t len = family == AF_UNIX ? sizeof(un) : sizeof(vm);
	int fd = socket(family, SOCK_STREAM, 0), listens = strstr(kind, "listen") != NULL, peer;

	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", where);
	vm.svm_cid = listens ? VMADDR_CID_ANY : VMADDR_CID_HOST;
	if (fd < 0)
		fail("socket");
	if (!listens)
		return connect(fd, a, len) < 0 ? fail("connect") : fd;
	if (bind(fd, a, len) < 0 || listen(fd, 1) < 0 || (peer = accept(fd, NULL, NULL)) < 0)
		return fail("listen");
	return peer;
}

/* Return: is there more? */
static int copy(int from, int to)
{
	static char buf[65536];
	ssize_t n = read(from, buf, sizeof(buf)), done = 0;

	while (n > done) {
		ssize_t part = write(to, buf + done, (size_t)(n - done));

		if (part < 0)
			fail("write");
		done += part;
	}
	return n > 0;
}

int main(int argc, char **argv)
{
	char *colon = argc == 2 ? strchr(argv[1], ':') : NULL;
	struct pollfd p[2] = {{.fd = 0, .events = POLLIN}, {.events = POLLIN}};
	int fd;

	if (!colon)
		return 2;
	*colon = '\0';
	fd = open_socket(argv[1], colon + 1);
	p[1].fd = fd;
	while (p[0].fd >= 0 || p[1].fd >= 0) {
		if (poll(p, 2, -1) < 0)
			fail("poll");
		if (p[0].revents && !copy(0, fd)) {
			p[0].fd = -1;
			(void)shutdown(fd, SHUT_WR);
		}
		if (p[1].revents && !copy(fd, 1))
			p[1].fd = -1;
	}
	return 0;
}
