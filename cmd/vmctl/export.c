/* vmctl export: a machine that is off, as an OVA. */
#include <stdlib.h>
#include <string.h>

#include "cmd/vmctl/vmctl.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/host/disks.h"
#include "libcommon/host/xmldoc.h"
#include "libcommon/image/image.h"
#include "libcommon/package/ova_write.h"

static struct {
	bool force, verify;
} o;

static const struct opt options[] = {
	{.letter = 'f',
	 .name = "force",
	 .type = OPT_FLAG,
	 .value = &o.force,
	 .help = "replace FILE.ova when it exists"},
	{.name = "verify",
	 .type = OPT_FLAG,
	 .value = &o.verify,
	 .help = "read the disks back and compare before the file gets its name"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl export web web.ova",
	"vmctl export --verify web - | ssh other 'cat >web.ova'",
	NULL,
};

/* A disk that is left out would be lost without a word. */
static int check_disks(const char *xml, const struct domain_disk *disks, size_t n, struct err *err)
{
	struct xmldoc *x;
	size_t all;

	if (xmldoc_parse(&x, xml, "domain", err) < 0)
		return -1;
	all = xmldoc_count(x, "/domain/devices/disk[not(@device) or @device='disk']");
	xmldoc_free(x);
	for (size_t i = 0; i < n; i++)
		if (disks[i].kind == DISK_ELSEWHERE)
			return err_set(err, ERR_UNSUPPORTED,
				       "disk %s is neither a file nor a device of this host",
				       disks[i].target);
	if (all != n)
		return err_set(err, ERR_UNSUPPORTED,
			       "%zu of %zu disks are read-only or have no medium", all - n, all);
	return n ? 0 : err_set(err, ERR_UNSUPPORTED, "has no disk");
}

static int write_ova(struct cli *cli, const char *xml, const struct domain_disk *disks, size_t n,
		     const char *target, struct err *err)
{
	CLEANUP_FREE struct image **images = calloc(n, sizeof(struct image *));
	const struct ova_write_opts opts = {
		.force = o.force, .verify = o.verify, .progress = &cli->progress};
	struct ova_write_stats stats;
	struct machine m = {0};
	int rc;

	if (!images)
		return err_nomem(err);
	rc = machine_of_domain(&m, xml, strlen(xml), err);
	/* As vmimg convert: VMware counts in steps of four MiB. */
	m.memory = round_up(m.memory, 4 << 20);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		const struct image_open_opts how = {.format = disks[i].format};

		rc = image_open(&images[i], disks[i].source, &how, err);
	}
	if (rc == 0)
		rc = ova_write(&m, images, n, target, &opts, &stats, err);
	for (size_t i = 0; i < n; i++)
		image_close(images[i]);
	machine_release(&m);
	return rc;
}

static int export(struct cli *cli, struct domain *d, const char *target, struct err *err)
{
	CLEANUP_FREE char *xml = NULL;
	struct domain_disk *disks;
	enum domain_state state;
	size_t n;
	int rc;

	if (domain_state(d, &state, NULL, err) < 0)
		return -1;
	if (state != DOMAIN_OFF)
		return err_set(err, ERR_BUSY, "is %s: its disks change", domain_state_name(state));
	if (domain_xml(d, DOMAIN_XML_CONFIG, &xml, err) < 0 ||
	    domain_disks(xml, &disks, &n, err) < 0)
		return -1;
	rc = check_disks(xml, disks, n, err);
	/* Locks of the images keep the machine from being started meanwhile. */
	if (rc == 0)
		rc = write_ova(cli, xml, disks, n, target, err);
	domain_disks_free(disks, n);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct host *host;
	struct domain *d;
	int rc;

	(void)argc;
	if (strcmp(argv[1], "-") == 0 && cli_refuse_terminal(err) < 0)
		return -1;
	if (vmctl_find(argv[0], true, &host, &d, err) < 0)
		return -1;
	rc = export(cli, d, argv[1], err);
	if (rc < 0)
		err_object(err, argv[0]);
	domain_close(d);
	host_close(host);
	return rc;
}

const struct verb verb_export = {
	.name = "export",
	.usage = "[OPTIONS] NAME FILE.ova|-",
	.summary = "write a machine that is off and its disks into an OVA",
	.details =
		"Name, processors, memory, firmware and network cards come from its definition, "
		"the disks become streamOptimized VMDKs with a SHA-256 manifest: what ESXi, "
		"VirtualBox and the clouds import. The host must be this one: disks are read "
		"where they lie, whatever their format, with what they stand on. Snapshots and a "
		"saved state stay behind.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 4 no such machine or disk, 5 the file exists, 6 the machine is not "
		    "off, 7 no connection, 9 a disk that cannot be exported, 13 no space",
	.min_args = 2,
	.max_args = 2,
	.progress = true,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
