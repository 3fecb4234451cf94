/* New sparse images in one file (monolithicSparse) or many (twoGbMaxExtentSparse).
 *
 * Each sparse extent: header, descriptor (in the one file alone), redundant directory and tables, directory and
 * tables, grains. Tables have their place whether used or not, as VMware and QEMU have it; those without grains stay
 * holes. Grains begin at multiples of their size, so that file systems can share them. The header comes last.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/iszero.h"
#include "libcommon/image/format/vmdk/bulk_writer.h"

enum { WINDOW = 128, UNIT_GRAINS = BULK_UNIT_MAX / NEW_GRAIN };

/* Where the parts of an extent are: sectors */
struct layout {
	uint64_t tables; /* count */
	uint64_t rgd, rgt, gd, gt, grains;
};

struct sparse_bulk {
	struct vmdk_bulk_options o;
	struct vmdk_files files; /* none when monolithic */
	uint64_t piece;		 /* sectors of an extent but the last */
	size_t n_extents;
	/* Changed by place and place_zero alone: one at a time */
	size_t current;		       /* extent */
	uint64_t *next;		       /* of each extent: first free sector */
	uint64_t window;	       /* index of its first table */
	uint8_t *tables;	       /* WINDOW of them */
	uint64_t first_used, end_used; /* tables in the window, from its first on */
	bool zero_grains;
	vmdk_sum sum;
};

struct sparse_unit {
	vmdk_sum sum;
	struct {
		bool data;
		size_t extent;
		uint64_t host; /* bytes */
	} grain[UNIT_GRAINS];
};

static uint64_t extent_sectors(const struct sparse_bulk *s, size_t i)
{
	return s->files.n ? s->files.f[i].sectors : s->o.sectors;
}

static struct bfile *extent_file(struct bulk *b, const struct sparse_bulk *s, size_t i)
{
	return s->files.n ? s->files.f[i].file : b->file;
}

static struct layout layout_of(uint64_t sectors, bool embedded)
{
	struct layout l = {.tables = div_up(sectors, (uint64_t)NEW_GRAIN_SECTORS * NEW_GTES)};
	uint64_t dir = div_up(l.tables * 4, VMDK_SECTOR);

	l.rgd = 1 + (embedded ? NEW_DESC_SECTORS : 0);
	l.rgt = l.rgd + dir;
	l.gd = l.rgt + l.tables * NEW_GT_SECTORS;
	l.gt = l.gd + dir;
	l.grains = round_up(l.gt + l.tables * NEW_GT_SECTORS, NEW_GRAIN_SECTORS);
	return l;
}

static struct layout layout_at(const struct sparse_bulk *s, size_t i)
{
	return layout_of(extent_sectors(s, i), s->files.n == 0);
}

static int sparse_begin(struct bulk *b, struct err *err)
{
	struct sparse_bulk *s = calloc(1, sizeof(*s));

	if (!s)
		return err_nomem(err);
	b->priv = s;
	b->granule = NEW_GRAIN;
	s->n_extents = 1;
	s->piece = UINT64_MAX / VMDK_SECTOR;
	if (vmdk_bulk_options_parse(b, &s->o, err) < 0)
		return -1;
	if (s->o.subformat == SUB_SPLIT_SPARSE) {
		s->piece = NEW_SPLIT_SECTORS;
		if (vmdk_files_open(b, &s->o, s->piece, &s->files, err) < 0)
			return -1;
		s->n_extents = s->files.n;
	}
	s->tables = calloc(WINDOW, NEW_GT_SECTORS * VMDK_SECTOR);
	s->next = calloc(s->n_extents, sizeof(*s->next));
	if (!s->tables || !s->next)
		return err_nomem(err);
	for (size_t i = 0; i < s->n_extents; i++)
		s->next[i] = layout_at(s, i).grains;
	return 0;
}

static int sparse_unit_init(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	(void)b;
	u->priv = calloc(1, sizeof(struct sparse_unit));
	return u->priv ? 0 : err_nomem(err);
}

static void sparse_unit_free(struct bulk *b, struct bulk_unit *u)
{
	(void)b;
	free(u->priv);
	u->priv = NULL;
}

static int sparse_encode(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	struct sparse_unit *p = u->priv;

	(void)b;
	for (size_t i = 0; i * NEW_GRAIN < u->len; i++)
		p->grain[i].data = u->src || !is_zero(u->data + i * NEW_GRAIN, NEW_GRAIN);
	p->sum = 0;
	return vmdk_sum_unit(&p->sum, u, err);
}

/* The sum, and a byte a grain */
static size_t sparse_save(const struct bulk *b, const struct bulk_unit *u, uint8_t *out)
{
	const struct sparse_unit *p = u->priv;
	size_t n = div_up(u->len, NEW_GRAIN);

	(void)b;
	put_le64(out, p->sum);
	for (size_t i = 0; i < n; i++)
		out[8 + i] = p->grain[i].data;
	return 8 + n;
}

static int sparse_load(struct bulk *b, struct bulk_unit *u, const uint8_t *in, size_t len,
		       struct err *err)
{
	struct sparse_unit *p = u->priv;
	size_t n = div_up(u->len, NEW_GRAIN);

	(void)b;
	if (bulk_load_len(len, 8 + n, err) < 0)
		return -1;
	p->sum = get_le64(in);
	for (size_t i = 0; i < n; i++)
		p->grain[i].data = in[8 + i];
	return 0;
}

/* Both copies of the tables in the window that have entries */
static int flush_window(struct bulk *b, struct err *err)
{
	struct sparse_bulk *s = b->priv;
	struct layout l = layout_at(s, s->current);
	struct bfile *f = extent_file(b, s, s->current);
	size_t size = NEW_GT_SECTORS * VMDK_SECTOR;
	uint64_t first = s->window + s->first_used, n = s->end_used - s->first_used;
	const uint8_t *from = s->tables + s->first_used * size;
	int rc = 0;

	if (!n)
		return 0;
	if (!b->measuring)
		rc = bfile_pwrite(f, from, n * size, (l.rgt + first * NEW_GT_SECTORS) * VMDK_SECTOR,
				  err) |
		     bfile_pwrite(f, from, n * size, (l.gt + first * NEW_GT_SECTORS) * VMDK_SECTOR,
				  err);
	memset(s->tables + s->first_used * size, 0, n * size);
	s->first_used = s->end_used = 0;
	return rc;
}

/* Enter @sector (1: zeros) for a grain of the disk */
static int map_grain(struct bulk *b, uint64_t grain, uint32_t sector, struct err *err)
{
	struct sparse_bulk *s = b->priv;
	size_t extent = grain * NEW_GRAIN_SECTORS / s->piece;
	uint64_t in = grain - extent * (s->piece / NEW_GRAIN_SECTORS);
	uint64_t table = in / NEW_GTES, slot;

	if (extent != s->current || table < s->window || table >= s->window + WINDOW) {
		if (flush_window(b, err) < 0)
			return -1;
		s->current = extent;
		s->window = round_down(table, WINDOW);
	}
	slot = table - s->window;
	if (s->end_used == 0)
		s->first_used = slot;
	s->end_used = slot + 1;
	put_le32(s->tables + (slot * NEW_GTES + in % NEW_GTES) * 4, sector);
	return 0;
}

static int map_zero(struct bulk *b, uint64_t grain, struct err *err)
{
	struct sparse_bulk *s = b->priv;

	s->zero_grains = true;
	return map_grain(b, grain, 1, err);
}

static int sparse_place(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	struct sparse_bulk *s = b->priv;
	struct sparse_unit *p = u->priv;
	uint64_t first = u->off / NEW_GRAIN;

	atomic_fetch_add_explicit(&s->sum, p->sum, memory_order_relaxed);
	for (size_t i = 0; i * NEW_GRAIN < u->len; i++) {
		size_t extent = (first + i) * NEW_GRAIN_SECTORS / s->piece;
		uint64_t sector = s->next[extent];

		if (!p->grain[i].data) {
			if (b->params->backing_name && map_zero(b, first + i, err) < 0)
				return -1;
			continue;
		}
		if (sector > UINT32_MAX)
			return err_set(err, ERR_UNSUPPORTED,
				       "the file would have more than 2 TiB, which sparse VMDKs "
				       "cannot address");
		p->grain[i].extent = extent;
		p->grain[i].host = sector * VMDK_SECTOR;
		s->next[extent] += NEW_GRAIN_SECTORS;
		if (map_grain(b, first + i, (uint32_t)sector, err) < 0)
			return -1;
	}
	return 0;
}

static int sparse_place_zero(struct bulk *b, uint64_t off, uint64_t len, struct err *err)
{
	if (!b->params->backing_name)
		return 0;
	for (uint64_t g = off / NEW_GRAIN; g * NEW_GRAIN < off + len; g++)
		if (map_zero(b, g, err) < 0)
			return -1;
	return 0;
}

static int sparse_store(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	struct sparse_bulk *s = b->priv;
	struct sparse_unit *p = u->priv;
	size_t n = div_up(u->len, NEW_GRAIN), end;

	for (size_t i = 0; i < n; i = end) {
		struct bfile *f = extent_file(b, s, p->grain[i].extent);
		uint64_t host = p->grain[i].host;
		size_t off = i * NEW_GRAIN;

		end = i + 1;
		if (!p->grain[i].data)
			continue;
		while (end < n && p->grain[end].data &&
		       p->grain[end].extent == p->grain[i].extent &&
		       p->grain[end].host == host + (end - i) * NEW_GRAIN)
			end++;

		size_t len = (end - i) * NEW_GRAIN;
		int rc = u->src ? vmdk_copy(b, f, u->src, u->src_off + off, host,
					    min_u64(len, u->len - off), err)
				: vmdk_write_plain(f, u->data + off, host, len, err);

		if (rc < 0)
			return -1;
	}
	return 0;
}

static int write_directory(struct bfile *f, uint64_t dir, uint64_t tables, uint64_t count,
			   struct err *err)
{
	size_t len = round_up(count * 4, VMDK_SECTOR);
	CLEANUP_FREE uint8_t *buf = calloc(1, len);

	if (!buf)
		return err_nomem(err);
	for (uint64_t i = 0; i < count; i++)
		put_le32(buf + i * 4, (uint32_t)(tables + i * NEW_GT_SECTORS));
	return len ? bfile_pwrite(f, buf, len, dir * VMDK_SECTOR, err) : 0;
}

static int write_extent(struct bulk *b, size_t i, struct err *err)
{
	struct sparse_bulk *s = b->priv;
	struct layout l = layout_at(s, i);
	struct bfile *f = extent_file(b, s, i);
	bool embedded = s->files.n == 0;
	const struct vmdk_header h = {.version = s->zero_grains ? 2 : 1,
				      .flags = VMDK_NEWLINES | VMDK_RGD |
					       (s->zero_grains ? VMDK_ZERO_GRAIN : 0),
				      .capacity = extent_sectors(s, i),
				      .grain_sectors = NEW_GRAIN_SECTORS,
				      .desc_offset = embedded ? 1 : 0,
				      .desc_sectors = embedded ? NEW_DESC_SECTORS : 0,
				      .gtes = NEW_GTES,
				      .rgd_offset = l.rgd,
				      .gd_offset = l.gd,
				      .overhead = l.grains};
	uint8_t sector[VMDK_SECTOR];

	vmdk_header_encode(&h, sector);
	if (write_directory(f, l.rgd, l.rgt, l.tables, err) < 0 ||
	    write_directory(f, l.gd, l.gt, l.tables, err) < 0 ||
	    bfile_truncate(f, s->next[i] * VMDK_SECTOR, err) < 0)
		return -1;
	return bfile_pwrite(f, sector, sizeof(sector), 0, err);
}

static int write_embedded(struct bulk *b, uint32_t cid, struct err *err)
{
	struct sparse_bulk *s = b->priv;
	CLEANUP_FREE char *text = NULL;
	size_t len;

	if (vmdk_new_text(b, &s->o, cid, NULL, "SPARSE", vmdk_own_name(b->params, "disk.vmdk"),
			  &text, &len, err) < 0)
		return -1;
	if (len > (size_t)NEW_DESC_SECTORS * VMDK_SECTOR)
		return err_set(err, ERR_USAGE, "the names do not fit into the descriptor");
	return bfile_pwrite(b->file, text, len, VMDK_SECTOR, err);
}

static int sparse_finish(struct bulk *b, struct err *err)
{
	struct sparse_bulk *s = b->priv;
	uint64_t total = 0;
	uint32_t cid;

	if (flush_window(b, err) < 0 || vmdk_cid(b, s->sum, &cid, err) < 0)
		return -1;
	if (s->files.n && vmdk_write_text(b, &s->o, cid, &s->files, "SPARSE", &total, err) < 0)
		return -1;
	if (!s->files.n && !b->measuring && write_embedded(b, cid, err) < 0)
		return -1;
	for (size_t i = 0; i < s->n_extents; i++) {
		total += s->next[i] * VMDK_SECTOR;
		if (!b->measuring && write_extent(b, i, err) < 0)
			return -1;
	}
	if (b->measuring)
		return bfile_truncate(b->file, total, err);
	return vmdk_files_commit(&s->files, err);
}

static void sparse_abort(struct bulk *b)
{
	struct sparse_bulk *s = b->priv;

	if (!s)
		return;
	vmdk_files_close(b, &s->files);
	free(s->next);
	free(s->tables);
	free(s);
	b->priv = NULL;
}

static int sparse_measure(const struct bulk_params *p, uint64_t data_granules, uint32_t granule,
			  uint64_t *ret_required, uint64_t *ret_full, struct err *err)
{
	const char *sub = bulk_option(p, "subformat");
	bool split = sub && !strcmp(sub, "twoGbMaxExtentSparse");
	uint64_t left = div_up(p->size, VMDK_SECTOR), meta = 0, data = 0;

	(void)err;
	do {
		uint64_t n = split ? min_u64(left, NEW_SPLIT_SECTORS) : left;

		meta += layout_of(n, !split).grains * VMDK_SECTOR;
		data += round_up(n * VMDK_SECTOR, NEW_GRAIN);
		left -= n;
	} while (left);
	*ret_full = meta + data;
	*ret_required = meta + min_u64(data, data_granules * granule);
	return 0;
}

const struct bulk_ops vmdk_sparse_bulk_ops = {
	.begin = sparse_begin,
	.unit_init = sparse_unit_init,
	.unit_free = sparse_unit_free,
	.encode = sparse_encode,
	.place = sparse_place,
	.store = sparse_store,
	.place_zero = sparse_place_zero,
	.finish = sparse_finish,
	.abort = sparse_abort,
	.can_copy = true,
	.can_resume = true,
	.save = sparse_save,
	.load = sparse_load,
	.measure = sparse_measure,
};
