/* Random writes: in place where a cluster is ours alone, else into new clusters with what they keep of the old.
 *
 * Locks: writes in place hold writer->lock for reading over their I/O, so a cluster cannot be freed and given to
 * another under them; everything that changes a table holds it for writing.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/qcow2/writer.h"

#define ALL_DATA 0x00000000ffffffffULL

int qcow2_open_writer(struct image *img, struct err *err)
{
	struct qcow2 *q = img->priv;
	struct qcow2_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return err_nomem(err);
	w->img = img;
	w->q = q;
	w->lazy = q->h.version >= 3 && q->h.compatible & QCOW2_COMPAT_LAZY_REFCOUNTS;
	pthread_rwlock_init(&w->lock, NULL);
	pthread_mutex_init(&w->pages_lock, NULL);
	q->writer = w;
	if (qcow2_reftable_load(w, err) == 0 && qcow2_meta_init(w, err) == 0)
		return 0;
	qcow2_close_writer(img);
	return -1;
}

/* The dirty mark stays when something failed. */
static int finish(struct qcow2_writer *w, struct err *err)
{
	if (w->failed)
		return err_set(err, ERR_FAILED, "an earlier write of tables failed");
	/* The second time writes the counts of what the first gave back */
	for (int i = 0; i < 2; i++)
		if (qcow2_writer_flush(w, true, err) < 0)
			return -1;
	if (!w->lazy)
		return 0;
	w->q->h.incompatible &= ~(uint64_t)QCOW2_INCOMPAT_DIRTY;
	if (qcow2_header_store_features(w->img->file, &w->q->h, err) < 0)
		return -1;
	return bfile_flush(w->img->file, err);
}

int qcow2_settle(struct image *img, struct err *err)
{
	struct qcow2_writer *w = ((struct qcow2 *)img->priv)->writer;
	int rc;

	pthread_rwlock_wrlock(&w->lock);
	rc = w->started ? finish(w, err) : 0;
	if (rc == 0)
		__atomic_store_n(&w->started, false, __ATOMIC_RELEASE);
	pthread_rwlock_unlock(&w->lock);
	return rc;
}

void qcow2_close_writer(struct image *img)
{
	struct qcow2 *q = img->priv;
	struct qcow2_writer *w = q->writer;

	if (!w)
		return;
	if (w->started)
		(void)finish(w, NULL); /* no error can be told here: who cares flushed before */
	qcow2_meta_release(w);
	pthread_rwlock_destroy(&w->lock);
	pthread_mutex_destroy(&w->pages_lock);
	free(w->reftable);
	free(w->frees);
	free(w);
	q->writer = NULL;
}

int qcow2_begin_change(struct qcow2_writer *w, struct err *err)
{
	struct qcow2_header *h = &w->q->h;
	uint64_t autoclear = h->autoclear & QCOW2_AUTOCLEAR_DATA_RAW;

	if (w->failed)
		return err_set(err, ERR_FAILED,
			       "an earlier write of tables failed: open the image again");
	if (w->started)
		return 0;
	/* Bitmaps are not kept up, nor what else announces itself by an autoclear bit: readers must see that.
	 * The raw promise of a data file we do keep. */
	if (h->version >= 3 && (w->lazy || autoclear != h->autoclear)) {
		h->autoclear = autoclear;
		if (w->lazy)
			h->incompatible |= QCOW2_INCOMPAT_DIRTY;
		if (qcow2_header_store_features(w->img->file, h, err) < 0 ||
		    bfile_flush(w->img->file, err) < 0)
			return -1;
	}
	__atomic_store_n(&w->started, true, __ATOMIC_RELEASE);
	return 0;
}

static struct bfile *data_of(const struct qcow2_writer *w)
{
	return w->q->data_file ? w->q->data_file : w->img->file;
}

static int write_data(struct qcow2_writer *w, const void *buf, size_t len, uint64_t host,
		      struct err *err)
{
	uint64_t size = w->img->size;

	/* The data file ends where the disk does, also inside a cluster */
	if (w->q->data_file && host + len > size)
		len = host < size ? (size_t)(size - host) : 0;
	__atomic_store_n(&w->data_written, true, __ATOMIC_RELEASE);
	if (w->q->luks)
		return len ? qcow2_write_encrypted(w->img, buf, len, host, err) : 0;
	return len ? bfile_pwrite(data_of(w), buf, len, host, err) : 0;
}

static uint32_t sub_mask(const struct qcow2 *q, uint64_t in, uint64_t n)
{
	unsigned shift = q->h.cluster_bits - 5;
	unsigned from = (unsigned)(in >> shift), to = (unsigned)((in + n - 1) >> shift);

	return (uint32_t)((2ULL << to) - (1ULL << from));
}

static int check_host(const struct qcow2_writer *w, uint64_t guest, uint64_t host, struct err *err)
{
	if (host & (w->q->cluster_size - 1) || host >= bfile_size(data_of(w)) ||
	    (w->q->data_file && host != guest))
		return err_set(err, ERR_CORRUPT,
			       "guest offset %" PRIu64
			       ": the L2 entry names a cluster at offset %" PRIu64,
			       guest, host);
	return 0;
}

/* How much of [off, off + len) can be written in place, at *@ret_host; within one L2 slice */
static int in_place(struct qcow2_writer *w, uint64_t off, size_t len, uint64_t *ret_host,
		    size_t *ret_n, struct err *err)
{
	const struct qcow2 *q = w->q;
	uint64_t cs = q->cluster_size, slot, pos = off;
	const uint8_t *p, *e;
	size_t room;

	*ret_n = 0;
	if (qcow2_l2_slot(w, off >> q->h.cluster_bits, false, &slot, err) < 0)
		return -1;
	if (!slot)
		return 0;
	if (table_cache_get(q->l2_cache, slot, &p, &room, err) < 0)
		return -1;
	int r = 0;

	for (e = p; pos < off + len && room >= q->l2_entry_size;
	     e += q->l2_entry_size, room -= q->l2_entry_size) {
		uint64_t entry = get_be64(e), in = pos & (cs - 1);
		uint64_t n = min_u64(cs - in, off + len - pos);
		struct qcow2_cluster c;

		qcow2_decode(q, entry, &c);
		if (c.kind != QCOW2_NORMAL || !(entry & QCOW2_FLAG_COPIED))
			break;
		if (q->extended_l2 && sub_mask(q, in, n) & ~(uint32_t)get_be64(e + 8))
			break;
		if (pos != off && c.host_off != *ret_host + (pos - off))
			break;
		r = check_host(w, pos - in, c.host_off, err);
		if (r < 0)
			break;
		if (pos == off)
			*ret_host = c.host_off + in;
		pos += n;
	}
	table_cache_put(q->l2_cache, p);
	*ret_n = (size_t)(pos - off);
	return r;
}

/* The old content of a cluster; behind the end of the disk zeros */
static int read_old(struct qcow2_writer *w, uint64_t guest, uint8_t *buf, struct err *err)
{
	size_t len = (size_t)min_u64(w->q->cluster_size,
				     w->img->size > guest ? w->img->size - guest : 0);

	memset(buf + len, 0, w->q->cluster_size - len);
	return len ? image_read(w->img, buf, guest, len, err) : 0;
}

struct target {
	uint64_t slot, entry, bitmap, host;
	struct qcow2_cluster old;
	bool reuse; /* the old host cluster is ours alone */
};

static int look(struct qcow2_writer *w, uint64_t guest, uint64_t slot, struct target *t,
		struct err *err)
{
	t->slot = slot;
	if (qcow2_l2_read(w, slot, &t->entry, &t->bitmap, err) < 0)
		return -1;
	qcow2_decode(w->q, t->entry, &t->old);
	t->host = t->old.host_off;
	t->reuse = t->old.kind != QCOW2_COMPRESSED && t->old.kind != QCOW2_UNALLOCATED &&
		   t->old.kind != QCOW2_ZERO_PLAIN && t->entry & QCOW2_FLAG_COPIED;
	if (w->q->data_file) {
		t->reuse = true;
		t->host = guest;
		return 0;
	}
	return t->reuse ? check_host(w, guest, t->host, err) : 0;
}

static int point(struct qcow2_writer *w, const struct target *t, uint64_t bitmap, struct err *err)
{
	if (!t->reuse && qcow2_l2_release(w, t->entry, false, err) < 0)
		return -1;
	return qcow2_l2_write(w, t->slot, t->host | QCOW2_FLAG_COPIED, bitmap, err);
}

/* Whole clusters that need a new place: one allocation and one write for as many as lie side by side */
static int write_whole(struct qcow2_writer *w, const uint8_t *buf, uint64_t off, size_t len,
		       struct target *t, size_t *ret_done, struct err *err)
{
	const struct qcow2 *q = w->q;
	uint64_t g = off >> q->h.cluster_bits,
		 in_table = (1ULL << q->l2_bits) - (g & ((1ULL << q->l2_bits) - 1));
	uint64_t want = min_u64(len >> q->h.cluster_bits, in_table), n = 1, first;
	struct target next;

	for (uint64_t i = 1; i < want; i++) {
		if (look(w, off + i * q->cluster_size, t->slot + i * q->l2_entry_size, &next, err) <
		    0)
			return -1;
		if (next.reuse)
			break;
		n = i + 1;
	}
	if (qcow2_alloc(w, n, false, &first, &n, err) < 0 ||
	    write_data(w, buf, n << q->h.cluster_bits, first << q->h.cluster_bits, err) < 0)
		return -1;
	for (uint64_t i = 0; i < n; i++) {
		if (look(w, off + i * q->cluster_size, t->slot + i * q->l2_entry_size, &next, err) <
		    0)
			return -1;
		next.host = (first + i) << q->h.cluster_bits;
		if (point(w, &next, ALL_DATA, err) < 0)
			return -1;
	}
	*ret_done = n << q->h.cluster_bits;
	return 0;
}

/* Part of a cluster, or a whole one that has a place: what is written around it comes from the old content */
static int write_part(struct qcow2_writer *w, const uint8_t *buf, uint64_t off, size_t n,
		      struct target *t, struct err *err)
{
	const struct qcow2 *q = w->q;
	uint64_t cs = q->cluster_size, in = off & (cs - 1), from = 0, to = cs, bitmap = ALL_DATA;
	CLEANUP_FREE uint8_t *whole = malloc(cs);

	if (!whole)
		return err_nomem(err);
	if (n < cs && read_old(w, off - in, whole, err) < 0)
		return -1;
	memcpy(whole + in, buf, n);
	if (q->extended_l2 && t->old.kind != QCOW2_COMPRESSED) {
		/* Only subclusters that are touched; with a new place also those that the old one held */
		uint32_t touched = sub_mask(q, in, n), alloc = (uint32_t)t->bitmap;
		uint32_t span = t->reuse ? touched : touched | alloc;
		unsigned shift = q->h.cluster_bits - 5;

		from = (uint64_t)__builtin_ctz(span) << shift;
		to = (32 - (uint64_t)__builtin_clz(span)) << shift;
		bitmap = alloc | touched | ((t->bitmap >> 32 & ~(uint64_t)touched) << 32);
	}
	if (!t->reuse) {
		uint64_t first, got;

		if (qcow2_alloc(w, 1, true, &first, &got, err) < 0)
			return -1;
		t->host = first << q->h.cluster_bits;
	}
	if (write_data(w, whole + from, to - from, t->host + from, err) < 0)
		return -1;
	return point(w, t, bitmap, err);
}

int qcow2_write_locked(struct qcow2_writer *w, const uint8_t *buf, uint64_t off, size_t len,
		       size_t *ret_done, struct err *err)
{
	const struct qcow2 *q = w->q;
	uint64_t cs = q->cluster_size, in = off & (cs - 1), slot, host;
	struct target t;

	/* Another writer may have allocated it while we waited for the lock */
	if (in_place(w, off, len, &host, ret_done, err) < 0)
		return -1;
	if (*ret_done)
		return write_data(w, buf, *ret_done, host, err);
	if (qcow2_l2_slot(w, off >> q->h.cluster_bits, true, &slot, err) < 0 ||
	    look(w, off - in, slot, &t, err) < 0)
		return -1;
	if (!in && len >= cs && !t.reuse)
		return write_whole(w, buf, off, len, &t, ret_done, err);
	*ret_done = (size_t)min_u64(len, cs - in);
	return write_part(w, buf, off, *ret_done, &t, err);
}

static int write_shared(struct qcow2_writer *w, const uint8_t *buf, uint64_t off, size_t len,
			size_t *ret_done, struct err *err)
{
	uint64_t host;
	int r;

	*ret_done = 0;
	if (!__atomic_load_n(&w->started, __ATOMIC_ACQUIRE))
		return 0;
	pthread_rwlock_rdlock(&w->lock);
	r = in_place(w, off, len, &host, ret_done, err);
	if (r == 0 && *ret_done)
		r = write_data(w, buf, *ret_done, host, err);
	pthread_rwlock_unlock(&w->lock);
	return r;
}

int qcow2_write(struct image *img, const void *buf, uint64_t off, size_t len, struct err *err)
{
	struct qcow2 *q = img->priv;
	struct qcow2_writer *w = q->writer;
	const uint8_t *p = buf;

	while (len) {
		size_t done;

		if (write_shared(w, p, off, len, &done, err) < 0)
			return -1;
		if (!done) {
			pthread_rwlock_wrlock(&w->lock);
			int r = qcow2_begin_change(w, err) < 0 ||
						qcow2_write_locked(w, p, off, len, &done, err) <
							0 ||
						qcow2_writer_bound(w, err) < 0
					? -1
					: 0;
			pthread_rwlock_unlock(&w->lock);
			if (r < 0)
				return -1;
		}
		p += done;
		off += done;
		len -= done;
	}
	return 0;
}

int qcow2_flush(struct image *img, struct err *err)
{
	struct qcow2 *q = img->priv;
	struct qcow2_writer *w = q->writer;

	pthread_rwlock_wrlock(&w->lock);
	int r = w->started ? qcow2_writer_flush(w, !w->lazy, err) : 0;

	pthread_rwlock_unlock(&w->lock);
	return r;
}
