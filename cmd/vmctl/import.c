/* vmctl import: the machine of an OVF or OVA package, with its disks. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/vmctl/create.h"
#include "cmd/vmctl/place.h"
#include "cmd/vmctl/vmctl.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"
#include "libcommon/image/copy/engine.h"
#include "libcommon/package/package.h"

static struct {
	const char *dir, *bus, *network, *accel, *machine, *kernel, *initrd, *append;
	uint64_t memory;
	unsigned cpus;
	bool keep_macs, start, dry_run;
} o;

static const struct opt options[] = {
	{.name = "machine",
	 .type = OPT_STRING,
	 .value = &o.machine,
	 .arg = "NAME|N",
	 .help = "which machine, of a package with several: its name or number"},
	{.name = "dir",
	 .type = OPT_STRING,
	 .value = &o.dir,
	 .arg = "DIR",
	 .help = "where its disks go (default: where libvirt keeps images, or "
		 "~/.local/share/vmkit/disks with builtin)",
	 .complete = COMPLETE_DIR},
	{.name = "bus",
	 .type = OPT_CHOICE,
	 .value = &o.bus,
	 .arg = "BUS",
	 .choices = "as-is|virtio|sata|scsi|ide",
	 .help = "how disks are connected (default: as-is, what the package says, SCSI as SATA)"},
	{.name = "network",
	 .type = OPT_STRING,
	 .value = &o.network,
	 .arg = "NAME|bridge:NAME|user|none",
	 .help = "what its network cards are connected to (default: default, user in a session, "
		 "none with builtin)"},
	{.name = "keep-macs",
	 .type = OPT_FLAG,
	 .value = &o.keep_macs,
	 .help = "its network cards keep their addresses: the first machine must be gone"},
	{.letter = 'm',
	 .name = "memory",
	 .type = OPT_SIZE,
	 .value = &o.memory,
	 .arg = "SIZE",
	 .help = "memory (default: what the package says)"},
	{.name = "cpus",
	 .type = OPT_UINT,
	 .value = &o.cpus,
	 .arg = "N",
	 .help = "virtual processors (default: what the package says)",
	 .min = 1,
	 .max = 4096},
	NEW_BOOT_OPTIONS(o, "boot this Linux kernel, not the disk: what builtin needs"),
	{.name = "start", .type = OPT_FLAG, .value = &o.start, .help = "start it"},
	{.letter = 'n',
	 .name = "dry-run",
	 .type = OPT_FLAG,
	 .value = &o.dry_run,
	 .help = "print the definition, make nothing"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl import appliance.ova",
	"vmctl import old.ovf web --bus virtio --network bridge:br0 --start",
	"vmctl -c builtin import box.ova --kernel vmlinuz --append root=/dev/vda1",
	NULL,
};

struct importing {
	struct cli *cli;
	struct host *host;
	struct package *package;
	const struct machine *from;
	const char *network;
	struct new_machine m;
	char *files[NEW_DISKS_MAX];
	size_t n_made;
};

/* By name, else by number; without --machine the only one */
static int choose(struct importing *i, struct err *err)
{
	const struct ovf *ovf = package_ovf(i->package);
	char *end;
	unsigned long n;

	if (!o.machine && ovf->n_machines == 1) {
		i->from = &ovf->machines[0];
		return 0;
	}
	if (ovf->n_machines == 0)
		return err_set(err, ERR_UNSUPPORTED, "the package has no machine");
	if (!o.machine)
		return err_set(err, ERR_USAGE, "the package has %zu machines: say --machine",
			       ovf->n_machines);
	for (size_t k = 0; k < ovf->n_machines; k++)
		if (ovf->machines[k].name && strcmp(ovf->machines[k].name, o.machine) == 0) {
			i->from = &ovf->machines[k];
			return 0;
		}
	n = strtoul(o.machine, &end, 10);
	if (*end || o.machine[0] < '0' || o.machine[0] > '9' || n < 1 || n > ovf->n_machines)
		return err_set(err, ERR_NOT_FOUND, "the package has no machine '%s'", o.machine);
	i->from = &ovf->machines[n - 1];
	return 0;
}

/* What every guest has a driver for comes before what is fast; VMware's SCSI has no equal that all guests know. */
static const char *bus_of(const struct importing *i, size_t disk)
{
	if (place_is_builtin(i->host))
		return "virtio";
	if (o.bus && strcmp(o.bus, "as-is") != 0)
		return o.bus;
	/* q35 has no IDE */
	(void)disk;
	return "sata";
}

static const char *model_of(const char *said)
{
	static const char *const models[][2] = {{"vmxnet3", "vmxnet3"}, {"e1000e", "e1000e"},
						{"e1000", "e1000"},	{"virtio", "virtio"},
						{"pcnet", "pcnet"},	{"rtl8139", "rtl8139"}};

	for (size_t k = 0; said && k < sizeof(models) / sizeof(models[0]); k++)
		if (strncasecmp(said, models[k][0], strlen(models[k][0])) == 0)
			return models[k][1];
	return "e1000";
}

static int plan_nics(struct importing *i, struct err *err)
{
	bool none = strcmp(i->network, "none") == 0;

	if (none && i->from->n_nics)
		log_warning("%s: its %zu network cards are left out", i->m.name, i->from->n_nics);
	for (size_t k = 0; !none && k < i->from->n_nics && k < NEW_NICS_MAX; k++) {
		const struct machine_nic *from = &i->from->nics[k];
		struct new_nic *to = &i->m.nics[i->m.n_nics++];

		to->network = i->network;
		to->model = place_is_builtin(i->host) ? "virtio" : model_of(from->model);
		if (o.keep_macs && from->mac && strlen(from->mac) == 17 &&
		    strspn(from->mac, "0123456789abcdefABCDEF:") == 17)
			memcpy(to->mac, from->mac, 18);
		else if (place_mac(to->mac, err) < 0)
			return -1;
	}
	return 0;
}

static int plan_disks(struct importing *i, struct err *err)
{
	size_t n = i->from->n_disks;

	if (n > NEW_DISKS_MAX)
		return err_set(err, ERR_UNSUPPORTED, "%zu disks are too many: %d at most", n,
			       NEW_DISKS_MAX);
	for (size_t k = 0; k < n; k++) {
		CLEANUP_FREE char *base = NULL;

		if (asprintf(&base, "%s-disk%zu", i->m.name, k + 1) < 0) {
			base = NULL;
			return err_nomem(err);
		}
		if (place_disk(i->host, o.dir, base, "qcow2", &i->files[k], err) < 0)
			return -1;
		i->m.disks[i->m.n_disks++] =
			(struct new_disk){.file = i->files[k], .bus = bus_of(i, k)};
	}
	return 0;
}

static int check_free(struct importing *i, struct err *err)
{
	struct err why = ERR_INIT;
	struct domain *other;

	if (host_find(i->host, i->m.name, &other, &why) == 0) {
		domain_close(other);
		err_set(err, ERR_EXISTS, "there is a machine of this name");
		return err_object(err, i->m.name);
	}
	if (why.code == ERR_NOT_FOUND)
		return 0;
	*err = why;
	return -1;
}

static int plan(struct importing *i, const char *name, struct err *err)
{
	const struct machine *f = i->from;

	i->m.name = name ? name : f->name;
	if (!i->m.name || !*i->m.name)
		return err_set(err, ERR_USAGE, "the package names no machine: say a name");
	if (strchr(i->m.name, '/'))
		return err_set(err, ERR_USAGE, "the machine's name has a '/': say another");
	i->m.cpus = o.cpus ? o.cpus : f->cpus ? f->cpus : 1;
	i->m.memory = o.memory ? o.memory : f->memory ? f->memory : 1ULL << 30;
	i->m.efi = f->firmware == FIRMWARE_EFI || f->firmware == FIRMWARE_EFI_SECURE;
	i->m.secure = f->firmware == FIRMWARE_EFI_SECURE;
	i->network = o.network ? o.network : place_network(i->host);
	if (place_is_builtin(i->host) && i->m.efi && o.kernel)
		i->m.efi = i->m.secure = false; /* the kernel is started without it */
	if (o.accel && strcmp(o.accel, "auto") != 0) {
		i->m.type = strdup(strcmp(o.accel, "kvm") == 0 ? "kvm" : "qemu");
		if (!i->m.type)
			return err_nomem(err);
	} else if (place_accel(i->host, &i->m.type, err) < 0) {
		return -1;
	}
	return check_free(i, err) < 0 || plan_disks(i, err) < 0 || plan_nics(i, err) < 0 ||
			       place_uuid(i->m.uuid, err) < 0
		       ? -1
		       : 0;
}

static int copy_disk(struct importing *i, size_t k, struct err *err)
{
	struct copy_opts opts = {.target_format = "qcow2", .progress = &i->cli->progress};
	struct copy_stats stats;
	struct image *img;
	size_t index;
	int rc;

	if (package_find_disk(i->package, i->from->disks[k].disk, &index, err) < 0)
		return -1;
	if (package_ovf(i->package)->disks[index].file == OVF_NO_FILE) { /* an empty one */
		opts.params.size = package_ovf(i->package)->disks[index].capacity;
		rc = image_create(i->files[k], &opts, err);
	} else if (package_open_disk(i->package, index, NULL, &img, err) < 0) {
		return -1;
	} else {
		rc = image_copy(img, i->files[k], &opts, &stats, err);
		image_close(img);
	}
	if (rc == 0)
		i->n_made = k + 1;
	return rc;
}

static int define(struct importing *i, const char *xml, struct err *err)
{
	struct domain *d;
	int rc = 0;

	if (host_define(i->host, xml, &d, err) < 0)
		return -1;
	if (o.start)
		rc = domain_act(d, DOMAIN_START, err);
	if (rc < 0)
		(void)domain_act(d, DOMAIN_UNDEFINE, NULL);
	domain_close(d);
	return rc;
}

static int tell(struct importing *i, struct err *err)
{
	json_t *disks = json_array();

	if (!i->cli->json) {
		json_decref(disks);
		return 0;
	}
	for (size_t k = 0; disks && k < i->m.n_disks; k++)
		(void)json_array_append_new(disks, cli_json_string(i->files[k]));
	return cli_print_json(i->cli,
			      json_pack("{s:o, s:s, s:I, s:I, s:s, s:o, s:I, s:b}", "name",
					cli_json_string(i->m.name), "uuid", i->m.uuid, "cpus",
					(json_int_t)i->m.cpus, "memory", (json_int_t)i->m.memory,
					"firmware",
					i->m.secure ? "efi-secure"
					: i->m.efi  ? "efi"
						    : "bios",
					"disks", disks, "interfaces", (json_int_t)i->m.n_nics,
					"started", (int)o.start),
			      err);
}

static int import(struct importing *i, const char *name, struct err *err)
{
	CLEANUP_FREE char *xml = NULL;
	int rc;

	if (choose(i, err) < 0 || plan(i, name, err) < 0)
		return -1;
	xml = new_machine_xml(&i->m);
	if (!xml)
		return err_nomem(err);
	if (o.dry_run) {
		(void)fputs(xml, stdout);
		return 0;
	}
	rc = 0;
	for (size_t k = 0; rc == 0 && k < i->m.n_disks; k++)
		rc = copy_disk(i, k, err);
	if (rc == 0)
		rc = define(i, xml, err);
	for (size_t k = 0; rc < 0 && k < i->n_made; k++)
		(void)unlink(i->files[k]);
	return rc < 0 ? -1 : tell(i, err);
}

/* The daemon needs whole names. */
static int whole_name(const char *file, char **ret, struct err *err)
{
	*ret = NULL;
	if (!file || (*ret = realpath(file, NULL)))
		return 0;
	err_sys(err, "cannot open");
	return err_object(err, file);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	CLEANUP_FREE char *kernel = NULL, *initrd = NULL;
	struct importing i = {.cli = cli};
	int rc;

	if (o.dry_run && cli->json)
		return err_set(err, ERR_USAGE, "--dry-run prints XML, not JSON");
	if ((o.initrd || o.append) && !o.kernel)
		return err_set(err, ERR_USAGE, "--initrd and --append are for --kernel");
	if (whole_name(o.kernel, &kernel, err) < 0 || whole_name(o.initrd, &initrd, err) < 0 ||
	    package_open(&i.package, argv[0], 0, err) < 0)
		return -1;
	i.m.kernel = kernel;
	i.m.initrd = initrd;
	i.m.append = o.append;
	rc = vmctl_connect(&i.host, false, err);
	if (rc == 0) {
		rc = import(&i, argc > 1 ? argv[1] : NULL, err);
		if (rc < 0)
			err_object(err, argv[0]);
		host_close(i.host);
	}
	for (size_t k = 0; k < i.m.n_disks; k++)
		free(i.files[k]);
	free(i.m.type);
	package_close(i.package);
	return rc;
}

const struct verb verb_import = {
	.name = "import",
	.usage = "[OPTIONS] FILE.ova|FILE.ovf|- [NAME]",
	.summary = "define the machine of an OVF or OVA package, with copies of its disks",
	.details =
		"Processors, memory, firmware and network cards are those of the package, the name "
		"too unless NAME is given; disks become qcow2 files of the machine's own, those "
		"without a file empty ones. UUID and network addresses are new. On libvirt disks "
		"are connected by SATA and network cards are of the package's model, which guests "
		"of other hypervisors have drivers for; --bus virtio is faster where the guest has "
		"that. builtin has virtio alone and no firmware: it needs --kernel to start. When "
		"anything fails nothing is left.",
	.options = options,
	.examples = examples,
	.statuses =
		"0 done, 2 several machines and no --machine, 4 no such package, machine or disk "
		"in it, 5 the machine or a file exists, 7 no connection, 8 the package is "
		"damaged, 9 not on a host elsewhere, 13 no space",
	.min_args = 1,
	.max_args = 2,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
