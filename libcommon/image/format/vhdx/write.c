/* Random writes: in place where a sector is here already, else into a new block or with a new bit. See writer.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/blocks.h"
#include "libcommon/image/format/vhdx/writer.h"

static int begin(struct image *img, struct err *err)
{
	struct vhdx *v = img->priv;
	int rc;

	if (__atomic_load_n(&v->writer->begun, __ATOMIC_ACQUIRE))
		return 0;
	pthread_mutex_lock(&v->writer->slow);
	rc = vhdx_begin_change(img, err);
	pthread_mutex_unlock(&v->writer->slow);
	return rc;
}

static int put_bat_entry(struct image *img, uint64_t index, uint64_t entry, struct err *err)
{
	struct vhdx *v = img->priv;
	uint8_t bytes[8];

	put_le64(bytes, entry);
	return vhdx_patch(img, v->bat, v->bat_region.offset + 8 * index, bytes, 8, err);
}

static uint64_t bitmap_index(const struct vhdx *v, uint64_t block)
{
	return (block / v->chunk_blocks + 1) * (v->chunk_blocks + 1) - 1;
}

/* Where the bits of @block's chunk are; a place for them, all zero, when there was none */
static int bitmap_of(struct image *img, uint64_t block, uint64_t *ret, struct err *err)
{
	struct vhdx *v = img->priv;
	uint64_t index = bitmap_index(v, block), entry;

	if (vhdx_bat_entry(v, index, &entry, err) < 0)
		return -1;
	*ret = entry & VHDX_OFFSET;
	if ((entry & VHDX_STATE_MASK) == VHDX_FULL) {
		if (*ret < VHDX_MIB || !range_inside(*ret, VHDX_MIB, bfile_size(img->file)))
			return err_set(err, ERR_CORRUPT,
				       "the bitmap of block %" PRIu64 " is not in the file", block);
		return 0;
	}
	if (vhdx_make_place(img, VHDX_MIB, ret, err) < 0)
		return -1;
	return put_bat_entry(img, index, *ret | VHDX_FULL, err);
}

/* Sectors [first, first + n) of @block are here from now on; @fresh: and no others of it */
static int set_bits(struct image *img, uint64_t block, uint64_t first, uint64_t n, bool fresh,
		    struct err *err)
{
	struct vhdx *v = img->priv;
	uint64_t per_block = v->block_size / v->logical_sector, bitmap, at;
	/* A block has a whole number of bytes: 1 MiB of sectors of 4096 bytes are 256 bits */
	uint64_t from = fresh ? 0 : first / 8, to = fresh ? per_block / 8 : div_up(first + n, 8);
	CLEANUP_FREE uint8_t *bits = calloc((size_t)(to - from), 1);

	if (!bits)
		return err_nomem(err);
	if (bitmap_of(img, block, &bitmap, err) < 0)
		return -1;
	at = bitmap + block % v->chunk_blocks * (per_block / 8) + from;
	if (!fresh && bfile_pread(v->file, bits, (size_t)(to - from), at, err) < 0)
		return -1;
	for (uint64_t i = first; i < first + n; i++)
		bits[i / 8 - from] |= (uint8_t)(1 << i % 8);
	return vhdx_patch(img, v->bitmaps, at, bits, (size_t)(to - from), err);
}

/* Whole sectors of one block that are not here yet (for disks with no parent: any bytes). All or nothing of it is in
 * the next transaction. */
static int write_sectors(struct image *img, const uint8_t *buf, uint64_t off, size_t len,
			 struct err *err)
{
	struct vhdx *v = img->priv;
	uint64_t block = off / v->block_size, in = off % v->block_size, at, entry;
	uint64_t first = in / v->logical_sector, n = len / v->logical_sector;
	unsigned state;
	bool parts;

	if (vhdx_bat_entry(v, vhdx_bat_index(v, block), &entry, err) < 0)
		return -1;
	state = entry & VHDX_STATE_MASK;
	at = entry & VHDX_OFFSET;
	if (state == VHDX_PARTIAL) {
		if (at < VHDX_MIB || !range_inside(at + in, len, bfile_size(img->file)))
			return err_set(err, ERR_CORRUPT,
				       "block %" PRIu64 " lies at offset %" PRIu64, block, at);
		if (bfile_pwrite(img->file, buf, len, at + in, err) < 0)
			return -1;
		return set_bits(img, block, first, n, false, err);
	}
	parts = v->has_parent && state == VHDX_NOT_PRESENT && len < v->block_size;
	if (vhdx_make_place(img, v->block_size, &at, err) < 0 ||
	    bfile_pwrite(img->file, buf, len, at + in, err) < 0 ||
	    (parts && set_bits(img, block, first, n, true, err) < 0))
		return -1;
	return put_bat_entry(img, vhdx_bat_index(v, block), at | (parts ? VHDX_PARTIAL : VHDX_FULL),
			     err);
}

/* [off, off + len) inside one block, no sector of it here yet: what shares one comes from the old content */
static int write_new(struct image *img, const uint8_t *buf, uint64_t off, size_t len,
		     struct err *err)
{
	const struct vhdx *v = img->priv;
	CLEANUP_FREE uint8_t *whole = NULL;

	if (v->has_parent &&
	    blocks_whole_sectors(img, v->logical_sector, buf, &off, &len, &whole, err) < 0)
		return -1;
	return write_sectors(img, whole ? whole : buf, off, len, err);
}

static int write_slow(struct image *img, const uint8_t *buf, uint64_t off, size_t len,
		      size_t *ret_done, struct err *err)
{
	struct vhdx *v = img->priv;
	uint64_t left = v->block_size - off % v->block_size;
	struct extent e = {0};

	if (vhdx_begin_change(img, err) < 0 || vhdx_reserve(img, err) < 0 ||
	    vhdx_lookup(img, off, min_u64(len, left), &e, err) < 0)
		return -1;
	*ret_done = (size_t)e.len;
	if (e.kind == EXTENT_DATA)
		return bfile_pwrite(img->file, buf, (size_t)e.len, e.host_off, err);
	if (write_new(img, buf, off, (size_t)e.len, err) == 0)
		return 0;
	v->writer->failed = true; /* half of a step may be pending */
	return -1;
}

int vhdx_write(struct image *img, const void *buf, uint64_t off, size_t len, struct err *err)
{
	struct vhdx *v = img->priv;

	if (begin(img, err) < 0)
		return -1;
	return blocks_write(img, buf, off, len, &v->writer->slow, vhdx_lookup, write_slow, err);
}

/* A whole block that shows the parent's becomes one of zeros. *@ret_done: bytes; 0 when somebody wrote to it */
static int zero_block(struct image *img, uint64_t off, uint64_t *ret_done, struct err *err)
{
	struct vhdx *v = img->priv;
	uint64_t block = off / v->block_size, entry;
	int rc;

	*ret_done = 0;
	pthread_mutex_lock(&v->writer->slow);
	rc = vhdx_begin_change(img, err);
	if (rc == 0)
		rc = vhdx_reserve(img, err);
	if (rc == 0)
		rc = vhdx_bat_entry(v, vhdx_bat_index(v, block), &entry, err);
	if (rc == 0 && (entry & VHDX_STATE_MASK) == VHDX_NOT_PRESENT) {
		rc = put_bat_entry(img, vhdx_bat_index(v, block), VHDX_ZERO, err);
		*ret_done = min_u64(v->block_size, img->size - off);
	}
	pthread_mutex_unlock(&v->writer->slow);
	return rc;
}

/* *@n: bytes from @off on that show the parent's; then: that are zero */
static int zero_parents(struct image *img, uint64_t off, uint64_t *n, struct err *err)
{
	static const uint8_t zeros[64 << 10];
	const struct vhdx *v = img->priv;
	uint64_t done = 0;

	if (off % v->block_size == 0 && *n >= min_u64(v->block_size, img->size - off) &&
	    zero_block(img, off, &done, err) < 0)
		return -1;
	*n = done ? done : min_u64(*n, sizeof(zeros));
	return done ? 0 : vhdx_write(img, zeros, off, (size_t)*n, err);
}

int vhdx_write_zeroes(struct image *img, uint64_t off, uint64_t len, bool may_unmap,
		      struct err *err)
{
	const struct vhdx *v = img->priv;

	if (begin(img, err) < 0)
		return -1;
	while (len) {
		struct extent e = {0};
		uint64_t n;

		if (vhdx_lookup(img, off, len, &e, err) < 0)
			return -1;
		n = e.len;
		if (e.kind == EXTENT_DATA) {
			if (bfile_zero(img->file, e.host_off, n, may_unmap && !v->fixed, err) < 0)
				return -1;
		} else if (e.kind == EXTENT_UNALLOCATED && v->has_parent) {
			if (zero_parents(img, off, &n, err) < 0)
				return -1;
		}
		off += n;
		len -= n;
	}
	return 0;
}

/* Blocks stay where they are, and become holes of the file */
int vhdx_discard(struct image *img, uint64_t off, uint64_t len, struct err *err)
{
	const struct vhdx *v = img->priv;

	if (v->fixed)
		return 0;
	if (begin(img, err) < 0)
		return -1;
	while (len) {
		struct extent e = {0};

		if (vhdx_lookup(img, off, len, &e, err) < 0)
			return -1;
		if (e.kind == EXTENT_DATA && bfile_discard(img->file, e.host_off, e.len, err) < 0)
			return -1;
		off += e.len;
		len -= e.len;
	}
	return 0;
}

int vhdx_flush(struct image *img, struct err *err)
{
	struct vhdx *v = img->priv;
	int rc;

	pthread_mutex_lock(&v->writer->slow);
	rc = vhdx_commit(img, err);
	pthread_mutex_unlock(&v->writer->slow);
	return rc;
}

int vhdx_settle(struct image *img, struct err *err)
{
	struct vhdx *v = img->priv;
	int rc;

	pthread_mutex_lock(&v->writer->slow);
	rc = vhdx_commit(img, err);
	if (rc == 0)
		rc = vhdx_release_log(img, err);
	pthread_mutex_unlock(&v->writer->slow);
	return rc;
}
