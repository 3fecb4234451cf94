/* disk.raw in a gzipped tar, for Google Compute Engine: the old GNU format, with the sparse map that `tar -S` makes, so
 * that holes cost nothing. Written in order, so to a pipe as well; compressed on all cores, a gzip member a MiB.
 */
#include <inttypes.h>
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/outfile.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/copy/parts.h"
#include "libcommon/image/preset.h"

enum {
	TAR_BLOCK = 512,
	TAR_RECORD = 20 * TAR_BLOCK,
	IN_HEADER = 4,	/* entries of the map in the header */
	IN_BLOCK = 21,	/* in each block that follows it */
	UNIT = 1 << 20, /* of the tar, compressed by itself */
	LEVEL = 6,
	SEGMENTS_MOST = 4 << 20,
};

struct segment {
	uint64_t off, len; /* of the disk */
};

struct archive {
	struct image *src;
	uint64_t size; /* of disk.raw */
	struct segment *segments;
	size_t n, room;
	uint8_t *head; /* header and map */
	size_t head_len;
	uint64_t data_len, total; /* of the data in the tar; of the tar */
	struct progress *progress;
	int fd;
	/* produce's: where the next unit begins in the tar, in which segment, how far into it */
	uint64_t pos;
	size_t segment;
	uint64_t within;
	uint64_t written; /* commit's */
};

struct archive_unit {
	uint64_t pos, segment_within;
	size_t len, segment, packed_len;
	uint64_t guest_end; /* for progress */
	uint8_t *plain, *packed;
	size_t room;
	struct libdeflate_compressor *c;
};

/* ---- the map */

static int add_segment(struct archive *a, uint64_t off, uint64_t end, struct err *err)
{
	struct segment *last = a->n ? &a->segments[a->n - 1] : NULL;

	if (last && off <= last->off + last->len) {
		last->len = max_u64(end, last->off + last->len) - last->off;
		return 0;
	}
	if (a->n == a->room) {
		size_t room = a->room ? 2 * a->room : 64;
		struct segment *more = reallocarray(a->segments, room, sizeof(*more));

		if (!more)
			return err_nomem(err);
		a->segments = more;
		a->room = room;
	}
	if (a->n >= SEGMENTS_MOST)
		return err_set(err, ERR_UNSUPPORTED, "the disk has more than %d pieces of data",
			       SEGMENTS_MOST);
	a->segments[a->n++] = (struct segment){off, end - off};
	return 0;
}

static int find_segments(struct archive *a, struct err *err)
{
	uint64_t size = image_size(a->src);
	struct extent e;

	for (uint64_t pos = 0; pos < size; pos += e.len) {
		if (stop_check(err) < 0 || image_extent(a->src, pos, size - pos, &e, err) < 0)
			return -1;
		if (e.kind == EXTENT_DATA &&
		    add_segment(a, round_down(pos, ZERO_BLOCK),
				min_u64(round_up(pos + e.len, ZERO_BLOCK), a->size), err) < 0)
			return -1;
	}
	for (size_t i = 0; i < a->n; i++)
		a->data_len += a->segments[i].len;
	/* As GNU tar: an empty piece at the end says how long the file is */
	return add_segment(a, a->size, a->size, err);
}

/* ---- the header: GNU tar manual, "Basic Tar Format", struct oldgnu_header */

/* Octal; what needs more than 11 digits in binary with the top bit set */
static void put_number(uint8_t *field, uint64_t v)
{
	if (v < 1ULL << 33) {
		(void)snprintf((char *)field, 12, "%011" PRIo64, v);
		return;
	}
	memset(field, 0, 12);
	field[0] = 0x80;
	for (int i = 11; i >= 4; i--, v >>= 8)
		field[i] = (uint8_t)v;
}

static void put_entries(struct archive *a, uint8_t *at, size_t first, size_t count)
{
	for (size_t i = first; i < first + count && i < a->n; i++, at += 24) {
		put_number(at, a->segments[i].off);
		put_number(at + 12, a->segments[i].len);
	}
}

static void put_checksum(uint8_t *h)
{
	unsigned sum = 0;

	memset(h + 148, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += h[i];
	(void)snprintf((char *)h + 148, 8, "%06o", sum);
}

static uint64_t source_date(void)
{
	const char *text = getenv("SOURCE_DATE_EPOCH");
	char *end;
	unsigned long long v = text && *text ? strtoull(text, &end, 10) : 0;

	return text && *text && *end == '\0' ? v : 0;
}

static int make_head(struct archive *a, struct err *err)
{
	size_t more = a->n > IN_HEADER ? (size_t)div_up(a->n - IN_HEADER, IN_BLOCK) : 0;
	uint8_t *h;

	a->head_len = TAR_BLOCK * (1 + more);
	h = a->head = calloc(1, a->head_len);
	if (!h)
		return err_nomem(err);
	memcpy(h, "disk.raw", 8);
	memcpy(h + 100, "0000644", 7);
	memcpy(h + 108, "0000000", 7);
	memcpy(h + 116, "0000000", 7);
	put_number(h + 124, a->data_len);
	put_number(h + 136, source_date());
	h[156] = 'S';
	memcpy(h + 257, "ustar  ", 7);
	memcpy(h + 265, "root", 4);
	memcpy(h + 297, "root", 4);
	put_entries(a, h + 386, 0, IN_HEADER);
	h[482] = more > 0;
	put_number(h + 483, a->size);
	put_checksum(h);
	for (size_t i = 0; i < more; i++) {
		uint8_t *b = h + TAR_BLOCK * (1 + i);

		put_entries(a, b, IN_HEADER + i * IN_BLOCK, IN_BLOCK);
		b[504] = i + 1 < more;
	}
	/* Two empty blocks end a tar, and records are whole */
	a->total = a->head_len + round_up(a->data_len, TAR_BLOCK) + (uint64_t)2 * TAR_BLOCK;
	a->total = div_up(a->total, TAR_RECORD) * TAR_RECORD;
	return 0;
}

/* ---- the stream */

static int unit_begin(void *ctx, void *unit, struct err *err)
{
	struct archive_unit *u = unit;

	(void)ctx;
	u->c = libdeflate_alloc_compressor(LEVEL);
	u->plain = malloc(UNIT);
	if (!u->c || !u->plain)
		return err_nomem(err);
	u->room = libdeflate_gzip_compress_bound(u->c, UNIT);
	u->packed = malloc(u->room);
	return u->packed ? 0 : err_nomem(err);
}

static void unit_end(void *ctx, void *unit)
{
	struct archive_unit *u = unit;

	(void)ctx;
	libdeflate_free_compressor(u->c);
	free(u->plain);
	free(u->packed);
}

/* Note where the unit begins in the disk, and go on by its length. */
static int produce(void *ctx, void *unit, struct err *err)
{
	struct archive *a = ctx;
	struct archive_unit *u = unit;

	(void)err;
	if (a->pos >= a->total)
		return 0;
	u->pos = a->pos;
	u->len = (size_t)min_u64(UNIT, a->total - a->pos);
	u->segment = a->segment;
	u->segment_within = a->within;
	a->pos += u->len;

	uint64_t left = a->pos > a->head_len ? a->pos - max_u64(u->pos, a->head_len) : 0;

	while (left && a->segment < a->n) {
		uint64_t n = min_u64(left, a->segments[a->segment].len - a->within);

		a->within += n;
		left -= n;
		if (a->within < a->segments[a->segment].len)
			break;
		a->segment++;
		a->within = 0;
	}
	u->guest_end = a->segment < a->n ? a->segments[a->segment].off + a->within : a->size;
	return 1;
}

static int read_disk(struct archive *a, uint8_t *buf, uint64_t off, size_t len, struct err *err)
{
	uint64_t size = image_size(a->src);
	size_t have = off < size ? (size_t)min_u64(len, size - off) : 0;

	memset(buf + have, 0, len - have);
	return have ? image_read(a->src, buf, off, have, err) : 0;
}

static int fill(struct archive *a, struct archive_unit *u, struct err *err)
{
	size_t at = 0;

	if (u->pos < a->head_len) {
		at = (size_t)min_u64(u->len, a->head_len - u->pos);
		memcpy(u->plain, a->head + u->pos, at);
	}
	for (size_t i = u->segment; at < u->len && i < a->n; i++) {
		const struct segment *s = &a->segments[i];
		uint64_t within = i == u->segment ? u->segment_within : 0;
		size_t n = (size_t)min_u64(s->len - within, u->len - at);

		if (n && read_disk(a, u->plain + at, s->off + within, n, err) < 0)
			return -1;
		at += n;
	}
	memset(u->plain + at, 0, u->len - at);
	return 0;
}

static int work(void *ctx, void *unit, struct err *err)
{
	struct archive_unit *u = unit;

	if (fill(ctx, u, err) < 0)
		return -1;
	u->packed_len = libdeflate_gzip_compress(u->c, u->plain, u->len, u->packed, u->room);
	return u->packed_len ? 0 : err_set(err, ERR_FAILED, "cannot compress");
}

static int commit(void *ctx, void *unit, struct err *err)
{
	struct archive *a = ctx;
	struct archive_unit *u = unit;

	a->written += u->packed_len;
	if (a->progress)
		atomic_store(&a->progress->done, u->guest_end);
	return io_write(a->fd, u->packed, u->packed_len, err);
}

static int write_archive(struct archive *a, unsigned threads, struct err *err)
{
	static const struct pipeline_ops ops = {.unit_size = sizeof(struct archive_unit),
						.unit_init = unit_begin,
						.unit_free = unit_end,
						.produce = produce,
						.work = work,
						.commit = commit};

	if (find_segments(a, err) < 0 || make_head(a, err) < 0)
		return -1;
	progress_begin(a->progress, "convert", a->size);
	return pipeline_run(&ops, a, threads, 0, err);
}

static int to_target(struct archive *a, const char *target, const struct copy_opts *opts,
		     struct err *err)
{
	unsigned flags = (opts->force ? OUTFILE_FORCE : 0) | (opts->no_sync ? OUTFILE_NO_SYNC : 0);
	struct outfile *of;
	struct stat st, layer_st;

	if (strcmp(target, "-") == 0) {
		a->fd = STDOUT_FILENO;
		return write_archive(a, opts->threads, err);
	}
	for (struct image *l = a->src; l && stat(target, &st) == 0; l = image_backing(l))
		if (l->file && l->file->fd >= 0 && fstat(l->file->fd, &layer_st) == 0 &&
		    same_inode(&st, &layer_st)) {
			err_set(err, ERR_USAGE, "is the source itself, or a layer of it");
			return err_object(err, target);
		}
	if (outfile_open(&of, target, flags, err) < 0)
		return -1;
	a->fd = outfile_fd(of);
	if (write_archive(a, opts->threads, err) < 0) {
		outfile_discard(of);
		return -1;
	}
	return outfile_commit(of, err);
}

int archive_check(const struct copy_opts *opts, struct err *err)
{
	if (opts->verify || opts->digest || opts->rate_limit || opts->resume)
		return err_set(err, ERR_USAGE,
			       "--verify, --digest, --rate-limit and --resume are not for the "
			       "archive of %s",
			       opts->preset->name);
	return 0;
}

int archive_copy(struct image *src, const char *target, const struct copy_opts *opts,
		 struct copy_stats *ret, struct err *err)
{
	struct archive a = {.src = src, .progress = opts->progress};
	struct image *spool = NULL;
	struct stat st;
	int rc = archive_check(opts, err);

	if (rc == 0 && image_is_stream(src)) {
		rc = spool_image(src, opts->progress, &spool, err);
		a.src = spool;
	}
	if (rc == 0)
		rc = image_preset_size(opts->preset, image_size(a.src), &a.size, err);
	if (rc == 0)
		rc = to_target(&a, target, opts, err);
	ret->virtual_size = a.size;
	ret->data_bytes = ret->read_bytes = a.data_len;
	if (rc == 0 && strcmp(target, "-") && stat(target, &st) == 0) {
		ret->file_size = (uint64_t)st.st_size;
		ret->target_bytes = (uint64_t)st.st_blocks * 512;
	}
	free(a.segments);
	free(a.head);
	image_close(spool);
	return rc;
}
