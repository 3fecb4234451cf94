/* Reading blobs: a bounded cache of decompressed frames, one loader a frame, every blob held against its id. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/libcrypto.h"
#include "libcommon/base/log.h"
#include "libcommon/repo/store_private.h"

enum frame_state { FRAME_LOADING, FRAME_READY, FRAME_FAILED };

struct cached_frame {
	struct cached_frame *next;
	uint8_t pack[PACK_ID];
	uint32_t section_off;
	enum frame_state state;
	unsigned refs;
	struct err err; /* of FRAME_FAILED */
	uint8_t *raw;	/* FRAME_RAW_MAX */
	uint32_t raw_len;
	/* blobs held against their ids already (under cache_lock): get_range() hashes a blob once, not once a read */
	uint32_t *checked;
	size_t n_checked, cap_checked;
};

/* What a load needs; kept between loads. */
struct loader {
	struct loader *next;
	struct frame_codec *codec;
	uint8_t *section;
};

static void frame_free(struct cached_frame *f)
{
	if (!f)
		return;
	free(f->raw);
	free(f->checked);
	free(f);
}

void cache_free(struct store *st)
{
	while (st->frames) {
		struct cached_frame *f = st->frames;

		st->frames = f->next;
		frame_free(f);
	}
	while (st->loaders) {
		struct loader *l = st->loaders;

		st->loaders = l->next;
		frame_codec_free(l->codec);
		free(l->section);
		free(l);
	}
	OPENSSL_cleanse(st->keys, sizeof(st->keys));
}

static struct loader *loader_get(struct store *st, struct err *err)
{
	struct loader *l;

	pthread_mutex_lock(&st->cache_lock);
	l = st->loaders;
	if (l)
		st->loaders = l->next;
	pthread_mutex_unlock(&st->cache_lock);
	if (l)
		return l;
	l = calloc(1, sizeof(*l));
	if (!l || frame_codec_new(&l->codec, 0, err) || !(l->section = malloc(FRAME_SECTION_MAX))) {
		if (l)
			frame_codec_free(l->codec);
		free(l);
		err_nomem(err);
		return NULL;
	}
	return l;
}

static void loader_put(struct store *st, struct loader *l)
{
	pthread_mutex_lock(&st->cache_lock);
	l->next = st->loaders;
	st->loaders = l;
	pthread_mutex_unlock(&st->cache_lock);
}

static bool key_cached(struct store *st, const uint8_t pack[PACK_ID], struct seal_key *ret,
		       uint8_t header[PACK_HEADER])
{
	bool hit = false;

	pthread_mutex_lock(&st->cache_lock);
	for (size_t i = 0; i < PACK_KEYS && !hit; i++)
		if (st->keys[i].used && !memcmp(st->keys[i].id, pack, PACK_ID)) {
			*ret = st->keys[i].key;
			memcpy(header, st->keys[i].header, PACK_HEADER);
			hit = true;
		}
	pthread_mutex_unlock(&st->cache_lock);
	return hit;
}

static void key_remember(struct store *st, const struct pack_source *src)
{
	pthread_mutex_lock(&st->cache_lock);
	memcpy(st->keys[st->next_key].id, src->id, PACK_ID);
	memcpy(st->keys[st->next_key].header, src->header, PACK_HEADER);
	st->keys[st->next_key].key = src->key;
	st->keys[st->next_key].used = true;
	st->next_key = (st->next_key + 1) % PACK_KEYS;
	pthread_mutex_unlock(&st->cache_lock);
}

static int load_section(struct store *st, const struct blob_place *p, uint8_t *section,
			struct seal_key *ret_key, uint8_t header[PACK_HEADER], struct err *err)
{
	char name[PACK_NAME_MAX];
	struct backend_object *o;
	uint64_t size;
	int rc;

	if (p->section_len < FRAME_HEADER || p->section_len > FRAME_SECTION_MAX)
		return err_set(err, ERR_CORRUPT, "index gives a frame %u bytes", p->section_len);
	if (!key_cached(st, p->pack, ret_key, header)) {
		struct pack_reader r;

		if (pack_reader_open(&r, st->backend, st->crypto, p->pack, err))
			return -1;
		*ret_key = r.src.key;
		memcpy(header, r.src.header, PACK_HEADER);
		key_remember(st, &r.src);
		rc = backend_object_read(r.object, p->section_off, section, p->section_len, err);
		pack_reader_close(&r);
		return rc;
	}
	pack_name(p->pack, name);
	if (backend_open(st->backend, name, &o, &size, err))
		return -1;
	rc = backend_object_read(o, p->section_off, section, p->section_len, err);
	backend_object_close(o);
	return rc;
}

/* The frame in @l->section, decrypted and decompressed */
static int open_section(struct store *st, const struct blob_place *p, struct loader *l,
			const struct seal_key *key, struct cached_frame *f, struct err *err)
{
	struct frame_header h;

	if (frame_header_decode(l->section, &h, err))
		return -1;
	if (frame_section_len(&h) != p->section_len)
		return err_set(err, ERR_CORRUPT, "frame is %u bytes long, the index says %u",
			       frame_section_len(&h), p->section_len);
	return frame_open_payload(st->crypto, key, p->pack, l->section, &h, err) ||
			       frame_expand(l->codec, l->section, &h, f->raw, &f->raw_len, err)
		       ? -1
		       : 0;
}

static int header_read(void *ctx, uint64_t off, void *buf, size_t len, struct err *err)
{
	struct pack_source *src = ctx;

	if (off || len != PACK_HEADER)
		return err_set(err, ERR_CORRUPT, "only the header is here");
	memmove(buf, src->header, len);
	return 0;
}

/* A frame of pages that is kept here: sealed as it is there, so it proves itself. Return: true when @f has it */
static bool load_kept(struct store *st, const struct blob_place *p, struct loader *l,
		      struct cached_frame *f)
{
	struct pack_source src = {.read = header_read, .size = PACK_HEADER};
	struct err why = ERR_INIT;
	char name[PACK_NAME_MAX];
	bool good;

	pack_name(p->pack, name);
	memcpy(src.id, p->pack, PACK_ID);
	src.ctx = &src;
	if (p->section_len < FRAME_HEADER || p->section_len > FRAME_SECTION_MAX ||
	    !backend_kept_get(st->backend, name, p->section_off, src.header, PACK_HEADER,
			      l->section, p->section_len))
		return false;
	good = !pack_read_header(st->crypto, &src, &why) &&
	       !open_section(st, p, l, &src.key, f, &why);
	OPENSSL_cleanse(&src.key, sizeof(src.key));
	if (!good)
		backend_kept_drop(st->backend, name, p->section_off);
	return good;
}

static int load_stored(struct store *st, const struct blob_place *p, struct loader *l,
		       struct cached_frame *f, struct err *err)
{
	bool page = p->type == BLOB_PAGE && !st->no_kept && backend_keeps(st->backend);
	CLEANUP_FREE uint8_t *sealed = NULL;
	uint8_t header[PACK_HEADER];
	struct seal_key key;
	char name[PACK_NAME_MAX];
	int rc;

	if (page && load_kept(st, p, l, f))
		return 0;
	rc = load_section(st, p, l->section, &key, header, err);
	/* It is opened where it lies, and only what could be opened is kept, as it was. */
	if (!rc && page && (sealed = malloc(p->section_len)))
		memcpy(sealed, l->section, p->section_len);
	if (!rc)
		rc = open_section(st, p, l, &key, f, err);
	if (!rc && sealed) {
		pack_name(p->pack, name);
		backend_kept_put(st->backend, name, p->section_off, header, PACK_HEADER, sealed,
				 p->section_len);
	}
	OPENSSL_cleanse(&key, sizeof(key));
	return rc;
}

/* The pack's parity may know what the frame was. @err holds what is wrong with it, and keeps that when nothing helps. */
static int load_healed(struct store *st, const struct blob_place *p, struct loader *l,
		       struct cached_frame *f, struct err *err)
{
	struct healed_pack h = {0};
	struct err why = ERR_INIT;
	int rc;

	pthread_mutex_lock(&st->heal_lock);
	rc = load_stored(st, p, l, f, &why); /* another thread may have healed it */
	if (rc && read_is_damage(&why) && memcmp(st->hopeless, p->pack, PACK_ID)) {
		rc = -1;
		if (store_heal(st, p->pack, &h, &why) > 0 &&
		    range_inside(p->section_off, p->section_len, h.len)) {
			memcpy(l->section, h.buf + p->section_off, p->section_len);
			rc = open_section(st, p, l, &h.key, f, &why);
		}
		if (h.sentence[0])
			log_warning("%s", h.sentence);
		OPENSSL_cleanse(&h.key, sizeof(h.key));
		free(h.buf);
	}
	pthread_mutex_unlock(&st->heal_lock);
	if (!rc)
		err_clear(err);
	return rc;
}

static int load(struct store *st, const struct blob_place *p, struct cached_frame *f,
		struct err *err)
{
	struct loader *l = loader_get(st, err);
	int rc;

	if (!l)
		return -1;
	rc = load_stored(st, p, l, f, err);
	if (rc && !st->no_heal && read_is_damage(err) && p->section_len >= FRAME_HEADER &&
	    p->section_len <= FRAME_SECTION_MAX)
		rc = load_healed(st, p, l, f, err);
	loader_put(st, l);
	return rc;
}

/* With cache_lock held: an entry to load into, recycled from the oldest idle one when the cache is full. */
static struct cached_frame *take_entry(struct store *st)
{
	struct cached_frame **oldest = NULL, *f;

	for (struct cached_frame **p = &st->frames; *p; p = &(*p)->next)
		if (!(*p)->refs)
			oldest = p;
	if (oldest && (st->cached_bytes >= (st->small_cache ? SMALL_CACHE_BYTES : CACHE_BYTES) ||
		       (*oldest)->state == FRAME_FAILED)) {
		f = *oldest;
		*oldest = f->next;
		f->n_checked = 0;
		return f;
	}
	f = calloc(1, sizeof(*f));
	if (f)
		f->raw = malloc(FRAME_RAW_MAX);
	if (!f || !f->raw) {
		frame_free(f);
		return NULL;
	}
	st->cached_bytes +=
		1 << 20; /* frames are of 1 MiB; the rest of the buffer is rarely touched */
	return f;
}

static void to_front(struct store *st, struct cached_frame **p)
{
	struct cached_frame *f = *p;

	*p = f->next;
	f->next = st->frames;
	st->frames = f;
}

static void frame_put(struct store *st, struct cached_frame *f)
{
	pthread_mutex_lock(&st->cache_lock);
	f->refs--;
	pthread_mutex_unlock(&st->cache_lock);
}

static struct cached_frame **find_frame(struct store *st, const struct blob_place *p)
{
	struct cached_frame **f = &st->frames;

	while (*f && ((*f)->section_off != p->section_off || (*f)->state == FRAME_FAILED ||
		      memcmp((*f)->pack, p->pack, PACK_ID)))
		f = &(*f)->next;
	return f;
}

/* Return: a frame that is held until frame_put(), or NULL */
static struct cached_frame *frame_get(struct store *st, const struct blob_place *p, struct err *err)
{
	struct cached_frame **found, *f;
	int rc;

	pthread_mutex_lock(&st->cache_lock);
	found = find_frame(st, p);
	if (*found) {
		f = *found;
		to_front(st, found);
		f->refs++;
		while (f->state == FRAME_LOADING)
			pthread_cond_wait(&st->cache_ready, &st->cache_lock);
		if (f->state == FRAME_FAILED) {
			*err = f->err;
			f->refs--;
			f = NULL;
		}
		pthread_mutex_unlock(&st->cache_lock);
		return f;
	}
	f = take_entry(st);
	if (!f) {
		pthread_mutex_unlock(&st->cache_lock);
		err_nomem(err);
		return NULL;
	}
	memcpy(f->pack, p->pack, PACK_ID);
	f->section_off = p->section_off;
	f->state = FRAME_LOADING;
	f->refs = 1;
	f->next = st->frames;
	st->frames = f;
	pthread_mutex_unlock(&st->cache_lock);

	rc = load(st, p, f, err);
	pthread_mutex_lock(&st->cache_lock);
	f->state = rc ? FRAME_FAILED : FRAME_READY;
	if (rc) {
		f->err = *err;
		f->refs--;
	}
	pthread_cond_broadcast(&st->cache_ready);
	pthread_mutex_unlock(&st->cache_lock);
	return rc ? NULL : f;
}

static bool was_checked(struct store *st, struct cached_frame *f, uint32_t off)
{
	bool hit = false;

	pthread_mutex_lock(&st->cache_lock);
	for (size_t i = 0; i < f->n_checked && !hit; i++)
		hit = f->checked[i] == off;
	pthread_mutex_unlock(&st->cache_lock);
	return hit;
}

static void remember_checked(struct store *st, struct cached_frame *f, uint32_t off)
{
	pthread_mutex_lock(&st->cache_lock);
	if (f->n_checked == f->cap_checked && f->cap_checked < FRAME_BLOBS_MAX) {
		size_t cap = f->cap_checked ? 2 * f->cap_checked : 64;
		uint32_t *p = realloc(f->checked, cap * sizeof(*p));

		if (p) {
			f->checked = p;
			f->cap_checked = cap;
		}
	}
	if (f->n_checked < f->cap_checked) /* else it is hashed again next time */
		f->checked[f->n_checked++] = off;
	pthread_mutex_unlock(&st->cache_lock);
}

struct request {
	enum blob_type type;
	const struct repo_id *id;
	size_t blob_len, off, len;
	void *buf;
};

static int copy_blob(struct store *st, const struct request *q, const struct blob_place *p,
		     struct cached_frame *f, struct err *err)
{
	struct repo_id id;

	if (p->len != q->blob_len)
		return err_set(err, ERR_CORRUPT, "blob of %u bytes where %zu are expected", p->len,
			       q->blob_len);
	if (!range_inside(p->off, p->len, f->raw_len))
		return err_set(err, ERR_CORRUPT, "index places a blob at %u in a frame of %u bytes",
			       p->off, f->raw_len);
	if (!was_checked(st, f, p->off)) {
		if (crypto_id(st->crypto, (uint8_t)q->type, f->raw + p->off, p->len, &id, err))
			return -1;
		if (memcmp(&id, q->id, sizeof(id)))
			return err_set(err, ERR_CORRUPT,
				       "blob at %u in the frame does not match its id", p->off);
		remember_checked(st, f, p->off);
	}
	memcpy(q->buf, f->raw + p->off + q->off, q->len);
	return 0;
}

/* A frame that cannot be read takes all its blobs with it: they must not count as present for the next backup. */
static void mark_frame(struct store *st, const struct blob_place *p)
{
	struct pack_contents pc = {0};
	struct err why = ERR_INIT;
	struct pack_reader r;

	if (pack_reader_open(&r, st->backend, st->crypto, p->pack, &why))
		return;
	if (!pack_read_table(st->crypto, &r.src, &pc, NULL, &why))
		for (size_t i = 0; i < pc.n_frames; i++)
			for (uint32_t j = 0;
			     pc.frames[i].off == p->section_off && j < pc.frames[i].n; j++)
				(void)bad_add(st, &pc.blobs[pc.frames[i].first + j].id, p->pack,
					      &why);
	pack_contents_free(&pc);
	pack_reader_close(&r);
}

/* @again: the index was read anew since, so that a pack that is gone is gone for good and not replaced by others. */
static int read_place(struct store *st, const struct request *q, const struct blob_place *p,
		      bool known_bad, bool again, bool *ret_gone, struct err *err)
{
	struct cached_frame *f = frame_get(st, p, err);
	char hex[2 * PACK_ID + 1];
	int rc = -1;

	if (f) {
		rc = copy_blob(st, q, p, f, err);
		frame_put(st, f);
	}
	if (!rc || (!read_is_damage(err) && err->code != ERR_NOT_FOUND))
		return rc;
	if (err->code == ERR_NOT_FOUND && !again)
		*ret_gone = known_bad = true;
	hex_encode(p->pack, PACK_ID, hex);
	err->code = ERR_CORRUPT;
	err_prefix(err, "pack %s, frame at %" PRIu32, hex, p->section_off);
	if (!known_bad) {
		struct err why = ERR_INIT;

		log_warning("%s", err->message);
		(void)bad_add(st, q->id, p->pack, &why);
		if (!f)
			mark_frame(st, p);
		bad_flush(st);
	}
	return -1;
}

/* Return: 0, 1 when no copy is known, -1 */
static int try_places(struct store *st, const struct request *q, bool again, bool *ret_gone,
		      struct err *err)
{
	struct blob_place places[STORE_PLACES];
	size_t good, n = store_locate(st, q->id, places, &good);

	/* Copies known to be damaged come last and are tried all the same: a cable may have been the cause, and the id
	 * tells the truth. */
	for (size_t i = 0; i < n; i++) {
		err_clear(err);
		if (!read_place(st, q, &places[i], i >= good, again, ret_gone, err))
			return 0;
		if (err->code != ERR_CORRUPT)
			return -1;
	}
	return n ? -1 : 1;
}

static int try_all(struct store *st, const struct request *q, struct err *err)
{
	bool gone = false;
	int rc = try_places(st, q, false, &gone, err);

	if (rc >= 0 || !gone)
		return rc;
	if (store_refresh(st, err))
		return -1;
	return try_places(st, q, true, &gone, err);
}

static bool is_rescanned(struct store *st)
{
	bool done;

	pthread_rwlock_rdlock(&st->runs_lock);
	done = st->rescanned;
	pthread_rwlock_unlock(&st->runs_lock);
	return done;
}

/* A whole copy may lie in a pack that no run names: its writer was killed, or a run was given up for room. That another
 * thread has looked for such packs since the first try is as good. @rc: of that. Return: as try_all() */
static int try_unindexed(struct store *st, const struct request *q, int rc, struct err *err)
{
	struct err why = ERR_INIT;

	if (store_rescan(st, &why) < 0) {
		if (rc > 0)
			*err = why;
		return rc;
	}
	err_clear(err);
	return try_all(st, q, err);
}

int store_get_range(struct store *st, enum blob_type type, const struct repo_id *id,
		    size_t blob_len, size_t off, void *buf, size_t len, struct err *err)
{
	const struct request q = {
		.type = type, .id = id, .blob_len = blob_len, .off = off, .len = len, .buf = buf};
	bool rescanned = is_rescanned(st);
	struct err why = ERR_INIT;
	char hex[17];
	int rc;

	if (!range_inside(off, len, blob_len))
		return err_set(err, ERR_USAGE, "%zu bytes at %zu of a blob of %zu", len, off,
			       blob_len);
	rc = try_all(st, &q, &why);
	if (rc > 0 && !store_refresh(st, &why))
		rc = try_all(st, &q, &why);
	if (!rescanned && (rc > 0 || (rc < 0 && read_is_damage(&why))))
		rc = try_unindexed(st, &q, rc, &why);
	if (!rc)
		return 0;
	hex_encode(id->bytes, 8, hex);
	if (rc > 0 && !why.code)
		return err_set(err, ERR_NOT_FOUND, "blob %s is not in the repository", hex);
	if (err)
		*err = why;
	return err_prefix(err, "blob %s", hex);
}

int store_get(struct store *st, enum blob_type type, const struct repo_id *id, void *buf,
	      size_t len, struct err *err)
{
	return store_get_range(st, type, id, len, 0, buf, len, err);
}
