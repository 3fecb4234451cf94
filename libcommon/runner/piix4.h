/* What UEFI firmware for a 440FX looks for beside the host bridge: the bridge to ISA, without which it knows no serial line, and
 * the power management function, which tells where ACPI's registers and timer are (legacy.h). Both only tell: what
 * firmware would set up is set up, and cannot be changed.
 */
#ifndef VMKIT_RUNNER_PIIX4_H
#define VMKIT_RUNNER_PIIX4_H

#include "libcommon/runner/pci.h"

struct piix4 {
	struct pci_dev isa, power;
};

/** piix4_add() - both, as functions of the next slot; firmware looks into slot 1. Return: false when the bus is full */
bool piix4_add(struct piix4 *p, struct pci_bus *b);

#endif
