/* Which packs a collection removes: what the index knows of them, and what is needed of that. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/log.h"
#include "libcommon/base/stop.h"
#include "libcommon/repo/store_collect_private.h"

enum { SUSPECTS_MAX = 1 << 20, MOSTLY_DEAD = 8, READS = 3, ROOM_SPARE = 2 << 20 };

static int compare_use(const void *a, const void *b)
{
	return memcmp(((const struct pack_use *)a)->id, ((const struct pack_use *)b)->id, PACK_ID);
}

struct pack_use *collect_find(const struct collection *c, const uint8_t id[PACK_ID])
{
	struct pack_use key = {0};

	memcpy(key.id, id, PACK_ID);
	return c->n ? bsearch(&key, c->packs, c->n, sizeof(key), compare_use) : NULL;
}

static uint64_t pack_size(struct store *st, const char *name)
{
	struct backend_object *o;
	struct err why = ERR_INIT;
	uint64_t size;

	if (backend_open(st->backend, name, &o, &size, &why))
		return 0;
	backend_object_close(o);
	return size;
}

static int add_pack(struct collection *c, const struct pack_use *u, struct err *err)
{
	if (c->n == c->cap) {
		size_t cap = c->cap ? 2 * c->cap : 256;
		struct pack_use *p = reallocarray(c->packs, cap, sizeof(*p));

		if (!p)
			return err_nomem(err);
		c->packs = p;
		c->cap = cap;
	}
	c->packs[c->n++] = *u;
	return 0;
}

static int list_one(void *ctx, const char *name, struct err *err)
{
	struct collection *c = ctx;
	struct pack_use u = {0};

	if (!pack_name_decode(name, u.id))
		return 0;
	u.size = pack_size(c->st, name);
	return add_pack(c, &u, err);
}

static bool is_gone(struct store *st, const uint8_t id[PACK_ID])
{
	char name[PACK_NAME_MAX];
	struct backend_object *o;
	struct err why = ERR_INIT;
	uint64_t size;

	pack_name(id, name);
	if (backend_open(st->backend, name, &o, &size, &why))
		return why.code == ERR_NOT_FOUND;
	backend_object_close(o);
	return false;
}

/* A pack that was lost stays in the index, and a fault for who verifies, until nothing of it is needed. */
static int list_gone(struct collection *c, const struct run *r, size_t listed, struct err *err)
{
	for (uint32_t i = 0; i < r->n_packs; i++) {
		struct pack_use u = {.gone = true};
		bool known = false;

		memcpy(u.id, r->packs + (size_t)i * PACK_ID, PACK_ID);
		if (listed && bsearch(&u, c->packs, listed, sizeof(*c->packs), compare_use) != NULL)
			continue;
		for (size_t k = listed; k < c->n; k++)
			known |= !compare_use(&u, &c->packs[k]);
		if (!known && is_gone(c->st, u.id) && add_pack(c, &u, err))
			return -1;
	}
	return 0;
}

int collect_list(struct collection *c, struct err *err)
{
	size_t listed;

	c->n = 0;
	if (backend_list(c->st->backend, "packs", list_one, c, err))
		return -1;
	listed = c->n;
	for (int gone = 0; gone < 2; gone++) {
		if (c->n)
			qsort(c->packs, c->n, sizeof(*c->packs), compare_use);
		for (size_t i = 0; i < c->st->n_runs && !gone; i++)
			if (list_gone(c, c->st->runs[i], listed, err))
				return -1;
	}
	return 0;
}

uint64_t collect_blobs(const struct store *st)
{
	uint64_t n = st->n_extra;

	for (size_t i = 0; i < st->n_runs; i++)
		n += st->runs[i]->n_entries;
	return n;
}

static int each_of_run(struct collection *c, struct run *r, collect_entry_fn *fn, struct err *err)
{
	struct index_entry entries[INDEX_BLOCK_ENTRIES];
	size_t n;

	for (uint32_t block = 0; block < r->n_blocks; block++) {
		if (stop_check(err) || run_block(r, block, entries, &n, err))
			return -1;
		for (size_t i = 0; i < n; i++)
			if (fn(c, &entries[i], err))
				return -1;
	}
	return 0;
}

int collect_each(struct collection *c, void (*begin)(struct collection *c), collect_entry_fn *fn,
		 struct err *err)
{
	for (unsigned attempt = 0; attempt < READS; attempt++) {
		int rc = 0;

		if (begin)
			begin(c);
		/* What only such runs knew shall be known all the same. */
		if (runs_any_wrong(c->st->runs, c->st->n_runs) && !c->o->dry_run &&
		    store_adopt_tight(c->st, err))
			return -1;
		for (size_t i = 0; i < c->st->n_runs && !rc; i++)
			if (!atomic_load(&c->st->runs[i]->wrong))
				rc = each_of_run(c, c->st->runs[i], fn, err);
		for (size_t i = 0; i < c->st->n_extra && !rc; i++)
			rc = fn(c, &c->st->extra[i], err);
		if (!rc || !read_is_damage(err))
			return rc;
		log_warning("%s", err->message);
		err_clear(err);
		if (c->o->dry_run)
			break;
	}
	return err_set(err, ERR_CORRUPT, "the index is damaged: the next backup repairs it");
}

bool collect_live(const struct collection *c, const struct repo_id *id)
{
	return c->o->ops->live(c->o->ctx, id);
}

static void count_begin(struct collection *c)
{
	for (size_t i = 0; i < c->n; i++) {
		c->packs[i].live = c->packs[i].dead = 0;
		c->packs[i].bad = c->packs[i].lost = false;
	}
}

/* A damaged copy of what is whole elsewhere is of no use. */
static int count_one(struct collection *c, const struct index_entry *e, struct err *err)
{
	struct pack_use *u = collect_find(c, e->place.pack);
	bool needed, bad;

	(void)err;
	if (!u)
		return 0;
	bad = u->gone || bad_has(c->st, &e->id, e->place.pack);
	needed = collect_live(c, &e->id) && !(bad && store_has(c->st, &e->id));
	u->bad |= bad;
	u->lost |= bad && needed;
	if (needed)
		u->live += e->place.len;
	else
		u->dead += e->place.len;
	return 0;
}

/* What little is needed of packs that are mostly dead may be false hits, and so may what is lost. */
static int suspect_one(struct collection *c, const struct index_entry *e, struct err *err)
{
	const struct pack_use *u = collect_find(c, e->place.pack);

	if (!u || c->suspects.n >= SUSPECTS_MAX || !collect_live(c, &e->id))
		return 0;
	if (u->live > (u->live + u->dead) / MOSTLY_DEAD &&
	    !(u->lost && (u->gone || bad_has(c->st, &e->id, e->place.pack))))
		return 0;
	return id_set_add(&c->suspects, &e->id, err) < 0 ? -1 : 0;
}

int collect_confirm(struct collection *c, struct err *err)
{
	int rc = c->o->ops->confirm(c->o->ctx, &c->suspects, err);

	id_set_clear(&c->suspects);
	return rc;
}

/* What cannot be removed yet stays as it is, and counts as present. */
static int without_locked(struct collection *c, struct err *err)
{
	size_t n = 0;

	c->res->locked = c->res->locked_bytes = 0;
	for (size_t i = 0; i < c->n_chosen; i++) {
		char name[PACK_NAME_MAX];
		int64_t until = 0;

		pack_name(c->chosen[i]->id, name);
		if (stop_check(err))
			return -1;
		if (!c->chosen[i]->gone && backend_locked_until(c->st->backend, name, &until, err))
			return -1;
		if (!until) {
			c->chosen[n++] = c->chosen[i];
			continue;
		}
		c->res->locked++;
		c->res->locked_bytes += c->chosen[i]->size;
		if (until > c->res->locked_until)
			c->res->locked_until = until;
	}
	c->n_chosen = n;
	return 0;
}

static int by_id(const void *a, const void *b)
{
	return compare_use(*(struct pack_use *const *)a, *(struct pack_use *const *)b);
}

static uint64_t to_rewrite(const struct pack_use *u)
{
	return (uint64_t)((double)u->size * (double)u->live / (double)(u->live + u->dead));
}

static int by_rewriting(const void *a, const void *b)
{
	uint64_t x = to_rewrite(*(struct pack_use *const *)a),
		 y = to_rewrite(*(struct pack_use *const *)b);

	return (x > y) - (x < y);
}

/* What little is needed of the packs must be stored anew before they go: when there is no room for all of that, those of
 * which nothing or the least is needed go first, and make room for the others. */
static void limit_to_room(struct collection *c)
{
	uint64_t room = c->no_rewriting ? 0 : backend_room(c->st->backend), need = ROOM_SPARE;
	size_t n = 0;

	qsort(c->chosen, c->n_chosen, sizeof(*c->chosen), by_rewriting);
	for (; n < c->n_chosen; n++) {
		const struct pack_use *u = c->chosen[n];

		need += to_rewrite(u) / 10 * 11;
		if (u->live && need > room && !c->o->dry_run)
			break;
	}
	c->left_out = c->n_chosen - n;
	c->n_chosen = n;
	qsort(c->chosen, c->n_chosen, sizeof(*c->chosen), by_id);
}

/* Too much of it is unused; or what is damaged in it is whole elsewhere, so that the rest had better be too. */
static bool should_go(const struct collection *c, const struct pack_use *u)
{
	uint64_t all = u->live + u->dead;

	if (u->gone)
		return !u->live;
	return (u->bad && !u->lost) ||
	       (u->dead && (!u->live || (double)u->dead * 100 > (double)all * c->o->max_unused));
}

int collect_choose(struct collection *c, struct err *err)
{
	if (collect_list(c, err) || collect_each(c, count_begin, count_one, err) ||
	    collect_each(c, NULL, suspect_one, err) ||
	    (c->suspects.n &&
	     (collect_confirm(c, err) || collect_each(c, count_begin, count_one, err))))
		return -1;
	free(c->chosen);
	c->n_chosen = c->left_out = 0;
	c->chosen = calloc(c->n + 1, sizeof(struct pack_use *));
	if (!c->chosen)
		return err_nomem(err);
	for (size_t i = 0; i < c->n; i++) {
		struct pack_use *u = &c->packs[i];

		u->go = should_go(c, u);
		if (u->go)
			c->chosen[c->n_chosen++] = u;
	}
	if (without_locked(c, err))
		return -1;
	if (c->n_chosen)
		limit_to_room(c);
	return 0;
}

void collect_estimate(struct collection *c)
{
	for (size_t i = 0; i < c->n_chosen; i++) {
		const struct pack_use *u = c->chosen[i];

		c->res->removed += !u->gone;
		c->res->removed_bytes += u->size;
		c->res->rewritten += u->live > 0;
		c->res->new_bytes += to_rewrite(u);
	}
}
