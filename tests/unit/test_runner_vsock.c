/* vsock and balloon by their requests: both ways of a connection, half ends, credit, and a guest that lies. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "libcommon/base/bytes.h"
#include "libcommon/runner/state.h"
#include "libcommon/runner/virtio_balloon.h"
#include "libcommon/runner/virtio_vsock.h"

enum { MEMORY = 4 << 20, HEADER = 44, CID = 7, PORT = 99, PACKETS = 200 };
enum op { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST };

struct guest {
	struct guest_memory mem;
	struct vsock *host;
	struct virtio_vsock *v;
	struct virtio_dev *d;
	char dir[64], path[80];
	/* The last packet for the guest */
	uint8_t got[HEADER + 70000];
	uint32_t len, from_port, to_port, flags;
	unsigned op;
	uint32_t alloc; /* the buffer that it says it has */
	uint32_t taken;
};

static int start(void **state)
{
	struct guest *g = calloc(1, sizeof(*g));

	assert_non_null(g);
	g->alloc = 65536;
	(void)snprintf(g->dir, sizeof(g->dir), "/tmp/vmkit-vsock.XXXXXX");
	assert_non_null(mkdtemp(g->dir));
	(void)snprintf(g->path, sizeof(g->path), "%s/v", g->dir);
	assert_int_equal(guest_memory_create(&g->mem, MEMORY, NULL), 0);
	assert_int_equal(vsock_open(&g->host, g->path, NULL), 0);
	assert_int_equal(virtio_vsock_new(&g->v, g->host, CID, &g->mem, NULL), 0);
	assert_int_equal(virtio_vsock_start(g->v, NULL), 0);
	g->d = virtio_vsock_dev(g->v);
	*state = g;
	return 0;
}

static int end(void **state)
{
	struct guest *g = *state;

	virtio_vsock_free(g->v);
	vsock_close(g->host);
	assert_int_equal(access(g->path, F_OK), -1);
	assert_int_equal(rmdir(g->dir), 0);
	guest_memory_destroy(&g->mem);
	free(g);
	return 0;
}

static int64_t send_raw(struct guest *g, const uint8_t *raw, size_t len)
{
	static struct virtq_chain c;
	uint8_t *copy = malloc(len + 1);
	int64_t rc;

	memcpy(copy, raw, len);
	c = (struct virtq_chain){.readable = 1, .readable_len = len, .iov = {{copy, len}}};
	if (len > 50) { /* in two parts */
		c.iov[0].iov_len = 10;
		c.iov[1] = (struct iovec){copy + 10, len - 10};
		c.readable = 2;
	}
	rc = g->d->type->request(g->d, 1, &c);
	free(copy);
	return rc;
}

static int64_t send_packet(struct guest *g, enum op op, uint32_t from, uint32_t to, uint32_t flags,
			   const void *data, uint32_t len)
{
	uint8_t *raw = calloc(1, HEADER + len);
	int64_t rc;

	put_le64(raw, CID);
	put_le64(raw + 8, 2);
	put_le32(raw + 16, from);
	put_le32(raw + 20, to);
	put_le32(raw + 24, len);
	put_le16(raw + 28, 1);
	put_le16(raw + 30, (uint16_t)op);
	put_le32(raw + 32, flags);
	put_le32(raw + 36, g->alloc);
	put_le32(raw + 40, g->taken);
	if (len)
		memcpy(raw + HEADER, data, len);
	rc = send_raw(g, raw, HEADER + len);
	free(raw);
	return rc;
}

/* What the guest gets within two seconds; Return: its op, 0 when there is nothing */
static unsigned receive(struct guest *g)
{
	static struct virtq_chain c;

	for (int i = 0; i < 2000; i++) {
		int64_t n;

		c = (struct virtq_chain){.writable = 3,
					 .writable_len = sizeof(g->got),
					 .iov = {{g->got, 20},
						 {g->got + 20, 100},
						 {g->got + 120, sizeof(g->got) - 120}}};
		n = g->d->type->request(g->d, 0, &c);
		if (n == VIRTIO_LATER) {
			(void)usleep(1000);
			continue;
		}
		assert_true(n >= HEADER);
		g->op = get_le16(g->got + 30);
		g->from_port = get_le32(g->got + 16);
		g->to_port = get_le32(g->got + 20);
		g->len = get_le32(g->got + 24);
		g->flags = get_le32(g->got + 32);
		assert_int_equal(get_le64(g->got), 2);
		assert_int_equal(get_le64(g->got + 8), CID);
		assert_int_equal(n, HEADER + g->len);
		g->taken += g->len;
		return g->op;
	}
	return 0;
}

static int dial(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static int listen_at(const struct guest *g, unsigned port)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s_%u", g->path, port);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void hear(int fd, const char *text)
{
	char buf[64] = "";
	size_t done = 0, len = strlen(text);

	while (done < len) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		assert_int_equal(poll(&p, 1, 2000), 1);
		n = read(fd, buf + done, len - done);
		assert_true(n > 0);
		done += (size_t)n;
	}
	assert_string_equal(buf, text);
}

static void hear_end(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char byte;

	assert_int_equal(poll(&p, 1, 2000), 1);
	assert_int_equal(read(fd, &byte, 1), 0);
}

static void from_the_host(void **state)
{
	struct guest *g = *state;
	int fd = dial(g->path);
	char text[32];
	uint32_t port;

	say(fd, "CONNECT 99\nbehind it");
	assert_int_equal(receive(g), REQUEST);
	assert_int_equal(g->to_port, PORT);
	port = g->from_port;
	assert_int_equal(send_packet(g, RESPONSE, PORT, port, 0, NULL, 0), 0);
	(void)snprintf(text, sizeof(text), "OK %u\n", port);
	hear(fd, text);
	assert_int_equal(receive(g), RW);
	assert_int_equal(g->len, 9);
	assert_memory_equal(g->got + HEADER, "behind it", 9);
	assert_int_equal(send_packet(g, RW, PORT, port, 0, "answer", 6), 0);
	hear(fd, "answer");
	/* We end our half, the guest still speaks, then ends */
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_int_equal(receive(g), SHUTDOWN);
	assert_int_equal(g->flags, 2);
	assert_int_equal(send_packet(g, RW, PORT, port, 0, "more", 4), 0);
	hear(fd, "more");
	assert_int_equal(send_packet(g, SHUTDOWN, PORT, port, 3, NULL, 0), 0);
	hear_end(fd);
	assert_int_equal(receive(g), RST);
	(void)close(fd);
	/* Nobody listens in the guest */
	fd = dial(g->path);
	say(fd, "CONNECT 5\n");
	assert_int_equal(receive(g), REQUEST);
	assert_int_equal(send_packet(g, RST, 5, g->from_port, 0, NULL, 0), 0);
	hear_end(fd);
	(void)close(fd);
}

static void greetings_that_are_none(void **state)
{
	static const char *const words[] = {
		"CONNECT x\n",
		"CONNECT -1\n",
		"CONNECT 4294967296\n",
		"CONNECT \n",
		"HELLO\n",
		"CONNECT 1 2\n",
		"CONNECT 00000000000000000000000000000000000000000001\n"};
	struct guest *g = *state;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		struct pollfd p;
		char byte;
		int fd = dial(g->path);

		say(fd, words[i]);
		p = (struct pollfd){.fd = fd, .events = POLLIN};
		assert_int_equal(poll(&p, 1, 2000), 1);
		assert_true(read(fd, &byte, 1) <= 0); /* reset, when there was more */
		(void)close(fd);
	}
}

static void from_the_guest(void **state)
{
	struct guest *g = *state;
	int at = listen_at(g, 1234), fd;
	char path[100], *big = calloc(1, 65536);

	assert_int_equal(send_packet(g, REQUEST, 50, 1234, 0, NULL, 0), 0);
	assert_int_equal(receive(g), RESPONSE);
	assert_int_equal(g->to_port, 50);
	assert_int_equal(g->from_port, 1234);
	fd = accept(at, NULL, NULL);
	assert_true(fd >= 0);
	assert_int_equal(send_packet(g, RW, 50, 1234, 0, "hello", 5), 0);
	hear(fd, "hello");
	/* The same once more, and a port of nobody */
	assert_int_equal(send_packet(g, REQUEST, 50, 1234, 0, NULL, 0), 0);
	assert_int_equal(receive(g), RST);
	assert_int_equal(send_packet(g, REQUEST, 51, 1235, 0, NULL, 0), 0);
	assert_int_equal(receive(g), RST);
	assert_int_equal(g->to_port, 51);
	/* No more comes than the guest has room for */
	say(fd, "0123456789");
	g->alloc = 4;
	g->taken = 0;
	assert_int_equal(send_packet(g, CREDIT_UPDATE, 50, 1234, 0, NULL, 0), 0);
	assert_int_equal(receive(g), RW);
	assert_int_equal(g->len, 4);
	assert_int_equal(receive(g), 0);
	assert_int_equal(send_packet(g, CREDIT_UPDATE, 50, 1234, 0, NULL, 0), 0);
	assert_int_equal(receive(g), RW);
	assert_int_equal(g->len, 4);
	assert_int_equal(send_packet(g, CREDIT_REQUEST, 50, 1234, 0, NULL, 0), 0);
	g->alloc = 65536;
	assert_int_equal(receive(g), CREDIT_UPDATE);
	assert_int_equal(receive(g), RW);
	assert_int_equal(g->len, 2);
	/* Nor may the guest send more than we have room for: the socket takes some, the rest waits */
	for (int i = 0; i < PACKETS && g->op != RST; i++) {
		assert_int_equal(send_packet(g, RW, 50, 1234, 0, big, 60000), 0);
		g->op = 0;
		if (i > 10)
			(void)receive(g);
	}
	assert_int_equal(g->op, RST);
	free(big);
	(void)close(fd);
	(void)close(at);
	(void)snprintf(path, sizeof(path), "%s_1234", g->path);
	assert_int_equal(unlink(path), 0);
}

static void packets_that_lie(void **state)
{
	struct guest *g = *state;
	uint8_t raw[HEADER + 10] = {0};

	assert_int_equal(send_raw(g, raw, HEADER - 1), VIRTIO_BAD);
	put_le32(raw + 24, 11);
	assert_int_equal(send_raw(g, raw, sizeof(raw)), VIRTIO_BAD);
	put_le32(raw + 24, UINT32_MAX);
	assert_int_equal(send_raw(g, raw, sizeof(raw)), VIRTIO_BAD);
	put_le32(raw + 24, 10);
	assert_int_equal(send_raw(g, raw, sizeof(raw)), 0); /* of another's address: nothing */
	for (enum op op = 0; op < 10; op++)
		assert_int_equal(send_packet(g, op, 1, 2, 3, "x", 1), 0);
	assert_int_equal(receive(g), RST);
	/* Answers that nobody takes are bounded */
	for (int i = 0; i < 1000; i++)
		assert_int_equal(send_packet(g, RW, (uint32_t)i, 2, 0, "x", 1), 0);
	for (int i = 0; i < 100; i++)
		if (!receive(g))
			break;
}

/* ---- balloon */

static bool is_resident(void *page)
{
	unsigned char in;

	assert_int_equal(mincore(page, 4096, &in), 0);
	return in & 1;
}

static int64_t balloon_ask(struct virtio_balloon *b, unsigned queue, void *data, size_t len,
			   bool writable)
{
	static struct virtq_chain c;

	c = (struct virtq_chain){.readable = !writable,
				 .writable = writable,
				 .readable_len = writable ? 0 : len,
				 .writable_len = writable ? len : 0,
				 .iov = {{data, len}}};
	return b->dev.type->request(&b->dev, queue, &c);
}

/* VIRTIO 1.2, 5.10.6.7.1: after a restore the driver is told, once, that its connections are gone */
static void restored(void **state)
{
	struct guest *g = *state;
	uint8_t event[8];
	struct virtq_chain c = {
		.writable = 1, .writable_len = sizeof(event), .iov = {{event, sizeof(event)}}};
	struct state_out out = {.data = NULL};
	struct state_in in;

	assert_int_equal(g->d->type->request(g->d, 2, &c), VIRTIO_LATER);
	g->d->type->save(g->d, &out);
	in = (struct state_in){.data = out.data, .len = out.len};
	g->d->type->load(g->d, &in);
	assert_false(in.failed);
	c.iov[0].iov_len = 3;
	assert_int_equal(g->d->type->request(g->d, 2, &c), VIRTIO_BAD);
	c.iov[0].iov_len = sizeof(event);
	memset(event, 0xff, sizeof(event));
	assert_int_equal(g->d->type->request(g->d, 2, &c), 4);
	assert_int_equal(get_le32(event), 0); /* VIRTIO_VSOCK_EVENT_TRANSPORT_RESET */
	assert_int_equal(g->d->type->request(g->d, 2, &c), VIRTIO_LATER);
	state_out_free(&out);
}

static void balloon(void **state)
{
	static const struct irq_sink nobody;
	static struct virtio_balloon b;
	static struct pci_bus bus;
	struct guest_memory mem;
	uint8_t pages[7 * 4], stats[25], *host;
	uint64_t stat[BALLOON_STATS], target, actual;

	(void)state;
	assert_int_equal(guest_memory_create(&mem, MEMORY, NULL), 0);
	host = mem.region[0].host;
	memset(host, 1, MEMORY);
	assert_int_equal(virtio_balloon_init(&b, &mem, NULL), 0);
	pci_bus_init(&bus, &nobody);
	assert_true(pci_bus_add(&bus, &b.dev.pci));
	b.dev.driver_features = b.dev.features;
	/* 5, 6, 7, 4, then two that are none, then 100 */
	put_le32(pages, 5);
	put_le32(pages + 4, 6);
	put_le32(pages + 8, 7);
	put_le32(pages + 12, 4);
	put_le32(pages + 16, MEMORY / 4096);
	put_le32(pages + 20, UINT32_MAX);
	put_le32(pages + 24, 100);
	assert_int_equal(balloon_ask(&b, 0, pages, sizeof(pages), false), 0);
	for (unsigned i = 3; i <= 8; i++)
		assert_int_equal(is_resident(host + 4096 * i), i == 3 || i == 8);
	assert_false(is_resident(host + 4096 * 100));
	assert_true(is_resident(host + 4096 * 99));
	assert_true(is_resident(host + MEMORY - 4096));
	assert_int_equal(balloon_ask(&b, 1, pages, sizeof(pages), false), 0);
	/* Free pages are reported; what is of one in part stays */
	assert_int_equal(balloon_ask(&b, 3, host + 4096 * 10 + 1, 8192, true), 0);
	assert_true(is_resident(host + 4096 * 10));
	assert_false(is_resident(host + 4096 * 11));
	assert_true(is_resident(host + 4096 * 12));
	assert_int_equal(balloon_ask(&b, 3, host + 4096 * 20 + 1, 4096, true), 0);
	assert_true(is_resident(host + 4096 * 20) && is_resident(host + 4096 * 21));
	assert_int_equal(atomic_load(&b.reported), 4096);
	/* Statistics: kept until somebody asks; half a record is none */
	put_le16(stats, BALLOON_FREE);
	put_le64(stats + 2, 12345);
	put_le16(stats + 10, 999);
	put_le64(stats + 12, 1);
	memset(stats + 20, 0xff, 5);
	assert_int_equal(virtio_balloon_stats(&b, 0, stat), 0);
	assert_int_equal(balloon_ask(&b, 2, stats, sizeof(stats), false), VIRTIO_LATER);
	assert_int_equal(virtio_balloon_stats(&b, 0, stat), 1U << BALLOON_FREE);
	assert_int_equal(stat[BALLOON_FREE], 12345);
	assert_int_equal(virtio_balloon_stats(&b, 1, stat), 1U << BALLOON_FREE);
	assert_int_equal(balloon_ask(&b, 2, stats, sizeof(stats), false), 0);
	/* A driver that did not agree to statistics has its reports in their place */
	b.dev.driver_features &= ~(UINT64_C(1) << 1);
	assert_int_equal(balloon_ask(&b, 2, host + 4096 * 30, 4096, true), 0);
	assert_false(is_resident(host + 4096 * 30));
	b.dev.driver_features = 0;
	assert_int_equal(balloon_ask(&b, 3, host, 4096, true), VIRTIO_BAD);
	/* Its size */
	virtio_balloon_set(&b, 1 << 20);
	b.dev.pci.ops->bar_write(&b.dev.pci, 0, 0x2004, 4, 17);
	b.dev.pci.ops->bar_write(&b.dev.pci, 0, 0x2000, 4, 99); /* ours alone */
	b.dev.pci.ops->bar_write(&b.dev.pci, 0, 0x2fff, 1, 99);
	virtio_balloon_size(&b, &target, &actual);
	assert_int_equal(target, 1 << 20);
	assert_int_equal(actual, 17 * 4096);
	virtio_stop(&b.dev);
	guest_memory_destroy(&mem);
}

static void sockets_that_are_there(void **state)
{
	struct vsock *a, *b;
	struct err err = ERR_INIT;
	char dir[] = "/tmp/vmkit-vsock.XXXXXX", path[80], longer[200];
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/v", dir);
	assert_int_equal(vsock_open(&a, path, NULL), 0);
	assert_int_equal(vsock_open(&b, path, &err), -1);
	assert_int_equal(err.code, ERR_EXISTS);
	vsock_close(a);
	/* One that a killed process left is replaced, a file is not */
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	(void)close(fd);
	assert_int_equal(vsock_open(&a, path, NULL), 0);
	vsock_close(a);
	fclose(fopen(path, "w"));
	assert_int_equal(vsock_open(&a, path, &err), -1);
	assert_int_equal(access(path, F_OK), 0);
	(void)unlink(path);
	memset(longer, 'x', sizeof(longer));
	longer[100] = '\0';
	assert_int_equal(vsock_open(&a, longer, &err), -1);
	assert_int_equal(err.code, ERR_USAGE);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(from_the_host, start, end),
		cmocka_unit_test_setup_teardown(greetings_that_are_none, start, end),
		cmocka_unit_test_setup_teardown(from_the_guest, start, end),
		cmocka_unit_test_setup_teardown(packets_that_lie, start, end),
		cmocka_unit_test_setup_teardown(restored, start, end),
		cmocka_unit_test(balloon),
		cmocka_unit_test(sockets_that_are_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
