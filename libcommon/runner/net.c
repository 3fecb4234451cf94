/* What all ends of networks share: see net.h. */
#include "libcommon/runner/net.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/runner/net_tap.h"

enum { PATIENCE = 100, NAP_MS = 5 /* passt gets half a second to end */ };

struct net *net_new(const struct net_ops *ops, const char *kind, int fd, size_t in_room,
		    size_t out_room)
{
	/* Locally administered: it needs to be nobody else's on a network with this guest alone */
	static const uint8_t mac[NET_MAC] = {0x52, 0x54, 0x00, 0x76, 0x6d, 0x6b};
	struct net *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->ops = ops;
	n->kind = kind;
	n->fd = -1;
	memcpy(n->mac, mac, sizeof(mac));
	n->in = malloc(in_room);
	n->out = malloc(out_room + 1);
	if (!n->in || !n->out) {
		net_close(n);
		return NULL;
	}
	n->fd = fd;
	return n;
}

/* It ends by itself now that its socket is closed; what does not gets no choice. */
static void wait_for_end(pid_t pid)
{
	const struct timespec nap = {0, NAP_MS * 1000000L};

	for (int i = 0; i < PATIENCE; i++) {
		pid_t ended = waitpid(pid, NULL, WNOHANG);

		if (ended == pid || (ended < 0 && errno == ECHILD))
			return;
		(void)nanosleep(&nap, NULL);
	}
	(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

void net_close(struct net *n)
{
	if (!n)
		return;
	if (n->fd >= 0)
		(void)close(n->fd);
	if (n->pid > 0)
		wait_for_end(n->pid);
	free(n->in);
	free(n->out);
	free(n);
}

static int hex(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

int net_parse_mac(const char *text, uint8_t ret[NET_MAC], struct err *err)
{
	uint8_t mac[NET_MAC];
	bool good = strlen(text) == 3 * NET_MAC - 1;

	for (size_t i = 0; good && i < NET_MAC; i++) {
		int high = hex(text[3 * i]), low = hex(text[3 * i + 1]);

		good = high >= 0 && low >= 0 && (i == NET_MAC - 1 || text[3 * i + 2] == ':');
		mac[i] = (uint8_t)(good ? high << 4 | low : 0);
	}
	if (!good || (mac[0] & 1)) {
		err_set(err, ERR_USAGE,
			"not the hardware address of one interface: six bytes as 52:54:00:12:34:56 "
			"are wanted, the first even");
		return err_object(err, text);
	}
	memcpy(ret, mac, sizeof(mac));
	return 0;
}

int net_open_fd(struct net **ret, int fd, struct err *err)
{
	int type = 0, family = 0;
	socklen_t len = sizeof(type), family_len = sizeof(family);
	struct ifreq ifr = {0};

	if (ioctl(fd, TUNGETIFF, &ifr) == 0)
		return net_tap_take(ret, fd, ifr.ifr_name, (unsigned short)ifr.ifr_flags, err);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM ||
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &family_len) < 0 || family != AF_UNIX)
		return err_set(err, ERR_USAGE,
			       "descriptor %d is neither a tap device nor a unix stream socket",
			       fd);
	*ret = net_new(&net_stream_ops, "fd", fd, NET_STREAM_IN, NET_STREAM_OUT);
	if (!*ret)
		return err_nomem(err);
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	return 0;
}
