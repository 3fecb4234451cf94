/* Manifests to and from JSON: see manifest.h. */
#include "libcommon/repo/manifest.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/clock.h"
#include "libcommon/base/digest.h"
#include "libcommon/repo/tree.h"

/* Text that JSON can hold: bytes that are not UTF-8 (file names may have them) become '?'. */
static json_t *text(const char *s)
{
	json_t *v = s ? json_string(s) : json_null();

	if (v)
		return v;

	CLEANUP_FREE char *copy = strdup(s);

	for (char *p = copy; p && *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	return copy ? json_string(copy) : NULL;
}

static json_t *number(uint64_t v)
{
	return json_integer((json_int_t)(v & INT64_MAX));
}

static json_t *id_text(const struct repo_id *id)
{
	char hex[2 * sizeof(id->bytes) + 1];

	hex_encode(id->bytes, sizeof(id->bytes), hex);
	return json_string(hex);
}

static json_t *file_json(const struct snapshot_file *f)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:I, s:I}", "path", text(f->path), "dev",
			 number(f->dev), "ino", number(f->ino), "size", number(f->size), "mtime_ns",
			 (json_int_t)f->mtime_ns, "ctime_ns", (json_int_t)f->ctime_ns);
}

static json_t *files_json(const struct snapshot_disk *d)
{
	json_t *list = json_array();

	for (size_t i = 0; i < d->n_files; i++)
		json_array_append_new(list, file_json(&d->files[i]));
	return list;
}

/* Keys that manifests of older programs do not have are left out when there is nothing to say. */
static void add_text(json_t *obj, const char *key, const char *s)
{
	if (obj && s)
		json_object_set_new(obj, key, text(s));
}

static json_t *disk_json(const struct snapshot_disk *d)
{
	json_t *obj = json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o}", "name", text(d->name),
		"size", number(d->size), "format", text(d->format), "source", text(d->source),
		"change_source", text(d->change_source), "data_bytes", number(d->data_bytes),
		"new_bytes", number(d->new_bytes), "stored_bytes", number(d->stored_bytes), "root",
		id_text(&d->root), "levels", (json_int_t)d->tree_levels, "files", files_json(d));

	add_text(obj, "source_kind", d->source_kind);
	add_text(obj, "consistency", d->consistency);
	add_text(obj, "checkpoint", d->checkpoint);
	if (obj && d->clone.path)
		json_object_set_new(obj, "clone", file_json(&d->clone));
	return obj;
}

json_t *snapshot_json(const struct snapshot *s)
{
	json_t *tags = json_array(), *disks = json_array();

	for (size_t i = 0; i < s->n_tags; i++)
		json_array_append_new(tags, text(s->tags[i]));
	for (size_t i = 0; i < s->n_disks; i++)
		json_array_append_new(disks, disk_json(&s->disks[i]));
	json_t *obj =
		json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:f, s:o}", "version",
			  MANIFEST_VERSION, "id", id_text(&s->id), "seq", number(s->seq), "vm",
			  text(s->vm), "host", text(s->host), "time", text(s->time), "tool",
			  text(s->tool), "tags", tags, "disks", disks, "seconds", s->seconds,
			  "parent", s->has_parent ? id_text(&s->parent) : json_null());
	add_text(obj, "description", s->description);
	add_text(obj, "machine", s->machine);
	if (obj && s->freeze_ms > 0)
		json_object_set_new(obj, "freeze_ms", json_real(s->freeze_ms));
	return obj;
}

int manifest_encode(const struct snapshot *s, char **ret, size_t *ret_len, struct err *err)
{
	json_t *root = snapshot_json(s);

	if (!root)
		return err_nomem(err);

	char *out = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(6));

	json_decref(root);
	if (!out)
		return err_nomem(err);
	*ret_len = strlen(out);
	if (*ret_len > MANIFEST_MAX) {
		free(out);
		return err_set(err, ERR_UNSUPPORTED, "the manifest would have more than %d bytes",
			       MANIFEST_MAX);
	}
	*ret = out;
	return 0;
}

/* The fields of an object of the manifest, with one error for all that can be wrong with one. */
struct reader {
	struct err *err;
	bool failed;
};

static void bad(struct reader *r, const char *key, const char *what)
{
	if (!r->failed)
		err_set(r->err, ERR_CORRUPT, "manifest: \"%s\" %s", key, what);
	r->failed = true;
}

static char *read_long(struct reader *r, json_t *obj, const char *key, bool needed, size_t max)
{
	json_t *v = json_object_get(obj, key);

	if (!needed && (!v || json_is_null(v)))
		return NULL;
	if (!json_is_string(v) || json_string_length(v) > max) {
		bad(r, key, "is not a text, or too long");
		return NULL;
	}

	char *copy = strdup(json_string_value(v));

	if (!copy && !r->failed) {
		err_nomem(r->err);
		r->failed = true;
	}
	return copy;
}

static char *read_text(struct reader *r, json_t *obj, const char *key, bool needed)
{
	return read_long(r, obj, key, needed, MANIFEST_TEXT_MAX);
}

static char *read_name(struct reader *r, json_t *obj, const char *key)
{
	char *s = read_text(r, obj, key, true);

	if (s && !repo_name_valid(s))
		bad(r, key, "is not a valid name");
	return s;
}

static int64_t read_number(struct reader *r, json_t *obj, const char *key)
{
	json_t *v = json_object_get(obj, key);

	if (!json_is_integer(v)) {
		bad(r, key, "is not a whole number");
		return 0;
	}
	return json_integer_value(v);
}

static uint64_t read_size(struct reader *r, json_t *obj, const char *key)
{
	int64_t v = read_number(r, obj, key);

	if (v < 0)
		bad(r, key, "is negative");
	return v < 0 ? 0 : (uint64_t)v;
}

static void read_id(struct reader *r, json_t *obj, const char *key, struct repo_id *ret)
{
	json_t *v = json_object_get(obj, key);

	if (!json_is_string(v) ||
	    hex_decode(json_string_value(v), ret->bytes, sizeof(ret->bytes)) < 0)
		bad(r, key, "is not an id of 64 digits");
}

/* An array of at most @max; @ret_items is calloc()ed for @size bytes each. */
static json_t *read_list(struct reader *r, json_t *obj, const char *key, size_t max, size_t size,
			 void **ret_items)
{
	json_t *v = json_object_get(obj, key);
	size_t n = json_array_size(v);

	*ret_items = NULL;
	if (!json_is_array(v) || n > max) {
		bad(r, key, "is not a list, or too long");
		return NULL;
	}
	*ret_items = calloc(n ? n : 1, size);
	if (!*ret_items && !r->failed) {
		err_nomem(r->err);
		r->failed = true;
	}
	return *ret_items ? v : NULL;
}

static void read_file(struct reader *r, json_t *o, struct snapshot_file *f)
{
	f->path = read_text(r, o, "path", true);
	f->dev = read_size(r, o, "dev");
	f->ino = read_size(r, o, "ino");
	f->size = read_size(r, o, "size");
	f->mtime_ns = read_number(r, o, "mtime_ns");
	f->ctime_ns = read_number(r, o, "ctime_ns");
}

static void read_files(struct reader *r, json_t *obj, struct snapshot_disk *d)
{
	void *items;
	json_t *list = read_list(r, obj, "files", MANIFEST_FILES_MAX, sizeof(*d->files), &items);

	d->files = items;
	for (size_t i = 0; list && i < json_array_size(list) && !r->failed; i++)
		read_file(r, json_array_get(list, i), &d->files[d->n_files++]);
}

static void read_disk(struct reader *r, json_t *obj, struct snapshot_disk *d)
{
	d->name = read_name(r, obj, "name");
	d->format = read_text(r, obj, "format", true);
	d->source = read_text(r, obj, "source", false);
	d->change_source = read_text(r, obj, "change_source", true);
	d->source_kind = read_text(r, obj, "source_kind", false);
	d->consistency = read_text(r, obj, "consistency", false);
	d->checkpoint = read_text(r, obj, "checkpoint", false);
	d->size = read_size(r, obj, "size");
	d->data_bytes = read_size(r, obj, "data_bytes");
	d->new_bytes = read_size(r, obj, "new_bytes");
	d->stored_bytes = read_size(r, obj, "stored_bytes");
	read_id(r, obj, "root", &d->root);

	uint64_t levels = read_size(r, obj, "levels");

	if (d->size > TREE_DISK_MAX)
		bad(r, "size", "is larger than a disk can be");
	else if (levels != tree_levels(d->size))
		bad(r, "levels", "does not fit the size of the disk");
	d->tree_levels = (unsigned)levels;
	read_files(r, obj, d);
	if (json_object_get(obj, "clone"))
		read_file(r, json_object_get(obj, "clone"), &d->clone);
}

static void read_lists(struct reader *r, json_t *root, struct snapshot *s)
{
	void *items;
	json_t *list = read_list(r, root, "tags", MANIFEST_TAGS_MAX, sizeof(*s->tags), &items);

	s->tags = items;
	for (size_t i = 0; list && i < json_array_size(list) && !r->failed; i++) {
		json_t *v = json_array_get(list, i);

		if (!json_is_string(v) || json_string_length(v) > MANIFEST_TEXT_MAX)
			bad(r, "tags", "holds something else than short texts");
		else if (!(s->tags[s->n_tags++] = strdup(json_string_value(v))))
			bad(r, "tags", "does not fit in memory");
	}
	list = read_list(r, root, "disks", MANIFEST_DISKS_MAX, sizeof(*s->disks), &items);
	s->disks = items;
	for (size_t i = 0; list && i < json_array_size(list) && !r->failed; i++)
		read_disk(r, json_array_get(list, i), &s->disks[s->n_disks++]);
}

static void read_snapshot(struct reader *r, json_t *root, struct snapshot *s)
{
	int64_t when;

	read_id(r, root, "id", &s->id);
	s->seq = read_size(r, root, "seq");
	s->vm = read_name(r, root, "vm");
	s->host = read_text(r, root, "host", true);
	s->tool = read_text(r, root, "tool", true);
	s->time = read_text(r, root, "time", true);
	s->description = read_text(r, root, "description", false);
	s->machine = read_long(r, root, "machine", false, MANIFEST_MACHINE_MAX);
	if (s->time && manifest_time(s->time, &when) < 0)
		bad(r, "time", "is not a time in UTC");
	if (!json_is_number(json_object_get(root, "seconds")))
		bad(r, "seconds", "is not a number");
	s->seconds = json_number_value(json_object_get(root, "seconds"));
	s->freeze_ms =
		json_number_value(json_object_get(root, "freeze_ms")); /* 0 when it is not there */
	s->has_parent = !json_is_null(json_object_get(root, "parent"));
	if (s->has_parent)
		read_id(r, root, "parent", &s->parent);
	if (!r->failed)
		read_lists(r, root, s);
}

int manifest_decode(const void *data, size_t len, struct snapshot *ret, struct err *err)
{
	json_error_t why;
	struct reader r = {.err = err};
	struct snapshot s = {0};

	if (len > MANIFEST_MAX)
		return err_set(err, ERR_CORRUPT, "manifest: %zu bytes, more than %d", len,
			       MANIFEST_MAX);

	json_t *root = json_loadb(data, len, JSON_REJECT_DUPLICATES, &why);

	if (!root)
		return err_set(err, ERR_CORRUPT, "manifest: byte %d: %s", why.position, why.text);

	int64_t version = read_number(&r, root, "version");

	if (!r.failed && version > MANIFEST_VERSION) {
		r.failed = true;
		err_set(err, ERR_UNSUPPORTED,
			"manifest: version %" PRId64 ", this program knows up to %d", version,
			MANIFEST_VERSION);
	} else if (!r.failed && version < 1) {
		bad(&r, "version", "is not a version");
	}
	if (!r.failed)
		read_snapshot(&r, root, &s);
	json_decref(root);
	if (r.failed) {
		manifest_clear(&s);
		return -1;
	}
	*ret = s;
	return 0;
}

void manifest_clear(struct snapshot *s)
{
	for (size_t i = 0; i < s->n_disks; i++) {
		struct snapshot_disk *d = &s->disks[i];

		for (size_t k = 0; k < d->n_files; k++)
			free(d->files[k].path);
		free(d->files);
		free(d->clone.path);
		free(d->name);
		free(d->source);
		free(d->format);
		free(d->change_source);
		free(d->source_kind);
		free(d->consistency);
		free(d->checkpoint);
	}
	for (size_t i = 0; i < s->n_tags; i++)
		free(s->tags[i]);
	free(s->disks);
	free(s->tags);
	free(s->vm);
	free(s->host);
	free(s->time);
	free(s->tool);
	free(s->description);
	free(s->machine);
	memset(s, 0, sizeof(*s));
}

int manifest_copy(const struct snapshot *s, struct snapshot *ret, struct err *err)
{
	CLEANUP_FREE char *data = NULL;
	size_t len;

	if (manifest_encode(s, &data, &len, err) < 0)
		return -1;
	return manifest_decode(data, len, ret, err);
}

int manifest_time(const char *text_, int64_t *ret)
{
	time_t t;

	if (clock_parse_utc(text_, &t) < 0)
		return -1;
	*ret = t;
	return 0;
}
