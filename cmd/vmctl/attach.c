/* vmctl attach: a disk or a network interface more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmctl/place.h"
#include "cmd/vmctl/vmctl.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/host/device.h"
#include "libcommon/host/xmldoc.h"
#include "libcommon/image/image.h"

static struct {
	const char *disk, *network, *target, *format, *mac;
	bool read_only, live, config;
} o;

static const struct opt options[] = {
	{.name = "disk",
	 .type = OPT_STRING,
	 .value = &o.disk,
	 .arg = "IMAGE",
	 .help = "a disk: an image file or a block device of the host",
	 .complete = COMPLETE_FILE},
	{.name = "network",
	 .type = OPT_STRING,
	 .value = &o.network,
	 .arg = "NETWORK|bridge:NAME|user",
	 .help = "a network interface on a network of libvirt, on a bridge, or with the user's "
		 "own connections"},
	{.name = "target",
	 .type = OPT_STRING,
	 .value = &o.target,
	 .arg = "DEV",
	 .help = "the disk's place: vdb, sda (default: the first vdX that is free)"},
	{.letter = 'f',
	 .name = "format",
	 .type = OPT_STRING,
	 .value = &o.format,
	 .arg = "FORMAT",
	 .help = "of the image: qcow2, raw (default: what the file says, where it can be read)"},
	{.name = "read-only",
	 .type = OPT_FLAG,
	 .value = &o.read_only,
	 .help = "the guest may not write to the disk"},
	{.name = "mac",
	 .type = OPT_STRING,
	 .value = &o.mac,
	 .arg = "ADDRESS",
	 .help = "of the interface (default: a new one)"},
	{.name = "live", .type = OPT_FLAG, .value = &o.live, .help = "the running machine only"},
	{.name = "config", .type = OPT_FLAG, .value = &o.config, .help = "the next start only"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl attach web --disk /var/lib/libvirt/images/data.qcow2",
	"vmctl attach web --network default",
	"vmctl attach web --disk /dev/vg/data --target vdc --config",
	NULL,
};

struct attaching {
	struct domain *d;
	char *target; /* "vdb", or the MAC address */
	char *xml;
};

static bool has_target(const struct xmldoc *x, const char *dev)
{
	static const char path[] = "/domain/devices/disk/target/@dev";
	size_t n = xmldoc_count(x, path);

	for (size_t i = 0; i < n; i++) {
		CLEANUP_FREE char *there = xmldoc_get_nth(x, path, i, NULL);

		if (there && strcmp(there, dev) == 0)
			return true;
	}
	return false;
}

/* The first vdX that neither the running machine nor its definition has. */
static int free_target(struct domain *d, char **ret, struct err *err)
{
	struct xmldoc *x[2] = {NULL};
	char dev[8] = "";
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < 2; i++) {
		CLEANUP_FREE char *xml = NULL;

		rc = domain_xml(d, i ? DOMAIN_XML_CONFIG : 0, &xml, err);
		if (rc == 0)
			rc = xmldoc_parse(&x[i], xml, "domain", err);
	}
	for (char c = 'a'; rc == 0 && c <= 'z'; c++) {
		(void)snprintf(dev, sizeof(dev), "vd%c", c);
		if (!has_target(x[0], dev) && !has_target(x[1], dev))
			break;
		*dev = '\0';
	}
	xmldoc_free(x[0]);
	xmldoc_free(x[1]);
	if (rc == 0 && !*dev)
		rc = err_set(err, ERR_UNSUPPORTED, "has no free place from vda to vdz");
	if (rc == 0 && !(*ret = strdup(dev)))
		rc = err_nomem(err);
	return rc;
}

/* What the file is; a name that is no file of this machine has to come with a format. */
static int find_format(struct domain *d, char **ret, bool *ret_block, struct err *err)
{
	const struct image_open_opts opts = {.flags = IMAGE_INFO | IMAGE_SHARED};
	struct image *img;

	*ret_block = strncmp(o.disk, "/dev/", 5) == 0;
	if (o.format || *ret_block) {
		*ret = strdup(o.format ? o.format : "raw");
		return *ret ? 0 : err_nomem(err);
	}
	if (!place_is_local(domain_host(d))) {
		err_set(err, ERR_USAGE, "the host's files cannot be looked at from here");
		return err_hint(err, "say --format");
	}
	if (image_open(&img, o.disk, &opts, err) < 0)
		return err_object(err, o.disk);
	*ret = strdup(image_format_name(img));
	image_close(img);
	return *ret ? 0 : err_nomem(err);
}

static int disk_xml(struct attaching *a, struct err *err)
{
	CLEANUP_FREE char *path = realpath(o.disk, NULL), *source = NULL, *format = NULL,
			  *dev = NULL;
	bool block;
	int n;

	if (find_format(a->d, &format, &block, err) < 0)
		return -1;
	a->target = o.target ? strdup(o.target) : NULL;
	if (!a->target && free_target(a->d, &a->target, err) < 0)
		return -1;
	/* The host may not be this machine: what is no file here is taken as it is written. */
	source = xml_escape(path && !block ? path : o.disk);
	dev = xml_escape(a->target);
	if (!source || !dev)
		return err_nomem(err);
	n = asprintf(&a->xml,
		     "<disk type='%s' device='disk'><driver name='qemu' type='%s'/>"
		     "<source %s='%s'/><target dev='%s' bus='%s'/>%s</disk>",
		     block ? "block" : "file", format, block ? "dev" : "file", source, dev,
		     strncmp(dev, "sd", 2) == 0 ? "scsi" : "virtio",
		     o.read_only ? "<readonly/>" : "");
	return n < 0 ? err_nomem(err) : 0;
}

static int nic_xml(struct attaching *a, struct err *err)
{
	bool bridge = strncmp(o.network, "bridge:", 7) == 0, user = strcmp(o.network, "user") == 0;
	CLEANUP_FREE char *name = xml_escape(bridge ? o.network + 7 : o.network);
	CLEANUP_FREE char *source = NULL, *mac = NULL;
	char fresh[18];

	if (!o.mac && place_mac(fresh, err) < 0)
		return -1;
	a->target = strdup(o.mac ? o.mac : fresh);
	mac = a->target ? xml_escape(a->target) : NULL;
	if (!name || !mac ||
	    asprintf(&source, "<source %s='%s'/>", bridge ? "bridge" : "network", name) < 0) {
		source = NULL;
		return err_nomem(err);
	}
	if (asprintf(&a->xml,
		     "<interface type='%s'>%s<mac address='%s'/><model type='virtio'/></interface>",
		     user     ? "user"
		     : bridge ? "bridge"
			      : "network",
		     user ? "" : source, mac) < 0) {
		a->xml = NULL;
		return err_nomem(err);
	}
	return 0;
}

static int tell(struct cli *cli, const struct attaching *a, unsigned where, struct err *err)
{
	if (cli->json)
		return cli_print_json(cli,
				      json_pack("{s:o, s:s, s:s, s:o, s:b, s:b}", "name",
						cli_json_string(domain_name(a->d)), "kind",
						o.disk ? "disk" : "interface", "target", a->target,
						"source",
						cli_json_string(o.disk ? o.disk : o.network),
						"live", (where & DOMAIN_LIVE) != 0, "config",
						(where & DOMAIN_CONFIG) != 0),
				      err);
	if (cli->verbose)
		(void)printf("%s: %s\n", domain_name(a->d), a->target);
	return 0;
}

static int run_on(struct cli *cli, struct attaching *a, struct err *err)
{
	unsigned where;

	if (vmctl_where(a->d, o.live, o.config, &where, err) < 0 ||
	    (o.disk ? disk_xml(a, err) : nic_xml(a, err)) < 0 ||
	    domain_attach(a->d, a->xml, where, err) < 0)
		return -1;
	return tell(cli, a, where, err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct attaching a = {0};
	struct host *h;
	int rc;

	(void)argc;
	if (!o.disk == !o.network)
		return err_set(err, ERR_USAGE, "say what: --disk or --network");
	if (o.network ? o.target || o.format || o.read_only : o.mac != NULL)
		return err_set(err, ERR_USAGE, "an option of the other kind of device is given");
	if (vmctl_find(argv[0], false, &h, &a.d, err) < 0)
		return -1;
	rc = run_on(cli, &a, err);
	if (rc < 0)
		err_object(err, argv[0]);
	free(a.target);
	free(a.xml);
	domain_close(a.d);
	host_close(h);
	return rc;
}

const struct verb verb_attach = {
	.name = "attach",
	.usage = "[OPTIONS] NAME --disk IMAGE | --network NETWORK",
	.summary = "give a machine another disk or network interface",
	.details = "A machine that runs gets it now and at its next start, one that is off at its "
		   "next start. --json says where it came: a disk's place, an interface's MAC "
		   "address; that is what detach takes.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 1 refused by the host, 4 no such machine or image, 6 a job is under "
		    "way, 7 no connection, 9 the machine cannot",
	.min_args = 1,
	.max_args = 1,
	.json = true,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
