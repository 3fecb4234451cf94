/* A BIOS that starts a machine, and what it needs beside what the machine has: its ROM, fw_cfg.
 *
 * The ROM ends at 4 GiB, where a processor begins; its last 128 KiB lie below 1 MiB too, in memory that can be written: no
 * registers switch that, the BIOS finds its copy there and may change it.
 */
#ifndef VMKIT_RUNNER_FIRMWARE_H
#define VMKIT_RUNNER_FIRMWARE_H

#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/runner/bus.h"
#include "libcommon/runner/fw_cfg.h"
#include "libcommon/runner/memory.h"

struct firmware {
	uint8_t *rom; /* NULL: there is none */
	size_t size;
	struct fw_cfg *fw_cfg;
};

/** firmware_path() - SeaBIOS of this host; static. ERR_UNSUPPORTED when it is not installed */
int firmware_path(const char **ret, struct err *err);

/** firmware_load() - a BIOS for a machine with @mem and @cpus; firmware_free() also after failure. The error names the file */
int firmware_load(struct firmware *f, const char *path, const struct guest_memory *mem,
		  unsigned cpus, struct err *err);
void firmware_free(struct firmware *f);

/** firmware_attach() - its ports */
void firmware_attach(struct firmware *f, struct bus *bus);

#endif
