/* Machines of a host: libvirt's domains, whatever its driver, or those of this user that vmrun runs (BUILTIN_URI). The
 * only door to libvirt's headers is below this folder. A driver is a folder with its struct host_driver (private.h); what
 * it cannot is ERR_UNSUPPORTED.
 *
 *	host_open(&h, uri, 0, timeout_ms, err)		a connection; one sentence within timeout_ms
 *	host_find(h, "web", &d, err)			a machine by name or UUID
 *	domain_act(d, DOMAIN_START, err)		what is done to it
 *	domain_info(d, &info, err)			how it is
 *	domain_close(d); host_close(h)
 *
 * libvirt is loaded when the first connection is opened (libvirt/lib.c): nobody else pays for it. A connection that was
 * opened notices a host that went silent by itself (keep-alive), so that no call waits for ever.
 *
 * Threads: a host and its domains may be used by several threads at once.
 */
#ifndef VMKIT_HOST_HOST_H
#define VMKIT_HOST_HOST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "libcommon/base/err.h"

struct host;
struct domain;

#define BUILTIN_URI "builtin:///" /* struct host_driver host_builtin */

enum host_flags { HOST_READ_ONLY = 1 };
enum { HOST_TIMEOUT_MS = 10000, UUID_TEXT_MAX = 37 };

/**
 * host_open() - connect
 * @uri: as libvirt takes it ("qemu:///system"), or BUILTIN_URI; NULL: libvirt's own default
 * @timeout_ms: 0: HOST_TIMEOUT_MS
 *
 * Return: 0 with an owned connection, or -1: ERR_CONNECTION (nobody answers, or not in time), ERR_DENIED, ERR_UNSUPPORTED
 * (no libvirt here, no such driver). The object is the URI.
 */
int host_open(struct host **ret, const char *uri, unsigned flags, uint64_t timeout_ms,
	      struct err *err);
/** host_close() - domains first; NULL is fine */
void host_close(struct host *h);
const char *host_uri(const struct host *h); /* as the daemon says it; borrowed */

enum domain_state {
	DOMAIN_OFF,
	DOMAIN_RUNNING,
	DOMAIN_PAUSED,
	DOMAIN_STOPPING,
	DOMAIN_CRASHED,
	DOMAIN_SLEEPING, /* suspended by the guest */
	DOMAIN_STATE_COUNT
};

struct domain_info {
	char *name; /* owned */
	char uuid[UUID_TEXT_MAX];
	int id; /* -1: not running */
	enum domain_state state;
	const char *reason; /* "io error", "crashed"; static; "" */
	unsigned cpus;
	uint64_t memory, memory_max, cpu_time_ns;
	bool persistent, autostart, saved; /* autostart: by whomever */
	unsigned autostart_order;	   /* 1 is first; 0: none, the host's own autostart */
	uint64_t autostart_delay_ms;	   /* until those of the next order */
};

const char *domain_state_name(enum domain_state s); /* "off", "running", ... */
void domain_info_release(struct domain_info *info);

/** host_list() - every machine, by name; owned: host_list_free(). One that vanishes meanwhile is left out */
int host_list(struct host *h, struct domain_info **ret, size_t *ret_n, struct err *err);
void host_list_free(struct domain_info *list, size_t n);

/** host_find() - by name, else by UUID; ERR_NOT_FOUND; *@ret is owned: domain_close() */
int host_find(struct host *h, const char *name, struct domain **ret, struct err *err);
void domain_close(struct domain *d); /* NULL is fine */
const char *domain_name(const struct domain *d);
const char *domain_uuid(const struct domain *d);
struct host *domain_host(const struct domain *d);

/** domain_info() - owned: domain_info_release() */
int domain_info(struct domain *d, struct domain_info *ret, struct err *err);
int domain_state(struct domain *d, enum domain_state *ret, const char **ret_reason,
		 struct err *err);

enum domain_action {
	DOMAIN_START, /* from its saved state when it has one */
	DOMAIN_START_PAUSED,
	DOMAIN_START_FRESH, /* a saved state is thrown away */
	DOMAIN_SUSPEND,
	DOMAIN_RESUME,
	DOMAIN_SHUTDOWN_AGENT, /* asked for: see domain_wait() */
	DOMAIN_SHUTDOWN_ACPI,
	DOMAIN_REBOOT_AGENT,
	DOMAIN_REBOOT_ACPI,
	DOMAIN_RESET,	/* as the button */
	DOMAIN_DESTROY, /* as the plug */
	DOMAIN_SAVE,	/* memory goes to the host's disk, start takes it up again */
	DOMAIN_AUTOSTART_ON,
	DOMAIN_AUTOSTART_OFF,
	DOMAIN_UNDEFINE, /* with its saved state, NVRAM, and records of snapshots and checkpoints */
	DOMAIN_UNDEFINE_HERE, /* its files stay: it went to another host that may use them */
	DOMAIN_ACTIONS
};

/** domain_act() - ERR_BUSY when a job is under way, ERR_CONNECTION when the agent does not answer, ERR_FAILED when the
 *  machine is in no state for it */
int domain_act(struct domain *d, enum domain_action what, struct err *err);

/** domain_wait() - until it is in @state, at most @timeout_ms; ERR_TIMEOUT, ERR_CANCELLED. For DOMAIN_OFF a machine that
 *  is gone altogether counts too */
int domain_wait(struct domain *d, enum domain_state state, uint64_t timeout_ms, struct err *err);

/** domain_idle() - ERR_BUSY at once when a job (backup, migration, save) is under way: the sentence says which */
int domain_idle(struct domain *d, struct err *err);

/** domain_save_to() - memory to a file of the host, the machine is off then; host_restore() starts it again */
int domain_save_to(struct domain *d, const char *path, struct err *err);
int host_restore(struct host *h, const char *path, bool paused, struct err *err);

enum { AUTOSTART_ORDER_MAX = 9999, AUTOSTART_DELAY_MAX_MS = 24 * 3600 * 1000 };

/** domain_set_autostart() - with its host, in an order that the host's own autostart (DOMAIN_AUTOSTART_ON) has not: that
 *  is off then, and vmctl start --autostart does it
 *  @order: 1 to AUTOSTART_ORDER_MAX; 0: no more */
int domain_set_autostart(struct domain *d, unsigned order, uint64_t delay_ms, struct err *err);

enum domain_xml_flags {
	DOMAIN_XML_CONFIG = 1, /* as it will be at the next start, not as it is */
	DOMAIN_XML_SECRETS = 2 /* with passwords: for what is defined again; not read-only */
};
/** domain_xml() - owned */
int domain_xml(struct domain *d, unsigned flags, char **ret, struct err *err);
/** host_define() - persistent; replaces the definition of the same UUID; ERR_USAGE for bad XML; @ret may be NULL */
int host_define(struct host *h, const char *xml, struct domain **ret, struct err *err);
/** host_capabilities() - the host's, as XML; owned */
int host_capabilities(struct host *h, char **ret, struct err *err);

enum domain_where { DOMAIN_LIVE = 1, DOMAIN_CONFIG = 2 };

/** domain_set_cpus(), domain_set_memory() - @where: one of the two, or both; @max: the most it may get (config) */
int domain_set_cpus(struct domain *d, unsigned n, unsigned where, bool max, struct err *err);
int domain_set_memory(struct domain *d, uint64_t bytes, unsigned where, bool max, struct err *err);

/**
 * domain_agent() - one command of the guest agent: {"execute":"guest-ping"}
 * @timeout_s: at least 1
 * *@ret: what is below "return"; owned (json_decref). ERR_CONNECTION when there is no agent or it does not answer
 */
int domain_agent(struct domain *d, const json_t *command, unsigned timeout_s, json_t **ret,
		 struct err *err);

struct console;
/** console_open() - @name: a device's alias, or NULL: the first; @force: take it from who has it; ERR_BUSY without */
int console_open(struct domain *d, const char *name, bool force, struct console **ret,
		 struct err *err);
/** console_read() - waits at most @timeout_ms. Return: bytes; 0 at the end; -1; -2: nothing came */
ssize_t console_read(struct console *c, void *buf, size_t len, unsigned timeout_ms,
		     struct err *err);
int console_write(struct console *c, const void *buf, size_t len, struct err *err);
void console_close(struct console *c);

#endif
