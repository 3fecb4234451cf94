/* image_diff(): extents first, bytes only where those do not tell. differ_range(): bytes alone. */
#include "libcommon/image/copy/diff.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/copy/parts.h"

enum { PIECE = 1 << 20 };

struct differ {
	struct image *a, *b;
	uint64_t size; /* of the longer one */
	uint8_t *buf_a, *buf_b;
	diff_fn *fn;
	void *ctx;
	uint64_t from, to; /* the range that is being collected; none when equal */
};

static int emit(struct differ *d, struct err *err)
{
	int rc = d->to > d->from ? d->fn(d->ctx, d->from, d->to - d->from, err) : 0;

	d->from = d->to = 0;
	return rc;
}

static int differs(struct differ *d, uint64_t off, uint64_t len, struct err *err)
{
	if (d->to == off && d->to > d->from) {
		d->to = off + len;
		return 0;
	}
	if (emit(d, err) < 0)
		return -1;
	d->from = off;
	d->to = off + len;
	return 0;
}

/* Bytes of one disk, zeros behind its end */
static int load(struct image *img, uint8_t *buf, uint64_t off, size_t len, struct err *err)
{
	uint64_t size = image_size(img);
	size_t have = off < size ? (size_t)min_u64(len, size - off) : 0;

	memset(buf + have, 0, len - have);
	return have ? image_read(img, buf, off, have, err) : 0;
}

static int compare_piece(struct differ *d, uint64_t off, size_t len, struct err *err)
{
	if (load(d->a, d->buf_a, off, len, err) < 0 || load(d->b, d->buf_b, off, len, err) < 0)
		return -1;
	for (size_t at = 0, n; at < len; at += n) {
		n = (size_t)min_u64(DIFF_BLOCK, len - at);
		if (memcmp(d->buf_a + at, d->buf_b + at, n) != 0 &&
		    differs(d, off + at, n, err) < 0)
			return -1;
	}
	return 0;
}

/* Whole blocks from @off on that are the same by the look of the extents; 0: none */
static int same_run(struct differ *d, uint64_t off, uint64_t *ret, struct err *err)
{
	struct image *a = d->a, *b = d->b;
	enum pair_kind kind;
	struct extent e;
	uint64_t end = off, limit = image_size(a);

	while (end < limit) {
		if (plan_pair(a, b, image_size(b), end, limit - end, &e, &kind, err) < 0)
			return -1;
		if (kind != PAIR_SAME)
			break;
		end += e.len;
	}
	*ret = end == d->size ? end - off : round_down(end, DIFF_BLOCK) - off;
	return 0;
}

static int run(struct differ *d, struct progress *progress, struct err *err)
{
	uint64_t skip;

	for (uint64_t pos = 0, n; pos < d->size; pos += n) {
		if (stop_check(err) < 0)
			return -1;
		skip = 0;
		if (pos < image_size(d->a) && same_run(d, pos, &skip, err) < 0)
			return -1;
		n = skip;
		if (!n) {
			n = min_u64(PIECE, d->size - pos);
			if (compare_piece(d, pos, (size_t)n, err) < 0)
				return -1;
		}
		progress_add(progress, n);
	}
	return emit(d, err);
}

int differ_new(struct differ **ret, struct image *a, struct image *b, diff_fn *fn, void *ctx,
	       struct err *err)
{
	struct differ *d = calloc(1, sizeof(*d));

	if (!d)
		return err_nomem(err);
	*d = (struct differ){.a = a, .b = b, .fn = fn, .ctx = ctx};
	d->size = max_u64(image_size(a), image_size(b));
	d->buf_a = malloc(PIECE);
	d->buf_b = malloc(PIECE);
	if (!d->buf_a || !d->buf_b) {
		differ_free(d);
		return err_nomem(err);
	}
	*ret = d;
	return 0;
}

void differ_free(struct differ *d)
{
	if (!d)
		return;
	free(d->buf_a);
	free(d->buf_b);
	free(d);
}

int differ_range(struct differ *d, uint64_t off, uint64_t len, struct err *err)
{
	uint64_t end = min_u64(off + len, d->size);

	for (uint64_t n; off < end; off += n) {
		n = min_u64(PIECE, end - off);
		if (stop_check(err) < 0 || compare_piece(d, off, (size_t)n, err) < 0)
			return -1;
	}
	return 0;
}

int differ_finish(struct differ *d, struct err *err)
{
	return emit(d, err);
}

int image_diff(struct image *a, struct image *b, struct progress *progress, diff_fn *fn, void *ctx,
	       struct err *err)
{
	struct differ *d;
	int rc;

	if (differ_new(&d, a, b, fn, ctx, err) < 0)
		return -1;
	progress_begin(progress, "diff", d->size);
	rc = run(d, progress, err);
	differ_free(d);
	return rc;
}
