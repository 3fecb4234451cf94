/* Firmware that starts a machine, and what it needs beside what the machine has: its ROM, fw_cfg.
 *
 * The ROM ends at 4 GiB, where a processor begins. The last 128 KiB of a BIOS lie below 1 MiB too, in memory that can be
 * written: no registers switch that, the BIOS finds its copy there and may change it. UEFI (OVMF) has a flash chip below its
 * ROM (flash.h) where its variables are: those of an image, which it changes, or a copy of a file, which goes with
 * the machine.
 */
#ifndef VMKIT_RUNNER_FIRMWARE_H
#define VMKIT_RUNNER_FIRMWARE_H

#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/runner/bus.h"
#include "libcommon/runner/flash.h"
#include "libcommon/runner/fw_cfg.h"
#include "libcommon/runner/memory.h"

struct image;
struct kvm;

enum { FIRMWARE_VARS_MAX = 1 << 20 };

struct firmware {
	uint8_t *rom; /* NULL: there is none */
	size_t size;
	bool uefi;
	struct fw_cfg *fw_cfg;
	struct flash *flash; /* NULL: none */
	uint8_t *vars;
	size_t vars_size;
	uint64_t vars_start; /* in the guest */
	struct image
		*image; /* borrowed; NULL: what is written to the flash goes with the machine */
	const struct kvm *kvm;
	unsigned vars_rom; /* kvm_show_rom() */
};

/** firmware_path() - SeaBIOS of this host; static. ERR_UNSUPPORTED when it is not installed */
int firmware_path(const char **ret, struct err *err);

/** firmware_uefi_path() - OVMF of this host, and the variables that it begins with; static. ERR_UNSUPPORTED as above */
int firmware_uefi_path(const char **ret, const char **ret_vars, struct err *err);

/** firmware_is_uefi() - does the file begin as UEFI's do? Errors of opening; the error names the file */
int firmware_is_uefi(const char *path, bool *ret, struct err *err);

struct firmware_opts {
	const char *path;
	struct image *vars; /* UEFI's variables, open for writing; borrowed. NULL: see the next */
	const char *
		vars_template; /* a file that they begin as; NULL: the firmware has none, or they are in its own file */
};

/** firmware_load() - for a machine with @mem and @cpus; firmware_free() also after failure. The error names the file */
int firmware_load(struct firmware *f, const struct firmware_opts *opts,
		  const struct guest_memory *mem, unsigned cpus, struct err *err);
void firmware_free(struct firmware *f);

/** firmware_attach() - its ports, its ROM and flash. Return: 0 or -1 */
int firmware_attach(struct firmware *f, struct bus *bus, struct kvm *kvm, struct err *err);

/** firmware_mmio() - an access to where there is no memory. Return: false when it is not its flash that is meant */
bool firmware_mmio(struct firmware *f, bool write, uint64_t addr, unsigned size, void *data);

/** firmware_flush() - variables that were changed are on the disk; the error names the image */
int firmware_flush(struct firmware *f, struct err *err);

/* firmware_flash.c, for firmware.c */
int firmware_load_vars(struct firmware *f, const struct firmware_opts *opts, struct err *err);
int firmware_attach_flash(struct firmware *f, struct kvm *kvm, struct err *err);

#endif
