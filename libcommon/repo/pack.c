/* Headers, tables and footers of packs, and checking one frame: see pack.h. */
#include "libcommon/repo/pack.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/iszero.h"
#include "libcommon/base/libcrypto.h"
#include "libcommon/repo/parity.h"

enum { PART_HEADER = 2, TABLE_FRAME = 24, TABLE_MAX = 64 << 20 };

static const char pack_magic[8] = {'V', 'M', 'K', 'I', 'T', 'P', 'A', 'K'};
static const char end_magic[8] = {'V', 'M', 'K', 'I', 'T', 'E', 'N', 'D'};

static int grow(void *pp, size_t *cap, size_t need, size_t size, struct err *err)
{
	size_t n = *cap ? *cap : 64;
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

int pack_contents_add(struct pack_contents *pc, uint64_t off, const struct frame_header *h,
		      const struct frame_blob *blobs, size_t n, struct err *err)
{
	if (grow(&pc->frames, &pc->cap_frames, pc->n_frames + 1, sizeof(*pc->frames), err) ||
	    grow(&pc->blobs, &pc->cap_blobs, pc->n_blobs + n, sizeof(*pc->blobs), err))
		return -1;
	pc->frames[pc->n_frames++] = (struct pack_frame){
		.off = off, .header = *h, .first = (uint32_t)pc->n_blobs, .n = (uint32_t)n};
	memcpy(pc->blobs + pc->n_blobs, blobs, n * sizeof(*blobs));
	pc->n_blobs += n;
	return 0;
}

void pack_contents_free(struct pack_contents *pc)
{
	free(pc->frames);
	free(pc->blobs);
	memset(pc, 0, sizeof(*pc));
}

int pack_table_encode(const struct pack_contents *pc, uint8_t **ret, size_t *ret_len,
		      struct err *err)
{
	size_t len = 8 + pc->n_frames * TABLE_FRAME + pc->n_blobs * 36;
	uint8_t *out = calloc(1, len), *p = out + 8;

	if (!out)
		return err_nomem(err);
	put_le32(out, (uint32_t)pc->n_frames);
	put_le32(out + 4, (uint32_t)pc->n_blobs);
	for (size_t i = 0; i < pc->n_frames; i++, p += TABLE_FRAME) {
		const struct pack_frame *f = &pc->frames[i];

		put_le32(p, (uint32_t)f->off);
		put_le32(p + 4, f->header.number);
		put_le32(p + 8, f->header.table_len);
		put_le32(p + 12, f->header.payload_len);
		p[16] = f->header.type;
		p[17] = f->header.flags;
		put_le16(p + 18, (uint16_t)f->n);
	}
	for (size_t i = 0; i < pc->n_blobs; i++, p += 36) {
		memcpy(p, pc->blobs[i].id.bytes, 32);
		put_le32(p + 32, pc->blobs[i].len);
	}
	*ret = out;
	*ret_len = len;
	return 0;
}

static int decode_frame(const uint8_t *p, uint64_t pack_size, const struct frame_blob *blobs,
			size_t left, struct pack_contents *ret, struct err *err)
{
	uint8_t header[FRAME_HEADER] = {'V', 'M', 'F', 'R', p[16], p[17]};
	uint64_t off = get_le32(p), raw = 0;
	size_t n = get_le16(p + 18);
	struct frame_header h;

	memcpy(header + 8, p + 4, 12);
	if (frame_header_decode(header, &h, err))
		return -1;
	if (off < PACK_HEADER || !range_inside(off, frame_section_len(&h), pack_size) ||
	    !is_zero(p + 20, 4))
		return err_set(err, ERR_CORRUPT,
			       "table names a frame at %" PRIu64 " beyond the end", off);
	if (!n || n > left || n > FRAME_BLOBS_MAX || frame_table_len(n) != h.table_len)
		return err_set(err, ERR_CORRUPT, "table gives %zu blobs to the frame at %" PRIu64,
			       n, off);
	for (size_t i = 0; i < n; i++) {
		if (!blobs[i].len || blobs[i].len > BLOB_MAX)
			return err_set(err, ERR_CORRUPT, "table has a blob of %u bytes",
				       blobs[i].len);
		raw += blobs[i].len;
	}
	if (raw > FRAME_RAW_MAX)
		return err_set(err, ERR_CORRUPT, "table has a frame of %" PRIu64 " bytes", raw);
	return pack_contents_add(ret, off, &h, blobs, n, err);
}

int pack_table_decode(const uint8_t *p, size_t len, uint64_t pack_size, struct pack_contents *ret,
		      struct err *err)
{
	CLEANUP_FREE struct frame_blob *blobs = NULL;
	size_t n_frames, n_blobs, used = 0;

	if (len < 8)
		return err_set(err, ERR_CORRUPT, "table of %zu bytes is too short", len);
	n_frames = get_le32(p);
	n_blobs = get_le32(p + 4);
	if (n_frames > PACK_FRAMES_MAX || n_blobs > PACK_BLOBS_MAX || pack_size > UINT32_MAX ||
	    8 + n_frames * TABLE_FRAME + n_blobs * 36 != len)
		return err_set(err, ERR_CORRUPT,
			       "table of %zu bytes cannot hold %zu frames and %zu blobs", len,
			       n_frames, n_blobs);
	blobs = malloc((n_blobs + 1) * sizeof(*blobs));
	if (!blobs)
		return err_nomem(err);
	for (size_t i = 0; i < n_blobs; i++) {
		const uint8_t *b = p + 8 + n_frames * TABLE_FRAME + i * 36;

		memcpy(blobs[i].id.bytes, b, 32);
		blobs[i].len = get_le32(b + 32);
	}
	for (size_t i = 0; i < n_frames; i++) {
		if (decode_frame(p + 8 + i * TABLE_FRAME, pack_size, blobs + used, n_blobs - used,
				 ret, err)) {
			pack_contents_free(ret);
			return -1;
		}
		used += ret->frames[i].n;
	}
	if (used != n_blobs) {
		pack_contents_free(ret);
		return err_set(err, ERR_CORRUPT, "table has %zu blobs in no frame", n_blobs - used);
	}
	return 0;
}

void pack_name(const uint8_t id[PACK_ID], char ret[PACK_NAME_MAX])
{
	char hex[2 * PACK_ID + 1];

	hex_encode(id, PACK_ID, hex);
	snprintf(ret, PACK_NAME_MAX, "packs/%.2s/%s", hex, hex);
}

bool pack_name_decode(const char *name, uint8_t ret[PACK_ID])
{
	char again[PACK_NAME_MAX];

	if (strncmp(name, "packs/", 6) || strlen(name) != 9 + 2 * PACK_ID ||
	    hex_decode(name + 9, ret, PACK_ID))
		return false;
	pack_name(ret, again);
	return !strcmp(name, again);
}

static struct seal header_seal(const uint8_t *p)
{
	return (struct seal){.part = PART_HEADER, .aad = p, .aad_len = PACK_HEADER - CRYPTO_TAG};
}

int pack_header_encode(struct crypto *c, const uint8_t id[PACK_ID], uint8_t ret[PACK_HEADER],
		       struct seal_key *ret_key, struct err *err)
{
	struct seal s = header_seal(ret);

	memcpy(ret, pack_magic, 8);
	put_le32(ret + 8, 1);
	put_le32(ret + 12, 0);
	memcpy(ret + 16, id, PACK_ID);
	memcpy(ret + 64, crypto_uuid(c), CRYPTO_UUID);
	return crypto_random(ret + 32, CRYPTO_SALT, err) ||
			       crypto_seal_key(c, "vmkit pack", ret + 32, ret_key, err) ||
			       crypto_seal(c, ret_key, &s, NULL, 0, ret + 80, err)
		       ? -1
		       : 0;
}

int pack_read_header(struct crypto *c, struct pack_source *src, struct err *err)
{
	uint8_t *p = src->header;
	struct seal s;

	if (src->size < PACK_HEADER)
		return err_set(err, ERR_CORRUPT, "pack of %" PRIu64 " bytes is too short",
			       src->size);
	if (src->read(src->ctx, 0, p, PACK_HEADER, err))
		return -1;
	if (memcmp(p, pack_magic, 8))
		return err_set(err, ERR_CORRUPT, "has no pack header");
	s = header_seal(p);
	if (memcmp(p + 16, src->id, PACK_ID) || memcmp(p + 64, crypto_uuid(c), CRYPTO_UUID))
		return err_set(err, ERR_CORRUPT, "is another pack or another repository's");
	if (crypto_seal_key(c, "vmkit pack", p + 32, &src->key, err))
		return -1;
	if (crypto_open(c, &src->key, &s, p + 80, 0, NULL, err))
		return err_prefix(err, "pack header");
	/* Later versions keep this header, so that a damaged one is told from a newer one. */
	if (get_le32(p + 8) != 1 || get_le32(p + 12))
		return err_set(err, ERR_UNSUPPORTED, "pack version %u with flags 0x%x is not known",
			       get_le32(p + 8), get_le32(p + 12));
	return 0;
}

static void table_name(const uint8_t id[PACK_ID], char ret[PACK_NAME_MAX])
{
	memcpy(ret, "table:", 6);
	hex_encode(id, PACK_ID, ret + 6);
}

int pack_read_table(struct crypto *c, struct pack_source *src, struct pack_contents *ret,
		    uint64_t *ret_off, struct err *err)
{
	CLEANUP_FREE uint8_t *sealed = NULL, *plain = NULL;
	uint8_t f[PACK_FOOTER];
	char name[PACK_NAME_MAX];
	uint64_t off, len;
	size_t n;

	if (src->size < PACK_HEADER + PACK_FOOTER)
		return err_set(err, ERR_CORRUPT, "pack of %" PRIu64 " bytes has no footer",
			       src->size);
	if (src->read(src->ctx, src->size - PACK_FOOTER, f, sizeof(f), err))
		return -1;
	off = get_le64(f + 8);
	len = get_le64(f + 16);
	if (memcmp(f, end_magic, 8) || !is_zero(f + 24, 8) || off < PACK_HEADER ||
	    len > TABLE_MAX || !range_inside(off, len, src->size - PACK_FOOTER) ||
	    off + len != src->size - PACK_FOOTER)
		return err_set(err, ERR_CORRUPT, "footer at %" PRIu64 " is damaged",
			       src->size - PACK_FOOTER);
	sealed = malloc(len + 1);
	if (!sealed)
		return err_nomem(err);
	table_name(src->id, name);
	if (src->read(src->ctx, off, sealed, len, err) ||
	    sealed_decode(c, SEALED_TABLE, name, sealed, len, &plain, &n, err) ||
	    pack_table_decode(plain, n, off, ret, err))
		return err_prefix(err, "table at %" PRIu64, off);
	if (ret_off)
		*ret_off = off;
	return 0;
}

int pack_tail(struct crypto *c, const uint8_t id[PACK_ID], const struct pack_contents *pc,
	      uint64_t off, uint8_t **ret, size_t *ret_len, struct err *err)
{
	CLEANUP_FREE uint8_t *plain = NULL, *sealed = NULL;
	char name[PACK_NAME_MAX];
	uint8_t *f;
	size_t n, len;

	table_name(id, name);
	if (pack_table_encode(pc, &plain, &n, err) ||
	    sealed_encode(c, SEALED_TABLE, name, plain, n, &sealed, &len, err))
		return -1;
	f = realloc(sealed, len + PACK_FOOTER);
	if (!f)
		return err_nomem(err);
	sealed = NULL;
	*ret = f;
	*ret_len = len + PACK_FOOTER;
	f += len;
	memset(f, 0, PACK_FOOTER);
	memcpy(f, end_magic, 8);
	put_le64(f + 8, off);
	put_le64(f + 16, len);
	return 0;
}

static int writer_read(void *ctx, uint64_t off, void *buf, size_t len, struct err *err)
{
	return backend_writer_read(ctx, off, buf, len, err);
}

static int writer_put(void *ctx, uint64_t off, const void *buf, size_t len, struct err *err)
{
	return backend_writer_write(ctx, off, buf, len, err);
}

int pack_finish(struct crypto *c, struct backend_writer *w, const uint8_t id[PACK_ID],
		const struct pack_contents *pc, uint64_t end, unsigned parity, uint64_t *ret_size,
		struct err *err)
{
	struct pack_source src = {.read = writer_read, .ctx = w, .size = end};
	CLEANUP_FREE uint8_t *tail = NULL;
	size_t len;

	memcpy(src.id, id, PACK_ID);
	if (parity_make(&src, end, parity, writer_put, w, &end, err) ||
	    pack_tail(c, id, pc, end, &tail, &len, err) ||
	    backend_writer_write(w, end, tail, len, err)) {
		backend_writer_close(w, true);
		return -1;
	}
	*ret_size = end + len;
	return backend_writer_commit(w, *ret_size, err);
}

/* The ids of @blobs against the raw bytes. Return: how many do not match; -1 */
static int check_ids(struct crypto *c, const uint8_t *raw, uint32_t raw_len,
		     const struct frame_blob *blobs, size_t n, enum blob_type type,
		     void (*bad_blob)(void *ctx, const struct frame_blob *b, enum blob_type type),
		     void *ctx, struct err *err)
{
	uint64_t off = 0;
	int bad = 0;

	for (size_t i = 0; i < n; off += blobs[i++].len) {
		struct repo_id id;

		if (range_inside(off, blobs[i].len, raw_len)) {
			if (crypto_id(c, (uint8_t)type, raw + off, blobs[i].len, &id, err))
				return -1;
			if (!memcmp(&id, &blobs[i].id, sizeof(id)))
				continue;
		}
		bad++;
		if (bad_blob)
			bad_blob(ctx, &blobs[i], type);
	}
	return bad;
}

int pack_check_frame(struct crypto *c, struct pack_source *src, struct frame_codec *codec,
		     const struct pack_contents *pc, const struct pack_frame *f, uint8_t *buf,
		     uint8_t *raw,
		     void (*bad_blob)(void *ctx, const struct frame_blob *b, enum blob_type type),
		     void *ctx, struct err *err)
{
	CLEANUP_FREE struct frame_blob *blobs = malloc(FRAME_BLOBS_MAX * sizeof(*blobs));
	struct frame_header h;
	uint32_t raw_len, got;
	size_t n;
	int bad;

	if (!blobs)
		return err_nomem(err);
	if (src->read(src->ctx, f->off, buf, frame_section_len(&f->header), err) ||
	    frame_header_decode(buf, &h, err))
		return -1;
	if (h.type != f->header.type || h.flags != f->header.flags ||
	    h.number != f->header.number || h.table_len != f->header.table_len ||
	    h.payload_len != f->header.payload_len)
		return err_set(err, ERR_CORRUPT, "header is not what the table says");
	if (frame_open_table(c, &src->key, src->id, buf, &h, blobs, &n, &raw_len, err))
		return err_prefix(err, "blob table");
	if (n != f->n || memcmp(blobs, pc->blobs + f->first, n * sizeof(*blobs)))
		return err_set(err, ERR_CORRUPT, "blobs are not those of the pack's table");
	if (frame_open_payload(c, &src->key, src->id, buf, &h, err))
		return -1;
	if (!raw)
		return 0;
	if (frame_expand(codec, buf, &h, raw, &got, err))
		return -1;
	bad = check_ids(c, raw, got, blobs, n, h.type, bad_blob, ctx, err);
	if (bad > 0)
		return err_set(err, ERR_DIFFERS, "%d of %zu blobs do not match their ids", bad, n);
	return bad;
}

static int object_read(void *ctx, uint64_t off, void *buf, size_t len, struct err *err)
{
	return backend_object_read(ctx, off, buf, len, err);
}

int pack_reader_open(struct pack_reader *ret, struct backend *b, struct crypto *c,
		     const uint8_t id[PACK_ID], struct err *err)
{
	char name[PACK_NAME_MAX];
	int rc;

	memset(ret, 0, sizeof(*ret));
	pack_name(id, name);
	memcpy(ret->src.id, id, PACK_ID);
	rc = backend_open(b, name, &ret->object, &ret->src.size, err);
	if (!rc) {
		ret->src.read = object_read;
		ret->src.ctx = ret->object;
		rc = pack_read_header(c, &ret->src, err);
	}
	if (rc) {
		pack_reader_close(ret);
		return err_object(err, name);
	}
	return 0;
}

void pack_reader_close(struct pack_reader *r)
{
	backend_object_close(r->object);
	r->object = NULL;
	OPENSSL_cleanse(&r->src.key, sizeof(r->src.key));
}
