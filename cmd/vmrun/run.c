/* vmrun run: start a machine on this terminal, and end as it ends. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/vmrun/terminal.h"
#include "cmd/vmrun/vmrun.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"
#include "libcommon/image/image.h"
#include "libcommon/runner/disk.h"
#include "libcommon/runner/runner.h"

enum { ESCAPE = 0x1d /* ^] */ };

/* Put in front of what --append says: what comes later wins */
static const char default_command[] = "console=ttyS0 panic=-1";

static struct {
	const char *kernel, *initrd, *append, *format, *kvm;
	struct opt_list disks, allow;
	bool ephemeral, read_only;
	uint64_t memory, timeout;
	unsigned cpus;
} o = {.append = "", .memory = 256 << 20, .cpus = 1};

static const struct opt options[] = {
	{.letter = 'k',
	 .name = "kernel",
	 .type = OPT_STRING,
	 .value = &o.kernel,
	 .arg = "FILE",
	 .complete = COMPLETE_FILE,
	 .help = "the kernel, a bzImage for x86-64"},
	{.letter = 'i',
	 .name = "initrd",
	 .type = OPT_STRING,
	 .value = &o.initrd,
	 .arg = "FILE",
	 .complete = COMPLETE_FILE,
	 .help = "its initial RAM disk"},
	{.letter = 'a',
	 .name = "append",
	 .type = OPT_STRING,
	 .value = &o.append,
	 .arg = "TEXT",
	 .help = "its command line, behind console=ttyS0 panic=-1"},
	{.letter = 'm',
	 .name = "memory",
	 .type = OPT_SIZE,
	 .value = &o.memory,
	 .arg = "SIZE",
	 .help = "of the guest (default: 256M); taken from the host as it is used"},
	{.letter = 'c',
	 .name = "cpus",
	 .type = OPT_UINT,
	 .value = &o.cpus,
	 .arg = "N",
	 .min = 1,
	 .max = MACHINE_CPUS_MAX,
	 .help = "vCPUs, 1 to 16 (default: 1)"},
	{.letter = 'd',
	 .name = "disk",
	 .type = OPT_LIST,
	 .value = &o.disks,
	 .arg = "IMAGE",
	 .complete = COMPLETE_FILE,
	 .help = "a disk of any format, the first is vda; may be given again"},
	{.letter = 'f',
	 .name = "format",
	 .type = OPT_STRING,
	 .value = &o.format,
	 .arg = "FORMAT",
	 .complete = COMPLETE_FORMAT,
	 .help = "of all disks (default: probed)"},
	{.letter = 'e',
	 .name = "ephemeral",
	 .type = OPT_FLAG,
	 .value = &o.ephemeral,
	 .help = "what the guest writes to its disks is thrown away; the images are only read"},
	{.name = "read-only",
	 .type = OPT_FLAG,
	 .value = &o.read_only,
	 .help = "the guest cannot write to its disks"},
	{.name = "allow-backing",
	 .type = OPT_LIST,
	 .value = &o.allow,
	 .arg = "DIR",
	 .complete = COMPLETE_DIR,
	 .help = "backing files may lie below DIR too"},
	{.letter = 't',
	 .name = "timeout",
	 .type = OPT_DURATION,
	 .value = &o.timeout,
	 .arg = "TIME",
	 .help = "end the machine after this: status 10 (default: never)"},
	{.name = "kvm",
	 .type = OPT_STRING,
	 .value = &o.kvm,
	 .arg = "FILE",
	 .help = "instead of /dev/kvm",
	 .hidden = true},
	OPT_END,
};

static const char *const examples[] = {
	"vmrun --kernel /boot/vmlinuz --initrd initrd.img --append root=/dev/vda1 --disk "
	"disk.qcow2",
	"vmrun -k vmlinuz -i initrd -m 1G -c 4 --ephemeral -d disk.vmdk --timeout 5m </dev/null",
	NULL,
};

/* What a machine's disks are made of; the images outlive the disks */
struct disks {
	struct image *image[MACHINE_DISKS_MAX];
	struct disk *disk[MACHINE_DISKS_MAX];
	size_t n;
};

static void close_disks(struct disks *d)
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

static int open_disk(struct disks *d, const char *name, struct err *err)
{
	bool writes = !o.ephemeral && !o.read_only;
	struct image_open_opts opts = {
		.format = o.format,
		.flags = writes ? IMAGE_RDWR : 0,
		.allow_dirs = o.allow.items,
		.n_allow_dirs = o.allow.count,
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
	if (disk_open(&d->disk[d->n], img,
		      o.ephemeral   ? DISK_EPHEMERAL
		      : o.read_only ? DISK_READ_ONLY
				    : DISK_WRITE,
		      err) < 0) {
		image_close(img);
		return -1;
	}
	d->image[d->n++] = img;
	return 0;
}

static int open_disks(struct disks *d, struct err *err)
{
	if (o.disks.count > MACHINE_DISKS_MAX)
		return err_set(err, ERR_USAGE, "%zu disks are too many: %d at most", o.disks.count,
			       MACHINE_DISKS_MAX);
	for (size_t i = 0; i < o.disks.count; i++)
		if (open_disk(d, o.disks.items[i], err) < 0)
			return -1;
	return 0;
}

static int told(enum machine_end end, struct err *err)
{
	switch (end) {
	case MACHINE_POWEROFF:
		return 0;
	case MACHINE_RESET:
		return err_set(
			err, ERR_DIFFERS,
			"the guest did not power off but reset itself: a reboot, or a panic");
	case MACHINE_ESCAPED:
		return err_set(err, ERR_DIFFERS, "ended by ^]; the guest was not asked");
	case MACHINE_PANIC:
		return err_set(err, ERR_FAILED, "the guest's kernel panicked");
	case MACHINE_CRASHED:
		return err_set(err, ERR_FAILED, "the guest crashed: a triple fault");
	case MACHINE_TIMEOUT:
		return err_set(err, ERR_TIMEOUT, "the guest was not done within %.3g s",
			       (double)o.timeout / 1000);
	default:
		return err_set(err, ERR_FAILED, "the machine ended without a reason");
	}
}

static int start(const struct disks *d, const char *command, struct err *err)
{
	bool terminal = isatty(STDIN_FILENO);
	struct machine_opts opts = {
		.kvm = o.kvm,
		.kernel = o.kernel,
		.initrd = o.initrd,
		.command_line = command,
		.memory = o.memory,
		.cpus = o.cpus,
		.disks = d->disk,
		.n_disks = d->n,
		.input = STDIN_FILENO,
		.output = STDOUT_FILENO,
		.escape = terminal ? ESCAPE : -1,
		.timeout_ms = o.timeout,
	};
	enum machine_end end;
	int rc;

	if (terminal) {
		log_info("the key to leave is ^]");
		terminal_raw(STDIN_FILENO);
	}
	rc = machine_run(&opts, &end, err);
	terminal_restore();
	return rc < 0 ? -1 : told(end, err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct disks d = {.n = 0};
	CLEANUP_FREE char *command = NULL;
	int rc;

	(void)cli;
	(void)argc;
	(void)argv;
	if (!o.kernel)
		return err_set(err, ERR_USAGE, "what to start is missing: --kernel FILE");
	if (o.ephemeral && o.read_only)
		return err_set(err, ERR_USAGE, "--ephemeral and --read-only exclude each other");
	if (asprintf(&command, "%s%s%s", default_command, *o.append ? " " : "", o.append) < 0) {
		command = NULL;
		return err_nomem(err);
	}
	rc = open_disks(&d, err);
	if (rc == 0)
		rc = start(&d, command, err);
	close_disks(&d);
	return rc;
}

const struct verb verb_run = {
	.name = "run",
	.usage = "[OPTIONS] --kernel FILE",
	.summary = "start a Linux kernel in a machine of its own; \"run\" may be left out",
	.details =
		"The guest's serial console is standard input and output. On a terminal, which is "
		"raw meanwhile, "
		"^] ends the machine at once. The end of standard input is not the guest's end.\n\n"
		"When the guest powers off the status is 0. A reset is not done but ends the "
		"machine with "
		"status 3: a kernel that panics resets too, unless its command line says panic=0.",
	.options = options,
	.examples = examples,
	.statuses =
		"0 the guest powered off, 1 it crashed, or panicked and pvpanic told so, 3 it "
		"reset itself, or ^] ended it, "
		"4 no such kernel or image, 6 a disk is locked, 8 a file is cut off or corrupt, "
		"9 no KVM, or not a kernel, 10 --timeout ran out, 12 no permission, 13 no space",
	.min_args = 0,
	.max_args = 0,
	.run = run,
};
