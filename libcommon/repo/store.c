/* The store: opening, lookups, ids and small sealed objects. Reading blobs is store_read.c, writing store_writer.c. */
#include "libcommon/repo/store_private.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"
#include "libcommon/repo/names.h"

int store_open(struct store **ret, struct backend *backend, struct crypto *crypto,
	       const struct repo_config *cfg, struct err *err)
{
	struct store *st = calloc(1, sizeof(*st));

	if (!st) {
		backend_close(backend);
		crypto_free(crypto);
		return err_nomem(err);
	}
	st->backend = backend;
	st->crypto = crypto;
	st->config = *cfg;
	pthread_mutex_init(&st->maintain, NULL);
	pthread_rwlock_init(&st->runs_lock, NULL);
	pthread_mutex_init(&st->bad_lock, NULL);
	pthread_mutex_init(&st->heal_lock, NULL);
	pthread_mutex_init(&st->cache_lock, NULL);
	pthread_cond_init(&st->cache_ready, NULL);
	store_leave_note(st);
	if (epoch_begin(st, err) || store_refresh(st, err) || bad_load(st, err)) {
		store_close(st);
		return -1;
	}
	*ret = st;
	return 0;
}

void store_close(struct store *st)
{
	if (!st)
		return;
	cache_free(st);
	bad_free(st);
	for (size_t i = 0; i < st->n_runs; i++)
		run_free(st->runs[i]);
	free(st->runs);
	free(st->unopened);
	free(st->extra);
	free(st->condemned);
	backend_close(st->backend);
	crypto_free(st->crypto);
	pthread_mutex_destroy(&st->maintain);
	pthread_rwlock_destroy(&st->runs_lock);
	pthread_mutex_destroy(&st->bad_lock);
	pthread_mutex_destroy(&st->heal_lock);
	pthread_mutex_destroy(&st->cache_lock);
	pthread_cond_destroy(&st->cache_ready);
	free(st);
}

void store_set_healing(struct store *st, bool heal)
{
	st->no_heal = !heal;
}

void store_set_local(struct store *st, bool local)
{
	st->no_kept = !local;
}

void store_set_small_cache(struct store *st, bool small)
{
	st->small_cache = small;
}

uint64_t store_healed(struct store *st)
{
	return st->n_healed;
}

int store_id(struct store *st, enum blob_type type, const void *data, size_t len,
	     struct repo_id *ret, struct err *err)
{
	return crypto_id(st->crypto, (uint8_t)type, data, len, ret, err);
}

int store_mark(struct store *st, const void *data, size_t len, uint8_t ret[16], struct err *err)
{
	return crypto_mark(st->crypto, data, len, ret, err);
}

const uint8_t *store_chunker_secret(struct store *st, size_t *ret_len)
{
	*ret_len = CRYPTO_KEY;
	return crypto_chunker_secret(st->crypto);
}

bool store_takes_deltas(const struct store *st)
{
	return st->config.version >= 3;
}

unsigned store_compression_level(struct store *st)
{
	return st->config.level;
}

const uint8_t *store_uuid(const struct store *st)
{
	return st->config.uuid;
}

static size_t find_extra(struct store *st, const struct repo_id *id, struct blob_place *ret,
			 size_t max)
{
	size_t lo = 0, hi = st->n_extra, n = 0;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (memcmp(&st->extra[mid].id, id, sizeof(*id)) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < st->n_extra && n < max && !memcmp(&st->extra[lo].id, id, sizeof(*id)); lo++)
		ret[n++] = st->extra[lo].place;
	return n;
}

/* A run that turns out to be damaged is as if it were not there: its packs are found again from their tables. */
static size_t find_places(struct store *st, const struct repo_id *id, struct blob_place *ret,
			  size_t max)
{
	size_t n = 0;

	pthread_rwlock_rdlock(&st->runs_lock);
	for (size_t i = 0; i < st->n_runs && n < max; i++) {
		struct err why = ERR_INIT;
		bool known = atomic_load(&st->runs[i]->damaged);
		int found = run_find(st->runs[i], id, ret + n,
				     max - n < INDEX_PLACES ? max - n : INDEX_PLACES, &why);

		if (found > 0)
			n += (size_t)found;
		else if (found < 0 && !known)
			log_warning("%s: %s", st->runs[i]->name, why.message);
	}
	n += find_extra(st, id, ret + n, max - n);
	pthread_rwlock_unlock(&st->runs_lock);
	return n;
}

size_t store_locate(struct store *st, const struct repo_id *id, struct blob_place ret[STORE_PLACES],
		    size_t *ret_good)
{
	size_t n = find_places(st, id, ret, STORE_PLACES), good = 0;

	for (size_t i = 0; i < n; i++)
		if (!epoch_condemned(st, ret[i].pack) && !bad_has(st, id, ret[i].pack)) {
			struct blob_place t = ret[good];

			ret[good++] = ret[i];
			ret[i] = t;
		}
	*ret_good = good;
	return n;
}

bool store_has(struct store *st, const struct repo_id *id)
{
	struct blob_place places[STORE_PLACES];
	size_t good;

	store_locate(st, id, places, &good);
	return good > 0;
}

bool store_has_copy(struct store *st, const struct repo_id *id)
{
	struct blob_place places[STORE_PLACES];
	size_t good, n = store_locate(st, id, places, &good);
	bool has = good > 0;

	for (size_t i = good; i < n && !has; i++)
		has = !bad_has(st, id, places[i].pack);
	return has;
}

int store_is_sound(struct store *st, bool *ret, struct err *err)
{
	char **names;
	size_t n;

	if (store_refresh(st, err) || store_find_gone(st, err) ||
	    store_object_list(st, "bad/", &names, &n, err))
		return -1;
	names_free(names, n);
	*ret = !n && !st->n_bad && !st->n_condemned;
	return 0;
}

int store_blob_len(struct store *st, const struct repo_id *id, size_t *ret_len, struct err *err)
{
	struct blob_place places[STORE_PLACES];
	size_t good, n = store_locate(st, id, places, &good);

	if (!n) {
		if (store_refresh(st, err) || store_rescan(st, err) < 0)
			return -1;
		n = store_locate(st, id, places, &good);
	}
	if (!n)
		return err_set(err, ERR_NOT_FOUND, "a blob is not in the repository");
	*ret_len = places[0].len;
	return 0;
}

int store_mark_bad(struct store *st, const struct repo_id *id, struct err *err)
{
	struct blob_place places[STORE_PLACES];
	size_t good, n = store_locate(st, id, places, &good);
	int rc = 0;

	for (size_t i = 0; i < n && !rc; i++)
		rc = bad_add(st, id, places[i].pack, err);
	bad_flush(st);
	return rc;
}

static int read_object(struct store *st, const char *name, size_t max, uint8_t **ret,
		       size_t *ret_len, struct err *err)
{
	struct backend_object *o;
	uint64_t size;
	uint8_t *p;
	int rc;

	if (backend_open(st->backend, name, &o, &size, err))
		return -1;
	if (size > max + SEALED_OVERHEAD) {
		backend_object_close(o);
		return err_set(err, ERR_CORRUPT, "is %llu bytes long, more than %zu",
			       (unsigned long long)size, max);
	}
	p = malloc(size + 1);
	rc = p ? backend_object_read(o, 0, p, size, err) : err_nomem(err);
	backend_object_close(o);
	if (rc) {
		free(p);
		return -1;
	}
	*ret = p;
	*ret_len = size;
	return 0;
}

static enum sealed_kind object_kind(const char *name)
{
	return strncmp(name, "bad/", 4) ? SEALED_OBJECT : SEALED_BAD;
}

int store_object_write(struct store *st, const char *name, const void *data, size_t len,
		       struct err *err)
{
	CLEANUP_FREE uint8_t *sealed = NULL;
	size_t n;

	if (sealed_encode(st->crypto, object_kind(name), name, data, len, &sealed, &n, err) ||
	    backend_create(st->backend, name, sealed, n, err))
		return err_object(err, name);
	return 0;
}

/* Made by a try before this one, of which only the folder could not be made durable? Return: 0 when it is durable now */
static int made_before(struct store *st, const char *name, const void *data, size_t len,
		       struct err *err)
{
	CLEANUP_FREE uint8_t *there = NULL;
	const char *slash = strrchr(name, '/');
	char folder[BACKEND_NAME_MAX];
	struct err why = ERR_INIT;
	size_t n;

	if (!slash || store_object_read(st, name, len + 1, &there, &n, &why) || n != len ||
	    (len && memcmp(there, data, len)))
		return -1;
	(void)snprintf(folder, sizeof(folder), "%.*s", (int)(slash - name), name);
	err_clear(err);
	return backend_sync(st->backend, folder, err);
}

int store_object_write_tight(struct store *st, const char *name, const void *data, size_t len,
			     struct err *err)
{
	/* Other processes may hold what a run had, so one may not be enough. */
	for (int i = 0; i < 4; i++) {
		struct err why = ERR_INIT;

		if (!store_object_write(st, name, data, len, &why))
			return 0;
		if (i && why.code == ERR_EXISTS && !made_before(st, name, data, len, &why))
			return 0;
		if (why.code != ERR_NO_SPACE) {
			if (err)
				*err = why;
			return -1;
		}
		if (store_make_room(st, err))
			return err_object(err, name);
	}
	return store_object_write(st, name, data, len, err);
}

int store_object_read(struct store *st, const char *name, size_t max, uint8_t **ret,
		      size_t *ret_len, struct err *err)
{
	CLEANUP_FREE uint8_t *sealed = NULL;
	size_t n = 0;

	if (read_object(st, name, max, &sealed, &n, err) ||
	    sealed_decode(st->crypto, object_kind(name), name, sealed, n, ret, ret_len, err))
		return err_object(err, name);
	return 0;
}

int store_object_remove(struct store *st, const char *name, struct err *err)
{
	return backend_remove(st->backend, name, err);
}

int store_object_locked_until(struct store *st, const char *name, int64_t *ret, struct err *err)
{
	return backend_locked_until(st->backend, name, ret, err);
}

int store_object_sync(struct store *st, const char *folder, struct err *err)
{
	return backend_sync(st->backend, folder, err);
}

struct name_list {
	char **names;
	size_t n, cap;
};

static int add_name(void *ctx, const char *name, struct err *err)
{
	struct name_list *l = ctx;

	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 64;
		char **p = realloc(l->names, cap * sizeof(*p));

		if (!p)
			return err_nomem(err);
		l->names = p;
		l->cap = cap;
	}
	l->names[l->n] = strdup(name);
	return l->names[l->n] ? (l->n++, 0) : err_nomem(err);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int store_object_list(struct store *st, const char *prefix, char ***ret, size_t *ret_n,
		      struct err *err)
{
	struct name_list l = {0};
	char folder[BACKEND_NAME_MAX];
	size_t len = strlen(prefix);

	/* "snapshots" and "snapshots/" are the same folder; what follows a slash narrows it */
	if (len >= sizeof(folder))
		return err_set(err, ERR_USAGE, "'%s' is no object name", prefix);
	memcpy(folder, prefix, len + 1);
	if (strchr(folder, '/'))
		*strchr(folder, '/') = 0;
	if (backend_list(st->backend, folder, add_name, &l, err)) {
		for (size_t i = 0; i < l.n; i++)
			free(l.names[i]);
		free(l.names);
		return -1;
	}
	*ret_n = 0;
	for (size_t i = 0; i < l.n; i++) {
		if (strncmp(l.names[i], prefix, len))
			free(l.names[i]);
		else
			l.names[(*ret_n)++] = l.names[i];
	}
	if (*ret_n)
		qsort(l.names, *ret_n, sizeof(*l.names), compare_names);
	*ret = l.names;
	return 0;
}
