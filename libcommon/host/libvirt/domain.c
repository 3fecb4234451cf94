/* Finding and describing libvirt domains. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/host/libvirt/lib.h"

static enum domain_state state_of(int state)
{
	switch (state) {
	case VIR_DOMAIN_PAUSED:
		return DOMAIN_PAUSED;
	case VIR_DOMAIN_SHUTDOWN:
		return DOMAIN_STOPPING;
	case VIR_DOMAIN_SHUTOFF:
		return DOMAIN_OFF;
	case VIR_DOMAIN_CRASHED:
		return DOMAIN_CRASHED;
	case VIR_DOMAIN_PMSUSPENDED:
		return DOMAIN_SLEEPING;
	default: /* blocked and "no state" are what Xen says of running ones */
		return DOMAIN_RUNNING;
	}
}

static const char *paused_reason(int reason)
{
	switch (reason) {
	case VIR_DOMAIN_PAUSED_USER:
		return "user";
	case VIR_DOMAIN_PAUSED_MIGRATION:
		return "migration";
	case VIR_DOMAIN_PAUSED_SAVE:
		return "save";
	case VIR_DOMAIN_PAUSED_IOERROR:
		return "io error";
	case VIR_DOMAIN_PAUSED_WATCHDOG:
		return "watchdog";
	case VIR_DOMAIN_PAUSED_SNAPSHOT:
		return "snapshot";
	case VIR_DOMAIN_PAUSED_CRASHED:
		return "crashed";
	case VIR_DOMAIN_PAUSED_STARTING_UP:
		return "starting";
	case VIR_DOMAIN_PAUSED_POSTCOPY_FAILED:
		return "postcopy failed";
	default:
		return "";
	}
}

static const char *off_reason(int reason)
{
	switch (reason) {
	case VIR_DOMAIN_SHUTOFF_SHUTDOWN:
		return "shutdown";
	case VIR_DOMAIN_SHUTOFF_DESTROYED:
		return "destroyed";
	case VIR_DOMAIN_SHUTOFF_CRASHED:
		return "crashed";
	case VIR_DOMAIN_SHUTOFF_MIGRATED:
		return "migrated";
	case VIR_DOMAIN_SHUTOFF_SAVED:
		return "saved";
	case VIR_DOMAIN_SHUTOFF_FAILED:
		return "failed";
	case VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT:
		return "snapshot";
	case VIR_DOMAIN_SHUTOFF_DAEMON:
		return "daemon";
	default:
		return "";
	}
}

static int get_state(const struct libvirt *lv, virDomainPtr dom, enum domain_state *ret,
		     const char **ret_reason, struct err *err)
{
	int state, reason;

	if (lv->DomainGetState(dom, &state, &reason, 0) < 0)
		return libvirt_error(lv, err);
	*ret = state_of(state);
	if (ret_reason)
		*ret_reason = *ret == DOMAIN_PAUSED ? paused_reason(reason)
			      : *ret == DOMAIN_OFF  ? off_reason(reason)
						    : "";
	return 0;
}

int libvirt_state(struct domain *d, enum domain_state *ret, const char **ret_reason,
		  struct err *err)
{
	return get_state(libvirt_of(d->host)->lv, libvirt_domain(d), ret, ret_reason, err);
}

/* Questions that a driver may not know (test:///) are "no". */
static bool yes(const struct libvirt *lv, int answer)
{
	if (answer < 0)
		lv->ResetLastError();
	return answer > 0;
}

static int describe(const struct libvirt *lv, virDomainPtr dom, struct domain_info *ret,
		    struct err *err)
{
	struct domain_info info = {.id = -1};
	virDomainInfo raw;
	unsigned id;
	int autostart = 0;

	if (get_state(lv, dom, &info.state, &info.reason, err) < 0)
		return -1;
	if (lv->DomainGetInfo(dom, &raw) < 0 || lv->DomainGetUUIDString(dom, info.uuid) < 0)
		return libvirt_error(lv, err);
	id = lv->DomainGetID(dom);
	if (id != (unsigned)-1)
		info.id = (int)id;
	info.cpus = raw.nrVirtCpu;
	info.memory = (uint64_t)raw.memory << 10;
	info.memory_max = (uint64_t)raw.maxMem << 10;
	info.cpu_time_ns = raw.cpuTime;
	info.persistent = yes(lv, lv->DomainIsPersistent(dom));
	info.saved = yes(lv, lv->DomainHasManagedSaveImage(dom, 0));
	info.autostart = lv->DomainGetAutostart(dom, &autostart) == 0 && autostart;
	libvirt_autostart(lv, dom, &info.autostart_order, &info.autostart_delay_ms);
	info.autostart |= info.autostart_order > 0;
	lv->ResetLastError();
	info.name = strdup(lv->DomainGetName(dom));
	if (!info.name)
		return err_nomem(err);
	*ret = info;
	return 0;
}

int libvirt_info(struct domain *d, struct domain_info *ret, struct err *err)
{
	return describe(libvirt_of(d->host)->lv, libvirt_domain(d), ret, err);
}

int libvirt_list(struct host *h, struct domain_info **ret, size_t *ret_n, struct err *err)
{
	const struct libvirt_host *l = libvirt_of(h);
	virDomainPtr *doms = NULL;
	int count = l->lv->ConnectListAllDomains(l->conn, &doms, 0), rc = 0;
	struct domain_info *list;
	size_t n = 0;

	if (count < 0)
		return libvirt_error(l->lv, err);
	list = calloc((size_t)count + 1, sizeof(*list));
	if (!list)
		rc = err_nomem(err);
	for (int i = 0; i < count; i++) {
		struct err why = ERR_INIT;

		if (rc == 0 && describe(l->lv, doms[i], &list[n], &why) == 0) {
			n++;
		} else if (rc == 0 && why.code != ERR_NOT_FOUND) { /* else: gone since */
			rc = -1;
			if (err)
				*err = why;
		}
		(void)l->lv->DomainFree(doms[i]);
	}
	free(doms);
	if (rc < 0) {
		host_list_free(list, n);
		return -1;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

int libvirt_take(struct host *h, virDomainPtr dom, struct domain *d, struct err *err)
{
	const struct libvirt *lv = libvirt_of(h)->lv;

	d->host = h;
	d->name = strdup(lv->DomainGetName(dom));
	if (!d->name || lv->DomainGetUUIDString(dom, d->uuid) < 0) {
		(void)lv->DomainFree(dom);
		return d->name ? libvirt_error(lv, err) : err_nomem(err);
	}
	d->priv = dom;
	return 0;
}

static bool looks_like_uuid(const char *s)
{
	return strlen(s) == 36 && strspn(s, "0123456789abcdefABCDEF-") == 36;
}

int libvirt_find(struct host *h, const char *name, struct domain *d, struct err *err)
{
	const struct libvirt_host *l = libvirt_of(h);
	virDomainPtr dom = l->lv->DomainLookupByName(l->conn, name);

	if (!dom && looks_like_uuid(name)) {
		l->lv->ResetLastError();
		dom = l->lv->DomainLookupByUUIDString(l->conn, name);
	}
	if (dom)
		return libvirt_take(h, dom, d, err);

	struct err why = ERR_INIT;

	libvirt_error(l->lv, &why);
	if (why.code == ERR_NOT_FOUND)
		return err_set(err, ERR_NOT_FOUND, "%s has no such machine", h->uri);
	if (err)
		*err = why;
	return -1;
}

void libvirt_release(struct domain *d)
{
	(void)libvirt_of(d->host)->lv->DomainFree(libvirt_domain(d));
}
