/* New streamOptimized images: one pass, no seek, so that a pipe takes them.
 *
 *	header (directory "at the end"), descriptor, then
 *	for each 32 MiB of the disk that has data: its grains, each behind a marker; marker, grain table
 *	marker, grain directory; marker, footer (the header, with the directory's place); end-of-stream marker
 *
 * place() says where the bytes go and gathers what store() writes: tables stand between grains, so they travel with the
 * unit that comes behind them.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/iszero.h"
#include "libcommon/image/format/vmdk/bulk_writer.h"

#define HEAD_SECTORS 128U /* header and descriptor, as VMware has it */
#define TABLE_BYTES  (VMDK_SECTOR + NEW_GTES * 4)

enum { UNIT_GRAINS = BULK_UNIT_MAX / NEW_GRAIN, MARKER_HEAD = 12, MOST_PIECES = 6 };

struct stream_bulk {
	struct vmdk_bulk_options o;
	struct vmdk_packers *packers;
	/* Changed by place and finish alone */
	uint64_t pos; /* bytes */
	bool begun;   /* the header has its place */
	uint32_t *gd; /* sectors, in the order of the file */
	uint64_t n_tables;
	uint64_t table_no;	    /* whose entries are gathered; UINT64_MAX: none */
	uint8_t table[TABLE_BYTES]; /* marker and entries */
};

/* struct stream_unit - bulk_unit.priv */
struct stream_unit {
	unsigned n;
	vmdk_sum sum; /* of the first grain */
	struct {
		uint32_t no, off,
			len; /* grain of the unit; in unit->encoded, with marker and padding */
	} grain[UNIT_GRAINS];
	/* Set by place: what store() writes, one behind the other */
	struct {
		const uint8_t *p;
		size_t len;
		uint64_t host;
	} piece[MOST_PIECES];
	unsigned n_pieces, n_tables;
	uint8_t table[2][TABLE_BYTES];
	uint8_t *head;
};

static int stream_begin(struct bulk *b, struct err *err)
{
	struct stream_bulk *s = calloc(1, sizeof(*s));

	if (!s)
		return err_nomem(err);
	b->priv = s;
	b->granule = NEW_GRAIN;
	s->table_no = UINT64_MAX;
	if (vmdk_bulk_options_parse(b, &s->o, err) < 0)
		return -1;
	s->n_tables = div_up(s->o.sectors, (uint64_t)NEW_GRAIN_SECTORS * NEW_GTES);
	s->gd = calloc(max_u64(s->n_tables, 1), sizeof(*s->gd));
	if (!s->gd)
		return err_nomem(err);
	return vmdk_packers_new(&s->packers, s->o.level, err);
}

static void stream_abort(struct bulk *b)
{
	struct stream_bulk *s = b->priv;

	if (!s)
		return;
	vmdk_packers_free(s->packers);
	free(s->gd);
	free(s);
	b->priv = NULL;
}

static int stream_unit_init(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	(void)b;
	u->priv = calloc(1, sizeof(struct stream_unit));
	return u->priv ? 0 : err_nomem(err);
}

static void stream_unit_free(struct bulk *b, struct bulk_unit *u)
{
	struct stream_unit *p = u->priv;

	(void)b;
	if (p)
		free(p->head);
	free(p);
	u->priv = NULL;
}

static bool stream_takes(const struct bulk *b, enum codec codec)
{
	return !b->params->compress_level && (codec == CODEC_ZLIB || codec == CODEC_DEFLATE);
}

static int encode_grain(struct stream_bulk *s, struct bulk_unit *u, size_t i, struct err *err)
{
	struct stream_unit *p = u->priv;
	uint8_t *out = u->encoded + u->encoded_len;
	size_t len = 0, padded;

	if (u->packed && u->packed[i].len)
		len = vmdk_take_packed(&u->packed[i], u->data + i * NEW_GRAIN, out + MARKER_HEAD,
				       vmdk_pack_room());
	if (!len && vmdk_pack(s->packers, u->data + i * NEW_GRAIN, out + MARKER_HEAD,
			      vmdk_pack_room(), &len, err) < 0)
		return -1;
	if (p->n == 0)
		vmdk_sum_data(&p->sum, u->data + i * NEW_GRAIN, u->off + i * NEW_GRAIN, NEW_GRAIN);
	put_le64(out, (u->off + i * NEW_GRAIN) / VMDK_SECTOR);
	put_le32(out + 8, (uint32_t)len);
	len += MARKER_HEAD;
	padded = round_up(len, VMDK_SECTOR);
	memset(out + len, 0, padded - len);
	p->grain[p->n].no = (uint32_t)i;
	p->grain[p->n].off = (uint32_t)u->encoded_len;
	p->grain[p->n].len = (uint32_t)padded;
	p->n++;
	u->encoded_len += padded;
	return 0;
}

static int stream_encode(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	struct stream_unit *p = u->priv;
	size_t n = div_up(u->len, NEW_GRAIN);
	size_t room = round_up(MARKER_HEAD + vmdk_pack_room(), VMDK_SECTOR);

	p->n = 0;
	p->sum = 0;
	u->encoded_len = 0;
	if (u->src)
		return err_set(err, ERR_FAILED, "a unit to compress has no data");
	if (bulk_reserve(u, n * room, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (!is_zero(u->data + i * NEW_GRAIN, NEW_GRAIN) &&
		    encode_grain(b->priv, u, i, err) < 0)
			return -1;
	return 0;
}

static struct vmdk_header header(const struct stream_bulk *s, uint64_t gd_sector)
{
	return (struct vmdk_header){.version = 3,
				    .flags = VMDK_NEWLINES | VMDK_COMPRESSED | VMDK_MARKERS,
				    .capacity = s->o.sectors,
				    .grain_sectors = NEW_GRAIN_SECTORS,
				    .desc_offset = 1,
				    .desc_sectors = NEW_DESC_SECTORS,
				    .gtes = NEW_GTES,
				    .gd_offset = gd_sector,
				    .overhead = HEAD_SECTORS,
				    .algorithm = 1};
}

/* The sum, and number and length of each grain */
static size_t stream_save(const struct bulk *b, const struct bulk_unit *u, uint8_t *out)
{
	const struct stream_unit *p = u->priv;

	(void)b;
	put_le64(out, p->sum);
	for (unsigned i = 0; i < p->n; i++) {
		put_le32(out + 8 + 8 * i, p->grain[i].no);
		put_le32(out + 12 + 8 * i, p->grain[i].len);
	}
	return 8 + 8 * (size_t)p->n;
}

static int stream_load(struct bulk *b, struct bulk_unit *u, const uint8_t *in, size_t len,
		       struct err *err)
{
	struct stream_unit *p = u->priv;

	(void)b;
	p->n = (unsigned)min_u64(len < 8 ? 0 : (len - 8) / 8, div_up(u->len, NEW_GRAIN));
	if (bulk_load_len(len, 8 + 8 * (size_t)p->n, err) < 0)
		return -1;
	p->sum = get_le64(in);
	u->encoded_len = 0;
	for (unsigned i = 0; i < p->n; i++) {
		p->grain[i].no = get_le32(in + 8 + 8 * i);
		p->grain[i].len = get_le32(in + 12 + 8 * i);
		p->grain[i].off = (uint32_t)u->encoded_len;
		u->encoded_len += p->grain[i].len;
	}
	return bulk_reserve(u, u->encoded_len + 1, err); /* place() points into it */
}

/* Header and descriptor: *@ret is owned. The content ID comes of the first grain, of which @sum is: a stream cannot go back to tell
 * of the others. A stream without a name gets VMware's; libvmdk wants to find the file by it. */
static int make_head(const struct bulk *b, uint64_t sum, uint8_t **ret, struct err *err)
{
	const struct stream_bulk *s = b->priv;
	const struct vmdk_header h = header(s, VMDK_GD_AT_END);
	CLEANUP_FREE uint8_t *head = calloc(HEAD_SECTORS, VMDK_SECTOR);
	CLEANUP_FREE char *text = NULL;
	uint32_t cid;
	size_t len;

	if (!head)
		return err_nomem(err);
	if (vmdk_cid(b, sum, &cid, err) < 0 ||
	    vmdk_new_text(b, &s->o, cid, NULL, "SPARSE",
			  vmdk_own_name(b->params, "generated-stream.vmdk"), &text, &len, err) < 0)
		return -1;
	vmdk_header_encode(&h, head);
	memcpy(head + VMDK_SECTOR, text, min_u64(len, NEW_DESC_SECTORS * VMDK_SECTOR));
	*ret = steal_ptr(&head);
	return 0;
}

static void make_marker(uint8_t sector[VMDK_SECTOR], enum vmdk_marker type, uint64_t sectors)
{
	memset(sector, 0, VMDK_SECTOR);
	put_le64(sector, sectors);
	put_le32(sector + 12, type);
}

/* The gathered table is complete: its place is the next one. */
static int end_table(struct stream_bulk *s, struct err *err)
{
	uint64_t sector = s->pos / VMDK_SECTOR + 1;

	if (sector > UINT32_MAX)
		return err_set(err, ERR_UNSUPPORTED,
			       "the file would have more than 2 TiB, which VMDKs cannot address");
	make_marker(s->table, MARKER_GT, NEW_GT_SECTORS);
	s->gd[s->table_no] = (uint32_t)sector;
	s->table_no = UINT64_MAX;
	return 0;
}

static void add_piece(struct stream_bulk *s, struct stream_unit *p, const uint8_t *from, size_t len)
{
	unsigned last = p->n_pieces - 1;

	if (p->n_pieces && p->piece[last].p + p->piece[last].len == from) {
		p->piece[last].len += len;
	} else {
		p->piece[p->n_pieces].p = from;
		p->piece[p->n_pieces].len = len;
		p->piece[p->n_pieces++].host = s->pos;
	}
	s->pos += len;
}

static int place_grain(struct stream_bulk *s, struct bulk_unit *u, unsigned i, struct err *err)
{
	struct stream_unit *p = u->priv;
	uint64_t no = u->off / NEW_GRAIN + p->grain[i].no, table_no = no / NEW_GTES;

	if (s->table_no != UINT64_MAX && s->table_no != table_no) {
		/* At most two: a unit is shorter than what a table maps */
		if (p->n_tables == 2)
			return err_set(err, ERR_FAILED, "a unit spans three grain tables");
		if (end_table(s, err) < 0)
			return -1;
		memcpy(p->table[p->n_tables], s->table, TABLE_BYTES);
		add_piece(s, p, p->table[p->n_tables++], TABLE_BYTES);
	}
	if (s->table_no == UINT64_MAX) {
		memset(s->table, 0, sizeof(s->table));
		s->table_no = table_no;
	}
	if (s->pos / VMDK_SECTOR > UINT32_MAX)
		return err_set(err, ERR_UNSUPPORTED,
			       "the file would have more than 2 TiB, which VMDKs cannot address");
	put_le32(s->table + VMDK_SECTOR + no % NEW_GTES * 4, (uint32_t)(s->pos / VMDK_SECTOR));
	add_piece(s, p, u->encoded + p->grain[i].off, p->grain[i].len);
	return 0;
}

static int stream_place(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	struct stream_bulk *s = b->priv;
	struct stream_unit *p = u->priv;

	p->n_pieces = p->n_tables = 0;
	if (p->n && !s->begun) {
		free(p->head);
		p->head = NULL;
		if (make_head(b, p->sum, &p->head, err) < 0)
			return -1;
		add_piece(s, p, p->head, HEAD_SECTORS * VMDK_SECTOR);
		s->begun = true;
	}
	for (unsigned i = 0; i < p->n; i++)
		if (place_grain(s, u, i, err) < 0)
			return -1;
	return 0;
}

static int stream_store(struct bulk *b, struct bulk_unit *u, struct err *err)
{
	const struct stream_unit *p = u->priv;

	for (unsigned i = 0; i < p->n_pieces; i++)
		if (bfile_pwrite(b->file, p->piece[i].p, p->piece[i].len, p->piece[i].host, err) <
		    0)
			return -1;
	return 0;
}

static int append(struct bulk *b, const void *p, size_t len, struct err *err)
{
	struct stream_bulk *s = b->priv;

	if (bfile_pwrite(b->file, p, len, s->pos, err) < 0)
		return -1;
	s->pos += len;
	return 0;
}

static int append_marker(struct bulk *b, enum vmdk_marker type, uint64_t sectors, struct err *err)
{
	uint8_t sector[VMDK_SECTOR];

	make_marker(sector, type, sectors);
	return append(b, sector, sizeof(sector), err);
}

static int append_directory(struct bulk *b, uint64_t *ret_sector, struct err *err)
{
	struct stream_bulk *s = b->priv;
	size_t len = round_up(max_u64(s->n_tables, 1) * 4, VMDK_SECTOR);
	CLEANUP_FREE uint8_t *dir = calloc(1, len);

	if (!dir)
		return err_nomem(err);
	for (uint64_t i = 0; i < s->n_tables; i++)
		put_le32(dir + i * 4, s->gd[i]);
	if (append_marker(b, MARKER_GD, len / VMDK_SECTOR, err) < 0)
		return -1;
	*ret_sector = s->pos / VMDK_SECTOR;
	return append(b, dir, len, err);
}

static int stream_finish(struct bulk *b, struct err *err)
{
	struct stream_bulk *s = b->priv;
	uint8_t sector[VMDK_SECTOR];
	struct vmdk_header h;
	uint64_t gd = 0;

	if (!s->begun) { /* nothing but zeros */
		CLEANUP_FREE uint8_t *head = NULL;

		if (make_head(b, 0, &head, err) < 0 ||
		    append(b, head, HEAD_SECTORS * VMDK_SECTOR, err) < 0)
			return -1;
	}
	if (s->table_no != UINT64_MAX &&
	    (end_table(s, err) < 0 || append(b, s->table, TABLE_BYTES, err) < 0))
		return -1;
	if (append_directory(b, &gd, err) < 0)
		return -1;
	h = header(s, gd);
	vmdk_header_encode(&h, sector);
	if (append_marker(b, MARKER_FOOTER, 1, err) < 0 ||
	    append(b, sector, sizeof(sector), err) < 0)
		return -1;
	return append_marker(b, MARKER_EOS, 0, err);
}

static int stream_measure(const struct bulk_params *p, uint64_t data_granules, uint32_t granule,
			  uint64_t *ret_required, uint64_t *ret_full, struct err *err)
{
	uint64_t sectors = div_up(p->size, VMDK_SECTOR);
	uint64_t tables = div_up(sectors, (uint64_t)NEW_GRAIN_SECTORS * NEW_GTES);
	uint64_t grains = div_up(sectors, NEW_GRAIN_SECTORS);
	uint64_t grain = round_up(MARKER_HEAD + vmdk_pack_room(), VMDK_SECTOR);
	uint64_t meta = HEAD_SECTORS * VMDK_SECTOR + tables * TABLE_BYTES +
			round_up(max_u64(tables, 1) * 4, VMDK_SECTOR) + 4 * VMDK_SECTOR;

	(void)granule, (void)err;
	*ret_full = meta + grains * grain;
	*ret_required = meta + min_u64(grains, data_granules) * grain;
	return 0;
}

const struct bulk_ops vmdk_stream_bulk_ops = {
	.begin = stream_begin,
	.unit_init = stream_unit_init,
	.unit_free = stream_unit_free,
	.encode = stream_encode,
	.takes = stream_takes,
	.place = stream_place,
	.store = stream_store,
	.finish = stream_finish,
	.abort = stream_abort,
	.can_stream = true,
	.can_resume = true,
	.save = stream_save,
	.load = stream_load,
	.measure = stream_measure,
};
