/* Machines that start with their host. libvirt's own flag knows no order; one is kept in the domain's metadata, where it
 * goes with the definition: <autostart xmlns="urn:vmkit:autostart" order="10" delay="30000"/>. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/host/libvirt/lib.h"
#include "libcommon/host/xmldoc.h"

#define URN "urn:vmkit:autostart"

/* @text: NULL removes it; that there was none is no error */
static int set_metadata(const struct libvirt *lv, virDomainPtr dom, const char *text)
{
	return lv->DomainSetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, text, "vmkit", URN,
				     VIR_DOMAIN_AFFECT_CONFIG);
}

int libvirt_set_autostart(struct domain *d, unsigned order, uint64_t delay_ms, struct err *err)
{
	const struct libvirt *lv = libvirt_of(d->host)->lv;
	virDomainPtr dom = libvirt_domain(d);
	char text[96];

	(void)snprintf(text, sizeof(text), "<autostart order='%u' delay='%" PRIu64 "'/>", order,
		       delay_ms);
	if (set_metadata(lv, dom, order ? text : NULL) < 0 ||
	    (order && lv->DomainSetAutostart(dom, 0) < 0))
		return libvirt_error(lv, err);
	return 0;
}

int libvirt_autostart_flag(struct domain *d, bool on, struct err *err)
{
	const struct libvirt *lv = libvirt_of(d->host)->lv;
	unsigned order;
	uint64_t delay;

	libvirt_autostart(lv, libvirt_domain(d), &order, &delay);
	if ((order && set_metadata(lv, libvirt_domain(d), NULL) < 0) ||
	    lv->DomainSetAutostart(libvirt_domain(d), on) < 0)
		return libvirt_error(lv, err);
	return 0;
}

void libvirt_autostart(const struct libvirt *lv, virDomainPtr dom, unsigned *ret_order,
		       uint64_t *ret_delay_ms)
{
	CLEANUP_FREE char *text = lv->DomainGetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, URN,
							VIR_DOMAIN_AFFECT_CONFIG);
	CLEANUP_FREE char *order = NULL, *delay = NULL;
	struct xmldoc *x;

	*ret_order = 0;
	*ret_delay_ms = 0;
	lv->ResetLastError();
	if (!text || xmldoc_parse(&x, text, "metadata", NULL) < 0)
		return;
	order = xmldoc_get(x, "/*[local-name()='autostart']/@order");
	delay = xmldoc_get(x, "/*[local-name()='autostart']/@delay");
	xmldoc_free(x);
	if (order)
		*ret_order = (unsigned)strtoul(order, NULL, 10);
	if (delay)
		*ret_delay_ms = strtoull(delay, NULL, 10);
	if (*ret_order > AUTOSTART_ORDER_MAX)
		*ret_order = 0;
	if (*ret_delay_ms > AUTOSTART_DELAY_MAX_MS)
		*ret_delay_ms = AUTOSTART_DELAY_MAX_MS;
}
