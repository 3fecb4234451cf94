/* qcow2 as a struct image_format: probing, opening, closing. */
#include "libcommon/image/format/qcow2/qcow2.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/log.h"
#include "libcommon/image/cache.h"
#include "libcommon/image/luks.h"

/* A sequential reader profits from long slices, a random one from many: 16 KiB map 128 MiB of 64 KiB clusters,
 * and all slots together 4 MiB map 32 GiB of them. */
#define L2_SLICE 16384U
#define L2_CACHE (4U << 20)
#define L1_SLICE 4096U
#define L1_SLOTS 32U

static int qcow2_probe(const uint8_t *head, size_t head_len, const uint8_t *tail, size_t tail_len,
		       uint64_t size)
{
	(void)tail, (void)tail_len, (void)size;
	if (head_len < 8 || get_be32(head) != QCOW2_MAGIC)
		return 0;
	/* Other versions are claimed too, to be refused by name rather than read as raw */
	return get_be32(head + 4) == 2 || get_be32(head + 4) == 3 ? 100 : 30;
}

static int open_caches(struct image *img, struct qcow2 *q, struct err *err)
{
	size_t slice = (size_t)min_u64(q->cluster_size, L2_SLICE);

	if (table_cache_new(&q->l1_cache, img->file, (size_t)min_u64(q->cluster_size, L1_SLICE),
			    L1_SLOTS, err))
		return -1;
	return table_cache_new(&q->l2_cache, img->file, slice, (unsigned)(L2_CACHE / slice), err);
}

static int open_data_file(struct image *img, struct qcow2 *q, const struct image_open_opts *opts,
			  struct err *err)
{
	if (!q->h.data_file)
		return err_set(err, ERR_UNSUPPORTED,
			       "guest data are in another file, but the header does not name it");
	if (image_open_named(img, opts, q->h.data_file, img->flags & IMAGE_RDWR, &q->data_file,
			     err))
		return err_prefix(err, "data file %s", q->h.data_file);
	return 0;
}

/* A guest must not go on with metadata that may be wrong. As QEMU: dirty is mended on the way in */
static int make_writable(struct image *img, struct qcow2 *q, struct err *err)
{
	struct image_check_result res;

	if (q->h.incompatible & QCOW2_INCOMPAT_CORRUPT) {
		err_set(err, ERR_CORRUPT,
			"the image is marked corrupt and can only be opened for reading");
		return err_hint(err, "vmimg check --repair mends what can be mended");
	}
	if (q->h.incompatible & QCOW2_INCOMPAT_DIRTY) {
		if (qcow2_check(img, CHECK_REPAIR_LEAKS | CHECK_REPAIR_ALL, NULL, NULL, &res, err))
			return err_prefix(err, "the image was not closed, repairing it");
		if (res.corruptions)
			return err_set(err, ERR_CORRUPT,
				       "the image was not closed and cannot be repaired");
	}
	return qcow2_open_writer(img, err);
}

static int open_contents(struct image *img, struct qcow2 *q, const struct image_open_opts *opts,
			 struct err *err)
{
	bool info = img->flags & IMAGE_INFO, check = img->flags & IMAGE_CHECK;

	if (open_caches(img, q, err))
		return -1;
	if (opts && opts->snapshot) {
		if (img->flags & IMAGE_RDWR)
			return err_set(err, ERR_USAGE, "an internal snapshot can only be read");
		if (qcow2_snapshot_select(img, opts->snapshot, err))
			return -1;
	}
	if (info)
		return 0;
	if (q->h.crypt_method != QCOW2_CRYPT_NONE && !check && qcow2_unlock(img, err))
		return -1;
	/* The check of refcounts never looks into the data file */
	if ((q->h.incompatible & QCOW2_INCOMPAT_DATA_FILE) && !check &&
	    open_data_file(img, q, opts, err))
		return -1;
	if (check)
		return 0;
	if (img->flags & IMAGE_RDWR)
		return make_writable(img, q, err);
	if (q->h.incompatible & QCOW2_INCOMPAT_CORRUPT)
		log_warning("%s: marked corrupt, parts of it may be wrong", img->name);
	return 0;
}

static void qcow2_close(struct image *img)
{
	struct qcow2 *q = img->priv;

	if (!q)
		return;
	if (q->writer)
		qcow2_close_writer(img);
	table_cache_free(q->l1_cache);
	table_cache_free(q->l2_cache);
	bfile_close(q->data_file);
	luks_close(q->luks);
	qcow2_header_release(&q->h);
	free(q);
	img->priv = NULL;
}

static int copy_names(struct image *img, const struct qcow2_header *h, struct err *err)
{
	if (!h->backing_name)
		return 0;
	img->backing_name = strdup(h->backing_name);
	img->backing_format = h->backing_format ? strdup(h->backing_format) : NULL;
	return img->backing_name && (img->backing_format || !h->backing_format) ? 0
										: err_nomem(err);
}

static int qcow2_open(struct image *img, const struct image_open_opts *opts, struct err *err)
{
	struct qcow2 *q = calloc(1, sizeof(*q));

	if (!q)
		return err_nomem(err);
	if (qcow2_header_read(img->file, &q->h, img->flags & IMAGE_CHECK, err)) {
		free(q);
		return -1;
	}
	img->priv = q;
	q->cluster_size = 1U << q->h.cluster_bits;
	q->extended_l2 = q->h.incompatible & QCOW2_INCOMPAT_EXTL2;
	q->l2_entry_size = q->extended_l2 ? 16 : 8;
	q->l2_bits = q->h.cluster_bits - (q->extended_l2 ? 4 : 3);
	q->l1_offset = q->h.l1_offset;
	q->l1_entries = q->h.l1_entries;
	img->size = q->h.size;
	img->cluster_size = q->cluster_size;
	if (copy_names(img, &q->h, err) || open_contents(img, q, opts, err)) {
		qcow2_close(img);
		free(img->backing_name);
		free(img->backing_format);
		img->backing_name = img->backing_format = NULL;
		return -1;
	}
	return 0;
}

static const char *const suffixes[] = {"qcow2", "qcow", "qc2", NULL};

const struct image_format image_format_qcow2 = {
	.name = "qcow2",
	.suffixes = suffixes,
	.description = "QEMU copy on write, versions 2 and 3",
	.can_name_files = true,
	.probe = qcow2_probe,
	.open = qcow2_open,
	.close = qcow2_close,
	.map = qcow2_map,
	.read_encoded = qcow2_read_encoded,
	.write = qcow2_write,
	.write_zeroes = qcow2_write_zeroes,
	.discard = qcow2_discard,
	.flush = qcow2_flush,
	.settle = qcow2_settle,
	.resize = qcow2_resize,
	.forget = qcow2_forget,
	.set_backing = qcow2_set_backing,
	.info = qcow2_info,
	.dirty_bitmap = qcow2_dirty_bitmap,
	.check = qcow2_check,
	.snapshots = &qcow2_snapshot_ops,
	.bulk = &qcow2_bulk_ops,
	.create_options = qcow2_options,
};
