/* What the verbs of vmctl share: which hosts are meant, several machines at once, JSON of a machine. One file a verb. */
#ifndef VMKIT_CMD_VMCTL_H
#define VMKIT_CMD_VMCTL_H

#include "libcommon/cli/cli.h"
#include "libcommon/host/host.h"

extern const struct verb verb_list, verb_info, verb_start, verb_stop, verb_reboot, verb_suspend,
	verb_resume, verb_save, verb_restore, verb_delete, verb_console, verb_exec, verb_edit,
	verb_set, verb_autostart, verb_create, verb_clone, verb_attach, verb_detach, verb_stats,
	verb_hosts, verb_migrate, verb_events, verb_export, verb_import, verb_watch, verb_audit,
	verb_net, verb_pool, verb_report;

/** vmctl_connect() - to the one host that -c, VMKIT_CONNECT or the configuration names; ERR_USAGE when it is several */
int vmctl_connect(struct host **ret, bool read_only, struct err *err);

/** vmctl_target() - another host, by URI or name; *@ret_uri is owned */
int vmctl_target(const char *name, struct host **ret, char **ret_uri, struct err *err);

/** vmctl_find() - that host and a machine of it; both are owned */
int vmctl_find(const char *name, bool read_only, struct host **ret_host, struct domain **ret,
	       struct err *err);

/** struct vmctl_answer - of one host */
struct vmctl_answer {
	const char *name; /* as the user called it; "" for libvirt's default */
	const char *uri;  /* NULL: libvirt's default */
	json_t *value;	  /* NULL: failed */
	struct err err;
};

/** vmctl_hosts() - the hosts that are meant, not asked yet; owned: vmctl_answers_free() */
int vmctl_hosts(struct vmctl_answer **ret, size_t *ret_n, struct err *err);

/**
 * vmctl_ask_all() - ask every host at the same time, read-only
 * @ask: runs in a thread of its own
 * @ret: one answer a host, in the order of the command line; owned: vmctl_answers_free()
 * Return: 0, also when hosts failed: vmctl_verdict()
 */
int vmctl_ask_all(int (*ask)(struct host *h, void *ctx, json_t **ret, struct err *err), void *ctx,
		  struct vmctl_answer **ret, size_t *ret_n, struct err *err);
void vmctl_answers_free(struct vmctl_answer *a, size_t n);

/** vmctl_verdict() - 0; ERR_DIFFERS (with a warning each) when some hosts failed; the error itself when all did */
int vmctl_verdict(const struct vmctl_answer *a, size_t n, struct err *err);

/**
 * vmctl_each() - @fn for each machine named, or for all; one that fails does not keep the others from it
 * Return: 0; the error of the only one; ERR_DIFFERS when some of several failed, each told by a warning
 */
int vmctl_each(int argc, char **argv, bool all, bool read_only,
	       int (*fn)(struct domain *d, void *ctx, struct err *err), void *ctx, struct err *err);

/**
 * vmctl_where() - what a change is meant for: DOMAIN_LIVE, DOMAIN_CONFIG, or both
 * @live, @config: --live and --config; neither: all that the machine has
 * Return: 0; ERR_USAGE for both, ERR_FAILED for --live of one that does not run
 */
int vmctl_where(struct domain *d, bool live, bool config, unsigned *ret, struct err *err);

/** vmctl_info_json() - a machine as in docs/schema/vmctl-list.json; NULL without memory */
json_t *vmctl_info_json(const char *host, const struct domain_info *info);

/** vmctl_complete_machines() - names that begin with @prefix, within a second */
void vmctl_complete_machines(const char *prefix, FILE *out);

#endif
