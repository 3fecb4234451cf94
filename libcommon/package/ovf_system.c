/* OVF descriptors: the machines. Hardware is a list of items with CIM resource types (CIM_ResourceAllocationSettingData). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/package/ovf_private.h"

enum { TYPE_CPU = 3, TYPE_MEMORY = 4, TYPE_NIC = 10, TYPE_DISK = 17 };
enum { COLLECTIONS_DEEP = 8 };

static int child_text(const struct xml *x, const xmlNode *node, const char *name, char **ret,
		      struct err *err)
{
	return xml_text(x, xml_child(node, name), ret, err);
}

static int parse_quantity(struct ovf *o, const struct xml *x, const xmlNode *item, const char *what,
			  bool *ret_has, uint64_t *ret, struct err *err)
{
	CLEANUP_FREE char *text = NULL;

	if (child_text(x, item, "VirtualQuantity", &text, err) < 0)
		return -1;
	return ovf_number(o, what, text, ret_has, ret, err);
}

static int parse_cpus(struct ovf *o, struct machine *m, const struct xml *x, const xmlNode *item,
		      struct err *err)
{
	uint64_t n;
	bool has;

	if (parse_quantity(o, x, item, "number of processors", &has, &n, err) < 0)
		return -1;
	if (has && n <= MACHINE_CPUS_MAX)
		m->cpus = (unsigned)n;
	else if (has)
		return ovf_fault(o, err, "a machine with %" PRIu64 " processors", n);
	return 0;
}

static int parse_memory(struct ovf *o, struct machine *m, const struct xml *x, const xmlNode *item,
			struct err *err)
{
	CLEANUP_FREE char *units = NULL;
	uint64_t n, factor = 1 << 20; /* what CIM leaves open everybody takes for MiB */
	bool has;

	if (parse_quantity(o, x, item, "memory", &has, &n, err) < 0 ||
	    child_text(x, item, "AllocationUnits", &units, err) < 0)
		return -1;
	if (units && !ovf_units(units, &factor))
		return ovf_fault(o, err, "memory is counted in '%.40s', which is no unit", units);
	if (!has)
		return 0;
	if (!u64_mul(n, factor, &n) || n > MACHINE_MEMORY_MAX)
		return ovf_fault(o, err, "a machine with more memory than %llu bytes",
				 MACHINE_MEMORY_MAX);
	m->memory = n;
	return 0;
}

static int parse_nic(struct machine *m, const struct xml *x, const xmlNode *item, struct err *err)
{
	struct machine_nic *nic = machine_add_nic(m, err);

	if (!nic || child_text(x, item, "Connection", &nic->network, err) < 0 ||
	    child_text(x, item, "ResourceSubType", &nic->model, err) < 0 ||
	    child_text(x, item, "Address", &nic->mac, err) < 0)
		return -1;
	return 0;
}

/* HostResource is "ovf:/disk/ID"; VirtualBox writes "/disk/ID". */
static int parse_drive(struct ovf *o, struct machine *m, const struct xml *x, const xmlNode *item,
		       struct err *err)
{
	CLEANUP_FREE char *host = NULL;
	struct machine_disk *d;
	const char *id;

	if (child_text(x, item, "HostResource", &host, err) < 0)
		return -1;
	if (!host)
		return 0;
	id = strncmp(host, "ovf:", 4) == 0 ? host + 4 : host;
	if (strncmp(id, "/disk/", 6) != 0)
		return 0; /* a file that is no disk of DiskSection: a firmware blob */
	id += 6;
	for (size_t i = 0; i < o->n_disks; i++) {
		if (strcmp(o->disks[i].id, id) != 0)
			continue;
		d = machine_add_disk(m, err);
		if (!d || child_text(x, item, "ElementName", &d->name, err) < 0)
			return -1;
		d->disk = strdup(id);
		return d->disk ? 0 : err_nomem(err);
	}
	return ovf_fault(o, err, "a drive names disk %.60s, which DiskSection does not list", id);
}

static int parse_item(struct ovf *o, struct machine *m, const struct xml *x, const xmlNode *item,
		      struct err *err)
{
	CLEANUP_FREE char *type = NULL, *configuration = NULL;
	uint64_t n;

	if (child_text(x, item, "ResourceType", &type, err) < 0 ||
	    xml_attribute(x, item, "configuration", &configuration, err) < 0)
		return -1;
	/* Variants to choose from at deployment: the default is the item without one. */
	if (!xml_number(type, &n) || configuration)
		return 0;
	switch (n) {
	case TYPE_CPU:
		return parse_cpus(o, m, x, item, err);
	case TYPE_MEMORY:
		return parse_memory(o, m, x, item, err);
	case TYPE_NIC:
		return parse_nic(m, x, item, err);
	case TYPE_DISK:
		return parse_drive(o, m, x, item, err);
	}
	return 0;
}

/* VMware's <vmw:Config vmw:key="firmware" vmw:value="efi"/> */
static int parse_config(struct machine *m, const struct xml *x, const xmlNode *node,
			struct err *err)
{
	CLEANUP_FREE char *key = NULL, *value = NULL;

	if (xml_attribute(x, node, "key", &key, err) < 0 ||
	    xml_attribute(x, node, "value", &value, err) < 0)
		return -1;
	if (!key || !value)
		return 0;
	if (strcmp(key, "firmware") == 0 && m->firmware != FIRMWARE_EFI_SECURE)
		m->firmware = strcasecmp(value, "efi") == 0 ? FIRMWARE_EFI : FIRMWARE_BIOS;
	if (strcmp(key, "bootOptions.efiSecureBootEnabled") == 0 && strcmp(value, "true") == 0)
		m->firmware = FIRMWARE_EFI_SECURE;
	return 0;
}

static int parse_hardware(struct ovf *o, struct machine *m, const struct xml *x,
			  const xmlNode *section, struct err *err)
{
	const xmlNode *system = xml_child(section, "System");

	if (system && !m->hardware &&
	    child_text(x, system, "VirtualSystemType", &m->hardware, err) < 0)
		return -1;
	for (const xmlNode *n = section->children; n; n = n->next) {
		int rc = 0;

		if (xml_is(n, "Item") || xml_is(n, "StorageItem") || xml_is(n, "EthernetPortItem"))
			rc = parse_item(o, m, x, n, err);
		else if (xml_is(n, "Config"))
			rc = parse_config(m, x, n, err);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int parse_os(struct machine *m, const struct xml *x, const xmlNode *section, struct err *err)
{
	CLEANUP_FREE char *id = NULL;
	uint64_t n;

	if (xml_attribute(x, section, "id", &id, err) < 0)
		return -1;
	if (xml_number(id, &n) && n < 65536)
		m->os_id = (unsigned)n;
	if (child_text(x, section, "Description", &m->os, err) < 0)
		return -1;
	return m->os ? 0 : xml_attribute(x, section, "osType", &m->os, err);
}

/* VirtualBox's own <vbox:Machine> is the only place where its firmware stands. */
static int parse_vbox(struct machine *m, const struct xml *x, const xmlNode *vbox, struct err *err)
{
	const xmlNode *firmware = xml_child(xml_child(vbox, "Hardware"), "Firmware");
	CLEANUP_FREE char *type = NULL;

	if (xml_attribute(x, firmware, "type", &type, err) < 0)
		return -1;
	if (type && m->firmware == FIRMWARE_UNKNOWN)
		m->firmware = strncmp(type, "EFI", 3) == 0 ? FIRMWARE_EFI : FIRMWARE_BIOS;
	return 0;
}

static int parse_system(struct ovf *o, const struct xml *x, const xmlNode *node, struct err *err)
{
	struct machine *more, *m;

	if (o->n_machines >= OVF_MACHINES_MAX)
		return err_set(err, ERR_UNSUPPORTED, "more than %u machines", OVF_MACHINES_MAX);
	more = reallocarray(o->machines, o->n_machines + 1, sizeof(*more));
	if (!more)
		return err_nomem(err);
	o->machines = more;
	m = &more[o->n_machines++];
	*m = (struct machine){0};
	if (child_text(x, node, "Name", &m->name, err) < 0 ||
	    (!m->name && xml_attribute(x, node, "id", &m->name, err) < 0))
		return -1;
	for (const xmlNode *n = node->children; n; n = n->next) {
		int rc = 0;

		if (xml_is(n, "VirtualHardwareSection") ||
		    (xml_is(n, "Section") && xml_child(n, "Item")))
			rc = parse_hardware(o, m, x, n, err);
		else if (xml_is(n, "OperatingSystemSection") && !m->os && !m->os_id)
			rc = parse_os(m, x, n, err);
		else if (xml_is(n, "Machine"))
			rc = parse_vbox(m, x, n, err);
		if (rc < 0)
			return -1;
	}
	return 0;
}

int ovf_parse_systems(struct ovf *o, const struct xml *x, const xmlNode *node, unsigned depth,
		      struct err *err)
{
	if (depth > COLLECTIONS_DEEP)
		return err_set(err, ERR_UNSUPPORTED, "collections of machines %d deep",
			       COLLECTIONS_DEEP);
	for (const xmlNode *n = node->children; n; n = n->next) {
		int rc = 0;

		if (xml_is(n, "VirtualSystem") || xml_is(n, "Content"))
			rc = parse_system(o, x, n, err);
		else if (xml_is(n, "VirtualSystemCollection"))
			rc = ovf_parse_systems(o, x, n, depth + 1, err);
		if (rc < 0)
			return -1;
	}
	return 0;
}
