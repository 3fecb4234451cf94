/* The set of open index runs: following what other processes add and merge, and merging small ones. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/log.h"
#include "libcommon/repo/store_private.h"

enum { MERGE_AT = 8 };

static struct run *find_run(struct store *st, const char *name)
{
	for (size_t i = 0; i < st->n_runs; i++)
		if (!strcmp(st->runs[i]->name, name))
			return st->runs[i];
	return NULL;
}

/* Takes @r over. */
static int add_run(struct store *st, struct run *r, struct err *err)
{
	struct run **p;

	pthread_rwlock_wrlock(&st->runs_lock);
	p = realloc(st->runs, (st->n_runs + 1) * sizeof(*p));
	if (p) {
		st->runs = p;
		st->runs[st->n_runs++] = r;
	}
	pthread_rwlock_unlock(&st->runs_lock);
	if (!p) {
		run_free(r);
		return err_nomem(err);
	}
	return 0;
}

static int add_named(struct store *st, const char *name, struct err *err)
{
	struct run *r;

	if (run_open(&r, st->backend, st->crypto, name, err))
		return -1;
	return add_run(st, r, err);
}

int store_add_run(struct store *st, const char *name, struct err *err)
{
	int rc;

	pthread_mutex_lock(&st->maintain);
	rc = add_named(st, name, err);
	pthread_mutex_unlock(&st->maintain);
	return rc;
}

static void drop_run(struct store *st, struct run *r)
{
	pthread_rwlock_wrlock(&st->runs_lock);
	for (size_t i = 0; i < st->n_runs; i++)
		if (st->runs[i] == r) {
			st->runs[i] = st->runs[--st->n_runs];
			break;
		}
	pthread_rwlock_unlock(&st->runs_lock);
	run_free(r);
}

/* A run that is there, and that nobody can look into now */
static int keep_unopened(struct store *st, const char *name, struct err *err)
{
	char(*p)[INDEX_NAME_MAX] = realloc(st->unopened, (st->n_unopened + 1) * sizeof(*p));

	if (!p)
		return err_nomem(err);
	st->unopened = p;
	(void)snprintf(p[st->n_unopened++], INDEX_NAME_MAX, "%s", name);
	return 0;
}

/* One pass over the folder. Return: 1 when a run vanished meanwhile (merged by another: look again), 0, -1 */
static int refresh_once(struct store *st, char **names, size_t n, struct err *err)
{
	int vanished = 0;

	st->n_unopened = 0;
	for (size_t i = 0; i < n; i++) {
		struct err why = ERR_INIT;
		struct run *r;

		if (find_run(st, names[i]))
			continue;
		if (run_open(&r, st->backend, st->crypto, names[i], &why)) {
			if (why.code == ERR_NOT_FOUND) {
				vanished = 1;
				continue;
			}
			if (!read_is_damage(&why)) {
				*err = why;
				return -1;
			}
			log_warning("%s: %s; its packs are looked at instead", names[i],
				    why.message);
			if (keep_unopened(st, names[i], err))
				return -1;
			continue;
		}
		if (add_run(st, r, err))
			return -1;
	}
	for (size_t i = st->n_runs; !vanished && i-- > 0;) {
		size_t j = 0;

		while (j < n && strcmp(names[j], st->runs[i]->name))
			j++;
		if (j == n)
			drop_run(st, st->runs[i]);
	}
	return vanished;
}

int store_refresh(struct store *st, struct err *err)
{
	int rc = 1;

	pthread_mutex_lock(&st->maintain);
	for (int attempt = 0; rc > 0 && attempt < 10; attempt++) {
		char **names;
		size_t n;

		rc = store_object_list(st, "index/", &names, &n, err);
		if (rc)
			break;
		rc = refresh_once(st, names, n, err);
		for (size_t i = 0; i < n; i++)
			free(names[i]);
		free(names);
	}
	pthread_mutex_unlock(&st->maintain);
	return rc < 0 ? -1 : 0;
}

bool store_knows_pack(struct store *st, const uint8_t pack[PACK_ID])
{
	bool known = false;

	pthread_rwlock_rdlock(&st->runs_lock);
	for (size_t i = 0; i < st->n_runs && !known; i++)
		known = !atomic_load(&st->runs[i]->damaged) && run_has_pack(st->runs[i], pack);
	pthread_rwlock_unlock(&st->runs_lock);
	return known;
}

/* Runs of about one size (a factor of eight) are merged when there are eight: a blob is rewritten once a factor. */
static size_t pick(struct store *st, struct run **ret)
{
	for (unsigned tier = 0; tier < 20; tier++) {
		size_t n = 0;

		for (size_t i = 0; i < st->n_runs; i++)
			if (!atomic_load(&st->runs[i]->damaged) &&
			    log2_u64(st->runs[i]->n_entries + 1) / 3 == tier)
				ret[n++] = st->runs[i];
		if (n >= MERGE_AT)
			return n;
	}
	return 0;
}

bool runs_any_wrong(struct run *const *runs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (atomic_load(&runs[i]->wrong))
			return true;
	return false;
}

/* Another process may merge the same runs at the same time: both new runs say the same, and nothing is removed before
 * what replaces it is durable. */
static int merge_once(struct store *st, struct run **chosen, size_t n, struct err *err)
{
	char name[INDEX_NAME_MAX];

	if (index_merge(st->backend, st->crypto, chosen, n, st->condemned, st->n_condemned, name,
			err) ||
	    (*name && add_named(st, name, err)))
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (backend_remove(st->backend, chosen[i]->name, err))
			return -1;
		drop_run(st, chosen[i]);
	}
	return 0;
}

int store_merge(struct store *st, struct err *err)
{
	int rc = 0;

	if (st->collecting)
		return 0;
	pthread_mutex_lock(&st->maintain);
	for (;;) {
		struct run **chosen = malloc((st->n_runs + 1) * sizeof(struct run *));
		size_t n = chosen ? pick(st, chosen) : 0;

		if (!chosen)
			rc = err_nomem(err);
		else if (n)
			rc = merge_once(st, chosen, n, err);
		/* It is not picked again: without it. What could not be written would not be the next time either. */
		if (rc && read_is_damage(err) && runs_any_wrong(chosen, n)) {
			log_warning("index: %s", err->message);
			err_clear(err);
			rc = 0;
		}
		free(chosen);
		if (rc || !n)
			break;
	}
	pthread_mutex_unlock(&st->maintain);
	return rc;
}

int store_make_room(struct store *st, struct err *err)
{
	struct run *least = NULL;
	int rc = 0;

	pthread_mutex_lock(&st->maintain);
	for (size_t i = 0; i < st->n_runs; i++)
		if (!least || st->runs[i]->size < least->size)
			least = st->runs[i];
	if (!least) {
		rc = err_set(err, ERR_NO_SPACE,
			     "the disk is full, and there is no index to give up");
	} else {
		log_info("the disk is full: %s is given up, and made again later", least->name);
		rc = backend_remove(st->backend, least->name, err);
	}
	if (!rc) {
		drop_run(st, least);
		rc = backend_sync(st->backend, "index", err);
	}
	pthread_mutex_unlock(&st->maintain);
	return rc ? -1 : store_rescan_again(st, err);
}

static bool names_any(const struct run *r, const uint8_t *packs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (run_has_pack(r, packs + i * PACK_ID))
			return true;
	return false;
}

/* A run whose bytes are wrong may be read by others, or later: it goes as it is, and its other packs are indexed again.
 * One that could not be reached is not to blame. */
static int drop_wrong(struct store *st, const uint8_t *packs, size_t n, bool *ret_given_up,
		      struct err *err)
{
	for (size_t i = st->n_runs; i-- > 0;) {
		struct run *r = st->runs[i];

		if (!atomic_load(&r->wrong) || !names_any(r, packs, n))
			continue;
		log_info("%s cannot be read: it is given up, and made again", r->name);
		if (backend_remove(st->backend, r->name, err))
			return -1;
		*ret_given_up = true;
		drop_run(st, r);
	}
	return 0;
}

/* What cannot even be opened may name the packs, and be read by others, or later. */
static int drop_unopened(struct store *st, bool *ret_given_up, struct err *err)
{
	for (; st->n_unopened; st->n_unopened--) {
		const char *name = st->unopened[st->n_unopened - 1];

		log_info("%s cannot be read: it is given up, and made again", name);
		if (backend_remove(st->backend, name, err))
			return -1;
		*ret_given_up = true;
	}
	return 0;
}

/* Runs that name one of the packs become one that names none. */
static int drop_once(struct store *st, const uint8_t *packs, size_t n, bool *ret_done,
		     bool *ret_given_up, struct err *err)
{
	struct run **chosen = malloc((st->n_runs + 1) * sizeof(*chosen));
	struct err why = ERR_INIT;
	char name[INDEX_NAME_MAX];
	size_t k = 0;
	int rc;

	if (!chosen)
		return err_nomem(err);
	if ((n && drop_unopened(st, ret_given_up, err)) ||
	    drop_wrong(st, packs, n, ret_given_up, err)) {
		free(chosen);
		return -1;
	}
	for (size_t i = 0; i < st->n_runs; i++)
		if (names_any(st->runs[i], packs, n))
			chosen[k++] = st->runs[i];
	*ret_done = !k;
	rc = k ? index_merge(st->backend, st->crypto, chosen, k, packs, n, name, &why) : 0;
	if (!rc && k && *name)
		rc = add_named(st, name, err);
	if (why.code == ERR_NO_SPACE) {
		/* They are a cache: without room for others they go, and their packs are indexed again when there is some. */
		log_info("the disk is full: %zu index runs are given up, and made again later", k);
		*ret_given_up = true;
		rc = 0;
	} else if (read_is_damage(&why) && runs_any_wrong(chosen, k)) {
		/* Found by this: they go as such the next time. */
		log_warning("index: %s", why.message);
		k = 0;
		rc = 0;
	} else if (why.code) {
		*err = why;
	}
	for (size_t i = 0; i < k && !rc; i++) {
		rc = backend_remove(st->backend, chosen[i]->name, err);
		if (!rc)
			drop_run(st, chosen[i]);
	}
	free(chosen);
	return rc;
}

/* What is known of packs that no run names, without these */
static void drop_extra(struct store *st, const uint8_t *packs, size_t n)
{
	size_t left = 0;

	pthread_rwlock_wrlock(&st->runs_lock);
	for (size_t i = 0; i < st->n_extra; i++)
		if (!pack_in(packs, n, st->extra[i].place.pack))
			st->extra[left++] = st->extra[i];
	st->n_extra = left;
	pthread_rwlock_unlock(&st->runs_lock);
}

int store_drop_packs(struct store *st, const uint8_t *packs, size_t n, struct err *err)
{
	bool done = false, given_up = false;

	/* Others merge at the same time; who knows that the packs are condemned makes no new run with them. */
	for (int attempt = 0; !done && attempt < 10; attempt++) {
		int rc;

		if (store_refresh(st, err))
			return -1;
		pthread_mutex_lock(&st->maintain);
		rc = drop_once(st, packs, n, &done, &given_up, err);
		pthread_mutex_unlock(&st->maintain);
		if (rc)
			return -1;
	}
	if (!done)
		return err_set(err, ERR_BUSY, "other processes write index runs all the time");
	if (backend_sync(st->backend, "index", err))
		return -1;
	if (given_up && store_rescan_again(st, err))
		return -1;
	drop_extra(st, packs, n);
	return 0;
}
