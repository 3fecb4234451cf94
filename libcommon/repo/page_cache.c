/* The page cache: see page_cache.h.
 *
 * One mutex guards the slots; pages are loaded outside of it. Two threads that miss the same page at once both load
 * it, and the second one's copy is dropped: that costs a few microseconds and needs no waiting.
 */
#include "libcommon/repo/page_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"

struct slot {
	struct repo_id id;
	struct page *page; /* NULL: free */
	unsigned pins;
	uint64_t used; /* clock of the last use */
};

struct page_cache {
	struct store *st;
	pthread_mutex_t lock;
	struct slot *slots; /* guarded by lock, as all below */
	size_t n, room, limit;
	uint64_t clock;
};

int page_cache_new(struct page_cache **ret, struct store *st, unsigned pages, struct err *err)
{
	struct page_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return err_nomem(err);
	c->st = st;
	c->limit = pages ? pages : 1;
	pthread_mutex_init(&c->lock, NULL);
	*ret = c;
	return 0;
}

void page_cache_free(struct page_cache *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n; i++)
		page_free(c->slots[i].page);
	free(c->slots);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

int page_load(struct store *st, const struct repo_id *id, unsigned level, struct page **ret,
	      struct err *err)
{
	size_t len;

	if (store_blob_len(st, id, &len, err) < 0)
		return -1;
	if (len > PAGE_BYTES_MAX)
		return err_set(err, ERR_CORRUPT, "page: %zu bytes, more than a page can have", len);

	CLEANUP_FREE uint8_t *data = malloc(len ? len : 1);

	if (!data)
		return err_nomem(err);
	if (store_get(st, BLOB_PAGE, id, data, len, err) < 0)
		return -1;
	return page_decode(ret, data, len, level, err);
}

static struct slot *find(struct page_cache *c, const struct repo_id *id, unsigned level)
{
	for (size_t i = 0; i < c->n; i++) {
		struct slot *s = &c->slots[i];

		if (s->page && s->page->level == level && memcmp(&s->id, id, sizeof(*id)) == 0)
			return s;
	}
	return NULL;
}

/* A slot for a new page: a free one, else the one longest unused, else (all pinned) one more. */
static struct slot *take_slot(struct page_cache *c)
{
	struct slot *best = NULL;

	for (size_t i = 0; i < c->n && c->n >= c->limit; i++) {
		struct slot *s = &c->slots[i];

		if (!s->pins && (!best || s->used < best->used))
			best = s;
	}
	if (best) {
		page_free(best->page);
		best->page = NULL;
		return best;
	}
	if (c->n == c->room) {
		size_t room = c->room ? 2 * c->room : 16;
		struct slot *more = realloc(c->slots, room * sizeof(*more));

		if (!more)
			return NULL;
		c->slots = more;
		c->room = room;
	}
	best = &c->slots[c->n++];
	memset(best, 0, sizeof(*best));
	return best;
}

static const struct page *pin(struct page_cache *c, struct slot *s)
{
	s->pins++;
	s->used = ++c->clock;
	return s->page;
}

int page_cache_get(struct page_cache *c, const struct repo_id *id, unsigned level,
		   const struct page **ret, struct err *err)
{
	pthread_mutex_lock(&c->lock);

	struct slot *s = find(c, id, level);

	if (s)
		*ret = pin(c, s);
	pthread_mutex_unlock(&c->lock);
	if (s)
		return 0;

	struct page *page;

	if (page_load(c->st, id, level, &page, err) < 0)
		return -1;
	pthread_mutex_lock(&c->lock);
	s = find(c, id, level);
	if (s) {
		page_free(page);
	} else {
		s = take_slot(c);
		if (s) {
			s->id = *id;
			s->page = page;
			s->pins = 0;
		}
	}
	if (s)
		*ret = pin(c, s);
	else
		page_free(page);
	pthread_mutex_unlock(&c->lock);
	return s ? 0 : err_nomem(err);
}

void page_cache_put(struct page_cache *c, const struct page *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < c->n; i++) {
		if (c->slots[i].page == p) {
			c->slots[i].pins--;
			break;
		}
	}
	pthread_mutex_unlock(&c->lock);
}
