/* Internal snapshots: the table is walked, never believed; one is opened by pointing at its L1 table. */
#include "libcommon/image/format/qcow2/qcow2.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/qcow2/tape.h"

#define FIXED_BYTES 40U

/* Return: 1 = enough, 0 = go on, -1; @s and its strings live during the call only */
typedef int snapshot_fn(void *ctx, const struct qcow2_snapshot *s, struct err *err);

static void parse_fixed(const uint8_t *p, uint64_t active_size, struct qcow2_snapshot *s)
{
	*s = (struct qcow2_snapshot){
		.l1_offset = get_be64(p),
		.l1_entries = get_be32(p + 8),
		.date_sec = get_be32(p + 16),
		.date_nsec = get_be32(p + 20),
		.vm_clock_nsec = get_be64(p + 24),
		.vm_state_size = get_be32(p + 32),
		.disk_size = active_size,
	};
}

/* The entry at *@pos; moves *@pos behind it */
static int walk_one(struct tape *t, uint64_t start, uint64_t *pos, const struct qcow2_header *h,
		    snapshot_fn *fn, void *ctx, struct err *err)
{
	CLEANUP_FREE char *id = NULL;
	CLEANUP_FREE char *name = NULL;
	struct qcow2_snapshot s;
	uint32_t id_len, name_len, extra;
	const uint8_t *p;
	size_t whole;

	if (tape_get(t, *pos, FIXED_BYTES, &p, err))
		return -1;
	parse_fixed(p, h->size, &s);
	id_len = get_be16(p + 12);
	name_len = get_be16(p + 14);
	extra = get_be32(p + 36);
	if (extra > QCOW2_MAX_EXTRA_BYTES)
		return err_set(err, ERR_CORRUPT,
			       "entry at offset %" PRIu64 " has %" PRIu32
			       " bytes of extra data, at most %u are possible",
			       *pos, extra, QCOW2_MAX_EXTRA_BYTES);
	whole = (size_t)FIXED_BYTES + extra + id_len + name_len;
	if (tape_get(t, *pos, whole, &p, err))
		return -1;
	if (extra >= 8)
		s.vm_state_size = get_be64(p + 40);
	if (extra >= 16)
		s.disk_size = get_be64(p + 48);
	id = strndup((const char *)p + FIXED_BYTES + extra, id_len);
	name = strndup((const char *)p + FIXED_BYTES + extra + id_len, name_len);
	if (!id || !name)
		return err_nomem(err);
	s.id = id;
	s.name = name;
	*pos += round_up(whole, 8);
	if (*pos - start > QCOW2_MAX_SNAPSHOT_BYTES)
		return err_set(err, ERR_CORRUPT, "longer than the %u bytes that are possible",
			       QCOW2_MAX_SNAPSHOT_BYTES);
	return fn(ctx, &s, err);
}

static int walk(struct bfile *file, const struct qcow2_header *h, snapshot_fn *fn, void *ctx,
		uint64_t *ret_bytes, struct err *err)
{
	uint64_t pos = h->snapshots_offset;
	struct tape t;
	int rc = 0;

	if (ret_bytes)
		*ret_bytes = 0;
	if (!h->nb_snapshots)
		return 0;
	if (tape_init(&t, file, h->snapshots_offset + QCOW2_MAX_SNAPSHOT_BYTES, err))
		return -1;
	for (uint32_t i = 0; i < h->nb_snapshots && !rc; i++) {
		rc = walk_one(&t, h->snapshots_offset, &pos, h, fn, ctx, err);
		if (rc < 0)
			err_prefix(err, "snapshot table, entry %" PRIu32 " of %" PRIu32, i,
				   h->nb_snapshots);
	}
	tape_release(&t);
	if (ret_bytes)
		*ret_bytes = pos - h->snapshots_offset;
	return rc < 0 ? -1 : 0;
}

/* ---- all of them */

struct load {
	struct qcow2_snapshot *list;
	uint32_t n, room;
};

static int load_one(void *ctx, const struct qcow2_snapshot *s, struct err *err)
{
	struct load *l = ctx;
	struct qcow2_snapshot *to;

	if (l->n == l->room) {
		uint32_t room = l->room ? 2 * l->room : 16;

		to = reallocarray(l->list, room, sizeof(*to));
		if (!to)
			return err_nomem(err);
		l->list = to;
		l->room = room;
	}
	to = &l->list[l->n];
	*to = *s;
	to->id = strdup(s->id);
	to->name = strdup(s->name);
	l->n++;
	return to->id && to->name ? 0 : err_nomem(err);
}

int qcow2_snapshots_load(struct bfile *file, const struct qcow2_header *h,
			 struct qcow2_snapshot **ret, uint32_t *ret_n, uint64_t *ret_bytes,
			 struct err *err)
{
	struct load l = {0};

	if (walk(file, h, load_one, &l, ret_bytes, err)) {
		qcow2_snapshots_free(l.list, l.n);
		return -1;
	}
	*ret = l.list;
	*ret_n = l.n;
	return 0;
}

void qcow2_snapshots_free(struct qcow2_snapshot *s, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		free(s[i].id);
		free(s[i].name);
	}
	free(s);
}

/* ---- one of them */

struct find {
	const char *wanted;
	struct qcow2_snapshot found; /* without its strings */
	bool by_id, by_name;
};

/* As qemu: an id goes before a name; of equal names the first */
static int find_one(void *ctx, const struct qcow2_snapshot *s, struct err *err)
{
	struct find *f = ctx;

	(void)err;
	if (!strcmp(s->id, f->wanted)) {
		f->found = *s;
		f->by_id = true;
		return 1;
	}
	if (!f->by_name && !strcmp(s->name, f->wanted)) {
		f->found = *s;
		f->by_name = true;
	}
	return 0;
}

int qcow2_snapshot_select(struct image *img, const char *name, struct err *err)
{
	struct qcow2 *q = img->priv;
	struct find f = {.wanted = name};
	const struct qcow2_snapshot *s = &f.found;
	uint64_t bytes, needed;

	if (walk(img->file, &q->h, find_one, &f, NULL, err))
		return -1;
	if (!f.by_id && !f.by_name)
		return err_set(err, ERR_NOT_FOUND, "there is no snapshot %s in the image", name);
	bytes = 8ULL * s->l1_entries;
	if (bytes > QCOW2_MAX_L1_BYTES || s->l1_offset % q->cluster_size ||
	    !range_inside(s->l1_offset, bytes, bfile_size(img->file)))
		return err_set(err, ERR_CORRUPT,
			       "snapshot %s: L1 table of %" PRIu32 " entries at offset %" PRIu64
			       " is not aligned or not inside the file (%" PRIu64 " bytes)",
			       name, s->l1_entries, s->l1_offset, bfile_size(img->file));
	needed = qcow2_l1_needed(s->disk_size, q->h.cluster_bits, q->extended_l2);
	if (s->disk_size > INT64_MAX || needed > s->l1_entries)
		return err_set(err, ERR_CORRUPT,
			       "snapshot %s: L1 table has %" PRIu32 " entries, a disk of %" PRIu64
			       " bytes needs %" PRIu64,
			       name, s->l1_entries, s->disk_size, needed);
	q->l1_offset = s->l1_offset;
	q->l1_entries = s->l1_entries;
	img->size = s->disk_size;
	return 0;
}

/* ---- for info */

#define JSON_MOST 1000U

struct listing {
	json_t *array;
};

static int json_one(void *ctx, const struct qcow2_snapshot *s, struct err *err)
{
	struct listing *l = ctx;
	json_t *o;

	if (json_array_size(l->array) >= JSON_MOST) {
		o = json_pack("{s:b}", "truncated", 1);
		if (!o || json_array_append_new(l->array, o))
			return err_nomem(err);
		return 1;
	}
	o = json_pack("{s:o, s:o, s:o, s:I, s:I, s:I}", "id", qcow2_json_string(s->id), "name",
		      qcow2_json_string(s->name), "created",
		      qcow2_json_time(s->date_sec, s->date_nsec), "virtual_size",
		      (json_int_t)s->disk_size, "vm_state_size", (json_int_t)s->vm_state_size,
		      "vm_clock_ns", (json_int_t)s->vm_clock_nsec);
	return o && !json_array_append_new(l->array, o) ? 0 : err_nomem(err);
}

int qcow2_snapshots_json(struct image *img, json_t **ret, struct err *err)
{
	const struct qcow2 *q = img->priv;
	struct listing l = {.array = json_array()};

	if (!l.array)
		return err_nomem(err);
	if (walk(img->file, &q->h, json_one, &l, NULL, err)) {
		json_decref(l.array);
		return -1;
	}
	*ret = l.array;
	return 0;
}
