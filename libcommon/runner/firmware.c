/* A BIOS: see firmware.h. */
#include "libcommon/runner/firmware.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libcommon/base/io.h"
#include "libcommon/runner/linux.h"

enum { ROM_UNIT = 0x10000, ROM_LOW = 0x20000, ROM_MAX = 16 << 20 };

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

static int read_rom(struct firmware *f, int fd, uint64_t size, const struct guest_memory *mem,
		    struct err *err)
{
	uint8_t *low = guest_range(mem, LOW_END - ROM_LOW, ROM_LOW);

	if (size < ROM_LOW || size > ROM_MAX || size % ROM_UNIT)
		return err_set(err, ERR_UNSUPPORTED,
			       "not a BIOS: %" PRIu64
			       " bytes are no multiple of 64 KiB from 128 KiB to "
			       "16 MiB",
			       size);
	f->size = (size_t)size;
	f->rom = mmap(NULL, f->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (f->rom == MAP_FAILED) {
		f->rom = NULL;
		return err_nomem(err);
	}
	if (io_pread(fd, f->rom, f->size, 0, err) < 0)
		return -1;
	memcpy(low, f->rom + f->size - ROM_LOW, ROM_LOW);
	return 0;
}

int firmware_load(struct firmware *f, const char *path, const struct guest_memory *mem,
		  unsigned cpus, struct err *err)
{
	uint64_t size;
	int fd, rc;

	if (linux_open(path, &fd, &size, err) < 0)
		return -1;
	rc = read_rom(f, fd, size, mem, err);
	(void)close(fd);
	if (rc < 0)
		return err_object(err, path);
	f->fw_cfg = malloc(sizeof(*f->fw_cfg));
	if (!f->fw_cfg)
		return err_nomem(err);
	fw_cfg_init(f->fw_cfg, mem, cpus);
	return 0;
}

void firmware_free(struct firmware *f)
{
	if (f->rom)
		(void)munmap(f->rom, f->size);
	free(f->fw_cfg);
	*f = (struct firmware){.rom = NULL};
}

void firmware_attach(struct firmware *f, struct bus *bus)
{
	const struct bus_range r = {FW_CFG_PORT,  FW_CFG_PORTS, fw_cfg_read,
				    fw_cfg_write, f->fw_cfg,	false};

	(void)bus_add(bus, &r);
}
