/* The test guest as an attacker: every virtio device gets rings that are right, nearly right and wrong, which change while they are
 * served, and registers with anything in them. The numbers are a function of the seed.
 *
 * Only what would end this guest itself is left out: devices write to its rings and buffers, not to its code, and messages of
 * interrupts carry plain vectors, which wait, since interrupts are off.
 */
#include "tests/guest/virtio.h"

enum {
	RINGS = 0x300000, /* queue after queue: descriptors, available, used, a page each */
	RING_SPACE = 0x4000,
	TABLES = 0x380000, /* of indirect descriptors */
	WORDS = 0x400000,  /* what devices read: small numbers, and some that are not */
	WORDS_LEN = 0x8000,
	BUFFERS = 0x500000, /* what they write */
	BUFFERS_LEN = 0x200000,
	QUEUES = 16,
	DEVICES = 16,
	DESCS = 16, /* of a table that are written anew */
};
enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };
enum { NET = 1, DISK = 2, CONSOLE = 3, RNG = 4, FS = 26 };

static uint64_t state;
static uint16_t offered[QUEUES], size[QUEUES];

static uint32_t any(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16);
}

static uint32_t below(uint32_t n)
{
	return any() % n;
}

static int one_in(uint32_t n)
{
	return below(n) == 0;
}

static uint32_t word(void)
{
	static const uint32_t odd[] = {0xffffffff, 0x80000000, 0x7fffffff, 0xffff,
				       0x10000,	   512,	       4096};

	return one_in(4) ? any() : one_in(4) ? odd[below(sizeof(odd) / sizeof(odd[0]))] : below(60);
}

static void fill_words(void)
{
	for (unsigned i = 0; i < WORDS_LEN; i += 4)
		AT(uint32_t, WORDS + i) = word();
}

/* ---- rings */

static uint64_t buffer(int write)
{
	switch (below(24)) {
	case 0:
		return 0xffffffffffffff00 | below(256);
	case 1:
		return 0x7ffff0 + below(32); /* around the end of memory */
	case 2:
		return (uint64_t)any() << 32 | any();
	case 3:
		return 0xe0000000 + below(0x20000); /* devices' own registers */
	default:
		return write ? BUFFERS + below(BUFFERS_LEN / 2) : WORDS + 4 * below(WORDS_LEN / 8);
	}
}

static uint32_t length(void)
{
	switch (below(16)) {
	case 0:
		return 0;
	case 1:
		return any();
	case 2:
		return 0xffffffff - below(16);
	case 3:
	case 4:
		return below(BUFFERS_LEN / 2);
	default:
		return 1 + below(one_in(2) ? 24 : 4096);
	}
}

static void put_desc(uint64_t at, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	AT(uint64_t, at) = addr;
	AT(uint32_t, at + 8) = len;
	AT(uint16_t, at + 12) = flags;
	AT(uint16_t, at + 14) = next;
}

static void random_desc(uint64_t table, unsigned i, unsigned n)
{
	int write = one_in(2);
	uint16_t flags = (uint16_t)(write ? WRITE : 0);

	if (!one_in(3))
		flags |= NEXT;
	if (one_in(40))
		flags |= INDIRECT;
	put_desc(table + 16 * i, buffer(write), length(), flags,
		 (uint16_t)(one_in(8) ? any() : below(n)));
}

/* A header as a driver writes it, at @at, @len bytes of which are read */
static void make_header(const struct vdev *d, uint64_t at, uint32_t len)
{
	static const uint8_t disk_types[] = {0, 1, 0, 1, 4, 8, 11, 13};
	static const char names[] = "file\0link\0..\0big\0new\0link/secret\0.\0../outside\0";

	if (d->id == DISK) {
		AT(uint32_t, at) = disk_types[below(sizeof(disk_types))];
		AT(uint64_t, at + 8) = one_in(8) ? any() : below(2048);
	} else if (d->id == NET) {
		AT(uint64_t, at) = one_in(4) ? any() : 0;
	} else if (d->id == FS) {
		AT(uint32_t, at) = one_in(10) ? word() : len;
		AT(uint32_t, at + 4) = one_in(6) ? 26 : below(54);
		AT(uint64_t, at + 16) = one_in(6) ? any() : 1 + below(4);
		for (unsigned i = 0, k = below(sizeof(names)); one_in(2) && i < 48; i++)
			AT(uint8_t, at + 40 + i) =
				(uint8_t)(k + i < sizeof(names) ? names[k + i] : 0);
	}
}

/* What the device of this queue reads, then what it writes, as drivers have it: one header, data, a status */
static void shaped_chain(const struct vdev *d, unsigned queue, uint64_t table, unsigned first,
			 unsigned last)
{
	int from_device = d->id == RNG || ((d->id == NET || d->id == CONSOLE) && queue % 2 == 0);
	int to_device = (d->id == NET || d->id == CONSOLE) && queue % 2;
	unsigned readable = from_device ? first
			    : to_device ? last + 1
					: first + 1 + below(last - first);
	uint64_t header = WORDS + 8 * below(WORDS_LEN / 16);
	uint32_t len = d->id == FS ? 40 + 8 * below(12) : d->id == DISK ? 16 : 12;

	make_header(d, header, len);
	for (unsigned i = first; i <= last; i++) {
		uint64_t data = i < readable ? WORDS + 4 * below(WORDS_LEN / 8)
					     : BUFFERS + below(BUFFERS_LEN / 2);
		uint16_t flags = (uint16_t)((i < last ? NEXT : 0) | (i < readable ? 0 : WRITE));
		uint32_t n = d->id == DISK && i == last ? 1 : 512 * (1 + below(8));

		put_desc(table + 16 * i, i == first && !from_device ? header : data,
			 i == first && !from_device ? len : n, flags, (uint16_t)(i + 1));
	}
}

static void fill(const struct vdev *d, unsigned queue)
{
	uint64_t ring = RINGS + (uint64_t)RING_SPACE * queue, table = ring;
	unsigned n = size[queue] && size[queue] < DESCS ? size[queue] : DESCS;

	if (one_in(4)) { /* the real table names another */
		table = TABLES + 0x400 * below(16);
		put_desc(ring + 16 * below(n), table, one_in(10) ? any() : 16 * DESCS, INDIRECT, 0);
	}
	if (one_in(5))
		for (unsigned i = 0; i < n; i++)
			random_desc(table, i, n);
	else
		for (unsigned i = 0; i + 3 < n; i += 4)
			shaped_chain(d, queue, table, i, i + 1 + below(3));
	for (unsigned i = 1 + below(4); i; i--, offered[queue]++)
		AT(uint16_t,
		   ring + 0x1004 +
			   2 * (offered[queue] & (size[queue] ? size[queue] - 1 : 0xff) & 0xff)) =
			(uint16_t)(one_in(60) ? any() : 4 * below(n / 4));
	AT(uint16_t, ring + 0x1000) = (uint16_t)one_in(4);
	__sync_synchronize();
	AT(uint16_t, ring + 0x1002) = (uint16_t)(one_in(100) ? any() : offered[queue]);
}

/* ---- registers */

static void set_queue(const struct vdev *d, unsigned queue)
{
	uint64_t ring = RINGS + (uint64_t)RING_SPACE * queue;
	int bad = one_in(60);

	for (unsigned i = 0; i < 0x3000; i += 512)
		AT(uint64_t, ring + i) = 0;
	AT(uint16_t, ring + 0x1000) = AT(uint16_t, ring + 0x1002) = 0;
	offered[queue] = 0;
	size[queue] = (uint16_t)(bad ? any() : 1U << (3 + below(6)));
	AT(uint16_t, d->common + 0x16) = (uint16_t)queue;
	AT(uint16_t, d->common + 0x18) = size[queue];
	AT(uint64_t, d->common + 0x20) = bad && one_in(2) ? buffer(1) : ring;
	AT(uint32_t, d->common + 0x28) = (uint32_t)(bad && one_in(2) ? buffer(1) : ring + 0x1000);
	AT(uint32_t, d->common + 0x2c) = bad ? any() : 0;
	AT(uint64_t, d->common + 0x30) = bad && one_in(2) ? buffer(1) : ring + 0x2000;
	AT(uint16_t, d->common + 0x1a) = (uint16_t)below(QUEUES);
	AT(uint16_t, d->common + 0x1c) = 1;
}

static void start(const struct vdev *d)
{
	uint32_t mask = one_in(2) ? 0xffffffff : any(), queues;

	AT(uint8_t, d->common + 0x14) = 0;
	AT(uint8_t, d->common + 0x14) = 3;
	for (unsigned half = 0; half < 2; half++) {
		uint32_t features;

		AT(uint32_t, d->common) = half;
		features = AT(uint32_t, d->common + 4);
		AT(uint32_t, d->common + 8) = half;
		AT(uint32_t, d->common + 12) = one_in(30) ? any() : half ? 1 : features & mask;
	}
	AT(uint8_t, d->common + 0x14) = 11;
	queues = AT(uint16_t, d->common + 0x12);
	for (unsigned i = 0; i < queues && i < QUEUES; i++)
		set_queue(d, i);
	AT(uint8_t, d->common + 0x14) = 15;
}

static void message(const struct vdev *d)
{
	uint64_t entry = d->bars[1] + 16 * below(40);

	AT(uint32_t, entry) = 0xfee00000;
	AT(uint32_t, entry + 4) = 0;
	AT(uint32_t, entry + 8) = 0x20 + below(0xd0);
	AT(uint32_t, entry + 12) = below(2);
	outl(0xcf8, 0x80000000 | d->slot << 11 | d->msix);
	outw(0xcfe, (uint16_t)(any() & 0xc000));
}

static void registers(const struct vdev *d)
{
	uint64_t at = d->bars[0] + below(0x3000);

	switch (below(7)) {
	case 0:
		AT(uint8_t, at) = (uint8_t)any();
		break;
	case 1:
		AT(uint16_t, at & ~UINT64_C(1)) = (uint16_t)any();
		break;
	case 2:
		AT(uint32_t, d->common + 4 * below(14)) = any();
		break;
	case 3:
		(void)AT(uint64_t, at & ~UINT64_C(7));
		break;
	case 4: /* the window in the configuration space */
		pci_config_write(d->slot, 0x40 + 4 * below(48), any());
		(void)pci_config(d->slot, 0x40 + 4 * below(48));
		break;
	case 5: /* moved away, looked for, and back */
		pci_config_write(d->slot, 0x10, one_in(2) ? any() : 0xffffffff);
		(void)AT(uint32_t, d->common);
		pci_config_write(d->slot, 0x10, (uint32_t)d->bars[0]);
		break;
	default:
		message(d);
		break;
	}
	if (one_in(4))
		pci_config_write(d->slot, 4, 7);
}

static void attack(const struct vdev *d)
{
	unsigned queues = AT(uint16_t, d->common + 0x12), queue = below(one_in(8) ? QUEUES
									: queues  ? queues
										  : 1);

	if (one_in(20) || ((AT(uint8_t, d->common + 0x14) & 0x40) && !one_in(4)))
		start(d);
	if (one_in(8))
		registers(d);
	if (one_in(40))
		fill_words();
	fill(d, queue);
	AT(uint16_t, d->notify + 4 * (uint64_t)queue) = (uint16_t)queue;
	if (one_in(3)) /* and once more, while it is served */
		fill(d, queue);
	(void)AT(uint8_t, d->isr);
}

static uint64_t number(const char **s)
{
	uint64_t v = 0;

	while (**s >= '0' && **s <= '9')
		v = v * 10 + (uint64_t)(*(*s)++ - '0');
	if (**s == ':')
		(*s)++;
	return v;
}

void hostile(const char *what)
{
	static struct vdev devices[DEVICES];
	unsigned n = 0;
	uint64_t rounds;

	state = number(&what) * UINT64_C(0x9e3779b97f4a7c15) + 1;
	rounds = number(&what);
	while (n < DEVICES && virtio_find(0, n, &devices[n]))
		n++;
	put("attacking");
	for (unsigned i = 0; i < n; i++) {
		put(" ");
		put_number(devices[i].id);
	}
	put("\n");
	fill_words();
	/* One at a time is set up well: they share the rings */
	for (uint64_t r = 0; r < rounds; r++) {
		const struct vdev *d = &devices[r / 32 % n];

		if (r % 32 == 0)
			start(d);
		attack(d);
		if (r % 32 == 31)
			AT(uint8_t, d->common + 0x14) = 0;
	}
	put("survived\n");
}
