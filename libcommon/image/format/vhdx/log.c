/* The log of a VHDX: a ring of entries that hold sectors of 4 KiB to be written elsewhere. What a crash left in it is
 * laid over the file, in memory for those who only read, by writing for others.
 *
 * Only places are kept: the bytes of a sector are read from the log when they are asked for, so the memory follows
 * from the number of changes.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/vhdx/vhdx.h"

enum {
	SECTOR = VHDX_LOG_SECTOR,
	PIECES_MOST = 8192,
	DATA_FROM = 8, /* of a data sector in the log: bytes that are the sector's own */
	DATA_TO = SECTOR - 4,
};

/* A range that reads otherwise than in the file */
struct piece {
	uint64_t off, len;
	bool zero;
	uint32_t log_pos;	   /* of the data sector */
	uint8_t lead[8], trail[4]; /* which the log has elsewhere */
};

struct vhdx_log {
	struct bfile *file; /* borrowed */
	struct bfile over;  /* the file with the pieces over it */
	uint64_t offset;
	uint32_t length;
	struct vhdx_guid guid;
	struct piece *pieces; /* sorted, none over another */
	size_t n, room;
	uint64_t changes;  /* descriptors seen */
	uint64_t last_end; /* what the file grows to */
	uint64_t budget;   /* bytes that may still be summed: entries of a hostile log overlap */
};

struct entry {
	uint32_t pos, length, tail, descriptors;
	uint64_t sequence, flushed, last;
};

/* The ring: a read may go over its end */
static int log_read(struct vhdx_log *l, uint32_t pos, void *buf, size_t len, struct err *err)
{
	size_t first = (size_t)min_u64(len, l->length - pos);

	if (bfile_pread(l->file, buf, first, l->offset + pos, err) < 0)
		return -1;
	return first == len
		       ? 0
		       : bfile_pread(l->file, (uint8_t *)buf + first, len - first, l->offset, err);
}

static uint32_t advance(const struct vhdx_log *l, uint32_t pos, uint32_t by)
{
	return (uint32_t)(((uint64_t)pos + by) % l->length);
}

static int entry_sum(struct vhdx_log *l, const struct entry *e, uint32_t *ret, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(16 * SECTOR);
	uint32_t crc = 0;

	if (!buf)
		return err_nomem(err);
	if (e->length > l->budget)
		return err_set(err, ERR_CORRUPT,
			       "the log at offset %" PRIu64 " holds entries that overlap",
			       l->offset);
	l->budget -= e->length;
	for (uint32_t at = 0; at < e->length;) {
		uint32_t n = (uint32_t)min_u64(e->length - at, 16 * SECTOR);

		if (log_read(l, advance(l, e->pos, at), buf, n, err) < 0)
			return -1;
		crc = vhdx_crc(crc, buf, n, at ? SIZE_MAX : VHDX_CHECKSUM_AT);
		at += n;
	}
	*ret = crc;
	return 0;
}

/* Return: 1 an entry, 0 none, -1 */
static int entry_at(struct vhdx_log *l, uint32_t pos, struct entry *e, struct err *err)
{
	uint8_t p[VHDX_LOG_HEADER];
	uint32_t sum = 0;

	if (log_read(l, pos, p, sizeof(p), err) < 0)
		return -1;
	*e = (struct entry){.pos = pos,
			    .length = get_le32(p + 8),
			    .tail = get_le32(p + 12),
			    .sequence = get_le64(p + 16),
			    .descriptors = get_le32(p + 24),
			    .flushed = get_le64(p + 48),
			    .last = get_le64(p + 56)};
	if (memcmp(p, "loge", 4) != 0 || memcmp(p + 32, l->guid.b, 16) != 0 || !e->sequence ||
	    !e->length || e->length % SECTOR || e->length > l->length || e->tail % SECTOR ||
	    e->tail >= l->length ||
	    VHDX_LOG_HEADER + (uint64_t)e->descriptors * VHDX_LOG_DESCRIPTOR > e->length)
		return 0;
	if (entry_sum(l, e, &sum, err) < 0)
		return -1;
	return sum == get_le32(p + VHDX_CHECKSUM_AT);
}

/* A run of entries, one behind the other */
struct sequence {
	uint32_t start, end; /* of the ring */
	struct entry head;   /* the last one; its tail is where replay begins */
	bool any, valid;
};

static int follow(struct vhdx_log *l, uint32_t pos, struct sequence *s, struct err *err)
{
	uint64_t total = 0;
	struct entry e;
	int rc;

	*s = (struct sequence){.start = pos, .end = pos};
	while ((rc = entry_at(l, s->end, &e, err)) > 0) {
		if ((s->any && e.sequence != s->head.sequence + 1) || total + e.length > l->length)
			break;
		total += e.length;
		s->head = e;
		s->any = true;
		s->end = advance(l, s->end, e.length);
		if (total == l->length)
			break;
	}
	if (rc < 0)
		return -1;
	if (s->any) {
		uint64_t to_tail = ((uint64_t)s->head.tail + l->length - pos) % l->length;

		s->valid = to_tail < total;
	}
	return 0;
}

/* The sequence with the highest number whose last entry says that it begins inside it */
static int find_active(struct vhdx_log *l, struct sequence *best, struct err *err)
{
	uint64_t pos = 0;

	best->valid = false;
	while (pos < l->length) {
		struct sequence s;

		if (follow(l, (uint32_t)pos, &s, err) < 0)
			return -1;
		if (s.valid && (!best->valid || s.head.sequence > best->head.sequence))
			*best = s;
		if (!s.valid)
			pos += SECTOR;
		else if (s.end <= pos)
			break; /* went around */
		else
			pos = s.end;
	}
	return 0;
}

/* ---- pieces */

static int make_room(struct vhdx_log *l, size_t at, size_t count, struct err *err)
{
	if (l->n + count > l->room) {
		size_t room = max_u64(64, 2 * (l->n + count));
		struct piece *more = reallocarray(l->pieces, room, sizeof(*more));

		if (!more)
			return err_nomem(err);
		l->pieces = more;
		l->room = room;
	}
	memmove(l->pieces + at + count, l->pieces + at, (l->n - at) * sizeof(*l->pieces));
	l->n += count;
	return 0;
}

/* The first piece that ends behind @off */
static size_t first_behind(const struct vhdx_log *l, uint64_t off)
{
	size_t low = 0, high = l->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (l->pieces[mid].off + l->pieces[mid].len > off)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* Later entries win. Data pieces are one sector: only runs of zeros are ever cut. */
static int put_piece(struct vhdx_log *l, const struct piece *p, struct err *err)
{
	uint64_t end = p->off + p->len;
	size_t i = first_behind(l, p->off), j;

	if (l->changes++ >= PIECES_MOST)
		return err_set(err, ERR_UNSUPPORTED,
			       "the log at offset %" PRIu64 " holds more than %d changes",
			       l->offset, PIECES_MOST);
	if (i < l->n && l->pieces[i].off < p->off) {
		struct piece *cut = &l->pieces[i];
		uint64_t cut_end = cut->off + cut->len;

		cut->len = p->off - cut->off;
		i++;
		if (cut_end > end) { /* and goes on behind */
			if (make_room(l, i, 1, err) < 0)
				return -1;
			l->pieces[i] = l->pieces[i - 1];
			l->pieces[i].off = end;
			l->pieces[i].len = cut_end - end;
		}
	}
	for (j = i; j < l->n && l->pieces[j].off + l->pieces[j].len <= end; j++)
		;
	if (j < l->n && l->pieces[j].off < end) {
		l->pieces[j].len -= end - l->pieces[j].off;
		l->pieces[j].off = end;
	}
	if (j > i) { /* one of the covered ones becomes this one */
		memmove(l->pieces + i + 1, l->pieces + j, (l->n - j) * sizeof(*l->pieces));
		l->n -= j - i - 1;
	} else if (make_room(l, i, 1, err) < 0) {
		return -1;
	}
	l->pieces[i] = *p;
	return 0;
}

static int bad_descriptor(const struct vhdx_log *l, const struct entry *e, uint32_t i,
			  struct err *err)
{
	return err_set(err, ERR_CORRUPT,
		       "descriptor %" PRIu32 " of the log entry at offset %" PRIu64 " is invalid",
		       i, l->offset + e->pos);
}

static int take_data(struct vhdx_log *l, const struct entry *e, uint32_t i, const uint8_t *d,
		     uint32_t pos, struct err *err)
{
	struct piece p = {.off = get_le64(d + 16), .len = SECTOR, .log_pos = pos};
	uint8_t head[8], tail[4];

	memcpy(p.trail, d + 4, 4);
	memcpy(p.lead, d + 8, 8);
	if (log_read(l, pos, head, sizeof(head), err) < 0 ||
	    log_read(l, pos + DATA_TO, tail, sizeof(tail), err) < 0)
		return -1;
	if (memcmp(head, "data", 4) != 0 || get_le32(head + 4) != e->sequence >> 32 ||
	    get_le32(tail) != (uint32_t)e->sequence || p.off % SECTOR || p.off > INT64_MAX - SECTOR)
		return bad_descriptor(l, e, i, err);
	return put_piece(l, &p, err);
}

static int take_entry(struct vhdx_log *l, const struct entry *e, struct err *err)
{
	uint64_t area =
		round_up(VHDX_LOG_HEADER + (uint64_t)e->descriptors * VHDX_LOG_DESCRIPTOR, SECTOR);
	uint64_t data = area;

	for (uint32_t i = 0; i < e->descriptors; i++) {
		uint8_t d[VHDX_LOG_DESCRIPTOR];
		uint32_t at = advance(l, e->pos, VHDX_LOG_HEADER + i * VHDX_LOG_DESCRIPTOR);

		if (log_read(l, at, d, sizeof(d), err) < 0)
			return -1;
		if (get_le64(d + 24) != e->sequence)
			return bad_descriptor(l, e, i, err);
		if (!memcmp(d, "desc", 4)) {
			if (data + SECTOR > e->length)
				return bad_descriptor(l, e, i, err);
			if (take_data(l, e, i, d, advance(l, e->pos, (uint32_t)data), err) < 0)
				return -1;
			data += SECTOR;
			continue;
		}

		struct piece p = {.off = get_le64(d + 16), .len = get_le64(d + 8), .zero = true};

		if (memcmp(d, "zero", 4) != 0 || p.off % SECTOR || p.len % SECTOR ||
		    p.len > INT64_MAX || p.off > INT64_MAX - p.len)
			return bad_descriptor(l, e, i, err);
		if (p.len && put_piece(l, &p, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- the file as it will be */

static int fill_piece(struct vhdx_log *l, const struct piece *p, uint8_t *buf, uint64_t off,
		      size_t len, struct err *err)
{
	uint64_t from = max_u64(off, p->off), to = min_u64(off + len, p->off + p->len);
	uint8_t sector[SECTOR];

	if (p->zero) {
		memset(buf + (from - off), 0, (size_t)(to - from));
		return 0;
	}
	if (log_read(l, p->log_pos, sector, SECTOR, err) < 0)
		return -1;
	memcpy(sector, p->lead, DATA_FROM);
	memcpy(sector + DATA_TO, p->trail, sizeof(p->trail));
	memcpy(buf + (from - off), sector + (from - p->off), (size_t)(to - from));
	return 0;
}

static int over_pread(struct bfile *f, void *buf, size_t len, uint64_t off, struct err *err)
{
	struct vhdx_log *l = f->priv;

	if (!range_inside(off, len, f->size))
		return err_set(err, ERR_CORRUPT,
			       "file ends at offset %" PRIu64 ", %zu bytes are wanted at %" PRIu64,
			       f->size, len, off);
	if (bfile_pread_padded(l->file, buf, len, off, err) < 0)
		return -1;
	for (size_t i = first_behind(l, off); i < l->n && l->pieces[i].off < off + len; i++)
		if (fill_piece(l, &l->pieces[i], buf, off, len, err) < 0)
			return -1;
	return 0;
}

static void over_close(struct bfile *f)
{
	(void)f; /* a part of its log */
}

static const struct bfile_ops over_ops = {
	.name = "vhdx-log",
	.pread = over_pread,
	.close = over_close,
};

static void lay_over(struct vhdx_log *l)
{
	uint64_t size = bfile_size(l->file);

	for (size_t i = 0; i < l->n; i++)
		if (!l->pieces[i].zero)
			size = max_u64(size, l->pieces[i].off + SECTOR);
	l->last_end = max_u64(l->last_end, size);
	l->over = (struct bfile){
		.ops = &over_ops, .name = l->file->name, .fd = -1, .size = l->last_end, .priv = l};
}

struct bfile *vhdx_log_file(struct vhdx_log *log)
{
	return &log->over;
}

uint64_t vhdx_log_changes(const struct vhdx_log *log)
{
	return log->changes;
}

void vhdx_log_free(struct vhdx_log *log)
{
	if (!log)
		return;
	free(log->pieces);
	free(log);
}

int vhdx_log_replay(struct vhdx_log *l, struct err *err)
{
	uint8_t sector[SECTOR];

	if (bfile_size(l->file) < l->last_end && bfile_truncate(l->file, l->last_end, err) < 0)
		return -1;
	for (size_t i = 0; i < l->n; i++) {
		const struct piece *p = &l->pieces[i];
		uint64_t len = min_u64(p->len, l->last_end - min_u64(p->off, l->last_end));

		if (!len)
			continue;
		if (p->zero) {
			if (bfile_zero(l->file, p->off, len, false, err) < 0)
				return -1;
		} else if (fill_piece(l, p, sector, p->off, SECTOR, err) < 0 ||
			   bfile_pwrite(l->file, sector, SECTOR, p->off, err) < 0) {
			return -1;
		}
	}
	return bfile_flush(l->file, err);
}

static int take_sequence(struct vhdx_log *l, const struct sequence *s, struct err *err)
{
	uint32_t pos = s->head.tail;
	struct entry e;

	if (s->head.flushed > bfile_size(l->file))
		return err_set(err, ERR_CORRUPT,
			       "the file has %" PRIu64
			       " bytes, its log was written when it had %" PRIu64 ": it was cut",
			       bfile_size(l->file), s->head.flushed);
	/* Bytes in between can only be zeros that nobody wrote: a bound against sizes that lie */
	if (s->head.last > bfile_size(l->file) + (1ULL << 40))
		return err_set(err, ERR_CORRUPT, "the log extends the file to %" PRIu64 " bytes",
			       s->head.last);
	l->last_end = s->head.last;
	do {
		int rc = entry_at(l, pos, &e, err);

		if (rc < 0 || (rc > 0 && take_entry(l, &e, err) < 0))
			return -1;
		if (rc == 0) /* its tail is no entry's begin */
			return err_set(err, ERR_CORRUPT, "there is no log entry at offset %" PRIu64,
				       l->offset + pos);
		pos = advance(l, pos, e.length);
	} while (e.sequence < s->head.sequence);
	return 0;
}

static int find(struct vhdx_log *l, bool *ret_any, struct err *err)
{
	struct sequence active = {0};

	if (find_active(l, &active, err) < 0)
		return -1;
	/* A writer that died before its first entry: nothing was changed yet */
	*ret_any = active.valid;
	if (!active.valid)
		return 0;
	if (take_sequence(l, &active, err) < 0)
		return -1;
	lay_over(l);
	return 0;
}

int vhdx_log_find(struct bfile *file, const struct vhdx_header *h, struct vhdx_log **ret,
		  struct err *err)
{
	struct vhdx_log *l;
	bool any = false;
	int rc;

	*ret = NULL;
	if (vhdx_guid_zero(&h->log) || !h->log_length)
		return 0;
	if (h->log_version)
		return err_set(err, ERR_UNSUPPORTED, "version %" PRIu16 " of the log",
			       h->log_version);
	if (h->log_offset % VHDX_MIB || h->log_length % VHDX_MIB || h->log_offset < VHDX_MIB ||
	    !range_inside(h->log_offset, h->log_length, bfile_size(file)))
		return err_set(err, ERR_CORRUPT,
			       "the log of %" PRIu32 " bytes at offset %" PRIu64
			       " is not inside the file (%" PRIu64 " bytes) or not in whole MiB",
			       h->log_length, h->log_offset, bfile_size(file));
	if (h->log_length > VHDX_LOG_MOST)
		return err_set(err, ERR_UNSUPPORTED,
			       "a log of %" PRIu32
			       " bytes must be replayed: at most %d are possible",
			       h->log_length, VHDX_LOG_MOST);
	l = calloc(1, sizeof(*l));
	if (!l)
		return err_nomem(err);
	l->file = file;
	l->offset = h->log_offset;
	l->length = h->log_length;
	l->guid = h->log;
	l->budget = 4ULL * h->log_length;
	rc = find(l, &any, err);
	if (rc == 0 && any)
		*ret = l;
	else
		vhdx_log_free(l);
	return rc;
}
