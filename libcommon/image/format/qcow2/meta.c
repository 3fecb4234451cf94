/* Changed tables in memory, the file that lays them over the image file, and the order of flushes. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/image/format/qcow2/writer.h"

#define DIRTY_MAX (8U << 20)  /* bytes of dirty pages before a flush of our own accord */
#define PAGES_MAX (64U << 20) /* bytes of pages of all kinds */
#define FREES_MAX 65536U

struct meta_page {
	uint64_t off;
	struct meta_page *next;
	enum meta_class class;
	bool dirty;
	uint8_t bytes[];
};

static struct meta_page **head_of(struct qcow2_writer *w, uint64_t off)
{
	return &w->pages[(off / w->page_size * 0x9e3779b97f4a7c15ULL) >> 52 & (META_HEADS - 1)];
}

static struct meta_page *find_page(struct qcow2_writer *w, uint64_t off)
{
	struct meta_page *p = *head_of(w, off);

	while (p && p->off != off)
		p = p->next;
	return p;
}

static int overlay_pread(struct bfile *f, void *buf, size_t len, uint64_t off, struct err *err)
{
	struct qcow2_writer *w = f->priv;
	uint64_t end = off + len;

	if (bfile_pread_padded(w->img->file, buf, len, off, err) < 0)
		return -1;
	pthread_mutex_lock(&w->pages_lock);
	for (uint64_t at = round_down(off, w->page_size); at < end; at += w->page_size) {
		const struct meta_page *p = find_page(w, at);
		uint64_t from = max_u64(at, off), to = min_u64(at + w->page_size, end);

		if (p)
			memcpy((uint8_t *)buf + (from - off), p->bytes + (from - at), to - from);
	}
	pthread_mutex_unlock(&w->pages_lock);
	return 0;
}

static const struct bfile_ops overlay_ops = {.name = "qcow2 tables", .pread = overlay_pread};

int qcow2_meta_init(struct qcow2_writer *w, struct err *err)
{
	struct qcow2 *q = w->q;
	size_t l1_slice = (size_t)min_u64(q->cluster_size, 4096);

	w->page_size = (size_t)min_u64(q->cluster_size, 16384);
	/* Bounds are map.c's: it holds tables against the size of the image file itself */
	w->meta_file = (struct bfile){.ops = &overlay_ops,
				      .name = w->img->file->name,
				      .fd = -1,
				      .size = INT64_MAX,
				      .priv = w};
	table_cache_free(q->l1_cache);
	table_cache_free(q->l2_cache);
	q->l1_cache = q->l2_cache = NULL;
	if (table_cache_new(&q->l1_cache, &w->meta_file, l1_slice, 32, err) < 0)
		return -1;
	return table_cache_new(&q->l2_cache, &w->meta_file, w->page_size,
			       (unsigned)((4U << 20) / w->page_size), err);
}

static void drop_pages(struct qcow2_writer *w, bool refblocks_too)
{
	pthread_mutex_lock(&w->pages_lock);
	for (unsigned i = 0; i < META_HEADS; i++) {
		struct meta_page **at = &w->pages[i];

		while (*at) {
			struct meta_page *p = *at;

			if (p->dirty || (p->class == META_REFBLOCK && !refblocks_too)) {
				at = &p->next;
				continue;
			}
			*at = p->next;
			w->n_pages--;
			free(p);
		}
	}
	pthread_mutex_unlock(&w->pages_lock);
}

void qcow2_meta_release(struct qcow2_writer *w)
{
	for (unsigned i = 0; i < META_HEADS; i++)
		while (w->pages[i]) {
			struct meta_page *p = w->pages[i];

			w->pages[i] = p->next;
			free(p);
		}
}

void qcow2_meta_forget(struct qcow2_writer *w, uint64_t off, uint64_t len)
{
	pthread_mutex_lock(&w->pages_lock);
	for (uint64_t at = off; at < off + len; at += w->page_size) {
		struct meta_page **link = head_of(w, at), *p;

		while (*link && (*link)->off != at)
			link = &(*link)->next;
		p = *link;
		if (!p)
			continue;
		*link = p->next;
		w->n_pages--;
		w->n_dirty[p->class] -= p->dirty;
		free(p);
	}
	pthread_mutex_unlock(&w->pages_lock);
}

/* The page at @off, made when it is not there: from @bytes, or as @fresh zeros, or from the file */
static int want_page(struct qcow2_writer *w, enum meta_class class, uint64_t off, bool fresh,
		     struct meta_page **ret, struct err *err)
{
	struct meta_page *p =
		find_page(w, off); /* only we change the hash: the lock is held for writing */

	if (!p) {
		p = calloc(1, sizeof(*p) + w->page_size);
		if (!p)
			return err_nomem(err);
		p->off = off;
		p->class = class;
		if (!fresh &&
		    bfile_pread_padded(w->img->file, p->bytes, w->page_size, off, err) < 0) {
			free(p);
			return -1;
		}
		pthread_mutex_lock(&w->pages_lock);
		p->next = *head_of(w, off);
		*head_of(w, off) = p;
		w->n_pages++;
		pthread_mutex_unlock(&w->pages_lock);
	}
	if (p->class != class && p->dirty)
		return err_set(err, ERR_CORRUPT, "the cluster at offset %llu is two tables at once",
			       (unsigned long long)off);
	p->class = class;
	*ret = p;
	return 0;
}

int qcow2_meta_get(struct qcow2_writer *w, enum meta_class class, uint64_t off, void *buf,
		   size_t len, struct err *err)
{
	uint64_t start = round_down(off, w->page_size);
	struct meta_page *p;

	if (want_page(w, class, start, false, &p, err) < 0)
		return -1;
	memcpy(buf, p->bytes + (off - start), len);
	return 0;
}

static void tell_caches(struct qcow2_writer *w, enum meta_class class, uint64_t off,
			const void *buf, size_t len)
{
	if (class == META_L2)
		table_cache_update(w->q->l2_cache, off, buf, len);
	if (class == META_L1)
		table_cache_update(w->q->l1_cache, off, buf, len);
}

static void change_page(struct qcow2_writer *w, struct meta_page *p, size_t at, const uint8_t *buf,
			size_t len)
{
	pthread_mutex_lock(&w->pages_lock);
	if (buf)
		memcpy(p->bytes + at, buf, len);
	else
		memset(p->bytes + at, 0, len);
	w->n_dirty[p->class] += !p->dirty;
	p->dirty = true;
	pthread_mutex_unlock(&w->pages_lock);
}

int qcow2_meta_put(struct qcow2_writer *w, enum meta_class class, uint64_t off, const void *buf,
		   size_t len, struct err *err)
{
	uint64_t start = round_down(off, w->page_size);
	struct meta_page *p;

	if (want_page(w, class, start, false, &p, err) < 0)
		return -1;
	change_page(w, p, off - start, buf, len);
	tell_caches(w, class, off, buf, len);
	return 0;
}

int qcow2_meta_fresh(struct qcow2_writer *w, enum meta_class class, uint64_t off,
		     const uint8_t *bytes, size_t len, struct err *err)
{
	for (uint64_t at = 0; at < len; at += w->page_size) {
		struct meta_page *p;

		if (want_page(w, class, off + at, true, &p, err) < 0)
			return -1;
		change_page(w, p, 0, bytes ? bytes + at : NULL, w->page_size);
		tell_caches(w, class, off + at, p->bytes, w->page_size);
	}
	return 0;
}

static int write_class(struct qcow2_writer *w, enum meta_class class, struct err *err)
{
	for (unsigned i = 0; i < META_HEADS; i++)
		for (struct meta_page *p = w->pages[i]; p; p = p->next) {
			if (!p->dirty || p->class != class)
				continue;
			if (bfile_pwrite(w->img->file, p->bytes, w->page_size, p->off, err) < 0)
				return -1;
			p->dirty = false;
			w->n_dirty[class]--;
		}
	return 0;
}

static int write_all(struct qcow2_writer *w, bool refcounts, struct err *err)
{
	bool written = __atomic_exchange_n(&w->data_written, false, __ATOMIC_ACQ_REL);

	if (w->q->data_file && bfile_flush(w->q->data_file, err) < 0)
		return -1;
	for (int c = refcounts ? META_REFBLOCK : META_L2; c < META_CLASSES; c++) {
		if (!w->n_dirty[c])
			continue;
		if (written && bfile_flush(w->img->file, err) < 0)
			return -1;
		if (write_class(w, (enum meta_class)c, err) < 0)
			return -1;
		written = true;
	}
	return written ? bfile_flush(w->img->file, err) : 0;
}

int qcow2_writer_flush(struct qcow2_writer *w, bool refcounts, struct err *err)
{
	if (w->failed)
		return err_set(err, ERR_FAILED,
			       "an earlier write of tables failed; the image is only "
			       "safe to read after it is opened again");
	if (write_all(w, refcounts, err) < 0 || qcow2_apply_frees(w, err) < 0) {
		w->failed =
			true; /* memory and file differ from here on, and a failed fsync cannot be retried */
		return -1;
	}
	drop_pages(w, w->n_pages * w->page_size > PAGES_MAX);
	return 0;
}

int qcow2_writer_bound(struct qcow2_writer *w, struct err *err)
{
	size_t dirty = w->n_dirty[META_L2] + w->n_dirty[META_L1];

	if (!w->lazy)
		dirty += w->n_dirty[META_REFBLOCK];
	if (dirty * w->page_size < DIRTY_MAX && w->n_frees < FREES_MAX &&
	    w->n_pages * w->page_size < 2 * PAGES_MAX)
		return 0;
	return qcow2_writer_flush(w, !w->lazy || w->n_pages * w->page_size >= PAGES_MAX, err);
}
