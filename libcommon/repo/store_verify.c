/* Looking at everything: packs in parallel, each read once from front to back, then the index runs block by block.
 *
 * Quick: headers, tables, and the tag of every frame. Else every frame is decompressed and every blob hashed. Which blobs
 * are lost with a damaged frame or pack is what the index says of it: one pass over all runs at the end, and only when
 * something is damaged. A blob is reported when no good copy is left.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/log.h"
#include "libcommon/base/pipeline.h"
#include "libcommon/base/stop.h"
#include "libcommon/repo/parity.h"
#include "libcommon/repo/store_private.h"

/* A pack with faults: the sections in it that are good. Everything else that the index places in it is lost. */
struct hurt_pack {
	uint8_t id[PACK_ID];
	uint32_t *good; /* sorted */
	size_t n_good;
};

struct lost_blob {
	struct repo_id id;
	uint8_t pack[PACK_ID];
	uint8_t type;
};

struct lost_list {
	struct lost_blob *items;
	size_t n, room;
	bool no_memory;
};

struct verifier {
	struct store *st;
	const struct store_verify *opts;
	char **names;
	size_t n_names;
	struct scratch {
		uint8_t *section, *raw;
		struct frame_codec *codec;
	} * scratch;	      /* one a thread */
	pthread_mutex_t lock; /* all below, and the callbacks */
	struct verify_result res;
	struct hurt_pack *hurt;
	size_t n_hurt;
	struct lost_list lost;
};

/* One pack on its way: what is found is told when it is known whether it can be healed. */
struct pack_job {
	struct verifier *v;
	const char *name;
	struct pack_reader reader;
	struct pack_contents pc;
	struct scratch *scratch;
	uint64_t table; /* its offset; 0: not known */
	uint32_t *good;
	size_t n_good;
	bool hurt;
	struct verify_result res;
	char **faults;
	size_t n_faults;
	struct lost_list lost;
};

static void tell_fault(struct verifier *v, const char *text)
{
	v->res.faults++;
	if (v->opts->fault)
		v->opts->fault(v->opts->ctx, text);
}

static void fault(struct verifier *v, const char *name, const struct err *why)
{
	char text[1400];

	snprintf(text, sizeof(text), "%s: %s", name, why->message);
	pthread_mutex_lock(&v->lock);
	tell_fault(v, text);
	pthread_mutex_unlock(&v->lock);
}

/* @off 0: of the pack as a whole */
static int pack_fault(struct pack_job *j, const struct err *why, uint64_t off, struct err *err)
{
	char text[1400], **more, *copy;

	if (off)
		snprintf(text, sizeof(text), "%s: frame at %" PRIu64 ": %s", j->name, off,
			 why->message);
	else
		snprintf(text, sizeof(text), "%s: %s", j->name, why->message);
	more = reallocarray(j->faults, j->n_faults + 1, sizeof(*more));
	if (!more)
		return err_nomem(err);
	j->faults = more;
	copy = strdup(text);
	if (!copy)
		return err_nomem(err);
	more[j->n_faults++] = copy;
	return 0;
}

static void add_lost(struct lost_list *l, const struct repo_id *id, const uint8_t pack[PACK_ID],
		     uint8_t type)
{
	if (l->n == l->room) {
		size_t room = l->room ? 2 * l->room : 256;
		struct lost_blob *p = reallocarray(l->items, room, sizeof(*p));

		if (!p) {
			l->no_memory = true;
			return;
		}
		l->items = p;
		l->room = room;
	}
	l->items[l->n].id = *id;
	l->items[l->n].type = type;
	memcpy(l->items[l->n++].pack, pack, PACK_ID);
}

static void bad_blob(void *ctx, const struct frame_blob *b, enum blob_type type)
{
	struct pack_job *j = ctx;

	add_lost(&j->lost, &b->id, j->reader.src.id, (uint8_t)type);
}

static void count_frame(struct pack_job *j, const struct pack_frame *f)
{
	uint64_t len = frame_section_len(&f->header);

	j->res.frames++;
	*(f->header.type == BLOB_PAGE ? &j->res.pages : &j->res.chunks) += f->n;
	j->res.bytes_read += len;
	progress_add(j->v->opts->progress, len);
}

static void lose_frame(struct pack_job *j, const struct pack_frame *f)
{
	j->hurt = true;
	for (uint32_t i = 0; i < f->n; i++)
		bad_blob(j, &j->pc.blobs[f->first + i], f->header.type);
}

/* Return: 0 also for faults; -1 when it could not look */
static int check_frames(struct pack_job *j, struct err *err)
{
	struct verifier *v = j->v;

	for (size_t i = 0; i < j->pc.n_frames; i++) {
		const struct pack_frame *f = &j->pc.frames[i];
		struct err why = ERR_INIT;
		int rc;

		if (stop_check(err))
			return -1;
		rc = pack_check_frame(v->st->crypto, &j->reader.src, j->scratch->codec, &j->pc, f,
				      j->scratch->section, v->opts->quick ? NULL : j->scratch->raw,
				      bad_blob, j, &why);
		if (rc && why.code == ERR_NO_MEMORY)
			return err_nomem(err);
		count_frame(j, f);
		if (rc && pack_fault(j, &why, f->off, err))
			return -1;
		/* ERR_DIFFERS: single blobs, named by bad_blob(); the rest of the frame is right */
		if (!rc || why.code == ERR_DIFFERS)
			j->good[j->n_good++] = (uint32_t)f->off;
		else
			lose_frame(j, f);
	}
	return 0;
}

/* Parity that is damaged itself costs no data, but the next damage may. What damaged the frames is told of them. */
static int check_parity(struct pack_job *j, struct err *err)
{
	struct err why = ERR_INIT;
	uint64_t end = PACK_HEADER, bad;

	if (!j->table || j->n_faults)
		return 0;
	for (size_t i = 0; i < j->pc.n_frames; i++) {
		const struct pack_frame *f = &j->pc.frames[i];

		end = max_u64(end, f->off + frame_section_len(&f->header));
	}
	if (parity_check(&j->reader.src, end, j->table, &bad, &why))
		return why.code == ERR_NO_MEMORY ? err_nomem(err) : pack_fault(j, &why, 0, err);
	if (!bad)
		return 0;
	err_set(&why, ERR_CORRUPT, "parity: %" PRIu64 " blocks are damaged", bad);
	return pack_fault(j, &why, 0, err);
}

/* The table; without it what can be found by reading forward. */
static int pack_list(struct pack_job *j, struct err *err)
{
	struct crypto *c = j->v->st->crypto;
	struct err why = ERR_INIT;
	uint64_t end;

	if (!pack_read_table(c, &j->reader.src, &j->pc, &j->table, &why))
		return 0;
	if (why.code == ERR_NO_MEMORY)
		return err_nomem(err);
	if (pack_fault(j, &why, 0, err))
		return -1;
	j->hurt = true;
	err_clear(&why);
	if (pack_scan(c, &j->reader.src, false, &j->pc, &end, &why)) {
		if (why.code == ERR_NO_MEMORY)
			return err_nomem(err);
		return pack_fault(j, &why, 0, err);
	}
	return 0;
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int add_hurt(struct verifier *v, const uint8_t id[PACK_ID], uint32_t *good, size_t n_good,
		    struct err *err)
{
	struct hurt_pack *p;

	if (n_good)
		qsort(good, n_good, sizeof(*good), compare_u32);
	pthread_mutex_lock(&v->lock);
	p = realloc(v->hurt, (v->n_hurt + 1) * sizeof(*p));
	if (p) {
		v->hurt = p;
		p += v->n_hurt++;
		memcpy(p->id, id, PACK_ID);
		p->good = good;
		p->n_good = n_good;
	}
	pthread_mutex_unlock(&v->lock);
	return p ? 0 : err_nomem(err);
}

static int check_pack(struct pack_job *j, const uint8_t id[PACK_ID], struct err *err)
{
	struct verifier *v = j->v;
	struct err why = ERR_INIT;

	if (pack_reader_open(&j->reader, v->st->backend, v->st->crypto, id, &why)) {
		if (why.code == ERR_NO_MEMORY)
			return err_nomem(err);
		j->hurt = true;
		return pack_fault(j, &why, 0, err);
	}
	if (pack_list(j, err))
		return -1;
	j->good = malloc((j->pc.n_frames + 1) * sizeof(*j->good));
	if (!j->good)
		return err_nomem(err);
	return check_frames(j, err) || check_parity(j, err) ? -1 : 0;
}

static void job_clear(struct pack_job *j)
{
	pack_reader_close(&j->reader);
	pack_contents_free(&j->pc);
	for (size_t i = 0; i < j->n_faults; i++)
		free(j->faults[i]);
	free(j->faults);
	free(j->lost.items);
	free(j->good);
	*j = (struct pack_job){.v = j->v, .name = j->name, .scratch = j->scratch};
}

/* Return: was anything healed, so that it is worth another look? -1 */
static int heal_pack(struct pack_job *j, const uint8_t id[PACK_ID], struct err *err)
{
	struct verifier *v = j->v;
	struct healed_pack h;
	int rc;

	pthread_mutex_lock(&v->st->heal_lock);
	rc = store_heal(v->st, id, &h, err);
	pthread_mutex_unlock(&v->st->heal_lock);
	if (rc <= 0)
		return rc;
	free(h.buf);
	pthread_mutex_lock(&v->lock);
	if (v->opts->healed)
		v->opts->healed(v->opts->ctx, h.sentence);
	pthread_mutex_unlock(&v->lock);
	return 1;
}

/* What was damaged when it was looked at the last time is not any more: the disk gave it again, or somebody put it back. */
static void clear_record(struct pack_job *j, const uint8_t id[PACK_ID])
{
	struct store *st = j->v->st;
	struct err why = ERR_INIT;

	if (j->n_faults || j->lost.n || j->v->opts->quick || !bad_has_pack(st, id))
		return;
	pthread_mutex_lock(&st->heal_lock);
	if (bad_forget_pack(st, id, &why))
		log_info("%s is on record as damaged, and stays there: %s", j->name, why.message);
	pthread_mutex_unlock(&st->heal_lock);
}

static void tell(struct pack_job *j)
{
	struct verifier *v = j->v;

	pthread_mutex_lock(&v->lock);
	v->res.packs++;
	v->res.frames += j->res.frames;
	v->res.chunks += j->res.chunks;
	v->res.pages += j->res.pages;
	v->res.bytes_read += j->res.bytes_read;
	for (size_t i = 0; i < j->n_faults; i++)
		tell_fault(v, j->faults[i]);
	for (size_t i = 0; i < j->lost.n; i++)
		add_lost(&v->lost, &j->lost.items[i].id, j->lost.items[i].pack,
			 j->lost.items[i].type);
	v->lost.no_memory |= j->lost.no_memory;
	pthread_mutex_unlock(&v->lock);
}

/* Names of packs are random, so each share is about as large as the others, and a pack stays in its own. */
static bool in_share(const struct store_verify *opts, const uint8_t id[PACK_ID])
{
	unsigned n = (unsigned)id[0] << 16 | (unsigned)id[1] << 8 | id[2];

	return !opts->shares ||
	       (n % opts->shares + opts->shares - (opts->share - 1)) % opts->shares <
		       opts->share_parts;
}

static int verify_pack(void *ctx, size_t i, unsigned worker, struct err *err)
{
	struct verifier *v = ctx;
	struct pack_job j = {.v = v, .name = v->names[i], .scratch = &v->scratch[worker]};
	uint8_t id[PACK_ID];
	int rc;

	if (stop_check(err))
		return -1;
	if (!pack_name_decode(j.name, id)) {
		struct err why = ERR_INIT;

		err_set(&why, ERR_CORRUPT, "is no name of a pack");
		fault(v, j.name, &why);
		return 0;
	}
	if (!in_share(v->opts, id))
		return 0;
	rc = check_pack(&j, id, err);
	if (!rc && j.n_faults && v->opts->heal) {
		rc = heal_pack(&j, id, err);
		if (rc > 0) {
			job_clear(&j);
			rc = check_pack(&j, id, err);
		}
	}
	if (!rc) {
		clear_record(&j, id);
		tell(&j);
	}
	if (!rc && j.hurt) {
		rc = add_hurt(v, id, j.good, j.n_good, err);
		if (!rc)
			j.good = NULL;
	}
	job_clear(&j);
	return rc;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Packs that a run names and that are not there. */
static int missing_packs(struct verifier *v, const struct run *r, struct err *err)
{
	for (uint32_t i = 0; i < r->n_packs; i++) {
		const uint8_t *id = r->packs + (size_t)i * PACK_ID;
		char name[PACK_NAME_MAX];
		const char *key = name;
		struct err why = ERR_INIT;
		bool known = false;

		pack_name(id, name);
		if (v->n_names &&
		    bsearch(&key, v->names, v->n_names, sizeof(*v->names), compare_names))
			continue;
		for (size_t h = 0; h < v->n_hurt; h++)
			known |= !memcmp(v->hurt[h].id, id, PACK_ID);
		if (known)
			continue;
		err_set(&why, ERR_NOT_FOUND, "is missing, and the index names it");
		fault(v, name, &why);
		if (add_hurt(v, id, NULL, 0, err))
			return -1;
	}
	return 0;
}

static int compare_hurt(const void *a, const void *b)
{
	return memcmp(((const struct hurt_pack *)a)->id, ((const struct hurt_pack *)b)->id,
		      PACK_ID);
}

static void judge_entry(struct verifier *v, const struct index_entry *e)
{
	struct hurt_pack key = {0}, *h;

	memcpy(key.id, e->place.pack, PACK_ID);
	h = v->n_hurt ? bsearch(&key, v->hurt, v->n_hurt, sizeof(*v->hurt), compare_hurt) : NULL;
	if (h && !(h->n_good && bsearch(&e->place.section_off, h->good, h->n_good, sizeof(*h->good),
					compare_u32)))
		add_lost(&v->lost, &e->id, e->place.pack, e->place.type);
}

static int verify_run(struct verifier *v, struct run *r, struct err *err)
{
	for (uint32_t b = 0; b < r->n_blocks; b++) {
		struct index_entry entries[INDEX_BLOCK_ENTRIES];
		struct err why = ERR_INIT;
		size_t n;

		if (!(b & 1023) && stop_check(err))
			return -1;
		if (run_block(r, b, entries, &n, &why)) {
			fault(v, r->name, &why);
			return 1;
		}
		for (size_t i = 0; i < n; i++)
			judge_entry(v, &entries[i]);
	}
	v->res.bytes_read += r->size;
	return 0;
}

/* Runs that do not open are not among those open: each is a fault, and removed, as it is only a cache. */
static int unopened_runs(struct verifier *v, struct err *err)
{
	char **names;
	size_t n;

	if (store_object_list(v->st, "index/", &names, &n, err))
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct err why = ERR_INIT;
		struct run *r;

		if (!run_open(&r, v->st->backend, v->st->crypto, names[i], &why)) {
			run_free(r);
		} else if (why.code == ERR_CORRUPT) {
			fault(v, names[i], &why);
			err_clear(&why);
			(void)backend_remove(v->st->backend, names[i], &why);
		}
		free(names[i]);
	}
	free(names);
	return 0;
}

static int verify_index(struct verifier *v, struct err *err)
{
	struct store *st = v->st;
	int rc = 0;

	pthread_rwlock_rdlock(&st->runs_lock);
	for (size_t i = 0; i < st->n_runs && !rc; i++)
		rc = missing_packs(v, st->runs[i], err);
	if (v->n_hurt)
		qsort(v->hurt, v->n_hurt, sizeof(*v->hurt), compare_hurt);
	for (size_t i = 0; i < st->n_runs && rc >= 0; i++) {
		struct err why = ERR_INIT;

		rc = verify_run(v, st->runs[i], err);
		if (rc > 0)
			(void)backend_remove(st->backend, st->runs[i]->name, &why);
	}
	for (size_t i = 0; i < st->n_extra && rc >= 0; i++)
		judge_entry(v, &st->extra[i]);
	pthread_rwlock_unlock(&st->runs_lock);
	return rc < 0 ? -1 : unopened_runs(v, err);
}

static int compare_lost(const void *a, const void *b)
{
	return memcmp(&((const struct lost_blob *)a)->id, &((const struct lost_blob *)b)->id,
		      sizeof(struct repo_id));
}

/* All that is lost is remembered first; then only what has no good copy elsewhere is reported. */
static int report_lost(struct verifier *v, struct err *err)
{
	for (size_t i = 0; i < v->lost.n; i++)
		if (bad_add(v->st, &v->lost.items[i].id, v->lost.items[i].pack, err))
			return -1;
	bad_flush(v->st);
	if (v->lost.n)
		qsort(v->lost.items, v->lost.n, sizeof(*v->lost.items), compare_lost);
	for (size_t i = 0; i < v->lost.n; i++)
		if (v->opts->bad &&
		    (!i || compare_lost(&v->lost.items[i - 1], &v->lost.items[i])) &&
		    !store_has(v->st, &v->lost.items[i].id))
			v->opts->bad(v->opts->ctx, &v->lost.items[i].id, v->lost.items[i].type,
				     "it is damaged or missing");
	return v->lost.no_memory ? err_nomem(err) : 0;
}

static int scratch_init(struct verifier *v, unsigned threads, struct err *err)
{
	v->scratch = calloc(threads, sizeof(*v->scratch));
	if (!v->scratch)
		return err_nomem(err);
	for (unsigned i = 0; i < threads; i++) {
		v->scratch[i].section = malloc(FRAME_SECTION_MAX);
		v->scratch[i].raw = malloc(FRAME_RAW_MAX);
		if (!v->scratch[i].section || !v->scratch[i].raw ||
		    frame_codec_new(&v->scratch[i].codec, 0, err))
			return err_nomem(err);
	}
	return 0;
}

static void verifier_free(struct verifier *v, unsigned threads)
{
	for (unsigned i = 0; v->scratch && i < threads; i++) {
		free(v->scratch[i].section);
		free(v->scratch[i].raw);
		frame_codec_free(v->scratch[i].codec);
	}
	free(v->scratch);
	for (size_t i = 0; i < v->n_names; i++)
		free(v->names[i]);
	free(v->names);
	for (size_t i = 0; i < v->n_hurt; i++)
		free(v->hurt[i].good);
	free(v->hurt);
	free(v->lost.items);
	pthread_mutex_destroy(&v->lock);
}

int store_verify(struct store *st, const struct store_verify *opts, struct verify_result *ret,
		 struct err *err)
{
	struct verifier v = {.st = st, .opts = opts, .lock = PTHREAD_MUTEX_INITIALIZER};
	unsigned threads = opts->threads ? opts->threads : threads_default();
	int rc = store_refresh(st, err);

	if (!rc)
		rc = store_rescan(st, err) < 0 ? -1 : 0;
	if (!rc)
		rc = store_object_list(st, "packs", &v.names, &v.n_names, err);
	if (!rc)
		rc = scratch_init(&v, threads, err);
	if (!rc)
		rc = parallel_for(v.n_names, threads, verify_pack, &v, err);
	if (!rc)
		rc = verify_index(&v, err);
	if (!rc)
		rc = report_lost(&v, err);
	ret->packs += v.res.packs;
	ret->all_packs += v.n_names;
	ret->frames += v.res.frames;
	ret->chunks += v.res.chunks;
	ret->pages += v.res.pages;
	ret->bytes_read += v.res.bytes_read;
	verifier_free(&v, threads);
	return rc;
}
