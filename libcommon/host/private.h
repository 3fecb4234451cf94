/* What the files of libcommon/host share: a host and its driver. */
#ifndef VMKIT_HOST_PRIVATE_H
#define VMKIT_HOST_PRIVATE_H

#include "libcommon/host/host.h"

/** struct host_driver - how machines are reached. A member that is NULL is not supported there */
struct host_driver {
	const char *name;
	int (*open)(struct host *h, const char *uri, unsigned flags, struct err *err);
	void (*close)(struct host *h);
	int (*list)(struct host *h, struct domain_info **ret, size_t *ret_n, struct err *err);
	int (*find)(struct host *h, const char *name, struct domain *d, struct err *err);
	void (*release)(struct domain *d);
	int (*info)(struct domain *d, struct domain_info *ret, struct err *err);
	int (*state)(struct domain *d, enum domain_state *ret, const char **ret_reason,
		     struct err *err);
	int (*act)(struct domain *d, enum domain_action what, struct err *err);
	int (*idle)(struct domain *d, struct err *err);
};

struct host {
	const struct host_driver *driver;
	char *uri;  /* as the daemon says it; set by open */
	void *priv; /* the driver's */
};

struct domain {
	struct host *host; /* borrowed */
	char *name;
	char uuid[UUID_TEXT_MAX];
	void *priv;
};

extern const struct host_driver host_libvirt;

#endif
