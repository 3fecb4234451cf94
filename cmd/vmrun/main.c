/* vmrun: machines on KVM. The table of verbs; each is a file of its own. */
#include <jansson.h>
#include <string.h>

#include "cmd/vmrun/vmrun.h"
#include "libcommon/base/libcrypto.h"
#include "libcommon/image/format.h"
#include "libcommon/image/protocol/nbd.h"
#include "libcommon/package/package.h"
#include "libcommon/runner/control.h"

static const struct verb *const verbs[] = {&verb_run,	&verb_ps,      &verb_attach, &verb_stop,
					   &verb_pause, &verb_resume,  &verb_save,   &verb_restore,
					   &verb_stats, &verb_balloon, NULL};

static void complete_machine(const char *prefix, FILE *out)
{
	char **names;
	size_t n;

	if (control_list(&names, &n, NULL) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		if (!strncmp(names[i], prefix, strlen(prefix)))
			(void)fprintf(out, "%s\n", names[i]);
	control_list_free(names, n);
}

static void complete(enum complete_kind kind, const char *prefix, FILE *out)
{
	for (size_t i = 0; kind == COMPLETE_FORMAT && image_formats[i]; i++)
		if (!strncmp(image_formats[i]->name, prefix, strlen(prefix)))
			(void)fprintf(out, "%s\n", image_formats[i]->name);
	if (kind == COMPLETE_MACHINE)
		complete_machine(prefix, out);
}

static void versions(FILE *out)
{
	(void)fprintf(out, "jansson %s\n", jansson_version_str());
	(void)fprintf(out, "%s\n", OpenSSL_version(OPENSSL_VERSION));
}

static void man(FILE *out)
{
	(void)fputs(
		".SH THE MACHINE\n"
		"1 to 16 vCPUs of the host's kind, the interrupt chips and timer of a PC (by KVM), "
		"a serial console\n"
		"(ttyS0), ACPI with reset and power off, a clock in UTC, pvpanic, a random number "
		"generator and\n"
		"disks and network interfaces as virtio 1.x devices on PCI with MSI-X.\n"
		"Any Linux kernel for x86-64 with these drivers does; those of Debian have "
		"virtio_pci and virtio_blk "
		"as modules,\nwhich the initial RAM disk must load.\n"
		".SH COMMANDS\n"
		"A command is run by a first process of ours, \\fIlibexec/vmkit/vmrun-init\\fR, "
		"which is packed into an initial "
		"RAM disk\nwith the modules virtio_pci, "
		"virtio_console, virtio_rng and, with "
		"disks, virtio_blk, with shared folders virtiofs and overlay.\nThat of "
		"\\fB\\-\\-initrd\\fR lies before it. What the command leaves in the background\n"
		"when it ends is killed.\n"
		"A \\fB\\-\\-root\\fR that is a folder is shared with the guest; what "
		"the command writes there is in the guest's memory and\nthrown away, unless "
		"\\fB\\-\\-write\\-root\\fR is given. To one that is a disk image the command "
		"writes, unless \\fB\\-\\-ephemeral\\fR says otherwise.\n"
		".SH SHARED FOLDERS\n"
		"\\fB\\-\\-share\\fR \\fIDIR\\fR[:\\fINAME\\fR][:\\fBro\\fR] gives the guest a "
		"folder by virtio-fs; no daemon is needed. A command finds it at NAME;\n"
		"a whole system mounts it: \\fImount \\-t virtiofs share0 /mnt\\fR.\n"
		"The guest cannot leave the folder: links are followed in its own tree, what is "
		"mounted below the folder is an empty folder,\nand no device is opened or made. "
		"All is done as vmrun's user, whose files are root's in the guest, "
		"also those that a command under \\fB\\-\\-user\\fR makes: such a command writes "
		"only "
		"where anybody may. Owners\ncannot be changed there, nor set-user-ID bits set, and "
		"of extended "
		"attributes there are those of \\fIuser.\\fR.\nChanges by others on the host are "
		"seen within a second. Locks are the guest's own, not the host's.\n"
		".SH NETWORK\n"
		"A machine has none unless \\fB\\-\\-net\\fR or \\fB\\-\\-publish\\fR asks for "
		"it.\n"
		"\\fBuser\\fR starts \\fBpasst\\fR(1), which makes connections in the guest's "
		"stead, as "
		"its caller's or, when root's, as nobody's. The guest\ngets 10.0.2.15/24, by DHCP "
		"or "
		"by hand; 10.0.2.2 is its gateway, 10.0.2.3 its resolver. This host's own "
		"127.0.0.1 "
		"is out of its reach unless\n\\fB,host\\fR makes the gateway's address lead there. "
		"A resolver that listens on 127.0.0.1 alone is reached only with \\fB,host\\fR "
		"too. "
		"passt needs a default\nroute, and ends with the machine; when it ends before, the "
		"guest's link goes down. Its frames hold 64 KiB, so that nothing is left to "
		"segment.\n"
		"\\fBtap=\\fR\\fINAME\\fR takes a tap device that is the caller's (ip tuntap add "
		"NAME "
		"mode tap user USER), with checksums and segmentation left to\nthe host; root's "
		"vmrun "
		"makes one that is not there, until it ends. The address of the guest's interface "
		"is told by the host's and its name.\n"
		"\\fBfd=\\fR\\fIN\\fR is an open descriptor: of a tap device with virtio headers, "
		"or a unix stream "
		"socket on which frames have their length in\n4 bytes before them, as passt and "
		"QEMU "
		"speak.\n"
		"In a command's guest the loopback interface and all others are up, and the first "
		"has "
		"its address when it is passt's; /etc/resolv.conf is\nset, but not one that is a "
		"link on a root disk.\n"
		".SH VSOCK AND BALLOON\n"
		"\\fB\\-\\-vsock\\fR \\fIPATH\\fR gives the guest streams that need no network. "
		"Who connects to PATH and says \"CONNECT PORT\" gets \"OK PORT\" and then\nthat "
		"port "
		"of the guest; a connection of the guest to port N of CID 2 is one to the unix "
		"socket "
		"PATH_N, where somebody listens.\n"
		"\\fB\\-\\-balloon\\fR lets pages that the guest reports as free go back to the "
		"host, "
		"\\fBvmrun stats\\fR show what the guest says of its memory, and \\fBvmrun "
		"balloon\\fR\ntake memory from it and give it back.\n"
		".SH CONTROL\n"
		"A machine that was started with \\fB\\-\\-name\\fR listens on a unix socket, "
		"NAME.vmrun of mode 0600 in a folder that is\nits user's alone: "
		"\\fI$XDG_RUNTIME_DIR/vmkit\\fR or \\fI/run/user/UID/vmkit\\fR where that "
		"user has such a folder, "
		"else\n\\fI$TMPDIR/vmkit\\-UID\\fR. A connection is one line of JSON each way: "
		"{\"request\":\"info\"}, stats, pause, resume, stop\n(the power button, where the "
		"guest listens to it, else the end), kill or console: behind the answer to that "
		"the connection goes on as the serial\nconsole's bytes, both ways.\n"
		".SH SAVED MACHINES\n"
		"A file of \\fBsave\\fR holds guest memory, with holes where it is zero, and the "
		"state of processors and devices: all secrets of the guest.\nIts head and its "
		"description have digests, its memory has none unless it is compressed. It fits "
		"processors with all features of the one\nthat the guest was started on. Disks are "
		"told by the sizes and times of their files; of one on NBD only the size is "
		"known.\n"
		".SH ISOLATION\n"
		"Before the guest runs, vmrun gives up what a machine never needs, for all of its "
		"threads: "
		"new privileges (no_new_privs), and by\na seccomp filter the system calls that "
		"start "
		"programs, look into other processes, or change the kernel, the clock, mounts or "
		"namespaces.\n"
		"The threads that run the guest and serve its devices open no files but below "
		"shared folders (Landlock, Linux 5.13 and later; without it a\nwarning says so). "
		"The main and the control thread, which the guest does not speak to, can open what "
		"vmrun's user can: they make and rename the\nfiles of \\fB\\-\\-metrics\\fR and "
		"\\fB\\-\\-prepare\\fR, in folders that may be any, and remove sockets, when the "
		"machine has ended.\n"
		".SH LIMITS\n"
		"There is no screen and no keyboard: firmware speaks on the serial line, as a boot "
		"loader and a kernel must\nthat want to be heard. UEFI is OVMF without secure "
		"boot, "
		"which would need a system management mode.\nIt was tried with Debian 12's OVMF "
		"2022.11, GRUB and Linux under an emulated AMD-V, not on other processors, nor "
		"with "
		"Windows.\nA disk that it cannot start leaves it in its menu: "
		"\\fB\\-\\-timeout\\fR "
		"ends that.\n"
		"Roots of commands were tried on ext4 and, in a partition, on XFS; btrfs was not.\n"
		".SH FILES\n"
		".TP\n.I /dev/kvm\n"
		"Must be there, and open for the caller: on most systems the group kvm has it.\n"
		".TP\n.I $TMPDIR\n"
		"What guests write to ephemeral disks lies in nameless files there (default: "
		"/var/tmp).\n",
		out);
}

static const struct program program = {
	.name = "vmrun",
	.summary = "machines on KVM: start disks of any format, or a Linux kernel",
	.verbs = verbs,
	.main_verb = &verb_run,
	.complete = complete,
	.versions = versions,
	.man = man,
};

int main(int argc, char **argv)
{
	package_register();
	nbd_register();
	return cli_main(&program, argc, argv);
}
