/* VHDX as a struct image_format: probing, opening, what info says. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/log.h"
#include "libcommon/image/cache.h"
#include "libcommon/image/format/vhdx/writer.h"

enum { SLICE = 4096, SLOTS = 512 };

static int vhdx_probe(const uint8_t *head, size_t head_len, const uint8_t *tail, size_t tail_len,
		      uint64_t size)
{
	(void)tail, (void)tail_len, (void)size;
	return head_len >= 8 && !memcmp(head, VHDX_FILE_ID, 8) ? 100 : 0;
}

int vhdx_open_caches(struct vhdx *v, struct err *err)
{
	if (table_cache_new(&v->bat, v->file, SLICE, SLOTS, err) < 0)
		return -1;
	return table_cache_new(&v->bitmaps, v->file, SLICE, SLOTS, err);
}

int vhdx_replay(struct image *img, struct vhdx *v, struct err *err)
{
	if (vhdx_log_replay(v->log, err) < 0)
		return err_prefix(err, "replaying the log");
	memset(&v->header.log, 0, sizeof(v->header.log));
	return vhdx_header_update(img->file, v, err);
}

static int open_log(struct image *img, struct vhdx *v, struct err *err)
{
	bool check = img->flags & IMAGE_CHECK;

	v->file = v->data = img->file;
	if (vhdx_log_find(img->file, &v->header, &v->log, err) < 0)
		return -1;
	if (!v->log)
		return 0;
	if (img->flags & IMAGE_RDWR && !check) {
		if (vhdx_replay(img, v, err) < 0)
			return -1;
		vhdx_log_free(v->log);
		v->log = NULL;
		return 0;
	}
	if (!check)
		log_info("%s: was not closed: %" PRIu64 " changes of its log are laid over it",
			 img->name, vhdx_log_changes(v->log));
	v->file = v->data = vhdx_log_file(v->log);
	return 0;
}

static void vhdx_close(struct image *img)
{
	struct vhdx *v = img->priv;

	if (!v)
		return;
	vhdx_close_writer(img);
	table_cache_free(v->bat);
	table_cache_free(v->bitmaps);
	vhdx_log_free(v->log);
	free(v->relative_path);
	free(v->absolute_path);
	free(v->volume_path);
	free(v);
	img->priv = NULL;
}

static int open_contents(struct image *img, struct vhdx *v, const struct image_open_opts *opts,
			 struct err *err)
{
	if (opts && opts->snapshot)
		return err_set(err, ERR_UNSUPPORTED, "VHDX images have no snapshots");
	if (vhdx_headers_read(img->file, v, err) < 0 || open_log(img, v, err) < 0 ||
	    vhdx_regions_read(v, err) < 0 || vhdx_metadata_read(img, v, err) < 0)
		return -1;
	if (img->flags & IMAGE_RDWR && !(img->flags & IMAGE_CHECK) &&
	    vhdx_open_writer(img, err) < 0)
		return -1;
	if (vhdx_open_caches(v, err) < 0)
		return -1;
	return v->has_parent ? vhdx_find_parent(img, v, opts, err) : 0;
}

static int vhdx_open(struct image *img, const struct image_open_opts *opts, struct err *err)
{
	struct vhdx *v = calloc(1, sizeof(*v));

	if (!v)
		return err_nomem(err);
	img->priv = v;
	if (open_contents(img, v, opts, err) == 0)
		return 0;
	vhdx_close(img);
	free(img->backing_name);
	free(img->backing_format);
	img->backing_name = img->backing_format = NULL;
	img->cluster_size = 0;
	return -1;
}

static int put_guid(json_t *o, const char *key, const struct vhdx_guid *g)
{
	char text[VHDX_GUID_TEXT];

	return json_object_set_new(o, key, json_string(vhdx_guid_text(g, text)));
}

static int vhdx_info(struct image *img, json_t *obj, struct err *err)
{
	const struct vhdx *v = img->priv;
	uint64_t changes = v->log ? vhdx_log_changes(v->log) : 0;
	json_t *o = json_pack("{s:s, s:i, s:i, s:I, s:I, s:b, s:I}", "subformat",
			      v->has_parent ? "differencing"
			      : v->fixed    ? "fixed"
					    : "dynamic",
			      "logical_sector_size", (int)v->logical_sector, "physical_sector_size",
			      (int)v->physical_sector, "log_size", (json_int_t)v->header.log_length,
			      "sequence", (json_int_t)(v->header.sequence & INT64_MAX), "log_dirty",
			      (int)(v->log != NULL), "log_changes", (json_int_t)changes);

	if (!o || json_object_set_new(obj, "format_specific", o) < 0)
		return err_nomem(err);
	if (put_guid(o, "data_write_guid", &v->header.data_write) < 0 ||
	    (v->has_disk_id && put_guid(o, "disk_id", &v->disk_id) < 0) ||
	    (v->has_parent && put_guid(o, "parent_linkage", &v->parent_linkage) < 0))
		return err_nomem(err);
	return 0;
}

static const char *const suffixes[] = {"vhdx", "avhdx", NULL};

extern const struct image_format image_format_vhdx;
const struct image_format image_format_vhdx = {
	.name = "vhdx",
	.suffixes = suffixes,
	.description = "Hyper-V: dynamic, fixed, differencing, with its log",
	.can_name_files = true,
	.probe = vhdx_probe,
	.open = vhdx_open,
	.close = vhdx_close,
	.map = vhdx_map,
	.write = vhdx_write,
	.write_zeroes = vhdx_write_zeroes,
	.discard = vhdx_discard,
	.flush = vhdx_flush,
	.settle = vhdx_settle,
	.resize = vhdx_resize,
	.adopt = vhdx_adopt,
	.check_backing = vhdx_check_backing,
	.info = vhdx_info,
	.check = vhdx_check,
	.bulk = &vhdx_bulk_ops,
	.create_options = vhdx_options_table,
};
