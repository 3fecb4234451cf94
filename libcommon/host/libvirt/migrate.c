/* Migration of libvirt domains: see host/migrate.h. */
#include "libcommon/host/migrate.h"

#include <stdlib.h>

#include "libcommon/base/checked.h"
#include "libcommon/host/libvirt/lib.h"

static int said(struct domain *d, struct err *err)
{
	libvirt_error(libvirt_of(d->host)->lv, err);
	return err_object(err, d->name);
}

struct params {
	virTypedParameterPtr list;
	int n, room;
};

static int add_text(const struct libvirt *lv, struct params *p, const char *name, const char *text)
{
	return text ? lv->TypedParamsAddString(&p->list, &p->n, &p->room, name, text) : 0;
}

static int fill(const struct libvirt *lv, struct params *p, const struct migration *m)
{
	int rc = add_text(lv, p, VIR_MIGRATE_PARAM_URI, m->data_uri);

	if (rc == 0)
		rc = add_text(lv, p, VIR_MIGRATE_PARAM_DISKS_URI, m->disks_uri);
	if (rc == 0)
		rc = add_text(lv, p, VIR_MIGRATE_PARAM_DEST_XML, m->xml);
	if (rc == 0)
		rc = add_text(lv, p, VIR_MIGRATE_PARAM_PERSIST_XML, m->config_xml);
	for (size_t i = 0; rc == 0 && m->copy_disks && i < m->n_disks; i++)
		rc = add_text(lv, p, VIR_MIGRATE_PARAM_MIGRATE_DISKS, m->disks[i]);
	if (rc == 0 && m->bandwidth) /* libvirt counts in MiB */
		rc = lv->TypedParamsAddULLong(&p->list, &p->n, &p->room,
					      VIR_MIGRATE_PARAM_BANDWIDTH,
					      div_up(m->bandwidth, 1 << 20));
	return rc;
}

static unsigned flags_of(const struct migration *m, bool persistent)
{
	return VIR_MIGRATE_LIVE | VIR_MIGRATE_ABORT_ON_ERROR |
	       (persistent ? VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_UNDEFINE_SOURCE : 0) |
	       (m->peer_to_peer ? VIR_MIGRATE_PEER2PEER : 0) |
	       (m->copy_disks ? VIR_MIGRATE_NON_SHARED_DISK : 0) |
	       (m->auto_converge ? VIR_MIGRATE_AUTO_CONVERGE : 0) |
	       (m->unsafe ? VIR_MIGRATE_UNSAFE : 0);
}

int domain_migrate_check(struct domain *d, struct host *to, struct err *err)
{
	return libvirt_only(d->host, "migration", err) < 0 ? -1
							   : libvirt_only(to, "migration", err);
}

int domain_migrate(struct domain *d, struct host *to, const struct migration *m, struct err *err)
{
	const struct libvirt *lv = libvirt_of(d->host)->lv;
	struct params p = {0};
	virDomainPtr there = NULL;
	int rc, persistent;

	if (domain_idle(d, err) < 0)
		return -1;
	persistent = lv->DomainIsPersistent(libvirt_domain(d));
	rc = persistent < 0 ? -1 : fill(lv, &p, m);
	if (rc == 0 && m->peer_to_peer) {
		rc = lv->DomainMigrateToURI3(libvirt_domain(d), m->to_uri, p.list, (unsigned)p.n,
					     flags_of(m, persistent > 0));
	} else if (rc == 0) {
		there = lv->DomainMigrate3(libvirt_domain(d), libvirt_of(to)->conn, p.list,
					   (unsigned)p.n, flags_of(m, persistent > 0));
		rc = there ? 0 : -1;
	}
	if (rc < 0)
		said(d, err);
	if (there)
		(void)lv->DomainFree(there);
	lv->TypedParamsFree(p.list, p.n);
	return rc < 0 ? -1 : 0;
}

bool domain_migrate_alive(struct host *to)
{
	const struct libvirt_host *l = libvirt_of(to);
	int alive = l->lv->ConnectIsAlive(l->conn);

	if (alive < 0)
		l->lv->ResetLastError();
	return alive != 0;
}

int domain_migrate_cancel(struct domain *d, struct err *err)
{
	return libvirt_of(d->host)->lv->DomainAbortJob(libvirt_domain(d)) < 0 ? said(d, err) : 0;
}

int domain_migrate_suspend(struct domain *d, struct err *err)
{
	return libvirt_of(d->host)->lv->DomainSuspend(libvirt_domain(d)) < 0 ? said(d, err) : 0;
}

static uint64_t number(const struct libvirt *lv, virTypedParameterPtr list, int n, const char *name)
{
	unsigned long long v = 0;

	if (lv->TypedParamsGetULLong(list, n, name, &v) < 0)
		lv->ResetLastError();
	return v;
}

int domain_migrate_state(struct domain *d, bool completed, struct migration_state *ret,
			 struct err *err)
{
	const struct libvirt *lv = libvirt_of(d->host)->lv;
	virTypedParameterPtr list = NULL;
	int type, n = 0;

	if (lv->DomainGetJobStats(libvirt_domain(d), &type, &list, &n,
				  completed ? VIR_DOMAIN_JOB_STATS_COMPLETED : 0) < 0)
		return said(d, err);
	*ret = (struct migration_state){
		.total = number(lv, list, n, VIR_DOMAIN_JOB_DATA_TOTAL),
		.done = number(lv, list, n, VIR_DOMAIN_JOB_DATA_PROCESSED),
		.remaining = number(lv, list, n, VIR_DOMAIN_JOB_DATA_REMAINING),
		.seconds = (double)number(lv, list, n, VIR_DOMAIN_JOB_TIME_ELAPSED) / 1000,
		.downtime_ms = (double)number(lv, list, n, VIR_DOMAIN_JOB_DOWNTIME),
	};
	lv->TypedParamsFree(list, n);
	return 0;
}

int domain_migratable_xml(struct domain *d, char **ret, struct err *err)
{
	*ret = libvirt_of(d->host)->lv->DomainGetXMLDesc(
		libvirt_domain(d), VIR_DOMAIN_XML_MIGRATABLE | VIR_DOMAIN_XML_SECURE);
	return *ret ? 0 : said(d, err);
}
