/* Guest offset to host offset: the BAT, and the bits of blocks that are here in part. */
#include <inttypes.h>
#include <stdlib.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/blocks.h"
#include "libcommon/image/cache.h"
#include "libcommon/image/format/vhdx/writer.h"

enum { JOIN_MOST = 64, CHUNK = 64 << 10 };

int vhdx_bat_entry(struct vhdx *v, uint64_t index, uint64_t *ret, struct err *err)
{
	const uint8_t *p;
	size_t room;

	if (table_cache_get(v->bat, v->bat_region.offset + 8 * index, &p, &room, err) < 0)
		return err_prefix(err, "block allocation table");
	*ret = get_le64(p);
	table_cache_put(v->bat, p);
	return 0;
}

int vhdx_each_entry(struct vhdx *v,
		    int (*fn)(void *ctx, uint64_t index, uint64_t entry, struct err *err),
		    void *ctx, struct err *err)
{
	CLEANUP_FREE uint8_t *chunk = malloc(CHUNK);
	uint64_t bytes = 8 * v->bat_entries;

	if (!chunk)
		return err_nomem(err);
	for (uint64_t at = 0; at < bytes; at += CHUNK) {
		size_t n = (size_t)min_u64(CHUNK, bytes - at);

		if (bfile_pread(v->file, chunk, n, v->bat_region.offset + at, err) < 0)
			return -1;
		for (size_t i = 0; i < n; i += 8)
			if (fn(ctx, (at + i) / 8, get_le64(chunk + i), err) < 0)
				return -1;
	}
	return 0;
}

/* What an entry says of all of its block; @ret->len is left alone */
static int decode(struct vhdx *v, uint64_t block, uint64_t entry, struct extent *ret,
		  struct err *err)
{
	uint64_t file_size = bfile_size(v->file), at = entry & VHDX_OFFSET;

	ret->kind = EXTENT_ZERO;
	ret->file = NULL;
	if (entry & VHDX_RESERVED)
		return err_set(err, ERR_CORRUPT,
			       "block %" PRIu64 ": its entry %#018" PRIx64 " has reserved bits set",
			       block, entry);
	switch ((enum vhdx_state)(entry & VHDX_STATE_MASK)) {
	case VHDX_NOT_PRESENT:
		ret->kind = EXTENT_UNALLOCATED;
		return 0;
	case VHDX_UNDEFINED:
	case VHDX_ZERO:
	case VHDX_UNMAPPED:
		return 0;
	case VHDX_PARTIAL:
		if (!v->has_parent)
			break;
		/* fall through */
	case VHDX_FULL:
		if (at < VHDX_MIB || at >= file_size)
			return err_set(err, ERR_CORRUPT,
				       "block %" PRIu64 " lies at offset %" PRIu64
				       ": not inside the file's %" PRIu64 " bytes",
				       block, at, file_size);
		ret->kind = EXTENT_DATA;
		ret->file = v->data;
		ret->host_off = at;
		return 0;
	}
	return err_set(err, ERR_CORRUPT, "block %" PRIu64 ": its entry has the state %u", block,
		       (unsigned)(entry & VHDX_STATE_MASK));
}

/* A partial block: bytes from @in on that are here, or are not. Bits count from the lowest. */
static int partial_run(struct vhdx *v, uint64_t block, uint64_t in, uint64_t *ret_len,
		       bool *ret_here, struct err *err)
{
	uint64_t chunk = block / v->chunk_blocks, per_block = v->block_size / v->logical_sector;
	uint64_t bit = block % v->chunk_blocks * per_block + in / v->logical_sector;
	uint64_t left = per_block - in / v->logical_sector, n = 0, entry, i, end;
	const uint8_t *p;
	size_t room;
	bool here;

	if (vhdx_bat_entry(v, (chunk + 1) * (v->chunk_blocks + 1) - 1, &entry, err) < 0)
		return -1;
	if ((entry & VHDX_STATE_MASK) != VHDX_FULL || entry & VHDX_RESERVED ||
	    !range_inside(entry & VHDX_OFFSET, VHDX_MIB, bfile_size(v->file)))
		return err_set(err, ERR_CORRUPT,
			       "block %" PRIu64 " is here in part, but the bitmap of chunk %" PRIu64
			       " is not in the file",
			       block, chunk);
	if (table_cache_get(v->bitmaps, (entry & VHDX_OFFSET) + bit / 8, &p, &room, err) < 0)
		return err_prefix(err, "bitmap of chunk %" PRIu64, chunk);
	i = bit % 8;
	end = min_u64(i + left, 8 * (uint64_t)room);
	here = p[0] >> i & 1;
	while (i < end) {
		if (i % 8 == 0 && end - i >= 8 && p[i / 8] == (here ? 0xff : 0)) {
			i += 8;
			n += 8;
			continue;
		}
		if ((p[i / 8] >> i % 8 & 1) != here)
			break;
		i++;
		n++;
	}
	table_cache_put(v->bitmaps, p);
	*ret_len = n * v->logical_sector - in % v->logical_sector;
	*ret_here = here;
	return 0;
}

/* Blocks from @block on whose entries are the very same, in one slice of the table */
static uint64_t alike(struct vhdx *v, uint64_t block, uint64_t entry)
{
	uint64_t index = vhdx_bat_index(v, block), n = 0;
	const uint8_t *p;
	size_t room;

	if (table_cache_get(v->bat, v->bat_region.offset + 8 * index, &p, &room, NULL) < 0)
		return 1;
	for (size_t i = 0; 8 * i + 8 <= room && block + n < v->blocks; i++) {
		if ((index + i) % (v->chunk_blocks + 1) == v->chunk_blocks)
			continue; /* of a bitmap */
		if (get_le64(p + 8 * i) != entry)
			break;
		n++;
	}
	table_cache_put(v->bat, p);
	return n ? n : 1;
}

/* Further blocks that continue @ret, as far as it is cheap */
static void join(struct vhdx *v, uint64_t block, uint64_t entry, uint64_t max, struct extent *ret)
{
	if (ret->kind != EXTENT_DATA) {
		ret->len += (alike(v, block, entry) - 1) * v->block_size;
		return;
	}
	for (unsigned i = 1; i < JOIN_MOST && ret->len < max && block + i < v->blocks; i++) {
		uint64_t next;

		if (vhdx_bat_entry(v, vhdx_bat_index(v, block + i), &next, NULL) < 0 ||
		    next != ((ret->host_off + ret->len) | VHDX_FULL))
			return;
		ret->len += v->block_size;
	}
}

static int cut_at_end(struct vhdx *v, uint64_t block, struct extent *ret, struct err *err)
{
	uint64_t size = bfile_size(v->file);

	if (ret->kind != EXTENT_DATA)
		return 0;
	if (ret->host_off >= size)
		return err_set(err, ERR_CORRUPT,
			       "the file ends at offset %" PRIu64 ", bytes of block %" PRIu64
			       " lie behind it, at %" PRIu64,
			       size, block, ret->host_off);
	ret->len = min_u64(ret->len, size - ret->host_off);
	ret->host_len = ret->len;
	return 0;
}

static int look_up(struct image *img, uint64_t off, uint64_t max, struct extent *ret,
		   struct err *err)
{
	struct vhdx *v = img->priv;
	uint64_t block = off / v->block_size, in = off % v->block_size, entry;

	max = min_u64(max, img->size - off);
	if (vhdx_bat_entry(v, vhdx_bat_index(v, block), &entry, err) < 0 ||
	    decode(v, block, entry, ret, err) < 0)
		return -1;
	ret->len = v->block_size - in;
	ret->host_off += ret->file ? in : 0;
	if ((entry & VHDX_STATE_MASK) == VHDX_PARTIAL) {
		bool here = false;

		if (partial_run(v, block, in, &ret->len, &here, err) < 0)
			return -1;
		if (!here) {
			ret->kind = EXTENT_UNALLOCATED;
			ret->file = NULL;
			ret->host_off = 0;
		}
	} else {
		join(v, block, entry, max, ret);
	}
	ret->len = min_u64(ret->len, max);
	return cut_at_end(v, block, ret, err);
}

int vhdx_lookup(struct image *img, uint64_t off, uint64_t max, struct extent *ret, struct err *err)
{
	const struct vhdx *v = img->priv;
	int rc;

	if (!v->writer)
		return look_up(img, off, max, ret, err);
	pthread_rwlock_rdlock(&v->writer->lock);
	rc = look_up(img, off, max, ret, err);
	pthread_rwlock_unlock(&v->writer->lock);
	return rc;
}

int vhdx_map(struct image *img, uint64_t off, uint64_t max, struct extent *ret, struct err *err)
{
	return vhdx_lookup(img, off, max, ret, err) < 0 ? -1 : blocks_see_holes(ret, err);
}
