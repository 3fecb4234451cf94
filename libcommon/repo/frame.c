/* Frames: see frame.h. */
#include "libcommon/repo/frame.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/iszero.h"

enum { PART_TABLE = 0, PART_PAYLOAD = 1, TABLE_ALIGN = 512 };

struct frame_codec {
	ZSTD_CCtx *cctx; /* NULL in a reader */
	ZSTD_DCtx *dctx;
	uint8_t *packed, *check;
};

int frame_header_decode(const uint8_t *p, struct frame_header *ret, struct err *err)
{
	struct frame_header h = {.type = p[4],
				 .flags = p[5],
				 .number = get_le32(p + 8),
				 .table_len = get_le32(p + 12),
				 .payload_len = get_le32(p + 16)};

	if (memcmp(p, "VMFR", 4) || p[6] || p[7] || !is_zero(p + 20, 12))
		return err_set(err, ERR_CORRUPT, "is no frame header");
	if (h.type != BLOB_CHUNK && h.type != BLOB_PAGE && h.type != BLOB_DELTA)
		return err_set(err, ERR_CORRUPT, "section type %u is not known", h.type);
	if (h.flags & ~FRAME_ZSTD)
		return err_set(err, ERR_CORRUPT, "frame flags 0x%x are not known", h.flags);
	if (h.table_len < TABLE_ALIGN || h.table_len > FRAME_TABLE_MAX ||
	    h.table_len % TABLE_ALIGN || !h.payload_len || h.payload_len > FRAME_RAW_MAX)
		return err_set(err, ERR_CORRUPT, "frame of %u and %u bytes is out of bounds",
			       h.table_len, h.payload_len);
	*ret = h;
	return 0;
}

/* zstd's level 3 is made for inputs without end. On frames of 1 MiB its hash tables of 128 Ki and 64 Ki entries miss the
 * cache more than they find: with half of each, 300 MiB of a Linux disk take 0.97 s of processor time instead of 1.21 and
 * 32.1 % of its size instead of 31.8 %; level 2: 0.77 s and 33.1 % (2026-11-26, all in turn on each frame). */
static bool set_level(ZSTD_CCtx *c, int level)
{
	static const struct {
		ZSTD_cParameter name;
		int value;
	} third[] = {
		{ZSTD_c_windowLog, 20}, {ZSTD_c_hashLog, 16},	       {ZSTD_c_chainLog, 15},
		{ZSTD_c_minMatch, 5},	{ZSTD_c_strategy, ZSTD_dfast},
	};

	if (ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level)))
		return false;
	for (size_t i = 0; level == 3 && i < sizeof(third) / sizeof(third[0]); i++)
		if (ZSTD_isError(ZSTD_CCtx_setParameter(c, third[i].name, third[i].value)))
			return false;
	return true;
}

int frame_codec_new(struct frame_codec **ret, int level, struct err *err)
{
	struct frame_codec *f = calloc(1, sizeof(*f));

	if (!f)
		return err_nomem(err);
	f->dctx = ZSTD_createDCtx();
	if (level) {
		f->cctx = ZSTD_createCCtx();
		f->packed = malloc(ZSTD_compressBound(FRAME_RAW_MAX));
		f->check = malloc(FRAME_RAW_MAX);
	}
	if (!f->dctx || (level && (!f->cctx || !f->packed || !f->check)) ||
	    (level && !set_level(f->cctx, level))) {
		frame_codec_free(f);
		return err_nomem(err);
	}
	*ret = f;
	return 0;
}

void frame_codec_free(struct frame_codec *f)
{
	if (!f)
		return;
	ZSTD_freeCCtx(f->cctx);
	ZSTD_freeDCtx(f->dctx);
	free(f->packed);
	free(f->check);
	free(f);
}

int frame_compress(struct frame_codec *f, const uint8_t *raw, size_t len,
		   const uint8_t **ret_payload, size_t *ret_len, uint8_t *ret_flags,
		   struct err *err)
{
	size_t n = ZSTD_compress2(f->cctx, f->packed, ZSTD_compressBound(FRAME_RAW_MAX), raw, len),
	       back;

	if (ZSTD_isError(n))
		return err_set(err, ERR_FAILED, "zstd: %s", ZSTD_getErrorName(n));
	if (n >= len) {
		*ret_payload = raw;
		*ret_len = len;
		*ret_flags = 0;
		return 0;
	}
	/* Bad memory and codec faults are found before anything depends on the frame, not at restore. */
	back = ZSTD_decompressDCtx(f->dctx, f->check, FRAME_RAW_MAX, f->packed, n);
	if (ZSTD_isError(back) || back != len || memcmp(f->check, raw, len))
		return err_set(err, ERR_FAILED,
			       "what was compressed does not decompress to the same bytes: "
			       "the memory of this machine may be bad");
	*ret_payload = f->packed;
	*ret_len = n;
	*ret_flags = FRAME_ZSTD;
	return 0;
}

uint32_t frame_table_len(size_t n_blobs)
{
	return (uint32_t)round_up(8 + 36 * n_blobs, TABLE_ALIGN);
}

static struct seal section_seal(const uint8_t *header, const uint8_t pack[PACK_ID], unsigned part,
				uint32_t number)
{
	return (struct seal){.part = part,
			     .number = number,
			     .aad = pack,
			     .aad_len = PACK_ID,
			     .aad2 = header,
			     .aad2_len = FRAME_HEADER};
}

int frame_seal(struct crypto *c, const struct seal_key *key, const uint8_t pack[PACK_ID],
	       const struct frame_header *h, const struct frame_blob *blobs, size_t n,
	       const uint8_t *payload, uint8_t *out, struct err *err)
{
	uint8_t *table = out + FRAME_HEADER;
	uint32_t raw = 0;
	struct seal s;

	memset(out, 0, FRAME_HEADER + h->table_len);
	memcpy(out, "VMFR", 4);
	out[4] = h->type;
	out[5] = h->flags;
	put_le32(out + 8, h->number);
	put_le32(out + 12, h->table_len);
	put_le32(out + 16, h->payload_len);
	for (size_t i = 0; i < n; i++) {
		memcpy(table + 8 + 36 * i, blobs[i].id.bytes, 32);
		put_le32(table + 8 + 36 * i + 32, blobs[i].len);
		raw += blobs[i].len;
	}
	put_le32(table, (uint32_t)n);
	put_le32(table + 4, raw);
	s = section_seal(out, pack, PART_TABLE, h->number);
	if (crypto_seal(c, key, &s, table, h->table_len, table, err))
		return -1;
	s = section_seal(out, pack, PART_PAYLOAD, h->number);
	return crypto_seal(c, key, &s, payload, h->payload_len, table + h->table_len + CRYPTO_TAG,
			   err);
}

static int parse_table(const uint8_t *t, uint32_t len, struct frame_blob *ret, size_t *ret_n,
		       uint32_t *ret_raw, struct err *err)
{
	uint32_t n = get_le32(t), raw = get_le32(t + 4);
	uint64_t sum = 0;

	if (!n || n > FRAME_BLOBS_MAX || frame_table_len(n) != len)
		return err_set(err, ERR_CORRUPT, "frame table of %u bytes cannot hold %u blobs",
			       len, n);
	for (uint32_t i = 0; i < n; i++) {
		memcpy(ret[i].id.bytes, t + 8 + 36 * i, 32);
		ret[i].len = get_le32(t + 8 + 36 * i + 32);
		if (!ret[i].len || ret[i].len > BLOB_MAX)
			return err_set(err, ERR_CORRUPT, "blob of %u bytes in a frame table",
				       ret[i].len);
		sum += ret[i].len;
	}
	if (sum != raw || raw > FRAME_RAW_MAX)
		return err_set(err, ERR_CORRUPT, "frame of %u bytes holds blobs of %llu", raw,
			       (unsigned long long)sum);
	*ret_n = n;
	*ret_raw = raw;
	return 0;
}

int frame_open_table(struct crypto *c, const struct seal_key *key, const uint8_t pack[PACK_ID],
		     const uint8_t *section, const struct frame_header *h, struct frame_blob *ret,
		     size_t *ret_n, uint32_t *ret_raw, struct err *err)
{
	struct seal s = section_seal(section, pack, PART_TABLE, h->number);
	uint8_t *table = malloc(h->table_len);
	int rc;

	if (!table)
		return err_nomem(err);
	rc = crypto_open(c, key, &s, section + FRAME_HEADER, h->table_len, table, err);
	if (!rc)
		rc = parse_table(table, h->table_len, ret, ret_n, ret_raw, err);
	free(table);
	return rc;
}

int frame_open_payload(struct crypto *c, const struct seal_key *key, const uint8_t pack[PACK_ID],
		       uint8_t *section, const struct frame_header *h, struct err *err)
{
	struct seal s = section_seal(section, pack, PART_PAYLOAD, h->number);
	uint8_t *payload = section + FRAME_HEADER + h->table_len + CRYPTO_TAG;

	return crypto_open(c, key, &s, payload, h->payload_len, payload, err);
}

int frame_expand(struct frame_codec *f, const uint8_t *section, const struct frame_header *h,
		 uint8_t *out, uint32_t *ret_raw, struct err *err)
{
	const uint8_t *payload = section + FRAME_HEADER + h->table_len + CRYPTO_TAG;
	size_t n = h->payload_len;

	if (h->flags & FRAME_ZSTD) {
		n = ZSTD_decompressDCtx(f->dctx, out, FRAME_RAW_MAX, payload, h->payload_len);
		if (ZSTD_isError(n))
			return err_set(err, ERR_CORRUPT, "zstd: %s", ZSTD_getErrorName(n));
	} else {
		memcpy(out, payload, n);
	}
	*ret_raw = (uint32_t)n;
	return 0;
}
