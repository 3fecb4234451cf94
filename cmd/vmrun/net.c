/* --net and --publish: see net.h. */
#include "cmd/vmrun/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"

enum { PORTS_MAX = 32, SPEC_MAX = 256 };

/* ---- --publish */

struct ports {
	char *tcp[PORTS_MAX], *udp[PORTS_MAX];
	size_t n_tcp, n_udp;
};

static int bad_port(const char *text, const char *why, struct err *err)
{
	err_set(err, ERR_USAGE, "%s: [ADDRESS:]PORT[:GUESTPORT][/udp] is wanted", why);
	return err_object(err, text);
}

/* A port's digits and nothing else */
static bool is_port(const char *s)
{
	size_t len = strlen(s);
	unsigned long v;

	if (!len || len > 5 || strspn(s, "0123456789") != len)
		return false;
	v = strtoul(s, NULL, 10);
	return v >= 1 && v <= 65535;
}

static bool is_address(const char *s)
{
	uint8_t raw[16];

	return inet_pton(AF_INET, s, raw) == 1 || inet_pton(AF_INET6, s, raw) == 1;
}

/* *@ret_address: what stands before the ports, without its brackets; NULL: nothing. Return: the ports; NULL: no end */
static char *split_address(char *s, char **ret_address)
{
	char *end, *last = strrchr(s, ':');

	*ret_address = NULL;
	if (*s == '[') {
		end = strchr(s, ']');
		if (!end || end[1] != ':')
			return NULL;
		*end = '\0';
		*ret_address = s + 1;
		return end + 2;
	}
	end = strchr(s, ':');
	if (!end || end == last)
		return s;
	*end = '\0';
	*ret_address = s;
	return end + 1;
}

int net_parse_port(const char *text, bool *ret_udp, char **ret, struct err *err)
{
	char copy[SPEC_MAX], *slash, *address, *host, *guest;

	if (snprintf(copy, sizeof(copy), "%s", text) >= (int)sizeof(copy))
		return bad_port(text, "too long", err);
	slash = strchr(copy, '/');
	*ret_udp = slash && strcmp(slash, "/udp") == 0;
	if (slash && !*ret_udp && strcmp(slash, "/tcp") != 0)
		return bad_port(text, "neither /tcp nor /udp", err);
	if (slash)
		*slash = '\0';
	host = split_address(copy, &address);
	if (!host || (address && !is_address(address)))
		return bad_port(text, "the address is none", err);
	guest = strchr(host, ':');
	if (guest)
		*guest++ = '\0';
	if (!is_port(host) || (guest && !is_port(guest)))
		return bad_port(text, "ports are 1 to 65535", err);
	if (asprintf(ret, "%s/%s:%s", address ? address : "127.0.0.1", host, guest ? guest : host) <
	    0) {
		*ret = NULL;
		return err_nomem(err);
	}
	return 0;
}

static int parse_ports(struct ports *p, const struct opt_list *publish, struct err *err)
{
	for (size_t i = 0; i < publish->count; i++) {
		char *one;
		bool udp;

		if (net_parse_port(publish->items[i], &udp, &one, err) < 0)
			return -1;
		if ((udp ? p->n_udp : p->n_tcp) == PORTS_MAX) {
			free(one);
			return err_set(err, ERR_USAGE, "more than %d ports", PORTS_MAX);
		}
		if (udp)
			p->udp[p->n_udp++] = one;
		else
			p->tcp[p->n_tcp++] = one;
	}
	return 0;
}

static void free_ports(struct ports *p)
{
	for (size_t i = 0; i < p->n_tcp; i++)
		free(p->tcp[i]);
	for (size_t i = 0; i < p->n_udp; i++)
		free(p->udp[i]);
}

/* ---- --net */

struct spec {
	char kind[SPEC_MAX];
	const char *value; /* behind kind's '=', NULL: none; inside of .kind */
	bool host;
	bool has_mac;
	uint8_t mac[NET_MAC];
};

static int bad_spec(const char *text, struct err *err)
{
	err_set(err, ERR_USAGE,
		"user[,host], tap=NAME, fd=N or none is wanted, each but none with ,mac=ADDRESS if "
		"needed");
	return err_object(err, text);
}

static int parse_spec(struct spec *s, const char *text, struct err *err)
{
	char *rest, *word, *value;

	*s = (struct spec){.value = NULL};
	if (snprintf(s->kind, sizeof(s->kind), "%s", text) >= (int)sizeof(s->kind))
		return bad_spec(text, err);
	rest = s->kind;
	(void)strsep(&rest, ",");
	value = strchr(s->kind, '=');
	if (value) {
		*value = '\0';
		s->value = value + 1;
	}
	while ((word = strsep(&rest, ","))) {
		if (strcmp(word, "host") == 0 && strcmp(s->kind, "user") == 0) {
			s->host = true;
		} else if (strncmp(word, "mac=", 4) == 0) {
			if (net_parse_mac(word + 4, s->mac, err) < 0)
				return -1;
			s->has_mac = true;
		} else {
			return bad_spec(text, err);
		}
	}
	return 0;
}

static int open_fd(struct net **ret, const char *text, struct err *err)
{
	size_t len = strlen(text);

	if (!len || len > 6 || strspn(text, "0123456789") != len) {
		err_set(err, ERR_USAGE, "not the number of a descriptor");
		return err_object(err, text);
	}
	return net_open_fd(ret, (int)strtol(text, NULL, 10), err);
}

static int open_user(struct net **ret, const struct spec *s, const struct ports *p, struct err *err)
{
	const struct net_user user = {
		.tcp = (const char *const *)p->tcp,
		.udp = (const char *const *)p->udp,
		.n_tcp = p->n_tcp,
		.n_udp = p->n_udp,
		.host_loopback = s->host,
	};

	return net_open_user(ret, &user, err);
}

static int open_one(struct nets *n, const char *text, struct ports *p, bool *user, struct err *err)
{
	struct net *net = NULL;
	struct spec s;
	bool is_user;
	int rc;

	if (parse_spec(&s, text, err) < 0)
		return -1;
	is_user = strcmp(s.kind, "user") == 0;
	if (is_user && *user)
		return err_set(err, ERR_USAGE, "one user-mode network is enough for a machine");
	if (n->n == MACHINE_NETS_MAX)
		return err_set(err, ERR_USAGE, "a machine has %d network interfaces at most",
			       MACHINE_NETS_MAX);
	if (is_user && !s.value)
		rc = open_user(&net, &s, p, err);
	else if (strcmp(s.kind, "tap") == 0 && s.value)
		rc = net_open_tap(&net, s.value, err);
	else if (strcmp(s.kind, "fd") == 0 && s.value)
		rc = open_fd(&net, s.value, err);
	else
		return bad_spec(text, err);
	if (rc < 0)
		return -1;
	if (s.has_mac)
		memcpy(net->mac, s.mac, sizeof(s.mac));
	n->user_first = n->user_first || (is_user && n->n == 0);
	n->net[n->n++] = net;
	*user = *user || is_user;
	return 0;
}

int nets_open(struct nets *ret, const struct opt_list *specs, const struct opt_list *publish,
	      struct err *err)
{
	struct ports p = {.n_tcp = 0};
	bool user = false;
	int rc = parse_ports(&p, publish, err);

	*ret = (struct nets){.n = 0};
	for (size_t i = 0; rc == 0 && i < specs->count; i++) {
		if (strcmp(specs->items[i], "none") == 0 && specs->count == 1)
			break;
		rc = open_one(ret, specs->items[i], &p, &user, err);
	}
	if (rc == 0 && publish->count && specs->count == 0)
		rc = open_one(ret, "user", &p, &user, err);
	else if (rc == 0 && publish->count && !user)
		rc = err_set(err, ERR_USAGE, "--publish needs --net user");
	free_ports(&p);
	if (rc < 0)
		nets_close(ret);
	return rc;
}

void nets_close(struct nets *n)
{
	for (size_t i = 0; i < n->n; i++)
		net_close(n->net[i]);
	n->n = 0;
}
