/* Virtqueues and virtio-blk against a driver that lies: loops, indices and addresses out of range, chains that are too long,
 * requests that are too short. Also what an honest driver gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libcommon/base/bytes.h"
#include "libcommon/image/image.h"
#include "libcommon/image/protocol.h"
#include "libcommon/runner/disk.h"
#include "libcommon/runner/virtio_blk.h"

enum { SIZE = 4 << 20, DESC = 0x1000, AVAIL = 0x2000, USED = 0x3000, DATA = 0x10000, QSIZE = 8 };
enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };

struct fake {
	struct guest_memory mem;
	struct virtq q;
	struct virtq_chain chain;
};

static uint8_t *at(struct fake *f, uint64_t addr)
{
	return f->mem.region[0].host + addr;
}

static void desc(struct fake *f, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
		 uint16_t next)
{
	uint8_t *d = at(f, DESC + 16 * i);

	put_le64(d, addr);
	put_le32(d + 8, len);
	put_le16(d + 12, flags);
	put_le16(d + 14, next);
}

static void offer(struct fake *f, uint16_t head)
{
	uint16_t idx = get_le16(at(f, AVAIL + 2));

	put_le16(at(f, AVAIL + 4 + 2 * (idx % QSIZE)), head);
	put_le16(at(f, AVAIL + 2), (uint16_t)(idx + 1));
}

static int start(void **state)
{
	struct fake *f = calloc(1, sizeof(*f));

	if (!f || guest_memory_create(&f->mem, SIZE, NULL) < 0)
		return -1;
	f->q.mem = &f->mem;
	virtq_reset(&f->q);
	f->q.size = QSIZE;
	f->q.desc = DESC;
	f->q.avail = AVAIL;
	f->q.used = USED;
	*state = f;
	return virtq_enable(&f->q) ? 0 : -1;
}

static int end(void **state)
{
	struct fake *f = *state;

	guest_memory_destroy(&f->mem);
	free(f);
	return 0;
}

static void honest(void **state)
{
	struct fake *f = *state;

	assert_int_equal(virtq_pop(&f->q, &f->chain), 0);
	desc(f, 3, DATA, 16, NEXT, 5);
	desc(f, 5, DATA + 0x100, 512, NEXT | WRITE, 1);
	desc(f, 1, SIZE - 1, 1, WRITE, 0); /* the last byte of memory is good */
	offer(f, 3);
	assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	assert_int_equal(f->chain.head, 3);
	assert_int_equal(f->chain.readable, 1);
	assert_int_equal(f->chain.writable, 2);
	assert_int_equal(f->chain.writable_len, 513);
	assert_ptr_equal(f->chain.iov[2].iov_base, at(f, SIZE - 1));
	virtq_push(&f->q, f->chain.head, 513);
	assert_int_equal(get_le16(at(f, USED + 2)), 1);
	assert_int_equal(get_le32(at(f, USED + 4)), 3);
	assert_int_equal(get_le32(at(f, USED + 8)), 513);
	assert_int_equal(virtq_pop(&f->q, &f->chain), 0);
	assert_true(virtq_wants_interrupt(&f->q));
	put_le16(at(f, AVAIL), 1);
	assert_false(virtq_wants_interrupt(&f->q));
}

static void indices_wrap(void **state)
{
	struct fake *f = *state;

	desc(f, 0, DATA, 16, 0, 0);
	for (unsigned i = 0; i < 70000; i++) {
		offer(f, 0);
		assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
		virtq_push(&f->q, 0, 0);
	}
	assert_int_equal(get_le16(at(f, USED + 2)), (uint16_t)70000);
}

static void indirect(void **state)
{
	struct fake *f = *state;
	uint8_t *table = at(f, 0x8000);

	put_le64(table, DATA);
	put_le32(table + 8, 16);
	put_le16(table + 12, NEXT);
	put_le16(table + 14, 1);
	put_le64(table + 16, DATA);
	put_le32(table + 24, 8);
	put_le16(table + 28, WRITE);
	desc(f, 0, 0x8000, 32, INDIRECT, 0);
	offer(f, 0);
	assert_int_equal(virtq_pop(&f->q, &f->chain), 1);
	assert_int_equal(f->chain.readable, 1);
	assert_int_equal(f->chain.writable_len, 8);
	/* A table inside of a table */
	put_le16(table + 28, INDIRECT);
	offer(f, 0);
	assert_int_equal(virtq_pop(&f->q, &f->chain), -1);
}

/* Each of these breaks the queue, and it stays broken */
static void refused(struct fake *f)
{
	offer(f, 0);
	assert_int_equal(virtq_pop(&f->q, &f->chain), -1);
	desc(f, 0, DATA, 16, 0, 0);
	offer(f, 0);
	assert_int_equal(virtq_pop(&f->q, &f->chain), -1);
	assert_int_equal(get_le16(at(f, USED + 2)), 0);
}

#define HOSTILE(name, ...)                                                                         \
	static void name(void **state)                                                             \
	{                                                                                          \
		struct fake *f = *state;                                                           \
		__VA_ARGS__;                                                                       \
		refused(f);                                                                        \
	}

HOSTILE(loop_of_one, desc(f, 0, DATA, 16, NEXT, 0))
HOSTILE(loop_of_two, desc(f, 0, DATA, 16, NEXT, 1); desc(f, 1, DATA, 16, NEXT, 0))
HOSTILE(next_beyond_table, desc(f, 0, DATA, 16, NEXT, QSIZE))
HOSTILE(address_beyond_memory, desc(f, 0, SIZE, 1, 0, 0))
HOSTILE(end_beyond_memory, desc(f, 0, SIZE - 8, 9, 0, 0))
HOSTILE(address_wraps, desc(f, 0, UINT64_MAX - 7, 16, 0, 0))
HOSTILE(length_is_all_ones, desc(f, 0, DATA, UINT32_MAX, 0, 0))
HOSTILE(empty_part, desc(f, 0, DATA, 0, 0, 0))
HOSTILE(readable_after_writable, desc(f, 0, DATA, 16, NEXT | WRITE, 1); desc(f, 1, DATA, 16, 0, 0))
HOSTILE(indirect_with_next, desc(f, 0, 0x8000, 16, INDIRECT | NEXT, 1))
HOSTILE(indirect_of_odd_length, desc(f, 0, 0x8000, 17, INDIRECT, 0))
HOSTILE(indirect_empty, desc(f, 0, 0x8000, 0, INDIRECT, 0))
HOSTILE(indirect_longer_than_queue, desc(f, 0, 0x8000, 16 * (QSIZE + 1), INDIRECT, 0))
HOSTILE(indirect_beyond_memory, desc(f, 0, SIZE - 16, 32, INDIRECT, 0))
HOSTILE(indirect_loop, memset(at(f, 0x8000), 0, 32); put_le64(at(f, 0x8000), DATA);
	put_le32(at(f, 0x8008), 4); put_le16(at(f, 0x800c), NEXT);
	desc(f, 0, 0x8000, 32, INDIRECT, 0))

static void head_beyond_table(void **state)
{
	struct fake *f = *state;

	offer(f, 1000);
	assert_int_equal(virtq_pop(&f->q, &f->chain), -1);
}

static void more_available_than_fit(void **state)
{
	struct fake *f = *state;

	desc(f, 0, DATA, 16, 0, 0);
	put_le16(at(f, AVAIL + 2), QSIZE + 1);
	assert_int_equal(virtq_pop(&f->q, &f->chain), -1);
}

static void rings_are_checked_once(void **state)
{
	struct fake *f = *state;
	static const struct {
		uint16_t size;
		uint64_t desc, avail, used;
	} bad[] = {
		{0, DESC, AVAIL, USED},		  {7, DESC, AVAIL, USED},
		{512, DESC, AVAIL, USED},	  {8, DESC + 8, AVAIL, USED},
		{8, DESC, AVAIL + 1, USED},	  {8, DESC, AVAIL, USED + 2},
		{8, SIZE - 64, AVAIL, USED},	  {8, DESC, SIZE - 4, USED},
		{8, DESC, AVAIL, SIZE},		  {8, UINT64_MAX - 15, AVAIL, USED},
		{8, DESC, AVAIL, UINT64_MAX - 3},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		virtq_reset(&f->q);
		f->q.size = bad[i].size;
		f->q.desc = bad[i].desc;
		f->q.avail = bad[i].avail;
		f->q.used = bad[i].used;
		assert_false(virtq_enable(&f->q));
		assert_int_equal(virtq_pop(&f->q, &f->chain), 0);
	}
	/* An end exactly at the top of memory is good */
	f->q.size = 8;
	f->q.desc = SIZE - 128;
	f->q.avail = AVAIL;
	f->q.used = USED;
	assert_true(virtq_enable(&f->q));
}

/* ---- virtio-blk */

struct blk_fake {
	struct fake f;
	uint8_t data[8192];
	struct image *img;
	struct disk *disk;
	struct virtio_blk blk;
	struct pci_bus bus;
	struct irq_sink irq;
	unsigned raised;
};

static void count_line(void *ctx, unsigned gsi, bool high)
{
	struct blk_fake *b = ctx;

	assert_int_equal(gsi, pci_gsi(0));
	b->raised += high;
}

static int blk_start(void **state)
{
	struct blk_fake *b = calloc(1, sizeof(*b));
	const struct image_open_opts opts = {.format = "raw"};
	struct bfile *file;
	struct virtq *q;

	if (!b || guest_memory_create(&b->f.mem, SIZE, NULL) < 0)
		return -1;
	for (unsigned i = 0; i < sizeof(b->data); i++)
		b->data[i] = (uint8_t)(i / 512 + 1);
	if (bfile_of_memory(&file, b->data, sizeof(b->data), NULL) < 0 ||
	    image_open_bfile(&b->img, file, &opts, NULL) < 0 ||
	    disk_open(&b->disk, b->img, DISK_EPHEMERAL, NULL) < 0 ||
	    virtio_blk_init(&b->blk, b->disk, 3, 1, &b->f.mem, NULL) < 0)
		return -1;
	b->irq = (struct irq_sink){.line = count_line, .ctx = b};
	pci_bus_init(&b->bus, &b->irq);
	if (!pci_bus_add(&b->bus, &b->blk.dev.pci))
		return -1;
	q = &b->blk.dev.queue[0].ring;
	q->size = QSIZE;
	q->desc = DESC;
	q->avail = AVAIL;
	q->used = USED;
	atomic_store(&b->blk.dev.status, VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK);
	*state = b;
	return virtq_enable(q) ? 0 : -1;
}

static int blk_end(void **state)
{
	struct blk_fake *b = *state;

	virtio_stop(&b->blk.dev);
	disk_close(b->disk);
	image_close(b->img);
	guest_memory_destroy(&b->f.mem);
	free(b);
	return 0;
}

/* One request of header, data and status; Return: the status byte, 0xff when none was written */
static int ask(struct blk_fake *b, uint32_t type, uint64_t sector, uint32_t len, bool write)
{
	uint8_t *header = at(&b->f, 0x6000);

	put_le32(header, type);
	put_le32(header + 4, 0);
	put_le64(header + 8, sector);
	*at(&b->f, 0x7000) = 0xff;
	desc(&b->f, 0, 0x6000, 16, NEXT, len ? 1 : 2);
	desc(&b->f, 1, DATA, len, (uint16_t)(NEXT | (write ? 0 : WRITE)), 2);
	desc(&b->f, 2, 0x7000, 1, WRITE, 0);
	offer(&b->f, 0);
	(void)virtio_serve(&b->blk.dev.queue[0]);
	return *at(&b->f, 0x7000);
}

static void blk_reads_and_writes(void **state)
{
	struct blk_fake *b = *state;

	assert_int_equal(ask(b, 0, 2, 1024, false), 0);
	assert_memory_equal(at(&b->f, DATA), b->data + 1024, 1024);
	memset(at(&b->f, DATA), 0xaa, 512);
	assert_int_equal(ask(b, 1, 15, 512, true), 0);
	memset(at(&b->f, DATA), 0, 512);
	assert_int_equal(ask(b, 0, 15, 512, false), 0);
	assert_int_equal(*at(&b->f, DATA + 511), 0xaa);
	assert_int_equal(ask(b, 4, 0, 0, false), 0); /* flush */
	assert_int_equal(ask(b, 8, 0, 20, false), 0);
	assert_string_equal((char *)at(&b->f, DATA), "vmkit-3");
	assert_int_equal(ask(b, 99, 0, 0, false), 2);
	assert_int_equal(b->raised, 6); /* one interrupt a request, without MSI-X by the line */
	assert_int_equal(virtio_take_isr(&b->blk.dev), 1);
	assert_int_equal(virtio_take_isr(&b->blk.dev), 0);
}

static void blk_bounds(void **state)
{
	struct blk_fake *b = *state;

	assert_int_equal(ask(b, 0, 16, 512, false), 1);
	assert_int_equal(ask(b, 0, 15, 1024, false), 1);
	assert_int_equal(ask(b, 0, UINT64_MAX, 512, false), 1);
	assert_int_equal(ask(b, 0, UINT64_MAX / 512 + 1, 512, false),
			 1); /* times 512 it wraps to 0 */
	assert_int_equal(ask(b, 0, 0, 511, false), 1);
	assert_int_equal(ask(b, 0, 0, 0, false), 1);
	assert_int_equal(ask(b, 1, 16, 512, true), 1);
	assert_int_equal(ask(b, 1, 0, 513, true), 1);
	assert_int_equal(ask(b, 0, 0, 512, false), 0); /* still alive */
}

static void range_segment(struct blk_fake *b, unsigned i, uint64_t sector, uint32_t sectors,
			  uint32_t flags)
{
	uint8_t *p = at(&b->f, DATA + 16 * i);

	put_le64(p, sector);
	put_le32(p + 8, sectors);
	put_le32(p + 12, flags);
}

static void blk_zeroes_and_discards(void **state)
{
	struct blk_fake *b = *state;

	range_segment(b, 0, 1, 2, 1);
	range_segment(b, 1, 9, 1, 0);
	assert_int_equal(ask(b, 13, 0, 32, true), 0);
	assert_int_equal(ask(b, 0, 0, 8192, false), 0);
	for (unsigned s = 0; s < 16; s++)
		assert_int_equal(*at(&b->f, DATA + 512 * s + 7),
				 s == 1 || s == 2 || s == 9 ? 0 : s + 1);
	range_segment(b, 0, 0, 16, 0);
	assert_int_equal(ask(b, 11, 0, 16, true), 0);
	range_segment(b, 0, 15, 2, 0);
	assert_int_equal(ask(b, 11, 0, 16, true), 1); /* beyond the end */
	range_segment(b, 0, UINT64_MAX, UINT32_MAX, 0);
	assert_int_equal(ask(b, 13, 0, 16, true), 1);
	range_segment(b, 0, 0, 1, 2);
	assert_int_equal(ask(b, 13, 0, 16, true), 2); /* an unknown flag */
	assert_int_equal(ask(b, 13, 0, 15, true), 2); /* half a segment */
	assert_int_equal(ask(b, 13, 0, 16 * 33, true), 2);
}

static void blk_short_requests_break_it(void **state)
{
	struct blk_fake *b = *state;

	desc(&b->f, 0, 0x6000, 15, NEXT, 2);
	desc(&b->f, 2, 0x7000, 1, WRITE, 0);
	offer(&b->f, 0);
	assert_int_equal(virtio_serve(&b->blk.dev.queue[0]), 0);
	assert_true(atomic_load(&b->blk.dev.status) & VIRTIO_NEEDS_RESET);
	/* A reset heals it */
	virtio_set_status(&b->blk.dev, 0);
	assert_int_equal(atomic_load(&b->blk.dev.status), 0);
	assert_false(b->blk.dev.queue[0].ring.enabled);
	assert_int_equal(virtio_serve(&b->blk.dev.queue[0]), 0);
}

static void features_must_be_agreed(void **state)
{
	struct virtio_dev *d = &((struct blk_fake *)*state)->blk.dev;

	virtio_set_status(d, 0);
	virtio_set_status(d, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
	d->driver_features = UINT64_C(1) << 5 | VIRTIO_F_VERSION_1; /* read-only was not offered */
	virtio_set_status(d, 11);
	assert_false(atomic_load(&d->status) & VIRTIO_FEATURES_OK);
	d->driver_features = 0; /* a driver of before 1.0 */
	virtio_set_status(d, 11);
	assert_false(atomic_load(&d->status) & VIRTIO_FEATURES_OK);
	virtio_set_status(d, 15);
	assert_false(atomic_load(&d->status) & VIRTIO_DRIVER_OK);
	d->driver_features = VIRTIO_F_VERSION_1;
	virtio_set_status(d, 11);
	assert_int_equal(atomic_load(&d->status), 11);
}

int main(void)
{
#define HOSTILE_TEST(name) cmocka_unit_test_setup_teardown(name, start, end)
	const struct CMUnitTest tests[] = {
		HOSTILE_TEST(honest),
		HOSTILE_TEST(indices_wrap),
		HOSTILE_TEST(indirect),
		HOSTILE_TEST(loop_of_one),
		HOSTILE_TEST(loop_of_two),
		HOSTILE_TEST(next_beyond_table),
		HOSTILE_TEST(address_beyond_memory),
		HOSTILE_TEST(end_beyond_memory),
		HOSTILE_TEST(address_wraps),
		HOSTILE_TEST(length_is_all_ones),
		HOSTILE_TEST(empty_part),
		HOSTILE_TEST(readable_after_writable),
		HOSTILE_TEST(indirect_with_next),
		HOSTILE_TEST(indirect_of_odd_length),
		HOSTILE_TEST(indirect_empty),
		HOSTILE_TEST(indirect_longer_than_queue),
		HOSTILE_TEST(indirect_beyond_memory),
		HOSTILE_TEST(indirect_loop),
		HOSTILE_TEST(head_beyond_table),
		HOSTILE_TEST(more_available_than_fit),
		HOSTILE_TEST(rings_are_checked_once),
		cmocka_unit_test_setup_teardown(blk_reads_and_writes, blk_start, blk_end),
		cmocka_unit_test_setup_teardown(blk_bounds, blk_start, blk_end),
		cmocka_unit_test_setup_teardown(blk_zeroes_and_discards, blk_start, blk_end),
		cmocka_unit_test_setup_teardown(blk_short_requests_break_it, blk_start, blk_end),
		cmocka_unit_test_setup_teardown(features_must_be_agreed, blk_start, blk_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
