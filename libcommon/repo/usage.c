/* What a repository holds and who uses it, in numbers. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/log.h"
#include "libcommon/repo/store_private.h"

struct sums {
	struct backend *backend;
	uint64_t n, bytes;
};

static int sum(void *ctx, const char *name, struct err *err)
{
	struct sums *s = ctx;
	struct backend_object *o;
	struct err why = ERR_INIT;
	uint64_t size;

	(void)err;
	if (backend_open(s->backend, name, &o, &size, &why))
		return 0; /* gone meanwhile, or no plain file: verify speaks of it */
	backend_object_close(o);
	s->n++;
	s->bytes += size;
	return 0;
}

static int count_blobs(struct store *st, struct repo_usage *u, struct err *err)
{
	struct index_entry entries[INDEX_BLOCK_ENTRIES];
	int rc = 0;
	size_t n;

	pthread_rwlock_rdlock(&st->runs_lock);
	for (size_t i = 0; i < st->n_runs && !rc; i++)
		for (uint32_t b = 0; b < st->runs[i]->n_blocks && !rc; b++) {
			rc = run_block(st->runs[i], b, entries, &n, err);
			for (size_t k = 0; k < n && !rc; k++) {
				u->blobs++;
				if (entries[k].place.type == BLOB_PAGE)
					u->page_bytes += entries[k].place.len;
				else
					u->chunk_bytes += entries[k].place.len;
			}
		}
	pthread_rwlock_unlock(&st->runs_lock);
	return rc;
}

int repo_get_usage(struct repo *repo, struct repo_usage *ret, struct err *err)
{
	static const char *const folders[] = {"packs",	 "index", "snapshots", "keys",
					      "numbers", "bad",	  "epochs"};
	struct store *st = repo_store(repo);
	struct repo_usage u = {.encrypted = st->config.encrypted,
			       .compression_level = st->config.level};

	memcpy(u.uuid, st->config.uuid, sizeof(u.uuid));
	if (store_refresh(st, err))
		return -1;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		struct sums s = {.backend = st->backend};

		if (backend_list(st->backend, folders[i], sum, &s, err))
			return -1;
		u.stored_bytes += s.bytes;
		if (i == 0) {
			u.packs = s.n;
			u.pack_bytes = s.bytes;
		} else if (i == 1) {
			u.index_runs = s.n;
			u.index_bytes = s.bytes;
		}
	}
	if (count_blobs(st, &u, err))
		return -1;
	*ret = u;
	return 0;
}

int repo_get_users(struct repo *repo, struct repo_users *ret, struct err *err)
{
	struct store *st = repo_store(repo);
	struct err why = ERR_INIT;

	*ret = (struct repo_users){.condemned_packs = st->n_condemned,
				   .grace_s = backend_grace_s(st->backend)};
	if (!st->backend->ops->collector)
		return err_set(err, ERR_UNSUPPORTED,
			       "a repository of this kind does not tell who uses it; nothing in it "
			       "is locked");
	if (backend_sessions_before(st->backend, UINT64_MAX >> 2, &ret->others, err))
		return -1;
	if (backend_collector(st->backend, &why)) {
		if (why.code != ERR_BUSY) {
			*err = why;
			return -1;
		}
		ret->prune = true;
	}
	if (store_refresh(st, err))
		return -1;
	if (!store_adopt(st, &why))
		return 0;
	if (why.code != ERR_NO_SPACE) {
		*err = why;
		return -1;
	}
	log_warning("what killed writers left is not finished: %s", why.message);
	return 0;
}
