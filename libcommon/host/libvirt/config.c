/* Definitions of libvirt domains, what can be changed in them, and their saved memory. */
#include <stdlib.h>

#include "libcommon/base/checked.h"
#include "libcommon/host/device.h"
#include "libcommon/host/libvirt/lib.h"

static int said(const struct domain *d, int rc, struct err *err)
{
	if (rc >= 0)
		return 0;
	libvirt_error(libvirt_of(d->host)->lv, err);
	return err_object(err, d->name);
}

int libvirt_save_to(struct domain *d, const char *path, struct err *err)
{
	const struct libvirt *lv = libvirt_of(d->host)->lv;

	if (domain_idle(d, err) < 0)
		return -1;
	return said(d, lv->DomainSaveFlags(libvirt_domain(d), path, NULL, 0), err);
}

int libvirt_restore(struct host *h, const char *path, bool paused, struct err *err)
{
	const struct libvirt_host *l = libvirt_of(h);

	if (l->lv->DomainRestoreFlags(l->conn, path, NULL, paused ? VIR_DOMAIN_SAVE_PAUSED : 0) ==
	    0)
		return 0;
	libvirt_error(l->lv, err);
	return err_object(err, path);
}

int libvirt_xml(struct domain *d, unsigned flags, char **ret, struct err *err)
{
	const struct libvirt *lv = libvirt_of(d->host)->lv;
	unsigned theirs = (flags & DOMAIN_XML_CONFIG ? VIR_DOMAIN_XML_INACTIVE : 0) |
			  (flags & DOMAIN_XML_SECRETS ? VIR_DOMAIN_XML_SECURE : 0);

	*ret = lv->DomainGetXMLDesc(libvirt_domain(d), theirs);
	return said(d, *ret ? 0 : -1, err);
}

int libvirt_define(struct host *h, const char *xml, struct domain *d, struct err *err)
{
	const struct libvirt_host *l = libvirt_of(h);
	virDomainPtr dom = l->lv->DomainDefineXMLFlags(l->conn, xml, VIR_DOMAIN_DEFINE_VALIDATE);

	return dom ? libvirt_take(h, dom, d, err) : libvirt_error(l->lv, err);
}

int libvirt_set_cpus(struct domain *d, unsigned n, unsigned where, bool max, struct err *err)
{
	const struct libvirt *lv = libvirt_of(d->host)->lv;
	unsigned flags = (where & DOMAIN_LIVE ? VIR_DOMAIN_VCPU_LIVE : 0) |
			 (where & DOMAIN_CONFIG ? VIR_DOMAIN_VCPU_CONFIG : 0) |
			 (max ? VIR_DOMAIN_VCPU_MAXIMUM : 0);

	if (domain_idle(d, err) < 0)
		return -1;
	return said(d, lv->DomainSetVcpusFlags(libvirt_domain(d), n, flags), err);
}

int libvirt_set_memory(struct domain *d, uint64_t bytes, unsigned where, bool max, struct err *err)
{
	const struct libvirt *lv = libvirt_of(d->host)->lv;
	unsigned flags = (where & DOMAIN_LIVE ? VIR_DOMAIN_MEM_LIVE : 0) |
			 (where & DOMAIN_CONFIG ? VIR_DOMAIN_MEM_CONFIG : 0) |
			 (max ? VIR_DOMAIN_MEM_MAXIMUM : 0);

	if (domain_idle(d, err) < 0)
		return -1;
	return said(d,
		    lv->DomainSetMemoryFlags(libvirt_domain(d), (unsigned long)div_up(bytes, 1024),
					     flags),
		    err);
}

static unsigned device_flags(unsigned where)
{
	return (where & DOMAIN_LIVE ? VIR_DOMAIN_AFFECT_LIVE : 0) |
	       (where & DOMAIN_CONFIG ? VIR_DOMAIN_AFFECT_CONFIG : 0);
}

int libvirt_attach(struct domain *d, const char *xml, unsigned where, struct err *err)
{
	const struct libvirt *lv = libvirt_of(d->host)->lv;

	if (domain_idle(d, err) < 0)
		return -1;
	return said(d, lv->DomainAttachDeviceFlags(libvirt_domain(d), xml, device_flags(where)),
		    err);
}

int libvirt_detach(struct domain *d, const char *xml, unsigned where, struct err *err)
{
	const struct libvirt *lv = libvirt_of(d->host)->lv;

	if (domain_idle(d, err) < 0)
		return -1;
	return said(d, lv->DomainDetachDeviceFlags(libvirt_domain(d), xml, device_flags(where)),
		    err);
}
