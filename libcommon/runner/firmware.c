/* Firmware's ROM: see firmware.h. */
#include "libcommon/runner/firmware.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libcommon/base/io.h"
#include "libcommon/runner/kvm.h"
#include "libcommon/runner/linux.h"

enum {
	ROM_UNIT = 0x10000,
	UEFI_UNIT = 4096,
	ROM_LOW = 0x20000,
	ROM_MAX = 16 << 20,
	UEFI_MEMORY_MIN = 64 << 20,
	VOLUME_MAGIC = 40, /* in the head of a firmware volume (UEFI PI 1.7, 3, 3.2.1) */
};

#define LOW_END UINT64_C(0x100000)

int firmware_path(const char **ret, struct err *err)
{
	static const char *const known[] = {"/usr/share/seabios/bios-256k.bin",
					    "/usr/share/qemu/bios-256k.bin",
					    "/usr/share/seabios/bios.bin"};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (access(known[i], R_OK) == 0) {
			*ret = known[i];
			return 0;
		}
	err_set(err, ERR_UNSUPPORTED, "no BIOS is installed that could start a disk");
	return err_hint(err, "it is in the package seabios; --firmware FILE names another one");
}

/* Those without secure boot, which wants a system management mode that this machine has not */
int firmware_uefi_path(const char **ret, const char **ret_vars, struct err *err)
{
	static const struct {
		const char *code, *vars;
	} known[] = {
		{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
		{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (access(known[i].code, R_OK) == 0 && access(known[i].vars, R_OK) == 0) {
			*ret = known[i].code;
			*ret_vars = known[i].vars;
			return 0;
		}
	err_set(err, ERR_UNSUPPORTED, "no UEFI firmware is installed");
	return err_hint(err, "it is in the package ovmf; --firmware FILE names another one");
}

int firmware_is_uefi(const char *path, bool *ret, struct err *err)
{
	char head[VOLUME_MAGIC + 4] = {0};
	uint64_t size;
	ssize_t n;
	int fd;

	if (linux_open(path, &fd, &size, err) < 0)
		return -1;
	n = io_pread_upto(fd, head, sizeof(head), 0, err);
	(void)close(fd);
	if (n < 0)
		return err_object(err, path);
	*ret = memcmp(head + VOLUME_MAGIC, "_FVH", 4) == 0;
	return 0;
}

static int check_size(const struct firmware *f, uint64_t size, const struct guest_memory *mem,
		      struct err *err)
{
	if (size < ROM_LOW || size > ROM_MAX || size % (f->uefi ? UEFI_UNIT : ROM_UNIT))
		return err_set(err, ERR_UNSUPPORTED,
			       "not firmware: %" PRIu64
			       " bytes are no multiple of %d KiB from 128 KiB to 16 MiB",
			       size, (f->uefi ? UEFI_UNIT : ROM_UNIT) / 1024);
	if (f->uefi && mem->region[0].size < UEFI_MEMORY_MIN)
		return err_set(err, ERR_USAGE, "UEFI firmware wants at least %d MiB of memory",
			       UEFI_MEMORY_MIN >> 20);
	return 0;
}

static int read_rom(struct firmware *f, int fd, uint64_t size, const struct guest_memory *mem,
		    struct err *err)
{
	if (check_size(f, size, mem, err) < 0)
		return -1;
	f->size = (size_t)size;
	f->rom = mmap(NULL, f->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (f->rom == MAP_FAILED) {
		f->rom = NULL;
		return err_nomem(err);
	}
	if (io_pread(fd, f->rom, f->size, 0, err) < 0)
		return -1;
	if (!f->uefi)
		memcpy(guest_range(mem, LOW_END - ROM_LOW, ROM_LOW), f->rom + f->size - ROM_LOW,
		       ROM_LOW);
	return 0;
}

int firmware_load(struct firmware *f, const struct firmware_opts *opts,
		  const struct guest_memory *mem, unsigned cpus, struct err *err)
{
	uint64_t size;
	int fd, rc;

	if (firmware_is_uefi(opts->path, &f->uefi, err) < 0 ||
	    linux_open(opts->path, &fd, &size, err) < 0)
		return -1;
	rc = read_rom(f, fd, size, mem, err);
	(void)close(fd);
	if (rc < 0)
		return err_object(err, opts->path);
	if (f->uefi && firmware_load_vars(f, opts, err) < 0)
		return -1;
	f->fw_cfg = malloc(sizeof(*f->fw_cfg));
	if (!f->fw_cfg)
		return err_nomem(err);
	fw_cfg_init(f->fw_cfg, mem, cpus, f->uefi);
	return 0;
}

void firmware_free(struct firmware *f)
{
	if (f->rom)
		(void)munmap(f->rom, f->size);
	if (f->vars)
		(void)munmap(f->vars, f->vars_size);
	free(f->flash);
	free(f->fw_cfg);
	*f = (struct firmware){.rom = NULL};
}

int firmware_attach(struct firmware *f, struct bus *bus, struct kvm *kvm, struct err *err)
{
	const struct bus_range r = {FW_CFG_PORT,  FW_CFG_PORTS, fw_cfg_read,
				    fw_cfg_write, f->fw_cfg,	false};

	(void)bus_add(bus, &r);
	if (kvm_add_rom(kvm, GUEST_HOLE_END - f->size, f->rom, f->size, err) < 0)
		return -1;
	return f->flash ? firmware_attach_flash(f, kvm, err) : 0;
}
