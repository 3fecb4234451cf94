/* What `vmimg info` says of a VMDK beyond what every format has. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/image/format/vmdk/vmdk.h"

enum { LIST_MOST = 1000 };

/* Strings of a descriptor are bytes, JSON is UTF-8 */
static json_t *text(const char *s)
{
	json_t *j = json_string(s);
	char *copy;

	if (j)
		return j;
	copy = strdup(s);
	if (!copy)
		return NULL;
	for (char *c = copy; *c; c++)
		if ((unsigned char)*c >= 0x7f)
			*c = '?';
	j = json_string(copy);
	free(copy);
	return j;
}

/* 0 or -1: @value is consumed */
static int put(json_t *o, const char *key, json_t *value)
{
	return json_object_set_new(o, key, value);
}

static const char *kind_name(const struct vmdk_extent *x)
{
	switch (x->kind) {
	case VMDK_ZERO:
		return "ZERO";
	case VMDK_FLAT:
		return "FLAT";
	case VMDK_SPARSE:
		return "SPARSE";
	case VMDK_COWD:
		return "VMFSSPARSE";
	case VMDK_SESPARSE:
		break;
	}
	return "SESPARSE";
}

static int put_line(json_t *list, const struct vmdk_line *l)
{
	json_t *o = json_object();

	if (put(o, "type", json_string(l->type)) |
	    put(o, "size", json_integer((json_int_t)(l->sectors * VMDK_SECTOR))))
		return json_decref(o), -1;
	if (l->name && put(o, "file", text(l->name)))
		return json_decref(o), -1;
	if (l->access != VMDK_RW &&
	    put(o, "access", json_string(l->access == VMDK_RDONLY ? "RDONLY" : "NOACCESS")))
		return json_decref(o), -1;
	if (l->offset && put(o, "offset", json_integer((json_int_t)(l->offset * VMDK_SECTOR))))
		return json_decref(o), -1;
	return json_array_append_new(list, o);
}

static int put_extents(json_t *specific, const struct vmdk *v)
{
	json_t *list = json_array();
	int rc = list ? 0 : -1;

	for (size_t i = 0; rc == 0 && i < v->d.n_lines && i < LIST_MOST; i++)
		rc = put_line(list, &v->d.lines[i]);
	if (rc == 0 && v->d.n_lines > LIST_MOST)
		rc = json_array_append_new(list, json_pack("{s:b}", "truncated", 1));
	if (rc < 0) {
		json_decref(list);
		return -1;
	}
	return put(specific, "extents", list);
}

static int put_cid(json_t *o, const char *key, uint32_t cid)
{
	char hex[16];

	(void)snprintf(hex, sizeof(hex), "%08" PRIx32, cid);
	return put(o, key, json_string(hex));
}

static int fill(json_t *o, const struct vmdk *v)
{
	const struct vmdk_extent *x = v->n_extents ? &v->extents[0] : NULL;
	const struct {
		const char *key, *value;
	} strings[] = {{"create_type", v->d.create_type},
		       {"adapter_type", v->d.adapter_type},
		       {"hw_version", v->d.hw_version},
		       {"tools_version", v->d.tools_version}};
	int rc = 0;

	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		if (strings[i].value)
			rc |= put(o, strings[i].key, text(strings[i].value));
	if (v->has_descriptor)
		rc |= put_cid(o, "cid", v->d.cid) | put_cid(o, "parent_cid", v->d.parent_cid) |
		      put_extents(o, v);
	else
		rc |= put(o, "extent_type", json_string(x ? kind_name(x) : "ZERO"));
	if (x && x->kind == VMDK_SPARSE && x->grain)
		rc |= put(o, "version", json_integer(x->h.version)) |
		      put(o, "compressed", json_boolean(x->compressed));
	if (x && x->grain)
		rc |= put(o, "grain_size", json_integer((json_int_t)x->grain));
	return rc;
}

int vmdk_info(struct image *img, json_t *obj, struct err *err)
{
	json_t *specific = json_object();

	if (!specific || fill(specific, img->priv)) {
		json_decref(specific);
		return err_nomem(err);
	}
	return json_object_set_new(obj, "format_specific", specific) ? err_nomem(err) : 0;
}
