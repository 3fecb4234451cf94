/* New VDI images: dynamic ones with their blocks in ascending order, static ones with all of them.
 *
 * Units come in granules of 4 KiB (blocks.h); the first one that has data in a block gives it the next place in the
 * file. Data begin at a multiple of 1 MiB, so that every block can be shared with a raw file. The map is written when
 * all is stored.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/blocks.h"
#include "libcommon/image/format/vdi/vdi.h"

enum { MAP_PIECE = 64 << 10, BLOCKS_MOST = 0x1fffffff };

struct vdi_bulk {
	struct vdi_header h;
	struct blocks_id id;
	/* Index + 1, 0: none, so that memory is only taken where there are blocks. place() writes, store() reads
	 * what was placed before */
	uint32_t *map;
};

static int layout(struct vdi_header *h, const struct bulk_params *p, struct err *err)
{
	uint64_t blocks, size;

	/* VirtualBox wants whole sectors */
	if (!u64_round_up(p->size, 512, &size) ||
	    (blocks = div_up(size, VDI_BLOCK_SIZE)) > BLOCKS_MOST)
		return err_set(err, ERR_UNSUPPORTED,
			       "%" PRIu64 " bytes are more than a VDI image can have", p->size);
	h->type = blocks_on(p, "static", false) ? VDI_STATIC : VDI_DYNAMIC;
	h->size = size;
	h->block_size = VDI_BLOCK_SIZE;
	h->blocks = (uint32_t)blocks;
	h->map_offset = VDI_HEADER_SIZE;
	h->data_offset = (uint32_t)round_up(VDI_HEADER_SIZE + 4ULL * h->blocks, VDI_BLOCK_SIZE);
	return 0;
}

static uint64_t file_size(const struct vdi_header *h, uint32_t blocks)
{
	return h->data_offset + (uint64_t)blocks * h->block_size;
}

static int vdi_begin(struct bulk *b, struct err *err)
{
	const struct bulk_params *p = b->params;
	CLEANUP_FREE struct vdi_bulk *v = calloc(1, sizeof(*v));

	if (!v)
		return err_nomem(err);
	if (p->compress)
		return err_set(err, ERR_UNSUPPORTED, "VDI images cannot be compressed");
	if (p->backing_name)
		return err_set(err, ERR_UNSUPPORTED, "differencing VDI images can only be read");
	if (layout(&v->h, p, err) < 0)
		return -1;
	v->map = calloc((size_t)v->h.blocks + 1, sizeof(*v->map));
	if (!v->map)
		return err_nomem(err);
	b->granule = BLOCKS_GRANULE;
	b->priv = steal_ptr(&v);
	return 0;
}

/* A device has old bytes around what is stored */
static int clear_block(struct bulk *b, uint64_t host, struct err *err)
{
	return b->params->target_is_zero ? 0 : bfile_zero(b->file, host, VDI_BLOCK_SIZE, true, err);
}

static int vdi_place(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	struct vdi_bulk *v = b->priv;
	uint64_t off = u->off, end = u->off + u->len;

	blocks_id_add(&v->id, u);
	while (off < end && v->h.type != VDI_STATIC) {
		uint64_t len = min_u64(end, round_down(off, VDI_BLOCK_SIZE) + VDI_BLOCK_SIZE) - off;
		uint32_t *slot = &v->map[off / VDI_BLOCK_SIZE];

		if (!*slot && blocks_has_data(u, off, len)) {
			*slot = ++v->h.allocated;
			if (clear_block(b, vdi_host(&v->h, *slot - 1), err) < 0)
				return -1;
		}
		off += len;
	}
	return 0;
}

static int vdi_store(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	const struct vdi_bulk *v = b->priv;
	uint64_t off = u->off, end = u->off + u->len;

	if (v->h.type == VDI_STATIC)
		return blocks_store(b, u, off, u->len, v->h.data_offset + off, err);
	while (off < end) {
		uint64_t in = off % VDI_BLOCK_SIZE, len = min_u64(end - off, VDI_BLOCK_SIZE - in);
		uint32_t slot = v->map[off / VDI_BLOCK_SIZE];

		if (slot && blocks_store(b, u, off, len, vdi_host(&v->h, slot - 1) + in, err) < 0)
			return -1;
		off += len;
	}
	return 0;
}

static int write_map(struct bulk *b, const struct vdi_bulk *v, struct err *err)
{
	CLEANUP_FREE uint8_t *piece = malloc(MAP_PIECE);
	uint64_t at = v->h.map_offset;

	if (!piece)
		return err_nomem(err);
	for (uint32_t i = 0; i < v->h.blocks;) {
		uint32_t n = (uint32_t)min_u64(MAP_PIECE / 4, v->h.blocks - i);

		for (uint32_t k = 0; k < n; k++)
			put_le32(piece + 4 * (size_t)k,
				 v->h.type == VDI_STATIC ? i + k : v->map[i + k] - 1);
		if (bfile_pwrite(b->file, piece, 4 * (size_t)n, at, err) < 0)
			return -1;
		at += 4 * (uint64_t)n;
		i += n;
	}
	return 0;
}

static int vdi_finish(struct bulk *b, struct err *err)
{
	struct vdi_bulk *v = b->priv;
	uint8_t raw[VDI_HEADER_SIZE], uuid[16];

	if (v->h.type == VDI_STATIC)
		v->h.allocated = v->h.blocks;
	if (blocks_uuid(b->params, &v->id, "vdi", 3, uuid, err) < 0)
		return -1;
	vdi_uuid_swap(uuid, v->h.uuid);
	if (blocks_uuid(b->params, &v->id, "vdi modification", 16, uuid, err) < 0)
		return -1;
	vdi_uuid_swap(uuid, v->h.modify);
	vdi_header_build(&v->h, raw);
	if (write_map(b, v, err) < 0 || bfile_pwrite(b->file, raw, sizeof(raw), 0, err) < 0)
		return -1;
	/* Blocks are whole, the last one too */
	return b->file->is_blockdev
		       ? 0
		       : bfile_truncate(b->file, file_size(&v->h, v->h.allocated), err);
}

static int vdi_static_begin(struct bulk *b, struct err *err)
{
	struct vdi_bulk *v;

	if (vdi_begin(b, err) < 0)
		return -1;
	v = b->priv;
	if (v->h.type != VDI_STATIC || b->params->target_is_zero)
		return 0;
	return bfile_zero(b->file, v->h.data_offset, (uint64_t)v->h.blocks * VDI_BLOCK_SIZE, true,
			  err);
}

static void vdi_abort(struct bulk *b)
{
	struct vdi_bulk *v = b->priv;

	if (v)
		free(v->map);
	free(v);
	b->priv = NULL;
}

static int vdi_measure(const struct bulk_params *p, uint64_t data_granules, uint32_t granule,
		       uint64_t *ret_required, uint64_t *ret_fully_allocated, struct err *err)
{
	struct vdi_header h = {0};

	if (layout(&h, p, err) < 0)
		return -1;
	*ret_fully_allocated = file_size(&h, h.blocks);
	*ret_required = h.type == VDI_STATIC
				? *ret_fully_allocated
				: file_size(&h, (uint32_t)min_u64(h.blocks, data_granules));
	(void)granule;
	return 0;
}

const struct bulk_ops vdi_bulk_ops = {
	.begin = vdi_static_begin,
	.unit_init = blocks_unit_init,
	.unit_free = blocks_unit_free,
	.encode = blocks_encode,
	.place = vdi_place,
	.store = vdi_store,
	.finish = vdi_finish,
	.abort = vdi_abort,
	.can_copy = true,
	.can_resume = true,
	.save = blocks_save,
	.load = blocks_load,
	.measure = vdi_measure,
};

const struct image_option vdi_options[] = {
	{"static", OPTION_BOOL, "all blocks have their place from the start (off)", NULL},
	{0},
};
