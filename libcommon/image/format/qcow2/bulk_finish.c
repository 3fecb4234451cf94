/* The metadata of a bulk writing: L2 tables as they get complete; L1, refcounts and the header at the end. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/qcow2/bulk_writer.h"
#include "libcommon/image/luks.h"

int qcow2_bulk_flush_l2(struct bulk *b, struct err *err)
{
	struct qcow2_bulk *s = b->priv;
	uint64_t off = s->next << s->o.cluster_bits;

	if (!s->l2_count)
		return 0;
	for (unsigned i = 0; i < s->l2_count; i++)
		s->l1[s->l2_index[i]] =
			htobe64((s->next++ << s->o.cluster_bits) | QCOW2_FLAG_COPIED);

	size_t len = (size_t)s->l2_count << s->o.cluster_bits;

	s->l2_count = 0;
	return bfile_pwrite(b->file, s->l2, len, off, err);
}

int qcow2_bulk_map(struct bulk *b, uint64_t guest_cluster, uint64_t entry, uint64_t bitmap,
		   struct err *err)
{
	struct qcow2_bulk *s = b->priv;
	uint64_t index = guest_cluster >> s->o.l2_bits;
	uint64_t slot = guest_cluster & ((1ULL << s->o.l2_bits) - 1);

	if (index >= s->o.l1_entries)
		return err_set(err, ERR_FAILED, "a cluster lies behind the end of the disk");
	if (!s->l2_count || s->l2_index[s->l2_count - 1] != index) {
		if (s->l2_count == s->l2_room && qcow2_bulk_flush_l2(b, err) < 0)
			return -1;
		s->l2_index[s->l2_count++] = (uint32_t)index;
		memset(s->l2 + ((size_t)(s->l2_count - 1) << s->o.cluster_bits), 0,
		       s->cluster_size);
	}

	uint8_t *p =
		s->l2 + ((size_t)(s->l2_count - 1) << s->o.cluster_bits) + slot * s->entry_size;

	put_be64(p, entry);
	if (s->o.extended_l2)
		put_be64(p + 8, bitmap);
	return 0;
}

/* A shared cluster of zeros that got one user only is an ordinary cluster: it needs the COPIED flag. */
static int single_zero(struct bulk *b, struct err *err)
{
	struct qcow2_bulk *s = b->priv;
	uint64_t g = s->zero_guest;
	uint8_t entry[8];

	if (s->zero_uses != 1)
		return 0;
	put_be64(entry, s->zero_host | QCOW2_FLAG_COPIED);
	return bfile_pwrite(b->file, entry, 8,
			    (be64toh(s->l1[g >> s->o.l2_bits]) & QCOW2_OFFSET_MASK) +
				    (g & ((1ULL << s->o.l2_bits) - 1)) * 8,
			    err);
}

static void put_refcount(uint8_t *block, unsigned order, uint64_t i, uint64_t value)
{
	switch (order) {
	case 6:
		put_be64(block + i * 8, value);
		break;
	case 5:
		put_be32(block + i * 4, (uint32_t)value);
		break;
	case 4:
		put_be16(block + i * 2, (uint16_t)value);
		break;
	case 3:
		block[i] = (uint8_t)value;
		break;
	default: /* the first entry is in the lowest bits */
		block[(i << order) / 8] |= (uint8_t)(value << ((i << order) % 8));
	}
}

struct refcount_writer {
	struct bulk *b;
	uint64_t total, per_block;
	uint8_t *buf; /* of buf_blocks blocks */
	uint64_t buf_blocks;
};

static int write_blocks(struct refcount_writer *w, uint64_t first_block, uint64_t n, uint64_t off,
			struct err *err)
{
	struct qcow2_bulk *s = w->b->priv;
	unsigned order = s->o.refcount_order;

	for (uint64_t done = 0, now; done < n; done += now) {
		now = min_u64(w->buf_blocks, n - done);
		memset(w->buf, 0, now << s->o.cluster_bits);
		for (uint64_t k = 0; k < now; k++) {
			uint64_t c = (first_block + done + k) * w->per_block;
			uint64_t end = min_u64(c + w->per_block, w->total);

			for (uint64_t i = 0; c < end; c++, i++) {
				uint64_t v = c < s->refs_room && s->refs[c] ? s->refs[c] : 1;

				put_refcount(w->buf + (k << s->o.cluster_bits), order, i, v);
			}
		}
		if (bfile_pwrite(w->b->file, w->buf, now << s->o.cluster_bits,
				 off + (done << s->o.cluster_bits), err) < 0)
			return -1;
	}
	return 0;
}

static int write_refcounts(struct bulk *b, uint64_t table, uint64_t blocks, struct err *err)
{
	struct qcow2_bulk *s = b->priv;
	uint64_t table_off = s->next << s->o.cluster_bits;
	uint64_t blocks_off = (s->next + table) << s->o.cluster_bits;
	CLEANUP_FREE uint8_t *entries = calloc(table, s->cluster_size);
	struct refcount_writer w = {
		.b = b,
		.total = s->next + table + blocks,
		.per_block = (8ULL << s->o.cluster_bits) >> s->o.refcount_order,
		.buf_blocks = s->cluster_size < 1U << 20 ? (1U << 20) / s->cluster_size : 1,
	};
	CLEANUP_FREE uint8_t *buf = malloc(w.buf_blocks * s->cluster_size);

	if (!entries || !buf)
		return err_nomem(err);
	w.buf = buf;
	for (uint64_t i = 0; i < blocks; i++)
		put_be64(entries + 8 * i, blocks_off + (i << s->o.cluster_bits));
	if (bfile_pwrite(b->file, entries, table << s->o.cluster_bits, table_off, err) < 0)
		return -1;
	return write_blocks(&w, 0, blocks, blocks_off, err);
}

static int write_header(struct bulk *b, uint64_t l1_off, uint64_t reftable_off, uint64_t table,
			struct err *err)
{
	struct qcow2_bulk *s = b->priv;
	CLEANUP_FREE uint8_t *buf = calloc(1, s->cluster_size);
	CLEANUP_FREE char *name = b->params->backing_name ? strdup(b->params->backing_name) : NULL;
	CLEANUP_FREE char *format =
		b->params->backing_format
			? strdup(image_format_header_name(b->params->backing_format))
			: NULL;
	CLEANUP_FREE char *data = s->o.data_file ? strdup(s->o.data_file) : NULL;
	bool v3 = s->o.version == 3;
	struct qcow2_header h = {
		.version = s->o.version,
		.cluster_bits = s->o.cluster_bits,
		.size = s->o.size,
		.l1_entries = (uint32_t)s->o.l1_entries,
		.l1_offset = l1_off,
		.reftable_offset = reftable_off,
		.reftable_clusters = (uint32_t)table,
		.refcount_order = s->o.refcount_order,
		.header_length = v3 ? 112 : 72,
		.compression_type = s->o.compression_type,
		.backing_name = name,
		.backing_format = format,
		.data_file = data,
	};

	if (s->o.encrypt) {
		h.crypt_method = QCOW2_CRYPT_LUKS;
		h.luks_offset = (uint64_t)QCOW2_LUKS_CLUSTER << s->o.cluster_bits;
		h.luks_len = LUKS_NEW_BYTES;
	}

	if (!buf || (b->params->backing_name && !name) || (b->params->backing_format && !format) ||
	    (s->o.data_file && !data))
		return err_nomem(err);
	if (data)
		h.incompatible |= QCOW2_INCOMPAT_DATA_FILE;
	if (s->o.compression_type)
		h.incompatible |= QCOW2_INCOMPAT_COMPRESSION;
	if (s->o.extended_l2)
		h.incompatible |= QCOW2_INCOMPAT_EXTL2;
	if (s->o.lazy_refcounts)
		h.compatible |= QCOW2_COMPAT_LAZY_REFCOUNTS;
	if (s->o.data_file_raw)
		h.autoclear |= QCOW2_AUTOCLEAR_DATA_RAW;
	if (qcow2_header_write(&h, buf, s->cluster_size, err) < 0)
		return -1;
	return bfile_pwrite(b->file, buf, s->cluster_size, 0, err);
}

static int finish_data_file(struct bulk *b, struct err *err)
{
	struct qcow2_bulk *s = b->priv;

	if (!s->data)
		return 0;
	if (b->measuring) { /* as large as the disk, whatever it holds */
		s->data = NULL;
		return bfile_truncate(b->file, bfile_size(b->file) + s->o.size, err);
	}
	if (s->o.preallocation >= PREALLOC_FALLOC && s->o.size &&
	    fallocate(s->data->fd, 0, 0, (off_t)s->o.size) < 0 && errno != EOPNOTSUPP)
		return err_sys(err, "data file: cannot preallocate");
	bfile_close(s->data);
	s->data = NULL;

	CLEANUP_FREE char *path = strdup(outfile_path(s->data_out));

	if (!path)
		return err_nomem(err);
	if (outfile_commit(steal_ptr(&s->data_out), err) < 0)
		return -1;
	s->data_path = steal_ptr(&path);
	return 0;
}

static int set_length(struct bulk *b, uint64_t size, struct err *err)
{
	struct qcow2_bulk *s = b->priv;

	if (b->file->is_blockdev)
		return 0;
	if (bfile_size(b->file) != size && bfile_truncate(b->file, size, err) < 0)
		return -1;
	if (s->o.preallocation >= PREALLOC_FALLOC && b->file->fd >= 0 &&
	    fallocate(b->file->fd, 0, 0, (off_t)size) < 0 && errno != EOPNOTSUPP)
		return err_sys(err, "cannot preallocate");
	return 0;
}

int qcow2_bulk_finish(struct bulk *b, struct err *err)
{
	struct qcow2_bulk *s = b->priv;
	unsigned bits = s->o.cluster_bits;
	uint64_t table, blocks, l1_off, l1_clusters = div_up(s->o.l1_entries * 8, s->cluster_size);

	if (qcow2_bulk_flush_l2(b, err) < 0 || single_zero(b, err) < 0)
		return -1;
	l1_off = s->next << bits;
	s->next += l1_clusters;
	if (qcow2_refcount_layout(s->next, bits, s->o.refcount_order, &table, &blocks, err) < 0)
		return -1;

	uint64_t size = (s->next + table + blocks) << bits;

	if (bfile_pwrite(b->file, s->l1, s->o.l1_entries * 8, l1_off, err) < 0)
		return -1;
	if (s->o.l1_entries * 8 % s->cluster_size && b->file->is_blockdev &&
	    bfile_zero(b->file, l1_off + s->o.l1_entries * 8,
		       s->cluster_size - s->o.l1_entries * 8 % s->cluster_size, false, err) < 0)
		return -1;
	if (s->luks && qcow2_bulk_crypt_finish(b, err) < 0)
		return -1;
	if (write_refcounts(b, table, blocks, err) < 0 || set_length(b, size, err) < 0 ||
	    finish_data_file(b, err) < 0)
		return -1;
	return write_header(b, l1_off, s->next << bits, table, err);
}
