/* Two images: equal, or where they differ first. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/iszero.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/copy/parts.h"

enum { PIECES_MAX = 256 };

/* A guest range that the extents do not prove equal. */
struct piece {
	uint64_t off;
	size_t len, buf_off;
};

struct compare_unit {
	struct piece pieces[PIECES_MAX];
	unsigned n;
	uint64_t begin, end;
	uint8_t *a, *b;
	uint64_t first;	    /* first difference; UINT64_MAX: none */
	uint64_t differing; /* bytes in blocks that differ */
};

struct comparing {
	struct image *img[2]; /* the longer one first */
	uint64_t size, b_size;
	bool all;
	struct progress *progress;
	uint64_t pos;		   /* produce's */
	_Atomic bool found;	   /* set by commit, ends produce early */
	uint64_t first, differing; /* commit's */
};

static int init(void *ctx, void *unit, struct err *err)
{
	struct compare_unit *u = unit;

	(void)ctx;
	u->a = aligned_alloc(ZERO_BLOCK, UNIT_BYTES);
	u->b = aligned_alloc(ZERO_BLOCK, UNIT_BYTES);
	return u->a && u->b ? 0 : err_nomem(err);
}

static void release(void *ctx, void *unit)
{
	struct compare_unit *u = unit;

	(void)ctx;
	free(u->a);
	free(u->b);
}

static int produce(void *ctx, void *unit, struct err *err)
{
	struct comparing *c = ctx;
	struct compare_unit *u = unit;
	size_t used = 0;

	u->n = 0;
	u->begin = c->pos;
	if (atomic_load(&c->found) && !c->all)
		return 0;
	while (c->pos < c->size && used < UNIT_BYTES && u->n < PIECES_MAX) {
		struct extent e = {0};
		enum pair_kind kind = PAIR_SAME;

		if (stop_check(err) < 0 || plan_pair(c->img[0], c->img[1], c->b_size, c->pos,
						     c->size - c->pos, &e, &kind, err) < 0)
			return -1;
		if (kind != PAIR_SAME) {
			struct piece *last = u->n ? &u->pieces[u->n - 1] : NULL;

			e.len = min_u64(e.len, UNIT_BYTES - used);
			if (last && last->off + last->len == c->pos)
				last->len += (size_t)e.len;
			else
				u->pieces[u->n++] = (struct piece){c->pos, (size_t)e.len, used};
			used += (size_t)e.len;
		}
		c->pos += e.len;
	}
	u->end = c->pos;
	return u->n > 0;
}

/* What @img shows at the piece, zeros beyond its end. */
static int read_padded(struct image *img, uint64_t size, const struct piece *p, uint8_t *buf,
		       struct err *err)
{
	uint64_t have = p->off < size ? min_u64(p->len, size - p->off) : 0;

	memset(buf + have, 0, p->len - (size_t)have);
	if (have && image_read(img, buf, p->off, (size_t)have, err) < 0)
		return err_object(err, image_name(img));
	return 0;
}

static void compare_piece(struct compare_unit *u, const struct piece *p)
{
	const uint8_t *a = u->a + p->buf_off, *b = u->b + p->buf_off;

	if (memcmp(a, b, p->len) == 0)
		return;
	for (size_t at = 0, n; at < p->len; at += n) {
		n = (size_t)min_u64(p->len - at, ZERO_BLOCK - ((p->off + at) & (ZERO_BLOCK - 1)));
		if (memcmp(a + at, b + at, n) == 0)
			continue;
		u->differing += n;
		for (size_t i = at; u->first == UINT64_MAX; i++)
			if (a[i] != b[i])
				u->first = p->off + i;
	}
}

static int work(void *ctx, void *unit, struct err *err)
{
	struct comparing *c = ctx;
	struct compare_unit *u = unit;

	u->first = UINT64_MAX;
	u->differing = 0;
	for (unsigned i = 0; i < u->n; i++) {
		const struct piece *p = &u->pieces[i];

		if (read_padded(c->img[0], c->size, p, u->a + p->buf_off, err) < 0 ||
		    read_padded(c->img[1], c->b_size, p, u->b + p->buf_off, err) < 0)
			return -1;
		compare_piece(u, p);
	}
	return 0;
}

static int commit(void *ctx, void *unit, struct err *err)
{
	struct comparing *c = ctx;
	struct compare_unit *u = unit;

	(void)err;
	progress_add(c->progress, u->end - u->begin);
	c->differing += u->differing;
	if (u->first == UINT64_MAX || atomic_load(&c->found))
		return 0;
	c->first = u->first;
	atomic_store(&c->found, true);
	return 0;
}

static int compare_files(struct image *a, struct image *b, unsigned threads, bool all, bool strict,
			 struct progress *progress, struct compare_result *ret, struct err *err)
{
	static const struct pipeline_ops ops = {.unit_size = sizeof(struct compare_unit),
						.unit_init = init,
						.unit_free = release,
						.produce = produce,
						.work = work,
						.commit = commit};
	bool swap = image_size(b) > image_size(a);
	struct comparing c = {.img = {swap ? b : a, swap ? a : b},
			      .all = all,
			      .progress = progress,
			      .first = UINT64_MAX};

	c.size = image_size(c.img[0]);
	c.b_size = image_size(c.img[1]);
	*ret = (struct compare_result){.size_a = image_size(a), .size_b = image_size(b)};
	progress_begin(progress, "compare", c.size);
	if (pipeline_run(&ops, &c, threads, 0, err) < 0)
		return -1;
	ret->first_difference = c.first;
	ret->differing_bytes = all ? c.differing : 0;
	if (strict && c.size != c.b_size && c.first > c.b_size)
		ret->first_difference = c.b_size; /* there one of them ends */
	ret->equal = ret->first_difference == UINT64_MAX;
	return 0;
}

int image_compare(struct image *a, struct image *b, unsigned threads, bool all, bool strict,
		  struct progress *progress, struct compare_result *ret, struct err *err)
{
	struct image *spool[2] = {NULL, NULL};
	int rc = -1;

	if ((!image_is_stream(a) || spool_image(a, progress, &spool[0], err) == 0) &&
	    (!image_is_stream(b) || spool_image(b, progress, &spool[1], err) == 0))
		rc = compare_files(spool[0] ? spool[0] : a, spool[1] ? spool[1] : b, threads, all,
				   strict, progress, ret, err);
	image_close(spool[0]);
	image_close(spool[1]);
	return rc;
}
