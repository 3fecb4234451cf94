/* qcow, version 1, read only: two levels of tables, deflated clusters, backing files; encrypted ones are refused.
 *
 * Big endian. Source: the header in QEMU's block/qcow.c as its documentation describes it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/cache.h"
#include "libcommon/image/format.h"

enum { HEADER_SIZE = 48, NAME_MOST = 1023, SLICE = 4096, SLICES = 256 };

#define QCOW_MAGIC 0x514649fbU
#define COMPRESSED (1ULL << 63)

struct qcow1 {
	struct table_cache *tables;
	unsigned cluster_bits, l2_bits;
	uint64_t l1; /* offset */
	bool encrypted;
};

static int qcow1_probe(const uint8_t *head, size_t head_len, const uint8_t *tail, size_t tail_len,
		       uint64_t size)
{
	(void)tail, (void)tail_len, (void)size;
	return head_len >= 8 && get_be32(head) == QCOW_MAGIC && get_be32(head + 4) == 1 ? 100 : 0;
}

static int parse(struct image *img, struct qcow1 *q, const uint8_t *h, struct err *err)
{
	uint32_t crypt = get_be32(h + 36);
	uint64_t entries, end;

	if (get_be32(h) != QCOW_MAGIC)
		return err_set(err, ERR_CORRUPT, "no qcow signature at offset 0");
	if (get_be32(h + 4) != 1)
		return err_set(err, ERR_UNSUPPORTED, "version %" PRIu32 " is not qcow's first",
			       get_be32(h + 4));
	q->cluster_bits = h[32];
	q->l2_bits = h[33];
	q->l1 = get_be64(h + 40);
	q->encrypted = crypt != 0;
	img->size = get_be64(h + 24);
	if (q->cluster_bits < 9 || q->cluster_bits > 16)
		return err_set(err, ERR_UNSUPPORTED, "clusters of 2^%u bytes", q->cluster_bits);
	if (q->l2_bits < 6 || q->l2_bits > 13)
		return err_set(err, ERR_UNSUPPORTED, "L2 tables of 2^%u entries", q->l2_bits);
	if (crypt > 1)
		return err_set(err, ERR_UNSUPPORTED, "unknown encryption method %" PRIu32, crypt);
	if (q->encrypted && !(img->flags & IMAGE_INFO))
		return err_set(err, ERR_UNSUPPORTED,
			       "the image is encrypted (AES): its content cannot be read");
	if (img->size > INT64_MAX)
		return err_set(err, ERR_CORRUPT, "a disk of %" PRIu64 " bytes", img->size);
	entries = div_up(img->size, 1ULL << (q->cluster_bits + q->l2_bits));
	if (!u64_add(q->l1, entries * 8, &end) || end > bfile_size(img->file))
		return err_set(err, ERR_CORRUPT,
			       "L1 table of %" PRIu64 " entries at offset %" PRIu64
			       " of a file of %" PRIu64 " bytes",
			       entries, q->l1, bfile_size(img->file));
	img->cluster_size = 1U << q->cluster_bits;
	return 0;
}

static int read_name(struct image *img, const uint8_t *h, struct err *err)
{
	uint64_t at = get_be64(h + 8);
	uint32_t len = get_be32(h + 16);

	if (!at || !len)
		return 0;
	if (len > NAME_MOST || !range_inside(at, len, bfile_size(img->file)))
		return err_set(err, ERR_CORRUPT,
			       "a backing file name of %" PRIu32 " bytes at offset %" PRIu64, len,
			       at);
	img->backing_name = calloc(1, (size_t)len + 1);
	if (!img->backing_name)
		return err_nomem(err);
	return bfile_pread(img->file, img->backing_name, len, at, err);
}

static void qcow1_close(struct image *img)
{
	struct qcow1 *q = img->priv;

	table_cache_free(q->tables);
	free(q);
	img->priv = NULL;
}

static int qcow1_open(struct image *img, const struct image_open_opts *opts, struct err *err)
{
	uint8_t header[HEADER_SIZE];
	struct qcow1 *q;

	if (opts && opts->snapshot)
		return err_set(err, ERR_UNSUPPORTED, "qcow images have no snapshots");
	if (bfile_pread(img->file, header, sizeof(header), 0, err) < 0)
		return -1;
	q = calloc(1, sizeof(*q));
	if (!q)
		return err_nomem(err);
	img->priv = q;
	if (parse(img, q, header, err) < 0 || read_name(img, header, err) < 0 ||
	    table_cache_new(&q->tables, img->file, SLICE, SLICES, err) < 0) {
		qcow1_close(img);
		free(steal_ptr(&img->backing_name));
		return -1;
	}
	return 0;
}

/* How many of the @n L2 entries at @p go on like the first: absent, or plain and side by side */
static uint64_t run(const uint8_t *p, uint64_t n, uint64_t cluster)
{
	uint64_t first = get_be64(p), step = first ? cluster : 0, i = 1;

	while (i < n && !(first & COMPRESSED) && get_be64(p + 8 * i) == first + i * step)
		i++;
	return i;
}

static int look_up(const struct qcow1 *q, uint64_t off, uint64_t max, uint64_t *ret_entry,
		   uint64_t *ret_len, struct err *err)
{
	uint64_t cluster = 1ULL << q->cluster_bits, span = cluster << q->l2_bits,
		 in_l2 = off & (span - 1), in = off & (cluster - 1), l2, clusters;
	const uint8_t *p;
	size_t room;

	if (table_cache_get(q->tables, q->l1 + off / span * 8, &p, &room, err) < 0)
		return -1;
	/* Entries are at any offset in a hostile file: one may lie across two slices */
	if (room < 8) {
		table_cache_put(q->tables, p);
		return err_set(err, ERR_CORRUPT, "the L1 table lies at offset %" PRIu64, q->l1);
	}
	l2 = get_be64(p);
	table_cache_put(q->tables, p);
	*ret_entry = 0;
	*ret_len = min_u64(max, span - in_l2);
	if (!l2)
		return 0;
	if (l2 & 511 || l2 > INT64_MAX)
		return err_set(err, ERR_CORRUPT, "an L2 table lies at offset %" PRIu64, l2);
	if (table_cache_get(q->tables, l2 + in_l2 / cluster * 8, &p, &room, err) < 0)
		return -1;
	clusters = min_u64(div_up(in + max, cluster), (span - in_l2 + in) / cluster);
	*ret_entry = get_be64(p);
	*ret_len = min_u64(max, run(p, min_u64(room / 8, clusters), cluster) * cluster - in);
	table_cache_put(q->tables, p);
	return 0;
}

static int qcow1_map(struct image *img, uint64_t off, uint64_t max, struct extent *ret,
		     struct err *err)
{
	const struct qcow1 *q = img->priv;
	uint64_t entry = 0, in = off & ((1ULL << q->cluster_bits) - 1);

	if (look_up(q, off, max, &entry, &ret->len, err) < 0)
		return -1;
	ret->kind = entry ? EXTENT_DATA : EXTENT_UNALLOCATED;
	if (!entry)
		return 0;
	ret->file = img->file;
	if (entry & COMPRESSED) {
		unsigned shift = 63 - q->cluster_bits;

		ret->codec = CODEC_DEFLATE;
		ret->host_off = entry & ((1ULL << shift) - 1);
		ret->host_len = entry >> shift & ((1ULL << q->cluster_bits) - 1);
		if (ret->host_len)
			return 0;
		return err_set(err, ERR_CORRUPT,
			       "a compressed cluster of 0 bytes at offset %" PRIu64, ret->host_off);
	}
	if (entry & 511)
		return err_set(err, ERR_CORRUPT,
			       "the data at %" PRIu64
			       " of the disk are said to lie at offset %" PRIu64,
			       off - in, entry);
	ret->host_off = entry + in;
	ret->host_len = ret->len;
	return 0;
}

static int qcow1_info(struct image *img, json_t *obj, struct err *err)
{
	const struct qcow1 *q = img->priv;
	json_t *o = json_pack("{s:i, s:b}", "version", 1, "encrypted", (int)q->encrypted);

	if (o && q->encrypted)
		(void)json_object_set_new(o, "encryption", json_string("aes"));
	return !o || json_object_set_new(obj, "format_specific", o) ? err_nomem(err) : 0;
}

extern const struct image_format image_format_qcow;
const struct image_format image_format_qcow = {
	.name = "qcow",
	.description =
		"QEMU copy on write, version 1: compressed clusters, backing chains; read only",
	.can_name_files = true,
	.probe = qcow1_probe,
	.open = qcow1_open,
	.close = qcow1_close,
	.map = qcow1_map,
	.info = qcow1_info,
};
