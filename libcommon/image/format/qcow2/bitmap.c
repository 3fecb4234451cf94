/* Persistent bitmaps: the directory is listed with what its flags say.
 *
 * A bitmap is consistent when the autoclear bit says that the last writer kept it, and its own flags are exactly
 * "auto": in use means that it was not saved, without "auto" writes went by unseen, an unknown flag means unknown.
 */
#include "libcommon/image/format/qcow2/qcow2.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/image/format/qcow2/tape.h"

#define FIXED_BYTES 24U
#define MAX_NAME    1023U
#define JSON_MOST   1000U

int qcow2_bitmaps_walk(struct bfile *file, const struct qcow2_header *h, qcow2_bitmap_fn *fn,
		       void *ctx, struct err *err)
{
	uint64_t pos = h->bitmaps_dir_offset;
	struct tape t;
	int rc = 0;

	if (!h->nb_bitmaps)
		return 0;
	if (tape_init(&t, file, h->bitmaps_dir_offset + h->bitmaps_dir_size, err))
		return -1;
	for (uint32_t i = 0; i < h->nb_bitmaps && !rc; i++) {
		char name[MAX_NAME + 1];
		struct qcow2_bitmap b = {.name = name};
		uint32_t name_len, extra;
		const uint8_t *p;

		rc = tape_get(&t, pos, FIXED_BYTES, &p, err);
		if (rc)
			break;
		b.table_offset = get_be64(p);
		b.table_entries = get_be32(p + 8);
		b.flags = get_be32(p + 12);
		b.type = p[16];
		b.granularity_bits = p[17];
		name_len = get_be16(p + 18);
		extra = get_be32(p + 20);
		if (!name_len || name_len > MAX_NAME || extra > TAPE_WINDOW / 2 ||
		    b.granularity_bits > 63)
			rc = err_set(err, ERR_CORRUPT,
				     "entry at offset %" PRIu64 ": name of %" PRIu32
				     " bytes, extra data of %" PRIu32
				     ", granularity of 2^%u bytes: out of bounds",
				     pos, name_len, extra, b.granularity_bits);
		else
			rc = tape_get(&t, pos, (size_t)FIXED_BYTES + extra + name_len, &p, err);
		if (rc)
			break;
		memcpy(name, p + FIXED_BYTES + extra, name_len);
		name[name_len] = '\0';
		b.extra_len = extra;
		pos += round_up((uint64_t)FIXED_BYTES + extra + name_len, 8);
		rc = fn(ctx, &b, err);
	}
	tape_release(&t);
	return rc < 0 ? err_prefix(err, "bitmap directory") : 0;
}

struct listing {
	json_t *array;
	bool autoclear;
};

static json_t *flags_json(uint32_t flags)
{
	static const char *const names[] = {"in-use", "auto", "extra-data-compatible"};
	json_t *a = json_array();

	for (unsigned i = 0; a && i < 3; i++) {
		if ((flags >> i & 1) && json_array_append_new(a, json_string(names[i]))) {
			json_decref(a);
			return NULL;
		}
	}
	return a;
}

static int json_one(void *ctx, const struct qcow2_bitmap *b, struct err *err)
{
	struct listing *l = ctx;
	bool consistent =
		l->autoclear && b->type == 1 && b->flags == QCOW2_BITMAP_AUTO && !b->extra_len;
	json_t *o;

	if (json_array_size(l->array) >= JSON_MOST) {
		o = json_pack("{s:b}", "truncated", 1);
		return o && !json_array_append_new(l->array, o) ? 1 : err_nomem(err);
	}
	o = json_pack("{s:o, s:I, s:o, s:b}", "name", qcow2_json_string(b->name), "granularity",
		      (json_int_t)(1ULL << (b->granularity_bits & 63)), "flags",
		      flags_json(b->flags), "consistent", consistent);
	return o && !json_array_append_new(l->array, o) ? 0 : err_nomem(err);
}

int qcow2_bitmaps_json(struct image *img, json_t **ret, struct err *err)
{
	const struct qcow2 *q = img->priv;
	struct listing l = {.array = json_array(),
			    .autoclear = q->h.autoclear & QCOW2_AUTOCLEAR_BITMAPS};

	if (!l.array)
		return err_nomem(err);
	/* What is stale anyway may be wrong as well: then there is nothing to list */
	if (qcow2_bitmaps_walk(img->file, &q->h, json_one, &l, l.autoclear ? err : NULL) &&
	    l.autoclear) {
		json_decref(l.array);
		return -1;
	}
	*ret = l.array;
	return 0;
}
