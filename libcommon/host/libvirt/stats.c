/* Statistics of libvirt domains and hosts: see stats.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/host/libvirt/lib.h"

enum { DEVICES_MAX = 1024 };

/* libvirt's name, ours, and what ours is a multiple of. */
struct field {
	const char *theirs, *ours;
	unsigned unit;
};

static const struct field machine_fields[] = {
	{"vcpu.current", "cpus", 1},
	{"vcpu.maximum", "cpus_max", 1},
	{"balloon.current", "memory", 1024},
	{"balloon.maximum", "memory_max", 1024},
	{"balloon.rss", "memory_resident", 1024},
	{"balloon.available", "guest_memory", 1024},
	{"balloon.usable", "guest_memory_usable", 1024},
	{NULL, NULL, 0},
};

static const struct field disk_fields[] = {
	{"rd.bytes", "read_bytes", 1},
	{"rd.reqs", "read_requests", 1},
	{"wr.bytes", "write_bytes", 1},
	{"wr.reqs", "write_requests", 1},
	{"fl.reqs", "flush_requests", 1},
	{"capacity", "capacity", 1},
	{"allocation", "allocation", 1},
	{"physical", "file_bytes", 1},
	{NULL, NULL, 0},
};

static const struct field nic_fields[] = {
	{"rx.bytes", "rx_bytes", 1}, {"rx.pkts", "rx_packets", 1}, {"rx.errs", "rx_errors", 1},
	{"rx.drop", "rx_drops", 1},  {"tx.bytes", "tx_bytes", 1},  {"tx.pkts", "tx_packets", 1},
	{"tx.errs", "tx_errors", 1}, {"tx.drop", "tx_drops", 1},   {NULL, NULL, 0},
};

static const virTypedParameter *param(const virDomainStatsRecord *r, const char *name)
{
	for (int i = 0; i < r->nparams; i++)
		if (strcmp(r->params[i].field, name) == 0)
			return &r->params[i];
	return NULL;
}

/* Return: -1: not there, or no number */
static int64_t number(const virDomainStatsRecord *r, const char *name)
{
	const virTypedParameter *p = param(r, name);

	switch (p ? p->type : -1) {
	case VIR_TYPED_PARAM_INT:
		return p->value.i;
	case VIR_TYPED_PARAM_UINT:
		return p->value.ui;
	case VIR_TYPED_PARAM_LLONG:
		return p->value.l;
	case VIR_TYPED_PARAM_ULLONG:
		return p->value.ul > INT64_MAX ? INT64_MAX : (int64_t)p->value.ul;
	default:
		return -1;
	}
}

static const char *string(const virDomainStatsRecord *r, const char *name)
{
	const virTypedParameter *p = param(r, name);

	return p && p->type == VIR_TYPED_PARAM_STRING ? p->value.s : NULL;
}

static void set_fields(json_t *obj, const virDomainStatsRecord *r, const char *prefix,
		       const struct field *fields)
{
	for (const struct field *f = fields; f->theirs; f++) {
		char name[VIR_TYPED_PARAM_FIELD_LENGTH];
		int64_t v;

		(void)snprintf(name, sizeof(name), "%s%s", prefix, f->theirs);
		v = number(r, name);
		json_object_set_new(obj, f->ours,
				    v < 0 || v > INT64_MAX / f->unit ? json_null()
								     : json_integer(v * f->unit));
	}
}

static json_t *text_or_null(const char *s)
{
	json_t *v = s ? json_string(s) : json_null();

	return v ? v : json_string("?"); /* not UTF-8 */
}

static json_t *devices(const virDomainStatsRecord *r, const char *kind, bool disks)
{
	json_t *list = json_array();
	char name[96];
	int64_t n;

	(void)snprintf(name, sizeof(name), "%s.count", kind);
	n = number(r, name);
	for (int64_t i = 0; list && i < n && i < DEVICES_MAX; i++) {
		char prefix[64];
		json_t *one = json_object();

		(void)snprintf(prefix, sizeof(prefix), "%s.%d.", kind, (int)i);
		(void)snprintf(name, sizeof(name), "%sname", prefix);
		json_object_set_new(one, "name", text_or_null(string(r, name)));
		if (disks) {
			(void)snprintf(name, sizeof(name), "%spath", prefix);
			json_object_set_new(one, "source", text_or_null(string(r, name)));
		}
		set_fields(one, r, prefix, disks ? disk_fields : nic_fields);
		json_array_append_new(list, one);
	}
	return list;
}

/* Without the monitor disks are counted, but not one of them has numbers. A driver that does not count them at all (no
 * block.count) has no such figures, and its machines are not busy for that. */
static bool is_stale(const virDomainStatsRecord *r)
{
	int64_t n = number(r, "block.count");

	for (int64_t i = 0; i < n && i < DEVICES_MAX; i++) {
		char name[64];

		(void)snprintf(name, sizeof(name), "block.%d.rd.bytes", (int)i);
		if (number(r, name) >= 0)
			return false;
	}
	return n > 0;
}

static int describe(struct host *h, const virDomainStatsRecord *r, json_t *list, struct err *err)
{
	const struct libvirt *lv = libvirt_of(h)->lv;
	char uuid[UUID_TEXT_MAX] = "";
	enum domain_state state;
	const char *reason;
	int64_t ns = number(r, "cpu.time");
	struct err why = ERR_INIT;
	struct domain d = {.host = h, .priv = r->dom};
	bool runs;
	json_t *m;

	if (libvirt_state(&d, &state, &reason, &why) < 0) {
		if (why.code == ERR_NOT_FOUND) /* gone since */
			return 0;
		*err = why;
		return -1;
	}
	if (lv->DomainGetUUIDString(r->dom, uuid) < 0)
		lv->ResetLastError();
	runs = state != DOMAIN_OFF && state != DOMAIN_CRASHED;
	m = json_pack("{s:s, s:o, s:s, s:s, s:s, s:b, s:o, s:o, s:o}", "host", h->uri, "name",
		      text_or_null(lv->DomainGetName(r->dom)), "uuid", uuid, "state",
		      domain_state_name(state), "reason", reason, "stale", runs && is_stale(r),
		      "cpu_seconds", ns < 0 ? json_null() : json_real((double)ns / 1e9), "disks",
		      devices(r, "block", true), "interfaces", devices(r, "net", false));
	if (!m)
		return err_nomem(err);
	set_fields(m, r, "", machine_fields);
	return json_array_append_new(list, m) < 0 ? err_nomem(err) : 0;
}

int libvirt_stats(struct host *h, json_t **ret, struct err *err)
{
	const struct libvirt_host *l = libvirt_of(h);
	const unsigned groups = VIR_DOMAIN_STATS_STATE | VIR_DOMAIN_STATS_CPU_TOTAL |
				VIR_DOMAIN_STATS_BALLOON | VIR_DOMAIN_STATS_VCPU |
				VIR_DOMAIN_STATS_INTERFACE | VIR_DOMAIN_STATS_BLOCK;
	virDomainStatsRecordPtr *records = NULL;
	int n = l->lv->ConnectGetAllDomainStats(l->conn, groups, &records,
						VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);
	int rc = 0;
	json_t *list;

	if (n < 0) { /* drivers without jobs do not know the flag */
		const virError *e = l->lv->GetLastError();

		if (e && (e->code == VIR_ERR_INVALID_ARG || e->code == VIR_ERR_NO_SUPPORT)) {
			l->lv->ResetLastError();
			n = l->lv->ConnectGetAllDomainStats(l->conn, groups, &records, 0);
		}
	}
	if (n < 0) {
		libvirt_error(l->lv, err);
		return err_object(err, h->uri);
	}
	list = json_array();
	if (!list)
		rc = err_nomem(err);
	for (int i = 0; rc == 0 && i < n; i++)
		rc = describe(h, records[i], list, err);
	l->lv->DomainStatsRecordListFree(records);
	if (rc < 0) {
		json_decref(list);
		return -1;
	}
	*ret = list;
	return 0;
}

int libvirt_node(struct host *h, json_t **ret, struct err *err)
{
	const struct libvirt_host *l = libvirt_of(h);
	CLEANUP_FREE char *name = l->lv->ConnectGetHostname(l->conn);
	struct domain_info *list;
	unsigned long version = 0;
	virNodeInfo node = {0};
	unsigned long long available;
	size_t n, running = 0;

	if (l->lv->NodeGetInfo(l->conn, &node) < 0) {
		libvirt_error(l->lv, err);
		return err_object(err, h->uri);
	}
	if (host_list(h, &list, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		running += list[i].state != DOMAIN_OFF && list[i].state != DOMAIN_CRASHED;
	host_list_free(list, n);
	available = l->lv->NodeGetFreeMemory(l->conn);
	(void)l->lv->ConnectGetLibVersion(l->conn, &version);
	l->lv->ResetLastError();
	*ret = json_pack("{s:s, s:o, s:I, s:I, s:o, s:I, s:I, s:o}", "uri", h->uri, "hostname",
			 text_or_null(name), "cpus", (json_int_t)node.cpus, "memory",
			 (json_int_t)node.memory * 1024, "memory_free",
			 available ? json_integer((json_int_t)available) : json_null(), "machines",
			 (json_int_t)n, "running", (json_int_t)running, "libvirt",
			 version ? json_sprintf("%lu.%lu.%lu", version / 1000000,
						version / 1000 % 1000, version % 1000)
				 : json_null());
	return *ret ? 0 : err_nomem(err);
}
