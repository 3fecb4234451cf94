/* What the files of libcommon/host share: a host and its driver. */
#ifndef VMKIT_HOST_PRIVATE_H
#define VMKIT_HOST_PRIVATE_H

#include "libcommon/host/events.h"
#include "libcommon/host/host.h"
#include "libcommon/host/limits.h"

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
	int (*set_autostart)(struct domain *d, unsigned order, uint64_t delay_ms, struct err *err);
	int (*idle)(struct domain *d, struct err *err);
	int (*save_to)(struct domain *d, const char *path, struct err *err);
	int (*restore)(struct host *h, const char *path, bool paused, struct err *err);
	int (*hold)(struct domain *d, struct err *err);
	int (*held)(struct domain *d, bool *ret, struct err *err);
	int (*let_go)(struct domain *d, bool same, struct err *err);
	int (*held_memory)(struct domain *d, const char *path, struct err *err);
	int (*check_memory)(struct domain *d, const char *path, struct err *err);
	int (*restore_memory)(struct domain *d, const char *path, struct err *err);
	int (*xml)(struct domain *d, unsigned flags, char **ret, struct err *err);
	int (*define)(struct host *h, const char *xml, struct domain *d, struct err *err);
	int (*capabilities)(struct host *h, char **ret, struct err *err);
	int (*set_cpus)(struct domain *d, unsigned n, unsigned where, bool max, struct err *err);
	int (*set_memory)(struct domain *d, uint64_t bytes, unsigned where, bool max,
			  struct err *err);
	int (*limit_cpu)(struct domain *d, const struct cpu_limits *l, unsigned where,
			 struct err *err);
	int (*limit_memory)(struct domain *d, uint64_t bytes, unsigned where, struct err *err);
	int (*limit_disk)(struct domain *d, const struct disk_limits *l, unsigned where,
			  struct err *err);
	int (*limit_net)(struct domain *d, const struct net_limits *l, unsigned where,
			 struct err *err);
	int (*pin)(struct domain *d, const struct pin *p, unsigned where, struct err *err);
	int (*attach)(struct domain *d, const char *xml, unsigned where, struct err *err);
	int (*detach)(struct domain *d, const char *xml, unsigned where, struct err *err);
	int (*agent)(struct domain *d, const json_t *command, unsigned timeout_s, json_t **ret,
		     struct err *err);
	int (*stats)(struct host *h, json_t **ret, struct err *err);
	int (*node)(struct host *h, json_t **ret, struct err *err);
	int (*events_start)(struct host *h, host_event_fn fn, void *ctx, void **ret,
			    struct err *err);
	void (*events_stop)(void *events);
	bool (*alive)(struct host *h);
	int (*console_open)(struct domain *d, const char *name, bool force, void **ret,
			    struct err *err);
	ssize_t (*console_read)(void *console, void *buf, size_t len, unsigned timeout_ms,
				struct err *err);
	int (*console_write)(void *console, const void *buf, size_t len, struct err *err);
	void (*console_close)(void *console);
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

extern const struct host_driver host_libvirt, host_builtin;

#endif
