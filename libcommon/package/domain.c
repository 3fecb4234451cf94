/* A libvirt domain's XML as a description of a machine. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/package/machine.h"
#include "libcommon/package/xml.h"

/* libvirt's units: KiB when none is named; "KB" and the like are decimal. */
static bool unit_factor(const char *unit, uint64_t *ret)
{
	static const struct {
		const char *name;
		uint64_t factor;
	} units[] = {{"b", 1},		{"bytes", 1},	    {"KB", 1000},
		     {"k", 1 << 10},	{"KiB", 1 << 10},   {"MB", 1000000},
		     {"M", 1 << 20},	{"MiB", 1 << 20},   {"GB", 1000000000},
		     {"G", 1 << 30},	{"GiB", 1 << 30},   {"TB", 1000000000000},
		     {"T", 1ULL << 40}, {"TiB", 1ULL << 40}};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(units[i].name, unit) == 0) {
			*ret = units[i].factor;
			return true;
		}
	return false;
}

static int parse_memory(struct machine *m, const struct xml *x, struct err *err)
{
	const xmlNode *node = xml_child(x->root, "memory");
	CLEANUP_FREE char *text = NULL, *unit = NULL;
	uint64_t n, factor = 1 << 10;

	if (xml_text(x, node, &text, err) < 0 || xml_attribute(x, node, "unit", &unit, err) < 0)
		return -1;
	if (!text)
		return 0;
	if (!xml_number(text, &n) || (unit && !unit_factor(unit, &factor)) ||
	    !u64_mul(n, factor, &n) || n > MACHINE_MEMORY_MAX)
		return err_set(err, ERR_CORRUPT, "domain: memory is '%.40s' %.20s", text,
			       unit ? unit : "KiB");
	m->memory = n;
	return 0;
}

static int parse_cpus(struct machine *m, const struct xml *x, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	uint64_t n;

	if (xml_text(x, xml_child(x->root, "vcpu"), &text, err) < 0)
		return -1;
	if (!text)
		return 0;
	if (!xml_number(text, &n) || n == 0 || n > MACHINE_CPUS_MAX)
		return err_set(err, ERR_CORRUPT, "domain: vcpu is '%.40s'", text);
	m->cpus = (unsigned)n;
	return 0;
}

/* <os firmware='efi'>, or a <loader type='pflash'>: both mean EFI. */
static int parse_firmware(struct machine *m, const struct xml *x, struct err *err)
{
	const xmlNode *os = xml_child(x->root, "os"), *loader = xml_child(os, "loader");
	CLEANUP_FREE char *firmware = NULL, *type = NULL, *secure = NULL;

	if (xml_attribute(x, os, "firmware", &firmware, err) < 0 ||
	    xml_attribute(x, loader, "type", &type, err) < 0 ||
	    xml_attribute(x, loader, "secure", &secure, err) < 0)
		return -1;
	if ((firmware && strcmp(firmware, "efi") == 0) || (type && strcmp(type, "pflash") == 0))
		m->firmware =
			secure && strcmp(secure, "yes") == 0 ? FIRMWARE_EFI_SECURE : FIRMWARE_EFI;
	else
		m->firmware = FIRMWARE_BIOS;
	return 0;
}

static int parse_nic(struct machine *m, const struct xml *x, const xmlNode *node, struct err *err)
{
	static const char *const sources[] = {"network", "bridge", "dev", "portgroup"};
	const xmlNode *source = xml_child(node, "source");
	struct machine_nic *nic = machine_add_nic(m, err);

	if (!nic)
		return -1;
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]) && !nic->network; i++)
		if (xml_attribute(x, source, sources[i], &nic->network, err) < 0)
			return -1;
	if (!nic->network && !(nic->network = strdup("default")))
		return err_nomem(err);
	return xml_attribute(x, xml_child(node, "model"), "type", &nic->model, err) < 0 ||
			       xml_attribute(x, xml_child(node, "mac"), "address", &nic->mac, err) <
				       0
		       ? -1
		       : 0;
}

/* Only disks, no CD-ROMs: they are matched with the disks of the package by their order. */
static int parse_disk(struct machine *m, const struct xml *x, const xmlNode *node, struct err *err)
{
	CLEANUP_FREE char *device = NULL, *bus = NULL;
	struct machine_disk *d;

	if (xml_attribute(x, node, "device", &device, err) < 0 ||
	    xml_attribute(x, xml_child(node, "target"), "bus", &bus, err) < 0)
		return -1;
	if (device && strcmp(device, "disk") != 0)
		return 0;
	d = machine_add_disk(m, err);
	if (!d)
		return -1;
	if (bus && strcmp(bus, "ide") == 0)
		d->bus = BUS_IDE;
	else if (bus && strcmp(bus, "sata") == 0)
		d->bus = BUS_SATA;
	return 0;
}

static int parse_domain(struct machine *m, const struct xml *x, struct err *err)
{
	const xmlNode *devices = xml_child(x->root, "devices"), *n;

	if (!xml_is(x->root, "domain"))
		return err_set(err, ERR_CORRUPT, "domain: the root is not <domain>");
	if (!m->name && xml_text(x, xml_child(x->root, "name"), &m->name, err) < 0)
		return -1;
	if ((!m->memory && parse_memory(m, x, err) < 0) ||
	    (!m->cpus && parse_cpus(m, x, err) < 0) ||
	    (m->firmware == FIRMWARE_UNKNOWN && parse_firmware(m, x, err) < 0))
		return -1;
	for (n = xml_child(devices, "disk"); n; n = xml_next(n, "disk"))
		if (parse_disk(m, x, n, err) < 0)
			return -1;
	if (m->n_nics)
		return 0;
	for (n = xml_child(devices, "interface"); n; n = xml_next(n, "interface"))
		if (parse_nic(m, x, n, err) < 0)
			return -1;
	return 0;
}

int machine_of_domain(struct machine *m, const char *xml, size_t len, struct err *err)
{
	struct xml x;
	int rc;

	if (xml_parse(&x, xml, len, "domain", err) < 0)
		return -1;
	rc = parse_domain(m, &x, err);
	xml_release(&x);
	return rc;
}
