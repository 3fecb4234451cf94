/* An NBD export as a file of fixed size: see nbd.h. Connections are nbd_pool.c's.
 *
 * A call takes a connection for itself and keeps up to IN_FLIGHT requests of PIECE bytes on it. So one thread fills
 * the pipe by itself, and several share the server's threads.
 */
#include "libcommon/image/protocol/nbd.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/image.h"
#include "libcommon/image/protocol/backends.h"
#include "libcommon/image/protocol/nbd_private.h"

enum {
	PIECE = 256 << 10,
	IN_FLIGHT = 16,
	BLOCK_MAX = 64 << 10,	/* the largest minimum block that the protocol allows */
	ZERO_PIECE = 64 << 20,	/* a server may have to write it before it answers */
	STATUS_PIECE = 1 << 30, /* asked about at once */
	RUNS_MAX = 64 << 10,	/* of an answer that are kept: 1 MiB */
};

struct run {
	uint64_t end;
	bool zero;
};

/* The last answer to "what is allocated"; readers come back for each piece of it. */
struct status {
	pthread_mutex_t lock; /* guards all below */
	uint64_t generation;  /* of the content */
	uint64_t start;
	struct run *runs; /* ascending, without gaps, from start on */
	size_t n;
};

struct nbd {
	struct nbd_pool pool;
	uint64_t block; /* what offsets and lengths must be multiples of; a power of two */
	uint64_t piece;
	bool can_flush, can_trim, can_zero, can_status;
	pthread_mutex_t edges; /* blocks that are read, changed and written back */
	struct status status;
};

enum request { READ, WRITE, ZERO, ZERO_UNMAP, TRIM };

static int64_t send_request(struct nbd *n, struct nbd_handle *h, enum request what, uint8_t *buf,
			    uint64_t off, uint64_t len, struct nbd_batch *b)
{
	const struct nbd_lib *lib = n->pool.lib;

	switch (what) {
	case READ:
		return lib->aio_pread(h, buf, (size_t)len, off, NBD_DONE(b), 0);
	case WRITE:
		return lib->aio_pwrite(h, buf, (size_t)len, off, NBD_DONE(b), 0);
	case ZERO:
		return lib->aio_zero(h, len, off, NBD_DONE(b), LIBNBD_CMD_FLAG_NO_HOLE);
	case ZERO_UNMAP:
		return lib->aio_zero(h, len, off, NBD_DONE(b), 0);
	case TRIM:
		break;
	}
	return lib->aio_trim(h, len, off, NBD_DONE(b), 0);
}

static const char *const verb_of[] = {
	[READ] = "reading",	  [WRITE] = "writing", [ZERO] = "zeroing",
	[ZERO_UNMAP] = "zeroing", [TRIM] = "trimming",
};

/* Whole blocks on connection @c. No request is left in flight on return. */
static int transfer_on(struct nbd *n, struct nbd_conn *c, enum request what, uint8_t *buf,
		       uint64_t off, uint64_t len, struct err *err)
{
	uint64_t most = buf ? n->piece : ZERO_PIECE;
	struct nbd_batch b = {0};
	int rc = 0;

	for (uint64_t done = 0; done < len && !b.error;) {
		uint64_t size = min_u64(most, len - done);

		if (nbd_wait(&n->pool, c, &b, IN_FLIGHT - 1, err) < 0)
			return -1;
		if (b.error)
			break;
		if (send_request(n, c->h, what, buf ? buf + done : NULL, off + done, size, &b) <
		    0) {
			struct err ignored = ERR_INIT;

			rc = nbd_refused(&n->pool, c, err);
			if (c->h && b.in_flight)
				(void)nbd_wait(&n->pool, c, &b, 0, &ignored);
			return rc;
		}
		b.in_flight++;
		done += size;
	}
	rc = nbd_wait(&n->pool, c, &b, 0, err);
	return rc == 0 && b.error ? nbd_failure(b.error, verb_of[what], err) : rc;
}

static int transfer(struct nbd *n, enum request what, uint8_t *buf, uint64_t off, uint64_t len,
		    struct err *err)
{
	struct nbd_conn *c;
	int rc;

	if (len == 0)
		return 0;
	if (nbd_pool_take(&n->pool, &c, err) < 0)
		return -1;
	rc = transfer_on(n, c, what, buf, off, len, err);
	nbd_pool_put(&n->pool, c);
	return rc;
}

/* ---- reading and writing, of any alignment */

static bool is_aligned(const struct nbd *n, uint64_t v)
{
	return (v & (n->block - 1)) == 0;
}

/* The part of [off, off + len) that lies in one block, when that is not a whole one; else whole blocks. */
static uint64_t next_part(const struct nbd *n, uint64_t off, uint64_t len, bool *ret_whole)
{
	uint64_t to_edge = n->block - (off & (n->block - 1));

	*ret_whole = is_aligned(n, off) && len >= n->block;
	return *ret_whole ? round_down(len, n->block) : min_u64(len, to_edge);
}

/* A part of one block: @to and @from tell which way; NULL for the other. Both NULL: zeros are written. */
static int edge(struct nbd *n, uint8_t *to, const uint8_t *from, uint64_t off, size_t len,
		struct err *err)
{
	uint64_t start = round_down(off, n->block);
	CLEANUP_FREE uint8_t *block = malloc((size_t)n->block);
	int rc;

	if (!block)
		return err_nomem(err);
	if (to) {
		if (transfer(n, READ, block, start, n->block, err) < 0)
			return -1;
		memcpy(to, block + (off - start), len);
		return 0;
	}
	(void)pthread_mutex_lock(&n->edges);
	rc = transfer(n, READ, block, start, n->block, err);
	if (rc == 0) {
		if (from)
			memcpy(block + (off - start), from, len);
		else
			memset(block + (off - start), 0, len);
		rc = transfer(n, WRITE, block, start, n->block, err);
	}
	(void)pthread_mutex_unlock(&n->edges);
	return rc;
}

static int export_pread(struct bfile *f, void *buf, size_t len, uint64_t off, struct err *err)
{
	struct nbd *n = f->priv;
	uint8_t *at = buf;

	if (!range_inside(off, len, bfile_size(f)))
		return err_set(err, ERR_CORRUPT, "ends at offset %" PRIu64, bfile_size(f));
	while (len) {
		bool whole;
		uint64_t part = next_part(n, off, len, &whole);
		int rc = whole ? transfer(n, READ, at, off, part, err)
			       : edge(n, at, NULL, off, (size_t)part, err);

		if (rc < 0)
			return err_prefix(err, "at offset %" PRIu64, off);
		at += part;
		off += part;
		len -= (size_t)part;
	}
	return 0;
}

static void forget_status(struct nbd *n)
{
	struct status *s = &n->status;

	(void)pthread_mutex_lock(&s->lock);
	s->generation++;
	s->n = 0;
	(void)pthread_mutex_unlock(&s->lock);
}

static int check_room(const struct bfile *f, uint64_t off, uint64_t len, struct err *err)
{
	if (range_inside(off, len, bfile_size(f)))
		return 0;
	return err_set(err, ERR_NO_SPACE, "has %" PRIu64 " bytes and cannot grow", bfile_size(f));
}

static int export_pwrite(struct bfile *f, const void *buf, size_t len, uint64_t off,
			 struct err *err)
{
	struct nbd *n = f->priv;
	uint8_t *at = (uint8_t *)(uintptr_t)buf; /* only read from, as WRITE does */
	int rc = check_room(f, off, len, err);

	while (rc == 0 && len) {
		bool whole;
		uint64_t part = next_part(n, off, len, &whole);

		rc = whole ? transfer(n, WRITE, at, off, part, err)
			   : edge(n, NULL, at, off, (size_t)part, err);
		if (rc < 0)
			err_prefix(err, "at offset %" PRIu64, off);
		at += part;
		off += part;
		len -= (size_t)part;
	}
	forget_status(n);
	return rc;
}

static int export_zero(struct bfile *f, uint64_t off, uint64_t len, bool unmap, struct err *err)
{
	struct nbd *n = f->priv;
	int rc = check_room(f, off, len, err);

	if (rc == 0 && !n->can_zero)
		return bfile_write_zeros(f, off, len, err);
	while (rc == 0 && len) {
		bool whole;
		uint64_t part = next_part(n, off, len, &whole);

		rc = whole ? transfer(n, unmap ? ZERO_UNMAP : ZERO, NULL, off, part, err)
			   : edge(n, NULL, NULL, off, (size_t)part, err);
		off += part;
		len -= part;
	}
	forget_status(n);
	return rc;
}

static int export_discard(struct bfile *f, uint64_t off, uint64_t len, struct err *err)
{
	struct nbd *n = f->priv;
	uint64_t start = round_up(off, n->block), end = round_down(off + len, n->block);
	int rc = 0;

	if (n->can_trim && start < end)
		rc = transfer(n, TRIM, NULL, start, end - start, err);
	forget_status(n);
	return rc;
}

static int export_flush(struct bfile *f, struct err *err)
{
	struct nbd *n = f->priv;
	struct nbd_batch b = {0};
	struct nbd_conn *c;
	int rc;

	if (!n->can_flush)
		return 0;
	if (nbd_pool_take(&n->pool, &c, err) < 0)
		return -1;
	/* One will do: several connections are only used where a flush on one counts for all. */
	if (n->pool.lib->aio_flush(c->h, NBD_DONE(&b), 0) < 0) {
		rc = nbd_refused(&n->pool, c, err);
	} else {
		b.in_flight++;
		rc = nbd_wait(&n->pool, c, &b, 0, err);
		if (rc == 0 && b.error)
			rc = nbd_failure(b.error, "flushing", err);
	}
	nbd_pool_put(&n->pool, c);
	return rc;
}

/* ---- what is allocated */

struct answer {
	uint64_t pos, limit;
	struct run *runs;
	size_t n, room;
	bool no_memory;
};

static void add_run(struct answer *a, uint64_t len, bool zero)
{
	uint64_t end = a->pos + min_u64(len, a->limit - a->pos);

	if (end == a->pos || a->no_memory)
		return;
	if (a->n && a->runs[a->n - 1].zero == zero) {
		a->runs[a->n - 1].end = a->pos = end;
		return;
	}
	if (a->n == a->room) {
		size_t more = a->room ? 2 * a->room : 64;
		struct run *runs =
			a->room < RUNS_MAX ? reallocarray(a->runs, more, sizeof(*runs)) : NULL;

		if (!runs) {
			a->no_memory = true; /* what there is will do */
			return;
		}
		a->runs = runs;
		a->room = more;
	}
	a->runs[a->n++] = (struct run){.end = end, .zero = zero};
	a->pos = end;
}

/* libnbd's callback: pairs of length and flags. A hole that does not read as zero is data. */
static int take_extents(void *data, const char *context, uint64_t off, uint32_t *entries,
			size_t n_entries, int *error)
{
	struct answer *a = data;

	(void)error;
	if (strcmp(context, "base:allocation") != 0 || off != a->pos)
		return 0;
	for (size_t i = 0; i + 1 < n_entries; i += 2)
		add_run(a, entries[i], entries[i + 1] & 2);
	return 0;
}

static int ask_status(struct nbd *n, uint64_t off, uint64_t len, struct answer *a, struct err *err)
{
	struct nbd_batch b = {0};
	struct nbd_conn *c;
	int rc;

	if (nbd_pool_take(&n->pool, &c, err) < 0)
		return -1;
	if (n->pool.lib->aio_block_status(
		    c->h, len, off, (nbd_extent_callback){.callback = take_extents, .user_data = a},
		    NBD_DONE(&b), 0) < 0) {
		rc = nbd_refused(&n->pool, c, err);
	} else {
		b.in_flight++;
		rc = nbd_wait(&n->pool, c, &b, 0, err);
		if (rc == 0 && b.error)
			rc = nbd_failure(b.error, "asking what is allocated", err);
	}
	nbd_pool_put(&n->pool, c);
	return rc;
}

/* From the remembered answer. Return: false when @off is not in it */
static bool look_up(const struct status *s, uint64_t off, bool *ret_data, uint64_t *ret_end)
{
	size_t low = 0, high = s->n;

	if (s->n == 0 || off < s->start || off >= s->runs[s->n - 1].end)
		return false;
	while (low < high) { /* the first that ends behind it */
		size_t mid = low + (high - low) / 2;

		if (s->runs[mid].end <= off)
			low = mid + 1;
		else
			high = mid;
	}
	*ret_data = !s->runs[low].zero;
	*ret_end = s->runs[low].end;
	return true;
}

static int export_map(struct bfile *f, uint64_t off, uint64_t max, bool *ret_data,
		      uint64_t *ret_len, struct err *err)
{
	struct nbd *n = f->priv;
	struct status *s = &n->status;
	uint64_t start = round_down(off, n->block), end = off + max, generation;
	struct answer a = {.pos = start, .limit = bfile_size(f)};
	bool known;

	*ret_data = true;
	*ret_len = max;
	if (!n->can_status)
		return 0;
	(void)pthread_mutex_lock(&s->lock);
	known = look_up(s, off, ret_data, &end);
	generation = s->generation;
	(void)pthread_mutex_unlock(&s->lock);
	if (!known) {
		uint64_t want = min_u64(STATUS_PIECE, bfile_size(f) - start);

		if (ask_status(n, start, want, &a, err) < 0) {
			free(a.runs);
			return err_prefix(err, "at offset %" PRIu64, off);
		}

		const struct status answer = {.start = start, .runs = a.runs, .n = a.n};

		(void)look_up(&answer, off, ret_data, &end); /* no answer: taken for data */
		(void)pthread_mutex_lock(&s->lock);
		if (generation == s->generation) {
			free(s->runs);
			s->runs = steal_ptr(&a.runs);
			s->n = a.n;
			s->start = start;
		}
		(void)pthread_mutex_unlock(&s->lock);
		free(a.runs);
	}
	*ret_len = min_u64(max, end - off);
	return 0;
}

/* ---- opening */

static void export_close(struct bfile *f)
{
	struct nbd *n = f->priv;

	nbd_pool_free(&n->pool);
	free(n->status.runs);
	pthread_mutex_destroy(&n->status.lock);
	pthread_mutex_destroy(&n->edges);
	free(n);
}

static const struct bfile_ops export_ops = {
	.name = "nbd",
	.pread = export_pread,
	.pwrite = export_pwrite,
	.flush = export_flush,
	.zero = export_zero,
	.map = export_map,
	.discard = export_discard,
	.close = export_close,
};

/* What the server says of itself. Nothing of it is believed further than it can be used. */
static int learn(struct nbd *n, bool writable, struct err *err)
{
	const struct nbd_lib *lib = n->pool.lib;
	struct nbd_handle *h = n->pool.conns[0].h;
	int64_t least = lib->get_block_size(h, LIBNBD_SIZE_MINIMUM);
	int64_t most = lib->get_block_size(h, LIBNBD_SIZE_MAXIMUM);

	if (n->pool.size > INT64_MAX)
		return err_set(err, ERR_UNSUPPORTED, "%" PRIu64 " bytes are more than a disk has",
			       n->pool.size);
	if (writable && lib->is_read_only(h) != 0)
		return err_set(err, ERR_DENIED, "the server gives it for reading only");
	n->block = least > 0 ? (uint64_t)least : 1;
	if (!is_pow2(n->block) || n->block > BLOCK_MAX)
		return err_set(err, ERR_UNSUPPORTED, "the server wants blocks of %" PRIu64 " bytes",
			       n->block);
	if (!is_aligned(n, n->pool.size))
		return err_set(err, ERR_UNSUPPORTED,
			       "%" PRIu64 " bytes are not a whole number of its blocks of %" PRIu64,
			       n->pool.size, n->block);
	n->piece = most > 0 ? min_u64(PIECE, round_down((uint64_t)most, n->block)) : PIECE;
	if (n->piece == 0)
		return err_set(err, ERR_UNSUPPORTED, "the server takes %" PRIu64 " bytes at most",
			       (uint64_t)most);
	n->can_flush = lib->can_flush(h) == 1;
	n->can_trim = lib->can_trim(h) == 1;
	n->can_zero = lib->can_zero(h) == 1;
	n->can_status = lib->can_meta_context(h, "base:allocation") == 1;
	n->pool.most = lib->can_multi_conn(h) == 1 ? NBD_CONNECTIONS : 1;
	return 0;
}

int nbd_file_open(struct bfile **ret, const char *uri, bool writable, struct err *err)
{
	struct bfile *f = calloc(1, sizeof(*f));
	struct nbd *n = calloc(1, sizeof(*n));
	char *name = strdup(uri);

	if (!f || !n || !name) {
		err_nomem(err);
		goto failed;
	}
	if (nbd_pool_init(&n->pool, uri, "base:allocation", err) < 0)
		goto failed;
	pthread_mutex_init(&n->edges, NULL);
	pthread_mutex_init(&n->status.lock, NULL);
	*f = (struct bfile){.ops = &export_ops,
			    .name = name,
			    .fd = -1,
			    .size = n->pool.size,
			    .writable = writable,
			    .is_blockdev = true, /* it cannot grow */
			    .priv = n};
	if (learn(n, writable, err) < 0) {
		bfile_close(f);
		return err_object(err, uri);
	}
	*ret = f;
	return 0;
failed:
	free(name);
	free(n);
	free(f);
	return err_object(err, uri);
}

/* The bytes of an export are a guest's, which may write what looks like a header: raw unless the caller says more. */
static int open_image(struct image **ret, const char *name, const struct image_open_opts *opts,
		      struct err *err)
{
	struct image_open_opts mine = opts ? *opts : (struct image_open_opts){0};
	struct bfile *file;

	if (!mine.format)
		mine.format = "raw";
	if (nbd_file_open(&file, name, mine.flags & IMAGE_RDWR, err) < 0)
		return -1;
	return image_open_bfile(ret, file, &mine, err);
}

void nbd_register(void)
{
	image_register_opener("nbd://", open_image);
	image_register_opener("nbd+unix://", open_image);
}
