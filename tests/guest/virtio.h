/* Virtio devices on PCI, as the test guest finds them. */
#ifndef VMKIT_TESTS_GUEST_VIRTIO_H
#define VMKIT_TESTS_GUEST_VIRTIO_H

#include "tests/guest/guest.h"

struct vdev {
	uint64_t common, notify, device, isr, bars[2];
	uint32_t id;	     /* VIRTIO's */
	unsigned slot, msix; /* the capability's offset; 0: none */
};

uint32_t pci_config(unsigned slot, unsigned reg);
void pci_config_write(unsigned slot, unsigned reg, uint32_t value);

/* The @number-th device, of the kind @id or, 0, of any; Return: 0 when there is none */
int virtio_find(unsigned id, unsigned number, struct vdev *ret);

#endif
