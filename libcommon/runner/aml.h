/* As much of AML's encoding (ACPI 6.4, 20.2) as the DSDT needs: bytes are put one behind the other, and blocks get their
 * length when they end. The text is ours alone and its size known: what does not fit is a fault of the program. */
#ifndef VMKIT_RUNNER_AML_H
#define VMKIT_RUNNER_AML_H

#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *at;
	size_t len, max;
};

void aml_bytes(struct aml *a, const void *bytes, size_t len);
void aml_byte(struct aml *a, uint8_t v);
void aml_le(struct aml *a, uint64_t v, unsigned bytes);

/** aml_open() - a block that begins with @op (0x5bXX: two bytes); Return: a mark for aml_close() */
size_t aml_open(struct aml *a, unsigned op);
void aml_close(struct aml *a, size_t mark);

void aml_name(struct aml *a, const char *four); /* Name(four, ...): the value follows */
void aml_int(struct aml *a, uint32_t v);
void aml_string(struct aml *a, const char *s);
void aml_eisa(struct aml *a, const char *id); /* "PNP0501" */

/** aml_device() - Device(four) with _HID and, for strings that are no PNP id, as a string; Return: mark */
size_t aml_device(struct aml *a, const char *four, const char *hid);

/** aml_crs_open() - Name(_CRS, ResourceTemplate): descriptors follow; Return: mark */
size_t aml_crs_open(struct aml *a);
void aml_crs_close(struct aml *a, size_t mark);
void aml_res_io(struct aml *a, uint16_t port, uint8_t len);
void aml_res_irq(struct aml *a, unsigned irq);
/** aml_res_space() - an address space that a bridge produces: @type 0 memory (32 bits), 1 ports, 2 buses (16 bits) */
void aml_res_space(struct aml *a, unsigned type, uint32_t first, uint32_t last);

#endif
