/* Changes of tables: in memory first, then through the log. See writer.h, and [MS-VHDX] 2.3 for entries. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/cache.h"
#include "libcommon/image/format/vhdx/writer.h"

enum { SECTOR = VHDX_LOG_SECTOR };

static int random_guid(struct vhdx_guid *ret, struct err *err)
{
	if (getrandom(ret->b, sizeof(ret->b), 0) != sizeof(ret->b))
		return err_sys(err, "no random bytes for a GUID");
	ret->b[7] = (ret->b[7] & 0x0f) | 0x40; /* version 4, variant 1 */
	ret->b[8] = (ret->b[8] & 0x3f) | 0x80;
	return 0;
}

/* ---- the file with what is pending */

static int over_pread(struct bfile *f, void *buf, size_t len, uint64_t off, struct err *err)
{
	const struct vhdx *v = f->priv;
	const struct vhdx_writer *w = v->writer;

	if (bfile_pread(v->data, buf, len, off, err) < 0)
		return -1;
	for (unsigned i = 0; i < w->n; i++) {
		const struct vhdx_sector *s = &w->pending[i];
		uint64_t from = max_u64(off, s->off), to = min_u64(off + len, s->off + SECTOR);

		if (from < to)
			memcpy((uint8_t *)buf + (from - off), s->bytes + (from - s->off),
			       (size_t)(to - from));
	}
	return 0;
}

static void over_close(struct bfile *f)
{
	(void)f; /* a part of the writer */
}

static const struct bfile_ops over_ops = {
	.name = "vhdx-pending",
	.pread = over_pread,
	.close = over_close,
};

int vhdx_open_writer(struct image *img, struct err *err)
{
	struct vhdx *v = img->priv;
	struct vhdx_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return err_nomem(err);
	pthread_mutex_init(&w->slow, NULL);
	pthread_rwlock_init(&w->lock, NULL);
	w->over = (struct bfile){.ops = &over_ops,
				 .name = img->file->name,
				 .fd = -1,
				 .size = bfile_size(img->file),
				 .priv = v};
	v->writer = w;
	v->file = &w->over;
	return 0;
}

void vhdx_close_writer(struct image *img)
{
	struct vhdx *v = img->priv;
	struct vhdx_writer *w = v->writer;

	if (!w)
		return;
	/* Nobody can be told of an error here: who cares settled before */
	if (w->ready && !w->failed && vhdx_commit(img, NULL) == 0)
		(void)vhdx_release_log(img, NULL);
	for (unsigned i = 0; i < w->n; i++)
		free(w->pending[i].bytes);
	pthread_rwlock_destroy(&w->lock);
	pthread_mutex_destroy(&w->slow);
	free(w);
	v->writer = NULL;
	v->file = img->file;
}

/* ---- changes */

/* The sector at @off, to be changed under the write lock */
static int pending(struct vhdx *v, uint64_t off, struct vhdx_sector **ret, struct err *err)
{
	struct vhdx_writer *w = v->writer;
	CLEANUP_FREE uint8_t *bytes = NULL;

	for (unsigned i = 0; i < w->n; i++)
		if (w->pending[i].off == off) {
			*ret = &w->pending[i];
			return 0;
		}
	if (w->n == VHDX_PENDING_MOST)
		return err_set(err, ERR_FAILED, "too many changes for one log entry");
	bytes = malloc(SECTOR);
	if (!bytes)
		return err_nomem(err);
	if (bfile_pread(v->data, bytes, SECTOR, off, err) < 0)
		return -1;
	pthread_rwlock_wrlock(&w->lock);
	w->pending[w->n] = (struct vhdx_sector){.off = off, .bytes = steal_ptr(&bytes)};
	*ret = &w->pending[w->n++];
	pthread_rwlock_unlock(&w->lock);
	return 0;
}

int vhdx_patch(struct image *img, struct table_cache *cache, uint64_t off, const void *bytes,
	       size_t len, struct err *err)
{
	struct vhdx *v = img->priv;
	struct vhdx_writer *w = v->writer;
	const uint8_t *p = bytes;

	while (len) {
		uint64_t in = off % SECTOR;
		size_t n = (size_t)min_u64(len, SECTOR - in);
		struct vhdx_sector *s = NULL;

		if (pending(v, off - in, &s, err) < 0)
			return -1;
		pthread_rwlock_wrlock(&w->lock);
		memcpy(s->bytes + in, p, n);
		if (cache)
			table_cache_update(cache, off, p, n);
		pthread_rwlock_unlock(&w->lock);
		p += n;
		off += n;
		len -= n;
	}
	return 0;
}

int vhdx_reserve(struct image *img, struct err *err)
{
	const struct vhdx *v = img->priv;

	return v->writer->n + VHDX_STEP_MOST > VHDX_PENDING_MOST ? vhdx_commit(img, err) : 0;
}

int vhdx_make_place(struct image *img, uint64_t len, uint64_t *ret, struct err *err)
{
	struct vhdx *v = img->priv;
	struct vhdx_writer *w = v->writer;
	uint64_t at = w->end, size = bfile_size(img->file), here = 0;

	if (len > VHDX_OFFSET - at)
		return err_set(err, ERR_UNSUPPORTED, "the file would be too large");
	if (at < size) /* of a block that is gone, or of another program's */
		here = min_u64(len, size - at);
	if (here && bfile_zero(img->file, at, here, !v->fixed, err) < 0)
		return -1;
	if (at + len > size) {
		if (img->file->is_blockdev)
			return err_set(err, ERR_NO_SPACE, "the device has no room for more blocks");
		if (bfile_truncate(img->file, at + len, err) < 0)
			return -1;
	}
	__atomic_store_n(&w->over.size, bfile_size(img->file), __ATOMIC_RELAXED);
	w->end += len;
	*ret = at;
	return 0;
}

/* Marks the MiB of [off, off + len); Return: 0, or -1 when one is somebody's */
static int occupy(uint8_t *map, uint64_t off, uint64_t len)
{
	for (uint64_t i = off / VHDX_MIB; i < div_up(off + len, VHDX_MIB); i++) {
		if (map[i / 8] >> i % 8 & 1)
			return -1;
		map[i / 8] |= (uint8_t)(1 << i % 8);
	}
	return 0;
}

struct places {
	struct vhdx *v;
	uint8_t *map; /* a bit a MiB of the file */
	uint64_t size;
};

static int occupy_block(void *ctx, uint64_t index, uint64_t entry, struct err *err)
{
	const struct places *p = ctx;
	struct vhdx_writer *w = p->v->writer;
	uint64_t off = entry & VHDX_OFFSET;
	uint64_t len = vhdx_is_bitmap(p->v, index) ? VHDX_MIB : p->v->block_size;
	unsigned state = entry & VHDX_STATE_MASK;
	bool inside = range_inside(off, len, p->size);

	if (state != VHDX_FULL && state != VHDX_PARTIAL)
		return 0;
	/* Beyond the end new blocks would come to lie in its place */
	if (!inside || occupy(p->map, off, len) < 0)
		return err_set(err, ERR_CORRUPT,
			       "entry %" PRIu64
			       " of the block allocation table names offset %" PRIu64 ", %s",
			       index, off,
			       inside ? "where something else lies"
				      : "which is not all inside the file");
	w->end = max_u64(w->end, off + len);
	return 0;
}

int vhdx_find_end(struct image *img, struct err *err)
{
	struct vhdx *v = img->priv;
	struct vhdx_writer *w = v->writer;
	uint64_t size = bfile_size(img->file);
	const struct vhdx_region tables[] = {
		{0, VHDX_MIB},
		{v->header.log_offset, v->header.log_length},
		v->metadata,
		v->bat_region,
	};
	CLEANUP_FREE uint8_t *map = calloc(size / VHDX_MIB / 8 + 1, 1);

	if (!map)
		return err_nomem(err);
	w->end = round_up(min_u64(v->regions_end, size), VHDX_MIB);
	for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
		if (!range_inside(tables[i].offset, tables[i].length, size) ||
		    occupy(map, tables[i].offset, tables[i].length) < 0)
			return err_set(err, ERR_CORRUPT,
				       "tables lie over each other at offset %" PRIu64,
				       tables[i].offset);
		w->end = max_u64(w->end, tables[i].offset + tables[i].length);
	}
	return vhdx_each_entry(v, occupy_block, &(struct places){v, map, size}, err);
}

static int new_guids(struct image *img, bool data, struct err *err)
{
	struct vhdx *v = img->priv;

	if (random_guid(&v->header.file_write, err) == 0 &&
	    (!data || random_guid(&v->header.data_write, err) == 0) &&
	    vhdx_header_update(img->file, v, err) == 0)
		return 0;
	v->writer->failed = true;
	return -1;
}

static int prepare(struct image *img, struct err *err)
{
	const struct vhdx *v = img->priv;
	struct vhdx_writer *w = v->writer;
	uint64_t size = bfile_size(img->file), whole = round_up(size, VHDX_MIB);

	if (w->failed)
		return err_set(err, ERR_FAILED, "an earlier write failed: open the image again");
	if (w->ready)
		return 0;
	if (v->header.log_length < VHDX_MIB || v->header.log_offset % VHDX_MIB ||
	    v->header.log_length % VHDX_MIB ||
	    !range_inside(v->header.log_offset, v->header.log_length, size))
		return err_set(err, ERR_CORRUPT,
			       "there is no room for a log, which changes have to go through");
	if (vhdx_find_end(img, err) < 0)
		return -1;
	/* Entries of the log name the file's size in whole MiB */
	if (size != whole && !img->file->is_blockdev && bfile_truncate(img->file, whole, err) < 0)
		return -1;
	__atomic_store_n(&w->over.size, bfile_size(img->file), __ATOMIC_RELAXED);
	return 0;
}

int vhdx_begin_tables(struct image *img, struct err *err)
{
	struct vhdx_writer *w = ((struct vhdx *)img->priv)->writer;

	if (prepare(img, err) < 0 || (!w->ready && new_guids(img, false, err) < 0))
		return -1;
	w->ready = true;
	return 0;
}

int vhdx_begin_change(struct image *img, struct err *err)
{
	struct vhdx_writer *w = ((struct vhdx *)img->priv)->writer;

	if (prepare(img, err) < 0 || (!w->begun && new_guids(img, true, err) < 0))
		return -1;
	w->ready = true;
	__atomic_store_n(&w->begun, true, __ATOMIC_RELEASE);
	return 0;
}

/* ---- the log */

static void put_sector(const struct vhdx_writer *w, const struct vhdx_sector *s, uint8_t *desc,
		       uint8_t *data)
{
	memcpy(desc, "desc", 4);
	memcpy(desc + 4, s->bytes + SECTOR - 4, 4);
	memcpy(desc + 8, s->bytes, 8);
	put_le64(desc + 16, s->off);
	put_le64(desc + 24, w->log_sequence);
	memcpy(data, s->bytes, SECTOR);
	memcpy(data, "data", 4);
	put_le32(data + 4, (uint32_t)(w->log_sequence >> 32));
	put_le32(data + SECTOR - 4, (uint32_t)w->log_sequence);
}

/* All that is pending as one entry, whose tail is its own begin: what came before is in its place already */
static uint8_t *make_entry(struct image *img, const struct vhdx_guid *guid, size_t *ret_len)
{
	struct vhdx *v = img->priv;
	struct vhdx_writer *w = v->writer;
	uint64_t size = round_down(bfile_size(img->file), VHDX_MIB);
	uint8_t *p = calloc(1 + (size_t)w->n, SECTOR);

	*ret_len = (1 + (size_t)w->n) * SECTOR;
	if (!p)
		return NULL;
	memcpy(p, "loge", 4);
	put_le32(p + 8, (uint32_t)*ret_len);
	put_le32(p + 12, w->log_pos);
	put_le64(p + 16, w->log_sequence);
	put_le32(p + 24, w->n);
	memcpy(p + 32, guid->b, 16);
	put_le64(p + 48, size);
	put_le64(p + 56, size);
	for (unsigned i = 0; i < w->n; i++)
		put_sector(w, &w->pending[i], p + VHDX_LOG_HEADER + (size_t)VHDX_LOG_DESCRIPTOR * i,
			   p + (1 + (size_t)i) * SECTOR);
	put_le32(p + VHDX_CHECKSUM_AT, vhdx_crc(0, p, *ret_len, VHDX_CHECKSUM_AT));
	return p;
}

/* Entries take the two halves of the log by turns, none right behind another: QEMU takes an entry that follows the first of
 * a run for its next one, whatever its number is, and what a ring holds from its last turn is there. The last entry is
 * whole while one is written. */
static int write_entry(struct image *img, const struct vhdx_guid *guid, struct err *err)
{
	struct vhdx *v = img->priv;
	struct vhdx_writer *w = v->writer;
	size_t len;
	CLEANUP_FREE uint8_t *p = make_entry(img, guid, &len);

	if (!p)
		return err_nomem(err);
	if (bfile_pwrite(img->file, p, len, v->header.log_offset + w->log_pos, err) < 0 ||
	    bfile_flush(img->file, err) < 0)
		return -1;
	w->log_pos = w->log_pos ? 0 : v->header.log_length / 2;
	w->log_sequence++;
	return 0;
}

/* The entry is there before the header names a log, so that a named log always has a valid entry. */
static int log_pending(struct image *img, struct err *err)
{
	struct vhdx *v = img->priv;
	struct vhdx_guid guid = v->header.log;

	if (!vhdx_guid_zero(&guid))
		return write_entry(img, &guid, err);
	v->writer->log_pos = 0;
	v->writer->log_sequence = 1;
	if (random_guid(&guid, err) < 0 || write_entry(img, &guid, err) < 0)
		return -1;
	v->header.log = guid;
	return vhdx_header_update(img->file, v, err);
}

static int commit(struct image *img, struct err *err)
{
	struct vhdx *v = img->priv;
	struct vhdx_writer *w = v->writer;

	if (bfile_flush(img->file, err) < 0)
		return -1;
	if (!w->n)
		return 0;
	if (log_pending(img, err) < 0)
		return -1;
	for (unsigned i = 0; i < w->n; i++)
		if (bfile_pwrite(img->file, w->pending[i].bytes, SECTOR, w->pending[i].off, err) <
		    0)
			return -1;
	if (bfile_flush(img->file, err) < 0)
		return -1;
	pthread_rwlock_wrlock(&w->lock);
	for (unsigned i = 0; i < w->n; i++)
		free(w->pending[i].bytes);
	w->n = 0;
	pthread_rwlock_unlock(&w->lock);
	return 0;
}

int vhdx_commit(struct image *img, struct err *err)
{
	struct vhdx *v = img->priv;

	if (v->writer->failed)
		return err_set(err, ERR_FAILED, "an earlier write failed: open the image again");
	if (commit(img, err) == 0)
		return 0;
	v->writer->failed = true;
	return -1;
}

int vhdx_release_log(struct image *img, struct err *err)
{
	struct vhdx *v = img->priv;

	if (vhdx_guid_zero(&v->header.log))
		return 0;
	memset(&v->header.log, 0, sizeof(v->header.log));
	if (vhdx_header_update(img->file, v, err) == 0)
		return 0;
	v->writer->failed = true;
	return -1;
}
