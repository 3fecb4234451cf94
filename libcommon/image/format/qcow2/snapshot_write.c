/* Internal snapshots: making, removing, going back to one.
 *
 * Order: new tables and raised refcounts are durable, then one write of one sector of the header names them, durable,
 * then what nothing names any more loses its references. A writer that is killed leaves leaks, and COPIED flags that
 * do not match refcounts that are too high; both are harmless and vmimg check mends them.
 *
 * Refcounts beyond what the old tables justify are never given back on an error: the writer is marked failed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/qcow2/snapshot_counts.h"

enum { FIXED = 40, EXTRA = 24, AT_TABLE = 60, AT_SIZE = 24 };

/* The snapshot table as it is in the file: entries that stay are copied as they are */
struct table {
	uint8_t *bytes;
	size_t len;
	struct qcow2_snapshot *list;
	uint32_t n;
	size_t *ends; /* of each entry */
};

static void table_release(struct table *t)
{
	free(t->bytes);
	free(t->ends);
	qcow2_snapshots_free(t->list, t->n);
}

/* Parsed by snapshot.c, which has checked all lengths */
static int table_load(struct qcow2_writer *w, struct table *t, struct err *err)
{
	const struct qcow2_header *h = &w->q->h;
	uint64_t bytes;

	*t = (struct table){0};
	if (qcow2_snapshots_load(w->img->file, h, &t->list, &t->n, &bytes, err) < 0)
		return -1;
	t->len = (size_t)bytes;
	t->bytes = calloc(1, t->len + 1);
	t->ends = calloc((size_t)t->n + 1, sizeof(*t->ends));
	if (!t->bytes || !t->ends)
		return err_nomem(err);
	if (t->len &&
	    bfile_pread_padded(w->img->file, t->bytes, t->len, h->snapshots_offset, err) < 0)
		return -1;
	for (size_t i = 0, at = 0; i < t->n; i++) {
		const uint8_t *p = t->bytes + at;

		if (t->len - at < FIXED)
			return err_set(err, ERR_CORRUPT, "the snapshot table changed meanwhile");
		at += (size_t)round_up((uint64_t)FIXED + get_be32(p + 36) + get_be16(p + 12) +
					       get_be16(p + 14),
				       8);
		if (at > t->len)
			return err_set(err, ERR_CORRUPT, "the snapshot table changed meanwhile");
		t->ends[i] = at;
	}
	return 0;
}

static uint32_t table_find(const struct table *t, const char *name)
{
	uint32_t i = 0;

	while (i < t->n && strcmp(t->list[i].name, name) != 0)
		i++;
	return i;
}

/* Put @len bytes of a table into new clusters; they are durable after the next flush */
static int place(struct qcow2_writer *w, const void *bytes, size_t len, uint64_t *ret_off,
		 struct err *err)
{
	uint64_t clusters = div_up(len, w->q->cluster_size), first, n;
	CLEANUP_FREE uint8_t *whole = calloc(clusters, w->q->cluster_size);

	if (!whole)
		return err_nomem(err);
	memcpy(whole, bytes, len);
	if (qcow2_alloc(w, clusters, true, &first, &n, err) < 0)
		return -1;
	*ret_off = first << w->q->h.cluster_bits;
	__atomic_store_n(&w->data_written, true, __ATOMIC_RELEASE);
	return bfile_pwrite(w->img->file, whole, clusters * w->q->cluster_size, *ret_off, err);
}

/* The new table; what it needs is durable before the header names it. The old one is given back. */
static int store_table(struct qcow2_writer *w, const uint8_t *bytes, size_t len, uint32_t n,
		       size_t old_len, struct err *err)
{
	struct qcow2_header *h = &w->q->h;
	uint64_t old = h->snapshots_offset, off = 0;
	uint8_t fields[12];

	if (n && place(w, bytes, len, &off, err) < 0)
		return -1;
	if (qcow2_writer_flush(w, true, err) < 0)
		return -1;
	put_be32(fields, n);
	put_be64(fields + 4, off);
	if (bfile_pwrite(w->img->file, fields, sizeof(fields), AT_TABLE, err) < 0 ||
	    bfile_flush(w->img->file, err) < 0)
		return -1;
	h->nb_snapshots = n;
	h->snapshots_offset = off;
	return qcow2_drop_clusters(w, old, old_len, err);
}

static int l1_load(struct qcow2_writer *w, uint64_t off, uint32_t entries, uint64_t **ret,
		   struct err *err)
{
	uint64_t bytes = 8ULL * entries, *l1;

	if (bytes > QCOW2_MAX_L1_BYTES || off % w->q->cluster_size ||
	    !range_inside(off, bytes, bfile_size(w->img->file)))
		return err_set(err, ERR_CORRUPT,
			       "an L1 table of %" PRIu32 " entries at offset %" PRIu64
			       " is not aligned or not inside the file",
			       entries, off);
	l1 = calloc((size_t)entries + 1, 8);
	if (!l1)
		return err_nomem(err);
	if (bytes && bfile_pread(&w->meta_file, l1, bytes, off, err) < 0) {
		free(l1);
		return -1;
	}
	for (uint32_t i = 0; i < entries; i++)
		l1[i] = be64toh(l1[i]);
	*ret = l1;
	return 0;
}

/* The entries of the present L1 table, flags changed */
static int l1_update(struct qcow2_writer *w, const uint64_t *l1, struct err *err)
{
	for (uint32_t i = 0; i < w->q->h.l1_entries; i++) {
		uint8_t be[8];

		put_be64(be, l1[i]);
		if (l1[i] &&
		    qcow2_meta_put(w, META_L1, w->q->h.l1_offset + 8ULL * i, be, 8, err) < 0)
			return -1;
	}
	return 0;
}

static int l1_place(struct qcow2_writer *w, const uint64_t *l1, uint32_t entries, uint64_t *ret_off,
		    struct err *err)
{
	CLEANUP_FREE uint64_t *be = calloc((size_t)entries + 1, 8);

	if (!be)
		return err_nomem(err);
	for (uint32_t i = 0; i < entries; i++)
		be[i] = htobe64(l1[i]);
	return place(w, be, entries ? 8ULL * entries : 1, ret_off, err);
}

/* COPIED flags of the present state, after others lost references; then all is durable */
static int mark_present(struct qcow2_writer *w, struct err *err)
{
	CLEANUP_FREE uint64_t *l1 = NULL;

	if (l1_load(w, w->q->h.l1_offset, w->q->h.l1_entries, &l1, err) < 0 ||
	    qcow2_count_tables(w, l1, w->q->h.l1_entries, COUNT_MARK, err) < 0 ||
	    l1_update(w, l1, err) < 0)
		return -1;
	return qcow2_writer_flush(w, true, err);
}

static uint32_t next_id(const struct table *t)
{
	uint32_t most = 0;

	for (uint32_t i = 0; i < t->n; i++) {
		unsigned long id = strtoul(t->list[i].id, NULL, 10);

		if (id < UINT32_MAX && id > most)
			most = (uint32_t)id;
	}
	return most + 1;
}

/* The old table with one entry more; owned */
static uint8_t *with_entry(const struct table *t, const struct qcow2_writer *w, const char *name,
			   uint64_t l1_off, uint32_t sec, uint32_t nsec, size_t *ret_len)
{
	char id[16];
	size_t id_len = (size_t)snprintf(id, sizeof(id), "%" PRIu32, next_id(t));
	size_t name_len = strlen(name), len = FIXED + EXTRA + id_len + name_len;
	uint8_t *bytes, *p;

	*ret_len = t->len + (size_t)round_up(len, 8);
	bytes = calloc(1, *ret_len);
	if (!bytes)
		return NULL;
	memcpy(bytes, t->bytes, t->len);
	p = bytes + t->len;
	put_be64(p, l1_off);
	put_be32(p + 8, w->q->h.l1_entries);
	put_be16(p + 12, (uint16_t)id_len);
	put_be16(p + 14, (uint16_t)name_len);
	put_be32(p + 16, sec);
	put_be32(p + 20, nsec);
	put_be32(p + 36, EXTRA);
	put_be64(p + 48, w->img->size);
	put_be64(p + 56, UINT64_MAX); /* no instruction count */
	memcpy(p + FIXED + EXTRA, id, id_len);
	memcpy(p + FIXED + EXTRA + id_len, name, name_len);
	return bytes;
}

static int create(struct qcow2_writer *w, struct table *t, const char *name, uint32_t sec,
		  uint32_t nsec, struct err *err)
{
	const struct qcow2_header *h = &w->q->h;
	CLEANUP_FREE uint64_t *l1 = NULL;
	CLEANUP_FREE uint8_t *bytes = NULL;
	uint64_t l1_off;
	size_t len;

	if (table_find(t, name) < t->n)
		return err_set(err, ERR_EXISTS, "there is a snapshot %s already", name);
	if (t->n + 1 > QCOW2_MAX_SNAPSHOTS || strlen(name) > 1024)
		return err_set(err, ERR_UNSUPPORTED, "the image has %" PRIu32 " snapshots", t->n);
	/* Every reference of every snapshot must fit; compressed clusters share theirs even more */
	if (h->refcount_order < 4)
		return err_set(err, ERR_UNSUPPORTED,
			       "refcounts of %u bits are too narrow for snapshots",
			       1U << h->refcount_order);
	if (l1_load(w, h->l1_offset, h->l1_entries, &l1, err) < 0 ||
	    qcow2_begin_change(w, err) < 0 || qcow2_writer_flush(w, true, err) < 0 ||
	    qcow2_count_tables(w, l1, h->l1_entries, COUNT_SHARE, err) < 0 ||
	    l1_update(w, l1, err) < 0 || l1_place(w, l1, h->l1_entries, &l1_off, err) < 0)
		return -1;
	bytes = with_entry(t, w, name, l1_off, sec, nsec, &len);
	if (!bytes)
		return err_nomem(err);
	if (len > QCOW2_MAX_SNAPSHOT_BYTES)
		return err_set(err, ERR_UNSUPPORTED, "the snapshot table is full");
	return store_table(w, bytes, len, t->n + 1, t->len, err) < 0
		       ? -1
		       : qcow2_writer_flush(w, true, err);
}

static int take_away(struct qcow2_writer *w, struct table *t, const char *name, struct err *err)
{
	uint32_t at = table_find(t, name);
	size_t start = at ? t->ends[at - 1] : 0;
	CLEANUP_FREE uint64_t *l1 = NULL;

	if (at == t->n)
		return err_set(err, ERR_NOT_FOUND, "there is no snapshot %s", name);

	const struct qcow2_snapshot *s = &t->list[at];
	size_t len = t->len - (t->ends[at] - start);

	if (l1_load(w, s->l1_offset, s->l1_entries, &l1, err) < 0 || qcow2_begin_change(w, err) < 0)
		return -1;
	memmove(t->bytes + start, t->bytes + t->ends[at], t->len - t->ends[at]);
	if (store_table(w, t->bytes, len, t->n - 1, t->len, err) < 0 ||
	    qcow2_count_tables(w, l1, s->l1_entries, COUNT_DROP, err) < 0 ||
	    qcow2_drop_clusters(w, s->l1_offset, s->l1_entries ? 8ULL * s->l1_entries : 1, err) < 0)
		return -1;
	return mark_present(w, err);
}

/* Size and L1 table of the disk: bytes 24 to 47 of the header, one write */
static int store_l1(struct qcow2_writer *w, uint64_t size, uint64_t off, uint32_t entries,
		    struct err *err)
{
	struct qcow2 *q = w->q;
	struct qcow2_header *h = &q->h;
	uint8_t b[24];

	put_be64(b, size);
	put_be32(b + 8, h->crypt_method);
	put_be32(b + 12, entries);
	put_be64(b + 16, off);
	if (bfile_pwrite(w->img->file, b, sizeof(b), AT_SIZE, err) < 0 ||
	    bfile_flush(w->img->file, err) < 0)
		return -1;
	qcow2_meta_forget(w, h->l1_offset,
			  round_up(max_u64(8ULL * h->l1_entries, 1), q->cluster_size));
	h->size = w->img->size = size;
	h->l1_offset = q->l1_offset = off;
	h->l1_entries = q->l1_entries = entries;
	table_cache_drop(q->l1_cache);
	table_cache_drop(q->l2_cache);
	return 0;
}

static int go_back(struct qcow2_writer *w, struct table *t, const char *name, struct err *err)
{
	const struct qcow2_header *h = &w->q->h;
	uint32_t at = table_find(t, name), old_entries = h->l1_entries;
	CLEANUP_FREE uint64_t *old = NULL;
	CLEANUP_FREE uint64_t *l1 = NULL;
	uint64_t off, old_off = h->l1_offset;

	if (at == t->n)
		return err_set(err, ERR_NOT_FOUND, "there is no snapshot %s", name);

	const struct qcow2_snapshot *s = &t->list[at];

	if (s->disk_size > INT64_MAX || s->disk_size % 512 ||
	    qcow2_l1_needed(s->disk_size, h->cluster_bits, w->q->extended_l2) > s->l1_entries)
		return err_set(err, ERR_CORRUPT,
			       "snapshot %s: a disk of %" PRIu64 " bytes does not fit its L1 table",
			       name, s->disk_size);
	if (h->nb_bitmaps && s->disk_size != w->img->size)
		return err_set(err, ERR_UNSUPPORTED,
			       "the image has bitmaps of another size: remove them first");
	if (l1_load(w, old_off, old_entries, &old, err) < 0 ||
	    l1_load(w, s->l1_offset, s->l1_entries, &l1, err) < 0 ||
	    qcow2_begin_change(w, err) < 0 || qcow2_writer_flush(w, true, err) < 0 ||
	    qcow2_count_tables(w, l1, s->l1_entries, COUNT_SHARE, err) < 0 ||
	    l1_place(w, l1, s->l1_entries, &off, err) < 0 || qcow2_writer_flush(w, true, err) < 0 ||
	    store_l1(w, s->disk_size, off, s->l1_entries, err) < 0 ||
	    qcow2_count_tables(w, old, old_entries, COUNT_DROP, err) < 0 ||
	    qcow2_drop_clusters(w, old_off, 8ULL * old_entries, err) < 0)
		return -1;
	return mark_present(w, err);
}

/* ---- the operations, one at a time */

enum op { OP_CREATE, OP_REMOVE, OP_REVERT };

static int change(struct image *img, enum op op, const char *name, uint32_t sec, uint32_t nsec,
		  struct err *err)
{
	struct qcow2 *q = img->priv;
	struct qcow2_writer *w = q->writer;
	struct table t = {0};
	int rc = -1;

	if (qcow2_external_data(q))
		return err_set(err, ERR_UNSUPPORTED,
			       "guest data are in another file, which a snapshot cannot keep");
	pthread_rwlock_wrlock(&w->lock);
	if (table_load(w, &t, err) == 0) {
		rc = op == OP_CREATE   ? create(w, &t, name, sec, nsec, err)
		     : op == OP_REMOVE ? take_away(w, &t, name, err)
				       : go_back(w, &t, name, err);
		/* Refcounts in memory may be half raised: nothing of that may reach the file */
		if (rc < 0 && w->started)
			w->failed = true;
	}
	pthread_rwlock_unlock(&w->lock);
	table_release(&t);
	return rc;
}

static int op_create(struct image *img, const char *name, uint32_t sec, uint32_t nsec,
		     struct err *err)
{
	return change(img, OP_CREATE, name, sec, nsec, err);
}

static int op_remove(struct image *img, const char *name, struct err *err)
{
	return change(img, OP_REMOVE, name, 0, 0, err);
}

static int op_revert(struct image *img, const char *name, struct err *err)
{
	return change(img, OP_REVERT, name, 0, 0, err);
}

const struct snapshot_ops qcow2_snapshot_ops = {
	.create = op_create,
	.remove = op_remove,
	.revert = op_revert,
};
