/* Virtio's registers in a PCI BAR (VIRTIO 1.2, 4.1): common, notify, ISR and device configuration in BAR 0, MSI-X in BAR 1. */
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/runner/virtio.h"

enum {
	BAR_REGS = 0,
	BAR_MSIX = 1,
	BAR_SIZE = 0x4000,
	PART = 0x1000, /* each of the four lies in a page of its own */
	AT_COMMON = 0,
	AT_ISR = 0x1000,
	AT_DEVICE = 0x2000,
	AT_NOTIFY = 0x3000,
	NOTIFY_STRIDE = 4,
	COMMON_LEN = 0x38,
	KICKS_FOR_A_DOOR = 32,
	CAP_VENDOR = 9,
	CFG_COMMON = 1,
	CFG_NOTIFY = 2,
	CFG_ISR = 3,
	CFG_DEVICE = 4,
	CFG_PCI = 5,
	ISR_QUEUE = 1,
	ISR_CONFIG = 2,
};

/* struct virtio_pci_common_cfg */
enum common {
	C_FEATURE_SELECT = 0x00,
	C_FEATURE = 0x04,
	C_DRIVER_FEATURE_SELECT = 0x08,
	C_DRIVER_FEATURE = 0x0c,
	C_CONFIG_VECTOR = 0x10,
	C_NUM_QUEUES = 0x12,
	C_STATUS = 0x14,
	C_GENERATION = 0x15,
	C_QUEUE_SELECT = 0x16,
	C_QUEUE_SIZE = 0x18,
	C_QUEUE_VECTOR = 0x1a,
	C_QUEUE_ENABLE = 0x1c,
	C_QUEUE_NOTIFY_OFF = 0x1e,
	C_QUEUE_DESC = 0x20,
	C_QUEUE_AVAIL = 0x28,
	C_QUEUE_USED = 0x30,
};

static struct virtio_dev *of_pci(struct pci_dev *p)
{
	return (struct virtio_dev *)(void *)p; /* its first member */
}

/* With the lock held */
static void put_queue(struct virtio_dev *d, uint8_t *raw)
{
	struct virtio_queue *q;

	if (d->queue_select >= d->queues)
		return; /* size 0: there is none */
	q = &d->queue[d->queue_select];
	(void)pthread_mutex_lock(&q->lock);
	put_le16(raw + C_QUEUE_SIZE, q->ring.size);
	put_le16(raw + C_QUEUE_VECTOR, (uint16_t)atomic_load(&q->vector));
	put_le16(raw + C_QUEUE_ENABLE, q->ring.enabled);
	put_le16(raw + C_QUEUE_NOTIFY_OFF, (uint16_t)q->index);
	put_le64(raw + C_QUEUE_DESC, q->ring.desc);
	put_le64(raw + C_QUEUE_AVAIL, q->ring.avail);
	put_le64(raw + C_QUEUE_USED, q->ring.used);
	(void)pthread_mutex_unlock(&q->lock);
}

static uint64_t common_read(struct virtio_dev *d, uint32_t off, unsigned size)
{
	uint8_t raw[COMMON_LEN] = {0};
	uint64_t v = 0;

	if (!range_inside(off, size, sizeof(raw)))
		return 0;
	(void)pthread_mutex_lock(&d->lock);
	put_le32(raw + C_FEATURE_SELECT, d->feature_select);
	if (d->feature_select < 2)
		put_le32(raw + C_FEATURE, (uint32_t)(d->features >> 32 * d->feature_select));
	put_le32(raw + C_DRIVER_FEATURE_SELECT, d->driver_feature_select);
	if (d->driver_feature_select < 2)
		put_le32(raw + C_DRIVER_FEATURE,
			 (uint32_t)(d->driver_features >> 32 * d->driver_feature_select));
	put_le16(raw + C_CONFIG_VECTOR, (uint16_t)atomic_load(&d->config_vector));
	put_le16(raw + C_NUM_QUEUES, (uint16_t)d->queues);
	raw[C_STATUS] = (uint8_t)atomic_load(&d->status);
	put_le16(raw + C_QUEUE_SELECT, d->queue_select);
	put_queue(d, raw);
	(void)pthread_mutex_unlock(&d->lock);
	memcpy(&v, raw + off, size);
	return le64toh(v);
}

static void set_half(uint64_t *v, unsigned half, uint32_t value)
{
	uint64_t mask = UINT64_C(0xffffffff) << 32 * half;

	*v = (*v & ~mask) | (uint64_t)value << 32 * half;
}

static uint16_t valid_vector(const struct virtio_dev *d, uint64_t v)
{
	return v < d->pci.msix.vectors ? (uint16_t)v : VIRTIO_NO_VECTOR;
}

/* One of the three addresses, whole or by halves */
static void write_address(struct virtq *ring, uint32_t off, unsigned size, uint64_t value)
{
	uint64_t *to = off < C_QUEUE_AVAIL  ? &ring->desc
		       : off < C_QUEUE_USED ? &ring->avail
					    : &ring->used;

	if (size == 8 && off % 8 == 0)
		*to = value;
	else if (size == 4 && off % 4 == 0)
		set_half(to, off % 8 / 4, (uint32_t)value);
}

/* With the lock held: what belongs to the selected queue. An enabled queue's rings stay where they are. */
static void queue_write(struct virtio_dev *d, uint32_t off, unsigned size, uint64_t value)
{
	struct virtio_queue *q;

	if (d->queue_select >= d->queues)
		return;
	q = &d->queue[d->queue_select];
	if (off == C_QUEUE_ENABLE && size == 2) {
		if (value == 1 && (atomic_load(&d->status) & VIRTIO_FEATURES_OK))
			virtio_enable_queue(d);
		return;
	}
	if (off == C_QUEUE_VECTOR && size == 2) {
		atomic_store(&q->vector, valid_vector(d, value));
		return;
	}
	(void)pthread_mutex_lock(&q->lock);
	if (!q->ring.enabled) {
		if (off == C_QUEUE_SIZE && size == 2)
			q->ring.size = (uint16_t)value;
		else if (off >= C_QUEUE_DESC && off < COMMON_LEN)
			write_address(&q->ring, off, size, value);
	}
	(void)pthread_mutex_unlock(&q->lock);
}

static void common_write(struct virtio_dev *d, uint32_t off, unsigned size, uint64_t value)
{
	if (off == C_STATUS) {
		if (size == 1)
			virtio_set_status(d, (uint8_t)value);
		return;
	}
	(void)pthread_mutex_lock(&d->lock);
	if (off == C_FEATURE_SELECT && size == 4)
		d->feature_select = (uint32_t)value;
	else if (off == C_DRIVER_FEATURE_SELECT && size == 4)
		d->driver_feature_select = (uint32_t)value;
	else if (off == C_DRIVER_FEATURE && size == 4) {
		/* Settled once FEATURES_OK is set */
		if (d->driver_feature_select < 2 && !(atomic_load(&d->status) & VIRTIO_FEATURES_OK))
			set_half(&d->driver_features, d->driver_feature_select, (uint32_t)value);
	} else if (off == C_CONFIG_VECTOR && size == 2)
		atomic_store(&d->config_vector, valid_vector(d, value));
	else if (off == C_QUEUE_SELECT && size == 2)
		d->queue_select = (uint16_t)value;
	else if (off >= C_QUEUE_SIZE)
		queue_write(d, off, size, value);
	(void)pthread_mutex_unlock(&d->lock);
}

static uint64_t device_read(struct virtio_dev *d, uint32_t off, unsigned size)
{
	uint64_t v = 0;

	(void)pthread_mutex_lock(&d->lock);
	if (range_inside(off, size, d->config_len))
		memcpy(&v, d->config + off, size);
	(void)pthread_mutex_unlock(&d->lock);
	return le64toh(v);
}

unsigned virtio_take_isr(struct virtio_dev *d)
{
	unsigned isr;

	(void)pthread_mutex_lock(&d->intx_lock);
	isr = d->isr;
	d->isr = 0;
	if (isr)
		pci_intx(&d->pci, false);
	(void)pthread_mutex_unlock(&d->intx_lock);
	return isr;
}

/* With the bus lock: the guest moves the registers, or hides them. To take a door away costs 8 ms (a grace period of
 * KVM's, 2026-11-26), so that is all that it is done for: one that a reset device keeps wakes a thread that finds nothing. */
static void moved(struct pci_dev *p)
{
	struct virtio_dev *d = of_pci(p);

	for (unsigned i = 0; i < d->queues; i++) {
		struct virtio_queue *q = &d->queue[i];

		if (q->door)
			(void)door_set(p->bus->doors, q->door, q->kick, false);
		q->door = 0;
		atomic_store(&q->kicks, 0);
	}
}

static void make_door(struct virtio_dev *d, struct virtio_queue *q)
{
	uint64_t base, at;

	(void)pthread_mutex_lock(&d->pci.bus->lock);
	base = pci_bar_place(&d->pci, BAR_REGS);
	at = base + AT_NOTIFY + (uint64_t)NOTIFY_STRIDE * q->index;
	if (base && !q->door && door_set(d->pci.bus->doors, at, q->kick, true))
		q->door = at;
	(void)pthread_mutex_unlock(&d->pci.bus->lock);
}

/* The driver notified a queue, and a vCPU left the guest for it. When that happens again and again it need not: but most
 * queues are hardly used, and older KVMs take milliseconds for each door. */
static void notified(struct virtio_dev *d, unsigned queue)
{
	virtio_wake(d, queue);
	if (queue < d->queues &&
	    atomic_fetch_add(&d->queue[queue].kicks, 1) + 1 == KICKS_FOR_A_DOOR)
		make_door(d, &d->queue[queue]);
}

static uint64_t bar_read(struct pci_dev *p, unsigned bar, uint32_t off, unsigned size)
{
	struct virtio_dev *d = of_pci(p);

	if (bar == BAR_MSIX)
		return msix_bar_read(&p->msix, off, size);
	switch (off & ~(PART - 1U)) {
	case AT_COMMON:
		return common_read(d, off - AT_COMMON, size);
	case AT_ISR:
		return off == AT_ISR ? virtio_take_isr(d) : 0;
	case AT_DEVICE:
		return device_read(d, off - AT_DEVICE, size);
	default:
		return 0;
	}
}

static void bar_write(struct pci_dev *p, unsigned bar, uint32_t off, unsigned size, uint64_t value)
{
	struct virtio_dev *d = of_pci(p);

	if (bar == BAR_MSIX)
		msix_bar_write(&p->msix, off, size, value);
	else if (off >= AT_NOTIFY)
		notified(d, (off - AT_NOTIFY) / NOTIFY_STRIDE);
	else if (off < AT_ISR)
		common_write(d, off, size, value);
	else if (off >= AT_DEVICE && d->type->config_write) {
		(void)pthread_mutex_lock(&d->lock);
		d->type->config_write(d, off - AT_DEVICE, size, value);
		(void)pthread_mutex_unlock(&d->lock);
	}
}

/* The window: bar, offset and length are in the capability, the data behind it. */
static bool window(struct virtio_dev *d, unsigned reg, unsigned size, unsigned *ret_bar,
		   uint32_t *ret_off)
{
	const uint8_t *cap = d->pci.config + d->cfg_cap;
	bool good;

	(void)pthread_mutex_lock(&d->pci.bus->lock);
	*ret_bar = cap[4];
	*ret_off = get_le32(cap + 8);
	good = reg == d->cfg_cap + 16 && get_le32(cap + 12) == size && *ret_bar < PCI_BARS &&
	       range_inside(*ret_off, size, d->pci.bar_size[*ret_bar]);
	(void)pthread_mutex_unlock(&d->pci.bus->lock);
	return good;
}

static uint32_t window_read(struct pci_dev *p, unsigned reg, unsigned size)
{
	unsigned bar;
	uint32_t off;

	return window(of_pci(p), reg, size, &bar, &off) ? (uint32_t)bar_read(p, bar, off, size) : 0;
}

static void window_write(struct pci_dev *p, unsigned reg, unsigned size, uint32_t value)
{
	unsigned bar;
	uint32_t off;

	if (window(of_pci(p), reg, size, &bar, &off))
		bar_write(p, bar, off, size, value);
}

static const struct pci_dev_ops ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.hook_read = window_read,
	.hook_write = window_write,
	.moved = moved,
};

static unsigned add_cap(struct pci_dev *p, uint8_t type, uint32_t off, uint32_t len,
			unsigned cap_len)
{
	unsigned at = pci_add_cap(p, CAP_VENDOR, cap_len);

	p->config[at + 2] = (uint8_t)cap_len;
	p->config[at + 3] = type;
	p->config[at + 4] = BAR_REGS;
	put_le32(p->config + at + 8, off);
	put_le32(p->config + at + 12, len);
	return at;
}

void virtio_pci_init(struct virtio_dev *d)
{
	struct pci_dev *p = &d->pci;
	unsigned at;

	pci_dev_init(p, 0x1af4, (uint16_t)(0x1040 + d->type->id), d->type->class_code, 0x1af4,
		     (uint16_t)(0x1040 + d->type->id));
	p->ops = &ops;
	pci_add_bar(p, BAR_REGS, BAR_SIZE);
	pci_add_msix(p, BAR_MSIX, d->queues + 1);
	(void)add_cap(p, CFG_COMMON, AT_COMMON, COMMON_LEN, 16);
	(void)add_cap(p, CFG_ISR, AT_ISR, 1, 16);
	(void)add_cap(p, CFG_DEVICE, AT_DEVICE, PART, 16);
	at = add_cap(p, CFG_NOTIFY, AT_NOTIFY, NOTIFY_STRIDE * VIRTIO_QUEUES_MAX, 20);
	put_le32(p->config + at + 16, NOTIFY_STRIDE);
	d->cfg_cap = add_cap(p, CFG_PCI, 0, 0, 20);
	p->mask[d->cfg_cap + 4] = 0xff;
	memset(p->mask + d->cfg_cap + 8, 0xff, 8);
	p->hook_start = d->cfg_cap + 16;
	p->hook_len = 4;
}

void virtio_raise(struct virtio_dev *d, int queue)
{
	unsigned vector =
		queue < 0 ? atomic_load(&d->config_vector) : atomic_load(&d->queue[queue].vector);

	if (msix_is_enabled(&d->pci.msix)) {
		if (vector != VIRTIO_NO_VECTOR)
			msix_raise(&d->pci.msix, vector);
		return;
	}
	(void)pthread_mutex_lock(&d->intx_lock);
	d->isr |= queue < 0 ? ISR_CONFIG : ISR_QUEUE;
	pci_intx(&d->pci, true);
	(void)pthread_mutex_unlock(&d->intx_lock);
}
