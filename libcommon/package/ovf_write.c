/* OVF 1.0 descriptors as vSphere, VirtualBox and AWS import take them. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/package/ovf.h"

/* What is written so far; a failure for want of memory is remembered. */
struct text {
	char *bytes;
	size_t len, room;
	bool failed;
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *t, const char *fmt, ...)
{
	va_list ap, again;

	va_start(ap, fmt);
	va_copy(again, ap);

	int n = vsnprintf(NULL, 0, fmt, ap);

	va_end(ap);
	if (n >= 0 && !t->failed && t->room - t->len <= (size_t)n) {
		size_t room = 2 * t->room + (size_t)n + 4096;
		char *more = realloc(t->bytes, room);

		t->failed = !more;
		if (more) {
			t->bytes = more;
			t->room = room;
		}
	}
	if (n < 0)
		t->failed = true;
	if (!t->failed) {
		(void)vsnprintf(t->bytes + t->len, t->room - t->len, fmt, again);
		t->len += (size_t)n;
	}
	va_end(again);
}

/* @s with XML's five characters as entities, and without those that XML cannot hold. */
static void add_escaped(struct text *t, const char *s)
{
	for (; *s; s++) {
		switch (*s) {
		case '&':
			add(t, "&amp;");
			break;
		case '<':
			add(t, "&lt;");
			break;
		case '>':
			add(t, "&gt;");
			break;
		case '"':
			add(t, "&quot;");
			break;
		case '\'':
			add(t, "&apos;");
			break;
		default:
			add(t, "%c", (unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s);
		}
	}
}

static void element(struct text *t, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void element(struct text *t, const char *name, const char *fmt, ...)
{
	CLEANUP_FREE char *value = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&value, fmt, ap) < 0) {
		value = NULL;
		t->failed = true;
	}
	va_end(ap);
	add(t, "        <rasd:%s>", name);
	add_escaped(t, value ? value : "");
	add(t, "</rasd:%s>\n", name);
}

static void head(struct text *t)
{
	add(t, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	       "<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\""
	       " xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\""
	       " xmlns:rasd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
	       "CIM_ResourceAllocationSettingData\""
	       " xmlns:vmw=\"http://www.vmware.com/schema/ovf\""
	       " xmlns:vssd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
	       "CIM_VirtualSystemSettingData\""
	       " xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\n");
}

static void files(struct text *t, const struct ovf_write_disk *disks, size_t n)
{
	add(t, "  <References>\n");
	for (size_t i = 0; i < n; i++) {
		add(t, "    <File ovf:href=\"");
		add_escaped(t, disks[i].href);
		add(t, "\" ovf:id=\"file%zu\" ovf:size=\"%" PRIu64 "\"/>\n", i + 1, disks[i].size);
	}
	add(t, "  </References>\n  <DiskSection>\n    <Info>Virtual disks</Info>\n");
	for (size_t i = 0; i < n; i++)
		add(t,
		    "    <Disk ovf:capacity=\"%" PRIu64 "\" ovf:capacityAllocationUnits=\"byte\""
		    " ovf:diskId=\"vmdisk%zu\" ovf:fileRef=\"file%zu\""
		    " ovf:format=\"http://www.vmware.com/interfaces/specifications/"
		    "vmdk.html#streamOptimized\" ovf:populatedSize=\"%" PRIu64 "\"/>\n",
		    disks[i].capacity, i + 1, i + 1, disks[i].populated);
	add(t, "  </DiskSection>\n");
}

static void networks(struct text *t, const struct machine *m)
{
	if (m->n_nics == 0)
		return;
	add(t, "  <NetworkSection>\n    <Info>Networks</Info>\n");
	for (size_t i = 0; i < m->n_nics; i++) {
		bool again = false;

		for (size_t j = 0; j < i; j++)
			again |= strcmp(m->nics[j].network, m->nics[i].network) == 0;
		if (again)
			continue;
		add(t, "    <Network ovf:name=\"");
		add_escaped(t, m->nics[i].network);
		add(t, "\">\n      <Description>");
		add_escaped(t, m->nics[i].network);
		add(t, "</Description>\n    </Network>\n");
	}
	add(t, "  </NetworkSection>\n");
}

static void cpu_and_memory(struct text *t, const struct machine *m)
{
	add(t, "      <Item>\n");
	element(t, "AllocationUnits", "hertz * 10^6");
	element(t, "Description", "Number of virtual processors");
	element(t, "ElementName", "%u virtual CPUs", m->cpus);
	element(t, "InstanceID", "1");
	element(t, "ResourceType", "3");
	element(t, "VirtualQuantity", "%u", m->cpus);
	add(t, "      </Item>\n      <Item>\n");
	element(t, "AllocationUnits", "byte * 2^20");
	element(t, "Description", "Memory size");
	element(t, "ElementName", "%" PRIu64 " MB of memory", m->memory >> 20);
	element(t, "InstanceID", "2");
	element(t, "ResourceType", "4");
	element(t, "VirtualQuantity", "%" PRIu64, m->memory >> 20);
	add(t, "      </Item>\n");
}

/* Controllers by bus: how many disks one takes, and how many there may be. */
static const struct {
	const char *name, *subtype;
	unsigned type, disks, most, reserved; /* address that is the controller's own */
} buses[] = {
	[BUS_SCSI] = {"SCSI", "lsilogic", 6, 15, 4, 7},
	[BUS_SATA] = {"SATA", "vmware.sata.ahci", 20, 30, 4, UINT32_MAX},
	[BUS_IDE] = {"IDE", NULL, 5, 2, 2, UINT32_MAX},
};

static enum machine_bus bus_of(const struct machine *m, size_t disk)
{
	return disk < m->n_disks ? m->disks[disk].bus : BUS_SCSI;
}

static void controller(struct text *t, enum machine_bus bus, unsigned number, unsigned id)
{
	add(t, "      <Item>\n");
	element(t, "Address", "%u", number);
	element(t, "Description", "%s controller", buses[bus].name);
	element(t, "ElementName", "%s controller %u", buses[bus].name, number);
	element(t, "InstanceID", "%u", id);
	if (buses[bus].subtype)
		element(t, "ResourceSubType", "%s", buses[bus].subtype);
	element(t, "ResourceType", "%u", buses[bus].type);
	add(t, "      </Item>\n");
}

/* Elements of an Item stand in alphabetical order: the schema has it so. */
static int drives(struct text *t, const struct machine *m, size_t n, unsigned *id, struct err *err)
{
	unsigned used[3] = {0}, parent[3] = {0};

	for (size_t i = 0; i < n; i++) {
		enum machine_bus bus = bus_of(m, i);
		unsigned slot = used[bus] % buses[bus].disks, address = slot;

		if (used[bus] / buses[bus].disks >= buses[bus].most)
			return err_set(err, ERR_UNSUPPORTED, "a machine has at most %u %s disks",
				       buses[bus].most * buses[bus].disks, buses[bus].name);
		if (slot == 0) {
			parent[bus] = (*id)++;
			controller(t, bus, used[bus] / buses[bus].disks, parent[bus]);
		}
		address += address >= buses[bus].reserved;
		used[bus]++;
		add(t, "      <Item>\n");
		element(t, "AddressOnParent", "%u", address);
		element(t, "ElementName", "Hard disk %zu", i + 1);
		element(t, "HostResource", "ovf:/disk/vmdisk%zu", i + 1);
		element(t, "InstanceID", "%u", (*id)++);
		element(t, "Parent", "%u", parent[bus]);
		element(t, "ResourceType", "17");
		add(t, "      </Item>\n");
	}
	return 0;
}

/* What libvirt and people call a card, as VMware has it. */
static const char *nic_model(const char *model)
{
	static const char *const names[][2] = {{"virtio", "VmxNet3"},  {"vmxnet3", "VmxNet3"},
					       {"e1000", "E1000"},     {"e1000e", "E1000e"},
					       {"rtl8139", "PCNet32"}, {"pcnet", "PCNet32"},
					       {"pcnet32", "PCNet32"}};

	for (size_t i = 0; model && i < sizeof(names) / sizeof(names[0]); i++)
		if (strcasecmp(names[i][0], model) == 0)
			return names[i][1];
	return "E1000"; /* every guest has a driver for it */
}

static void cards(struct text *t, const struct machine *m, unsigned *id)
{
	for (size_t i = 0; i < m->n_nics; i++) {
		add(t, "      <Item>\n");
		element(t, "AddressOnParent", "%zu", i);
		element(t, "AutomaticAllocation", "true");
		element(t, "Connection", "%s", m->nics[i].network);
		element(t, "Description", "Network adapter on %s", m->nics[i].network);
		element(t, "ElementName", "Network adapter %zu", i + 1);
		element(t, "InstanceID", "%u", (*id)++);
		element(t, "ResourceSubType", "%s", nic_model(m->nics[i].model));
		element(t, "ResourceType", "10");
		add(t, "      </Item>\n");
	}
}

static void firmware(struct text *t, const struct machine *m)
{
	if (m->firmware != FIRMWARE_EFI && m->firmware != FIRMWARE_EFI_SECURE)
		return;
	add(t, "      <vmw:Config ovf:required=\"false\" vmw:key=\"firmware\""
	       " vmw:value=\"efi\"/>\n");
	if (m->firmware == FIRMWARE_EFI_SECURE)
		add(t, "      <vmw:Config ovf:required=\"false\""
		       " vmw:key=\"bootOptions.efiSecureBootEnabled\" vmw:value=\"true\"/>\n");
}

static void system_head(struct text *t, const struct machine *m)
{
	add(t, "  <VirtualSystem ovf:id=\"");
	add_escaped(t, m->name);
	add(t, "\">\n    <Info>A virtual machine</Info>\n    <Name>");
	add_escaped(t, m->name);
	add(t,
	    "</Name>\n    <OperatingSystemSection ovf:id=\"%u\" vmw:osType=\"%s\">\n"
	    "      <Info>The operating system</Info>\n",
	    m->os_id ? m->os_id : 102, machine_vmware_os(m));
	if (m->os) {
		add(t, "      <Description>");
		add_escaped(t, m->os);
		add(t, "</Description>\n");
	}
	add(t, "    </OperatingSystemSection>\n    <VirtualHardwareSection>\n"
	       "      <Info>Virtual hardware</Info>\n      <System>\n"
	       "        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>\n"
	       "        <vssd:InstanceID>0</vssd:InstanceID>\n"
	       "        <vssd:VirtualSystemIdentifier>");
	add_escaped(t, m->name);
	/* Version 14 is that of vSphere 6.7. */
	add(t,
	    "</vssd:VirtualSystemIdentifier>\n"
	    "        <vssd:VirtualSystemType>%s</vssd:VirtualSystemType>\n      </System>\n",
	    m->hardware ? m->hardware : "vmx-14");
}

int ovf_write(const struct machine *m, const struct ovf_write_disk *disks, size_t n,
	      char **ret_text, size_t *ret_len, struct err *err)
{
	struct text t = {0};
	unsigned id = 3;

	head(&t);
	files(&t, disks, n);
	networks(&t, m);
	system_head(&t, m);
	cpu_and_memory(&t, m);
	if (drives(&t, m, n, &id, err) < 0) {
		free(t.bytes);
		return -1;
	}
	cards(&t, m, &id);
	firmware(&t, m);
	add(&t, "    </VirtualHardwareSection>\n  </VirtualSystem>\n</Envelope>\n");
	if (t.failed) {
		free(t.bytes);
		return err_nomem(err);
	}
	*ret_text = t.bytes;
	*ret_len = t.len;
	return 0;
}
