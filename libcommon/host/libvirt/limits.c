/* Limits of libvirt domains: see limits.h. */
#include "libcommon/host/limits.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/host/libvirt/lib.h"
#include "libcommon/host/xmldoc.h"

enum { PERIOD_US = 100000 };

/** struct params - libvirt's list of named values, being made */
struct params {
	const struct libvirt *lv;
	virTypedParameterPtr list;
	int n, max;
	bool failed;
};

static void add_ull(struct params *p, const char *name, uint64_t v)
{
	p->failed |= p->lv->TypedParamsAddULLong(&p->list, &p->n, &p->max, name, v) < 0;
}

static unsigned affect(unsigned where)
{
	return where & DOMAIN_LIVE ? VIR_DOMAIN_AFFECT_LIVE : VIR_DOMAIN_AFFECT_CONFIG;
}

static int done(struct domain *d, struct params *p, int rc, struct err *err)
{
	if (rc < 0) {
		libvirt_error(p->lv, err);
		err_object(err, d->name);
	}
	p->lv->TypedParamsFree(p->list, p->n);
	return rc < 0 ? -1 : 0;
}

int libvirt_limit_cpu(struct domain *d, const struct cpu_limits *l, unsigned where, struct err *err)
{
	struct params p = {.lv = libvirt_of(d->host)->lv};
	int64_t quota = l->percent * (PERIOD_US / 100);

	if (domain_idle(d, err) < 0)
		return -1;
	if (l->percent >= 0) {
		add_ull(&p, VIR_DOMAIN_SCHEDULER_GLOBAL_PERIOD, PERIOD_US);
		p.failed |= p.lv->TypedParamsAddLLong(&p.list, &p.n, &p.max,
						      VIR_DOMAIN_SCHEDULER_GLOBAL_QUOTA,
						      quota ? quota : -1) < 0;
	}
	if (l->shares >= 0)
		add_ull(&p, VIR_DOMAIN_SCHEDULER_CPU_SHARES, (uint64_t)l->shares);
	return done(d, &p,
		    p.failed ? -1
			     : p.lv->DomainSetSchedulerParametersFlags(libvirt_domain(d), p.list,
								       p.n, affect(where)),
		    err);
}

int libvirt_limit_memory(struct domain *d, uint64_t bytes, unsigned where, struct err *err)
{
	struct params p = {.lv = libvirt_of(d->host)->lv};

	if (domain_idle(d, err) < 0)
		return -1;
	add_ull(&p, VIR_DOMAIN_MEMORY_HARD_LIMIT,
		bytes ? div_up(bytes, 1024) : VIR_DOMAIN_MEMORY_PARAM_UNLIMITED);
	return done(d, &p,
		    p.failed ? -1
			     : p.lv->DomainSetMemoryParameters(libvirt_domain(d), p.list, p.n,
							       affect(where)),
		    err);
}

int libvirt_limit_disk(struct domain *d, const struct disk_limits *l, unsigned where,
		       struct err *err)
{
	struct params p = {.lv = libvirt_of(d->host)->lv};

	if (domain_idle(d, err) < 0)
		return -1;
	if (l->bytes) {
		add_ull(&p, VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC, l->total_bytes);
		add_ull(&p, VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC, l->read_bytes);
		add_ull(&p, VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC, l->write_bytes);
	}
	if (l->iops) {
		add_ull(&p, VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC, l->total_iops);
		add_ull(&p, VIR_DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC, l->read_iops);
		add_ull(&p, VIR_DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC, l->write_iops);
	}
	return done(d, &p,
		    p.failed ? -1
			     : p.lv->DomainSetBlockIoTune(libvirt_domain(d), l->target, p.list, p.n,
							  affect(where)),
		    err);
}

static void add_rate(struct params *p, const char *name, int64_t bytes)
{
	if (bytes >= 0)
		p->failed |= p->lv->TypedParamsAddUInt(&p->list, &p->n, &p->max, name,
						       (unsigned)div_up((uint64_t)bytes, 1024)) < 0;
}

int libvirt_limit_net(struct domain *d, const struct net_limits *l, unsigned where, struct err *err)
{
	struct params p = {.lv = libvirt_of(d->host)->lv};

	if (domain_idle(d, err) < 0)
		return -1;
	add_rate(&p, VIR_DOMAIN_BANDWIDTH_IN_AVERAGE, l->in);
	add_rate(&p, VIR_DOMAIN_BANDWIDTH_OUT_AVERAGE, l->out);
	return done(d, &p,
		    p.failed ? -1
			     : p.lv->DomainSetInterfaceParameters(libvirt_domain(d), l->mac, p.list,
								  p.n, affect(where)),
		    err);
}

/* ---- which processors */

/* How many the host may have; those of a map that are beyond it are refused here, libvirt drops them without a word. */
static int host_cpus(struct domain *d, const struct pin *p, unsigned *ret, struct err *err)
{
	const struct libvirt_host *l = libvirt_of(d->host);
	virNodeInfo node;

	if (l->lv->NodeGetInfo(l->conn, &node) < 0)
		return libvirt_error(l->lv, err);
	*ret = VIR_NODEINFO_MAXCPUS(node);
	for (unsigned i = *ret; !p->any && i < PIN_CPUS_MAX; i++)
		if (p->cpus[i / 8] & 1U << i % 8)
			return err_set(err, ERR_USAGE,
				       "processor %u: the host has processors 0 to %u", i,
				       *ret - 1);
	return 0;
}

static int count_vcpus(struct domain *d, unsigned where, unsigned *ret, struct err *err)
{
	CLEANUP_FREE char *xml = NULL, *n = NULL;
	struct xmldoc *x;

	if (libvirt_xml(d, where & DOMAIN_LIVE ? 0 : DOMAIN_XML_CONFIG, &xml, err) < 0 ||
	    xmldoc_parse(&x, xml, "domain", err) < 0)
		return -1;
	n = xmldoc_get(x, "/domain/vcpu/@current");
	if (!n)
		n = xmldoc_get(x, "/domain/vcpu");
	xmldoc_free(x);
	*ret = n ? (unsigned)strtoul(n, NULL, 10) : 0;
	return 0;
}

int libvirt_pin(struct domain *d, const struct pin *p, unsigned where, struct err *err)
{
	const struct libvirt *lv = libvirt_of(d->host)->lv;
	unsigned cpus = 0, first, end;
	uint8_t map[PIN_CPUS_MAX / 8];
	int rc = 0, len;

	if (domain_idle(d, err) < 0 || host_cpus(d, p, &cpus, err) < 0)
		return -1;
	len = (int)div_up(cpus < PIN_CPUS_MAX ? cpus : PIN_CPUS_MAX, 8);
	memcpy(map, p->cpus, sizeof(map));
	for (unsigned i = 0; p->any && i < cpus && i < PIN_CPUS_MAX; i++)
		map[i / 8] |= (uint8_t)(1U << i % 8);
	if (p->vcpu == PIN_EMULATOR) {
		rc = lv->DomainPinEmulator(libvirt_domain(d), map, len, affect(where));
	} else {
		first = p->vcpu == PIN_ALL ? 0 : (unsigned)p->vcpu;
		end = first + 1;
		if (p->vcpu == PIN_ALL && count_vcpus(d, where, &end, err) < 0)
			return -1;
		for (unsigned i = first; rc == 0 && i < end; i++)
			rc = lv->DomainPinVcpuFlags(libvirt_domain(d), i, map, len, affect(where));
	}
	if (rc < 0) {
		libvirt_error(lv, err);
		return err_object(err, d->name);
	}
	return 0;
}
