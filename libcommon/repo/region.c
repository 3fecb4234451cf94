/* Reading and chunking one region: see region.h. */
#include "libcommon/repo/region.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/repo/delta.h"
#include "libcommon/repo/known.h"

int scan_worker_init(struct scan_worker *w, struct err *err)
{
	w->buf = malloc(SCAN_BUF);
	w->chunks = calloc(PAGE_WORDS_MAX, sizeof(*w->chunks));
	w->page = malloc(PAGE_BYTES_MAX);
	w->n_chunks = 0;
	return w->buf && w->chunks && w->page ? 0 : err_nomem(err);
}

void scan_worker_free(struct scan_worker *w)
{
	free(w->buf);
	free(w->chunks);
	free(w->page);
	delta_maker_free(w->delta);
	memset(w, 0, sizeof(*w));
}

/* The reading side of a region: a window of bytes that are not chunked yet. Positions are offsets in the region. */
struct window {
	struct scan *s;
	uint64_t base; /* disk offset of the region */
	uint32_t end;  /* length of the region */
	uint8_t *buf;  /* SCAN_BUF */
	uint32_t at;   /* region offset of buf[head] */
	size_t head, fill;
	uint32_t hole;		   /* a hole begins behind the bytes and ends here; 0: none */
	const struct known *known; /* NULL: everything is read */
};

static uint32_t window_next(const struct window *w)
{
	return w->at + (uint32_t)(w->fill - w->head);
}

/* How far from @pos on bytes must be read: up to the next whole block that an extent says is zero. */
static int plan_read(struct window *w, uint32_t pos, uint32_t room, uint32_t *ret_read,
		     uint32_t *ret_hole_end, struct err *err)
{
	uint32_t p = pos, limit = w->end - pos > room ? pos + room : w->end;

	*ret_hole_end = 0;
	while (p < limit) {
		struct extent e;
		uint64_t ext_end;

		if (image_extent(w->s->image, w->base + p, w->end - p, &e, err) < 0)
			return -1;
		ext_end = p + min_u64(e.len, w->end - p);
		if (e.kind != EXTENT_DATA) {
			uint64_t zero_end =
				ext_end == w->end ? ext_end : round_down(ext_end, CHUNK_BLOCK);

			if (zero_end > p) {
				*ret_hole_end = (uint32_t)zero_end;
				break;
			}
		}
		/* Blocks that are data in part are read whole. */
		p = (uint32_t)min_u64(round_up(ext_end, CHUNK_BLOCK), w->end);
	}
	*ret_read = (p < limit ? p : limit) - pos;
	return 0;
}

/* Read more behind the window, or find that a hole begins there. */
static int window_fill(struct window *w, struct err *err)
{
	uint32_t pos = window_next(w), room, len;

	if (pos == w->end || w->hole)
		return 0;
	memmove(w->buf, w->buf + w->head, w->fill - w->head);
	w->fill -= w->head;
	w->head = 0;
	room = (uint32_t)(SCAN_BUF - w->fill) & ~(uint32_t)(CHUNK_BLOCK - 1);
	if (w->known)
		room = (uint32_t)min_u64(room, known_pause(w->known, pos) - pos);
	if (plan_read(w, pos, room, &len, &w->hole, err) < 0)
		return -1;
	if (len == 0)
		return 0;
	pace_wait(&w->s->pace, len);
	if (image_read(w->s->image, w->buf + w->fill, w->base + pos, len, err) < 0)
		return -1;
	w->fill += len;
	w->s->read_bytes += len;
	return 0;
}

/* The parent's chunks of this region, walked beside the new ones. */
struct beside {
	const struct page *page; /* NULL: none */
	const struct page *like; /* of the tree that shall come out; NULL: none */
	bool look_up;		 /* whether what is the same is there too */
	size_t i;
};

/* The parent's chunk at the place and of the length of @c, if its mark says that the bytes are the same too */
static const struct page_chunk *parent_same(struct beside *b, const struct page_chunk *c)
{
	const struct page_chunk *p;

	if (!b->page || b->look_up)
		return NULL;
	while (b->i < b->page->n && b->page->chunks[b->i].off < c->off)
		b->i++;
	if (b->i == b->page->n)
		return NULL;
	p = &b->page->chunks[b->i];
	return p->off == c->off && p->len == c->len && !memcmp(p->mark, c->mark, PAGE_MARK) ? p
											    : NULL;
}

static int store_blob(struct scan *s, unsigned worker, enum blob_type type, const uint8_t *data,
		      size_t len, const struct repo_id *id, bool *ret_new, struct err *err)
{
	if (s->writer)
		return store_put(s->writer, worker, type, id, data, len, ret_new, err);
	*ret_new = !store_has(s->st, id);
	return 0;
}

/* As a delta on what the parent has there, if that is much less. Return: 1 when it is stored, 0, -1 */
static bool delta_like(const struct page *like, const struct page_chunk *c, struct page_delta *ret)
{
	size_t i = like ? page_find(like, c->off) : 0;

	if (!like || i == like->n || like->chunks[i].off != c->off ||
	    like->chunks[i].len != c->len || !like->chunks[i].delta.len ||
	    memcmp(&like->chunks[i].id, &c->id, sizeof(c->id)) != 0)
		return false;
	*ret = like->chunks[i].delta;
	return true;
}

static int store_delta(struct scan *s, struct scan_worker *w, unsigned worker,
		       const struct beside *b, struct page_chunk *c, const uint8_t *data,
		       bool *ret_new, struct err *err)
{
	struct repo_id wanted;
	const uint8_t *packed;
	struct page_delta d;
	int rc;

	if (!s->writer)
		return 0;
	if (!delta_like(b->like, c, &d) && (b->like || store_has(s->st, &c->id) ||
					    !delta_choose(s->st, b->page, c->off, c->len, &d)))
		return 0;
	wanted = d.id;
	if (!w->delta && delta_maker_new(&w->delta, s->level, err) < 0)
		return -1;
	rc = delta_make(w->delta, s->st, &d, data, c->len, &packed, err);
	if (rc <= 0 || (b->like && memcmp(&wanted, &d.id, sizeof(wanted)) != 0))
		return rc < 0 ? -1 : 0;
	if (store_put(s->writer, worker, BLOB_DELTA, &d.id, packed, d.len, ret_new, err) < 0)
		return -1;
	c->delta = d;
	return 1;
}

static int store_chunk(struct scan *s, struct scan_worker *w, unsigned worker,
		       const struct beside *b, struct page_chunk *c, const uint8_t *data,
		       bool *ret_new, struct err *err)
{
	int rc;

	if (store_id(s->st, BLOB_CHUNK, data, c->len, &c->id, err) < 0)
		return -1;
	rc = store_delta(s, w, worker, b, c, data, ret_new, err);
	return rc ? (rc < 0 ? -1 : 0)
		  : store_blob(s, worker, BLOB_CHUNK, data, c->len, &c->id, ret_new, err);
}

static int add_chunk(struct scan *s, struct scan_worker *w, unsigned worker, struct beside *b,
		     uint32_t off, const uint8_t *data, size_t len, struct err *err)
{
	struct page_chunk *c = &w->chunks[w->n_chunks];
	const struct page_chunk *same;
	bool is_new = false;

	c->off = off;
	c->len = (uint32_t)len;
	c->delta = (struct page_delta){0};
	if (store_mark(s->st, data, len, c->mark, err) < 0)
		return -1;
	same = parent_same(b, c);
	if (same) {
		c->id = same->id;
		c->delta = same->delta;
	} else if (store_chunk(s, w, worker, b, c, data, &is_new, err) < 0) {
		return -1;
	}
	w->n_chunks++;
	s->data_bytes += len;
	s->chunks++;
	if (is_new) {
		s->new_bytes += len;
		s->new_chunks++;
	}
	return 0;
}

static int put_leaf(struct scan *s, struct scan_worker *w, unsigned worker, struct repo_id *ret,
		    struct err *err)
{
	bool is_new;
	size_t len;

	memset(ret, 0, sizeof(*ret));
	if (w->n_chunks == 0)
		return 0;
	len = page_encode_leaf(w->chunks, w->n_chunks, w->page);
	if (store_id(s->st, BLOB_PAGE, w->page, len, ret, err) < 0)
		return -1;
	return store_blob(s, worker, BLOB_PAGE, w->page, len, ret, &is_new, err);
}

/* Go on @len bytes later: what of them was read is dropped. */
static void window_skip(struct window *w, uint32_t len)
{
	w->at += len;
	if (w->fill - w->head >= len) {
		w->head += len;
	} else {
		w->head = w->fill = 0;
		w->hole = 0;
	}
}

/* Take from the parent what did not change; true: something was. The place is always one where a chunk may begin. */
static bool take_known(struct window *w, struct scan_worker *sw)
{
	const struct page_chunk *c;
	uint32_t len, began = w->at;

	while (w->known && w->at < w->end && (len = known_skip(w->known, w->at, &c)) > 0) {
		if (c) {
			sw->chunks[sw->n_chunks++] = *c;
			w->s->data_bytes += c->len;
			w->s->chunks++;
		}
		window_skip(w, len);
	}
	return w->at != began;
}

/* Chunk what is in the window until more is needed; the window is empty when a hole or the end follows. */
static int drain(struct window *w, struct scan_worker *sw, unsigned worker, struct beside *b,
		 struct err *err)
{
	bool last = w->hole || window_next(w) == w->end;
	struct piece piece;

	while (chunker_next(&w->s->chunker, w->buf + w->head, w->fill - w->head, last, &piece)) {
		if (!piece.zero &&
		    add_chunk(w->s, sw, worker, b, w->at, w->buf + w->head, piece.len, err) < 0)
			return -1;
		w->head += piece.len;
		w->at += (uint32_t)piece.len;
		if (take_known(w, sw))
			return 0;
	}
	if (w->hole) {
		w->at = w->hole;
		w->hole = 0;
		w->head = w->fill = 0;
	}
	return 0;
}

static int chunk_region(struct window *w, struct scan_worker *sw, unsigned worker, struct beside *b,
			struct err *err)
{
	for (;;) {
		(void)take_known(w, sw);
		if (w->at >= w->end)
			return 0;
		if (window_fill(w, err) < 0 || drain(w, sw, worker, b, err) < 0)
			return -1;
	}
}

/* A region in which nothing changed is the parent's leaf; true: *@ret is it. The page is not even read. */
static bool reuse_leaf(const struct scan *s, const struct known *k, uint64_t region,
		       struct repo_id *ret)
{
	struct err why = ERR_INIT;

	return !known_changed(k) && tree_leaf_id(s->parent, s->cache, region, ret, &why) == 0;
}

static uint64_t page_bytes(const struct page *p)
{
	uint64_t sum = 0;

	for (size_t i = 0; p && i < p->n; i++)
		sum += p->chunks[i].len;
	return sum;
}

int scan_region(struct scan *s, struct scan_worker *sw, unsigned worker, uint64_t region,
		struct err *err)
{
	struct window w = {.s = s, .base = region * CHUNK_REGION, .buf = sw->buf};
	struct known k = {.changes = s->changes, .base = w.base};
	struct beside b = {.look_up = s->look_up};
	struct repo_id leaf;
	bool known;
	int rc;

	w.end = k.end = (uint32_t)min_u64(CHUNK_REGION, s->size - w.base);
	sw->n_chunks = 0;
	known = s->changes && s->trust_parent && s->parent->size == s->size;
	if (known && reuse_leaf(s, &k, region, &leaf)) {
		progress_add(s->progress, w.end);
		return id_is_none(&leaf) ? 0 : tree_builder_set(s->builder, region, &leaf, err);
	}
	if (s->trust_parent && s->parent && region < tree_regions(s->parent->size)) {
		struct err why = ERR_INIT;

		/* A page that cannot be read is no parent: every chunk is looked up, and stored when missing. */
		if (tree_leaf(s->parent, s->cache, region, &b.page, &why) < 0) {
			b.page = NULL;
			known = false;
		}
	}
	if (s->like) {
		struct err why = ERR_INIT;

		if (tree_leaf(s->like, s->cache, region, &b.like, &why) < 0)
			b.like = NULL;
	}
	if (known) {
		k.page = b.page;
		w.known = &k;
		s->data_bytes -= page_bytes(b.page); /* counted anew */
	}
	rc = chunk_region(&w, sw, worker, &b, err);
	page_cache_put(s->cache, b.page);
	page_cache_put(s->cache, b.like);
	if (rc < 0 || put_leaf(s, sw, worker, &leaf, err) < 0)
		return -1;
	progress_add(s->progress, w.end);
	return id_is_none(&leaf) ? 0 : tree_builder_set(s->builder, region, &leaf, err);
}

int scan_bytes(struct scan *s, struct scan_worker *sw, unsigned worker, const uint8_t *data,
	       size_t len, struct repo_id *ret_leaf, struct err *err)
{
	struct beside none = {0};
	struct piece piece;
	size_t at = 0;

	sw->n_chunks = 0;
	while (chunker_next(&s->chunker, data + at, len - at, true, &piece)) {
		if (!piece.zero &&
		    add_chunk(s, sw, worker, &none, (uint32_t)at, data + at, piece.len, err) < 0)
			return -1;
		at += piece.len;
	}
	return put_leaf(s, sw, worker, ret_leaf, err);
}

int scan_put_page(void *ctx, const uint8_t *data, size_t len, struct repo_id *ret, struct err *err)
{
	struct scan *s = ctx;
	bool is_new;

	if (store_id(s->st, BLOB_PAGE, data, len, ret, err) < 0)
		return -1;
	return store_blob(s, 0, BLOB_PAGE, data, len, ret, &is_new, err);
}
