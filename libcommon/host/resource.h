/* Networks and storage pools of a host: what machines are connected to, and where their disks may lie. libvirt alone has them. */
#ifndef VMKIT_HOST_RESOURCE_H
#define VMKIT_HOST_RESOURCE_H

#include "libcommon/host/host.h"

enum resource_kind { RESOURCE_NETWORK, RESOURCE_POOL };

enum resource_action {
	RESOURCE_START,
	RESOURCE_STOP,
	RESOURCE_AUTOSTART_ON,
	RESOURCE_AUTOSTART_OFF,
	RESOURCE_DELETE, /* its definition; what lies in a pool stays */
	RESOURCE_BUILD,	 /* a pool's folder is made */
	RESOURCE_REFRESH /* a pool is looked through again */
};

/** host_resources() - all of @kind as in docs/schema/vmctl-net.json or vmctl-pool.json, sorted by name; owned */
int host_resources(struct host *h, enum resource_kind kind, json_t **ret, struct err *err);

/** host_resource_act() - ERR_NOT_FOUND, ... */
int host_resource_act(struct host *h, enum resource_kind kind, const char *name,
		      enum resource_action what, struct err *err);

/** host_resource_define() - persistent, not started; ERR_EXISTS, ERR_USAGE for bad XML */
int host_resource_define(struct host *h, enum resource_kind kind, const char *xml, struct err *err);

/** host_resource_xml() - owned */
int host_resource_xml(struct host *h, enum resource_kind kind, const char *name, char **ret,
		      struct err *err);

/** host_volumes() - what lies in a pool that runs: a list of {"name", "path", "format", "capacity", "allocation"}; owned */
int host_volumes(struct host *h, const char *pool, json_t **ret, struct err *err);

#endif
