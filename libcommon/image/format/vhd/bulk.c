/* New VHDs in one pass: blocks come in guest order, each behind its bitmap, which ends at a multiple of 4096.
 *
 * Dynamic disks have every bit of a block's bitmap set: what is not written in a block reads as zero. In differencing
 * ones a bit tells what is here.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/blocks.h"
#include "libcommon/image/format/vhd/vhd.h"

#define NO_BLOCK UINT64_MAX

enum { HEADER_AT = VHD_HEADER_AT, LOCATOR_AT = VHD_LOCATOR_AT, FILE_BLOCK = 4096 };

/* bulk->priv; changed by begin, place, place_zero and finish alone: one at a time */
struct vhd_bulk {
	struct vhd_options o;
	struct vhd_header header;
	uint8_t header_bytes[VHD_HEADER_BYTES];
	uint8_t *locator;
	size_t locator_len;
	uint32_t *bat; /* big endian; entries of blocks of a unit in store() are final */
	uint64_t bat_bytes;
	uint64_t end; /* of the data placed */
	uint32_t bitmap_size;
	uint8_t *bits;	  /* of block @current, to be written when the next one begins */
	uint64_t current; /* NO_BLOCK: none */
	struct blocks_id id;
};

/* ---- the parent */

/* Core has opened it by the same name, so it is there and allowed; its UUID is what is missing. */
static int look_at_parent(struct bulk *b, struct vhd_bulk *s, struct err *err)
{
	const char *name = b->params->backing_name, *target = b->params->target_path;
	const char *slash = target ? strrchr(target, '/') : NULL;
	int dir = slash && *name != '/' ? (int)(slash - target) + 1 : 0;
	CLEANUP_FREE char *path = NULL;
	struct bfile *file;
	int rc;

	if (asprintf(&path, "%.*s%s", dir, target ? target : "", name) < 0) {
		path = NULL;
		return err_nomem(err);
	}
	if (bfile_open(&file, path, 0, err) < 0)
		return err_prefix(err, "parent");
	rc = vhd_uuid_of(file, s->header.parent_uuid, &s->header.parent_time, err);
	bfile_close(file);
	return rc < 0 ? err_prefix(err, "parent %s", name)
		      : vhd_put_names(&s->header, s->header_bytes, LOCATOR_AT, name, &s->locator,
				      &s->locator_len, err);
}

/* ---- */

static int bulk_begin(struct bulk *b, struct err *err)
{
	struct vhd_bulk *s = calloc(1, sizeof(*s));
	uint64_t entries;

	if (!s)
		return err_nomem(err);
	b->priv = s;
	b->granule = BLOCKS_GRANULE;
	s->current = NO_BLOCK;
	if (vhd_options_parse(b->params, &s->o, err) < 0)
		return -1;
	if (b->file->is_blockdev) {
		err_set(err, ERR_UNSUPPORTED,
			"the footer of a VHD is the end of its file: a device has another end");
		return err_hint(err, "write a raw image to the device: -O raw");
	}
	if (s->o.type == VHD_FIXED)
		return bfile_truncate(b->file, s->o.size + VHD_SECTOR, err);
	if (s->o.type == VHD_DIFFERENCING && look_at_parent(b, s, err) < 0)
		return -1;
	entries = div_up(s->o.size, s->o.block_size);
	s->header.block_size = s->o.block_size;
	s->header.max_entries = (uint32_t)entries;
	s->header.bat_offset = LOCATOR_AT + round_up(s->locator_len, VHD_SECTOR);
	s->bat_bytes = round_up(4 * entries, VHD_SECTOR);
	s->end = s->header.bat_offset + s->bat_bytes;
	s->bitmap_size = (uint32_t)round_up(s->o.block_size / VHD_SECTOR / 8, VHD_SECTOR);
	s->bat = malloc(s->bat_bytes);
	s->bits = malloc(s->bitmap_size);
	if (!s->bat || !s->bits)
		return err_nomem(err);
	memset(s->bat, 0xff, s->bat_bytes);
	return 0;
}

static void bulk_abort(struct bulk *b)
{
	struct vhd_bulk *s = b->priv;

	if (!s)
		return;
	free(s->bat);
	free(s->bits);
	free(s->locator);
	free(s);
	b->priv = NULL;
}

static int write_bits(struct bulk *b, struct vhd_bulk *s, struct err *err)
{
	if (s->current == NO_BLOCK)
		return 0;
	return bfile_pwrite(b->file, s->bits, s->bitmap_size,
			    (uint64_t)be32toh(s->bat[s->current]) * VHD_SECTOR, err);
}

/* [off, off + len) inside one block: it has a place, and its bits are set */
static int place_range(struct bulk *b, uint64_t off, uint64_t len, struct err *err)
{
	struct vhd_bulk *s = b->priv;
	uint64_t block = off / s->o.block_size, in = off % s->o.block_size;

	if (block != s->current) {
		uint64_t data = round_up(s->end + s->bitmap_size, FILE_BLOCK);

		if (write_bits(b, s, err) < 0)
			return -1;
		if (data / VHD_SECTOR >= VHD_UNUSED)
			return err_set(err, ERR_NO_SPACE, "a VHD file cannot hold more than 2 TiB");
		s->bat[block] = htobe32((uint32_t)((data - s->bitmap_size) / VHD_SECTOR));
		s->end = data + s->o.block_size;
		s->current = block;
		memset(s->bits, s->o.type == VHD_DYNAMIC ? 0xff : 0, s->bitmap_size);
	}
	if (s->o.type == VHD_DIFFERENCING)
		for (uint64_t i = in / VHD_SECTOR; i < div_up(in + len, VHD_SECTOR); i++)
			s->bits[i / 8] |= (uint8_t)(0x80 >> i % 8);
	return 0;
}

static int bulk_place(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	struct vhd_bulk *s = b->priv;
	uint64_t at = u->off, end = u->off + u->len, n;

	blocks_id_add(&s->id, u);
	for (; s->o.type != VHD_FIXED && at < end; at += n) {
		n = min_u64(end - at, s->o.block_size - at % s->o.block_size);
		/* Zeros here may hide something of the parent's */
		if ((s->o.type == VHD_DIFFERENCING || blocks_has_data(u, at, n)) &&
		    place_range(b, at, n, err) < 0)
			return -1;
	}
	return 0;
}

static int bulk_place_zero(struct bulk *b, uint64_t off, uint64_t len, struct err *err)
{
	struct vhd_bulk *s = b->priv;
	uint64_t at = off, end = off + len, n;

	for (; s->o.type == VHD_DIFFERENCING && at < end; at += n) {
		n = min_u64(end - at, s->o.block_size - at % s->o.block_size);
		if (place_range(b, at, n, err) < 0)
			return -1;
	}
	return 0;
}

static int bulk_store(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	struct vhd_bulk *s = b->priv;
	uint64_t at = u->off, end = u->off + u->len, n;

	if (s->o.type == VHD_FIXED)
		return blocks_store(b, u, u->off, u->len, u->off, err);
	for (; at < end; at += n) {
		uint32_t entry = s->bat[at / s->o.block_size];
		uint64_t in = at % s->o.block_size;

		n = min_u64(end - at, s->o.block_size - in);
		if (entry != VHD_UNUSED &&
		    blocks_store(b, u, at, n,
				 (uint64_t)be32toh(entry) * VHD_SECTOR + s->bitmap_size + in,
				 err) < 0)
			return -1;
	}
	return 0;
}

static int make_footer(struct bulk *b, struct vhd_bulk *s, uint8_t bytes[VHD_SECTOR],
		       struct err *err)
{
	struct vhd_footer f = {.features = 2, /* "reserved: always 1" */
			       .version = 0x00010000,
			       .data_offset = s->o.type == VHD_FIXED ? VHD_NO_OFFSET : HEADER_AT,
			       .creator_version = s->o.by_chs ? 0x00050003 : 0x000a0000,
			       .original_size = s->o.size,
			       .current_size = s->o.size,
			       .type = s->o.type};
	uint64_t now = blocks_time(b->params);

	memcpy(f.creator_raw, s->o.by_chs ? "vpc " : "win ", 4);
	memcpy(f.creator_os_raw, "Wi2k", 4);
	vhd_geometry(s->o.size / VHD_SECTOR, &f.cylinders, &f.heads, &f.sectors);
	if (now > VHD_EPOCH)
		f.timestamp = (uint32_t)min_u64(now - VHD_EPOCH, UINT32_MAX);
	/* The id follows from all that the file says, the footer without the id among it */
	uint8_t salt[VHD_SECTOR + 20];

	vhd_footer_encode(&f, salt);
	memcpy(salt + VHD_SECTOR, s->header.parent_uuid, 16);
	put_be32(salt + VHD_SECTOR + 16, s->header.block_size);
	if (blocks_uuid(b->params, &s->id, salt, sizeof(salt), f.uuid, err) < 0)
		return -1;
	vhd_footer_encode(&f, bytes);
	return 0;
}

static int bulk_finish(struct bulk *b, struct err *err)
{
	struct vhd_bulk *s = b->priv;
	uint8_t footer[VHD_SECTOR];

	if (make_footer(b, s, footer, err) < 0)
		return -1;
	if (s->o.type == VHD_FIXED)
		return bfile_pwrite(b->file, footer, sizeof(footer), s->o.size, err);
	vhd_header_encode(&s->header, s->header_bytes);
	if (write_bits(b, s, err) < 0 ||
	    bfile_pwrite(b->file, s->header_bytes, VHD_HEADER_BYTES, HEADER_AT, err) < 0 ||
	    (s->locator_len &&
	     bfile_pwrite(b->file, s->locator, s->locator_len, LOCATOR_AT, err) < 0) ||
	    bfile_pwrite(b->file, s->bat, s->bat_bytes, s->header.bat_offset, err) < 0 ||
	    bfile_pwrite(b->file, footer, sizeof(footer), 0, err) < 0)
		return -1;
	return bfile_pwrite(b->file, footer, sizeof(footer), s->end, err);
}

static int bulk_measure(const struct bulk_params *p, uint64_t data_granules, uint32_t granule,
			uint64_t *ret_required, uint64_t *ret_full, struct err *err)
{
	struct vhd_options o;
	uint64_t blocks, head, stride, bitmap;

	if (vhd_options_parse(p, &o, err) < 0)
		return -1;
	if (o.type == VHD_FIXED) {
		*ret_required = *ret_full = o.size + VHD_SECTOR;
		return 0;
	}
	/* Without the locator of a parent: its length is not known here, and rarely moves a block */
	blocks = div_up(o.size, o.block_size);
	head = LOCATOR_AT + round_up(4 * blocks, VHD_SECTOR);
	bitmap = round_up(o.block_size / VHD_SECTOR / 8, VHD_SECTOR);
	stride = round_up(o.block_size + bitmap, FILE_BLOCK);
	*ret_full = round_up(head + bitmap, FILE_BLOCK) + blocks * stride -
		    (stride - o.block_size) + VHD_SECTOR;
	blocks = min_u64(blocks, div_up(data_granules * (uint64_t)granule, o.block_size));
	*ret_required = VHD_SECTOR + head;
	if (blocks)
		*ret_required = round_up(head + bitmap, FILE_BLOCK) + blocks * stride -
				(stride - o.block_size) + VHD_SECTOR;
	return 0;
}

const struct bulk_ops vhd_bulk_ops = {
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
