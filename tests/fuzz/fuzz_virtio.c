/* A hostile guest: registers of a virtio disk, a random number generator, a console, a network interface, a balloon or a vsock are
 * written, then rings and descriptors of its making are served.
 *
 * Input: a byte (bits 0 and 7: which device; bits 1 to 6: how many register writes, 63: a balloon or a vsock by bit 0, and how many
 * in the next byte), register writes of 8 bytes (bar, size as a power of
 * two, offset in 16 bits, value in 32), then guest memory from 0x1000 on: descriptors, at 0x2000 the available ring, at
 * 0x3000 the used ring, buffers. What lies from 0x8000 on is also what the other end of the network says.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libcommon/base/bytes.h"
#include "libcommon/image/image.h"
#include "libcommon/image/protocol.h"
#include "libcommon/runner/disk.h"
#include "libcommon/runner/virtio_balloon.h"
#include "libcommon/runner/virtio_blk.h"
#include "libcommon/runner/virtio_console.h"
#include "libcommon/runner/virtio_net.h"
#include "libcommon/runner/virtio_rng.h"
#include "libcommon/runner/virtio_vsock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	MEMORY = 2 << 20,
	USED_MEMORY = 0x20000,
	DESC = 0x1000,
	AVAIL = 0x2000,
	USED = 0x3000,
	QSIZE = 64,
	DISK = 1 << 16,
	STREAM = 0x8000,
	STREAM_MAX = 0x2000
};
enum { TURNS = 4 /* what waits for room, or for a reader, is looked at again */ };

static struct guest_memory mem;
static struct disk *disk;
static uint8_t content[DISK];

static void make_once(void)
{
	const struct image_open_opts opts = {.format = "raw"};
	struct image *img;
	struct bfile *file;

	for (size_t i = 0; i < sizeof(content); i++)
		content[i] = (uint8_t)(i / 7);
	if (guest_memory_create(&mem, MEMORY, NULL) < 0 ||
	    bfile_of_memory(&file, content, sizeof(content), NULL) < 0 ||
	    image_open_bfile(&img, file, &opts, NULL) < 0 ||
	    disk_open(&disk, img, DISK_EPHEMERAL, NULL) < 0)
		abort();
}

static void nothing(void *ctx)
{
	(void)ctx;
}

static bool never(void *ctx)
{
	(void)ctx;
	return false;
}

static void cannot_be(void *ctx, const struct err *err)
{
	(void)ctx;
	(void)err;
	abort(); /* /dev/null takes all */
}

/* Its streams never wait: what the guest offers is read into and written from */
static void make_console(struct virtio_console *c)
{
	static int in = -1, out = -1;

	if (in < 0)
		in = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	if (out < 0)
		out = open("/dev/null", O_WRONLY | O_CLOEXEC);
	memset(c, 0, sizeof(*c));
	if (in < 0 || out < 0 || virtio_console_init(c, in, out, out, &mem, NULL) < 0)
		abort();
	c->wake = nothing;
	c->give_up = never;
	c->failed = cannot_be;
	c->signal[c->signals++] = 15;
}

static int peer = -1;

static void make_net(struct virtio_net *v)
{
	int pair[2];
	struct net *net;

	memset(v, 0, sizeof(*v));
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 || net_open_fd(&net, pair[0], NULL) < 0 ||
	    virtio_net_init(v, net, &mem, NULL) < 0)
		abort();
	peer = pair[1];
}

/* Both ends talk: the other one has said its piece, and reads what it gets */
static void serve_net(struct virtio_dev *d, size_t said)
{
	static uint8_t heard[1 << 16];

	if (said && write(peer, guest_range(&mem, STREAM, said), said) < 0)
		abort();
	for (unsigned turn = 0; turn < TURNS; turn++) {
		for (unsigned i = 0; i < d->queues; i++)
			(void)virtio_serve(&d->queue[i]);
		while (recv(peer, heard, sizeof(heard), MSG_DONTWAIT) > 0)
			;
		if (turn == 1 && shutdown(peer, SHUT_WR) < 0)
			abort();
	}
}

static const uint8_t *registers(struct pci_bus *bus, struct pci_dev *p, unsigned n,
				const uint8_t *data, const uint8_t *end)
{
	for (; n && end - data >= 8; n--, data += 8) {
		unsigned bar = data[0] & 1, size = 1U << (data[1] & 3);
		uint32_t off = get_le16(data + 2), value = get_le32(data + 4);

		if (data[0] & 0x80) { /* configuration space instead */
			pci_port_write(bus, 0, 4, 0x80000000 | (off & 0xfc));
			pci_port_write(bus, 4, size > 4 ? 4 : size, value);
			(void)pci_port_read(bus, 4, size > 4 ? 4 : size);
		} else if (off + size <= p->bar_size[bar]) {
			p->ops->bar_write(p, bar, off, size, value);
			(void)p->ops->bar_read(p, bar, off, size);
		}
	}
	return data;
}

/* What a driver does, if the input did not. All queues have the same rings. */
static void enable(struct virtio_dev *d)
{
	d->driver_features |= VIRTIO_F_VERSION_1;
	d->driver_features &= d->features;
	virtio_set_status(d, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
	for (unsigned i = 0; i < d->queues; i++) {
		struct virtq *q = &d->queue[i].ring;

		if (q->enabled)
			continue;
		q->size = QSIZE;
		q->desc = DESC;
		q->avail = AVAIL;
		q->used = USED;
		if (!virtq_enable(q))
			abort();
	}
	virtio_set_status(d, VIRTIO_DRIVER_OK);
}

/* Its socket on the host is nobody's; ports that the guest asks for are nobody's either */
static struct virtio_vsock *make_vsock(void)
{
	static struct vsock *host;
	struct virtio_vsock *v;
	char path[80];

	if (!host) {
		(void)snprintf(path, sizeof(path), "/tmp/vmkit-fuzz-vsock.%d", (int)getpid());
		if (vsock_open(&host, path, NULL) < 0)
			abort();
		(void)unlink(path);
	}
	if (virtio_vsock_new(&v, host, 3, &mem, NULL) < 0)
		abort();
	return v;
}

static struct virtio_dev *make_other(bool is_vsock, struct virtio_vsock **ret_vsock)
{
	static struct virtio_balloon balloon;

	if (is_vsock) {
		*ret_vsock = make_vsock();
		return virtio_vsock_dev(*ret_vsock);
	}
	if (virtio_balloon_init(&balloon, &mem, NULL) < 0)
		abort();
	return &balloon.dev;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtio_vsock *vsock = NULL;
	unsigned writes;
	static struct virtio_blk blk;
	static struct virtio_dev rng;
	static struct virtio_console console;
	static struct virtio_net net;
	static const struct irq_sink nobody;
	const uint8_t *end = data + size;
	struct virtio_dev *d;
	struct pci_bus bus;
	unsigned flags;

	if (!disk)
		make_once();
	if (size < 1)
		return 0;
	flags = *data++;
	writes = flags >> 1 & 63;
	if (writes == 63)
		writes = data < end ? *data++ : 0;
	d = flags & 1 ? (flags & 0x80 ? &console.dev : &rng) : (flags & 0x80 ? &net.dev : &blk.dev);
	if ((flags >> 1 & 63) == 63)
		d = make_other(flags & 1, &vsock);
	else if (d == &console.dev)
		make_console(&console);
	else if (d == &net.dev)
		make_net(&net);
	else if ((d == &rng ? virtio_rng_init(&rng, &mem, NULL)
			    : virtio_blk_init(&blk, disk, 0, 2, &mem, NULL)) < 0)
		abort();
	pci_bus_init(&bus, &nobody);
	if (!pci_bus_add(&bus, &d->pci))
		abort();
	data = registers(&bus, &d->pci, writes, data, end);
	memset(guest_range(&mem, 0, USED_MEMORY), 0, USED_MEMORY);
	size = (size_t)(end - data) < USED_MEMORY - DESC ? (size_t)(end - data)
							 : USED_MEMORY - DESC;
	if (size)
		memcpy(guest_range(&mem, DESC, size), data, size);
	enable(d);
	if (d == &net.dev)
		serve_net(d, size <= STREAM - DESC		   ? 0
			     : size - (STREAM - DESC) < STREAM_MAX ? size - (STREAM - DESC)
								   : STREAM_MAX);
	for (unsigned i = 0; i < d->queues; i++)
		(void)virtio_serve(&d->queue[i]);
	if (vsock)
		virtio_vsock_free(vsock);
	else
		virtio_stop(d);
	if (d == &net.dev) {
		net_close(net.net);
		(void)close(peer);
	}
	return 0;
}
