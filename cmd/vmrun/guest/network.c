/* The guest's network, for commands: loopback, and the addresses that vmrun knows of its user-mode network. See init.h. */
#include "cmd/vmrun/guest/init.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TRIES = 2500, NAP_NS = 2000000 /* five seconds for the driver */ };

#define RESOLVER "/vmrun/resolv.conf"

static void failed(const char *what)
{
	(void)fprintf(stderr, "vmrun-init: network: %s: %s\n", what, strerror(errno));
}

static void link_up(int fd, const char *name)
{
	struct ifreq r = {.ifr_flags = 0};

	(void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	if (ioctl(fd, SIOCGIFFLAGS, &r) < 0) {
		failed(name);
		return;
	}
	r.ifr_flags = (short)(r.ifr_flags | IFF_UP);
	if (ioctl(fd, SIOCSIFFLAGS, &r) < 0)
		failed(name);
}

/* All but the loopback interface get up; *@first is the one of the lowest name. Return: how many */
static int links_up(int fd, char first[IFNAMSIZ])
{
	DIR *d = opendir("/sys/class/net");
	struct dirent *e;
	int n = 0;

	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.' || strcmp(e->d_name, "lo") == 0)
			continue;
		link_up(fd, e->d_name);
		if (n++ == 0 || strcmp(e->d_name, first) < 0)
			(void)snprintf(first, IFNAMSIZ, "%.*s", IFNAMSIZ - 1, e->d_name);
	}
	if (d)
		(void)closedir(d);
	return n;
}

static struct sockaddr inet(const char *text)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr a;

	(void)inet_pton(AF_INET, text, &in.sin_addr);
	memcpy(&a, &in, sizeof(a));
	return a;
}

static void set_addresses(int fd, const char *name, const char *address, const char *gateway)
{
	struct ifreq r = {.ifr_addr = inet(address)};
	struct rtentry route = {.rt_dst = inet("0.0.0.0"),
				.rt_genmask = inet("0.0.0.0"),
				.rt_gateway = inet(gateway),
				.rt_flags = RTF_UP | RTF_GATEWAY};

	(void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	if (ioctl(fd, SIOCSIFADDR, &r) < 0)
		failed(address);
	r.ifr_netmask = inet("255.255.255.0");
	if (ioctl(fd, SIOCSIFNETMASK, &r) < 0)
		failed("netmask");
	if (ioctl(fd, SIOCADDRT, &route) < 0)
		failed(gateway);
}

static void write_resolver(const char *server)
{
	char text[64];
	int len = snprintf(text, sizeof(text), "nameserver %s\n", server);
	int fd = open(RESOLVER, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, text, (size_t)len) != len)
		failed(RESOLVER);
	if (fd >= 0)
		(void)close(fd);
}

void network_up(char *addresses)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char first[IFNAMSIZ] = "", *address, *gateway;

	if (fd < 0)
		return; /* a kernel without a network */
	link_up(fd, "lo");
	for (int i = 0; links_up(fd, first) == 0 && addresses && i < TRIES; i++)
		(void)nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
	address = strsep(&addresses, " ");
	gateway = strsep(&addresses, " ");
	if (address && gateway && addresses) {
		set_addresses(fd, first, address, gateway);
		write_resolver(addresses);
	}
	(void)close(fd);
}

/* In memory it is a file of ours; a link there leads nowhere in this guest */
static void replace(const char *root, const char *path)
{
	char text[64], folder[128];
	int from = open(RESOLVER, O_RDONLY | O_CLOEXEC), to;
	ssize_t n = from < 0 ? -1 : read(from, text, sizeof(text));

	(void)snprintf(folder, sizeof(folder), "%s/etc", root);
	(void)mkdir(folder, 0755);
	(void)unlink(path);
	to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (n < 0 || to < 0 || write(to, text, (size_t)n) != n)
		failed(path);
	if (from >= 0)
		(void)close(from);
	if (to >= 0)
		(void)close(to);
}

void network_resolver(const char *root, int disk)
{
	char path[128];
	struct stat st;

	if (access(RESOLVER, F_OK) < 0)
		return;
	(void)snprintf(path, sizeof(path), "%s/etc/resolv.conf", root);
	if (!disk)
		replace(root, path);
	else if (lstat(path, &st) == 0 && S_ISREG(st.st_mode) &&
		 mount(RESOLVER, path, NULL, MS_BIND, NULL) < 0)
		failed(path);
}
