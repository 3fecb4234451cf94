/* ACPI tables of the machine: RSDP, XSDT, RSDT, FADT, FACS, MADT, DSDT (ACPI 6.4, chapters 5 and 20). */
#ifndef VMKIT_RUNNER_ACPI_H
#define VMKIT_RUNNER_ACPI_H

#include <stddef.h>
#include <stdint.h>

#define ACPI_BASE UINT64_C(0xf0000) /* where the RSDP is looked for without firmware */
enum { ACPI_SPACE = 0x10000 };

/**
 * acpi_build() - all tables, as they lie from @base on
 * @out: ACPI_SPACE bytes, zeroed; the RSDP comes first
 * @cpus: 1 to 255, with APIC ids from 0
 * @window: where addresses for PCI begin: PCI_WINDOW, or lower when firmware places devices by itself
 * Return: bytes used
 */
size_t acpi_build(uint8_t *out, uint64_t base, unsigned cpus, uint32_t window);

#endif
