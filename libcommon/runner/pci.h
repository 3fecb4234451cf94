/* PCI: configuration space by ports 0xcf8 to 0xcff (mechanism 1), memory BARs, MSI-X. One bus; what has BARs is function 0.
 *
 * What a guest may change in a configuration space is a mask of bits. BARs are placed by us before the guest runs, and
 * may be moved by it: an address is looked up in the configuration spaces at each access. A BAR moved over memory is
 * hidden by the memory, since KVM asks us only where there is none.
 *
 * Threads: all of it may be called from any thread; a bus has one lock, for configuration spaces, an MSI-X table one.
 */
#ifndef VMKIT_RUNNER_PCI_H
#define VMKIT_RUNNER_PCI_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "libcommon/runner/doors.h"
#include "libcommon/runner/irq.h"

#define PCI_WINDOW     UINT32_C(0xe0000000)
#define PCI_WINDOW_END UINT32_C(0xfec00000) /* the IOAPIC */

enum {
	PCI_SLOTS = 32,
	PCI_BARS = 2,
	PCI_MSIX_MAX = 32,	  /* vectors a device */
	PCI_SLOT_SPACE = 0x10000, /* of the window, a slot */
	PCI_GSI_FIRST = 20,	  /* the four interrupt lines of slots: 20 to 23 */
};

enum pci_reg {
	PCI_REG_COMMAND = 0x04,
	PCI_REG_STATUS = 0x06,
	PCI_REG_BAR0 = 0x10,
	PCI_REG_CAPABILITIES = 0x34,
	PCI_COMMAND_MEMORY = 2,
	PCI_COMMAND_MASTER = 4,
	PCI_COMMAND_NO_INTX = 0x400,
};

struct msix {
	pthread_mutex_t lock;
	unsigned vectors; /* 0: none */
	unsigned cap;	  /* offset of the capability */
	bool enabled, masked;
	uint8_t table[16 * PCI_MSIX_MAX];
	uint64_t pending;
	const struct irq_sink *irq;
};

struct pci_dev;
struct pci_dev_ops {
	/* @off + @size lies inside of the BAR; @size is 1, 2, 4 or 8 */
	uint64_t (*bar_read)(struct pci_dev *d, unsigned bar, uint32_t off, unsigned size);
	void (*bar_write)(struct pci_dev *d, unsigned bar, uint32_t off, unsigned size,
			  uint64_t value);
	/* A window into a BAR inside of the configuration space; called without the bus lock */
	uint32_t (*hook_read)(struct pci_dev *d, unsigned reg, unsigned size);
	void (*hook_write)(struct pci_dev *d, unsigned reg, unsigned size, uint32_t value);
	/* A BAR of it is not where it was; called with the bus lock. NULL: it does not care */
	void (*moved)(struct pci_dev *d);
};

struct pci_dev {
	const struct pci_dev_ops *ops;
	uint8_t config[256], mask[256]; /* bits of @mask may be written by the guest */
	uint32_t bar_size[PCI_BARS];	/* powers of two; 0: none */
	unsigned hook_start, hook_len;	/* registers that go to ops->hook_*; len 0: none */
	unsigned slot, next_cap;
	bool intx; /* it asserts INTA */
	struct msix msix;
	struct pci_bus *bus;
	unsigned function;    /* 0 to 7 */
	struct pci_dev *next; /* another function of its slot */
};

struct pci_bus {
	pthread_mutex_t lock;
	uint32_t address; /* what was written to 0xcf8 */
	struct pci_dev *dev[PCI_SLOTS];
	const struct irq_sink *irq;
	const struct doors *doors; /* borrowed; NULL: none */
	void (*reset)(void *ctx);  /* port 0xcf9 asks for it */
	void *reset_ctx;
};

void pci_bus_init(struct pci_bus *b, const struct irq_sink *irq);

/** pci_dev_init() - ids and class (24 bits); the slot is given by pci_bus_add() */
void pci_dev_init(struct pci_dev *d, uint16_t vendor, uint16_t device, uint32_t class_code,
		  uint16_t subsystem_vendor, uint16_t subsystem);

/** pci_add_bar() - a 32-bit memory BAR of @size bytes, a power of two of at least 4096 */
void pci_add_bar(struct pci_dev *d, unsigned bar, uint32_t size);

/** pci_add_cap() - a capability of @len bytes, its id and link included; Return: its offset; never fails: the space is
 *  known when programs are written */
unsigned pci_add_cap(struct pci_dev *d, uint8_t id, unsigned len);

/** pci_add_msix() - a table of @vectors in @bar, pending bits at 0x800 of it */
void pci_add_msix(struct pci_dev *d, unsigned bar, unsigned vectors);

/** pci_bus_add() - put it into the next slot, BARs placed; Return: false when the bus is full. @d is borrowed */
bool pci_bus_add(struct pci_bus *b, struct pci_dev *d);

/** pci_add_function() - @d, without BARs and interrupts, as function 1 to 7 of the slot of @first; borrowed */
void pci_add_function(struct pci_dev *first, struct pci_dev *d, unsigned function);

/** pci_bus_remove() - it is no more: its line is down, nobody finds it; nothing when it was never added */
void pci_bus_remove(struct pci_dev *d);

/** pci_bus_find() - the device and offset in a BAR that @addr lies in with @size bytes; NULL: nobody is there */
struct pci_dev *pci_bus_find(struct pci_bus *b, uint64_t addr, unsigned size, unsigned *ret_bar,
			     uint32_t *ret_off);

/** pci_bar_place() - the address of a BAR, 0 while the guest does not let it answer; with the bus lock */
uint64_t pci_bar_place(const struct pci_dev *d, unsigned bar);

/* The ports 0xcf8 to 0xcff, for a struct bus_range with the bus as its device */
uint32_t pci_port_read(void *bus, uint16_t off, unsigned size);
void pci_port_write(void *bus, uint16_t off, unsigned size, uint32_t value);

/** pci_gsi() - the interrupt line of a slot's INTA */
unsigned pci_gsi(unsigned slot);

/** pci_intx() - raise or lower INTA, if the guest has not switched it off; slots share lines, which are up while one of
 *  theirs is */
void pci_intx(struct pci_dev *d, bool high);

/* msix.c */
void msix_init(struct msix *x, const struct irq_sink *irq, unsigned vectors, unsigned cap);
void msix_reset(struct msix *x);
/** msix_control() - the guest wrote the capability's control word */
void msix_control(struct msix *x, uint16_t word);
bool msix_is_enabled(struct msix *x);
/** msix_raise() - one message, or a pending bit while it is masked; vectors beyond the table are nothing */
void msix_raise(struct msix *x, unsigned vector);
uint64_t msix_bar_read(struct msix *x, uint32_t off, unsigned size);
void msix_bar_write(struct msix *x, uint32_t off, unsigned size, uint64_t value);

#endif
