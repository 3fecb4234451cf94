/* Guest offset to host offset: L1 and L2 tables, extended L2, compressed descriptors.
 *
 * Tables are read in slices through the caches, never whole. A lookup answers with the longest run that it finds in
 * one L2 slice (or one L1 slice, where L1 entries are empty), and qcow2_map() joins runs that continue each other, so
 * that a contiguous image is a few extents.
 *
 * What a table says is held against the file: a table must lie wholly inside, a data cluster must begin inside (QEMU
 * reads clusters beyond the end as zeros: a truncated copy would go unnoticed). The file may end within the last
 * cluster; the rest of that cluster reads as zeros, as with QEMU.
 */
#include "libcommon/image/format/qcow2/qcow2.h"

#include <inttypes.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/image/cache.h"

#define L1_RESERVED 0x7f000000000001ffULL
#define L2_RESERVED 0x3f000000000001feULL
#define SUBCLUSTERS 32U
#define RUNS_JOINED 64 /* slices looked at by one call */

enum piece_kind { PIECE_HOLE, PIECE_ZERO, PIECE_DATA, PIECE_COMPRESSED };

/* A run of alike bytes */
struct piece {
	enum piece_kind kind;
	uint64_t len;
	uint64_t host_off;
	uint64_t host_len; /* compressed */
};

/* Where a lookup stands */
struct lookup {
	struct image *img;
	const struct qcow2 *q;
	uint64_t data_end; /* size of the file that holds guest data */
	uint64_t file_end;
	uint64_t table; /* the L2 table in use, for messages */
};

void qcow2_decode(const struct qcow2 *q, uint64_t entry, struct qcow2_cluster *ret)
{
	uint64_t off = entry & QCOW2_OFFSET_MASK;
	bool here = off || (qcow2_external_data(q) && (entry & QCOW2_FLAG_COPIED));

	*ret = (struct qcow2_cluster){.kind = QCOW2_UNALLOCATED};
	if (entry & QCOW2_FLAG_COMPRESSED) {
		unsigned shift = 62 - (q->h.cluster_bits - 8);
		uint64_t sectors = (entry & (QCOW2_FLAG_COMPRESSED - 1)) >> shift;

		ret->kind = QCOW2_COMPRESSED;
		ret->host_off = entry & ((1ULL << shift) - 1);
		ret->host_len = (sectors + 1) * 512 - (ret->host_off & 511);
		return;
	}
	if (!q->extended_l2 && (entry & QCOW2_FLAG_ZERO))
		ret->kind = here ? QCOW2_ZERO_ALLOC : QCOW2_ZERO_PLAIN;
	else if (here)
		ret->kind = QCOW2_NORMAL;
	ret->host_off = off;
}

bool qcow2_encode_compressed(uint32_t cluster_bits, uint64_t off, uint64_t len, uint64_t *ret_entry)
{
	unsigned shift = 62 - (cluster_bits - 8);
	uint64_t sectors;

	if (!len || off >> (shift < 56 ? shift : 56) || len > 2ULL << cluster_bits)
		return false;
	sectors = ((off + len - 1) >> 9) - (off >> 9);
	if (sectors >> (62 - shift))
		return false;
	*ret_entry = QCOW2_FLAG_COMPRESSED | sectors << shift | off;
	return true;
}

static int bad_entry(const struct lookup *l, uint64_t guest, uint64_t entry, const char *what,
		     struct err *err)
{
	return err_set(err, ERR_CORRUPT,
		       "guest offset %" PRIu64 ": entry %#018" PRIx64
		       " in the L2 table at offset %" PRIu64 " %s",
		       guest, entry, l->table, what);
}

/* A data cluster: where the file ends inside it, zeros follow */
static int data_piece(const struct lookup *l, uint64_t guest, uint64_t entry, uint64_t base,
		      uint64_t in_cluster, struct piece *p, struct err *err)
{
	uint64_t pos;

	if (base % l->q->cluster_size)
		return bad_entry(l, guest, entry, "names a cluster that is not aligned", err);
	if (l->q->data_file && base != guest - in_cluster)
		return bad_entry(l, guest, entry,
				 "names another place of the data file than its own", err);
	if (base >= l->data_end)
		return err_set(err, ERR_CORRUPT,
			       "guest offset %" PRIu64 ": the L2 table at offset %" PRIu64
			       " names a cluster at offset %" PRIu64
			       ", beyond the end of the file (%" PRIu64 " bytes)",
			       guest, l->table, base, l->data_end);
	pos = base + in_cluster;
	if (pos >= l->data_end) {
		p->kind = PIECE_ZERO;
		return 0;
	}
	p->kind = PIECE_DATA;
	p->host_off = pos;
	p->len = min_u64(p->len, l->data_end - pos);
	return 0;
}

static int compressed_piece(const struct lookup *l, uint64_t guest, uint64_t entry,
			    const struct qcow2_cluster *c, struct piece *p, struct err *err)
{
	if (l->q->data_file)
		return bad_entry(l, guest, entry, "is compressed, but the image has a data file",
				 err);
	if (c->host_off >> 56)
		return bad_entry(l, guest, entry, "has reserved bits of the offset set", err);
	if (c->host_off >= l->file_end)
		return err_set(err, ERR_CORRUPT,
			       "guest offset %" PRIu64 ": the L2 table at offset %" PRIu64
			       " names compressed data at offset %" PRIu64
			       ", beyond the end of the file (%" PRIu64 " bytes)",
			       guest, l->table, c->host_off, l->file_end);
	p->kind = PIECE_COMPRESSED;
	p->host_off = c->host_off;
	/* The last sector named may lie partly behind the end */
	p->host_len = min_u64(c->host_len, l->file_end - c->host_off);
	return 0;
}

/* Extended L2: the run of subclusters alike that begins at @in_cluster */
static int subcluster_piece(const struct lookup *l, uint64_t guest, uint64_t entry, uint64_t bitmap,
			    uint64_t in_cluster, struct piece *p, struct err *err)
{
	unsigned shift = l->q->h.cluster_bits - 5;
	unsigned first = (unsigned)(in_cluster >> shift), n = first + 1;
	uint32_t alloc = (uint32_t)bitmap, zero = (uint32_t)(bitmap >> 32);
	uint64_t base = entry & QCOW2_OFFSET_MASK;
	bool here = base || (qcow2_external_data(l->q) && (entry & QCOW2_FLAG_COPIED));
	bool a = alloc >> first & 1, z = zero >> first & 1;

	if (alloc & zero)
		return bad_entry(l, guest, entry,
				 "has subclusters that are allocated and zero at once", err);
	if (alloc && !here)
		return bad_entry(l, guest, entry, "has allocated subclusters but no cluster", err);
	while (n < SUBCLUSTERS && (alloc >> n & 1) == a && (zero >> n & 1) == z)
		n++;
	p->len = ((uint64_t)n << shift) - in_cluster;
	p->kind = z ? PIECE_ZERO : PIECE_HOLE;
	return a ? data_piece(l, guest, entry, base, in_cluster, p, err) : 0;
}

/* The piece at guest offset @guest, whose L2 entry is at @e: at most the rest of the cluster */
static int entry_piece(const struct lookup *l, uint64_t guest, const uint8_t *e, struct piece *p,
		       struct err *err)
{
	const struct qcow2 *q = l->q;
	uint64_t in_cluster = guest & (q->cluster_size - 1);
	uint64_t entry = get_be64(e);
	struct qcow2_cluster c;

	*p = (struct piece){.kind = PIECE_HOLE, .len = q->cluster_size - in_cluster};
	if (!entry && !q->extended_l2)
		return 0;
	qcow2_decode(q, entry, &c);
	if (c.kind == QCOW2_COMPRESSED)
		return compressed_piece(l, guest, entry, &c, p, err);
	if (entry & (q->extended_l2 ? L2_RESERVED | QCOW2_FLAG_ZERO : L2_RESERVED))
		return bad_entry(l, guest, entry, "has reserved bits set", err);
	if (q->extended_l2)
		return subcluster_piece(l, guest, entry, get_be64(e + 8), in_cluster, p, err);
	switch (c.kind) {
	case QCOW2_NORMAL:
		return data_piece(l, guest, entry, c.host_off, in_cluster, p, err);
	case QCOW2_ZERO_PLAIN:
	case QCOW2_ZERO_ALLOC:
		if (q->h.version < 3)
			return bad_entry(l, guest, entry,
					 "is a zero cluster, which version 2 does not have", err);
		p->kind = PIECE_ZERO;
		return 0;
	default:
		return 0;
	}
}

static bool continues(const struct piece *run, const struct piece *next)
{
	return run->kind == next->kind && run->kind != PIECE_COMPRESSED &&
	       (run->kind != PIECE_DATA || next->host_off == run->host_off + run->len);
}

/* The run at @guest within the L2 slice [e, e + n) */
static int slice_run(const struct lookup *l, uint64_t guest, uint64_t max, const uint8_t *e,
		     size_t n, struct piece *run, struct err *err)
{
	uint64_t cluster_size = l->q->cluster_size;
	size_t step = l->q->l2_entry_size;
	struct piece next;

	if (entry_piece(l, guest, e, run, err))
		return -1;
	while (run->len < max) {
		uint64_t pos = guest + run->len;

		/* Into the next entry, when this one is used up */
		if (!(pos & (cluster_size - 1))) {
			e += step;
			n -= step;
			if (n < step)
				break;
		}
		/* A fault further on is told when it is asked for */
		if (entry_piece(l, pos, e, &next, NULL) || !continues(run, &next))
			break;
		run->len += next.len;
	}
	return 0;
}

/* Empty L1 entries from @index on: as many bytes as the slice tells */
static uint64_t empty_l1(const struct qcow2 *q, uint64_t index, uint64_t in_table, const uint8_t *p,
			 size_t n)
{
	unsigned shift = q->h.cluster_bits + q->l2_bits;
	uint64_t count = 1, most = min_u64(n / 8, q->l1_entries - index);

	while (count < most && !(get_be64(p + 8 * count) & QCOW2_OFFSET_MASK))
		count++;
	return (count << shift) - in_table;
}

static int check_l2_offset(const struct lookup *l, uint64_t guest, uint64_t entry, struct err *err)
{
	uint64_t off = entry & QCOW2_OFFSET_MASK;

	if ((entry & L1_RESERVED) || off % l->q->cluster_size)
		return err_set(err, ERR_CORRUPT,
			       "guest offset %" PRIu64 ": L1 entry %#018" PRIx64
			       " has reserved bits set or names an L2 table that is not aligned",
			       guest, entry);
	if (!range_inside(off, l->q->cluster_size, l->file_end))
		return err_set(err, ERR_CORRUPT,
			       "guest offset %" PRIu64 ": its L2 table lies at offset %" PRIu64
			       ", beyond the end of the file (%" PRIu64 " bytes)",
			       guest, off, l->file_end);
	return 0;
}

/* One run, within one slice of one table */
static int find_run(struct lookup *l, uint64_t guest, uint64_t max, struct piece *run,
		    struct err *err)
{
	const struct qcow2 *q = l->q;
	unsigned shift = q->h.cluster_bits + q->l2_bits;
	uint64_t index = guest >> shift, in_table = guest & ((1ULL << shift) - 1);
	uint64_t entry, slot;
	const uint8_t *p;
	size_t n;
	int rc;

	if (index >= q->l1_entries)
		return err_set(err, ERR_CORRUPT,
			       "guest offset %" PRIu64 ": the L1 table ends after %" PRIu32
			       " entries",
			       guest, q->l1_entries);
	if (table_cache_get(q->l1_cache, q->l1_offset + 8 * index, &p, &n, err))
		return err_prefix(err, "L1 table");
	entry = get_be64(p);
	if (!(entry & QCOW2_OFFSET_MASK)) {
		*run = (struct piece){.kind = PIECE_HOLE,
				      .len = empty_l1(q, index, in_table, p, n)};
		table_cache_put(q->l1_cache, p);
		return 0;
	}
	table_cache_put(q->l1_cache, p);
	if (check_l2_offset(l, guest, entry, err))
		return -1;
	l->table = entry & QCOW2_OFFSET_MASK;
	slot = l->table + (in_table >> q->h.cluster_bits) * q->l2_entry_size;
	if (table_cache_get(q->l2_cache, slot, &p, &n, err))
		return err_prefix(err, "L2 table at offset %" PRIu64, l->table);
	rc = slice_run(l, guest, max, p, n, run, err);
	table_cache_put(q->l2_cache, p);
	return rc;
}

int qcow2_map(struct image *img, uint64_t off, uint64_t max, struct extent *ret, struct err *err)
{
	const struct qcow2 *q = img->priv;
	struct lookup l = {.img = img, .q = q, .file_end = bfile_size(img->file)};
	struct piece run, next;

	l.data_end = q->data_file ? bfile_size(q->data_file) : l.file_end;
	max = min_u64(max, img->size - off);
	if (find_run(&l, off, max, &run, err))
		return -1;
	for (int i = 1; i < RUNS_JOINED && run.len < max && run.kind != PIECE_COMPRESSED; i++) {
		if (find_run(&l, off + run.len, max - run.len, &next, NULL) ||
		    !continues(&run, &next))
			break;
		run.len += next.len;
	}
	*ret = (struct extent){.off = off, .len = min_u64(run.len, max), .kind = EXTENT_DATA};
	if (run.kind == PIECE_HOLE || run.kind == PIECE_ZERO) {
		ret->kind = run.kind == PIECE_ZERO ? EXTENT_ZERO : EXTENT_UNALLOCATED;
		return 0;
	}
	ret->file = q->data_file ? q->data_file : img->file;
	ret->host_off = run.host_off;
	ret->host_len = ret->len;
	if (run.kind == PIECE_DATA && q->h.crypt_method != QCOW2_CRYPT_NONE)
		ret->codec = CODEC_OPAQUE;
	if (run.kind == PIECE_COMPRESSED) {
		ret->host_len = run.host_len;
		ret->codec = q->h.compression_type == QCOW2_COMPRESSION_ZSTD ? CODEC_ZSTD
									     : CODEC_DEFLATE;
	}
	return 0;
}
