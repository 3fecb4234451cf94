/* A unit of work: its memory, reading its runs, cutting them into bulk units. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/iszero.h"
#include "libcommon/image/codec.h"
#include "libcommon/image/copy/parts.h"

int unit_init(struct unit *u, size_t buf_size, bool with_base, struct err *err)
{
	/* Page aligned for direct I/O; mapped when touched. */
	u->buf = aligned_alloc(ZERO_BLOCK, buf_size);
	if (with_base)
		u->base_buf = aligned_alloc(ZERO_BLOCK, buf_size);
	if (!u->buf || (with_base && !u->base_buf))
		return err_nomem(err);
	u->buf_size = buf_size;
	return 0;
}

int unit_keep_packed(struct unit *u, uint32_t granule, struct err *err)
{
	u->n_packed = u->buf_size / granule;
	u->packed = calloc(u->n_packed, sizeof(*u->packed));
	return u->packed ? 0 : err_nomem(err);
}

void unit_release(struct unit *u, struct bulk *b)
{
	for (unsigned i = 0; i < u->bulk_made; i++) {
		if (b && b->ops->unit_free)
			b->ops->unit_free(b, u->bulk[i]);
		free(u->bulk[i]->encoded);
		free(u->bulk[i]);
	}
	free(u->bulk);
	free(u->packed);
	free(u->packed_bytes);
	free(u->runs);
	free(u->parts);
	free(u->buf);
	free(u->base_buf);
}

/* @items with room for one more than @n. */
static void *grow(void *items, unsigned n, unsigned *room, size_t size, struct err *err)
{
	if (n < *room)
		return items;

	unsigned more = *room ? 2 * *room : 16;
	void *p = reallocarray(items, more, size);

	if (!p) {
		err_nomem(err);
		return NULL;
	}
	*room = more;
	return p;
}

struct run *unit_add_run(struct unit *u, struct err *err)
{
	struct run *runs = grow(u->runs, u->n_runs, &u->runs_room, sizeof(*runs), err);

	if (!runs)
		return NULL;
	u->runs = runs;
	runs[u->n_runs] = (struct run){.first_part = u->n_parts};
	return &runs[u->n_runs++];
}

int unit_add_part(struct unit *u, struct run *r, const struct part *part, struct err *err)
{
	struct part *last = r->n_parts ? &u->parts[u->n_parts - 1] : NULL;

	/* Compressed clusters come one by one: neighbours are one read. */
	if (last && !last->layer && !part->layer && last->off + last->len == part->off &&
	    last->file == part->file &&
	    (!part->file || last->host_off + last->len == part->host_off)) {
		last->len += part->len;
		return 0;
	}

	struct part *parts = grow(u->parts, u->n_parts, &u->parts_room, sizeof(*parts), err);

	if (!parts)
		return -1;
	u->parts = parts;
	parts[u->n_parts++] = *part;
	r->n_parts++;
	return 0;
}

int part_read(struct image *img, const struct part *part, void *buf, struct err *err)
{
	int rc = part->file && !part->layer
			 ? bfile_pread(part->file, buf, part->len, part->host_off, err)
			 : image_read(img, buf, part->off, part->len, err);

	return rc < 0 ? err_object(err, image_name(img)) : 0;
}

/* Bytes of the buffer that run @i has: a whole number of granules. */
static size_t run_room(const struct unit *u, unsigned i)
{
	size_t end = u->bytes;

	for (unsigned j = i + 1; j < u->n_runs; j++)
		if (u->runs[j].kind == RUN_DATA) {
			end = u->runs[j].buf_off;
			break;
		}
	return end - u->runs[i].buf_off;
}

/* Room for the compressed bytes of all parts. */
static int packed_reserve(struct unit *u, struct err *err)
{
	size_t want = 0;

	u->passed_bytes = 0;
	if (!u->packed)
		return 0;
	memset(u->packed, 0, u->n_packed * sizeof(*u->packed));
	for (unsigned i = 0; i < u->n_parts; i++)
		want += u->parts[i].layer ? (size_t)u->parts[i].host_len : 0;
	if (want <= u->packed_room)
		return 0;
	free(u->packed_bytes);
	u->packed_room = 0;
	u->packed_bytes = malloc(want);
	if (!u->packed_bytes)
		return err_nomem(err);
	u->packed_room = want;
	return 0;
}

/* A compressed granule to @buf, and as it is to *@bytes, which moves on. */
static int packed_read(struct unit *u, struct image *src, const struct part *part, uint8_t *buf,
		       uint8_t **bytes, struct err *err)
{
	const struct extent e = {.off = part->off,
				 .len = part->len,
				 .kind = EXTENT_DATA,
				 .codec = part->codec,
				 .file = part->file,
				 .host_off = part->host_off,
				 .host_len = part->host_len,
				 .layer = part->layer};
	struct bulk_packed *packed = &u->packed[(size_t)(buf - u->buf) / part->len];
	size_t len;

	if (codec_read_packed(part->layer->codec_cache, &e, *bytes, buf, &len, err) < 0)
		return -1;
	if (!len) /* damaged, or decoded with more patience */
		return part_read(src, part, buf, err);
	*packed = (struct bulk_packed){part->codec, (uint32_t)len, *bytes};
	*bytes += len;
	u->passed_bytes += part->len;
	return 0;
}

int unit_read(struct unit *u, struct image *src, struct err *err)
{
	uint64_t total = 0;
	uint8_t *bytes;

	if (packed_reserve(u, err) < 0)
		return -1;
	bytes = u->packed_bytes;

	for (unsigned i = 0; i < u->n_runs; i++) {
		const struct run *r = &u->runs[i];
		uint8_t *at = u->buf + r->buf_off;
		uint64_t done = r->off;

		if (r->kind != RUN_DATA)
			continue;
		for (unsigned j = 0; j < r->n_parts; j++) {
			const struct part *part = &u->parts[r->first_part + j];

			memset(at + (done - r->off), 0, (size_t)(part->off - done));
			if ((part->layer
				     ? packed_read(u, src, part, at + (part->off - r->off), &bytes,
						   err)
				     : part_read(src, part, at + (part->off - r->off), err)) < 0)
				return -1;
			done = part->off + part->len;
			total += part->len;
		}

		/* The last granule of the disk may be a part of one. */
		memset(at + (done - r->off), 0, run_room(u, i) - (size_t)(done - r->off));
	}
	u->read_bytes = total;
	return 0;
}

struct bulk_unit *unit_next_bulk(struct unit *u, struct bulk *b, struct err *err)
{
	if (u->n_bulk == u->bulk_made) {
		struct bulk_unit **list =
			grow(u->bulk, u->bulk_made, &u->bulk_room, sizeof(*list), err);

		if (!list)
			return NULL;
		u->bulk = list;
		list[u->bulk_made] = calloc(1, sizeof(**list));
		if (!list[u->bulk_made]) {
			err_nomem(err);
			return NULL;
		}
		u->bulk_made++;
		if (b->ops->unit_init && b->ops->unit_init(b, list[u->bulk_made - 1], err) < 0)
			return NULL;
	}

	struct bulk_unit *bu = u->bulk[u->n_bulk++];

	bu->zero_known = false;
	bu->encoded_len = 0;
	bu->data = NULL;
	bu->packed = NULL;
	bu->src = NULL;
	bu->src_off = 0;
	return bu;
}

static int emit_data(struct unit *u, struct bulk *b, const struct run *r, uint64_t from,
		     uint64_t to, struct err *err)
{
	struct bulk_unit *bu = unit_next_bulk(u, b, err);

	if (!bu)
		return -1;
	bu->off = r->off + from;
	bu->len = (size_t)(min_u64(to, r->len) - from);
	bu->data = u->buf + r->buf_off + from;
	if (u->packed)
		bu->packed = u->packed + (r->buf_off + from) / b->granule;
	return 0;
}

static int emit_clone(struct unit *u, struct bulk *b, const struct run *r, struct err *err)
{
	struct bulk_unit *bu = unit_next_bulk(u, b, err);

	if (!bu)
		return -1;
	bu->off = r->off;
	bu->len = (size_t)r->len;
	bu->src = u->parts[r->first_part].file;
	bu->src_off = u->parts[r->first_part].host_off;
	return 0;
}

/* Only granules that differ from the base, each row of them a bulk unit. */
static int cut_against_base(struct unit *u, struct target *t, const struct run *r, struct err *err)
{
	struct bulk *b = &t->bulk;
	const uint8_t *data = u->buf + r->buf_off;
	uint8_t *base = u->base_buf;
	uint64_t size = image_size(t->base);
	uint64_t have = r->off < size ? min_u64(r->len, size - r->off) : 0;
	uint64_t end = round_up(r->len, b->granule), from = 0;
	bool differs = false;

	if (have && image_read(t->base, base, r->off, (size_t)have, err) < 0)
		return err_object(err, image_name(t->base));
	memset(base + have, 0, (size_t)(end - have));
	for (uint64_t at = 0; at <= end; at += b->granule) {
		bool now = at < end && memcmp(data + at, base + at, b->granule) != 0;

		if (now && !differs)
			from = at;
		if (differs && !now && emit_data(u, b, r, from, at, err) < 0)
			return -1;
		differs = now;
	}
	return 0;
}

/* Zero granules at both ends go; those between are the format's to find: it looks at each anyway. */
static int cut_zeros(struct unit *u, struct bulk *b, const struct run *r, struct err *err)
{
	const uint8_t *data = u->buf + r->buf_off;
	uint64_t from = 0, to = round_up(r->len, b->granule);

	while (from < to && is_zero(data + from, b->granule))
		from += b->granule;
	while (to > from && is_zero(data + to - b->granule, b->granule))
		to -= b->granule;
	return from < to ? emit_data(u, b, r, from, to, err) : 0;
}

int unit_cut(struct unit *u, struct target *t, struct err *err)
{
	u->n_bulk = 0;
	for (unsigned i = 0; i < u->n_runs; i++) {
		const struct run *r = &u->runs[i];
		int rc = 0;

		if (r->kind == RUN_CLONE)
			rc = emit_clone(u, &t->bulk, r, err);
		else if (r->kind == RUN_DATA && t->base)
			rc = cut_against_base(u, t, r, err);
		else if (r->kind == RUN_DATA && !t->params.target_is_zero)
			rc = emit_data(u, &t->bulk, r, 0, r->len, err);
		else if (r->kind == RUN_DATA)
			rc = cut_zeros(u, &t->bulk, r, err);
		if (rc < 0)
			return -1;
	}
	return 0;
}

int unit_take_all(struct unit *u, struct bulk *b, struct err *err)
{
	u->n_bulk = 0;
	for (unsigned i = 0; i < u->n_runs; i++) {
		struct bulk_unit *bu = unit_next_bulk(u, b, err);

		if (!bu)
			return -1;
		bu->off = u->runs[i].off;
		bu->len = (size_t)u->runs[i].len;
		bu->src = b->file;
	}
	return unit_encode(u, b, err);
}

int unit_encode(struct unit *u, struct bulk *b, struct err *err)
{
	for (unsigned i = 0; b->ops->encode && i < u->n_bulk; i++)
		if (b->ops->encode(b, u->bulk[i], err) < 0)
			return -1;
	return 0;
}
