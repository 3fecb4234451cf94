/* QEMU's fw_cfg at ports 0x510 and 0x511, by which a firmware learns what the machine is (docs/specs/fw_cfg.rst of QEMU): memory map,
 * ACPI tables with a script that links them, how to boot. Read only, without DMA.
 *
 * Threads: any; one lock.
 */
#ifndef VMKIT_RUNNER_FW_CFG_H
#define VMKIT_RUNNER_FW_CFG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/runner/memory.h"

enum { FW_CFG_PORT = 0x510, FW_CFG_PORTS = 2, FW_CFG_ITEMS_MAX = 16, FW_CFG_SPACE = 0x20000 };

struct fw_cfg {
	pthread_mutex_t lock;
	uint16_t selected;
	uint32_t at;
	struct {
		uint16_t key;
		const uint8_t *data; /* in space */
		uint32_t len;
	} item[FW_CFG_ITEMS_MAX];
	unsigned items;
	uint32_t used;
	uint8_t space[FW_CFG_SPACE];
};

/** fw_cfg_init() - what a machine with @cpus and @mem has to tell a BIOS, or UEFI firmware */
void fw_cfg_init(struct fw_cfg *f, const struct guest_memory *mem, unsigned cpus, bool uefi);

/* For a struct bus_range */
uint32_t fw_cfg_read(void *fw_cfg, uint16_t off, unsigned size);
void fw_cfg_write(void *fw_cfg, uint16_t off, unsigned size, uint32_t value);

#endif
