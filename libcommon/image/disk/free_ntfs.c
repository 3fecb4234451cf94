/* Free clusters of NTFS: the file $Bitmap. What is needed of the rest: file records, attributes, run lists. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/disk/freemap.h"

enum {
	RECORD_MOST = 4096,
	RECORD_LOGFILE = 2,
	RECORD_VOLUME = 3,
	RECORD_BITMAP = 6,
	ATTR_VOLUME = 0x70,
	ATTR_DATA = 0x80,
	ATTR_END = -1,
	PIECE = 64 << 10,
	VOLUME_DIRTY = 1,
};

struct ntfs {
	uint32_t sector, cluster, record; /* bytes */
	uint64_t clusters, mft;		  /* mft: bytes of the volume */
};

static bool parse(const uint8_t *b, uint64_t len, struct ntfs *f)
{
	uint64_t sectors = get_le64(b + 40), mft;
	unsigned per = b[13], rec = b[64];

	f->sector = get_le16(b + 11);
	if (memcmp(b + 3, "NTFS    ", 8) != 0 || f->sector < 256 || f->sector > 4096 ||
	    !is_pow2(f->sector))
		return false;
	/* Above 128 it is a negated power of two */
	if (per > 128)
		per = 256 - per <= 12 ? 1U << (256 - per) : 0;
	if (!per || !is_pow2(per) || (uint64_t)per * f->sector > 2U << 20)
		return false;
	f->cluster = per * f->sector;
	f->record = rec > 128 ? (256 - rec <= 12 ? 1U << (256 - rec) : 0) : rec * f->cluster;
	if (f->record < 512 || f->record > RECORD_MOST || !is_pow2(f->record))
		return false;
	f->clusters = sectors / per;
	mft = get_le64(b + 48);
	if (!f->clusters || sectors > len / f->sector || mft >= f->clusters)
		return false;
	f->mft = mft * f->cluster;
	return true;
}

static int ntfs_find(const struct volume *v, struct ntfs *f, bool *ret, struct err *err)
{
	uint8_t b[512];

	*ret = false;
	if (v->len < sizeof(b))
		return 0;
	if (volume_read(v, b, 0, sizeof(b), err) < 0)
		return -1;
	*ret = parse(b, v->len, f);
	return 0;
}

static int ntfs_probe(const struct volume *v, bool *ret, struct err *err)
{
	struct ntfs f;

	return ntfs_find(v, &f, ret, err);
}

/* A record with its last two bytes of each 512 put back */
static int read_record(const struct volume *v, const struct ntfs *f, unsigned number, uint8_t *r,
		       struct err *err)
{
	if (volume_read(v, r, f->mft + (uint64_t)number * f->record, f->record, err) < 0)
		return -1;

	uint32_t at = get_le16(r + 4), count = get_le16(r + 6);

	if (memcmp(r, "FILE", 4) != 0 || count != f->record / 512 + 1 || at < 40 ||
	    at + 2 * count > f->record)
		return err_set(err, ERR_CORRUPT, "NTFS file record %u is damaged", number);
	for (uint32_t i = 1; i < count; i++) {
		uint8_t *end = r + (size_t)i * 512 - 2;

		if (memcmp(end, r + at, 2) != 0)
			return err_set(err, ERR_CORRUPT, "NTFS file record %u was written in part",
				       number);
		memcpy(end, r + at + 2 * i, 2);
	}
	return 0;
}

/* The first unnamed attribute of @type; *@ret_len is inside the record, and at least @least */
static int find_attribute(const struct ntfs *f, const uint8_t *r, uint32_t type, uint32_t least,
			  const uint8_t **ret, uint32_t *ret_len, struct err *err)
{
	uint32_t at = get_le16(r + 20), len;

	for (; at <= f->record - 16; at += len) {
		uint32_t t = get_le32(r + at);

		if (t == (uint32_t)ATTR_END)
			break;
		len = get_le32(r + at + 4);
		if (len < 16 || len > f->record - at)
			break;
		if (t != type || r[at + 9])
			continue;
		if (len < least)
			break;
		*ret = r + at;
		*ret_len = len;
		return 0;
	}
	return err_set(err, ERR_CORRUPT, "an NTFS file record has no attribute %#" PRIx32, type);
}

struct run {
	uint64_t start, count; /* clusters */
};

/* The next run at *@p; Return: 1, 0 at the end, -1 */
static int next_run(const struct ntfs *f, const uint8_t **p, const uint8_t *end, struct run *r,
		    struct err *err)
{
	unsigned count_len, start_len;
	uint64_t delta = 0;

	if (*p >= end || !**p)
		return 0;
	count_len = **p & 15;
	start_len = **p >> 4;
	if (!count_len || count_len > 8 || !start_len || start_len > 8 ||
	    end - *p < 1 + (ptrdiff_t)(count_len + start_len))
		return err_set(err, ERR_CORRUPT, "an NTFS run list is damaged");
	(*p)++;
	r->count = 0;
	for (unsigned i = 0; i < count_len; i++)
		r->count |= (uint64_t) * (*p)++ << 8 * i;
	for (unsigned i = 0; i < start_len; i++)
		delta |= (uint64_t) * (*p)++ << 8 * i;
	if (start_len < 8 && delta >> (8 * start_len - 1))
		delta |= ~0ULL << 8 * start_len; /* negative */
	r->start += delta;			 /* wraps as intended; held against the bounds */
	if (!r->count || !range_inside(r->start, r->count, f->clusters))
		return err_set(err, ERR_CORRUPT,
			       "an NTFS run of %" PRIu64 " clusters lies at %" PRIu64
			       ", the volume has %" PRIu64,
			       r->count, r->start, f->clusters);
	return 1;
}

static int run_list(const uint8_t *a, uint32_t len, const uint8_t **ret, struct err *err)
{
	uint32_t at = get_le16(a + 32);

	if (!a[8] || at < 64 || at >= len)
		return err_set(err, ERR_UNSUPPORTED, "an NTFS system file lies in its record");
	if (get_le16(a + 12)) /* compressed, encrypted, sparse */
		return err_set(err, ERR_CORRUPT, "an NTFS system file is not plain");
	*ret = a + at;
	return 0;
}

static int dirty(const char *why, struct err *err)
{
	err_set(err, ERR_UNSUPPORTED, "the NTFS file system %s", why);
	return err_hint(err, "start Windows and shut it down (with fast startup off)");
}

static int check_volume(const struct volume *v, const struct ntfs *f, uint8_t *r, struct err *err)
{
	const uint8_t *a;
	uint32_t len, at;

	if (read_record(v, f, RECORD_VOLUME, r, err) < 0 ||
	    find_attribute(f, r, ATTR_VOLUME, 36, &a, &len, err) < 0)
		return -1;
	at = get_le16(a + 20);
	if (a[8] || at > len - 12)
		return err_set(err, ERR_CORRUPT, "the NTFS volume information is damaged");
	return get_le16(a + at + 10) & VOLUME_DIRTY ? dirty("is marked dirty", err) : 0;
}

/* One restart page: *@ret_lsn 0 when there is none */
static int restart_page(const struct volume *v, uint64_t off, uint64_t *ret_lsn, bool *ret_clean,
			uint32_t *ret_page, struct err *err)
{
	uint8_t p[512];
	uint32_t at;

	*ret_lsn = 0;
	if (volume_read(v, p, off, sizeof(p), err) < 0)
		return -1;
	at = get_le16(p + 24);
	if (memcmp(p, "RSTR", 4) != 0 || at < 30 || at > sizeof(p) - 32)
		return 0;
	*ret_page = get_le32(p + 16);
	*ret_lsn = get_le64(p + at) | 1; /* 0 means none */
	*ret_clean = get_le16(p + at + 12) == 0xffff || get_le16(p + at + 14) & 2;
	return 0;
}

/* As ntfs-3g tells a mounted or hibernated volume: the newer restart page names a client, without the clean flag */
static int check_log(const struct volume *v, const struct ntfs *f, uint8_t *r, struct err *err)
{
	const uint8_t *a, *p;
	uint32_t len, page = 0, unused;
	struct run run = {0};
	uint64_t lsn, second_lsn = 0;
	bool clean = true, second_clean = true;

	if (read_record(v, f, RECORD_LOGFILE, r, err) < 0 ||
	    find_attribute(f, r, ATTR_DATA, 72, &a, &len, err) < 0 || run_list(a, len, &p, err) < 0)
		return -1;

	int got = next_run(f, &p, a + len, &run, err);

	if (got <= 0)
		return got < 0 ? -1 : err_set(err, ERR_CORRUPT, "the NTFS log has no clusters");
	if (restart_page(v, run.start * f->cluster, &lsn, &clean, &page, err) < 0)
		return -1;
	if (lsn && page >= 512 && page <= 65536 && page + 512 <= run.count * f->cluster &&
	    restart_page(v, run.start * f->cluster + page, &second_lsn, &second_clean, &unused,
			 err) < 0)
		return -1;
	if (second_lsn > lsn)
		clean = second_clean;
	/* No page: the log is empty, as tools leave it that have emptied it */
	return clean ? 0 : dirty("is in use or hibernated", err);
}

static int read_bitmap(const struct volume *v, const struct ntfs *f, uint8_t *r, struct freemap *m,
		       struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(PIECE);
	const uint8_t *a, *p;
	uint32_t len;
	struct run run = {0};
	uint64_t done = 0;

	if (!buf)
		return err_nomem(err);
	if (read_record(v, f, RECORD_BITMAP, r, err) < 0 ||
	    find_attribute(f, r, ATTR_DATA, 72, &a, &len, err) < 0 || run_list(a, len, &p, err) < 0)
		return -1;
	if (get_le64(a + 48) < div_up(f->clusters, 8))
		return err_set(err, ERR_CORRUPT, "the NTFS bitmap is too short");
	while (done < f->clusters) {
		int got = next_run(f, &p, a + len, &run, err);

		if (got <= 0)
			return got < 0 ? -1
				       : err_set(err, ERR_CORRUPT, "the NTFS bitmap is too short");

		uint64_t off = run.start * f->cluster, end = off + run.count * f->cluster;

		for (uint64_t n; off < end && done < f->clusters; off += n) {
			n = min_u64(PIECE, end - off);

			uint64_t bits = min_u64(n * 8, f->clusters - done);

			if (stop_check(err) < 0 || volume_read(v, buf, off, (size_t)n, err) < 0 ||
			    freemap_bits(m, v, buf, done, bits, 0, f->cluster, err) < 0)
				return -1;
			done += bits;
		}
	}
	return 0;
}

static int ntfs_read(const struct volume *v, struct freemap *m, struct err *err)
{
	uint8_t record[RECORD_MOST];
	struct ntfs f;
	bool found;

	if (ntfs_find(v, &f, &found, err) < 0)
		return -1;
	if (!found)
		return err_set(err, ERR_CORRUPT,
			       "the NTFS boot sector has changed under our hands");
	if (check_volume(v, &f, record, err) < 0 || check_log(v, &f, record, err) < 0)
		return -1;
	return read_bitmap(v, &f, record, m, err);
}

const struct free_reader free_ntfs = {"ntfs", ntfs_probe, ntfs_read};
