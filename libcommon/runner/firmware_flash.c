/* Where UEFI firmware keeps its variables: see firmware.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/io.h"
#include "libcommon/image/image.h"
#include "libcommon/runner/firmware.h"
#include "libcommon/runner/kvm.h"
#include "libcommon/runner/linux.h"

enum { VOLUME_LENGTH = 32, VOLUME_MAGIC = 40 };

static int no_variables(uint64_t size, struct err *err)
{
	return err_set(err, ERR_UNSUPPORTED,
		       "not variables of UEFI firmware: a file of %" PRIu64 " bytes", size);
}

/* The volume has to fill the file, and file and firmware together a chip: with others' variables firmware would look for its own
 * at the wrong place */
static int check(const struct firmware *f, struct err *err)
{
	if (memcmp(f->vars + VOLUME_MAGIC, "_FVH", 4) != 0 ||
	    get_le64(f->vars + VOLUME_LENGTH) != f->vars_size)
		return no_variables(f->vars_size, err);
	if (!is_pow2(f->size + f->vars_size))
		return err_set(err, ERR_UNSUPPORTED,
			       "variables of other firmware: %zu bytes and its %zu fill no flash "
			       "chip",
			       f->vars_size, f->size);
	return 0;
}

static int make_room(struct firmware *f, uint64_t size, struct err *err)
{
	void *p;

	if (size < FLASH_BLOCK || size > FIRMWARE_VARS_MAX || size % FLASH_BLOCK)
		return no_variables(size, err);
	p = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return err_nomem(err);
	f->vars = p;
	f->vars_size = (size_t)size;
	return 0;
}

static int load_image(struct firmware *f, struct image *img, struct err *err)
{
	int rc = make_room(f, image_size(img), err);

	if (rc == 0)
		rc = image_read(img, f->vars, 0, f->vars_size, err);
	if (rc == 0)
		rc = check(f, err);
	f->image = img;
	return rc < 0 ? err_object(err, image_name(img)) : 0;
}

static int load_file(struct firmware *f, const char *path, struct err *err)
{
	uint64_t size;
	int fd, rc;

	if (linux_open(path, &fd, &size, err) < 0)
		return -1;
	rc = make_room(f, size, err);
	if (rc == 0)
		rc = io_pread(fd, f->vars, f->vars_size, 0, err) < 0 ? -1 : check(f, err);
	(void)close(fd);
	return rc < 0 ? err_object(err, path) : 0;
}

int firmware_load_vars(struct firmware *f, const struct firmware_opts *opts, struct err *err)
{
	if (!opts->vars && !opts->vars_template)
		return 0;
	if ((opts->vars ? load_image(f, opts->vars, err) : load_file(f, opts->vars_template, err)) <
	    0)
		return -1;
	f->flash = malloc(sizeof(*f->flash));
	if (!f->flash)
		return err_nomem(err);
	flash_init(f->flash, f->vars, f->vars_size);
	return 0;
}

/* With the chip's lock: one thread at a time */
static bool show(void *ctx, bool on)
{
	const struct firmware *f = ctx;

	return kvm_show_rom(f->kvm, f->vars_rom, on);
}

static int store(void *ctx, const uint8_t *data, uint64_t off, size_t len, struct err *err)
{
	const struct firmware *f = ctx;

	return image_write(f->image, data, off, len, err);
}

int firmware_attach_flash(struct firmware *f, struct kvm *kvm, struct err *err)
{
	int rom;

	f->vars_start = GUEST_HOLE_END - f->size - f->vars_size;
	rom = kvm_add_rom(kvm, f->vars_start, f->vars, f->vars_size, err);
	if (rom < 0)
		return -1;
	f->kvm = kvm;
	f->vars_rom = (unsigned)rom;
	f->flash->show = show;
	f->flash->store = f->image ? store : NULL;
	f->flash->ctx = f;
	return 0;
}

bool firmware_mmio(struct firmware *f, bool write, uint64_t addr, unsigned size, void *data)
{
	uint64_t v = 0;

	if (!f->flash || addr < f->vars_start ||
	    !range_inside(addr - f->vars_start, size, f->vars_size) || size > sizeof(v))
		return false;
	if (write) {
		memcpy(&v, data, size);
		flash_write(f->flash, addr - f->vars_start, size, v);
	} else {
		v = flash_read(f->flash, addr - f->vars_start, size);
		memcpy(data, &v, size);
	}
	return true;
}

int firmware_flush(struct firmware *f, struct err *err)
{
	if (!f->image || !f->flash)
		return 0;
	if (flash_sync(f->flash, err) < 0 || image_flush(f->image, err) < 0)
		return err_object(err, image_name(f->image));
	return 0;
}
