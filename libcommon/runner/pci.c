/* PCI configuration space and BARs: see pci.h. */
#include "libcommon/runner/pci.h"

#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"

enum {
	CAP_MSIX = 0x11,
	CONFIG_LINE = 0x3c,
	CONFIG_PIN = 0x3d,
	STATUS_CAPABILITIES = 0x10,
	HEADER_TYPE = 0x0e,
	HEADER_MANY = 0x80, /* functions */
	RESET_PORT = 1,	    /* 0xcf9, from 0xcf8 */
	RESET_BIT = 4,
};

void pci_bus_init(struct pci_bus *b, const struct irq_sink *irq)
{
	memset(b, 0, sizeof(*b));
	(void)pthread_mutex_init(&b->lock, NULL);
	b->irq = irq;
}

void pci_dev_init(struct pci_dev *d, uint16_t vendor, uint16_t device, uint32_t class_code,
		  uint16_t subsystem_vendor, uint16_t subsystem)
{
	memset(d, 0, sizeof(*d));
	(void)pthread_mutex_init(&d->msix.lock, NULL);
	put_le16(d->config, vendor);
	put_le16(d->config + 2, device);
	put_le32(d->config + 8, class_code << 8 | 1); /* revision 1 */
	put_le16(d->config + 0x2c, subsystem_vendor);
	put_le16(d->config + 0x2e, subsystem);
	put_le16(d->mask + PCI_REG_COMMAND,
		 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_NO_INTX);
	d->mask[0x0c] = 0xff; /* cache line size */
	d->mask[0x0d] = 0xff; /* latency timer */
	d->next_cap = 0x40;
}

void pci_add_bar(struct pci_dev *d, unsigned bar, uint32_t size)
{
	d->bar_size[bar] = size;
	put_le32(d->mask + PCI_REG_BAR0 + 4 * bar, ~(size - 1));
}

unsigned pci_add_cap(struct pci_dev *d, uint8_t id, unsigned len)
{
	unsigned at = d->next_cap;

	d->config[at] = id;
	d->config[at + 1] = d->config[PCI_REG_CAPABILITIES];
	d->config[PCI_REG_CAPABILITIES] = (uint8_t)at;
	d->config[PCI_REG_STATUS] |= STATUS_CAPABILITIES;
	d->next_cap = (at + len + 3) & ~3U;
	return at;
}

void pci_add_msix(struct pci_dev *d, unsigned bar, unsigned vectors)
{
	unsigned at = pci_add_cap(d, CAP_MSIX, 12);

	put_le16(d->config + at + 2, (uint16_t)(vectors - 1));
	put_le32(d->config + at + 4, bar);
	put_le32(d->config + at + 8, 0x800 | bar);
	put_le16(d->mask + at + 2, 0xc000); /* enable, mask all */
	pci_add_bar(d, bar, 4096);
	msix_init(&d->msix, NULL, vectors, at);
}

unsigned pci_gsi(unsigned slot)
{
	return PCI_GSI_FIRST + slot % 4;
}

bool pci_bus_add(struct pci_bus *b, struct pci_dev *d)
{
	uint32_t at;

	for (d->slot = 0; d->slot < PCI_SLOTS && b->dev[d->slot]; d->slot++)
		;
	if (d->slot == PCI_SLOTS)
		return false;
	at = PCI_WINDOW + d->slot * PCI_SLOT_SPACE;
	for (unsigned i = 0; i < PCI_BARS; i++) {
		if (!d->bar_size[i])
			continue;
		at = (uint32_t)round_up(at, d->bar_size[i]);
		put_le32(d->config + PCI_REG_BAR0 + 4 * i, at);
		at += d->bar_size[i];
		/* As firmware leaves it */
		put_le16(d->config + PCI_REG_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	}
	if (d->msix.vectors) {
		d->config[CONFIG_PIN] = 1;
		d->config[CONFIG_LINE] = (uint8_t)pci_gsi(d->slot);
		d->mask[CONFIG_LINE] = 0xff;
	}
	d->msix.irq = b->irq;
	d->bus = b;
	b->dev[d->slot] = d;
	return true;
}

void pci_add_function(struct pci_dev *first, struct pci_dev *d, unsigned function)
{
	d->function = function;
	d->slot = first->slot;
	d->bus = first->bus;
	d->next = first->next;
	first->next = d;
	first->config[HEADER_TYPE] |= HEADER_MANY;
}

static bool answers(const struct pci_dev *d, unsigned bar)
{
	return d->bar_size[bar] && (d->config[PCI_REG_COMMAND] & PCI_COMMAND_MEMORY);
}

static uint64_t bar_base(const struct pci_dev *d, unsigned bar)
{
	return get_le32(d->config + PCI_REG_BAR0 + 4 * bar) & ~UINT32_C(15);
}

uint64_t pci_bar_place(const struct pci_dev *d, unsigned bar)
{
	return answers(d, bar) ? bar_base(d, bar) : 0;
}

/* With the lock held */
static bool in_bar(const struct pci_dev *d, unsigned bar, uint64_t addr, unsigned size,
		   uint32_t *ret_off)
{
	uint64_t base = bar_base(d, bar);

	if (!answers(d, bar) || addr < base || !range_inside(addr - base, size, d->bar_size[bar]))
		return false;
	*ret_off = (uint32_t)(addr - base);
	return true;
}

struct pci_dev *pci_bus_find(struct pci_bus *b, uint64_t addr, unsigned size, unsigned *ret_bar,
			     uint32_t *ret_off)
{
	struct pci_dev *found = NULL;

	(void)pthread_mutex_lock(&b->lock);
	for (unsigned s = 0; s < PCI_SLOTS && !found; s++)
		for (unsigned i = 0; b->dev[s] && i < PCI_BARS && !found; i++)
			if (in_bar(b->dev[s], i, addr, size, ret_off)) {
				found = b->dev[s];
				*ret_bar = i;
			}
	(void)pthread_mutex_unlock(&b->lock);
	return found;
}

/* With the lock held, so that the last word on a line is right: it is up while any of its slots asserts it */
static void set_line(struct pci_bus *b, unsigned gsi)
{
	bool high = false;

	for (unsigned s = 0; s < PCI_SLOTS && !high; s++) {
		const struct pci_dev *d = b->dev[s];

		high = d && d->intx && pci_gsi(s) == gsi &&
		       !(get_le16(d->config + PCI_REG_COMMAND) & PCI_COMMAND_NO_INTX);
	}
	irq_line(b->irq, gsi, high);
}

void pci_bus_remove(struct pci_dev *d)
{
	struct pci_bus *b = d->bus;

	if (!b)
		return;
	(void)pthread_mutex_lock(&b->lock);
	b->dev[d->slot] = NULL;
	if (d->intx)
		set_line(b, pci_gsi(d->slot));
	(void)pthread_mutex_unlock(&b->lock);
	d->bus = NULL;
}

void pci_intx(struct pci_dev *d, bool high)
{
	(void)pthread_mutex_lock(&d->bus->lock);
	d->intx = high;
	set_line(d->bus, pci_gsi(d->slot));
	(void)pthread_mutex_unlock(&d->bus->lock);
}

/* The function that the address register names; NULL when there is none, or no access is meant */
static struct pci_dev *selected(const struct pci_bus *b, uint16_t off, unsigned size,
				unsigned *ret_reg)
{
	uint32_t a = b->address;
	struct pci_dev *d = b->dev[a >> 11 & 31];

	*ret_reg = (a & 0xfc) + (off - 4U);
	if (!(a & 0x80000000) || (a & 0x00ff0000) || *ret_reg + size > 256)
		return NULL;
	while (d && d->function != (a >> 8 & 7))
		d = d->next;
	return d;
}

static bool is_hook(const struct pci_dev *d, unsigned reg, unsigned size)
{
	return d->hook_len && reg + size > d->hook_start && reg < d->hook_start + d->hook_len;
}

uint32_t pci_port_read(void *bus, uint16_t off, unsigned size)
{
	struct pci_bus *b = bus;
	struct pci_dev *d, *hooked = NULL;
	uint32_t v = UINT32_MAX;
	unsigned reg;

	(void)pthread_mutex_lock(&b->lock);
	if (off < 4) {
		if (off == 0 && size == 4)
			v = b->address;
	} else if ((d = selected(b, off, size, &reg))) {
		v = 0;
		memcpy(&v, d->config + reg, size);
		v = le32toh(v);
		if (is_hook(d, reg, size))
			hooked = d;
	}
	(void)pthread_mutex_unlock(&b->lock);
	return hooked ? hooked->ops->hook_read(hooked, reg, size) : v;
}

/* With the lock held */
static void config_write(struct pci_dev *d, unsigned reg, unsigned size, uint32_t value)
{
	uint64_t was[PCI_BARS];

	for (unsigned i = 0; i < PCI_BARS; i++)
		was[i] = pci_bar_place(d, i);
	for (unsigned i = 0; i < size; i++) {
		uint8_t mask = d->mask[reg + i], v = (uint8_t)(value >> 8 * i);

		d->config[reg + i] = (uint8_t)((d->config[reg + i] & ~mask) | (v & mask));
	}
	if (d->msix.vectors && reg <= d->msix.cap + 3 && reg + size > d->msix.cap + 2)
		msix_control(&d->msix, get_le16(d->config + d->msix.cap + 2));
	if (d->intx && reg < PCI_REG_COMMAND + 2 && reg + size > PCI_REG_COMMAND)
		set_line(d->bus, pci_gsi(d->slot));
	for (unsigned i = 0; i < PCI_BARS; i++)
		if (was[i] != pci_bar_place(d, i) && d->ops && d->ops->moved) {
			d->ops->moved(d);
			break;
		}
}

void pci_port_write(void *bus, uint16_t off, unsigned size, uint32_t value)
{
	struct pci_bus *b = bus;
	struct pci_dev *d, *hooked = NULL;
	bool reset = off == RESET_PORT && size == 1 && (value & RESET_BIT);
	unsigned reg = 0;

	(void)pthread_mutex_lock(&b->lock);
	if (off < 4) {
		if (off == 0 && size == 4)
			b->address = value;
	} else if ((d = selected(b, off, size, &reg))) {
		config_write(d, reg, size, value);
		if (is_hook(d, reg, size))
			hooked = d;
	}
	(void)pthread_mutex_unlock(&b->lock);
	if (hooked)
		hooked->ops->hook_write(hooked, reg, size, value);
	if (reset && b->reset)
		b->reset(b->reset_ctx);
}
