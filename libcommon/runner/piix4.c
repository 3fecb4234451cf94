/* Two functions of an 82371AB: see piix4.h. */
#include "libcommon/runner/piix4.h"

#include "libcommon/base/bytes.h"
#include "libcommon/runner/legacy.h"

enum {
	POWER_FUNCTION = 3,
	REVISION = 8,
	TIMER_IS_SOUND = 3, /* of earlier ones Linux reads the timer several times over */
	REG_BASE = 0x40,    /* PMBA: the ports, and bit 0 says so */
	REG_MISC = 0x80,    /* PMREGMISC: bit 0, they answer */
	COMMAND_PORTS = 1,
};

bool piix4_add(struct piix4 *p, struct pci_bus *b)
{
	pci_dev_init(&p->isa, 0x8086, 0x7000, 0x060100, 0x1af4, 0x1100);
	pci_dev_init(&p->power, 0x8086, 0x7113, 0x068000, 0x1af4, 0x1100);
	p->power.config[REVISION] = TIMER_IS_SOUND;
	put_le16(p->isa.config + PCI_REG_COMMAND, COMMAND_PORTS);
	put_le16(p->power.config + PCI_REG_COMMAND, COMMAND_PORTS);
	put_le16(p->isa.mask + PCI_REG_COMMAND, 0);
	put_le16(p->power.mask + PCI_REG_COMMAND, 0);
	put_le32(p->power.config + REG_BASE, PM_PORT | 1);
	p->power.config[REG_MISC] = 1;
	if (!pci_bus_add(b, &p->isa))
		return false;
	pci_add_function(&p->isa, &p->power, POWER_FUNCTION);
	return true;
}
