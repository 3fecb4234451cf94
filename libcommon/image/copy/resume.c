/* The record of an interrupted copying: see resume.h, which has the form of the file. */
#include "libcommon/image/copy/resume.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/log.h"

enum {
	KEY = 32,
	MAGIC = 16,
	HEADER = MAGIC + KEY + 16,
	HEAD = 8,	   /* of an entry */
	PAYLOAD_HEAD = 32, /* begin, end, size, units */
	UNIT_HEAD = 24,
	FLAG_CLONE = 1,
	/* fsync costs: at most a tenth of the time, and not more often than this */
	PAUSE_MS = 100,
	PAUSE_FACTOR = 10,
};

static const char magic[MAGIC] = "vmkit resume 1\n";

/* A unit that is placed but not in the record. */
struct pending {
	struct pending *next;
	uint64_t no;
	bool stored;
	size_t len; /* of the whole entry */
	uint8_t entry[];
};

struct resume {
	int fd;	 /* the record */
	int out; /* a descriptor of TARGET.part, for fdatasync; ours */
	char *part, *path;
	uint8_t key[KEY];
	bool clone;
	/* What was found; not changed after resume_open() */
	uint8_t *map; /* the record as it was */
	size_t map_len;
	uint64_t *entries; /* offsets of payloads */
	uint64_t n_done, bytes;
	_Atomic bool unfit;
	bool forget, ready;
	/* @lock guards all below */
	pthread_mutex_t lock;
	struct pending *first, **end; /* in the order of units */
	uint64_t file_at;	      /* end of the record */
	bool busy;		      /* a thread writes to the record */
	uint64_t next_ms;	      /* not before */
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t sum(const struct resume *r, uint64_t no, const void *p, size_t len)
{
	return XXH64(p, len, get_le64(r->key) + no);
}

/* ---- the key */

static int add_text(struct digest *d, const char *text, struct err *err)
{
	return digest_update(d, text ? text : "", text ? strlen(text) + 1 : 1, err);
}

static int add_params(struct digest *d, const struct target *t, struct err *err)
{
	const struct bulk_params *p = &t->params;
	const uint64_t numbers[] = {p->size,
				    p->compress,
				    p->compress_codec,
				    (uint64_t)(int64_t)p->compress_level,
				    p->backing_name != NULL,
				    p->random_ids,
				    t->opts->digest != NULL,
				    p->n_options};

	if (add_text(d, "vmkit " VMKIT_VERSION, err) < 0 || add_text(d, t->format->name, err) < 0 ||
	    digest_update(d, numbers, sizeof(numbers), err) < 0 ||
	    add_text(d, p->backing_name, err) < 0 || add_text(d, p->backing_format, err) < 0 ||
	    add_text(d, getenv("SOURCE_DATE_EPOCH"), err) < 0)
		return -1;
	for (size_t i = 0; i < p->n_options; i++)
		if (add_text(d, p->options[i].name, err) < 0 ||
		    add_text(d, p->options[i].value, err) < 0)
			return -1;
	return 0;
}

static int make_key(struct resume *r, const struct target *t, struct image *src, struct err *err)
{
	struct digest *d;
	struct stat st;
	char hex[DIGEST_HEX_MAX];
	int rc = -1;

	if (fstat(r->out, &st) < 0)
		return err_sys(err, "cannot look at the file");
	if (digest_new(&d, "sha256", err) < 0)
		return -1;

	const uint64_t out[] = {(uint64_t)st.st_dev, (uint64_t)st.st_ino};

	if (add_params(d, t, err) == 0 && add_text(d, t->opts->source_state, err) == 0 &&
	    digest_update(d, out, sizeof(out), err) == 0 && identity_add(d, src, err) == 0 &&
	    (!t->base || identity_add(d, t->base, err) == 0) && digest_final(d, hex, err) == 0 &&
	    hex_decode(hex, r->key, KEY) == 0)
		rc = 0;
	digest_free(d);
	return rc;
}

/* ---- what was done before */

static bool header_fits(struct resume *r)
{
	return r->map_len >= HEADER && !memcmp(r->map, magic, MAGIC) &&
	       !memcmp(r->map + MAGIC, r->key, KEY) &&
	       get_le64(r->map + HEADER - 8) == sum(r, UINT64_MAX, r->map, HEADER - 8);
}

/* Is the entry at @at whole? *@ret_len: its length */
static bool entry_fits(const struct resume *r, uint64_t at, uint64_t no, uint64_t part_size,
		       size_t *ret_len)
{
	uint64_t left = r->map_len - at, len;
	const uint8_t *p = r->map + at;

	if (left < HEAD + PAYLOAD_HEAD + 8)
		return false;
	len = HEAD + round_up(get_le32(p), 8);
	if (get_le32(p) < PAYLOAD_HEAD || len + 8 > left ||
	    get_le64(p + len) != sum(r, no, p, (size_t)len))
		return false;
	*ret_len = (size_t)len + 8;
	return get_le64(p + HEAD + 16) <= part_size;
}

static int index_entries(struct resume *r, uint64_t part_size, struct err *err)
{
	uint64_t at = HEADER, room = 0;
	size_t len;

	while (entry_fits(r, at, r->n_done, part_size, &len)) {
		if (r->n_done == room) {
			uint64_t *more;

			room = room ? 2 * room : 1024;
			more = reallocarray(r->entries, room, sizeof(*more));
			if (!more)
				return err_nomem(err);
			r->entries = more;
		}
		r->entries[r->n_done++] = at + HEAD;
		r->bytes = get_le64(r->map + at + HEAD + 8);
		at += len;
	}
	r->file_at = at;
	return 0;
}

/* The record, if it is of this copying; else nothing. */
static int read_record(struct resume *r, struct err *err)
{
	struct stat st, part;

	if (fstat(r->fd, &st) < 0 || fstat(r->out, &part) < 0)
		return err_sys(err, "cannot look at it");
	r->map_len = (size_t)st.st_size;
	if (st.st_size == 0)
		return 0;
	r->map = mmap(NULL, r->map_len, PROT_READ, MAP_PRIVATE, r->fd, 0);
	if (r->map == MAP_FAILED) {
		r->map = NULL;
		return err_sys(err, "cannot read it");
	}
	if (!header_fits(r)) {
		if (part.st_size)
			log_warning("%s: is of another source or other options, or damaged: all "
				    "begins anew",
				    r->path);
		return 0;
	}
	r->clone = get_le64(r->map + MAGIC + KEY) & FLAG_CLONE;
	return index_entries(r, (uint64_t)part.st_size, err);
}

/* The record goes first: an old one must never describe a new file. */
static int begin_anew(struct resume *r, struct image *src, struct err *err)
{
	uint8_t header[HEADER] = {0};

	if (ftruncate(r->fd, 0) < 0 || fdatasync(r->fd) < 0 || ftruncate(r->out, 0) < 0)
		return err_sys(err, "cannot begin anew");
	r->clone = target_can_clone(src, r->out);
	memcpy(header, magic, MAGIC);
	memcpy(header + MAGIC, r->key, KEY);
	put_le64(header + MAGIC + KEY, r->clone ? FLAG_CLONE : 0);
	put_le64(header + HEADER - 8, sum(r, UINT64_MAX, header, HEADER - 8));
	r->file_at = HEADER;
	return io_pwrite(r->fd, header, HEADER, 0, err);
}

static int open_record(struct resume *r, struct err *err)
{
	struct stat st;

	if (asprintf(&r->path, "%s.record", r->part) < 0) {
		r->path = NULL;
		return err_nomem(err);
	}
	r->fd = open(r->path, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0666);
	if (r->fd < 0)
		return err_sys(err, "cannot create");
	if (fstat(r->fd, &st) < 0)
		return err_sys(err, "cannot look at it");
	if (!S_ISREG(st.st_mode) || st.st_nlink > 1 || st.st_uid != geteuid()) {
		free(r->path); /* not to be removed */
		r->path = NULL;
		return err_set(err, ERR_EXISTS, "%s.record is no file of ours", r->part);
	}
	return 0;
}

int resume_open(struct resume **ret, struct target *t, struct image *src, unsigned outfile_flags,
		struct err *err)
{
	struct resume *r;

	if (outfile_open_kept(&t->of, t->name, outfile_flags, err) < 0)
		return -1;
	r = calloc(1, sizeof(*r));
	if (!r)
		return err_nomem(err);
	pthread_mutex_init(&r->lock, NULL);
	r->fd = -1;
	r->end = &r->first;
	*ret = r; /* resume_close() is due */
	r->part = strdup(outfile_part(t->of));
	r->out = fcntl(outfile_fd(t->of), F_DUPFD_CLOEXEC, 0);
	if (r->out < 0)
		return err_sys(err, "cannot duplicate a descriptor");
	if (!r->part)
		return err_nomem(err);
	if (make_key(r, t, src, err) < 0)
		return -1;
	if (open_record(r, err) < 0 || read_record(r, err) < 0 ||
	    (!r->n_done && begin_anew(r, src, err) < 0) ||
	    (r->n_done && ftruncate(r->fd, (off_t)r->file_at) < 0 && err_sys(err, "cannot cut")))
		return err_object(err, r->path ? r->path : t->name);
	r->ready = true;
	t->can_clone = r->clone;
	if (r->n_done)
		log_info("%s: goes on at %" PRIu64 " bytes of the disk", t->name, r->bytes);
	return 0;
}

bool resume_done(const struct resume *r, uint64_t no)
{
	return no < r->n_done;
}

bool resume_unfit(struct resume *r, uint64_t units)
{
	if (!atomic_load(&r->unfit) && units >= r->n_done)
		return false;
	log_warning("%s: does not fit its source: all begins anew", r->path);
	r->forget = true;
	return true;
}

uint64_t resume_bytes(const struct resume *r)
{
	return r->bytes;
}

void resume_forget(struct resume *r)
{
	r->forget = true;
}

/* ---- going on */

static int load_units(const uint8_t *p, size_t left, uint64_t n, struct unit *u, struct bulk *b,
		      struct err *err)
{
	for (uint64_t i = 0; i < n; i++) {
		struct bulk_unit *bu;
		uint64_t len, saved;

		if (left < UNIT_HEAD)
			return err_set(err, ERR_CORRUPT, "an entry is too short");
		len = get_le64(p + 8);
		saved = get_le64(p + 16);
		left -= UNIT_HEAD;
		if (saved > BULK_SAVE_MAX || round_up(saved, 8) > left || len > BULK_UNIT_MAX)
			return err_set(err, ERR_CORRUPT, "an entry is too short");
		bu = unit_next_bulk(u, b, err);
		if (!bu)
			return -1;
		bu->off = get_le64(p);
		bu->len = (size_t)len;
		if (b->ops->load && b->ops->load(b, bu, p + UNIT_HEAD, (size_t)saved, err) < 0)
			return -1;
		left -= round_up(saved, 8);
		p += UNIT_HEAD + round_up(saved, 8);
	}
	return 0;
}

int resume_load(struct resume *r, struct unit *u, struct bulk *b, struct err *err)
{
	const uint8_t *p = r->map + r->entries[u->no];
	size_t len = get_le32(p - HEAD);
	int rc = -1;

	u->n_bulk = 0;
	if (get_le64(p) == u->begin && get_le64(p + 8) == u->end)
		rc = load_units(p + PAYLOAD_HEAD, len - PAYLOAD_HEAD, get_le64(p + 24), u, b, err);
	else
		err_set(err, ERR_CORRUPT, "is of other units");
	if (rc < 0 && (!err || err->code == ERR_CORRUPT))
		atomic_store(&r->unfit, true);
	return rc < 0 ? err_object(err, r->path) : 0;
}

/* ---- recording */

static size_t entry_room(const struct unit *u, const struct bulk *b)
{
	return HEAD + PAYLOAD_HEAD +
	       u->n_bulk * (UNIT_HEAD + (b->ops->save ? (size_t)BULK_SAVE_MAX : 0)) + 8;
}

/* Return: length of the entry without its sum */
static size_t make_entry(const struct unit *u, const struct bulk *b, uint8_t *out)
{
	uint8_t *p = out + HEAD;

	put_le64(p, u->begin);
	put_le64(p + 8, u->end);
	put_le64(p + 24, u->n_bulk);
	p += PAYLOAD_HEAD;
	for (unsigned i = 0; i < u->n_bulk; i++) {
		const struct bulk_unit *bu = u->bulk[i];
		size_t saved = b->ops->save ? b->ops->save(b, bu, p + UNIT_HEAD) : 0;

		put_le64(p, bu->off);
		put_le64(p + 8, bu->len);
		put_le64(p + 16, saved);
		memset(p + UNIT_HEAD + saved, 0, round_up(saved, 8) - saved);
		p += UNIT_HEAD + round_up(saved, 8);
	}
	put_le32(out, (uint32_t)(p - out - HEAD));
	put_le32(out + 4, 0);
	return (size_t)(p - out);
}

int resume_placed(struct resume *r, const struct unit *u, const struct bulk *b, struct err *err)
{
	CLEANUP_FREE uint8_t *room = NULL;
	struct pending *e;
	size_t len;

	if (resume_done(r, u->no))
		return 0;
	room = malloc(entry_room(u, b));
	if (!room)
		return err_nomem(err);
	len = make_entry(u, b, room);
	e = malloc(sizeof(*e) + len + 8);
	if (!e)
		return err_nomem(err);
	*e = (struct pending){.no = u->no, .len = len + 8};
	memcpy(e->entry, room, len);
	pthread_mutex_lock(&r->lock);
	*r->end = e;
	r->end = &e->next;
	pthread_mutex_unlock(&r->lock);
	return 0;
}

/* Units that are stored up to the first that is not; taken off the list. Under the lock. */
static struct pending *take_stored(struct resume *r)
{
	struct pending *list = r->first, **last = &list;

	while (*last && (*last)->stored)
		last = &(*last)->next;
	r->first = *last;
	if (!r->first)
		r->end = &r->first;
	*last = NULL;
	return list;
}

static int append_entries(struct resume *r, struct pending *list, uint64_t size, struct err *err)
{
	for (struct pending *e = list; e; e = e->next) {
		put_le64(e->entry + HEAD + 16, size);
		put_le64(e->entry + e->len - 8, sum(r, e->no, e->entry, e->len - 8));
		if (io_pwrite(r->fd, e->entry, e->len, r->file_at, err) < 0)
			return -1;
		r->file_at += e->len;
	}
	return fdatasync(r->fd) < 0 ? err_sys(err, "cannot write to the disk") : 0;
}

/* @list: owned. The bytes have to be on the disk before the record says so. */
static int write_stored(struct resume *r, struct pending *list, struct err *err)
{
	struct stat st;
	int rc = 0;

	if (list) {
		if (fdatasync(r->out) < 0 || fstat(r->out, &st) < 0)
			rc = err_sys(err, "cannot write to the disk");
		else
			rc = append_entries(r, list, (uint64_t)st.st_size, err);
	}
	while (list) {
		struct pending *next = list->next;

		free(list);
		list = next;
	}
	return rc < 0 ? err_object(err, r->path) : 0;
}

int resume_stored(struct resume *r, uint64_t no, struct err *err)
{
	struct pending *list = NULL;
	uint64_t start;
	int rc;

	if (resume_done(r, no))
		return 0;
	pthread_mutex_lock(&r->lock);
	for (struct pending *e = r->first; e && e->no <= no; e = e->next)
		if (e->no == no)
			e->stored = true;
	start = now_ms();
	if (!r->busy && start >= r->next_ms) {
		list = take_stored(r);
		r->busy = list != NULL;
	}
	pthread_mutex_unlock(&r->lock);
	if (!list)
		return 0;
	rc = write_stored(r, list, err);
	pthread_mutex_lock(&r->lock);
	r->busy = false;
	r->next_ms = now_ms() + max_u64(PAUSE_MS, (now_ms() - start) * PAUSE_FACTOR);
	pthread_mutex_unlock(&r->lock);
	return rc;
}

void resume_close(struct resume *r, bool whole)
{
	struct err ignored = ERR_INIT;
	struct stat st;

	if (!r)
		return;

	bool empty = r->out >= 0 && fstat(r->out, &st) == 0 && st.st_size == 0;

	if (!whole && !r->forget)
		(void)write_stored(r, take_stored(r), &ignored); /* what is lost is copied again */
	if (whole || r->forget || empty || (r->ready && r->file_at <= HEADER)) {
		if (r->path)
			(void)unlink(r->path);
		if (r->part && !whole)
			(void)unlink(r->part);
	}
	for (struct pending *e = r->first, *next; e; e = next) {
		next = e->next;
		free(e);
	}
	if (r->map)
		(void)munmap(r->map, r->map_len);
	if (r->fd >= 0)
		(void)close(r->fd);
	if (r->out >= 0)
		(void)close(r->out);
	pthread_mutex_destroy(&r->lock);
	free(r->entries);
	free(r->part);
	free(r->path);
	free(r);
}
