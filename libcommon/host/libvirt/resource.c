/* libvirt's networks and storage pools: see resource.h. */
#include "libcommon/host/resource.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/host/libvirt/lib.h"
#include "libcommon/host/xmldoc.h"

static int said(const struct host *h, const char *name, struct err *err)
{
	libvirt_error(libvirt_of(h)->lv, err);
	return err_object(err, name);
}

static json_t *text_or_null(char *text)
{
	json_t *v = text ? json_string(text) : json_null();

	free(text);
	return v ? v : json_null();
}

static int by_name(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;

	return strcmp(json_string_value(json_object_get(x, "name")),
		      json_string_value(json_object_get(y, "name")));
}

/* Sorted; the elements of @list move */
static json_t *sorted(json_t *list)
{
	size_t n = json_array_size(list);
	CLEANUP_FREE json_t **all = calloc(n + 1, sizeof(json_t *));
	json_t *out = json_array();

	for (size_t i = 0; all && i < n; i++)
		all[i] = json_array_get(list, i);
	if (all)
		qsort(all, n, sizeof(json_t *), by_name);
	for (size_t i = 0; all && i < n; i++)
		(void)json_array_append(out, all[i]);
	json_decref(list);
	return out;
}

/* ---- networks */

static json_t *network_json(const struct libvirt_host *l, const char *uri, virNetworkPtr net)
{
	CLEANUP_FREE char *xml = l->lv->NetworkGetXMLDesc(net, 0);
	struct xmldoc *x = NULL;
	int autostart = 0, active = l->lv->NetworkIsActive(net),
	    persistent = l->lv->NetworkIsPersistent(net);
	char uuid[VIR_UUID_STRING_BUFLEN] = "";
	json_t *o;

	if (!xml || xmldoc_parse(&x, xml, "network", NULL) < 0)
		x = NULL;
	(void)l->lv->NetworkGetAutostart(net, &autostart);
	(void)l->lv->NetworkGetUUIDString(net, uuid);
	l->lv->ResetLastError();
	o = json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:o, s:o, s:o, s:o}", "host", uri, "name",
		      l->lv->NetworkGetName(net), "uuid", uuid, "active", active > 0, "autostart",
		      autostart > 0, "persistent", persistent > 0, "forward",
		      text_or_null(x ? xmldoc_get(x, "/network/forward/@mode") : NULL), "bridge",
		      text_or_null(x ? xmldoc_get(x, "/network/bridge/@name") : NULL), "address",
		      text_or_null(x ? xmldoc_get(x, "/network/ip/@address") : NULL), "netmask",
		      text_or_null(x ? xmldoc_get(x, "/network/ip/@netmask") : NULL));
	xmldoc_free(x);
	return o;
}

static int networks(struct host *h, json_t **ret, struct err *err)
{
	const struct libvirt_host *l = libvirt_of(h);
	virNetworkPtr *nets = NULL;
	int n = l->lv->ConnectListAllNetworks(l->conn, &nets, 0);
	json_t *list = json_array();

	if (n < 0) {
		json_decref(list);
		return said(h, h->uri, err);
	}
	for (int i = 0; i < n; i++) {
		(void)json_array_append_new(list, network_json(l, h->uri, nets[i]));
		(void)l->lv->NetworkFree(nets[i]);
	}
	free(nets);
	*ret = sorted(list);
	return 0;
}

static int network_act(const struct libvirt *lv, virNetworkPtr net, enum resource_action what)
{
	switch (what) {
	case RESOURCE_START:
		return lv->NetworkIsActive(net) > 0 ? 0 : lv->NetworkCreate(net);
	case RESOURCE_STOP:
		return lv->NetworkIsActive(net) > 0 ? lv->NetworkDestroy(net) : 0;
	case RESOURCE_AUTOSTART_ON:
	case RESOURCE_AUTOSTART_OFF:
		return lv->NetworkSetAutostart(net, what == RESOURCE_AUTOSTART_ON);
	case RESOURCE_DELETE:
		return lv->NetworkUndefine(net);
	default:
		return 0;
	}
}

/* ---- pools */

static json_t *pool_json(const struct libvirt_host *l, const char *uri, virStoragePoolPtr pool)
{
	CLEANUP_FREE char *xml = l->lv->StoragePoolGetXMLDesc(pool, 0);
	struct xmldoc *x = NULL;
	virStoragePoolInfo info = {0};
	int autostart = 0, active = l->lv->StoragePoolIsActive(pool),
	    persistent = l->lv->StoragePoolIsPersistent(pool);
	char uuid[VIR_UUID_STRING_BUFLEN] = "";
	json_t *o;

	if (!xml || xmldoc_parse(&x, xml, "pool", NULL) < 0)
		x = NULL;
	(void)l->lv->StoragePoolGetInfo(pool, &info);
	(void)l->lv->StoragePoolGetAutostart(pool, &autostart);
	(void)l->lv->StoragePoolGetUUIDString(pool, uuid);
	l->lv->ResetLastError();
	o = json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:o, s:o, s:I, s:I, s:I}", "host", uri,
		      "name", l->lv->StoragePoolGetName(pool), "uuid", uuid, "active", active > 0,
		      "autostart", autostart > 0, "persistent", persistent > 0, "type",
		      text_or_null(x ? xmldoc_get(x, "/pool/@type") : NULL), "path",
		      text_or_null(x ? xmldoc_get(x, "/pool/target/path") : NULL), "capacity",
		      (json_int_t)info.capacity, "allocation", (json_int_t)info.allocation,
		      "available", (json_int_t)info.available);
	xmldoc_free(x);
	return o;
}

static int pools(struct host *h, json_t **ret, struct err *err)
{
	const struct libvirt_host *l = libvirt_of(h);
	virStoragePoolPtr *all = NULL;
	int n = l->lv->ConnectListAllStoragePools(l->conn, &all, 0);
	json_t *list = json_array();

	if (n < 0) {
		json_decref(list);
		return said(h, h->uri, err);
	}
	for (int i = 0; i < n; i++) {
		(void)json_array_append_new(list, pool_json(l, h->uri, all[i]));
		(void)l->lv->StoragePoolFree(all[i]);
	}
	free(all);
	*ret = sorted(list);
	return 0;
}

static int pool_act(const struct libvirt *lv, virStoragePoolPtr pool, enum resource_action what)
{
	switch (what) {
	case RESOURCE_START:
		return lv->StoragePoolIsActive(pool) > 0 ? 0 : lv->StoragePoolCreate(pool, 0);
	case RESOURCE_STOP:
		return lv->StoragePoolIsActive(pool) > 0 ? lv->StoragePoolDestroy(pool) : 0;
	case RESOURCE_AUTOSTART_ON:
	case RESOURCE_AUTOSTART_OFF:
		return lv->StoragePoolSetAutostart(pool, what == RESOURCE_AUTOSTART_ON);
	case RESOURCE_DELETE:
		return lv->StoragePoolUndefine(pool);
	case RESOURCE_BUILD:
		return lv->StoragePoolBuild(pool, 0);
	case RESOURCE_REFRESH:
		return lv->StoragePoolRefresh(pool, 0);
	default:
		return 0;
	}
}

static json_t *volume_json(const struct libvirt *lv, virStorageVolPtr vol)
{
	CLEANUP_FREE char *path = lv->StorageVolGetPath(vol),
			  *xml = lv->StorageVolGetXMLDesc(vol, 0);
	virStorageVolInfo info = {0};
	struct xmldoc *x = NULL;
	json_t *o;

	if (!xml || xmldoc_parse(&x, xml, "volume", NULL) < 0)
		x = NULL;
	(void)lv->StorageVolGetInfo(vol, &info);
	lv->ResetLastError();
	o = json_pack("{s:s, s:o, s:o, s:I, s:I}", "name", lv->StorageVolGetName(vol), "path",
		      text_or_null(steal_ptr(&path)), "format",
		      text_or_null(x ? xmldoc_get(x, "/volume/target/format/@type") : NULL),
		      "capacity", (json_int_t)info.capacity, "allocation",
		      (json_int_t)info.allocation);
	xmldoc_free(x);
	return o;
}

int host_volumes(struct host *h, const char *pool, json_t **ret, struct err *err)
{
	const struct libvirt_host *l;
	virStoragePoolPtr p;
	virStorageVolPtr *vols = NULL;
	json_t *list = json_array();
	int n;

	if (!list)
		return err_nomem(err);
	if (libvirt_only(h, "pools", err) < 0)
		goto fail;
	l = libvirt_of(h);
	p = l->lv->StoragePoolLookupByName(l->conn, pool);
	n = p ? l->lv->StoragePoolListAllVolumes(p, &vols, 0) : -1;
	if (n < 0)
		said(h, pool, err);
	for (int i = 0; i < n; i++) {
		(void)json_array_append_new(list, volume_json(l->lv, vols[i]));
		(void)l->lv->StorageVolFree(vols[i]);
	}
	free(vols);
	if (p)
		(void)l->lv->StoragePoolFree(p);
	if (n < 0)
		goto fail;
	*ret = sorted(list);
	return 0;
fail:
	json_decref(list);
	return -1;
}

/* ---- both */

int host_resources(struct host *h, enum resource_kind kind, json_t **ret, struct err *err)
{
	if (libvirt_only(h, kind == RESOURCE_POOL ? "pools" : "networks", err) < 0)
		return -1;
	return kind == RESOURCE_POOL ? pools(h, ret, err) : networks(h, ret, err);
}

int host_resource_act(struct host *h, enum resource_kind kind, const char *name,
		      enum resource_action what, struct err *err)
{
	const struct libvirt_host *l;
	int rc = -1;

	if (libvirt_only(h, kind == RESOURCE_POOL ? "pools" : "networks", err) < 0)
		return -1;
	l = libvirt_of(h);
	if (kind == RESOURCE_POOL) {
		virStoragePoolPtr pool = l->lv->StoragePoolLookupByName(l->conn, name);

		rc = pool ? pool_act(l->lv, pool, what) : -1;
		if (rc < 0)
			said(h, name, err);
		if (pool)
			(void)l->lv->StoragePoolFree(pool);
	} else {
		virNetworkPtr net = l->lv->NetworkLookupByName(l->conn, name);

		rc = net ? network_act(l->lv, net, what) : -1;
		if (rc < 0)
			said(h, name, err);
		if (net)
			(void)l->lv->NetworkFree(net);
	}
	return rc < 0 ? -1 : 0;
}

int host_resource_define(struct host *h, enum resource_kind kind, const char *xml, struct err *err)
{
	const struct libvirt_host *l;

	if (libvirt_only(h, kind == RESOURCE_POOL ? "pools" : "networks", err) < 0)
		return -1;
	l = libvirt_of(h);
	if (kind == RESOURCE_POOL) {
		virStoragePoolPtr pool = l->lv->StoragePoolDefineXML(l->conn, xml, 0);

		return pool ? (void)l->lv->StoragePoolFree(pool), 0 : libvirt_error(l->lv, err);
	}

	virNetworkPtr net = l->lv->NetworkDefineXML(l->conn, xml);

	return net ? (void)l->lv->NetworkFree(net), 0 : libvirt_error(l->lv, err);
}

int host_resource_xml(struct host *h, enum resource_kind kind, const char *name, char **ret,
		      struct err *err)
{
	const struct libvirt_host *l;

	if (libvirt_only(h, kind == RESOURCE_POOL ? "pools" : "networks", err) < 0)
		return -1;
	l = libvirt_of(h);
	*ret = NULL;
	if (kind == RESOURCE_POOL) {
		virStoragePoolPtr pool = l->lv->StoragePoolLookupByName(l->conn, name);

		*ret = pool ? l->lv->StoragePoolGetXMLDesc(pool, 0) : NULL;
		if (!*ret)
			said(h, name, err);
		if (pool)
			(void)l->lv->StoragePoolFree(pool);
	} else {
		virNetworkPtr net = l->lv->NetworkLookupByName(l->conn, name);

		*ret = net ? l->lv->NetworkGetXMLDesc(net, 0) : NULL;
		if (!*ret)
			said(h, name, err);
		if (net)
			(void)l->lv->NetworkFree(net);
	}
	return *ret ? 0 : -1;
}
