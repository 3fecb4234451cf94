/* What run and restore share: see here.h. */
#include "cmd/vmrun/here.h"

#include <string.h>
#include <unistd.h>

#include "cmd/vmrun/terminal.h"
#include "libcommon/base/log.h"
#include "libcommon/image/image.h"

enum { ESCAPE = 0x1d /* ^] */ };

void disks_close(struct disks *d)
{
	for (size_t i = 0; i < d->n; i++) {
		disk_close(d->disk[i]);
		image_close(d->image[i]);
	}
}

static int not_for_writing(bool writes, struct err *err)
{
	if (writes && err->code == ERR_UNSUPPORTED && !err->hint[0])
		err_hint(err, "--ephemeral writes beside it, --read-only does not write");
	return -1;
}

int disks_image(struct image **ret, const char *name, const struct disk_how *how, bool writes,
		struct err *err)
{
	struct image_open_opts opts = {
		.format = how->format,
		.flags = writes ? IMAGE_RDWR : 0,
		.allow_dirs = how->allow->items,
		.n_allow_dirs = how->allow->count,
	};
	struct image *img;

	if (image_open(&img, name, &opts, err) < 0)
		return not_for_writing(writes, err);
	if (image_is_stream(img)) {
		image_close(img);
		err_set(err, ERR_USAGE, "a stream is no disk");
		return err_object(err, name);
	}
	if (writes &&
	    image_write(img, "", 0, 0, err) < 0) { /* a format that only whole images are made of */
		image_close(img);
		return not_for_writing(writes, err);
	}
	*ret = img;
	return 0;
}

int disks_add(struct disks *d, const char *name, const struct disk_how *how, struct err *err)
{
	struct image *img;

	if (disks_image(&img, name, how, how->mode == DISK_WRITE, err) < 0)
		return -1;
	if (disk_open(&d->disk[d->n], img, how->mode, err) < 0) {
		image_close(img);
		return -1;
	}
	if (!how->format && strcmp(image_format_name(img), "raw") == 0)
		disk_guard(d->disk[d->n]);
	d->image[d->n++] = img;
	return 0;
}

int machine_told(const struct machine_result *r, uint64_t timeout_ms, struct err *err)
{
	switch (r->end) {
	case MACHINE_POWEROFF:
		return 0;
	case MACHINE_RESET:
		return err_set(
			err, ERR_DIFFERS,
			"the guest did not power off but reset itself: a reboot, or a panic");
	case MACHINE_ESCAPED:
		return err_set(err, ERR_DIFFERS, "ended by ^]; the guest was not asked");
	case MACHINE_STOPPED:
		return err_set(err, ERR_DIFFERS, "stopped by vmrun stop; the guest was not asked");
	case MACHINE_SAVED:
		return err_set(err, ERR_DIFFERS,
			       "saved by vmrun save: vmrun restore goes on with it");
	case MACHINE_PANIC:
		return err_set(err, ERR_FAILED, "the guest's kernel panicked");
	case MACHINE_CRASHED:
		return err_set(err, ERR_FAILED, "the guest crashed: a triple fault");
	case MACHINE_TIMEOUT:
		return err_set(err, ERR_TIMEOUT, "the guest was not done within %.3g s",
			       (double)timeout_ms / 1000);
	default:
		return err_set(err, ERR_FAILED, "the machine ended without a reason");
	}
}

int machine_command_told(struct cli *cli, const struct machine_result *r, uint64_t timeout_ms,
			 struct err *err)
{
	if (r->end == MACHINE_POWEROFF && r->status >= 0) {
		cli->status = r->status;
		return 0;
	}
	if (r->end == MACHINE_TIMEOUT)
		cli->failure_status = TIMED_OUT;
	if (r->end == MACHINE_POWEROFF || r->end == MACHINE_RESET)
		err_set(err, ERR_FAILED, "the guest ended before the command did");
	else
		(void)machine_told(r, timeout_ms, err);
	return r->last_line[0] ? err_hint(err, "its last words: %.150s", r->last_line) : -1;
}

int machine_run_here(struct machine_opts *opts, struct machine_result *ret, struct err *err)
{
	int rc;

	opts->input = STDIN_FILENO;
	opts->output = STDOUT_FILENO;
	if (isatty(STDIN_FILENO)) {
		log_info("the key to leave is ^]");
		opts->escape = ESCAPE;
		terminal_raw(STDIN_FILENO);
	}
	rc = machine_run(opts, ret, err);
	terminal_restore();
	return rc;
}
