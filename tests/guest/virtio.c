/* Virtio devices on PCI: see virtio.h. */
#include "tests/guest/virtio.h"

uint32_t pci_config(unsigned slot, unsigned reg)
{
	outl(0xcf8, 0x80000000 | slot << 11 | reg);
	return inl(0xcfc);
}

void pci_config_write(unsigned slot, unsigned reg, uint32_t value)
{
	outl(0xcf8, 0x80000000 | slot << 11 | reg);
	outl(0xcfc, value);
}

static void capability(struct vdev *d, unsigned at)
{
	uint64_t where = d->bars[pci_config(d->slot, at + 4) & 1] + pci_config(d->slot, at + 8);

	if ((pci_config(d->slot, at) & 0xff) == 0x11)
		d->msix = at;
	if ((pci_config(d->slot, at) & 0xff) != 9)
		return;
	switch (pci_config(d->slot, at) >> 24) {
	case 1:
		d->common = where;
		break;
	case 2:
		d->notify = where;
		break;
	case 3:
		d->isr = where;
		break;
	case 4:
		d->device = where;
		break;
	default:
		break;
	}
}

int virtio_find(unsigned id, unsigned number, struct vdev *ret)
{
	for (unsigned slot = 0; slot < 32; slot++) {
		uint32_t what = pci_config(slot, 0);

		if ((what & 0xffff) != 0x1af4 || what >> 16 < 0x1041 ||
		    (id && what >> 16 != 0x1040 + id) || number--)
			continue;
		ret->slot = slot;
		ret->id = (what >> 16) - 0x1040;
		ret->msix = 0;
		ret->common = ret->notify = ret->device = ret->isr = 0;
		ret->bars[0] = pci_config(slot, 0x10) & ~15U;
		ret->bars[1] = pci_config(slot, 0x14) & ~15U;
		for (unsigned at = pci_config(slot, 0x34) & 0xff; at;
		     at = pci_config(slot, at) >> 8 & 0xff)
			capability(ret, at);
		return ret->common && ret->notify && ret->device;
	}
	return 0;
}
