/* NBD URIs taken apart: what libnbd's own parser takes of the NBD project's doc/uri.md, without TLS and vsock. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/image/protocol/nbd_private.h"

#define TCP  "nbd://"
#define UNIX "nbd+unix://"
#define PORT "10809" /* IANA's */

enum { EXPORT_MAX = 4096 }; /* of the protocol */

bool nbd_is_uri(const char *name)
{
	return strncmp(name, TCP, strlen(TCP)) == 0 || strncmp(name, UNIX, strlen(UNIX)) == 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* @n bytes with %XX decoded: owned. */
static char *decode(const char *text, size_t n, struct err *err)
{
	CLEANUP_FREE char *out = malloc(n + 1);
	size_t used = 0;

	if (!out) {
		err_nomem(err);
		return NULL;
	}
	for (size_t i = 0; i < n; i++) {
		int value = (unsigned char)text[i];

		if (text[i] == '%') {
			int high = i + 2 < n ? hex_digit(text[i + 1]) : -1;
			int low = i + 2 < n ? hex_digit(text[i + 2]) : -1;

			if (high < 0 || low < 0 || high + low == 0) {
				err_set(err, ERR_USAGE,
					"%% must be followed by two hex digits, not both 0");
				return NULL;
			}
			value = high * 16 + low;
			i += 2;
		}
		out[used++] = (char)value;
	}
	out[used] = '\0';
	return steal_ptr(&out);
}

static int parse_authority(struct nbd_uri *u, const char *text, size_t n, struct err *err)
{
	const char *end = text + n, *colon = memchr(text, ':', n), *host = text;
	size_t host_len = colon ? (size_t)(colon - text) : n;

	if (n && *text == '[') { /* an IPv6 address has colons of its own */
		const char *close = memchr(text, ']', n);

		if (!close || (close + 1 < end && close[1] != ':'))
			return err_set(err, ERR_USAGE, "no ] ends the address");
		host = text + 1;
		host_len = (size_t)(close - host);
		colon = close + 1 < end ? close + 1 : NULL;
	}
	if (host_len == 0)
		return err_set(err, ERR_USAGE, "names no host");
	if (memchr(text, '@', n))
		return err_set(err, ERR_USAGE, "NBD has no user names");
	u->host = decode(host, host_len, err);
	if (!u->host)
		return -1;
	u->port = colon ? strndup(colon + 1, (size_t)(end - colon - 1)) : strdup(PORT);
	if (!u->port)
		return err_nomem(err);

	char *rest;
	unsigned long port = strtoul(u->port, &rest, 10);

	if (u->port[0] < '0' || u->port[0] > '9' || *rest || port == 0 || port > 65535)
		return err_set(err, ERR_USAGE, "%s is not a port", u->port);
	return 0;
}

static int parse_query(struct nbd_uri *u, const char *query, bool tcp, struct err *err)
{
	while (*query) {
		size_t n = strcspn(query, "&");

		if (strncmp(query, "socket=", 7) != 0 || tcp)
			return err_set(err, ERR_USAGE, "does not know the parameter %.*s",
				       (int)strcspn(query, "=&"), query);
		free(u->socket);
		u->socket = decode(query + 7, n - 7, err);
		if (!u->socket)
			return -1;
		query += n + (query[n] == '&');
	}
	return 0;
}

static int parse(struct nbd_uri *u, const char *text, struct err *err)
{
	bool tcp = strncmp(text, TCP, strlen(TCP)) == 0;
	const char *at = text + strlen(tcp ? TCP : UNIX);
	size_t n = strcspn(at, "/?");

	if (at[strcspn(at, "#")])
		return err_set(err, ERR_USAGE, "an NBD name has no #");
	if (tcp && parse_authority(u, at, n, err) < 0)
		return -1;
	if (!tcp && n)
		return err_set(err, ERR_USAGE, "a unix socket has no host: nbd+unix:///...");
	at += n + (at[n] == '/');
	n = strcspn(at, "?");
	u->export = decode(at, n, err);
	if (!u->export || parse_query(u, at + n + (at[n] == '?'), tcp, err) < 0)
		return -1;
	if (strlen(u->export) > EXPORT_MAX)
		return err_set(err, ERR_USAGE, "the export's name is longer than %d bytes",
			       EXPORT_MAX);
	if (tcp)
		return 0;
	if (!u->socket || !*u->socket) {
		err_set(err, ERR_USAGE, "names no socket");
		return err_hint(err, "nbd+unix:///EXPORT?socket=PATH");
	}
	if (strlen(u->socket) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return err_set(err, ERR_USAGE, "the socket's path is too long for a socket");
	return 0;
}

int nbd_uri_parse(struct nbd_uri *ret, const char *text, struct err *err)
{
	*ret = (struct nbd_uri){0};
	if (parse(ret, text, err) == 0)
		return 0;
	nbd_uri_free(ret);
	return -1;
}

void nbd_uri_free(struct nbd_uri *u)
{
	free(u->host);
	free(u->port);
	free(u->socket);
	free(u->export);
	*u = (struct nbd_uri){0};
}
