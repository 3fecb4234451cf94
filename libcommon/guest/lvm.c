/* LVM2: see lvm.h. Label, physical volume header and metadata area as lib/format_text/layout.h of LVM2 has them; the metadata
 * are text: NAME { ... }, NAME = VALUE, [ lists ]. All of it is hostile. */
#include "libcommon/guest/lvm.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"
#include "libcommon/guest/fs.h"
#include "libcommon/image/format.h"
#include "libcommon/image/layers.h"

enum {
	SECTOR = 512,
	TEXT_MOST = 4 << 20,
	DEPTH_MOST = 8,
	SEGMENTS_MOST = 10000,
	AREAS_MOST = 32,
	IGNORED = 1,
};

/* ---- the text, as JSON */

struct parser {
	const char *p, *end;
};

static void skip_space(struct parser *t)
{
	while (t->p < t->end) {
		if (*t->p == '#')
			while (t->p < t->end && *t->p != '\n')
				t->p++;
		else if (strchr(" \t\r\n,", *t->p) && *t->p)
			t->p++;
		else
			return;
	}
}

static size_t name_length(const struct parser *t)
{
	size_t n = 0;

	while (t->p + n < t->end && t->p[n] && !strchr(" \t\r\n=,{}[]#\"", t->p[n]))
		n++;
	return n;
}

static json_t *parse_string(struct parser *t)
{
	CLEANUP_FREE char *text = malloc((size_t)(t->end - t->p) + 1);
	size_t n = 0;

	for (t->p++; text && t->p < t->end && *t->p != '"'; t->p++) {
		if (*t->p == '\\' && t->p + 1 < t->end)
			t->p++;
		text[n++] = *t->p;
	}
	if (!text || t->p >= t->end)
		return NULL;
	t->p++;
	return json_stringn(text, n);
}

static json_t *parse_scalar(struct parser *t)
{
	size_t n;
	char number[32], *end;
	long long v;

	if (t->p < t->end && *t->p == '"')
		return parse_string(t);
	n = name_length(t);
	if (!n || n >= sizeof(number))
		return NULL;
	memcpy(number, t->p, n);
	number[n] = '\0';
	t->p += n;
	v = strtoll(number, &end, 10);
	return *end ? json_stringn(number, n) : json_integer(v);
}

static json_t *parse_value(struct parser *t)
{
	json_t *list;

	skip_space(t);
	if (t->p >= t->end || *t->p != '[')
		return parse_scalar(t);
	list = json_array();
	for (t->p++, skip_space(t); t->p < t->end && *t->p != ']'; skip_space(t)) {
		if (json_array_append_new(list, parse_scalar(t)) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	t->p += t->p < t->end;
	return list;
}

/* Until "}" or the end; NULL: this is not such a text */
static json_t *parse_section(struct parser *t, unsigned depth)
{
	json_t *o = json_object(), *value;

	for (skip_space(t); o && t->p < t->end && *t->p && *t->p != '}'; skip_space(t)) {
		const char *name = t->p;
		size_t n = name_length(t);

		t->p += n;
		skip_space(t);
		value = NULL;
		if (n && t->p < t->end && *t->p == '=') {
			t->p++;
			value = parse_value(t);
		} else if (n && t->p < t->end && *t->p == '{' && depth < DEPTH_MOST) {
			t->p++;
			value = parse_section(t, depth + 1);
			if (value && t->p < t->end && *t->p == '}')
				t->p++;
		}
		if (json_object_setn_new(o, name, n, value) < 0) {
			json_decref(o);
			return NULL;
		}
	}
	return o;
}

/* ---- where the text lies */

static int damaged(const char *what, struct err *err)
{
	return err_set(err, ERR_CORRUPT, "the LVM physical volume is damaged: %s", what);
}

/* The newest text of the metadata area at @area; *@ret is owned. ERR_NOT_FOUND: it holds none */
static int read_area(const struct volume *pv, uint64_t area, char **ret, size_t *ret_len,
		     struct err *err)
{
	CLEANUP_FREE uint8_t *text = NULL;
	uint8_t h[SECTOR];
	uint64_t size, off, len, first, end;

	if (volume_read(pv, h, area, sizeof(h), err) < 0)
		return -1;
	size = get_le64(h + 32);
	off = get_le64(h + 40);
	len = get_le64(h + 48);
	if (memcmp(h + 4, " LVM2 x[5A%r0N*>", 16) != 0)
		return damaged("a metadata area has no header", err);
	if (!off || !len || get_le32(h + 60) & IGNORED)
		return err_set(err, ERR_NOT_FOUND, "a metadata area holds nothing");
	if (size <= SECTOR || off < SECTOR || off >= size || len > TEXT_MOST || len > size - SECTOR)
		return damaged("a metadata area is longer than it is", err);
	text = malloc(len + 1);
	if (!text)
		return err_nomem(err);
	/* The area is a ring behind its header */
	first = min_u64(len, size - off);
	if (!u64_add(area, size, &end) ||
	    volume_read(pv, text, area + off, (size_t)first, err) < 0 ||
	    volume_read(pv, text + first, area + SECTOR, (size_t)(len - first), err) < 0)
		return damaged("a metadata area lies behind its end", err);
	text[len] = '\0';
	*ret_len = (size_t)len;
	*ret = (char *)steal_ptr(&text);
	return 0;
}

static int read_text(const struct volume *pv, char **ret, size_t *ret_len, struct err *err)
{
	uint8_t b[4 * SECTOR];
	unsigned sector = 0, areas = 0;
	size_t at;

	if (volume_read(pv, b, 0, sizeof(b), err) < 0)
		return -1;
	while (sector < 4 && memcmp(b + sector * SECTOR, "LABELONE", 8) != 0)
		sector++;
	if (sector == 4)
		return damaged("it has no label", err);
	at = get_le32(b + sector * SECTOR + 20);
	if (at < 32 || at > SECTOR - 40)
		return damaged("its header lies nowhere", err);
	at += sector * SECTOR + 40;
	/* Data areas, then metadata areas; each list ends with zeros */
	for (; at + 16 <= sizeof(b) && get_le64(b + at); at += 16)
		;
	for (at += 16; at + 16 <= sizeof(b) && get_le64(b + at) && areas < AREAS_MOST; at += 16) {
		struct err one = ERR_INIT;

		areas++;
		if (read_area(pv, get_le64(b + at), ret, ret_len, &one) == 0)
			return 0;
		if (one.code != ERR_NOT_FOUND) {
			if (err)
				*err = one;
			return -1;
		}
	}
	return err_set(err, ERR_NOT_FOUND, "the LVM physical volume has no metadata");
}

/* ---- a logical volume as an image */

struct logical {
	struct fs fs; /* of the physical volume: fs_read() reads through the map */
	struct fs_map map;
};

static int logical_map(struct image *img, uint64_t off, uint64_t max, struct extent *ret,
		       struct err *err)
{
	(void)img, (void)err;
	ret->off = off;
	ret->len = max;
	ret->kind = EXTENT_DATA;
	ret->codec = CODEC_OPAQUE;
	return 0;
}

static int logical_read(struct image *img, const struct extent *e, void *buf, uint64_t off,
			size_t len, struct err *err)
{
	struct logical *l = img->priv;

	(void)e;
	return fs_read(&l->fs, &l->map, buf, off, len, err);
}

static int logical_write(struct image *img, const void *buf, uint64_t off, size_t len,
			 struct err *err)
{
	struct logical *l = img->priv;
	const struct volume *pv = &l->fs.v;
	const uint8_t *in = buf;

	for (size_t i = 0; i < l->map.n && len; i++) {
		const struct fs_run *r = &l->map.runs[i];
		size_t n;

		if (off >= r->off + r->len)
			continue;
		n = (size_t)min_u64(len, r->off + r->len - off);
		if (image_write(pv->img, in, pv->off + r->place + (off - r->off), n, err) < 0)
			return -1;
		in += n;
		off += n;
		len -= n;
	}
	return 0;
}

static int logical_flush(struct image *img, struct err *err)
{
	const struct logical *l = img->priv;

	return image_flush(l->fs.v.img, err);
}

static void logical_close(struct image *img)
{
	struct logical *l = img->priv;

	if (l)
		fs_map_release(&l->map);
	free(l);
}

static const struct image_format logical_format = {.name = "lvm",
						   .description = "a logical volume",
						   .close = logical_close,
						   .map = logical_map,
						   .read_encoded = logical_read,
						   .write = logical_write,
						   .flush = logical_flush};

static uint64_t number(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);
	json_int_t n = json_integer_value(v);

	return n < 0 ? 0 : (uint64_t)n;
}

struct group {
	const struct volume *pv;
	const char *name, *pv_name;
	uint64_t extent, start; /* bytes */
};

/* *@ret_why: it is of another kind. -1: damaged */
static int add_segment(const struct group *g, const json_t *s, struct fs_map *m,
		       const char **ret_why, struct err *err)
{
	const json_t *stripes = json_object_get(s, "stripes");
	const char *type = json_string_value(json_object_get(s, "type")),
		   *pv = json_string_value(json_array_get(stripes, 0));
	json_int_t first = json_integer_value(json_array_get(stripes, 1));
	uint64_t off, len, place;

	*ret_why = !type || strcmp(type, "striped") != 0 || number(s, "stripe_count") != 1
			   ? "it is not linear"
		   : !pv || strcmp(pv, g->pv_name) != 0 ? "a part of it lies elsewhere"
							: NULL;
	if (*ret_why)
		return 0;
	if (first < 0 || !u64_mul(number(s, "start_extent"), g->extent, &off) ||
	    !u64_mul(number(s, "extent_count"), g->extent, &len) ||
	    !u64_mul((uint64_t)first, g->extent, &place) || !u64_add(place, g->start, &place) ||
	    off != m->size || !len || !u64_add(m->size, len, &m->size))
		return damaged("the segments of a logical volume do not fit", err);
	return fs_map_add(m, g->pv, off, place, len, err);
}

static int make_logical(const struct group *g, const char *name, const json_t *lv,
			struct image **ret, struct err *err)
{
	uint64_t n = number(lv, "segment_count");
	CLEANUP_FREE struct logical *l = calloc(1, sizeof(*l));
	const char *why = NULL;
	char key[32];
	int rc = 0;

	*ret = NULL;
	if (!l)
		return err_nomem(err);
	if (!n || n > SEGMENTS_MOST)
		return damaged("a logical volume has no sensible number of segments", err);
	l->fs.v = *g->pv;
	for (uint64_t i = 1; i <= n && rc == 0 && !why; i++) {
		(void)snprintf(key, sizeof(key), "segment%" PRIu64, i);
		rc = add_segment(g, json_object_get(lv, key), &l->map, &why, err);
	}
	if (why)
		log_warning("logical volume %s is left out: %s", name, why);
	if (rc < 0 || why || image_new(ret, name, g->pv->img->flags & IMAGE_RDWR, err) < 0) {
		fs_map_release(&l->map);
		return why ? 0 : -1;
	}
	(*ret)->format = &logical_format;
	(*ret)->size = l->map.size;
	(*ret)->priv = steal_ptr(&l);
	return 0;
}

static bool is_visible(const json_t *lv)
{
	const json_t *status = json_object_get(lv, "status");

	for (size_t i = 0; i < json_array_size(status); i++) {
		const char *s = json_string_value(json_array_get(status, i));

		if (s && strcmp(s, "VISIBLE") == 0)
			return true;
	}
	return false;
}

static int add_all(struct group *g, json_t *vg, const char *uuid,
		   int (*add)(void *, const char *, struct image *, struct err *), void *ctx,
		   struct err *err)
{
	const char *key;
	json_t *v;

	json_object_foreach(json_object_get(vg, "physical_volumes"), key, v)
	{
		const char *id = json_string_value(json_object_get(v, "id"));

		if (!id || strcmp(id, uuid) != 0)
			continue;
		g->pv_name = key;
		if (!u64_mul(number(v, "pe_start"), SECTOR, &g->start))
			return damaged("its extents begin nowhere", err);
	}
	if (!g->pv_name)
		return damaged("its metadata do not name it", err);
	if (!u64_mul(number(vg, "extent_size"), SECTOR, &g->extent) || !g->extent)
		return damaged("its extents have no size", err);
	json_object_foreach(json_object_get(vg, "logical_volumes"), key, v)
	{
		CLEANUP_FREE char *name = NULL;
		struct image *img;

		if (!is_visible(v))
			continue;
		if (asprintf(&name, "%s/%s", g->name, key) < 0)
			return err_nomem(err);
		if (make_logical(g, name, v, &img, err) < 0 ||
		    (img && add(ctx, name, img, err) < 0))
			return -1;
	}
	return 0;
}

int lvm_read(const struct volume *pv, const char *uuid,
	     int (*add)(void *ctx, const char *name, struct image *img, struct err *err), void *ctx,
	     struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	struct group g = {.pv = pv};
	struct parser t;
	json_t *root, *vg;
	const char *key;
	size_t len;
	int rc = 0;

	if (read_text(pv, &text, &len, err) < 0)
		return -1;
	t = (struct parser){text, text + len};
	root = parse_section(&t, 0);
	if (!root)
		return damaged("its metadata cannot be read", err);
	json_object_foreach(root, key, vg)
	{
		if (!json_is_object(vg) || !json_object_get(vg, "logical_volumes"))
			continue;
		g.name = key;
		rc = add_all(&g, vg, uuid, add, ctx, err);
		break;
	}
	json_decref(root);
	return rc;
}
