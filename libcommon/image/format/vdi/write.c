/* Random writes to VDI: blocks are allocated at the end of the file, the map is kept in memory.
 *
 * Order on the disk, held by flush: data and the count of allocated blocks first, then the map that points to them. So
 * after a crash a block may be counted and not used, never used and not counted: a writer that allocates by the count
 * (VirtualBox, QEMU) cannot take it a second time.
 *
 * The first change gives the image a new modification UUID, by which its children see that it is no longer what they
 * were made on.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"
#include "libcommon/image/format/vdi/writer.h"

uint32_t vdi_entry_at(const struct vdi_writer *w, uint32_t block)
{
	return get_le32(w->map + 4 * (size_t)block);
}

/* Every index once and inside the file: else allocating would damage what a reader could still save */
static int find_next(struct vdi_writer *w, const struct vdi_header *h, uint64_t file_size,
		     struct err *err)
{
	uint64_t room =
		file_size > h->data_offset ? (file_size - h->data_offset) / h->block_size : 0;
	CLEANUP_FREE uint8_t *used = calloc(1, (size_t)min_u64(room, VDI_LAST) / 8 + 1);

	if (!used)
		return err_nomem(err);
	for (uint32_t i = 0; i < h->blocks; i++) {
		uint32_t e = vdi_entry_at(w, i);

		if (e > VDI_LAST)
			continue;
		if (e >= room || used[e / 8] >> e % 8 & 1) {
			err_set(err, ERR_CORRUPT,
				"block %" PRIu32 " of the disk lies at offset %" PRIu64 ", %s", i,
				vdi_host(h, e),
				e >= room ? "beyond the end of the file"
					  : "where another one lies");
			return err_hint(err, "the image can still be read; vmimg check says more");
		}
		used[e / 8] |= (uint8_t)(1 << e % 8);
		if (e >= w->next)
			w->next = e + 1;
	}
	return 0;
}

static void writer_free(struct vdi_writer *w)
{
	pthread_rwlock_destroy(&w->lock);
	free(w->map);
	free(w->dirty);
	free(w);
}

static int load(struct vdi_writer *w, struct image *img, const struct vdi_header *h,
		struct err *err)
{
	uint64_t bytes = 4ULL * h->blocks;

	if (bytes > VDI_MAP_MOST)
		return err_set(err, ERR_UNSUPPORTED, "writing to an image of %" PRIu32 " blocks",
			       h->blocks);
	w->pages = (size_t)div_up(bytes, VDI_MAP_PAGE);
	w->map = calloc(w->pages + 1, VDI_MAP_PAGE);
	w->dirty = calloc(w->pages + 1, 1);
	if (!w->map || !w->dirty)
		return err_nomem(err);
	if (bytes && bfile_pread(img->file, w->map, (size_t)bytes, h->map_offset, err) < 0)
		return -1;
	return find_next(w, h, bfile_size(img->file), err);
}

int vdi_open_writer(struct image *img, struct err *err)
{
	struct vdi *v = img->priv;
	struct vdi_writer *w;

	/* Its header may be changed, see vdi_adopt(), and nothing else */
	if (!vdi_uuid_none(v->h.parent) && img->flags & IMAGE_NO_BACKING)
		return 0;
	w = calloc(1, sizeof(*w));
	if (!w)
		return err_nomem(err);
	pthread_rwlock_init(&w->lock, NULL);
	if (load(w, img, &v->h, err) < 0) {
		writer_free(w);
		return -1;
	}
	v->writer = w;
	return 0;
}

void vdi_writer_entry(struct vdi *v, uint32_t block, uint32_t max, uint32_t *ret_entry,
		      uint32_t *ret_n)
{
	struct vdi_writer *w = v->writer;

	pthread_rwlock_rdlock(&w->lock);
	*ret_entry = vdi_entry_at(w, block);
	*ret_n = vdi_run(w->map + 4 * (size_t)block, max);
	pthread_rwlock_unlock(&w->lock);
}

/* With the lock held for writing, before anything else is written */
int vdi_begin_change(struct image *img, struct err *err)
{
	struct vdi *v = img->priv;
	uint8_t *id = v->h.modify;

	if (v->writer->changed)
		return 0;
	if (getrandom(id, 16, 0) != 16)
		return err_sys(err, "cannot get random bytes");
	id[7] = (uint8_t)((id[7] & 0x0f) | 0x40); /* version 4: its field is little endian here */
	id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
	if (bfile_pwrite(img->file, id, 16, VDI_OFF_UUID_MODIFY, err) < 0 ||
	    bfile_flush(img->file, err) < 0)
		return -1;
	v->writer->changed = true;
	return 0;
}

static int begin_change_unlocked(struct image *img, struct err *err)
{
	struct vdi_writer *w = ((struct vdi *)img->priv)->writer;
	bool failed;
	int r;

	if (!w)
		return err_set(err, ERR_USAGE,
			       "a differencing image cannot be written to without its parent");
	pthread_rwlock_rdlock(&w->lock);
	r = w->changed;
	failed = w->failed;
	pthread_rwlock_unlock(&w->lock);
	if (failed)
		return err_set(err, ERR_FAILED, "a resize failed: the image has to be opened anew");
	if (r)
		return 0;
	pthread_rwlock_wrlock(&w->lock);
	r = vdi_begin_change(img, err);
	pthread_rwlock_unlock(&w->lock);
	return r;
}

void vdi_set_entry(struct vdi_writer *w, uint32_t block, uint32_t entry)
{
	put_le32(w->map + 4 * (size_t)block, entry);
	w->dirty[4 * (size_t)block / VDI_MAP_PAGE] = 1;
	w->unsaved = true;
}

/* The block's place at @host, at the end of the file, reads as zero afterwards */
int vdi_make_place(struct image *img, uint64_t host, struct err *err)
{
	struct vdi *v = img->priv;
	uint64_t size = bfile_size(img->file), end = host + v->h.block_size;

	/* What a crash or another program left there is not ours */
	if (host < size && bfile_zero(img->file, host, min_u64(size, end) - host, true, err) < 0)
		return -1;
	return end > size ? bfile_truncate(img->file, end, err) : 0;
}

/* What the parent has around the bytes that are written */
static int copy_up(struct image *img, uint64_t start, uint64_t host, struct err *err)
{
	const struct vdi *v = img->priv;
	uint64_t size = min_u64(image_size(img->backing), img->size);
	size_t len = (size_t)(start < size ? min_u64(v->h.block_size, size - start) : 0);
	CLEANUP_FREE uint8_t *buf = malloc(len + 1);

	if (!buf)
		return err_nomem(err);
	if (len == 0)
		return 0;
	if (image_read(img->backing, buf, start, len, err) < 0)
		return -1;
	return bfile_pwrite(img->file, buf, len, host, err);
}

/* Part of a block that has no place yet, lock held for writing */
static int write_new(struct image *img, const uint8_t *buf, uint32_t block, uint32_t in, size_t n,
		     struct err *err)
{
	struct vdi *v = img->priv;
	struct vdi_writer *w = v->writer;
	uint32_t index = w->next;
	uint64_t host = vdi_host(&v->h, index);

	if (index > VDI_LAST)
		return err_set(err, ERR_UNSUPPORTED, "the image has no more places for blocks");
	if (vdi_begin_change(img, err) < 0 || vdi_make_place(img, host, err) < 0)
		return -1;
	if (img->backing && vdi_entry_at(w, block) == VDI_NONE && n < v->h.block_size &&
	    copy_up(img, (uint64_t)block * v->h.block_size, host, err) < 0)
		return -1;
	if (bfile_pwrite(img->file, buf, n, host + in, err) < 0)
		return -1;
	w->next = index + 1;
	vdi_set_entry(w, block, index);
	return 0;
}

int vdi_write(struct image *img, const void *buf, uint64_t off, size_t len, struct err *err)
{
	struct vdi *v = img->priv;
	struct vdi_writer *w = v->writer;
	const uint8_t *p = buf;

	if (begin_change_unlocked(img, err) < 0)
		return -1;
	while (len) {
		uint32_t bs = v->h.block_size, block = (uint32_t)(off / bs),
			 in = (uint32_t)(off % bs), n_blocks, entry;
		size_t n = (size_t)min_u64(len, bs - in);
		int r = 0;

		vdi_writer_entry(v, block,
				 (uint32_t)min_u64(div_up(in + len, bs), v->h.blocks - block),
				 &entry, &n_blocks);
		if (entry > VDI_LAST) {
			pthread_rwlock_wrlock(&w->lock);
			/* Another thread may have been faster */
			entry = vdi_entry_at(w, block);
			n_blocks = 1;
			if (entry > VDI_LAST)
				r = write_new(img, p, block, in, n, err);
			pthread_rwlock_unlock(&w->lock);
		}
		if (entry <= VDI_LAST) {
			n = (size_t)min_u64(len, (uint64_t)n_blocks * bs - in);
			r = bfile_pwrite(img->file, p, n, vdi_host(&v->h, entry) + in, err);
		}
		if (r < 0)
			return -1;
		p += n;
		off += n;
		len -= n;
	}
	return 0;
}

/* [off, off + n) inside a block without a place becomes zero where the parent may have data */
static int zero_absent(struct image *img, uint32_t block, uint32_t in, size_t n, struct err *err)
{
	static const uint8_t zeros[64 << 10];
	struct vdi *v = img->priv;
	struct vdi_writer *w = v->writer;
	uint64_t start = (uint64_t)block * v->h.block_size, off = start + in;
	bool whole = in == 0 && start + n >= min_u64(start + v->h.block_size, img->size);
	int r = 0;

	if (whole) {
		pthread_rwlock_wrlock(&w->lock);
		if (vdi_entry_at(w, block) == VDI_NONE)
			vdi_set_entry(w, block, VDI_ZERO);
		else if (vdi_entry_at(w, block) <= VDI_LAST)
			whole = false;
		pthread_rwlock_unlock(&w->lock);
	}
	while (!whole && n && r == 0) {
		size_t part = (size_t)min_u64(n, sizeof(zeros));

		r = vdi_write(img, zeros, off, part, err);
		off += part;
		n -= part;
	}
	return r;
}

int vdi_write_zeroes(struct image *img, uint64_t off, uint64_t len, bool may_unmap, struct err *err)
{
	struct vdi *v = img->priv;

	if (begin_change_unlocked(img, err) < 0)
		return -1;
	while (len) {
		uint32_t bs = v->h.block_size, block = (uint32_t)(off / bs),
			 in = (uint32_t)(off % bs), n_blocks, entry;
		uint64_t n;
		int r = 0;

		vdi_writer_entry(v, block,
				 (uint32_t)min_u64(div_up(in + len, bs), v->h.blocks - block),
				 &entry, &n_blocks);
		n = min_u64(len, (uint64_t)n_blocks * bs - in);
		if (entry <= VDI_LAST) {
			r = bfile_zero(img->file, vdi_host(&v->h, entry) + in, n, may_unmap, err);
		} else if (entry == VDI_NONE && img->backing) {
			n = min_u64(n, bs - in);
			r = zero_absent(img, block, in, (size_t)n, err);
		}
		if (r < 0)
			return -1;
		off += n;
		len -= n;
	}
	return 0;
}

int vdi_discard(struct image *img, uint64_t off, uint64_t len, struct err *err)
{
	struct vdi *v = img->priv;

	if (begin_change_unlocked(img, err) < 0)
		return -1;
	while (len) {
		uint32_t bs = v->h.block_size, block = (uint32_t)(off / bs),
			 in = (uint32_t)(off % bs), n_blocks, entry;
		uint64_t n;

		vdi_writer_entry(v, block,
				 (uint32_t)min_u64(div_up(in + len, bs), v->h.blocks - block),
				 &entry, &n_blocks);
		n = min_u64(len, (uint64_t)n_blocks * bs - in);
		if (entry <= VDI_LAST &&
		    bfile_discard(img->file, vdi_host(&v->h, entry) + in, n, err) < 0)
			return -1;
		off += n;
		len -= n;
	}
	return 0;
}

/* Lock held for writing */
int vdi_save_map(struct image *img, struct err *err)
{
	struct vdi *v = img->priv;
	struct vdi_writer *w = v->writer;
	uint64_t bytes = 4ULL * v->h.blocks;
	uint8_t count[4];

	put_le32(count, w->next);
	if (bfile_pwrite(img->file, count, 4, VDI_OFF_ALLOCATED, err) < 0 ||
	    bfile_flush(img->file, err) < 0)
		return -1;
	v->h.allocated = w->next;
	for (size_t i = 0; i < w->pages; i++) {
		uint64_t at = (uint64_t)i * VDI_MAP_PAGE;

		if (!w->dirty[i])
			continue;
		if (bfile_pwrite(img->file, w->map + at, (size_t)min_u64(VDI_MAP_PAGE, bytes - at),
				 v->h.map_offset + at, err) < 0)
			return -1;
		w->dirty[i] = 0;
	}
	w->unsaved = false;
	return 0;
}

int vdi_flush(struct image *img, struct err *err)
{
	struct vdi_writer *w = ((struct vdi *)img->priv)->writer;
	int r = 0;

	if (!w)
		return bfile_flush(img->file, err);
	pthread_rwlock_wrlock(&w->lock);
	if (w->unsaved)
		r = vdi_save_map(img, err);
	pthread_rwlock_unlock(&w->lock);
	return r < 0 ? -1 : bfile_flush(img->file, err);
}

void vdi_close_writer(struct image *img)
{
	struct vdi *v = img->priv;
	struct err err = ERR_INIT;

	if (!v->writer)
		return;
	/* No promise, only less to lose for a caller that did not flush */
	if (v->writer->unsaved && vdi_save_map(img, &err) < 0)
		log_warning("%s: %s", img->name, err.message);
	writer_free(v->writer);
	v->writer = NULL;
}
