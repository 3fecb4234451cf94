/* New qcow2 images in one pass: clusters of a unit encoded on any thread, placed in guest order, stored on any.
 *
 * The file: header, then data clusters in guest order with L2 tables between them in batches (whenever about
 * 1 MiB of them is complete, so memory does not grow with the disk), then L1, refcount table and blocks.
 * Host clusters come without gaps, so guest data stays contiguous and aligned. The header is written last.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/iszero.h"
#include "libcommon/image/format/qcow2/bulk_writer.h"

#define HOLE_STEP 4096U	 /* zeros inside a cluster are left out by blocks of it */
#define HOLE_MIN  16384U /* and from this length on: shorter ones are not worth a system call */

static int open_data_file(struct bulk *b, struct qcow2_bulk *s, struct err *err)
{
	const char *name = s->o.data_file, *target = b->params->target_path;

	if (b->measuring) {
		s->data = b->file; /* borrowed; qcow2_bulk_finish() counts */
		return 0;
	}
	if (!target)
		return err_set(err, ERR_USAGE,
			       "data_file needs an image with a name, not a stream");

	const char *slash = strrchr(target, '/');
	int dir_len = slash && *name != '/' ? (int)(slash - target) + 1 : 0;
	CLEANUP_FREE char *path = NULL;

	if (asprintf(&path, "%.*s%s", dir_len, target, name) < 0) {
		path = NULL;
		return err_nomem(err);
	}
	if (!strcmp(path, target))
		return err_set(err, ERR_USAGE, "the data file cannot be the image itself");
	if (outfile_open(&s->data_out, path, b->params->outfile_flags, err) < 0)
		return err_prefix(err, "data file");

	int fd = dup(outfile_fd(s->data_out));

	if (fd < 0)
		return err_sys(err, "cannot duplicate a descriptor");
	if (bfile_of_fd(&s->data, fd, path, true, err) < 0)
		return -1; /* it owns or closed the descriptor */
	return bfile_truncate(s->data, s->o.size, err);
}

static int bulk_begin(struct bulk *b, struct err *err)
{
	struct qcow2_bulk *s = calloc(1, sizeof(*s));

	if (!s)
		return err_nomem(err);
	b->priv = s;
	if (qcow2_bulk_options_parse(b->params, &s->o, err) < 0)
		return -1;
	s->cluster_size = 1U << s->o.cluster_bits;
	s->entry_size = s->o.extended_l2 ? 16 : 8;
	s->has_backing = b->params->backing_name != NULL;
	s->compress = b->params->compress;

	enum codec codec =
		s->o.compression_type == QCOW2_COMPRESSION_ZSTD ? CODEC_ZSTD : CODEC_DEFLATE;
	int level = b->params->compress_level;

	qcow2_compressors_init(&s->compressors, codec, level, s->cluster_size);
	if (s->compress && qcow2_compress_level_check(codec, level, err) < 0)
		return -1;
	s->next = QCOW2_LUKS_CLUSTER + qcow2_bulk_crypt_clusters(&s->o); /* behind the headers */
	s->l2_room = s->cluster_size < 1U << 20 ? (1U << 20) / s->cluster_size : 1;
	s->l1 = calloc(s->o.l1_entries, 8);
	s->l2 = malloc((size_t)s->l2_room * s->cluster_size);
	s->l2_index = calloc(s->l2_room, sizeof(*s->l2_index));
	if (!s->l1 || !s->l2 || !s->l2_index)
		return err_nomem(err);
	b->granule = s->cluster_size;
	b->not_resumable = s->o.encrypt	    ? "its keys are random"
			   : s->o.data_file ? "it consists of several files"
					    : NULL;
	if (s->o.encrypt && qcow2_bulk_crypt_begin(b, err) < 0)
		return -1;
	return s->o.data_file ? open_data_file(b, s, err) : 0;
}

static void bulk_abort(struct bulk *b)
{
	struct qcow2_bulk *s = b->priv;

	if (!s)
		return;
	if (!b->measuring)
		bfile_close(s->data);
	outfile_discard(s->data_out);
	/* With --force it may have replaced another, which does not come back. */
	if (s->data_path && !b->committed && !(b->params->outfile_flags & OUTFILE_FORCE))
		(void)unlink(s->data_path);
	free(s->data_path);
	if (s->cluster_size)
		qcow2_compressors_release(&s->compressors);
	free(s->l1);
	free(s->l2);
	free(s->l2_index);
	free(s->refs);
	qcow2_bulk_crypt_release(s);
	free(s);
	b->priv = NULL;
}

static int bulk_unit_init(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	struct qcow2_bulk *s = b->priv;
	struct qcow2_unit *p = calloc(1, sizeof(*p));

	u->priv = p;
	if (!p)
		return err_nomem(err);
	p->clusters = calloc(BULK_UNIT_MAX / s->cluster_size, sizeof(*p->clusters));
	return p->clusters ? 0 : err_nomem(err);
}

static void bulk_unit_free(struct bulk *b, struct bulk_unit *u)
{
	struct qcow2_unit *p = u->priv;

	(void)b;
	if (!p)
		return;
	free(p->clusters);
	free(p);
	u->priv = NULL;
}

static size_t unit_clusters(const struct qcow2_bulk *s, const struct bulk_unit *u)
{
	return div_up(u->len, s->cluster_size);
}

/* Compress what is not zero, or take it as the source has it compressed; clusters that do not shrink stay plain. */
static int compress_unit(struct qcow2_bulk *s, struct bulk_unit *u, size_t n, struct err *err)
{
	struct qcow2_unit *p = u->priv;
	struct qcow2_compressor *comp;
	size_t cs = s->cluster_size;
	int rc = 0;

	if (bulk_reserve(u, n * cs, err) < 0 ||
	    qcow2_compressor_take(&s->compressors, n, &comp, err) < 0)
		return -1;
	for (size_t i = 0; i < n && rc == 0; i++) {
		struct unit_cluster *c = &p->clusters[i];
		size_t got = 0;

		if (c->kind == CLUSTER_ZERO)
			continue;
		if (u->packed && u->packed[i].len && u->packed[i].len < cs) {
			got = u->packed[i].len;
			memcpy(u->encoded + u->encoded_len, u->packed[i].p, got);
		} else {
			rc = qcow2_compress(comp, u->data + i * cs, cs, u->encoded + u->encoded_len,
					    &got, err);
		}
		if (rc < 0 || !got)
			continue;
		c->kind = CLUSTER_COMPRESSED;
		c->enc_off = (uint32_t)u->encoded_len;
		c->enc_len = (uint32_t)got;
		u->encoded_len += got;
	}
	qcow2_compressor_give(&s->compressors, comp);
	return rc;
}

/* A level that was asked for is not what the source has. */
static bool bulk_takes(const struct bulk *b, enum codec codec)
{
	const struct qcow2_bulk *s = b->priv;

	return s->compress && !b->params->compress_level && codec == s->compressors.codec;
}

static int bulk_encode(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	struct qcow2_bulk *s = b->priv;
	struct qcow2_unit *p = u->priv;
	size_t n = unit_clusters(s, u), cs = s->cluster_size;

	if (s->compress && u->src)
		return err_set(err, ERR_FAILED, "a unit to compress has no data");
	u->encoded_len = 0;
	for (size_t i = 0; i < n; i++)
		p->clusters[i].kind =
			!u->src && is_zero(u->data + i * cs, cs) ? CLUSTER_ZERO : CLUSTER_PLAIN;
	return s->compress ? compress_unit(s, u, n, err) : 0;
}

#define SAVED_PLAIN UINT32_MAX /* else the length of the compressed cluster; 0: zeros */

static size_t bulk_save(const struct bulk *b, const struct bulk_unit *u, uint8_t *out)
{
	const struct qcow2_unit *p = u->priv;
	size_t n = unit_clusters(b->priv, u);

	for (size_t i = 0; i < n; i++)
		put_le32(out + 4 * i, p->clusters[i].kind == CLUSTER_ZERO ? 0
				      : p->clusters[i].kind == CLUSTER_PLAIN
					      ? SAVED_PLAIN
					      : p->clusters[i].enc_len);
	return 4 * n;
}

static int bulk_load(struct bulk *b, struct bulk_unit *u, const uint8_t *in, size_t len,
		     struct err *err)
{
	const struct qcow2_bulk *s = b->priv;
	struct qcow2_unit *p = u->priv;
	size_t n = unit_clusters(s, u);

	if (bulk_load_len(len, 4 * n, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		uint32_t v = get_le32(in + 4 * i);

		p->clusters[i].kind = v == 0		 ? CLUSTER_ZERO
				      : v == SAVED_PLAIN ? CLUSTER_PLAIN
							 : CLUSTER_COMPRESSED;
		p->clusters[i].enc_len = v;
		if (v && v != SAVED_PLAIN && v >= s->cluster_size)
			return err_set(err, ERR_CORRUPT,
				       "a compressed cluster of %" PRIu32 " bytes", v);
	}
	return 0;
}

static int add_ref(struct qcow2_bulk *s, uint64_t cluster, struct err *err)
{
	if (cluster >= s->refs_room) {
		uint64_t room = max_u64(1024, 2 * cluster);
		uint16_t *refs = reallocarray(s->refs, room, sizeof(*refs));

		if (!refs)
			return err_nomem(err);
		memset(refs + s->refs_room, 0, (room - s->refs_room) * sizeof(*refs));
		s->refs = refs;
		s->refs_room = room;
	}
	s->refs[cluster]++;
	return 0;
}

/* Where @len compressed bytes go: behind the last ones, unless that host cluster cannot take a reference
 * more or has been overtaken by plain clusters and is too small. */
static int place_compressed(struct qcow2_bulk *s, size_t len, uint64_t *ret_host, struct err *err)
{
	unsigned bits = s->o.cluster_bits;
	uint64_t most =
		s->o.refcount_order >= 4 ? UINT16_MAX : (1ULL << (1U << s->o.refcount_order)) - 1;
	bool room = s->pos < s->open_end && s->refs[s->pos >> bits] < most;

	if (!room || (s->pos + len > s->open_end && s->open_end != s->next << bits))
		s->pos = s->open_end = s->next << bits;
	for (uint64_t c = s->pos >> bits; c <= (s->pos + len - 1) >> bits; c++)
		if (add_ref(s, c, err) < 0)
			return -1;
	*ret_host = s->pos;
	s->pos += len;
	if (s->pos > s->open_end) {
		s->next = div_up(s->pos, s->cluster_size);
		s->open_end = s->next << bits;
	}
	return 0;
}

static uint64_t compressed_entry(const struct qcow2_bulk *s, uint64_t host, size_t len)
{
	unsigned shift = 62 - (s->o.cluster_bits - 8);
	uint64_t more_sectors = ((host & 511) + len - 1) >> 9;

	return QCOW2_FLAG_COMPRESSED | more_sectors << shift | host;
}

#define ALL_DATA 0x00000000ffffffffULL /* extended L2: every subcluster allocated */
#define ALL_ZERO 0xffffffff00000000ULL /* every subcluster reads as zero */

static int map_data(struct bulk *b, uint64_t guest, uint64_t *ret_host, struct err *err)
{
	struct qcow2_bulk *s = b->priv;
	uint64_t host = (s->data ? guest : s->next++) << s->o.cluster_bits;

	*ret_host = host;
	return qcow2_bulk_map(b, guest, host | QCOW2_FLAG_COPIED, ALL_DATA, err);
}

/* Preallocation: give guest clusters up to @end a place. What was not written there reads as zero. */
static int map_until(struct bulk *b, uint64_t end, struct err *err)
{
	struct qcow2_bulk *s = b->priv;
	bool write =
		s->o.preallocation == PREALLOC_FULL || (!s->data && !b->params->target_is_zero);

	if (s->o.preallocation == PREALLOC_OFF)
		return 0;
	for (; s->mapped < end; s->mapped++) {
		uint64_t host;

		if (map_data(b, s->mapped, &host, err) < 0)
			return -1;
		if (!write)
			continue;

		size_t len = min_u64(s->cluster_size, s->data ? s->o.size - host : s->cluster_size);
		CLEANUP_FREE void *zeros = calloc(1, len);

		if (!zeros)
			return err_nomem(err);
		if (bfile_pwrite(s->data ? s->data : b->file, zeros, len, host, err) < 0)
			return -1;
	}
	return 0;
}

/* A zero cluster above a backing file. Version 2 has no zero flag: there one host cluster of zeros serves as
 * many guest clusters as its reference count can hold. */
static int map_zero(struct bulk *b, uint64_t guest, struct err *err)
{
	struct qcow2_bulk *s = b->priv;

	if (s->o.version >= 3)
		return qcow2_bulk_map(b, guest, s->o.extended_l2 ? 0 : QCOW2_FLAG_ZERO, ALL_ZERO,
				      err);
	if (!s->zero_host || s->zero_uses == UINT16_MAX) {
		CLEANUP_FREE void *zeros = calloc(1, s->cluster_size);

		if (!zeros)
			return err_nomem(err);
		s->zero_host = s->next++ << s->o.cluster_bits;
		s->zero_guest = guest;
		s->zero_uses = 0;
		if (bfile_pwrite(b->file, zeros, s->cluster_size, s->zero_host, err) < 0)
			return -1;
	}
	s->zero_uses++;
	if (add_ref(s, s->zero_host >> s->o.cluster_bits, err) < 0)
		return -1;
	return qcow2_bulk_map(b, guest, s->zero_host, 0, err);
}

static int place_cluster(struct bulk *b, uint64_t guest, struct unit_cluster *c, struct err *err)
{
	struct qcow2_bulk *s = b->priv;

	switch (c->kind) {
	case CLUSTER_ZERO:
		return s->has_backing ? map_zero(b, guest, err) : 0;
	case CLUSTER_PLAIN:
		return map_data(b, guest, &c->host, err);
	case CLUSTER_COMPRESSED:
		break;
	}
	if (place_compressed(s, c->enc_len, &c->host, err) < 0)
		return -1;
	return qcow2_bulk_map(b, guest, compressed_entry(s, c->host, c->enc_len), 0, err);
}

static int bulk_place(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	struct qcow2_bulk *s = b->priv;
	struct qcow2_unit *p = u->priv;
	uint64_t first = u->off >> s->o.cluster_bits;
	size_t n = unit_clusters(s, u);

	if (u->off & (s->cluster_size - 1))
		return err_set(err, ERR_FAILED, "a unit begins inside a cluster");
	if (map_until(b, first, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct unit_cluster *c = &p->clusters[i];

		if (c->kind == CLUSTER_ZERO && s->o.preallocation != PREALLOC_OFF) {
			s->mapped = first + i;
			if (map_until(b, first + i + 1, err) < 0)
				return -1;
		} else if (place_cluster(b, first + i, c, err) < 0) {
			return -1;
		}
	}
	s->mapped = first + n;
	return 0;
}

static int bulk_place_zero(struct bulk *b, uint64_t off, uint64_t len, struct err *err)
{
	struct qcow2_bulk *s = b->priv;
	uint64_t end = min_u64(off + len, s->o.size);

	if (!s->has_backing) /* unallocated clusters are not read, whatever the device holds */
		return 0;
	if (off & (s->cluster_size - 1) ||
	    (end != s->o.size && end & (s->cluster_size - 1) && end < b->params->size))
		return err_set(err, ERR_FAILED, "a range of zeros does not end at a cluster");
	for (uint64_t g = off >> s->o.cluster_bits; g << s->o.cluster_bits < end; g++)
		if (map_zero(b, g, err) < 0)
			return -1;
	return 0;
}

/* Plain bytes that are contiguous on both sides. Blocks of zeros are left out where the target reads as zero
 * anyway: an image of scattered 4 KiB blocks must not become 64 KiB for each. */
static int write_plain(struct bulk *b, struct bfile *f, const uint8_t *p, uint64_t host, size_t len,
		       struct err *err)
{
	struct qcow2_bulk *s = b->priv;
	size_t from = 0, at = 0;

	if (!s->data && (!b->params->target_is_zero || s->o.preallocation == PREALLOC_FULL))
		return bfile_pwrite(f, p, len, host, err);
	while (at < len) {
		size_t z = at;

		while (z < len && is_zero(p + z, min_u64(HOLE_STEP, len - z)))
			z += min_u64(HOLE_STEP, len - z);
		if (z - at >= HOLE_MIN || (z > at && (z == len || from == at))) {
			if (at > from && bfile_pwrite(f, p + from, at - from, host + from, err) < 0)
				return -1;
			from = z;
		}
		at = z + min_u64(HOLE_STEP, len - z);
	}
	return len > from ? bfile_pwrite(f, p + from, len - from, host + from, err) : 0;
}

static int store_run(struct bulk *b, struct bulk_unit *u, size_t first, size_t n, struct err *err)
{
	struct qcow2_bulk *s = b->priv;
	struct qcow2_unit *p = u->priv;
	uint64_t host = p->clusters[first].host;
	size_t cs = s->cluster_size, off = first * cs;
	size_t len = min_u64(n * cs, u->len - off);

	if (s->luks)
		return qcow2_bulk_crypt_store(b, u, u->data + off, n * cs, host, err);
	if (!u->src)
		return write_plain(b, s->data ? s->data : b->file, u->data + off, host,
				   s->data ? min_u64(n * cs, s->o.size - host) : n * cs, err);
	if (s->data) {
		/* bulk_copy_range() writes to the bulk's file: one that stands for the data file */
		struct bulk at = {.ops = b->ops, .params = b->params, .file = s->data};
		int r = bulk_copy_range(&at, u->src, u->src_off + off, host, len, err);

		b->cloned_bytes += at.cloned_bytes;
		return r;
	}
	if (bulk_copy_range(b, u->src, u->src_off + off, host, len, err) < 0)
		return -1;
	if (b->params->target_is_zero || len % cs == 0)
		return 0;
	return bfile_zero(b->file, host + len, cs - len % cs, false, err);
}

static int bulk_store(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	struct qcow2_bulk *s = b->priv;
	struct qcow2_unit *p = u->priv;
	const struct unit_cluster *c = p->clusters;
	size_t n = unit_clusters(s, u), i = 0, end;

	while (i < n) {
		end = i + 1;
		if (c[i].kind == CLUSTER_PLAIN) {
			while (end < n && c[end].kind == CLUSTER_PLAIN &&
			       c[end].host == c[end - 1].host + s->cluster_size)
				end++;
			if (store_run(b, u, i, end - i, err) < 0)
				return -1;
		} else if (c[i].kind == CLUSTER_COMPRESSED) {
			while (end < n && c[end].kind == CLUSTER_COMPRESSED &&
			       c[end].host == c[end - 1].host + c[end - 1].enc_len)
				end++;
			if (bfile_pwrite(b->file, u->encoded + c[i].enc_off,
					 c[end - 1].enc_off + c[end - 1].enc_len - c[i].enc_off,
					 c[i].host, err) < 0)
				return -1;
		}
		i = end;
	}
	return 0;
}

static int bulk_finish(struct bulk *b, struct err *err)
{
	struct qcow2_bulk *s = b->priv;

	if (map_until(b, div_up(s->o.size, s->cluster_size), err) < 0)
		return -1;
	return qcow2_bulk_finish(b, err);
}

static int bulk_measure(const struct bulk_params *p, uint64_t data_granules, uint32_t granule,
			uint64_t *ret_required, uint64_t *ret_full, struct err *err)
{
	struct qcow2_bulk_options o;
	uint64_t table, blocks, sizes[2];

	if (qcow2_bulk_options_parse(p, &o, err) < 0)
		return -1;

	uint64_t all = div_up(o.size, 1ULL << o.cluster_bits);
	uint64_t data[2] = {
		min_u64(all, div_up(data_granules * (uint64_t)granule, 1ULL << o.cluster_bits)),
		all};

	for (int i = 0; i < 2; i++) {
		uint64_t n = o.preallocation != PREALLOC_OFF ? all : data[i];
		uint64_t used = 1 + qcow2_bulk_crypt_clusters(&o) + (o.data_file ? 0 : n) +
				div_up(n, 1ULL << o.l2_bits) +
				div_up(o.l1_entries * 8, 1ULL << o.cluster_bits);

		if (qcow2_refcount_layout(used, o.cluster_bits, o.refcount_order, &table, &blocks,
					  err) < 0)
			return -1;
		sizes[i] = ((used + table + blocks) << o.cluster_bits) + (o.data_file ? o.size : 0);
	}
	*ret_required = sizes[0];
	*ret_full = sizes[1];
	return 0;
}

const struct bulk_ops qcow2_bulk_ops = {
	.begin = bulk_begin,
	.unit_init = bulk_unit_init,
	.unit_free = bulk_unit_free,
	.encode = bulk_encode,
	.takes = bulk_takes,
	.place = bulk_place,
	.store = bulk_store,
	.place_zero = bulk_place_zero,
	.finish = bulk_finish,
	.abort = bulk_abort,
	.can_copy = true,
	.can_resume = true,
	.save = bulk_save,
	.load = bulk_load,
	.measure = bulk_measure,
};
