/* vmrun run: start a machine on this terminal, or a command in one, and end as it ends. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/vmrun/command.h"
#include "cmd/vmrun/firmware.h"
#include "cmd/vmrun/here.h"
#include "cmd/vmrun/inside.h"
#include "cmd/vmrun/metrics.h"
#include "cmd/vmrun/net.h"
#include "cmd/vmrun/shares.h"
#include "cmd/vmrun/vmrun.h"
#include "cmd/vmrun/vsock.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/outfile.h"
#include "libcommon/runner/control.h"
#include "libcommon/runner/disk.h"
#include "libcommon/runner/runner.h"

/* Put in front of what --append says: what comes later wins */
static const char default_command[] = "console=ttyS0 panic=-1";

static struct {
	const char *kernel, *firmware, *firmware_vars, *initrd, *append, *format, *kvm, *root,
		*modules, *workdir, *metrics, *name, *prepare, *vsock, *user;
	struct opt_list disks, fixed, allow, env, nets, publish, shares;
	bool direct, ephemeral, read_only, copy_root, write_root, balloon, hugepages;
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
	 .help = "the kernel for x86-64: a bzImage, or an ELF file (vmlinux) with a PVH entry"},
	{.letter = 'i',
	 .name = "initrd",
	 .type = OPT_STRING,
	 .value = &o.initrd,
	 .arg = "FILE",
	 .complete = COMPLETE_FILE,
	 .help = "its initial RAM disk"},
	{.name = "direct",
	 .type = OPT_FLAG,
	 .value = &o.direct,
	 .help = "without --kernel: start the kernel that the disk's GRUB, or its entries of the "
		 "Boot "
		 "Loader Specification, would start, with its initial RAM disk and command line; "
		 "no BIOS "
		 "runs"},
	{.name = "firmware",
	 .type = OPT_STRING,
	 .value = &o.firmware,
	 .arg = "bios|uefi|FILE",
	 .complete = COMPLETE_FILE,
	 .help = "what starts a disk without --kernel: a BIOS (SeaBIOS of this host, the default), "
		 "UEFI (OVMF of this host), or either from a file"},
	{.name = "firmware-vars",
	 .type = OPT_STRING,
	 .value = &o.firmware_vars,
	 .arg = "FILE",
	 .complete = COMPLETE_FILE,
	 .help = "where UEFI's variables stay, boot entries among them; made when it is not there "
		 "(default: they go with the machine)"},
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
	{.name = "hugepages",
	 .type = OPT_FLAG,
	 .value = &o.hugepages,
	 .help = "its memory is of huge pages (2 MiB) of the host's pool, all of which it takes at "
		 "once and keeps until the machine ends; "
		 "not together with --balloon (default: ordinary pages, and what the host itself "
		 "makes of them)"},
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
	{.name = "read-only-disk",
	 .type = OPT_LIST,
	 .value = &o.fixed,
	 .arg = "IMAGE",
	 .complete = COMPLETE_FILE,
	 .help = "a disk that the guest cannot write to, behind the others; may be given again"},
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
	{.name = "net",
	 .type = OPT_LIST,
	 .value = &o.nets,
	 .arg = "user|tap=NAME|fd=N|none",
	 .help = "a network interface: of passt's, which needs no privileges (with ,host its "
		 "gateway "
		 "is this host's 127.0.0.1); of a tap device; of a descriptor, which is a tap "
		 "device's or passt's "
		 "socket. Each may have a ,mac=ADDRESS; up to 4 (default: none)"},
	{.letter = 'p',
	 .name = "publish",
	 .type = OPT_LIST,
	 .value = &o.publish,
	 .arg = "[ADDRESS:]PORT[:GUESTPORT][/udp]",
	 .help = "this host's PORT, of 127.0.0.1 or of ADDRESS (0.0.0.0: of all), leads to the "
		 "guest's, by --net user; may be given again"},
	{.letter = 'n',
	 .name = "name",
	 .type = OPT_STRING,
	 .value = &o.name,
	 .arg = "NAME",
	 .help = "of the machine, for ps, stats, pause, resume and stop (default: none, and it has "
		 "no "
		 "control socket)"},
	{.letter = 't',
	 .name = "timeout",
	 .type = OPT_DURATION,
	 .value = &o.timeout,
	 .arg = "TIME",
	 .help = "end the machine after this: status 10 (default: never). A disk on a server that "
		 "does not answer is "
		 "given up five seconds later"},
	{.name = "metrics",
	 .type = OPT_STRING,
	 .value = &o.metrics,
	 .arg = "FILE.prom",
	 .complete = COMPLETE_FILE,
	 .help = "at the end its status, how long it took and what it used, for node_exporter's "
		 "textfile collector; the file is replaced as a whole"},
	{.letter = 'r',
	 .name = "root",
	 .type = OPT_STRING,
	 .value = &o.root,
	 .arg = "DIR|IMAGE",
	 .complete = COMPLETE_FILE,
	 .help = "a command's files: a folder, what it writes there is thrown away, or a disk with "
		 "an ext4, XFS or "
		 "btrfs file system, which becomes vda"},
	{.name = "write-root",
	 .type = OPT_FLAG,
	 .value = &o.write_root,
	 .help = "what the command writes to a --root that is a folder stays there"},
	{.name = "copy-root",
	 .type = OPT_FLAG,
	 .value = &o.copy_root,
	 .help = "copy a --root that is a folder into the guest's memory: for kernels without "
		 "virtiofs and overlay"},
	{.letter = 's',
	 .name = "share",
	 .type = OPT_LIST,
	 .value = &o.shares,
	 .arg = "DIR[:NAME][:ro]",
	 .complete = COMPLETE_DIR,
	 .help = "a folder for the guest, by virtio-fs: NAME is where a command finds it (default: "
		 "DIR's own path), else the "
		 "tag to mount it by (default: share0, share1, ...); may be given again"},
	{.name = "vsock",
	 .type = OPT_STRING,
	 .value = &o.vsock,
	 .arg = "PATH[,cid=N]",
	 .complete = COMPLETE_FILE,
	 .help = "a vsock for the guest: to PATH, a unix socket, say \"CONNECT PORT\" to reach it; "
		 "it reaches PATH_PORT (default: cid=3)"},
	{.name = "balloon",
	 .type = OPT_FLAG,
	 .value = &o.balloon,
	 .help = "the guest's free memory goes back to the host, and stats shows what it says of "
		 "its memory"},
	{.name = "env",
	 .type = OPT_LIST,
	 .value = &o.env,
	 .arg = "NAME=VALUE",
	 .help = "set in the command's environment, which is PATH and HOME otherwise"},
	{.name = "workdir",
	 .type = OPT_STRING,
	 .value = &o.workdir,
	 .arg = "DIR",
	 .help = "where the command starts, in the guest (default: /)"},
	{.letter = 'u',
	 .name = "user",
	 .type = OPT_STRING,
	 .value = &o.user,
	 .arg = "NAME|UID",
	 .help = "whom the command runs as, of the guest's /etc/passwd and /etc/group (default: "
		 "root)"},
	{.name = "modules",
	 .type = OPT_STRING,
	 .value = &o.modules,
	 .arg = "DIR",
	 .complete = COMPLETE_DIR,
	 .help = "the kernel's modules, for a command (default: those in /lib/modules)"},
	{.name = "prepare",
	 .type = OPT_STRING,
	 .value = &o.prepare,
	 .arg = "FILE",
	 .complete = COMPLETE_FILE,
	 .help = "boot until a command could start, and save the machine there: vmrun restore FILE "
		 "-- "
		 "COMMAND starts it at once"},
	{.name = "kvm",
	 .type = OPT_STRING,
	 .value = &o.kvm,
	 .arg = "FILE",
	 .help = "instead of /dev/kvm",
	 .hidden = true},
	OPT_END,
};

static const char *const examples[] = {
	"vmrun --ephemeral --memory 1G disk.qcow2",
	"vmrun --firmware uefi --firmware-vars web.vars web.qcow2",
	"vmrun --direct --append systemd.unit=rescue.target disk.vmdk",
	"vmrun -k /boot/vmlinuz -i initrd.img --append root=/dev/vda1 --disk disk.qcow2",
	"vmrun -k vmlinuz --root rootfs -- sh -c 'make check' <input >output",
	"vmrun -k vmlinuz --root rootfs --net user -p 8080:80 -- httpd -f",
	"vmrun -k vmlinuz --root rootfs --copy-root --prepare ready.state",
	"vmrun -k vmlinuz -i initrd -m 1G -c 4 --ephemeral -d disk.vmdk --timeout 5m </dev/null",
	NULL,
};

static struct disk_how how(void)
{
	return (struct disk_how){
		.format = o.format,
		.allow = &o.allow,
		.mode = o.ephemeral   ? DISK_EPHEMERAL
			: o.read_only ? DISK_READ_ONLY
				      : DISK_WRITE,
	};
}

/* What is no folder is an image; whether it is there, opening it tells */
static bool root_is_disk(void)
{
	struct stat st;

	return o.root && (stat(o.root, &st) < 0 || !S_ISDIR(st.st_mode));
}

/* A root folder that is shared; NULL: there is none */
static const char *shared_root(void)
{
	return o.root && !root_is_disk() && !o.copy_root ? o.root : NULL;
}

/* @args: @n of them are disks, before the others */
static int open_disks(struct disks *d, char **args, unsigned n_args, struct err *err)
{
	const struct disk_how opened = how();
	struct disk_how fixed = how();
	size_t n = n_args + o.disks.count + o.fixed.count + root_is_disk();

	fixed.mode = DISK_READ_ONLY;

	if (n > MACHINE_DISKS_MAX)
		return err_set(err, ERR_USAGE, "%zu disks are too many: %d at most", n,
			       MACHINE_DISKS_MAX);
	if (root_is_disk() && disks_add(d, o.root, &opened, err) < 0)
		return -1;
	for (unsigned i = 0; i < n_args; i++)
		if (disks_add(d, args[i], &opened, err) < 0)
			return -1;
	for (size_t i = 0; i < o.disks.count; i++)
		if (disks_add(d, o.disks.items[i], &opened, err) < 0)
			return -1;
	for (size_t i = 0; i < o.fixed.count; i++)
		if (disks_add(d, o.fixed.items[i], &fixed, err) < 0)
			return -1;
	return 0;
}

static struct nets nets;

/* The name's socket; NULL without --name */
static struct control *control;

static struct shares shares;
static struct metrics metrics;
static struct vsock *vsock;
static struct firmware_choice firmware;
static uint32_t vsock_cid;

static struct machine_opts machine(const struct disks *d, const char *command_line)
{
	return (struct machine_opts){
		.kvm = o.kvm,
		.firmware = firmware.path,
		.firmware_vars = firmware.vars,
		.firmware_template = firmware.vars_begin,
		.kernel = o.kernel,
		.initrd = o.initrd,
		.initrd_fd = -1,
		.command_line = command_line,
		.memory = o.memory,
		.huge_pages = o.hugepages,
		.cpus = o.cpus,
		.disks = d->disk,
		.n_disks = d->n,
		.figures = metrics.figures,
		.nets = nets.net,
		.n_nets = nets.n,
		.shares = shares.machine,
		.n_shares = shares.n,
		.vsock = vsock,
		.vsock_cid = vsock_cid,
		.balloon = o.balloon,
		.input = -1,
		.output = -1,
		.escape = -1,
		.timeout_ms = o.timeout,
		.control = control,
	};
}

/* A whole system: its serial line is ours */
static int run_system(const struct disks *d, const struct inside *in, struct err *err)
{
	CLEANUP_FREE char *line = NULL;
	struct machine_result r;
	struct machine_opts opts;
	const char *own = in->command ? in->command : "";
	int rc;

	if (asprintf(&line, "%s%s%s%s%s", own, *own ? " " : "", default_command,
		     *o.append ? " " : "", o.append) < 0) {
		line = NULL;
		return err_nomem(err);
	}
	opts = machine(d, line);
	if (in->kernel_fd >= 0)
		opts.kernel = in->kernel;
	if (in->initrd_fd >= 0)
		opts.initrd = in->initrd;
	rc = machine_run_here(&opts, &r, err);
	return rc < 0 ? -1 : machine_told(&r, o.timeout, err);
}

/* One command in it: the streams are the command's, the serial line is only for -v */
static int run_command(struct cli *cli, const struct disks *d, char **argv, struct outfile *out,
		       struct err *err)
{
	struct command c = {
		.args = argv,
		.kernel = o.kernel,
		.root = o.copy_root ? o.root : NULL,
		.shares = &shares,
		.balloon = o.balloon,
		.vsock = o.vsock != NULL,
		.root_disk = !root_is_disk() ? NULL
			     : o.read_only   ? "ro"
					     : "rw",
		.modules = o.modules,
		.folder = o.workdir,
		.user = o.user,
		.env = &o.env,
		.waits = out != NULL,
		.disks = d->n,
		.net = nets.n,
		.net_user = nets.user_first,
	};
	const struct machine_streams streams = {
		.in = out ? -1 : STDIN_FILENO,
		.out = out ? -1 : STDOUT_FILENO,
		.errors = out ? -1 : STDERR_FILENO,
	};
	CLEANUP_FREE char *line = NULL;
	CLEANUP_CLOSE int initrd = -1;
	struct machine_result r;
	struct machine_opts opts;

	if (asprintf(&line, "%s%s rdinit=/vmrun/init %s", default_command,
		     cli->verbose ? "" : " quiet", o.append) < 0) {
		line = NULL;
		return err_nomem(err);
	}
	if (c.root_disk && command_root_drivers(d->image[0], &c.drivers, err) < 0)
		return -1;
	if (command_pack(&c, &initrd, err) < 0)
		return -1;
	opts = machine(d, line);
	opts.streams = &streams;
	opts.initrd_fd = initrd;
	opts.output = cli->verbose ? STDERR_FILENO : -1;
	opts.prepare = out != NULL;
	opts.prepare_fd = out ? outfile_fd(out) : -1;
	if (machine_run(&opts, &r, err) < 0) {
		if (err->code == ERR_TIMEOUT)
			cli->failure_status = TIMED_OUT;
		return -1;
	}
	if (out && r.end == MACHINE_SAVED)
		return 0;
	return machine_command_told(cli, &r, o.timeout, err);
}

/* The machine boots up to where a command would start, and is saved there */
static int prepare(struct cli *cli, const struct disks *d, struct err *err)
{
	struct outfile *out;

	if (outfile_open(&out, o.prepare, OUTFILE_PRIVATE, err) < 0)
		return -1;
	if (run_command(cli, d, NULL, out, err) < 0) {
		outfile_discard(out);
		return -1;
	}
	return outfile_commit(out, err);
}

static int check_prepare(int argc, struct err *err)
{
	if (argc || o.env.count || o.workdir || o.user)
		return err_set(
			err, ERR_USAGE,
			"the command, its --env, --user and --workdir come later, with restore: "
			"vmrun restore FILE -- COMMAND");
	return 0;
}

/* Without a kernel: arguments are disks, whose boot loader starts the machine */
static int check_firmware(const struct cli *cli, int argc, struct err *err)
{
	if (cli->before_dashes >= 0)
		return err_set(err, ERR_USAGE, "a COMMAND needs a kernel: --kernel FILE");
	if (!argc && !o.disks.count)
		return err_set(err, ERR_USAGE,
			       "what to start is missing: a DISK, or --kernel FILE");
	if (o.initrd || (*o.append && !o.direct) || o.root || o.modules || o.workdir || o.user ||
	    o.env.count || o.prepare)
		return err_set(err, ERR_USAGE,
			       "--initrd, --append and what is for commands need --kernel FILE");
	if ((o.firmware || o.firmware_vars) && o.direct)
		return err_set(err, ERR_USAGE, "--direct and --firmware exclude each other");
	return o.direct ? 0 : firmware_choose(&firmware, o.firmware, o.firmware_vars, err);
}

static int check_options(const struct cli *cli, int argc, struct err *err)
{
	bool command = argc > 0 || o.prepare;

	if (o.ephemeral && o.read_only)
		return err_set(err, ERR_USAGE, "--ephemeral and --read-only exclude each other");
	if (o.hugepages && o.balloon)
		return err_set(err, ERR_USAGE,
			       "--hugepages and --balloon exclude each other: "
			       "huge pages do not go back");
	if (!o.kernel)
		return check_firmware(cli, argc, err);
	if (o.direct || o.firmware || o.firmware_vars)
		return err_set(err, ERR_USAGE, "--kernel excludes --direct and --firmware");
	if (argc && !cli->dashes) {
		err_set(err, ERR_USAGE, "a command stands behind --");
		return err_hint(err, "vmrun --kernel FILE -- COMMAND...");
	}
	if ((o.copy_root || o.write_root) && (!o.root || root_is_disk()))
		return err_set(err, ERR_USAGE,
			       "--copy-root and --write-root are for a --root that is a folder");
	if (o.copy_root && o.write_root)
		return err_set(err, ERR_USAGE, "--copy-root and --write-root exclude each other");
	if (!command && (o.root || o.modules || o.workdir || o.env.count || o.user))
		return err_set(err, ERR_USAGE,
			       "--root, --env, --user, --workdir and --modules are for a command");
	if (command_check_user(o.user, err) < 0)
		return -1;
	return o.prepare ? check_prepare(argc, err) : 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct inside in = {.kernel_fd = -1, .initrd_fd = -1};
	struct disks d = {.n = 0};
	bool command = argc && o.kernel;
	int rc;

	if (argc && cli->dashes)
		cli->failure_status = OWN_FAILURE;
	if (check_options(cli, argc, err) < 0)
		return -1;
	rc = metrics_begin(&metrics, o.metrics, err);
	if (rc == 0 && o.name)
		rc = control_open(&control, o.name, err);
	if (rc == 0)
		rc = open_disks(&d, argv, command ? 0 : (unsigned)argc, err);
	if (rc == 0)
		rc = firmware_open_vars(&firmware, o.firmware_vars, err);
	if (rc == 0 && o.direct)
		rc = inside_find(&in, d.image[0], err);
	if (rc == 0)
		rc = nets_open(&nets, &o.nets, &o.publish, err);
	if (rc == 0)
		rc = shares_open(&shares, &o.shares, command || o.prepare, shared_root(),
				 o.write_root, err);
	if (rc == 0)
		rc = vsock_option(o.vsock, &vsock, &vsock_cid, err);
	if (rc == 0)
		rc = o.prepare ? prepare(cli, &d, err)
		     : command ? run_command(cli, &d, argv, NULL, err)
			       : run_system(&d, &in, err);
	nets_close(&nets);
	inside_release(&in);
	disks_close(&d);
	firmware_release(&firmware);
	shares_close(&shares);
	vsock_close(vsock);
	rc = metrics_end(&metrics, o.name, cli, rc, err);
	control_close(control); /* whoever waits for the machine's end finds the disks free */
	return rc;
}

const struct verb verb_run = {
	.name = "run",
	.usage = "[OPTIONS] DISK...|--kernel FILE [-- COMMAND [ARGUMENT...]]",
	.summary =
		"start a disk or a Linux kernel in a machine of its own; \"run\" may be left out",
	.details =
		"DISKs, images of any format, are started by a BIOS or UEFI, from the boot loader "
		"of the "
		"first one; "
		"their guests find them as virtio disks. A kernel is started without any.\n\n"
		"The guest's serial console is standard input and output. On a terminal, which is "
		"raw meanwhile, "
		"^] ends the machine at once. The end of standard input is not the guest's end.\n\n"
		"When the guest powers off the status is 0. A reset is not done but ends the "
		"machine with "
		"status 3: a kernel that panics resets too, unless its command line says "
		"panic=0.\n\n"
		"With a COMMAND, that runs as root, or as --user, in the guest, on the files of "
		"--root (and of "
		"--initrd), with these "
		"standard streams, and its status is vmrun's. Its kernel needs virtio_pci and "
		"virtio_console, built in "
		"or as modules. The first SIGINT, SIGTERM or SIGHUP goes to the command, if it "
		"runs already; the next ends the machine. When "
		"vmrun itself fails the status is 125, and 124 when --timeout ran out. -v shows "
		"the "
		"guest's console on standard error.",
	.options = options,
	.examples = examples,
	.statuses =
		"0 the guest powered off, 1 it crashed, or panicked and pvpanic told so, 3 it "
		"reset itself, or ^] or vmrun stop ended it, "
		"4 no such kernel or image, 5 a machine of this name runs, 6 a disk is locked or a "
		"port taken, 8 a "
		"file is cut off or corrupt, "
		"9 no KVM, no passt, or not a kernel or firmware, 10 --timeout ran out, 12 no "
		"permission, 13 "
		"no space, "
		"124 --timeout ran out before COMMAND ended, 125 COMMAND given, and vmrun failed, "
		"126 COMMAND cannot be run, 127 COMMAND was not found",
	.min_args = 0,
	.max_args = UINT_MAX,
	.run = run,
};
