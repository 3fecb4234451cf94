/* A bounded set of buffers under keys: see slots.h. */
#include "libcommon/image/slots.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"

/* The slot itself lies behind its buffer, which is aligned to its size: so an address inside the buffer is
 * enough to find the slot. */
struct slot {
	struct slot_key key;
	struct slot *hash_next;
	struct slot *newer, *older; /* only while unpinned and linked */
	uint8_t *buf;
	unsigned pins; /* who holds it, loads it or waits for it */
	bool linked;   /* in the hash: can be found */
	bool loading, failed;
};

struct slots {
	pthread_mutex_t
		lock; /* guards everything below and all slots, not the bytes of pinned buffers */
	pthread_cond_t loaded;
	size_t size;
	unsigned count, limit;
	unsigned mask; /* hash heads - 1 */
	struct slot **heads;
	struct slot *newest, *oldest;
};

int slots_new(struct slots **ret, size_t size, unsigned count, struct err *err)
{
	assert(is_pow2(size) && size >= 64 && count > 0 && count <= 1U << 24);

	CLEANUP_FREE struct slots *s = calloc(1, sizeof(*s));
	unsigned heads = 1;

	while (heads < count)
		heads *= 2;
	if (!s)
		return err_nomem(err);
	s->heads = calloc(heads, sizeof(struct slot *));
	if (!s->heads)
		return err_nomem(err);
	s->size = size;
	s->limit = count;
	s->mask = heads - 1;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->loaded, NULL);
	*ret = steal_ptr(&s);
	return 0;
}

static struct slot **head_of(struct slots *s, struct slot_key key)
{
	uint64_t h = (key.a ^ (key.b << 23)) * 0x9e3779b97f4a7c15ULL;

	return &s->heads[(h >> 32) & s->mask];
}

static struct slot *find(struct slots *s, struct slot_key key)
{
	struct slot *t = *head_of(s, key);

	while (t && (t->key.a != key.a || t->key.b != key.b))
		t = t->hash_next;
	return t;
}

static void unlink_hash(struct slots *s, struct slot *t)
{
	struct slot **at = head_of(s, t->key);

	while (*at != t)
		at = &(*at)->hash_next;
	*at = t->hash_next;
	t->linked = false;
}

static void lru_remove(struct slots *s, struct slot *t)
{
	*(t->newer ? &t->newer->older : &s->newest) = t->older;
	*(t->older ? &t->older->newer : &s->oldest) = t->newer;
	t->newer = t->older = NULL;
}

static void lru_add(struct slots *s, struct slot *t)
{
	t->older = s->newest;
	t->newer = NULL;
	*(s->newest ? &s->newest->newer : &s->oldest) = t;
	s->newest = t;
}

static void release(struct slots *s, struct slot *t)
{
	s->count--;
	free(t->buf);
}

/* A slot that holds nothing, pinned once: a new one below the limit, else the least recently used. */
static struct slot *fresh(struct slots *s)
{
	struct slot *t = s->oldest;

	if (s->count >= s->limit && t) {
		uint8_t *kept = t->buf;

		lru_remove(s, t);
		unlink_hash(s, t);
		memset(t, 0, sizeof(*t));
		t->buf = kept;
	} else {
		void *buf;
		size_t align = s->size;

		if (posix_memalign(&buf, align, s->size + sizeof(struct slot)) != 0)
			return NULL;
		t = (struct slot *)((uint8_t *)buf + s->size);
		memset(t, 0, sizeof(*t));
		t->buf = buf;
		s->count++;
	}
	t->pins = 1;
	return t;
}

static void unpin(struct slots *s, struct slot *t)
{
	if (--t->pins)
		return;
	if (t->linked && s->count <= s->limit) {
		lru_add(s, t);
		return;
	}
	if (t->linked)
		unlink_hash(s, t);
	release(s, t);
}

/* With the lock held; gives it back while @load runs. */
static int load_slot(struct slots *s, struct slot *t,
		     int (*load)(void *, struct slot_key, void *, struct err *), void *ctx,
		     struct err *err)
{
	struct slot **head = head_of(s, t->key);

	t->hash_next = *head;
	*head = t;
	t->linked = true;
	t->loading = true;
	pthread_mutex_unlock(&s->lock);

	int r = load(ctx, t->key, t->buf, err);

	pthread_mutex_lock(&s->lock);
	t->loading = false;
	t->failed = r < 0;
	if (t->failed && t->linked)
		unlink_hash(s, t);
	pthread_cond_broadcast(&s->loaded);
	if (t->failed)
		unpin(s, t);
	return r;
}

int slots_get(struct slots *s, struct slot_key key,
	      int (*load)(void *ctx, struct slot_key key, void *buf, struct err *err), void *ctx,
	      const uint8_t **ret, struct err *err)
{
	struct slot *t;
	int r = 0;

	pthread_mutex_lock(&s->lock);
	while ((t = find(s, key))) {
		if (t->pins++ == 0)
			lru_remove(s, t);
		while (t->loading)
			pthread_cond_wait(&s->loaded, &s->lock);
		if (!t->failed)
			break;
		unpin(s,
		      t); /* another thread failed with it: see for ourselves, for an error of our own */
	}
	if (!t) {
		t = fresh(s);
		if (t) {
			t->key = key;
			r = load_slot(s, t, load, ctx, err);
		} else {
			r = err_nomem(err);
		}
	}
	if (r == 0)
		*ret = t->buf;
	pthread_mutex_unlock(&s->lock);
	return r;
}

void slots_put(struct slots *s, const uint8_t *ptr)
{
	uintptr_t base = (uintptr_t)ptr & ~(uintptr_t)(s->size - 1);
	struct slot *t = (struct slot *)(base + s->size);

	pthread_mutex_lock(&s->lock);
	unpin(s, t);
	pthread_mutex_unlock(&s->lock);
}

/* Not to be found any more; freed now or when the last pin goes. */
static void forget(struct slots *s, struct slot *t)
{
	unlink_hash(s, t);
	if (t->pins == 0) {
		lru_remove(s, t);
		release(s, t);
	}
}

void slots_change(struct slots *s, struct slot_key key, size_t at, const void *bytes, size_t len)
{
	pthread_mutex_lock(&s->lock);

	struct slot *t = find(s, key);

	if (t && t->pins == 0 && bytes)
		memcpy(t->buf + at, bytes, len);
	else if (t) /* somebody reads it without the lock, or is loading what was there before */
		forget(s, t);
	pthread_mutex_unlock(&s->lock);
}

void slots_drop(struct slots *s)
{
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i <= s->mask; i++)
		while (s->heads[i])
			forget(s, s->heads[i]);
	pthread_mutex_unlock(&s->lock);
}

void slots_free(struct slots *s)
{
	if (!s)
		return;
	slots_drop(s);
	pthread_cond_destroy(&s->loaded);
	pthread_mutex_destroy(&s->lock);
	free(s->heads);
	free(s);
}
