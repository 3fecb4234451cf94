/* VDI as a struct image_format: probing, opening, where the bytes are, info. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/cache.h"
#include "libcommon/image/format/vdi/vdi.h"

/* 16 KiB of map are 4 GiB of disk; all slices together 256 GiB. */
enum { MAP_SLICE = 16384, MAP_SLICES = 64 };

static int vdi_probe(const uint8_t *head, size_t head_len, const uint8_t *tail, size_t tail_len,
		     uint64_t size)
{
	(void)tail, (void)tail_len, (void)size;
	if (head_len < 72 || get_le32(head + 64) != VDI_SIGNATURE)
		return 0;
	/* The text before it may be any; other versions are refused by name rather than read as raw */
	return get_le32(head + 68) >> 16 == 1 ? 100 : 60;
}

static void vdi_close(struct image *img)
{
	struct vdi *v = img->priv;

	if (!v)
		return;
	vdi_close_writer(img);
	table_cache_free(v->map);
	free(v);
	img->priv = NULL;
}

static int open_tables(struct image *img, struct vdi *v, const struct image_open_opts *opts,
		       struct err *err)
{
	uint64_t map_end = v->h.map_offset + 4ULL * v->h.blocks;
	unsigned lower = IMAGE_INFO | IMAGE_CHECK | IMAGE_NO_BACKING;

	if (map_end > bfile_size(img->file))
		return err_set(err, ERR_CORRUPT,
			       "the block map ends at offset %" PRIu64 ", the file at %" PRIu64,
			       map_end, bfile_size(img->file));
	if (table_cache_new(&v->map, img->file, MAP_SLICE, MAP_SLICES, err) < 0)
		return -1;
	if (!vdi_uuid_none(v->h.parent) && !(img->flags & lower) &&
	    vdi_find_parent(img, opts, err) < 0)
		return -1;
	/* Who changes the header alone wants a name, when there is one */
	if (!vdi_uuid_none(v->h.parent) && img->flags & IMAGE_RDWR && img->flags & IMAGE_NO_BACKING)
		(void)vdi_find_parent(img, opts, NULL);
	if (img->flags & IMAGE_RDWR && !(img->flags & IMAGE_CHECK))
		return vdi_open_writer(img, err);
	return 0;
}

static int vdi_open(struct image *img, const struct image_open_opts *opts, struct err *err)
{
	uint8_t raw[VDI_HEADER_SIZE];
	struct vdi *v;

	if (opts && opts->snapshot)
		return err_set(err, ERR_UNSUPPORTED, "VDI images have no snapshots inside");
	if (bfile_pread(img->file, raw, sizeof(raw), 0, err) < 0)
		return -1;
	v = calloc(1, sizeof(*v));
	if (!v)
		return err_nomem(err);
	img->priv = v;
	if (vdi_header_parse(raw, &v->h, err) < 0 || open_tables(img, v, opts, err) < 0) {
		vdi_close(img);
		free(steal_ptr(&img->backing_name));
		free(steal_ptr(&img->backing_format));
		return -1;
	}
	img->size = v->h.size;
	img->cluster_size = v->h.block_size;
	return 0;
}

uint32_t vdi_run(const uint8_t *e, uint32_t n)
{
	uint32_t first = get_le32(e), i = 1;

	if (first > VDI_LAST)
		while (i < n && get_le32(e + 4 * (size_t)i) == first)
			i++;
	else
		while (i < n && get_le32(e + 4 * (size_t)i) <= VDI_LAST &&
		       get_le32(e + 4 * (size_t)i) == first + i)
			i++;
	return i;
}

/* The entry of @block and how many blocks from it on lie side by side */
static int entry_of(struct vdi *v, uint32_t block, uint32_t max, uint32_t *ret_entry,
		    uint32_t *ret_n, struct err *err)
{
	const uint8_t *p;
	size_t room;

	if (v->writer) {
		vdi_writer_entry(v, block, max, ret_entry, ret_n);
		return 0;
	}
	if (table_cache_get(v->map, v->h.map_offset + 4ULL * block, &p, &room, err) < 0)
		return -1;
	*ret_entry = get_le32(p);
	*ret_n = vdi_run(p, (uint32_t)min_u64(max, room / 4));
	table_cache_put(v->map, p);
	return 0;
}

static int vdi_map(struct image *img, uint64_t off, uint64_t max, struct extent *ret,
		   struct err *err)
{
	struct vdi *v = img->priv;
	uint32_t bs = v->h.block_size, block = (uint32_t)(off / bs), in = (uint32_t)(off % bs), n,
		 entry, most = (uint32_t)min_u64(div_up(in + max, bs), v->h.blocks - block);
	uint64_t host, end;

	if (entry_of(v, block, most, &entry, &n, err) < 0)
		return -1;
	ret->len = min_u64(max, (uint64_t)n * bs - in);
	if (entry > VDI_LAST) {
		ret->kind = entry == VDI_ZERO ? EXTENT_ZERO : EXTENT_UNALLOCATED;
		return 0;
	}
	host = vdi_host(&v->h, entry) + in;
	end = bfile_size(img->file);
	if (host >=
	    end) /* blocks are whole in a sound file: what is missing is damage, not zeros */
		return err_set(err, ERR_CORRUPT,
			       "block %" PRIu32 " of the disk is said to lie at offset %" PRIu64
			       ", the file ends at %" PRIu64,
			       block, host - in, end);
	ret->len = min_u64(ret->len, end - host);
	ret->kind = EXTENT_DATA;
	ret->file = img->file;
	ret->host_off = host;
	ret->host_len = ret->len;
	return 0;
}

static int vdi_info(struct image *img, json_t *obj, struct err *err)
{
	static const char *const types[] = {"", "dynamic", "static", "undo", "differencing"};
	const struct vdi *v = img->priv;
	char uuid[VDI_UUID_TEXT], modify[VDI_UUID_TEXT], parent[VDI_UUID_TEXT];
	json_t *o = json_pack("{s:s, s:I, s:s, s:s}", "type", types[v->h.type], "blocks_allocated",
			      (json_int_t)v->h.allocated, "uuid", vdi_uuid_text(v->h.uuid, uuid),
			      "modification_uuid", vdi_uuid_text(v->h.modify, modify));

	if (o && !vdi_uuid_none(v->h.parent))
		(void)json_object_set_new(o, "parent_uuid",
					  json_string(vdi_uuid_text(v->h.parent, parent)));
	return !o || json_object_set_new(obj, "format_specific", o) ? err_nomem(err) : 0;
}

static const char *const suffixes[] = {"vdi", NULL};

const struct image_format image_format_vdi = {
	.name = "vdi",
	.suffixes = suffixes,
	.description = "VirtualBox disk image: dynamic, static; differencing to read",
	.can_name_files = true,
	.backing_unnamed = true,
	.probe = vdi_probe,
	.open = vdi_open,
	.close = vdi_close,
	.map = vdi_map,
	.resize = vdi_resize,
	.write = vdi_write,
	.write_zeroes = vdi_write_zeroes,
	.discard = vdi_discard,
	.flush = vdi_flush,
	.check_backing = vdi_check_backing,
	.adopt = vdi_adopt,
	.info = vdi_info,
	.check = vdi_check,
	.bulk = &vdi_bulk_ops,
	.create_options = vdi_options,
};
