/* A saved machine's file from somebody else: its head, its description, its memory, its devices. Digests are made to fit, so that
 * what they guard is reached.
 *
 * Input: a byte; when it is odd the 56 bytes that the head has from its version to its length, and then what follows the head;
 * when it is even only the sections, behind 2 MiB of memory that is all zeros. A machine is made of it that has a disk, a
 * generator of random numbers and a shared folder.
 */
#include <linux/fuse.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libcommon/base/bytes.h"
#include "libcommon/image/image.h"
#include "libcommon/image/protocol.h"
#include "libcommon/runner/disk.h"
#include "libcommon/runner/share.h"
#include "libcommon/runner/state_machine.h"
#include "libcommon/runner/state_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	MEMORY = 2 << 20,
	MEMORY_MOST = 64 << 20,
	FIELDS = STATE_AT_SECTIONS_DIGEST - STATE_AT_VERSION,
	DISK = 1 << 16,
	REQUESTS = 4
};

static uint8_t content[DISK];
static char folder[64];

static void remove_folder(void)
{
	(void)rmdir(folder);
}

static void make_folder(void)
{
	const char *tmp = getenv("TMPDIR");

	(void)snprintf(folder, sizeof(folder), "%s/fuzz-state.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(folder))
		abort();
	(void)atexit(remove_folder);
}

static void put_digest(uint8_t *head, const void *data, size_t len, size_t at)
{
	char digest[DIGEST_HEX_MAX];

	if (state_digest(data, len, digest, NULL) < 0)
		abort();
	memcpy(head + at, digest, STATE_DIGEST);
}

/* Return: a descriptor of the file */
static int make_file(const uint8_t *data, size_t size, bool has_head)
{
	uint8_t head[STATE_HEAD] = STATE_MAGIC;
	uint64_t at = STATE_HEAD, off, len;
	int fd = memfd_create("state", MFD_CLOEXEC);

	if (has_head) {
		memcpy(head + STATE_AT_VERSION, data, FIELDS);
		data += FIELDS;
		size -= FIELDS;
	} else {
		put_le32(head + STATE_AT_VERSION, STATE_VERSION);
		put_le64(head + STATE_AT_GUEST, MEMORY);
		put_le64(head + STATE_AT_MEMORY, STATE_HEAD);
		put_le64(head + STATE_AT_MEMORY + 8, MEMORY);
		put_le64(head + STATE_AT_SECTIONS, STATE_HEAD + MEMORY);
		put_le64(head + STATE_AT_SECTIONS + 8, size);
		put_le64(head + STATE_AT_LENGTH, STATE_HEAD + MEMORY + size);
		at += MEMORY;
	}
	off = get_le64(head + STATE_AT_SECTIONS) - at;
	len = get_le64(head + STATE_AT_SECTIONS + 8);
	if (off <= size && len <= size - off)
		put_digest(head, data + off, (size_t)len, STATE_AT_SECTIONS_DIGEST);
	put_digest(head, head, STATE_AT_HEAD_DIGEST, STATE_AT_HEAD_DIGEST);
	if (fd < 0 || pwrite(fd, head, sizeof(head), 0) != sizeof(head) ||
	    pwrite(fd, data, size, (off_t)at) != (ssize_t)size)
		abort();
	return fd;
}

static struct disk *make_disk(struct image **ret)
{
	const struct image_open_opts opts = {.format = "raw"};
	struct bfile *file;
	struct disk *d;

	if (bfile_of_memory(&file, content, sizeof(content), NULL) < 0 ||
	    image_open_bfile(ret, file, &opts, NULL) < 0 ||
	    disk_open(&d, *ret, DISK_EPHEMERAL, NULL) < 0)
		abort();
	return d;
}

/* What its guest would do first */
static void use(struct machine *m, struct disk *disk, struct share *share)
{
	const struct fuse_getattr_in attr = {0};
	uint8_t sector[512], reply[256] = {0};

	(void)disk_read(disk, sector, 0, sizeof(sector), NULL);
	for (uint64_t node = 0; node < REQUESTS; node++) {
		struct {
			struct fuse_in_header h;
			struct fuse_getattr_in a;
		} in = {{.len = sizeof(in), .opcode = FUSE_GETATTR, .nodeid = node}, attr};
		struct iovec from = {&in, sizeof(in)}, to = {reply, sizeof(reply)};

		(void)share_serve(share, &from, 1, sizeof(in), &to, 1, sizeof(reply));
	}
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		struct virtio_dev *d = machine_virtio(m, slot);

		for (unsigned q = 0; d && q < d->queues; q++)
			if (atomic_load(&d->status) & VIRTIO_DRIVER_OK)
				(void)virtio_serve(&d->queue[q]);
	}
}

static void load(struct machine *m, const struct state *s)
{
	static const struct irq_sink nobody;
	static struct virtio_blk blk;
	static struct virtio_dev rng;
	static struct virtio_fs fs;
	struct share *share;
	struct image *img;
	struct disk *disk = make_disk(&img);

	if (share_open(&share, folder, false, SHARE_FDS_MIN, NULL) < 0)
		abort();
	pci_bus_init(&m->pci, &nobody);
	legacy_init(&m->legacy, &nobody);
	serial_init(&m->serial, &nobody);
	pci_dev_init(&m->bridge, 0x8086, 0x1237, 0x060000, 0x1af4, 0x1100);
	if (virtio_blk_init(&blk, disk, 0, 1, &m->mem, NULL) < 0 ||
	    virtio_rng_init(&rng, &m->mem, NULL) < 0 ||
	    virtio_fs_init(&fs, share, "tag", &m->mem, NULL) < 0)
		abort();
	(void)pci_bus_add(&m->pci, &m->bridge);
	(void)pci_bus_add(&m->pci, &blk.dev.pci);
	(void)pci_bus_add(&m->pci, &rng.pci);
	(void)pci_bus_add(&m->pci, &fs.dev.pci);
	(void)state_load_cpuid(&m->kvm, s, NULL);
	(void)disk_load_layer(disk, 0, s, NULL);
	if (state_load_devices(m, s, NULL) == 0)
		use(m, disk, share);
	virtio_stop(&blk.dev);
	virtio_stop(&rng);
	virtio_stop(&fs.dev);
	share_close(share);
	disk_close(disk);
	image_close(img);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct machine m;
	bool has_head = size && (data[0] & 1);
	struct state *s;
	char path[32];
	int fd;

	if (!folder[0])
		make_folder();
	if (size < 1 + (has_head ? FIELDS : 0U))
		return 0;
	fd = make_file(data + 1, size - 1, has_head);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (state_open(&s, path, NULL) == 0) {
		memset(&m, 0, sizeof(m));
		m.kvm.fd = m.kvm.vm = -1;
		if (s->memory <= MEMORY_MOST && state_memory(s, &m.mem, NULL) == 0) {
			load(&m, s);
			guest_memory_destroy(&m.mem);
		}
		state_close(s);
	}
	(void)close(fd);
	return 0;
}
