/* Disks of libvirt domains, and what is done with them while they run. */
#include "libcommon/host/snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/host/libvirt/lib.h"
#include "libcommon/host/rewrite.h"
#include "libcommon/host/xmldoc.h"

#define DISKS "/domain/devices/disk"

int domain_files(struct domain *d, bool running, struct domain_disk **ret, size_t *ret_n,
		 struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	int rc = 0;

	if (domain_xml(d, running ? 0 : DOMAIN_XML_CONFIG, &text, err) < 0 ||
	    domain_disks(text, ret, ret_n, err) < 0)
		return err_object(err, d->name);
	for (size_t i = 0; rc == 0 && i < *ret_n; i++)
		if ((*ret)[i].kind != DISK_FILE || (*ret)[i].source[0] != '/')
			rc = err_set(err, ERR_UNSUPPORTED, "disk %s is no file of this host",
				     (*ret)[i].target);
	if (rc == 0 && *ret_n == 0)
		rc = err_set(err, ERR_UNSUPPORTED, "has no disk that it may write to");
	if (rc == 0)
		return 0;
	domain_disks_free(*ret, *ret_n);
	return err_object(err, d->name);
}

int domain_forget_chains(struct domain *d, struct err *err)
{
	CLEANUP_FREE char *text = NULL, *changed = NULL;
	struct domain_info info;
	bool persistent;
	struct xmldoc *x;
	int rc = 0;

	if (domain_info(d, &info, err) < 0)
		return -1;
	persistent = info.persistent;
	domain_info_release(&info);
	if (!persistent)
		return 0;
	if (domain_xml(d, DOMAIN_XML_CONFIG | DOMAIN_XML_SECRETS, &text, err) < 0 ||
	    xmldoc_parse(&x, text, "domain", err) < 0)
		return -1;
	if (xmldoc_remove(x, DISKS "/backingStore"))
		rc = xmldoc_text(x, &changed, err);
	xmldoc_free(x);
	return rc == 0 && changed ? host_define(d->host, changed, NULL, err) : rc;
}

/* Appends to *@text, which is owned; NULL without memory, and then it stays so */
static void append_disk(char **text, const char *target, const char *file)
{
	CLEANUP_FREE char *before = *text;
	CLEANUP_FREE char *t = xml_escape(target);
	CLEANUP_FREE char *f = xml_escape(file);

	if (!before || !t || !f ||
	    asprintf(text,
		     "%s<disk name='%s' snapshot='external' type='file'><driver type='qcow2'/>"
		     "<source file='%s'/></disk>",
		     before, t, f) < 0)
		*text = NULL;
}

/* <domainsnapshot>; owned, NULL without memory */
static char *overlay_xml(const struct domain_disk *disks, const char *const *overlays, size_t n,
			 const char *memory)
{
	CLEANUP_FREE char *inside = strdup("");
	CLEANUP_FREE char *file = xml_escape(memory ? memory : "");
	CLEANUP_FREE char *kept = NULL;
	char *text;

	for (size_t i = 0; i < n; i++)
		append_disk(&inside, disks[i].target, overlays[i]);
	if (!file || asprintf(&kept, "<memory snapshot='external' file='%s'/>", file) < 0)
		kept = NULL;
	if (!inside || !kept ||
	    asprintf(&text, "<domainsnapshot>%s<disks>%s</disks></domainsnapshot>",
		     memory ? kept : "", inside) < 0)
		return NULL;
	return text;
}

int domain_overlay(struct domain *d, const struct domain_disk *disks, const char *const *overlays,
		   size_t n, const char *memory, struct err *err)
{
	const struct libvirt *lv;
	CLEANUP_FREE char *xml = overlay_xml(disks, overlays, n, memory);
	virDomainSnapshotPtr made;

	if (libvirt_only(d->host, "live snapshots", err) < 0)
		return -1;
	lv = libvirt_of(d->host)->lv;
	if (!xml)
		return err_nomem(err);
	made = lv->DomainSnapshotCreateXML(
		libvirt_domain(d), xml,
		(memory ? VIR_DOMAIN_SNAPSHOT_CREATE_LIVE : VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY) |
			VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC | VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA);
	if (!made) {
		libvirt_error(lv, err);
		return err_object(err, d->name);
	}
	(void)lv->DomainSnapshotFree(made);
	return 0;
}

int host_saved_xml(struct host *h, const char *file, const struct domain_disk *disks,
		   char *const *paths, size_t n, char **ret, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	const struct libvirt_host *l;
	struct xmldoc *x;
	int rc = 0;

	if (libvirt_only(h, "memory of snapshots", err) < 0)
		return -1;
	l = libvirt_of(h);
	text = l->lv->DomainSaveImageGetXMLDesc(l->conn, file, VIR_DOMAIN_SAVE_IMAGE_XML_SECURE);
	if (!text) {
		libvirt_error(l->lv, err);
		return err_object(err, file);
	}
	if (xmldoc_parse(&x, text, "domain", err) < 0)
		return -1;
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = rewrite_disk(x, disks[i].target, paths[i], "qcow2", err);
	if (rc == 0)
		rc = xmldoc_text(x, ret, err);
	xmldoc_free(x);
	return rc < 0 ? err_object(err, file) : 0;
}

int host_restore_as(struct host *h, const char *file, const char *xml, struct err *err)
{
	const struct libvirt_host *l;

	if (libvirt_only(h, "memory of snapshots", err) < 0)
		return -1;
	l = libvirt_of(h);
	if (l->lv->DomainRestoreFlags(l->conn, file, xml, 0) == 0)
		return 0;
	libvirt_error(l->lv, err);
	return err_object(err, file);
}

int domain_keeps_nvram(struct domain *d, bool *ret, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	struct xmldoc *x;

	if (domain_xml(d, 0, &text, err) < 0 || xmldoc_parse(&x, text, "domain", err) < 0)
		return -1;
	*ret = xmldoc_count(x, "/domain/os/nvram") > 0;
	xmldoc_free(x);
	return 0;
}
