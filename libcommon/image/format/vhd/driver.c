/* VHD as a struct image_format: probing, opening, the parent, what info says. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/log.h"
#include "libcommon/image/blocks.h"
#include "libcommon/image/cache.h"
#include "libcommon/image/format/vhd/vhd.h"

enum { SLICE = 4096, SLOTS = 256 };

static int vhd_probe(const uint8_t *head, size_t head_len, const uint8_t *tail, size_t tail_len,
		     uint64_t size)
{
	bool in_head = head_len >= VHD_SECTOR && vhd_has_cookie(head, VHD_SECTOR);

	(void)size;
	if (in_head)
		return vhd_footer_valid(head, VHD_SECTOR) ? 100 : 40;
	/* Fixed: nothing but a footer at the end. Less sure than any magic at the head. */
	if (tail_len < VHD_SECTOR)
		return 0;
	if (vhd_footer_valid(tail, VHD_SECTOR) || vhd_footer_valid(tail + 1, VHD_SECTOR - 1))
		return 90;
	return 0;
}

/* The trailing footer, in 512 bytes or in the 511 of old Virtual PC; else its copy at the head. */
static int read_footer(struct image *img, struct vhd *v, struct err *err)
{
	uint64_t size = bfile_size(img->file);
	uint8_t *p = v->footer_bytes;
	bool damaged;

	if (size < VHD_SECTOR)
		return err_set(err, ERR_CORRUPT, "has %" PRIu64 " bytes: too few for a VHD", size);
	if (bfile_pread(img->file, p, VHD_SECTOR, size - VHD_SECTOR, err) < 0)
		return -1;
	v->footer_off = size - VHD_SECTOR;
	if (vhd_footer_valid(p, VHD_SECTOR))
		return 0;
	if (vhd_footer_valid(p + 1, VHD_SECTOR - 1)) {
		memmove(p, p + 1, VHD_SECTOR - 1);
		p[VHD_SECTOR - 1] = 0;
		v->footer_off++;
		return 0;
	}
	damaged = vhd_has_cookie(p, VHD_SECTOR);
	if (bfile_pread(img->file, p, VHD_SECTOR, 0, err) < 0)
		return -1;
	if (!vhd_footer_valid(p, VHD_SECTOR))
		return err_set(err, ERR_CORRUPT,
			       damaged ? "the checksum of the footer at offset %" PRIu64
					 " is wrong, and there is no good copy at offset 0"
				       : "there is no footer at offset %" PRIu64
					 " and no good copy of one at offset 0",
			       v->footer_off);
	if (!damaged) /* cut off by a crash, or never written */
		v->footer_off = round_up(size, VHD_SECTOR);
	v->footer_missing = true;
	if (!(img->flags & IMAGE_CHECK))
		log_warning("%s: the footer at its end is %s: the copy at its head is used",
			    img->name, damaged ? "damaged" : "missing");
	return 0;
}

static int check_footer(struct image *img, struct vhd *v, struct err *err)
{
	const struct vhd_footer *f = &v->footer;

	if (f->version >> 16 != 1)
		return err_set(err, ERR_UNSUPPORTED, "version %" PRIu32 ".%" PRIu32,
			       f->version >> 16, f->version & 0xffff);
	if (f->type != VHD_FIXED && f->type != VHD_DYNAMIC && f->type != VHD_DIFFERENCING)
		return err_set(err, ERR_UNSUPPORTED, "disks of type %" PRIu32 " are not known",
			       f->type);
	if (f->type == VHD_FIXED && v->footer_missing)
		return err_set(err, ERR_CORRUPT, "a fixed disk has no footer at its end");
	img->size = vhd_size_of(f);
	if (f->type == VHD_FIXED && img->size > v->footer_off)
		return err_set(err, ERR_CORRUPT,
			       "the footer says %" PRIu64 " bytes, the file has %" PRIu64
			       " before it",
			       img->size, v->footer_off);
	return 0;
}

static void vhd_free(struct image *img)
{
	struct vhd *v = img->priv;

	if (!v)
		return;
	if (v->writer)
		vhd_close_writer(img);
	table_cache_free(v->bat);
	table_cache_free(v->bitmaps);
	free(v->header.parent_name);
	free(v);
	img->priv = NULL;
}

static int open_dynamic(struct image *img, struct vhd *v, const struct image_open_opts *opts,
			struct err *err)
{
	if (vhd_header_read(img, v, err) < 0 ||
	    table_cache_new(&v->bat, img->file, SLICE, SLOTS, err) < 0 ||
	    table_cache_new(&v->bitmaps, img->file, SLICE, SLOTS, err) < 0)
		return -1;
	img->cluster_size = v->header.block_size;
	return v->footer.type == VHD_DIFFERENCING ? vhd_find_parent(img, v, opts, err) : 0;
}

static int vhd_open(struct image *img, const struct image_open_opts *opts, struct err *err)
{
	struct vhd *v = calloc(1, sizeof(*v));
	bool write = img->flags & IMAGE_RDWR && !(img->flags & IMAGE_CHECK);

	if (!v)
		return err_nomem(err);
	img->priv = v;
	if (opts && opts->snapshot) {
		err_set(err, ERR_UNSUPPORTED, "VHD images have no snapshots");
		goto failed;
	}
	if (read_footer(img, v, err) < 0)
		goto failed;
	vhd_footer_parse(v->footer_bytes, &v->footer);
	if (check_footer(img, v, err) < 0)
		goto failed;
	if (v->footer.type != VHD_FIXED && open_dynamic(img, v, opts, err) < 0)
		goto failed;
	if (write && vhd_open_writer(img, err) < 0)
		goto failed;
	return 0;
failed:
	vhd_free(img);
	free(img->backing_name);
	free(img->backing_format);
	img->backing_name = img->backing_format = NULL;
	img->cluster_size = 0;
	return -1;
}

static const char *type_name(uint32_t type)
{
	return type == VHD_FIXED ? "fixed" : type == VHD_DYNAMIC ? "dynamic" : "differencing";
}

static json_t *time_json(uint32_t since_2000)
{
	time_t t = (time_t)since_2000 + VHD_EPOCH;
	char text[40];
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
		return json_null();
	return json_string(text);
}

static int vhd_info(struct image *img, json_t *obj, struct err *err)
{
	const struct vhd *v = img->priv;
	const struct vhd_footer *f = &v->footer;
	char uuid[BLOCKS_UUID_TEXT];
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:o, s:I, s:s, s:{s:i, s:i, s:i}, s:b}",
			      "subformat", type_name(f->type), "creator", f->creator, "creator_os",
			      f->creator_os, "uuid", blocks_uuid_text(f->uuid, uuid), "created",
			      time_json(f->timestamp), "current_size", (json_int_t)f->current_size,
			      "size_from", vhd_size_by_chs(f) ? "geometry" : "current_size",
			      "geometry", "cylinders", (int)f->cylinders, "heads", (int)f->heads,
			      "sectors", (int)f->sectors, "footer_missing", (int)v->footer_missing);

	if (!o || json_object_set_new(obj, "format_specific", o) < 0)
		return err_nomem(err);
	if (f->type == VHD_FIXED)
		return 0;
	if (json_object_set_new(o, "table_entries", json_integer(v->header.max_entries)) < 0)
		return err_nomem(err);
	if (f->type == VHD_DIFFERENCING &&
	    json_object_set_new(o, "parent_uuid",
				json_string(blocks_uuid_text(v->header.parent_uuid, uuid))) < 0)
		return err_nomem(err);
	return 0;
}

static const char *const suffixes[] = {"vhd", "vpc", "avhd", NULL};

extern const struct image_format image_format_vhd;
const struct image_format image_format_vhd = {
	.name = "vhd",
	.qemu_name = "vpc",
	.suffixes = suffixes,
	.description = "Virtual PC, Hyper-V, Azure, XenServer: fixed, dynamic, differencing",
	.can_name_files = true,
	.probe = vhd_probe,
	.open = vhd_open,
	.close = vhd_free,
	.map = vhd_map,
	.write = vhd_write,
	.write_zeroes = vhd_write_zeroes,
	.flush = vhd_flush,
	.settle = vhd_settle,
	.resize = vhd_resize,
	.adopt = vhd_adopt,
	.check_backing = vhd_check_backing,
	.info = vhd_info,
	.check = vhd_check,
	.bulk = &vhd_bulk_ops,
	.create_options = vhd_options_table,
};
