/* PCI without a guest: configuration space, BARs, MSI-X, and virtio's registers as a driver sees them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libcommon/runner/piix4.h"
#include "libcommon/runner/virtio_rng.h"

static struct {
	unsigned raised[24], level[24], messages;
	uint64_t address;
	uint32_t data;
} irqs;

static void on_line(void *ctx, unsigned gsi, bool high)
{
	(void)ctx;
	irqs.raised[gsi] += high && !irqs.level[gsi];
	irqs.level[gsi] = high;
}

static void on_msi(void *ctx, uint64_t address, uint32_t data)
{
	(void)ctx;
	irqs.messages++;
	irqs.address = address;
	irqs.data = data;
}

static const struct irq_sink sink = {on_line, on_msi, NULL};

struct pci_fake {
	struct guest_memory mem;
	struct pci_bus bus;
	struct pci_dev bridge;
	struct virtio_dev rng;
};

static bool was_reset;

static void on_reset(void *ctx)
{
	(void)ctx;
	was_reset = true;
}

static int pci_start(void **state)
{
	struct pci_fake *f = calloc(1, sizeof(*f));

	memset(&irqs, 0, sizeof(irqs));
	if (!f || guest_memory_create(&f->mem, 4 << 20, NULL) < 0 ||
	    virtio_rng_init(&f->rng, &f->mem, NULL) < 0)
		return -1;
	pci_bus_init(&f->bus, &sink);
	f->bus.reset = on_reset;
	pci_dev_init(&f->bridge, 0x8086, 0x1237, 0x060000, 0, 0);
	*state = f;
	return pci_bus_add(&f->bus, &f->bridge) && pci_bus_add(&f->bus, &f->rng.pci) ? 0 : -1;
}

static int pci_end(void **state)
{
	struct pci_fake *f = *state;

	virtio_stop(&f->rng);
	guest_memory_destroy(&f->mem);
	free(f);
	return 0;
}

static uint32_t config(struct pci_fake *f, unsigned slot, unsigned reg, unsigned size)
{
	pci_port_write(&f->bus, 0, 4, 0x80000000 | slot << 11 | (reg & 0xfc));
	return pci_port_read(&f->bus, (uint16_t)(4 + reg % 4), size) &
	       (uint32_t)((UINT64_C(1) << 8 * size) - 1);
}

static void set_config(struct pci_fake *f, unsigned slot, unsigned reg, unsigned size, uint32_t v)
{
	pci_port_write(&f->bus, 0, 4, 0x80000000 | slot << 11 | (reg & 0xfc));
	pci_port_write(&f->bus, (uint16_t)(4 + reg % 4), size, v);
}

static void pci_config(void **state)
{
	struct pci_fake *f = *state;

	assert_int_equal(config(f, 0, 0, 4), 0x12378086);
	assert_int_equal(config(f, 1, 0, 2), 0x1af4);
	assert_int_equal(config(f, 1, 2, 2), 0x1044);
	assert_int_equal(config(f, 1, 3, 1), 0x10);
	assert_int_equal(config(f, 2, 0, 4), 0xffffffff);
	pci_port_write(&f->bus, 0, 4, 0x80010000); /* bus 1 */
	assert_int_equal(pci_port_read(&f->bus, 4, 4), 0xffffffff);
	pci_port_write(&f->bus, 0, 4, 0x80000100); /* function 1 */
	assert_int_equal(pci_port_read(&f->bus, 4, 4), 0xffffffff);
	pci_port_write(&f->bus, 0, 4, 0); /* not enabled */
	assert_int_equal(pci_port_read(&f->bus, 4, 4), 0xffffffff);
	set_config(f, 1, 0, 4, 0xdeadbeef); /* ids stay */
	assert_int_equal(config(f, 1, 0, 4), 0x10441af4);
	/* An access that would leave the space */
	pci_port_write(&f->bus, 0, 4, 0x80000800 | 0xfc);
	assert_int_equal(pci_port_read(&f->bus, 6, 4), 0xffffffff);
	pci_port_write(&f->bus, 1, 1, 0);
	assert_false(was_reset);
	pci_port_write(&f->bus, 1, 1, 6);
	assert_true(was_reset);
}

/* Where OVMF looks for a serial line, and for the timer of ACPI */
static void pci_functions(void **state)
{
	struct pci_fake *f = *state;
	struct piix4 p;

	assert_true(piix4_add(&p, &f->bus));
	assert_int_equal(config(f, 2, 0, 4), 0x70008086);
	assert_int_equal(config(f, 2, 0x0b, 1), 0x06);
	assert_int_equal(config(f, 2, 0x0e, 1), 0x80); /* there are more */
	assert_int_equal(config(f, 1, 0x0e, 1), 0);
	pci_port_write(&f->bus, 0, 4, 0x80000000 | 2 << 11 | 3 << 8);
	assert_int_equal(pci_port_read(&f->bus, 4, 4), 0x71138086);
	pci_port_write(&f->bus, 0, 4, 0x80000000 | 2 << 11 | 3 << 8 | 0x40);
	pci_port_write(&f->bus, 4, 4, 0xb001);
	assert_int_equal(pci_port_read(&f->bus, 4, 4), 0x601);
	pci_port_write(&f->bus, 0, 4, 0x80000000 | 2 << 11 | 2 << 8);
	assert_int_equal(pci_port_read(&f->bus, 4, 4), 0xffffffff);
	pci_bus_remove(&p.isa);
	pci_port_write(&f->bus, 0, 4, 0x80000000 | 2 << 11 | 3 << 8);
	assert_int_equal(pci_port_read(&f->bus, 4, 4), 0xffffffff);
}

static void pci_bars(void **state)
{
	struct pci_fake *f = *state;
	uint32_t base = config(f, 1, 0x10, 4), off;
	unsigned bar;

	set_config(f, 1, 0x10, 4, 0xffffffff);
	assert_int_equal(config(f, 1, 0x10, 4), 0xffffc000); /* 16 KiB */
	set_config(f, 1, 0x10, 4, base);
	assert_ptr_equal(pci_bus_find(&f->bus, base + 0x1000, 4, &bar, &off), &f->rng.pci);
	assert_int_equal(bar, 0);
	assert_int_equal(off, 0x1000);
	assert_null(pci_bus_find(&f->bus, base + 0x5000, 4, &bar, &off));
	assert_null(pci_bus_find(&f->bus, base - 2, 4, &bar, &off));
	assert_null(pci_bus_find(&f->bus, UINT64_C(0x100000000) + base, 4, &bar, &off));
	set_config(f, 1, 0x10, 4, 0xe8000000); /* moved */
	assert_ptr_equal(pci_bus_find(&f->bus, 0xe8000000, 1, &bar, &off), &f->rng.pci);
	assert_null(pci_bus_find(&f->bus, base, 1, &bar, &off));
	set_config(f, 1, 4, 2, 0); /* decoding off */
	assert_null(pci_bus_find(&f->bus, 0xe8000000, 1, &bar, &off));
}

static void capabilities(void **state)
{
	struct pci_fake *f = *state;
	unsigned at = config(f, 1, 0x34, 1), types = 0, msix = 0, steps = 0;

	for (; at && steps < 16; at = config(f, 1, at + 1, 1), steps++) {
		if (config(f, 1, at, 1) == 0x11)
			msix = at;
		else
			types |= 1U << config(f, 1, at + 3, 1);
	}
	assert_int_equal(types, 0x3e); /* common, notify, isr, device, pci */
	assert_true(msix);
	assert_int_equal(config(f, 1, msix + 2, 2) & 0x7ff, 1); /* two vectors */
}

static void vectors(void **state)
{
	struct pci_fake *f = *state;
	struct msix *x = &f->rng.pci.msix;

	msix_raise(x, 0); /* not enabled: lost */
	set_config(f, 1, x->cap + 2, 2, 0x8000);
	assert_int_equal(irqs.messages, 0);
	msix_raise(x, 0); /* the entry is masked: pending */
	assert_int_equal(msix_bar_read(x, 0x800, 8), 1);
	msix_bar_write(x, 0, 4, 0xfee01000);
	msix_bar_write(x, 8, 4, 0x4321);
	msix_bar_write(x, 12, 4, 0);
	assert_int_equal(irqs.messages, 1);
	assert_int_equal(irqs.address, 0xfee01000);
	assert_int_equal(irqs.data, 0x4321);
	assert_int_equal(msix_bar_read(x, 0x800, 8), 0);
	set_config(f, 1, x->cap + 2, 2, 0xc000); /* all masked */
	msix_raise(x, 0);
	assert_int_equal(irqs.messages, 1);
	set_config(f, 1, x->cap + 2, 2, 0x8000);
	assert_int_equal(irqs.messages, 2);
	msix_raise(x, 2); /* no such vector */
	msix_raise(x, 1000);
	msix_bar_write(x, 0, 2, 0xffff); /* half a word */
	msix_bar_write(x, 0x7fc, 8, 1);
	msix_bar_write(x, 0x1000 - 4, 8, 1);
	assert_int_equal(msix_bar_read(x, 0, 4), 0xfee01000);
	assert_int_equal(msix_bar_read(x, 0xffc, 8), 0);
	assert_int_equal(irqs.messages, 2);
}

static uint64_t reg(struct pci_fake *f, uint32_t off, unsigned size)
{
	return f->rng.pci.ops->bar_read(&f->rng.pci, 0, off, size);
}

static void set_reg(struct pci_fake *f, uint32_t off, unsigned size, uint64_t v)
{
	f->rng.pci.ops->bar_write(&f->rng.pci, 0, off, size, v);
}

/* A driver's way through the registers, and what it must not do */
static void virtio_registers(void **state)
{
	struct pci_fake *f = *state;

	set_reg(f, 0x00, 4, 1);
	assert_int_equal(reg(f, 0x04, 4) & 1, 1); /* version 1 */
	set_reg(f, 0x00, 4, 7);
	assert_int_equal(reg(f, 0x04, 4), 0);
	set_reg(f, 0x08, 4, 1);
	set_reg(f, 0x0c, 4, 1);
	set_reg(f, 0x14, 1, 3);
	set_reg(f, 0x14, 1, 11);
	assert_int_equal(reg(f, 0x14, 1), 11);
	assert_int_equal(reg(f, 0x12, 2), 1);
	set_reg(f, 0x16, 2, 1); /* no such queue */
	assert_int_equal(reg(f, 0x18, 2), 0);
	set_reg(f, 0x20, 4, 0x1000);
	set_reg(f, 0x1c, 2, 1);
	set_reg(f, 0x16, 2, 0);
	assert_int_equal(reg(f, 0x20, 8), 0);
	set_reg(f, 0x18, 2, 8);
	set_reg(f, 0x20, 4, 0x1000);
	set_reg(f, 0x28, 8, 0x2000);
	set_reg(f, 0x30, 4, 0x3000);
	set_reg(f, 0x34, 4, 0);
	set_reg(f, 0x1a, 2, 1);
	assert_int_equal(reg(f, 0x1a, 2), 1);
	set_reg(f, 0x1a, 2, 2); /* no such vector reads back as none */
	assert_int_equal(reg(f, 0x1a, 2), 0xffff);
	set_reg(f, 0x1c, 2, 1);
	assert_int_equal(reg(f, 0x1c, 2), 1);
	set_reg(f, 0x20, 4, 0x9000); /* an enabled queue stays where it is */
	assert_int_equal(reg(f, 0x20, 8), 0x1000);
	assert_int_equal(reg(f, 0x36, 4), 0); /* beyond the registers */
	assert_int_equal(reg(f, 0x4000 - 8, 8), 0);
	set_reg(f, 0x3000 + 4 * 500, 4, 0); /* a queue that is not there is notified */
	set_reg(f, 0x14, 1, 15);
	set_reg(f, 0x14, 1, 0);
	assert_int_equal(reg(f, 0x14, 1), 0);
	assert_int_equal(reg(f, 0x20, 8), 0);
}

static void a_queue_that_cannot_be(void **state)
{
	struct pci_fake *f = *state;

	set_reg(f, 0x08, 4, 1);
	set_reg(f, 0x0c, 4, 1);
	set_reg(f, 0x14, 1, 11);
	set_reg(f, 0x20, 8, UINT64_C(1) << 40);
	set_reg(f, 0x1c, 2, 1);
	assert_int_equal(reg(f, 0x1c, 2), 0);
	assert_true(reg(f, 0x14, 1) & VIRTIO_NEEDS_RESET);
	assert_int_equal(irqs.raised[pci_gsi(1)], 1);
	assert_int_equal(reg(f, 0x1000, 1), 2); /* the configuration changed */
	assert_int_equal(irqs.level[pci_gsi(1)], 0);
}

/* The window in the configuration space sees what the BAR shows */
static void config_window(void **state)
{
	struct pci_fake *f = *state;
	unsigned cap = f->rng.cfg_cap;

	set_config(f, 1, cap + 4, 1, 0);
	set_config(f, 1, cap + 8, 4, 0x12);
	set_config(f, 1, cap + 12, 4, 2);
	assert_int_equal(config(f, 1, cap + 16, 2), 1);
	set_config(f, 1, cap + 8, 4, 0x4000 - 1); /* half outside of the BAR */
	assert_int_equal(config(f, 1, cap + 16, 2), 0);
	set_config(f, 1, cap + 4, 1, 9);
	set_config(f, 1, cap + 8, 4, 0);
	assert_int_equal(config(f, 1, cap + 16, 2), 0);
}

static struct {
	unsigned on, off;
	uint64_t at;
	bool refuse;
} rung;

static bool on_door(void *ctx, uint64_t addr, int fd, bool on)
{
	(void)ctx;
	assert_true(fd >= 0);
	assert_true(on || addr == rung.at);
	rung.on += on;
	rung.off += !on;
	rung.at = on ? addr : 0;
	return !rung.refuse;
}

static void kick(struct pci_fake *f, unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		set_reg(f, 0x3000, 2, 0);
}

/* A queue that is kicked often gets a door, where its registers are */
static void doors(void **state)
{
	static const struct doors fake = {on_door, NULL};
	struct pci_fake *f = *state;
	uint32_t base = config(f, 1, 0x10, 4);

	memset(&rung, 0, sizeof(rung));
	kick(f, 100); /* of a KVM without: nothing happens */
	set_config(f, 1, 0x10, 4, base + 0x8000);
	set_config(f, 1, 0x10, 4, base);
	f->bus.doors = &fake;
	kick(f, 31);
	set_reg(f, 0x3004, 2, 1); /* a queue that is not there */
	assert_int_equal(rung.on, 0);
	kick(f, 100);
	assert_int_equal(rung.on, 1);
	assert_int_equal(rung.at, base + 0x3000);
	set_reg(f, 0x14, 1, 0); /* a reset moves nothing */
	set_config(f, 1, 4, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(rung.off, 0);
	set_config(f, 1, 4, 2, 0); /* decoding off */
	assert_int_equal(rung.off, 1);
	kick(f, 100); /* by the window: it is nowhere */
	assert_int_equal(rung.on, 1);
	set_config(f, 1, 4, 2, PCI_COMMAND_MEMORY);
	kick(f, 100);
	assert_int_equal(rung.at, base + 0x3000);
	set_config(f, 1, 0x10, 4, 0xe8000000);
	assert_int_equal(rung.off, 2);
	kick(f, 100);
	assert_int_equal(rung.at, 0xe8003000);
	set_config(f, 1, 0x10, 4, base);
	rung.refuse = true; /* asked once, not again and again */
	kick(f, 1000);
	assert_int_equal(rung.on, 4);
	set_config(f, 1, 4, 2, 0); /* none to take away */
	assert_int_equal(rung.off, 3);
}

/* Slots 1 and 5 have one line */
static void a_shared_line(void **state)
{
	static struct pci_dev more[4];
	struct pci_fake *f = *state;
	struct pci_dev *one = f->bus.dev[1], *five = &more[3];
	unsigned gsi;

	for (unsigned i = 0; i < 4; i++) {
		pci_dev_init(&more[i], 0x1af4, 0x1044, 0, 0, 0);
		assert_true(pci_bus_add(&f->bus, &more[i]));
	}
	assert_int_equal(five->slot, 5);
	gsi = pci_gsi(1);
	assert_int_equal(pci_gsi(5), gsi);
	pci_intx(one, true);
	pci_intx(five, true);
	assert_int_equal(irqs.level[gsi], 1);
	pci_intx(one, false);
	assert_int_equal(irqs.level[gsi], 1); /* five's handler has not run yet */
	set_config(f, 5, PCI_REG_COMMAND, 2, PCI_COMMAND_NO_INTX);
	assert_int_equal(irqs.level[gsi], 0);
	set_config(f, 5, PCI_REG_COMMAND, 2, 0);
	assert_int_equal(irqs.level[gsi], 1);
	pci_intx(five, false);
	assert_int_equal(irqs.level[gsi], 0);
	assert_int_equal(irqs.raised[gsi], 2);
}

/* A device that ends does not stand in the way of those that share its line and still work */
static void leaving(void **state)
{
	struct pci_fake *f = *state;
	struct virtio_dev *last = calloc(1, sizeof(*last));
	static struct pci_dev more[3];
	unsigned gsi = pci_gsi(1);

	for (unsigned i = 0; i < 3; i++) {
		pci_dev_init(&more[i], 0x1af4, 0x1044, 0, 0, 0);
		assert_true(pci_bus_add(&f->bus, &more[i]));
	}
	assert_non_null(last);
	assert_int_equal(virtio_rng_init(last, &f->mem, NULL), 0);
	assert_true(pci_bus_add(&f->bus, &last->pci));
	assert_int_equal(pci_gsi(last->pci.slot), gsi);
	pci_intx(&last->pci, true);
	assert_int_equal(irqs.level[gsi], 1);
	virtio_stop(last);
	assert_int_equal(irqs.level[gsi], 0);
	memset(last, 0xff, sizeof(*last));
	free(last);
	pci_intx(&f->rng.pci, true);
	pci_intx(&f->rng.pci, false);
	assert_int_equal(irqs.level[gsi], 0);
	assert_int_equal(config(f, 5, 0, 4), 0xffffffff);
}

int main(void)
{
#define PCI_TEST(name) cmocka_unit_test_setup_teardown(name, pci_start, pci_end)
	const struct CMUnitTest tests[] = {
		PCI_TEST(pci_config),
		PCI_TEST(pci_functions),
		PCI_TEST(pci_bars),
		PCI_TEST(capabilities),
		PCI_TEST(vectors),
		PCI_TEST(virtio_registers),
		PCI_TEST(a_queue_that_cannot_be),
		PCI_TEST(config_window),
		PCI_TEST(a_shared_line),
		PCI_TEST(doors),
		PCI_TEST(leaving),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
