/* What killed writers left: temporary packs are finished, packs that no index run names are indexed. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/log.h"
#include "libcommon/repo/store_private.h"

static int grow(void *pp, size_t *cap, size_t need, size_t size, struct err *err)
{
	size_t n = *cap ? *cap : 16;
	void *p;

	if (need <= *cap)
		return 0;
	while (n < need)
		n *= 2;
	p = realloc(*(void **)pp, n * size);
	if (!p)
		return err_nomem(err);
	*(void **)pp = p;
	*cap = n;
	return 0;
}

int entry_list_add(struct entry_list *l, const uint8_t pack[PACK_ID],
		   const struct pack_contents *pc, struct err *err)
{
	if (grow(&l->packs, &l->cap_packs, l->n_packs + 1, PACK_ID, err) ||
	    (pc && grow(&l->entries, &l->cap, l->n + pc->n_blobs, sizeof(*l->entries), err)))
		return -1;
	memcpy(l->packs + PACK_ID * l->n_packs++, pack, PACK_ID);
	for (size_t i = 0; pc && i < pc->n_frames; i++) {
		const struct pack_frame *f = &pc->frames[i];
		uint32_t off = 0;

		for (uint32_t j = f->first; j < f->first + f->n; j++) {
			struct index_entry *e = &l->entries[l->n++];

			memset(e, 0, sizeof(*e));
			e->id = pc->blobs[j].id;
			memcpy(e->place.pack, pack, PACK_ID);
			e->place.section_off = (uint32_t)f->off;
			e->place.section_len = frame_section_len(&f->header);
			e->place.off = off;
			e->place.len = pc->blobs[j].len;
			e->place.type = f->header.type;
			off += pc->blobs[j].len;
		}
	}
	return 0;
}

void entry_list_free(struct entry_list *l)
{
	free(l->entries);
	free(l->packs);
	memset(l, 0, sizeof(*l));
}

struct adoption {
	struct store *store;
	struct entry_list list;
	bool write; /* runs are written as the list grows; else it stays in memory */
	bool drop;  /* temporary packs are removed */
};

static int flush(struct adoption *a, struct err *err)
{
	char name[INDEX_NAME_MAX];

	if (!a->list.n_packs)
		return 0;
	if (index_write(a->store->backend, a->store->crypto, a->list.entries, a->list.n,
			a->list.packs, a->list.n_packs, name, err) ||
	    store_add_run(a->store, name, err))
		return -1;
	a->list.n = a->list.n_packs = 0;
	return 0;
}

static int found(struct adoption *a, const uint8_t pack[PACK_ID], const struct pack_contents *pc,
		 struct err *err)
{
	if (entry_list_add(&a->list, pack, pc, err))
		return -1;
	return a->write && a->list.n >= RUN_FLUSH_ENTRIES ? flush(a, err) : 0;
}

static int writer_read(void *ctx, uint64_t off, void *buf, size_t len, struct err *err)
{
	return backend_writer_read(ctx, off, buf, len, err);
}

/* A temporary pack: every frame that is whole and right is kept, where it lies. Takes @w over. */
static int adopt_pack(struct adoption *a, const uint8_t id[PACK_ID], struct backend_writer *w,
		      uint64_t size, struct err *err)
{
	struct crypto *c = a->store->crypto;
	struct pack_source src = {.read = writer_read, .ctx = w, .size = size};
	struct pack_contents pc = {0};
	struct err why = ERR_INIT;
	uint64_t end;
	int rc;

	memcpy(src.id, id, PACK_ID);
	if (pack_read_header(c, &src, &why) || pack_scan(c, &src, true, &pc, &end, &why)) {
		/* A version that a later program wrote is not ours to remove. */
		bool keep = why.code != ERR_CORRUPT;

		log_info("a temporary pack of %llu bytes holds nothing: %s",
			 (unsigned long long)size, why.message);
		backend_writer_close(w, keep);
		return 0;
	}
	if (!pc.n_frames) {
		backend_writer_close(w, false);
		return 0;
	}
	rc = pack_finish(c, w, id, &pc, end, a->store->config.parity, &size, err);
	if (!rc)
		rc = found(a, id, &pc, err);
	if (!rc)
		log_info("adopted %zu frames, %zu blobs of a run that was killed", pc.n_frames,
			 pc.n_blobs);
	pack_contents_free(&pc);
	return rc;
}

static int orphan(void *ctx, const char *name, struct backend_writer *w, uint64_t size,
		  struct err *err)
{
	uint8_t id[PACK_ID];

	if (pack_name_decode(name, id) && !((struct adoption *)ctx)->drop)
		return adopt_pack(ctx, id, w, size, err);
	backend_writer_close(w, false); /* half an index run or record: nothing depends on it */
	return 0;
}

static int unindexed(void *ctx, const char *name, struct err *err)
{
	struct adoption *a = ctx;
	struct crypto *c = a->store->crypto;
	struct pack_contents pc = {0};
	struct err why = ERR_INIT;
	struct pack_reader r;
	uint8_t id[PACK_ID];
	uint64_t end;
	int rc;

	/* What is condemned is on its way out, but until then there are snapshots that need it. */
	if (!pack_name_decode(name, id) || (a->write && epoch_condemned(a->store, id)) ||
	    store_knows_pack(a->store, id))
		return 0;
	for (size_t i = a->list.n_packs; i-- > 0;)
		if (!memcmp(a->list.packs + i * PACK_ID, id, PACK_ID))
			return 0;
	rc = pack_reader_open(&r, a->store->backend, c, id, &why);
	if (!rc) {
		rc = pack_read_table(c, &r.src, &pc, NULL, &why);
		if (rc && why.code == ERR_CORRUPT) {
			log_warning("%s: %s; its frames are read one by one", name, why.message);
			err_clear(&why);
			rc = pack_scan(c, &r.src, true, &pc, &end, &why);
		}
		pack_reader_close(&r);
	}
	if (rc)
		log_warning("%s: %s", name, why.message);
	/* What is damaged for good is named in the run with no blobs, or each backup would read it again. */
	if (!rc)
		rc = found(a, id, &pc, err);
	else if (why.code == ERR_CORRUPT)
		rc = found(a, id, NULL, err);
	else
		rc = 0;
	pack_contents_free(&pc);
	return rc;
}

static int compare_packs(const void *a, const void *b)
{
	return memcmp(a, b, PACK_ID);
}

static int list_pack(void *ctx, const char *name, struct err *err)
{
	uint8_t id[PACK_ID];

	return pack_name_decode(name, id) ? entry_list_add(ctx, id, NULL, err) : 0;
}

/* A pack that a run names and the listing lacks: is it gone? What it held must be stored again. */
static int note_gone(struct store *st, const uint8_t id[PACK_ID], struct err *err)
{
	char name[PACK_NAME_MAX];
	struct backend_object *o;
	struct err why = ERR_INIT;
	uint64_t size;

	pack_name(id, name);
	if (!backend_open(st->backend, name, &o, &size, &why)) {
		backend_object_close(o); /* came after the listing */
		return 0;
	}
	if (why.code != ERR_NOT_FOUND || epoch_condemned(st, id) ||
	    bad_has(st, &(struct repo_id){{0}}, id))
		return 0;
	log_warning("%s is missing: what it held is stored again when it is met", name);
	return bad_add_pack(st, id, err);
}

int store_find_gone(struct store *st, struct err *err)
{
	struct entry_list listed = {0};
	int rc = backend_list(st->backend, "packs", list_pack, &listed, err);

	if (listed.n_packs)
		qsort(listed.packs, listed.n_packs, PACK_ID, compare_packs);
	pthread_rwlock_rdlock(&st->runs_lock);
	for (size_t i = 0; i < st->n_runs && !rc; i++)
		for (uint32_t j = 0; j < st->runs[i]->n_packs && !rc; j++) {
			const uint8_t *id = st->runs[i]->packs + (size_t)j * PACK_ID;

			if (!listed.n_packs ||
			    !bsearch(id, listed.packs, listed.n_packs, PACK_ID, compare_packs))
				rc = note_gone(st, id, err);
		}
	pthread_rwlock_unlock(&st->runs_lock);
	entry_list_free(&listed);
	bad_flush(st);
	return rc;
}

int store_adopt(struct store *st, struct err *err)
{
	struct adoption a = {.store = st, .write = true};
	int rc = backend_orphans(st->backend, orphan, &a, err);

	if (!rc)
		rc = backend_list(st->backend, "packs", unindexed, &a, err);
	if (!rc)
		rc = flush(&a, err);
	entry_list_free(&a.list);
	return rc ? -1 : store_find_gone(st, err);
}

/* Where nothing is known to be damaged or gone, all that snapshots need is in packs that have their names. */
static int drop_temporary(struct store *st, struct err *err)
{
	struct adoption a = {.store = st, .drop = true};

	if (store_find_gone(st, err))
		return -1;
	if (st->n_bad)
		return 0;
	log_info("the disk is full: what killed runs left half is removed");
	return backend_orphans(st->backend, orphan, &a, err);
}

/* Return: 0 done, 1 there is no room, -1 */
static int try_adopt(struct store *st, struct err *err)
{
	struct err why = ERR_INIT;

	if (!store_adopt(st, &why))
		return 0;
	if (why.code == ERR_NO_SPACE)
		return 1;
	*err = why;
	return -1;
}

int store_adopt_tight(struct store *st, struct err *err)
{
	int rc = try_adopt(st, err);

	if (rc > 0)
		rc = drop_temporary(st, err) ? -1 : try_adopt(st, err);
	return rc > 0 ? store_rescan_again(st, err) : rc;
}

int store_rescan_again(struct store *st, struct err *err)
{
	pthread_rwlock_wrlock(&st->runs_lock);
	st->rescanned = false;
	pthread_rwlock_unlock(&st->runs_lock);
	return store_rescan(st, err) < 0 ? -1 : 0;
}

int store_rescan(struct store *st, struct err *err)
{
	struct adoption a = {.store = st};
	bool done;
	int rc;

	pthread_rwlock_rdlock(&st->runs_lock);
	done = st->rescanned;
	pthread_rwlock_unlock(&st->runs_lock);
	if (done)
		return 0;
	rc = backend_list(st->backend, "packs", unindexed, &a, err);
	if (rc) {
		entry_list_free(&a.list);
		return -1;
	}
	if (a.list.n)
		qsort(a.list.entries, a.list.n, sizeof(*a.list.entries), index_entry_compare);
	pthread_rwlock_wrlock(&st->runs_lock);
	if (st->rescanned) {
		pthread_rwlock_unlock(&st->runs_lock);
		entry_list_free(&a.list);
		return 1; /* another thread was faster */
	}
	st->rescanned = true;
	free(st->extra);
	st->extra = steal_ptr(&a.list.entries);
	st->n_extra = a.list.n;
	pthread_rwlock_unlock(&st->runs_lock);
	entry_list_free(&a.list);
	return 1;
}
