/* Differencing VHDX: the parent locator, a list of keys and values, and finding the parent by it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/vhdx/writer.h"
#include "libcommon/image/utf16.h"

enum { PAIRS_MOST = 64, PAIR_BYTES = 12, NAMES = 3 };

static int take_pair(struct vhdx *v, const char *key, char **value, struct err *err)
{
	char **text = !strcmp(key, "relative_path")	    ? &v->relative_path
		      : !strcmp(key, "absolute_win32_path") ? &v->absolute_path
		      : !strcmp(key, "volume_path")	    ? &v->volume_path
							    : NULL;
	struct vhdx_guid *guid = !strcmp(key, "parent_linkage")	   ? &v->parent_linkage
				 : !strcmp(key, "parent_linkage2") ? &v->parent_linkage2
								   : NULL;

	if (guid && vhdx_guid_parse(*value, guid) < 0)
		return err_set(err, ERR_CORRUPT, "the %s of the parent locator is no GUID", key);
	if (text && !*text)
		*text = steal_ptr(value);
	return 0;
}

int vhdx_locator_parse(struct vhdx *v, const uint8_t *p, size_t len, struct err *err)
{
	struct vhdx_guid type;
	uint16_t n;

	if (len < 20)
		return err_set(err, ERR_CORRUPT, "a parent locator of %zu bytes", len);
	memcpy(type.b, p, 16);
	n = get_le16(p + 18);
	if (!vhdx_guid_is(&type, GUID_LOCATOR_VHDX))
		return err_set(err, ERR_UNSUPPORTED, "the parent is no VHDX");
	if (n > PAIRS_MOST || 20 + (size_t)n * PAIR_BYTES > len)
		return err_set(err, ERR_CORRUPT,
			       "a parent locator of %zu bytes with %" PRIu16 " keys", len, n);
	for (uint16_t i = 0; i < n; i++) {
		const uint8_t *e = p + 20 + (size_t)i * PAIR_BYTES;
		uint32_t key_at = get_le32(e), value_at = get_le32(e + 4);
		uint16_t key_len = get_le16(e + 8), value_len = get_le16(e + 10);
		CLEANUP_FREE char *key = NULL, *value = NULL;

		if (!range_inside(key_at, key_len, len) || !range_inside(value_at, value_len, len))
			return err_set(err, ERR_CORRUPT,
				       "key %" PRIu16 " of the parent locator is out of bounds", i);
		if (utf16_to_utf8(p + key_at, key_len, false, &key, err) < 0 ||
		    utf16_to_utf8(p + value_at, value_len, false, &value, err) < 0 ||
		    take_pair(v, key, &value, err) < 0)
			return -1;
		if (!strcmp(key, "parent_linkage")) {
			v->linkage_at = value_at;
			v->linkage_bytes = value_len;
		}
	}
	if (vhdx_guid_zero(&v->parent_linkage))
		return err_set(err, ERR_CORRUPT, "the parent locator has no parent_linkage");
	return 0;
}

int vhdx_identity_of(struct bfile *file, struct vhdx_guid *ret, struct err *err)
{
	struct vhdx v = {0};

	if (vhdx_headers_read(file, &v, err) < 0)
		return -1;
	*ret = v.header.data_write;
	return 0;
}

/* As a plain name here: ".\x\a.vhdx" is "x/a.vhdx", "C:\x\a.vhdx" and "\\?\Volume{...}\a.vhdx" are "a.vhdx" */
static char *plain_name(const char *windows)
{
	char *name = strdup(windows), *from = name, *slash;
	bool foreign = name && name[0] && (name[1] == ':' || name[0] == '\\');

	if (!name)
		return NULL;
	for (char *c = name; *c; c++)
		if (*c == '\\')
			*c = '/';
	slash = strrchr(name, '/');
	if (foreign)
		from = slash ? slash + 1 : name + 2;
	while (from[0] == '.' && from[1] == '/')
		from += 2;
	memmove(name, from, strlen(from) + 1);
	return name;
}

static int check_guid(const struct vhdx *v, const char *name, const struct vhdx_guid *g,
		      struct err *err)
{
	char want[VHDX_GUID_TEXT], have[VHDX_GUID_TEXT];

	if (memcmp(g, &v->parent_linkage, sizeof(*g)) == 0 ||
	    (!vhdx_guid_zero(&v->parent_linkage2) &&
	     memcmp(g, &v->parent_linkage2, sizeof(*g)) == 0))
		return 0;
	err_set(err, ERR_CORRUPT,
		"parent %s is not the disk that this one was made over, or was written "
		"to since: its data have the GUID %s, not %s",
		name, vhdx_guid_text(g, have), vhdx_guid_text(&v->parent_linkage, want));
	return err_hint(err, "if it is right: vmimg rebase -u -F vhdx");
}

int vhdx_check_backing(struct image *img, struct err *err)
{
	const struct vhdx *below = img->backing->priv;

	return check_guid(img->priv, img->backing->name, &below->header.data_write, err);
}

static int try_parent(struct image *img, const struct vhdx *v, const struct image_open_opts *opts,
		      const char *name, struct err *err)
{
	struct vhdx_guid g;
	struct bfile *file;
	int rc;

	if (image_open_named(img, opts, name, false, &file, NULL) < 0)
		return 0;
	rc = vhdx_identity_of(file, &g, err);
	bfile_close(file);
	if (rc < 0)
		return err_prefix(err, "parent %s", name);
	return check_guid(v, name, &g, err) < 0 ? -1 : 1;
}

int vhdx_find_parent(struct image *img, struct vhdx *v, const struct image_open_opts *opts,
		     struct err *err)
{
	const char *const paths[NAMES] = {v->relative_path, v->absolute_path, v->volume_path};
	bool look = !(img->flags & (IMAGE_INFO | IMAGE_CHECK | IMAGE_NO_BACKING)) && !img->guessed;
	bool found = false;

	for (size_t i = 0; i < NAMES && !found; i++) {
		char *name = paths[i] && *paths[i] ? plain_name(paths[i]) : NULL;
		int rc = name && look ? try_parent(img, v, opts, name, err) : 0;

		if (paths[i] && *paths[i] && !name)
			return err_nomem(err);
		found = rc > 0;
		if (rc < 0 || !name || (img->backing_name && !found)) {
			free(name);
			if (rc < 0)
				return -1;
			continue;
		}
		free(img->backing_name); /* the first, unless a later one is there */
		img->backing_name = name;
	}
	if (!img->backing_name)
		return look ? err_set(err, ERR_CORRUPT, "a differencing disk names no parent") : 0;
	img->backing_format = strdup("vhdx");
	return img->backing_format ? 0 : err_nomem(err);
}

/* Its text has the length it had: with braces or without */
static int put_linkage(struct image *img, const struct vhdx_guid *g, struct err *err)
{
	struct vhdx *v = img->priv;
	char guid[VHDX_GUID_TEXT], text[VHDX_GUID_TEXT + 2];
	CLEANUP_FREE uint8_t *bytes = NULL;
	bool braces = v->linkage_bytes == 2 * (VHDX_GUID_TEXT + 1);
	size_t len;

	(void)snprintf(text, sizeof(text), braces ? "{%s}" : "%s", vhdx_guid_text(g, guid));
	if (utf8_to_utf16(text, false, &bytes, &len, err) < 0)
		return -1;
	if (len != v->linkage_bytes)
		return err_set(err, ERR_UNSUPPORTED,
			       "the parent_linkage has a form that cannot be changed");
	/* The disk shows what it showed: children of it stay right */
	if (vhdx_begin_tables(img, err) < 0 ||
	    vhdx_patch(img, NULL, v->locator_at + v->linkage_at, bytes, len, err) < 0)
		return -1;
	return vhdx_commit(img, err);
}

/* Another locator: in the old one's place, or behind all items. What it says is one transaction. */
static int put_locator(struct image *img, const struct vhdx_parent *parent, struct err *err)
{
	enum { MOST = 64 << 10 }; /* fits in one transaction */
	struct vhdx *v = img->priv;
	CLEANUP_FREE uint8_t *p = calloc(1, MOST);
	uint32_t offset = (uint32_t)(v->locator_at - v->metadata.offset);
	uint8_t place[8];
	ssize_t len;

	if (!p)
		return err_nomem(err);
	len = vhdx_make_locator(p, MOST, parent, err);
	if (len < 0)
		return -1;
	if ((uint64_t)len > v->locator_bytes)
		offset = v->metadata_end;
	if (!range_inside(offset, (uint64_t)len, v->metadata.length))
		return err_set(err, ERR_UNSUPPORTED,
			       "the metadata region has no room for the name of the parent");
	put_le32(place, offset);
	put_le32(place + 4, (uint32_t)len);
	if (vhdx_begin_tables(img, err) < 0 || vhdx_commit(img, err) < 0 ||
	    vhdx_patch(img, NULL, v->metadata.offset + offset, p, (size_t)len, err) < 0 ||
	    vhdx_patch(img, NULL, v->locator_entry + 16, place, sizeof(place), err) < 0 ||
	    vhdx_commit(img, err) < 0)
		return -1;
	v->locator_at = v->metadata.offset + offset;
	v->locator_bytes = (uint32_t)len;
	v->metadata_end = (uint32_t)max_u64(v->metadata_end, offset + (uint64_t)len);
	free(steal_ptr(&v->relative_path));
	free(steal_ptr(&v->absolute_path));
	free(steal_ptr(&v->volume_path));
	return vhdx_locator_parse(v, p, (size_t)len, err);
}

static int rename_parent(struct image *img, const struct vhdx_parent *parent, struct err *err)
{
	char *name;

	if (!strncmp(parent->name, "file:", 5))
		return err_set(err, ERR_USAGE, "a VHDX names its parent by a plain path");
	if (put_locator(img, parent, err) < 0)
		return -1;
	name = strdup(parent->name);
	if (!name)
		return err_nomem(err);
	free(img->backing_name);
	img->backing_name = name;
	return 0;
}

int vhdx_adopt(struct image *img, const struct image *base, const char *name, struct err *err)
{
	struct vhdx *v = img->priv;
	const struct vhdx *below = base->priv;
	const struct vhdx_parent parent = {.identity = below->header.data_write, .name = name};
	int rc;

	if (!v->has_parent)
		return err_set(err, ERR_USAGE, "is no differencing disk");
	pthread_mutex_lock(&v->writer->slow);
	rc = name ? rename_parent(img, &parent, err) : put_linkage(img, &parent.identity, err);
	pthread_mutex_unlock(&v->writer->slow);
	if (rc == 0)
		v->parent_linkage = parent.identity;
	return rc;
}
