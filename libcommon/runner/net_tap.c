/* Tap devices: a frame a read, behind the header that virtio uses too. See net.h. */
#include "libcommon/runner/net_tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"

#define DEVICE "/dev/net/tun"

static ssize_t tap_receive(struct net *n, uint8_t **ret)
{
	ssize_t got;

	do
		got = read(n->fd, n->in, NET_TAP_IN);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		/* EIO: the interface is down; it may come up again, and then the descriptor is readable */
		return errno == EAGAIN || errno == EIO ? 0 : -1;
	if (got < NET_HEADER + NET_FRAME_MIN)
		return 0;
	*ret = n->in;
	return got;
}

static enum net_sent tap_send(struct net *n, const uint8_t header[NET_HEADER],
			      const struct iovec *iov, unsigned count, size_t len)
{
	struct iovec all[NET_IOV_MAX + 1];
	uint8_t copy[NET_HEADER];
	ssize_t done;

	(void)len;
	if (atomic_load(&n->gone))
		return NET_DROPPED;
	memcpy(copy, header, sizeof(copy));
	all[0] = (struct iovec){copy, sizeof(copy)};
	memcpy(all + 1, iov, count * sizeof(*iov));
	do
		done = writev(n->fd, all, (int)count + 1);
	while (done < 0 && errno == EINTR);
	if (done < 0)
		return errno == EAGAIN ? NET_LATER : NET_DROPPED;
	return NET_SENT;
}

static void tap_offload(struct net *n, bool checksum, bool tso4, bool tso6)
{
	unsigned flags = (checksum ? TUN_F_CSUM : 0U) | (checksum && tso4 ? TUN_F_TSO4 : 0U) |
			 (checksum && tso6 ? TUN_F_TSO6 : 0U);

	(void)ioctl(n->fd, TUNSETOFFLOAD, flags); /* a refusal: frames come whole */
}

const struct net_ops net_tap_ops = {
	.receive = tap_receive, .send = tap_send, .offload = tap_offload};

/* Interfaces of one network, also of machines on other hosts, must differ, and a machine that starts again should be known: the
 * host's and the interface's names say which it is. FNV-1a. */
static void derive_mac(const char *name, uint8_t mac[NET_MAC])
{
	char host[256] = "";
	uint32_t h = 2166136261U;

	(void)gethostname(host, sizeof(host) - 1);
	for (const char *p = host; *p; p++)
		h = (h ^ (uint8_t)*p) * 16777619U;
	for (const char *p = name; *p; p++)
		h = (h ^ (uint8_t)*p) * 16777619U;
	mac[3] = (uint8_t)(h >> 16);
	mac[4] = (uint8_t)(h >> 8);
	mac[5] = (uint8_t)h;
}

int net_tap_take(struct net **ret, int fd, const char *name, unsigned flags, struct err *err)
{
	int header = NET_HEADER, old = fcntl(fd, F_GETFL);
	struct net *n;

	if ((flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) != (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
		return err_set(err, ERR_UNSUPPORTED,
			       "the interface %s is no tap device with virtio headers (IFF_TAP, "
			       "IFF_NO_PI, IFF_VNET_HDR)",
			       name);
	if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0 || old < 0 ||
	    fcntl(fd, F_SETFL, old | O_NONBLOCK) < 0)
		return err_sys(err, "cannot set up the tap device %s", name);
	n = net_new(&net_tap_ops, "tap", fd, NET_TAP_IN, 0);
	if (!n)
		return err_nomem(err);
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	tap_offload(n, false, false, false);
	derive_mac(name, n->mac);
	*ret = n;
	return 0;
}

int net_open_tap(struct net **ret, const char *name, struct err *err)
{
	CLEANUP_CLOSE int fd = -1;
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};

	if (!*name || strlen(name) >= sizeof(ifr.ifr_name) || strchr(name, '/') ||
	    strchr(name, '%')) {
		err_set(err, ERR_USAGE, "not the name of a network interface");
		return err_object(err, name);
	}
	fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		err_sys(err, "no tap devices here");
		if (err->code == ERR_NOT_FOUND)
			err->code = ERR_UNSUPPORTED;
		return err_object(err, DEVICE);
	}
	(void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		if (errno == EINVAL)
			err_set(err, ERR_UNSUPPORTED, "is there, and is no tap device");
		else
			err_sys(err, "cannot use it as a tap device");
		err_object(err, name);
		return errno == EPERM
			       ? err_hint(err, "ip tuntap add %s mode tap user \"$USER\" makes one",
					  name)
			       : -1;
	}
	if (net_tap_take(ret, fd, name, (unsigned short)ifr.ifr_flags, err) < 0)
		return -1;
	(void)steal_fd(&fd);
	return 0;
}
