/* The XML of a new machine: see create.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmctl/create.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/host/xmldoc.h"

struct writer {
	FILE *f;
	bool failed; /* without memory */
};

/* "BEFORE text AFTER" with the text escaped; nothing for NULL */
static void piece(struct writer *w, const char *before, const char *text, const char *after)
{
	CLEANUP_FREE char *safe = text ? xml_escape(text) : NULL;

	if (safe)
		(void)fprintf(w->f, "%s%s%s", before, safe, after);
	else if (text)
		w->failed = true;
}

static void nic(struct writer *w, const struct new_nic *n)
{
	if (strcmp(n->network, "user") == 0)
		(void)fputs("    <interface type='user'>\n", w->f);
	else if (strncmp(n->network, "bridge:", 7) == 0)
		piece(w, "    <interface type='bridge'>\n      <source bridge='", n->network + 7,
		      "'/>\n");
	else
		piece(w, "    <interface type='network'>\n      <source network='", n->network,
		      "'/>\n");
	(void)fprintf(w->f,
		      "      <mac address='%s'/>\n      <model type='%s'/>\n    </interface>\n",
		      n->mac, n->model);
}

/* Names go by the prefix of the bus: vda, sda, hda. */
static void disk(struct writer *w, const struct new_disk *d, char letter)
{
	bool virtio = strcmp(d->bus, "virtio") == 0;

	piece(w,
	      "    <disk type='file' device='disk'>\n"
	      "      <driver name='qemu' type='qcow2' discard='unmap'/>\n      <source file='",
	      d->file, "'/>\n");
	(void)fprintf(w->f, "      <target dev='%s%c' bus='%s'/>\n    </disk>\n",
		      virtio			   ? "vd"
		      : strcmp(d->bus, "ide") == 0 ? "hd"
						   : "sd",
		      letter, d->bus);
}

static void devices(struct writer *w, const struct new_machine *m)
{
	char vd = 'a', sd = 'a', seed[] = "sda";
	bool scsi = false;

	(void)fputs("  <devices>\n", w->f);
	for (size_t i = 0; i < m->n_disks; i++) {
		disk(w, &m->disks[i], strcmp(m->disks[i].bus, "virtio") == 0 ? vd++ : sd++);
		scsi |= strcmp(m->disks[i].bus, "scsi") == 0;
	}
	if (scsi)
		(void)fputs("    <controller type='scsi' model='virtio-scsi'/>\n", w->f);
	seed[2] = sd;
	piece(w,
	      "    <disk type='file' device='cdrom'>\n      <driver name='qemu' type='raw'/>\n"
	      "      <source file='",
	      m->seed, "'/>\n");
	if (m->seed)
		(void)fprintf(
			w->f,
			"      <target dev='%s' bus='sata'/>\n      <readonly/>\n    </disk>\n",
			seed);
	for (size_t i = 0; i < m->n_nics; i++)
		nic(w, &m->nics[i]);
	(void)fputs(
		"    <serial type='pty'/>\n    <console type='pty'/>\n"
		"    <channel type='unix'>\n"
		"      <target type='virtio' name='org.qemu.guest_agent.0'/>\n    </channel>\n"
		"    <memballoon model='virtio'/>\n"
		"    <rng model='virtio'>\n      <backend model='random'>/dev/urandom</backend>\n"
		"    </rng>\n  </devices>\n",
		w->f);
}

char *new_machine_xml(const struct new_machine *m)
{
	bool kvm = strcmp(m->type, "kvm") == 0;
	char *text = NULL;
	size_t len;
	struct writer w = {.f = open_memstream(&text, &len)};

	if (!w.f)
		return NULL;
	(void)fprintf(w.f, "<domain type='%s'>\n", m->type);
	piece(&w, "  <name>", m->name, "</name>\n");
	(void)fprintf(w.f,
		      "  <uuid>%s</uuid>\n  <memory unit='KiB'>%" PRIu64
		      "</memory>\n  <vcpu>%u</vcpu>\n"
		      "  <os%s>\n    <type arch='x86_64' machine='q35'>hvm</type>\n",
		      m->uuid, div_up(m->memory, 1024), m->cpus, m->efi ? " firmware='efi'" : "");
	if (m->efi && m->secure)
		(void)fputs("    <loader secure='yes'/>\n", w.f);
	piece(&w, "    <kernel>", m->kernel, "</kernel>\n");
	piece(&w, "    <initrd>", m->initrd, "</initrd>\n");
	piece(&w, "    <cmdline>", m->append, "</cmdline>\n");
	(void)fputs("  </os>\n  <features>\n    <acpi/>\n    <apic/>\n", w.f);
	if (m->efi && m->secure)
		(void)fputs("    <smm state='on'/>\n", w.f);
	(void)fputs("  </features>\n", w.f);
	/* Without hardware "maximum" is what TCG can do; with it the host's own. */
	(void)fprintf(w.f, "  <cpu mode='%s'/>\n", kvm ? "host-passthrough" : "maximum");
	devices(&w, m);
	(void)fputs("</domain>\n", w.f);

	bool failed = w.failed || ferror(w.f) != 0;

	if (fclose(w.f) != 0 || failed) {
		free(text);
		return NULL;
	}
	return text;
}
