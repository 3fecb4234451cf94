/* QED, QEMU enhanced disk, read only: two levels of tables, backing files. Source: QEMU's docs/interop/qed_spec.txt */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/cache.h"
#include "libcommon/image/format.h"

enum {
	HEADER_SIZE = 64,
	BACKING = 1,	 /* features */
	NEED_CHECK = 2,	 /* was not closed */
	BACKING_RAW = 4, /* the backing file is raw: not to be probed */
	NAME_MOST = 1023,
	ZERO_CLUSTER = 1,
	SLICE = 4096,
	SLICES = 256,
};

struct qed {
	struct table_cache *tables;
	uint32_t cluster; /* bytes */
	uint64_t l1;	  /* offset */
	uint64_t entries; /* of each table */
	uint64_t features;
};

static int qed_probe(const uint8_t *head, size_t head_len, const uint8_t *tail, size_t tail_len,
		     uint64_t size)
{
	(void)tail, (void)tail_len, (void)size;
	return head_len >= HEADER_SIZE && memcmp(head, "QED", 4) == 0 ? 100 : 0;
}

/* How much of the disk one L2 table maps */
static uint64_t l2_span(const struct qed *q)
{
	return q->entries * q->cluster; /* at most 2^27 * 2^26 */
}

static int check_table(const struct image *img, const struct qed *q, uint64_t at, const char *what,
		       struct err *err)
{
	if (at && at % q->cluster == 0 && range_inside(at, q->entries * 8, bfile_size(img->file)))
		return 0;
	return err_set(err, ERR_CORRUPT,
		       "%s table of %" PRIu64 " bytes at offset %" PRIu64 " of a file of %" PRIu64
		       " bytes",
		       what, q->entries * 8, at, bfile_size(img->file));
}

static int parse(struct image *img, struct qed *q, const uint8_t *h, struct err *err)
{
	uint32_t table_size = get_le32(h + 8), header_size = get_le32(h + 12);
	uint64_t unknown, span;

	if (memcmp(h, "QED", 4) != 0)
		return err_set(err, ERR_CORRUPT, "no QED signature at offset 0");
	q->features = get_le64(h + 16);
	unknown = q->features & ~(uint64_t)(BACKING | NEED_CHECK | BACKING_RAW);
	if (unknown)
		return err_set(err, ERR_UNSUPPORTED, "unknown QED features %#" PRIx64, unknown);
	q->cluster = get_le32(h + 4);
	if (!is_pow2(q->cluster) || q->cluster < 4096 || q->cluster > 64 << 20)
		return err_set(err, ERR_CORRUPT, "clusters of %" PRIu32 " bytes", q->cluster);
	if (!is_pow2(table_size) || table_size > 16)
		return err_set(err, ERR_CORRUPT, "tables of %" PRIu32 " clusters", table_size);
	if (!header_size || (uint64_t)header_size * q->cluster > bfile_size(img->file))
		return err_set(err, ERR_CORRUPT, "a header of %" PRIu32 " clusters", header_size);
	q->entries = (uint64_t)table_size * q->cluster / 8;
	q->l1 = get_le64(h + 40);
	img->size = get_le64(h + 48);
	img->cluster_size = q->cluster;
	if (img->size > INT64_MAX || img->size % 512 ||
	    (u64_mul(l2_span(q), q->entries, &span) && img->size > span))
		return err_set(err, ERR_CORRUPT, "a disk of %" PRIu64 " bytes", img->size);
	return check_table(img, q, q->l1, "L1", err);
}

static int read_name(struct image *img, const struct qed *q, const uint8_t *h, struct err *err)
{
	uint32_t at = get_le32(h + 56), len = get_le32(h + 60);

	if (!(q->features & BACKING))
		return 0;
	if (!len || len > NAME_MOST ||
	    !range_inside(at, len, (uint64_t)get_le32(h + 12) * q->cluster))
		return err_set(err, ERR_CORRUPT,
			       "a backing file name of %" PRIu32 " bytes at offset %" PRIu32, len,
			       at);
	img->backing_name = calloc(1, (size_t)len + 1);
	if (!img->backing_name)
		return err_nomem(err);
	if (bfile_pread(img->file, img->backing_name, len, at, err) < 0)
		return -1;
	if (!(q->features & BACKING_RAW))
		return 0;
	img->backing_format = strdup("raw");
	return img->backing_format ? 0 : err_nomem(err);
}

static void qed_close(struct image *img)
{
	struct qed *q = img->priv;

	table_cache_free(q->tables);
	free(q);
	img->priv = NULL;
}

static int qed_open(struct image *img, const struct image_open_opts *opts, struct err *err)
{
	uint8_t header[HEADER_SIZE];
	struct qed *q;

	if (opts && opts->snapshot)
		return err_set(err, ERR_UNSUPPORTED, "QED images have no snapshots");
	if (bfile_pread(img->file, header, sizeof(header), 0, err) < 0)
		return -1;
	q = calloc(1, sizeof(*q));
	if (!q)
		return err_nomem(err);
	img->priv = q;
	if (parse(img, q, header, err) < 0 || read_name(img, q, header, err) < 0 ||
	    table_cache_new(&q->tables, img->file, SLICE, SLICES, err) < 0) {
		qed_close(img);
		free(steal_ptr(&img->backing_name));
		free(steal_ptr(&img->backing_format));
		return -1;
	}
	return 0;
}

/* How many of the @n L2 entries at @p go on like the first: of one kind, or side by side */
static uint64_t run(const uint8_t *p, uint64_t n, uint32_t cluster)
{
	uint64_t first = get_le64(p), step = first > ZERO_CLUSTER ? cluster : 0, i = 1;

	while (i < n && get_le64(p + 8 * i) == first + i * step)
		i++;
	return i;
}

static int look_up(struct image *img, const struct qed *q, uint64_t off, uint64_t max,
		   uint64_t *ret_entry, uint64_t *ret_len, struct err *err)
{
	uint64_t span = l2_span(q), in_l2 = off & (span - 1), in = off & (q->cluster - 1), l2;
	const uint8_t *p;
	size_t room;

	if (table_cache_get(q->tables, q->l1 + off / span * 8, &p, &room, err) < 0)
		return -1;
	l2 = get_le64(p);
	table_cache_put(q->tables, p);
	*ret_entry = 0;
	*ret_len = min_u64(max, span - in_l2);
	if (!l2)
		return 0;
	if (check_table(img, q, l2, "L2", err) < 0 ||
	    table_cache_get(q->tables, l2 + in_l2 / q->cluster * 8, &p, &room, err) < 0)
		return -1;
	*ret_entry = get_le64(p);
	*ret_len =
		min_u64(max, run(p, min_u64(room / 8, div_up(in + max, q->cluster)), q->cluster) *
					     q->cluster -
				     in);
	table_cache_put(q->tables, p);
	return 0;
}

static int qed_map(struct image *img, uint64_t off, uint64_t max, struct extent *ret,
		   struct err *err)
{
	const struct qed *q = img->priv;
	uint64_t entry;

	if (look_up(img, q, off, max, &entry, &ret->len, err) < 0)
		return -1;
	if (entry <= ZERO_CLUSTER) {
		ret->kind = entry ? EXTENT_ZERO : EXTENT_UNALLOCATED;
		return 0;
	}
	if (entry & (q->cluster - 1) || entry > INT64_MAX)
		return err_set(err, ERR_CORRUPT,
			       "the data at %" PRIu64
			       " of the disk are said to lie at offset %" PRIu64,
			       off & ~(uint64_t)(q->cluster - 1), entry);
	ret->kind = EXTENT_DATA;
	ret->file = img->file;
	ret->host_off = entry + (off & (q->cluster - 1));
	ret->host_len = ret->len;
	return 0;
}

static int qed_info(struct image *img, json_t *obj, struct err *err)
{
	const struct qed *q = img->priv;
	json_t *o = json_pack("{s:I, s:b}", "table_entries", (json_int_t)q->entries, "dirty",
			      (q->features & NEED_CHECK) != 0);

	return !o || json_object_set_new(obj, "format_specific", o) ? err_nomem(err) : 0;
}

extern const struct image_format image_format_qed;
const struct image_format image_format_qed = {
	.name = "qed",
	.description = "QEMU enhanced disk, backing chains; read only",
	.can_name_files = true,
	.probe = qed_probe,
	.open = qed_open,
	.close = qed_close,
	.map = qed_map,
	.info = qed_info,
};
