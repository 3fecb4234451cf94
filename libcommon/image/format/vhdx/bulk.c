/* New VHDX images in one pass: blocks in guest order at multiples of 1 MiB, bitmaps of differencing ones between. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/blocks.h"
#include "libcommon/image/format/vhdx/vhdx.h"

#define NONE UINT64_MAX

/* bulk->priv; changed by begin, place, place_zero and finish alone: one at a time */
struct vhdx_bulk {
	struct vhdx_options o;
	struct vhdx_parent parent;
	uint64_t blocks, chunk_blocks, bat_entries, bat_bytes;
	uint64_t *bat; /* little endian; entries of blocks of a unit in store() are final */
	uint64_t end;  /* of what is placed */
	uint8_t *bits; /* differencing: of chunk @chunk, to be written when the next begins */
	uint64_t chunk;
	struct blocks_id id;
};

static uint64_t index_of(const struct vhdx_bulk *s, uint64_t block)
{
	return block + block / s->chunk_blocks;
}

static uint64_t bitmap_index(const struct vhdx_bulk *s, uint64_t chunk)
{
	return (chunk + 1) * (s->chunk_blocks + 1) - 1;
}

/* @len bytes at the end of the file that read as zero */
static int take(struct bulk *b, struct vhdx_bulk *s, uint64_t len, uint64_t *ret, struct err *err)
{
	*ret = s->end;
	s->end += len;
	if (b->params->target_is_zero)
		return 0;
	return bfile_zero(b->file, *ret, len, false, err);
}

/* Core has opened it by the same name, so it is there and allowed; what is missing is its identity and sectors. */
static int look_at_parent(struct bulk *b, struct vhdx_bulk *s, struct err *err)
{
	const struct image_open_opts opts = {.format = "vhdx", .flags = IMAGE_INFO | IMAGE_NO_LOCK};
	const char *name = b->params->backing_name, *target = b->params->target_path;
	const char *slash = target ? strrchr(target, '/') : NULL;
	int dir = slash && *name != '/' ? (int)(slash - target) + 1 : 0;
	CLEANUP_FREE char *path = NULL;
	const struct vhdx *v;
	struct image *img;

	if (!strncmp(name, "file:", 5))
		return err_set(err, ERR_USAGE, "a VHDX names its parent by a plain path");
	if (asprintf(&path, "%.*s%s", dir, target ? target : "", name) < 0) {
		path = NULL;
		return err_nomem(err);
	}
	if (image_open(&img, path, &opts, err) < 0)
		return err_prefix(err, "parent");
	v = img->priv;
	s->parent.identity = v->header.data_write;
	if (!bulk_option(b->params, "logical_sector_size"))
		s->o.logical_sector = v->logical_sector;
	s->o.physical_sector = s->o.physical_sector < s->o.logical_sector ? s->o.logical_sector
									  : s->o.physical_sector;
	image_close(img);
	s->parent.name = name;
	if (s->o.size % s->o.logical_sector)
		return err_set(err, ERR_USAGE,
			       "%" PRIu64 " bytes are no number of the parent's sectors",
			       s->o.size);
	return 0;
}

static int fixed_blocks(struct bulk *b, struct vhdx_bulk *s, struct err *err)
{
	for (uint64_t i = 0; i < s->blocks; i++)
		s->bat[index_of(s, i)] = htole64((s->end + i * s->o.block_size) | VHDX_FULL);
	return take(b, s, s->blocks * s->o.block_size, &(uint64_t){0}, err);
}

static int bulk_begin(struct bulk *b, struct err *err)
{
	struct vhdx_bulk *s = calloc(1, sizeof(*s));

	if (!s)
		return err_nomem(err);
	b->priv = s;
	b->granule = BLOCKS_GRANULE;
	s->chunk = NONE;
	if (vhdx_options_parse(b->params, &s->o, err) < 0 ||
	    (s->o.has_parent && look_at_parent(b, s, err) < 0))
		return -1;
	b->sector_size = s->o.logical_sector;
	s->blocks = div_up(s->o.size, s->o.block_size);
	s->chunk_blocks = vhdx_chunk_blocks(s->o.block_size, s->o.logical_sector);
	s->bat_entries = vhdx_bat_entries(s->blocks, s->chunk_blocks, s->o.has_parent);
	s->bat_bytes = round_up(8 * s->bat_entries, VHDX_MIB);
	s->bat = calloc(s->bat_entries, 8);
	s->bits = s->o.has_parent ? malloc(VHDX_MIB) : NULL;
	if (!s->bat || (s->o.has_parent && !s->bits))
		return err_nomem(err);
	if (!b->params->target_is_zero &&
	    bfile_zero(b->file, 0, VHDX_BAT_AT + s->bat_bytes, false, err) < 0)
		return -1;
	s->end = VHDX_BAT_AT + s->bat_bytes;
	return s->o.fixed ? fixed_blocks(b, s, err) : 0;
}

static void bulk_abort(struct bulk *b)
{
	struct vhdx_bulk *s = b->priv;

	if (!s)
		return;
	free(s->bat);
	free(s->bits);
	free(s);
	b->priv = NULL;
}

static int write_bits(struct bulk *b, struct vhdx_bulk *s, struct err *err)
{
	if (s->chunk == NONE)
		return 0;
	return bfile_pwrite(b->file, s->bits, VHDX_MIB,
			    le64toh(s->bat[bitmap_index(s, s->chunk)]) & VHDX_OFFSET, err);
}

/* [off, off + len) inside one block of a differencing disk is here from now on */
static int set_bits(struct bulk *b, struct vhdx_bulk *s, uint64_t off, uint64_t len,
		    struct err *err)
{
	uint64_t chunk = off / s->o.block_size / s->chunk_blocks, at;
	uint64_t first = off / s->o.logical_sector % (VHDX_MIB * 8);
	uint64_t n = div_up(off % s->o.logical_sector + len, s->o.logical_sector);

	if (chunk != s->chunk) {
		if (write_bits(b, s, err) < 0 || take(b, s, VHDX_MIB, &at, err) < 0)
			return -1;
		s->bat[bitmap_index(s, chunk)] = htole64(at | VHDX_FULL);
		s->chunk = chunk;
		memset(s->bits, 0, VHDX_MIB);
	}
	for (uint64_t i = first; i < first + n; i++)
		s->bits[i / 8] |= (uint8_t)(1 << i % 8);
	return 0;
}

static int place_range(struct bulk *b, uint64_t off, uint64_t len, struct err *err)
{
	struct vhdx_bulk *s = b->priv;
	uint64_t *entry = &s->bat[index_of(s, off / s->o.block_size)], at;

	if (s->o.has_parent && set_bits(b, s, off, len, err) < 0)
		return -1;
	if (*entry)
		return 0;
	if (take(b, s, s->o.block_size, &at, err) < 0)
		return -1;
	*entry = htole64(at | (s->o.has_parent ? VHDX_PARTIAL : VHDX_FULL));
	return 0;
}

static int bulk_place(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	struct vhdx_bulk *s = b->priv;
	uint64_t at = u->off, end = u->off + u->len, n;

	blocks_id_add(&s->id, u);
	for (; !s->o.fixed && at < end; at += n) {
		n = min_u64(end - at, s->o.block_size - at % s->o.block_size);
		/* Zeros here may hide something of the parent's */
		if ((s->o.has_parent || blocks_has_data(u, at, n)) &&
		    place_range(b, at, n, err) < 0)
			return -1;
	}
	return 0;
}

static int bulk_place_zero(struct bulk *b, uint64_t off, uint64_t len, struct err *err)
{
	struct vhdx_bulk *s = b->priv;
	uint64_t at = off, end = off + len, n;

	for (; s->o.has_parent && at < end; at += n) {
		uint64_t block = at / s->o.block_size, in = at % s->o.block_size;
		uint64_t whole = min_u64(s->o.block_size, s->o.size - block * s->o.block_size);

		n = min_u64(end - at, s->o.block_size - in);
		if (in == 0 && n >= whole)
			s->bat[index_of(s, block)] = htole64(VHDX_ZERO);
		else if (place_range(b, at, n, err) < 0)
			return -1;
	}
	return 0;
}

static int bulk_store(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	struct vhdx_bulk *s = b->priv;
	uint64_t at = u->off, end = u->off + u->len, n;

	for (; at < end; at += n) {
		uint64_t host = le64toh(s->bat[index_of(s, at / s->o.block_size)]) & VHDX_OFFSET;
		uint64_t in = at % s->o.block_size;

		n = min_u64(end - at, s->o.block_size - in);
		if (host && blocks_store(b, u, at, n, host + in, err) < 0)
			return -1;
	}
	return 0;
}

static int make_ids(struct bulk *b, struct vhdx_bulk *s, struct vhdx_ids *ids, struct err *err)
{
	struct vhdx_guid *const list[] = {&ids->file_write, &ids->data_write, &ids->disk};
	uint8_t salt[48] = "vhdx", uuid[16];

	put_le32(salt + 8, s->o.block_size);
	put_le32(salt + 12, s->o.logical_sector);
	put_le32(salt + 16, s->o.physical_sector);
	salt[20] = s->o.fixed;
	memcpy(salt + 32, s->parent.identity.b, 16);
	for (uint8_t i = 0; i < 3; i++) {
		salt[21] = i;
		if (blocks_uuid(b->params, &s->id, salt, sizeof(salt), uuid, err) < 0)
			return -1;
		vhdx_guid_from_uuid(uuid, list[i]);
	}
	return 0;
}

static int bulk_finish(struct bulk *b, struct err *err)
{
	struct vhdx_bulk *s = b->priv;
	struct vhdx_ids ids;

	if (make_ids(b, s, &ids, err) < 0 || write_bits(b, s, err) < 0 ||
	    bfile_pwrite(b->file, s->bat, 8 * s->bat_entries, VHDX_BAT_AT, err) < 0 ||
	    vhdx_write_tables(b->file, &s->o, &ids, &s->parent, s->bat_bytes, err) < 0)
		return -1;
	return b->file->is_blockdev ? 0 : bfile_truncate(b->file, s->end, err);
}

static int bulk_measure(const struct bulk_params *p, uint64_t data_granules, uint32_t granule,
			uint64_t *ret_required, uint64_t *ret_full, struct err *err)
{
	struct vhdx_options o;
	uint64_t blocks, chunk, head;

	if (vhdx_options_parse(p, &o, err) < 0)
		return -1;
	blocks = div_up(o.size, o.block_size);
	chunk = vhdx_chunk_blocks(o.block_size, o.logical_sector);
	head = VHDX_BAT_AT + round_up(8 * vhdx_bat_entries(blocks, chunk, o.has_parent), VHDX_MIB);
	*ret_full = head + blocks * o.block_size;
	if (o.has_parent) /* the bitmaps */
		*ret_full += div_up(blocks, chunk) * VHDX_MIB;
	if (!o.fixed)
		blocks = min_u64(blocks, div_up(data_granules * (uint64_t)granule, o.block_size));
	*ret_required = head + blocks * o.block_size;
	return 0;
}

const struct bulk_ops vhdx_bulk_ops = {
	.begin = bulk_begin,
	.unit_init = blocks_unit_init,
	.unit_free = blocks_unit_free,
	.encode = blocks_encode,
	.place = bulk_place,
	.store = bulk_store,
	.place_zero = bulk_place_zero,
	.finish = bulk_finish,
	.abort = bulk_abort,
	.can_copy = true,
	.can_resume = true,
	.save = blocks_save,
	.load = blocks_load,
	.measure = bulk_measure,
};
