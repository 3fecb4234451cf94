/* virtio-net and the stream of frames behind it, with a socket pair in passt's place and rings written by hand: what an honest driver
 * gets, what a lying driver or a lying other end does not. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "libcommon/base/bytes.h"
#include "libcommon/runner/virtio_net.h"

enum { SIZE = 4 << 20, RINGS = 0x1000, RING_SPACE = 0x4000, DATA = 0x10000, QSIZE = 8 };
enum { NEXT = 1, WRITE = 2, RX = 0, TX = 1, MERGE = 1 << 15, LINE_QUEUE = 1, LINE_CONFIG = 2 };

struct fake {
	struct guest_memory mem;
	struct net *net;
	int peer;
	struct virtio_net v;
	struct pci_bus bus;
	struct irq_sink irq;
};

static uint8_t *at(struct fake *f, uint64_t addr)
{
	return f->mem.region[0].host + addr;
}

static uint64_t ring(unsigned queue, unsigned part)
{
	return RINGS + (uint64_t)RING_SPACE * queue + 0x1000 * (uint64_t)part;
}

static void desc(struct fake *f, unsigned queue, unsigned i, uint64_t addr, uint32_t len,
		 uint16_t flags, uint16_t next)
{
	uint8_t *d = at(f, ring(queue, 0) + 16 * i);

	put_le64(d, addr);
	put_le32(d + 8, len);
	put_le16(d + 12, flags);
	put_le16(d + 14, next);
}

static void offer(struct fake *f, unsigned queue, uint16_t head)
{
	uint8_t *avail = at(f, ring(queue, 1));
	uint16_t idx = get_le16(avail + 2);

	put_le16(avail + 4 + 2 * (idx % QSIZE), head);
	__atomic_store_n((uint16_t *)(void *)(avail + 2), (uint16_t)(idx + 1), __ATOMIC_RELEASE);
}

static uint16_t used(struct fake *f, unsigned queue)
{
	return __atomic_load_n((uint16_t *)(void *)(at(f, ring(queue, 2)) + 2), __ATOMIC_ACQUIRE);
}

static uint32_t used_len(struct fake *f, unsigned queue, unsigned i)
{
	return get_le32(at(f, ring(queue, 2) + 8 + 8 * i));
}

static unsigned serve(struct fake *f, unsigned queue)
{
	return virtio_serve(&f->v.dev.queue[queue]);
}

static bool broken(struct fake *f)
{
	return atomic_load(&f->v.dev.status) & VIRTIO_NEEDS_RESET;
}

static void ready(struct fake *f, uint64_t features)
{
	f->v.dev.driver_features = (features | VIRTIO_F_VERSION_1) & f->v.dev.features;
	for (unsigned i = 0; i < 2; i++) {
		struct virtq *q = &f->v.dev.queue[i].ring;

		q->size = QSIZE;
		q->desc = ring(i, 0);
		q->avail = ring(i, 1);
		q->used = ring(i, 2);
		assert_true(virtq_enable(q));
	}
	atomic_store(&f->v.dev.status, VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK);
}

static int start(void **state)
{
	struct fake *f = calloc(1, sizeof(*f));
	int pair[2];

	if (!f || guest_memory_create(&f->mem, SIZE, NULL) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 ||
	    net_open_fd(&f->net, pair[0], NULL) < 0)
		return -1;
	f->peer = pair[1];
	if (virtio_net_init(&f->v, f->net, &f->mem, NULL) < 0)
		return -1;
	pci_bus_init(&f->bus, &f->irq);
	if (!pci_bus_add(&f->bus, &f->v.dev.pci))
		return -1;
	ready(f, MERGE);
	*state = f;
	return 0;
}

static int end(void **state)
{
	struct fake *f = *state;

	virtio_stop(&f->v.dev);
	net_close(f->net);
	if (f->peer >= 0)
		(void)close(f->peer);
	guest_memory_destroy(&f->mem);
	free(f);
	return 0;
}

static uint8_t byte_of(size_t i)
{
	return (uint8_t)(i * 7 + i / 251);
}

/* The other end sends a frame of @len bytes */
static void peer_sends(struct fake *f, uint32_t len)
{
	uint8_t *raw = malloc(len + 4);

	assert_non_null(raw);
	put_be32(raw, len);
	for (size_t i = 0; i < len; i++)
		raw[4 + i] = byte_of(i);
	assert_int_equal(write(f->peer, raw, len + 4), len + 4);
	free(raw);
}

static void assert_frame(const uint8_t *p, size_t first, size_t len)
{
	for (size_t i = 0; i < len; i++)
		assert_int_equal(p[i], byte_of(first + i));
}

/* ---- to the guest */

static void frame_in_one_buffer(void **state)
{
	struct fake *f = *state;

	desc(f, RX, 0, DATA, 2000, WRITE, 0);
	offer(f, RX, 0);
	assert_int_equal(serve(f, RX), 0);
	assert_int_equal(f->v.dev.queue[RX].events, POLLIN);
	memset(at(f, DATA), 0xee, 2000);
	peer_sends(f, 100);
	assert_int_equal(serve(f, RX), 1);
	assert_int_equal(used(f, RX), 1);
	assert_int_equal(used_len(f, RX, 0), 112);
	for (unsigned i = 0; i < NET_HEADER; i++)
		assert_int_equal(*at(f, DATA + i), i == NH_BUFFERS);
	assert_frame(at(f, DATA + NET_HEADER), 0, 100);
	assert_int_equal(*at(f, DATA + 112), 0xee);
	assert_int_equal(virtio_take_isr(&f->v.dev), LINE_QUEUE);
	assert_int_equal(atomic_load(&f->v.rx_packets), 1);
	assert_int_equal(atomic_load(&f->v.rx_bytes), 100);
}

static void frame_is_spread_over_buffers(void **state)
{
	struct fake *f = *state;

	/* The first: its header in two parts */
	desc(f, RX, 0, DATA, 11, WRITE | NEXT, 1);
	desc(f, RX, 1, DATA + 0x100, 9, WRITE, 0);
	desc(f, RX, 2, DATA + 0x200, 50, WRITE, 0);
	desc(f, RX, 3, DATA + 0x300, 500, WRITE, 0);
	offer(f, RX, 0);
	offer(f, RX, 2);
	offer(f, RX, 3);
	peer_sends(f, 100);
	assert_int_equal(serve(f, RX), 3);
	assert_int_equal(used(f, RX), 3);
	assert_int_equal(used_len(f, RX, 0), 20);
	assert_int_equal(used_len(f, RX, 1), 50);
	assert_int_equal(used_len(f, RX, 2), 42);
	assert_int_equal(*at(f, DATA + 10), 3);
	assert_int_equal(*at(f, DATA + 0x100), 0);
	assert_frame(at(f, DATA + 0x101), 0, 8);
	assert_frame(at(f, DATA + 0x200), 8, 50);
	assert_frame(at(f, DATA + 0x300), 58, 42);
}

static void frame_waits_for_room(void **state)
{
	struct fake *f = *state;

	peer_sends(f, 100);
	peer_sends(f, 14);
	for (unsigned i = 0; i < 4; i++)
		desc(f, RX, i, DATA + 0x100 * i, 40, WRITE, 0);
	assert_int_equal(serve(f, RX), 0);
	offer(f, RX, 0);
	offer(f, RX, 1);
	assert_int_equal(serve(f, RX), 0);
	assert_int_equal(used(f, RX), 0);
	assert_int_equal(f->v.dev.queue[RX].events,
			 0); /* the driver's notification, nothing else */
	offer(f, RX, 2);
	offer(f, RX, 3);
	assert_int_equal(serve(f, RX), 4);
	assert_int_equal(used_len(f, RX, 2), 32);
	assert_frame(at(f, DATA + NET_HEADER), 0, 28);
	assert_frame(at(f, DATA + 0x200), 68, 32);
	assert_int_equal(used_len(f, RX, 3), 26);
	assert_int_equal(atomic_load(&f->v.rx_dropped), 0);
}

static void frame_that_never_fits_is_dropped(void **state)
{
	struct fake *f = *state;

	for (uint16_t i = 0; i < QSIZE; i++) {
		desc(f, RX, i, DATA + 0x100U * i, 12, WRITE, 0);
		offer(f, RX, i);
	}
	peer_sends(f, 1000);
	assert_int_equal(serve(f, RX), 0);
	assert_int_equal(atomic_load(&f->v.rx_dropped), 1);
	assert_int_equal(used(f, RX), 0);
	peer_sends(f, 84); /* just fits */
	assert_int_equal(serve(f, RX), 8);
}

static void without_merging_one_buffer_has_to_do(void **state)
{
	struct fake *f = *state;

	f->v.dev.driver_features = VIRTIO_F_VERSION_1;
	desc(f, RX, 0, DATA, 40, WRITE, 0);
	offer(f, RX, 0);
	peer_sends(f, 29);
	assert_int_equal(serve(f, RX), 0);
	assert_int_equal(atomic_load(&f->v.rx_dropped), 1);
	peer_sends(f, 28);
	assert_int_equal(serve(f, RX), 1);
	assert_int_equal(*at(f, DATA + NH_BUFFERS), 1);
	assert_frame(at(f, DATA + NET_HEADER), 0, 28);
}

static void frames_come_in_pieces(void **state)
{
	struct fake *f = *state;
	uint8_t raw[4 + 60] = {0, 0, 0, 60};

	for (size_t i = 0; i < 60; i++)
		raw[4 + i] = byte_of(i);
	desc(f, RX, 0, DATA, 2000, WRITE, 0);
	offer(f, RX, 0);
	for (size_t i = 0; i < sizeof(raw); i++) {
		assert_int_equal(serve(f, RX), 0);
		assert_int_equal(write(f->peer, raw + i, 1), 1);
	}
	assert_int_equal(serve(f, RX), 1);
	assert_frame(at(f, DATA + NET_HEADER), 0, 60);
}

static void readable_buffer_breaks_it(void **state)
{
	struct fake *f = *state;

	desc(f, RX, 0, DATA, 2000, 0, 0);
	offer(f, RX, 0);
	peer_sends(f, 100);
	assert_int_equal(serve(f, RX), 0);
	assert_true(broken(f));
	assert_int_equal(serve(f, RX), 0);
}

static void header_without_room_breaks_it(void **state)
{
	struct fake *f = *state;

	desc(f, RX, 0, DATA, 11, WRITE, 0);
	offer(f, RX, 0);
	peer_sends(f, 100);
	assert_int_equal(serve(f, RX), 0);
	assert_true(broken(f));
}

/* The second of two chains is one too many for memory: nothing of the first is told */
static void loop_in_the_middle_of_a_frame(void **state)
{
	struct fake *f = *state;

	desc(f, RX, 0, DATA, 40, WRITE, 0);
	desc(f, RX, 1, DATA, 40, WRITE | NEXT, 1);
	offer(f, RX, 0);
	offer(f, RX, 1);
	peer_sends(f, 100);
	assert_int_equal(serve(f, RX), 0);
	assert_true(broken(f));
	assert_int_equal(used(f, RX), 0);
}

static void assert_link_down(struct fake *f)
{
	assert_int_equal(serve(f, RX), 0);
	assert_true(atomic_load(&f->net->gone));
	assert_int_equal(get_le16(f->v.dev.config + 6), 0);
	assert_int_equal(virtio_take_isr(&f->v.dev) & LINE_CONFIG, LINE_CONFIG);
	assert_false(broken(f));
	assert_int_equal(serve(f, RX), 0);
	assert_int_equal(f->v.dev.queue[RX].events, 0); /* not awake for ever */
	assert_int_equal(virtio_take_isr(&f->v.dev), 0);
}

static void other_end_goes_away(void **state)
{
	struct fake *f = *state;

	assert_int_equal(get_le16(f->v.dev.config + 6), 1);
	(void)close(f->peer);
	f->peer = -1;
	assert_link_down(f);
	/* What the guest sends now is dropped */
	desc(f, TX, 0, DATA, 12 + 60, 0, 0);
	offer(f, TX, 0);
	assert_int_equal(serve(f, TX), 1);
	assert_int_equal(atomic_load(&f->v.tx_dropped), 1);
}

static void lengths_that_cannot_be(void **state)
{
	static const uint32_t lengths[] = {0, 13, NET_FRAME_MAX + 1, UINT32_MAX};

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint8_t raw[4];
		struct fake *f;

		(void)end(state);
		assert_int_equal(start(state), 0);
		f = *state;
		put_be32(raw, lengths[i]);
		assert_int_equal(write(f->peer, raw, 4), 4);
		desc(f, RX, 0, DATA, 2000, WRITE, 0);
		offer(f, RX, 0);
		assert_link_down(f);
	}
}

/* ---- from the guest */

static void guest_sends(struct fake *f, uint32_t len)
{
	memset(at(f, DATA), 0, NET_HEADER);
	for (size_t i = 0; i < len; i++)
		*at(f, DATA + NET_HEADER + i) = byte_of(i);
	desc(f, TX, 0, DATA, 7, NEXT, 1); /* the header in two parts */
	desc(f, TX, 1, DATA + 7, len + NET_HEADER - 7, 0, 0);
	offer(f, TX, 0);
}

static void assert_received(struct fake *f, uint32_t len)
{
	uint8_t prefix[4], *raw = malloc(len);

	assert_non_null(raw);
	assert_int_equal(recv(f->peer, prefix, 4, MSG_WAITALL), 4);
	assert_int_equal(get_be32(prefix), len);
	assert_int_equal(recv(f->peer, raw, len, MSG_WAITALL), len);
	assert_frame(raw, 0, len);
	free(raw);
}

static void assert_silence(struct fake *f)
{
	uint8_t byte;

	assert_int_equal(recv(f->peer, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static void guest_frames_arrive(void **state)
{
	struct fake *f = *state;

	guest_sends(f, 60);
	assert_int_equal(serve(f, TX), 1);
	assert_int_equal(used(f, TX), 1);
	assert_received(f, 60);
	guest_sends(f, 14);
	assert_int_equal(serve(f, TX), 1);
	assert_received(f, 14);
	guest_sends(f, 65535);
	assert_int_equal(serve(f, TX), 1);
	assert_received(f, 65535);
	assert_silence(f);
	assert_int_equal(atomic_load(&f->v.tx_packets), 3);
	assert_int_equal(atomic_load(&f->v.tx_bytes), 60 + 14 + 65535);
	assert_int_equal(virtio_take_isr(&f->v.dev), LINE_QUEUE);
}

static void guest_frames_of_no_size(void **state)
{
	struct fake *f = *state;
	static const uint32_t lengths[] = {13, 1, 65536, 3 << 20};

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		guest_sends(f, lengths[i]);
		assert_int_equal(serve(f, TX), 1);
		assert_int_equal(used(f, TX), i + 1);
	}
	assert_silence(f);
	assert_int_equal(atomic_load(&f->v.tx_dropped), 4);
	assert_false(broken(f));
	desc(f, TX, 0, DATA, 11, 0, 0);
	offer(f, TX, 0);
	assert_int_equal(serve(f, TX), 0);
	assert_true(broken(f));
}

/* A stream carries frames alone: what was not offered is not done */
static void offloads_that_were_not_offered(void **state)
{
	struct fake *f = *state;

	assert_int_equal(f->v.dev.features & 0x1983, 0);
	for (unsigned i = 0; i < 3; i++) {
		guest_sends(f, 60);
		*at(f, DATA + (i == 0 ? NH_FLAGS : NH_GSO)) = (uint8_t)(i == 2 ? 0x81 : 1);
		assert_int_equal(serve(f, TX), 1);
	}
	assert_silence(f);
	assert_int_equal(atomic_load(&f->v.tx_dropped), 3);
}

/* The other end takes its time: nothing is lost, torn or out of order */
static void full_socket(void **state)
{
	struct fake *f = *state;
	int small = 1;
	unsigned waits = 0;

	(void)setsockopt(f->net->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	for (unsigned i = 0; i < 50; i++) {
		guest_sends(f, 30000 + i);
		if (serve(f, TX) == 0) {
			waits++;
			assert_int_equal(f->v.dev.queue[TX].events, POLLOUT);
		}
		/* What was sent in part is finished by the next turn: here one byte at a time would do too */
		for (unsigned left = 30000 + i + 4, at_byte = 0; left;) {
			uint8_t piece[5000];
			size_t most = left < sizeof(piece) ? left : sizeof(piece);
			ssize_t n = recv(f->peer, piece, most, MSG_DONTWAIT);

			if (n < 0) {
				/* The device is at it: either in its ring or behind the part that was taken */
				desc(f, TX, 4, DATA, NET_HEADER + 1, 0, 0);
				if (!f->v.dev.queue[TX].events)
					offer(f, TX, 4); /* dropped, but it makes the device look */
				(void)serve(f, TX);
				continue;
			}
			for (ssize_t k = 0; k < n; k++, at_byte++)
				if (at_byte >= 4)
					assert_int_equal(piece[k], byte_of(at_byte - 4));
			left -= (unsigned)n;
		}
	}
	assert_int_equal(atomic_load(&f->v.tx_packets), 50);
	assert_silence(f);
	(void)waits;
}

/* ---- with threads, as a machine has them */

static void nap(void)
{
	(void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void threads(void **state)
{
	struct fake *f = *state;

	assert_int_equal(virtio_start(&f->v.dev, NULL), 0);
	for (uint16_t i = 0; i < QSIZE; i++)
		desc(f, RX, i, DATA + 0x20000 + 0x1000U * i, 0x1000, WRITE, 0);
	for (uint16_t i = 0; i < 100; i++) {
		offer(f, RX, i % QSIZE);
		virtio_wake(&f->v.dev, RX);
		peer_sends(f, 1000U + i);
		while (used(f, RX) != i + 1)
			nap();
		assert_frame(at(f, DATA + 0x20000 + 0x1000U * (i % QSIZE) + NET_HEADER), 0,
			     1000U + i);
		guest_sends(f, 500U + i);
		virtio_wake(&f->v.dev, TX);
		assert_received(f, 500U + i);
		while (used(f, TX) != i + 1)
			nap();
	}
	/* Frames that nobody takes, and a reset: the threads sleep, and end */
	peer_sends(f, 100);
	virtio_set_status(&f->v.dev, 0);
	peer_sends(f, 100);
	nap();
}

static void macs(void **state)
{
	static const char *const bad[] = {"",
					  "52:54:00:12:34",
					  "52:54:00:12:34:5",
					  "52:54:00:12:34:56:",
					  "52-54-00-12-34-56",
					  "53:54:00:12:34:56",
					  "ff:ff:ff:ff:ff:ff",
					  "52:54:00:12:34:5g"};
	uint8_t mac[NET_MAC];

	(void)state;
	assert_int_equal(net_parse_mac("52:54:00:aB:34:56", mac, NULL), 0);
	assert_memory_equal(mac, "\x52\x54\x00\xab\x34\x56", 6);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(net_parse_mac(bad[i], mac, NULL), -1);
}

int main(void)
{
#define NET_TEST(name) cmocka_unit_test_setup_teardown(name, start, end)
	const struct CMUnitTest tests[] = {
		NET_TEST(frame_in_one_buffer),
		NET_TEST(frame_is_spread_over_buffers),
		NET_TEST(frame_waits_for_room),
		NET_TEST(frame_that_never_fits_is_dropped),
		NET_TEST(without_merging_one_buffer_has_to_do),
		NET_TEST(frames_come_in_pieces),
		NET_TEST(readable_buffer_breaks_it),
		NET_TEST(header_without_room_breaks_it),
		NET_TEST(loop_in_the_middle_of_a_frame),
		NET_TEST(other_end_goes_away),
		NET_TEST(lengths_that_cannot_be),
		NET_TEST(guest_frames_arrive),
		NET_TEST(guest_frames_of_no_size),
		NET_TEST(offloads_that_were_not_offered),
		NET_TEST(full_socket),
		NET_TEST(threads),
		cmocka_unit_test(macs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
