/* Devices of a machine that come and go. */
#ifndef VMKIT_HOST_DEVICE_H
#define VMKIT_HOST_DEVICE_H

#include "libcommon/host/host.h"

/** domain_attach() - @xml: one device; @where: DOMAIN_LIVE, DOMAIN_CONFIG */
int domain_attach(struct domain *d, const char *xml, unsigned where, struct err *err);

/** domain_detach() - from a running machine it is only asked for: the guest has to let go */
int domain_detach(struct domain *d, const char *xml, unsigned where, struct err *err);

#endif
