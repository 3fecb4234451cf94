/* What a package says of itself, as JSON: docs/schema/vmimg-info.json, "package". */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/package/package_private.h"

/* Bytes of strangers; JSON is UTF-8: what is not becomes "?". */
static json_t *text(const char *s)
{
	json_t *j = json_string(s);
	CLEANUP_FREE char *copy = j ? NULL : strdup(s);

	if (j || !copy)
		return j;
	for (char *c = copy; *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	return json_string(copy);
}

static int put(json_t *obj, const char *key, json_t *value, struct err *err)
{
	return json_object_set_new(obj, key, value) < 0 ? err_nomem(err) : 0;
}

static int put_text(json_t *obj, const char *key, const char *value, struct err *err)
{
	return value ? put(obj, key, text(value), err) : 0;
}

static int put_size(json_t *obj, const char *key, bool has, uint64_t value, struct err *err)
{
	return has ? put(obj, key, json_integer((json_int_t)value), err) : 0;
}

/* A new object at the end of the list; borrowed; NULL: no memory */
static json_t *append(json_t *list, struct err *err)
{
	json_t *obj = json_object();

	if (!obj || json_array_append_new(list, obj) < 0) {
		err_nomem(err);
		return NULL;
	}
	return obj;
}

/* A new list in @obj; borrowed */
static json_t *new_list(json_t *obj, const char *key, struct err *err)
{
	json_t *list = json_array();

	return put(obj, key, list, err) < 0 ? NULL : list;
}

static int machine_json(json_t *obj, const struct machine *m, struct err *err)
{
	const char *firmware = machine_firmware_name(m->firmware);
	json_t *nics, *disks;

	if (put_text(obj, "name", m->name, err) < 0 ||
	    put_size(obj, "cpus", m->cpus, m->cpus, err) < 0 ||
	    put_size(obj, "memory", m->memory, m->memory, err) < 0 ||
	    put_text(obj, "firmware", firmware, err) < 0 || put_text(obj, "os", m->os, err) < 0 ||
	    put_size(obj, "os_id", m->os_id, m->os_id, err) < 0 ||
	    put_text(obj, "hardware", m->hardware, err) < 0 ||
	    !(nics = new_list(obj, "networks", err)) || !(disks = new_list(obj, "disks", err)))
		return -1;
	for (size_t i = 0; i < m->n_nics; i++) {
		json_t *nic = append(nics, err);

		if (!nic || put_text(nic, "network", m->nics[i].network, err) < 0 ||
		    put_text(nic, "model", m->nics[i].model, err) < 0 ||
		    put_text(nic, "mac", m->nics[i].mac, err) < 0)
			return -1;
	}
	for (size_t i = 0; i < m->n_disks; i++)
		if (json_array_append_new(disks, text(m->disks[i].disk)) < 0)
			return err_nomem(err);
	return 0;
}

static int disk_json(struct package *p, json_t *obj, const struct ovf_disk *d, struct err *err)
{
	const struct ovf_file *f = d->file == OVF_NO_FILE ? NULL : &p->ovf.files[d->file];
	struct bfile *stored;
	size_t chunks = 0;

	if (put_text(obj, "id", d->id, err) < 0 ||
	    put_size(obj, "virtual_size", d->capacity, d->capacity, err) < 0 ||
	    put_size(obj, "populated_size", d->has_populated, d->populated, err) < 0 ||
	    put_text(obj, "disk_format", d->format, err) < 0 ||
	    put_text(obj, "parent", d->parent, err) < 0)
		return -1;
	if (!f)
		return 0;
	if (put_text(obj, "file", f->href, err) < 0 ||
	    put_text(obj, "compression", f->gzip ? "gzip" : NULL, err) < 0)
		return -1;
	/* A file that is missing or cut is for check to tell. */
	if (package_file(p, f, &stored, &chunks, NULL) < 0)
		return put(obj, "missing", json_true(), err);

	int rc = put_size(obj, "file_size", true, bfile_size(stored), err);

	bfile_close(stored);
	return rc < 0 ? -1 : put_size(obj, "chunks", chunks, chunks, err);
}

static int lists_json(struct package *p, json_t *obj, struct err *err)
{
	json_t *machines = new_list(obj, "machines", err), *disks = new_list(obj, "disks", err);

	if (!machines || !disks)
		return -1;
	for (size_t i = 0; i < p->ovf.n_machines; i++) {
		json_t *m = append(machines, err);

		if (!m || machine_json(m, &p->ovf.machines[i], err) < 0)
			return -1;
	}
	for (size_t i = 0; i < p->ovf.n_disks; i++) {
		json_t *d = append(disks, err);

		if (!d || disk_json(p, d, &p->ovf.disks[i], err) < 0)
			return -1;
	}
	return 0;
}

static int package_json(struct package *p, json_t *obj, struct err *err)
{
	CLEANUP_FREE char *manifest = NULL, *certificate = NULL;

	if (package_beside(p, ".mf", &manifest, err) < 0 ||
	    package_beside(p, ".cert", &certificate, err) < 0)
		return -1;
	if (put_text(obj, "name", p->name, err) < 0 ||
	    put_text(obj, "format", p->ova ? "ova" : "ovf", err) < 0 ||
	    put_size(obj, "file_size", true, bfile_size(p->file), err) < 0 ||
	    put_size(obj, "actual_size", true, bfile_allocated(p->file), err) < 0 ||
	    put_text(obj, "descriptor", p->ovf_name, err) < 0 ||
	    put_text(obj, "manifest", manifest, err) < 0 ||
	    put_text(obj, "certificate", certificate, err) < 0)
		return -1;
	return lists_json(p, obj, err);
}

int package_info(struct package *p, json_t **ret, struct err *err)
{
	json_t *obj = json_object();

	if (!obj)
		return err_nomem(err);
	if (package_json(p, obj, err) < 0) {
		json_decref(obj);
		return err_object(err, p->name);
	}
	*ret = obj;
	return 0;
}
