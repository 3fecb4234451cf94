/* What starts a disk: see firmware.h. */
#include "cmd/vmrun/firmware.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/outfile.h"
#include "libcommon/image/image.h"
#include "libcommon/runner/firmware.h"
#include "libcommon/runner/linux.h"

/* Distributions have the variables beside the firmware, and their names differ by one word. */
static int find_vars(struct firmware_choice *c, struct err *err)
{
	const char *slash = strrchr(c->path, '/'), *base = slash ? slash + 1 : c->path;
	const char *code = strstr(base, "CODE");

	if (!code)
		return 0;
	c->found = strdup(c->path);
	if (!c->found)
		return err_nomem(err);
	memcpy(c->found + (code - c->path), "VARS", 4);
	if (access(c->found, R_OK) == 0)
		c->vars_begin = c->found;
	return 0;
}

int firmware_choose(struct firmware_choice *c, const char *what, const char *vars, struct err *err)
{
	bool uefi = what && strcmp(what, "uefi") == 0;

	if (uefi)
		return firmware_uefi_path(&c->path, &c->vars_begin, err);
	if (!what || strcmp(what, "bios") == 0) {
		if (firmware_path(&c->path, err) < 0)
			return -1;
	} else {
		c->path = what;
		if (firmware_is_uefi(what, &uefi, err) < 0)
			return -1;
	}
	if (vars && !uefi)
		return err_set(err, ERR_USAGE, "--firmware-vars is for UEFI: --firmware uefi");
	return uefi ? find_vars(c, err) : 0;
}

static int copy(int from, uint64_t size, struct outfile *to, struct err *err)
{
	CLEANUP_FREE void *data = malloc((size_t)size + 1);

	if (!data)
		return err_nomem(err);
	if (io_pread(from, data, (size_t)size, 0, err) < 0)
		return -1;
	return io_pwrite(outfile_fd(to), data, (size_t)size, 0, err);
}

static int make_vars(const struct firmware_choice *c, const char *vars, struct err *err)
{
	CLEANUP_CLOSE int from = -1;
	struct outfile *to;
	uint64_t size;

	if (!c->vars_begin) {
		err_set(err, ERR_NOT_FOUND,
			"no such file, and none is known that it could begin as");
		err_object(err, vars);
		return err_hint(err, "copy that of your firmware there");
	}
	if (linux_open(c->vars_begin, &from, &size, err) < 0)
		return -1;
	if (size > FIRMWARE_VARS_MAX) {
		err_set(err, ERR_UNSUPPORTED, "not variables of UEFI firmware");
		return err_object(err, c->vars_begin);
	}
	if (outfile_open(&to, vars, OUTFILE_PRIVATE, err) < 0)
		return -1;
	if (copy(from, size, to, err) < 0) {
		outfile_discard(to);
		return err_object(err, vars);
	}
	return outfile_commit(to, err);
}

int firmware_open_vars(struct firmware_choice *c, const char *vars, struct err *err)
{
	/* Never probed: the guest could make it look like a format that names other files */
	const struct image_open_opts opts = {.format = "raw", .flags = IMAGE_RDWR};

	if (!vars)
		return 0;
	/* Another that starts at the same time may have made it meanwhile */
	if (access(vars, F_OK) < 0 && errno == ENOENT && make_vars(c, vars, err) < 0 &&
	    err->code != ERR_EXISTS)
		return -1;
	err_clear(err);
	if (image_open(&c->vars, vars, &opts, err) < 0)
		return -1;
	if (!image_is_stream(c->vars))
		return 0;
	err_set(err, ERR_USAGE, "a stream cannot keep variables");
	return err_object(err, vars);
}

void firmware_release(struct firmware_choice *c)
{
	image_close(c->vars);
	free(c->found);
}
