/* raw: the bytes of the disk are the bytes of the file or device. Holes are zeros.
 *
 * The file's size is the disk's, whatever it is a multiple of. New images keep holes; on a device that is not known
 * to be zero all that is not written is zeroed.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/iszero.h"
#include "libcommon/image/format.h"

/* SEEK_DATA and SEEK_HOLE are asked once for a range: readers come back for each piece of it. */
enum { MEMO = 16 };

struct raw {
	pthread_mutex_t lock; /* guards all below */
	uint64_t
		generation; /* of the content: what was learned before a write does not count after it */
	unsigned next;
	struct {
		uint64_t start, end; /* empty: start == end */
		bool data;
	} memo[MEMO];
	bool no_memo; /* another process may write */
};

static int raw_open(struct image *img, const struct image_open_opts *opts, struct err *err)
{
	if (opts && opts->snapshot)
		return err_set(err, ERR_UNSUPPORTED, "raw images have no snapshots");

	struct raw *r = calloc(1, sizeof(*r));

	if (!r)
		return err_nomem(err);
	pthread_mutex_init(&r->lock, NULL);
	r->no_memo = img->flags & IMAGE_SHARED;
	img->priv = r;
	img->size = bfile_size(img->file);
	return 0;
}

static void raw_close(struct image *img)
{
	struct raw *r = img->priv;

	pthread_mutex_destroy(&r->lock);
	free(r);
	img->priv = NULL;
}

static bool remembered(struct raw *r, uint64_t off, bool *ret_data, uint64_t *ret_end,
		       uint64_t *ret_generation)
{
	bool found = false;

	pthread_mutex_lock(&r->lock);
	*ret_generation = r->generation;
	for (unsigned i = 0; i < MEMO && !found; i++) {
		found = off >= r->memo[i].start && off < r->memo[i].end;
		if (found) {
			*ret_data = r->memo[i].data;
			*ret_end = r->memo[i].end;
		}
	}
	pthread_mutex_unlock(&r->lock);
	return found;
}

static void remember(struct raw *r, uint64_t off, uint64_t end, bool data, uint64_t generation)
{
	pthread_mutex_lock(&r->lock);
	if (generation == r->generation && !r->no_memo) {
		r->memo[r->next].start = off;
		r->memo[r->next].end = end;
		r->memo[r->next].data = data;
		r->next = (r->next + 1) % MEMO;
	}
	pthread_mutex_unlock(&r->lock);
}

static void forget(struct raw *r)
{
	pthread_mutex_lock(&r->lock);
	r->generation++;
	memset(r->memo, 0, sizeof(r->memo));
	pthread_mutex_unlock(&r->lock);
}

static int raw_map(struct image *img, uint64_t off, uint64_t max, struct extent *ret,
		   struct err *err)
{
	struct raw *r = img->priv;
	uint64_t len, end, generation;
	bool data;

	if (!remembered(r, off, &data, &end, &generation)) {
		/* To the end of the disk, not of the question: the rest will be asked for next. */
		if (bfile_map(img->file, off, img->size - off, &data, &len, err) < 0)
			return -1;
		end = off + len;
		remember(r, off, end, data, generation);
	}
	ret->off = off;
	ret->len = min_u64(max, end - off);
	ret->kind = data ? EXTENT_DATA : EXTENT_ZERO;
	ret->codec = CODEC_NONE;
	ret->file = data ? img->file : NULL;
	ret->host_off = data ? off : 0;
	ret->host_len = data ? ret->len : 0;
	return 0;
}

static int raw_write(struct image *img, const void *buf, uint64_t off, size_t len, struct err *err)
{
	int r = bfile_pwrite(img->file, buf, len, off, err);

	forget(img->priv);
	return r;
}

static int raw_write_zeroes(struct image *img, uint64_t off, uint64_t len, bool may_unmap,
			    struct err *err)
{
	int r = bfile_zero(img->file, off, len, may_unmap, err);

	forget(img->priv);
	return r;
}

static int raw_discard(struct image *img, uint64_t off, uint64_t len, struct err *err)
{
	int r = bfile_discard(img->file, off, len, err);

	forget(img->priv);
	return r;
}

static int raw_resize(struct image *img, uint64_t size, struct err *err)
{
	if (img->file->is_blockdev && size != img->size)
		return err_set(err, ERR_UNSUPPORTED, "a block device cannot be resized");
	if (bfile_truncate(img->file, size, err) < 0)
		return -1;
	img->size = size;
	forget(img->priv);
	return 0;
}

/* ---- new images */

enum preallocation { PREALLOC_OFF, PREALLOC_FALLOC, PREALLOC_FULL };

struct raw_bulk {
	uint64_t pos;	 /* placed or zeroed so far */
	bool fill;	 /* what is not written must be zeroed */
	bool keep_zeros; /* zero blocks are written, not left out */
	bool unmap;
};

enum { RAW_BLOCK = 4096 }; /* holes of whole blocks of the common file systems */

static int raw_bulk_begin(struct bulk *b, struct err *err)
{
	const struct bulk_params *p = b->params;
	const char *text = bulk_option(p, "preallocation");
	enum preallocation prealloc = PREALLOC_OFF;
	struct raw_bulk *r;

	if (text && strcmp(text, "falloc") == 0)
		prealloc = PREALLOC_FALLOC;
	else if (text && strcmp(text, "full") == 0)
		prealloc = PREALLOC_FULL;
	if (p->compress)
		return err_set(err, ERR_UNSUPPORTED, "raw images cannot be compressed");
	if (p->backing_name)
		return err_set(err, ERR_UNSUPPORTED, "raw images have no backing file");
	if (b->file->is_blockdev && p->size > bfile_size(b->file))
		return err_set(err, ERR_NO_SPACE,
			       "the device has %" PRIu64 " bytes, the disk %" PRIu64,
			       bfile_size(b->file), p->size);
	if (!b->file->is_blockdev && bfile_truncate(b->file, p->size, err) < 0)
		return -1;
	if (prealloc == PREALLOC_FALLOC && !b->file->is_blockdev && p->size &&
	    fallocate(b->file->fd, 0, 0, (off_t)p->size) < 0) {
		err_sys(err, "cannot allocate %" PRIu64 " bytes", p->size);
		return errno == EOPNOTSUPP ? err_hint(err, "try -o preallocation=full") : -1;
	}
	r = calloc(1, sizeof(*r));
	if (!r)
		return err_nomem(err);
	r->fill = !p->target_is_zero || prealloc == PREALLOC_FULL;
	r->keep_zeros = r->fill;
	r->unmap = prealloc == PREALLOC_OFF;
	b->granule = RAW_BLOCK;
	b->priv = r;
	return 0;
}

static int raw_fill(struct bulk *b, uint64_t end, struct err *err)
{
	struct raw_bulk *r = b->priv;
	static const uint8_t zeros[256 << 10];
	int ret = 0;

	if (end <= r->pos)
		return 0;
	if (r->fill && r->unmap)
		ret = bfile_zero(b->file, r->pos, end - r->pos, true, err);
	else if (r->fill) /* full: real blocks, not the promise of some */
		for (uint64_t at = r->pos; at < end && ret == 0; at += sizeof(zeros))
			ret = bfile_pwrite(b->file, zeros, (size_t)min_u64(end - at, sizeof(zeros)),
					   at, err);
	r->pos = end;
	return ret;
}

static int raw_place(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	struct raw_bulk *r = b->priv;

	if (raw_fill(b, u->off, err) < 0)
		return -1;
	r->pos = max_u64(r->pos, u->off + u->len);
	return 0;
}

static int raw_place_zero(struct bulk *b, uint64_t off, uint64_t len, struct err *err)
{
	return raw_fill(b, off + len, err);
}

static int raw_store(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	struct raw_bulk *r = b->priv;
	size_t at = 0;

	if (u->src)
		return bulk_copy_range(b, u->src, u->src_off, u->off, u->len, err);
	if (r->keep_zeros)
		return bfile_pwrite(b->file, u->data, u->len, u->off, err);
	while (at < u->len) {
		size_t end = at, n;

		while (end < u->len &&
		       !is_zero(u->data + end, n = (size_t)min_u64(u->len - end, RAW_BLOCK)))
			end += n;
		if (end > at && bfile_pwrite(b->file, u->data + at, end - at, u->off + at, err) < 0)
			return -1;
		at = end + RAW_BLOCK;
	}
	return 0;
}

static int raw_bulk_finish(struct bulk *b, struct err *err)
{
	return raw_fill(b, b->params->size, err);
}

static void raw_bulk_abort(struct bulk *b)
{
	free(b->priv);
	b->priv = NULL;
}

/* As QEMU counts: holes are part of a raw file's size. */
static int raw_measure(const struct bulk_params *p, uint64_t data_granules, uint32_t granule,
		       uint64_t *ret_required, uint64_t *ret_fully_allocated, struct err *err)
{
	(void)data_granules, (void)granule, (void)err;
	*ret_required = *ret_fully_allocated = p->size;
	return 0;
}

static const struct bulk_ops raw_bulk_ops = {
	.begin = raw_bulk_begin,
	.place = raw_place,
	.store = raw_store,
	.place_zero = raw_place_zero,
	.finish = raw_bulk_finish,
	.abort = raw_bulk_abort,
	.can_copy = true,
	.can_resume = true,
	.measure = raw_measure,
};

static const struct image_option raw_options[] = {
	{"preallocation", OPTION_CHOICE,
	 "off, falloc (allocate), full (allocate and write zeros) (off)", "off|falloc|full"},
	{0},
};

static const char *const suffixes[] = {"raw", "img", "dd", NULL};

extern const struct image_format image_format_raw;
const struct image_format image_format_raw = {
	.name = "raw",
	.suffixes = suffixes,
	.description = "the bytes of the disk, as a file or block device",
	.open = raw_open,
	.close = raw_close,
	.map = raw_map,
	.write = raw_write,
	.write_zeroes = raw_write_zeroes,
	.discard = raw_discard,
	.resize = raw_resize,
	.bulk = &raw_bulk_ops,
	.create_options = raw_options,
};
