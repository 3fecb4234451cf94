/* Compressed chunks of a DMG: decoded once for many small reads. */
#include <bzlib.h>
#include <inttypes.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/codec.h"
#include "libcommon/image/format/dmg/dmg.h"
#include "libcommon/image/slots.h"

/* Chunks have any length up to 4 MiB; readers rarely come back to more than a few. */
enum { CACHE_BYTES = 4 << 20 };

const char *dmg_kind_name(enum dmg_kind kind)
{
	static const char *const names[DMG_KINDS] = {"none", "zlib",  "bzip2",
						     "ADC",  "LZFSE", "LZMA"};

	return names[kind];
}

int dmg_decode_init(struct dmg *d, struct err *err)
{
	uint64_t most = 0, room = 4096;

	for (size_t i = 0; i < d->n_chunks; i++) {
		const struct dmg_chunk *c = &d->chunks[i];

		if (c->kind != DMG_RAW && c->kind != DMG_ZLIB && c->kind != DMG_BZIP2)
			return err_set(err, ERR_UNSUPPORTED,
				       "the data from sector %" PRIu64
				       " on are compressed with %s, which cannot be read here",
				       c->sector, dmg_kind_name(c->kind));
		if (c->kind != DMG_RAW)
			most = max_u64(most, c->sectors * DMG_SECTOR);
	}
	if (!most)
		return 0;
	while (room < most)
		room *= 2;
	return slots_new(&d->decoded, (size_t)room, (unsigned)max_u64(CACHE_BYTES / room, 2), err);
}

static int decode_bzip2(uint8_t *src, unsigned src_len, void *dst, unsigned dst_len,
			size_t *ret_len, struct err *err)
{
	unsigned len = dst_len;
	int rc = BZ2_bzBuffToBuffDecompress(dst, &len, (char *)src, src_len, 0, 0);

	if (rc == BZ_MEM_ERROR)
		return err_nomem(err);
	if (rc != BZ_OK)
		return err_set(err, ERR_CORRUPT, "the bzip2 stream is damaged");
	*ret_len = len;
	return 0;
}

/* Room for one byte more than is wanted: a stream that goes on is as wrong as one that ends before. */
static int decode_zlib(const void *src, size_t src_len, void *dst, size_t want, size_t *ret_len,
		       struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(want + 1);

	if (!buf)
		return err_nomem(err);
	if (codec_decode(CODEC_ZLIB, src, src_len, buf, want + 1, ret_len, err) < 0)
		return -1;
	memcpy(dst, buf, min_u64(*ret_len, want));
	return 0;
}

static int decode(struct bfile *file, const struct dmg_chunk *c, void *dst, struct err *err)
{
	size_t want = (size_t)c->sectors * DMG_SECTOR, got = 0;
	CLEANUP_FREE uint8_t *src = malloc((size_t)c->len + 1);
	int rc;

	if (!src)
		return err_nomem(err);
	if (bfile_pread(file, src, (size_t)c->len, c->off, err) < 0)
		return -1;
	if (c->kind == DMG_BZIP2)
		rc = decode_bzip2(src, (unsigned)c->len, dst, (unsigned)want, &got, err);
	else
		rc = decode_zlib(src, (size_t)c->len, dst, want, &got, err);
	if (rc == 0 && got != want)
		rc = err_set(err, ERR_CORRUPT, "does not decode to %zu bytes", want);
	return rc < 0 ? err_prefix(err, "chunk of sector %" PRIu64 " at offset %" PRIu64, c->sector,
				   c->off)
		      : 0;
}

struct load {
	struct bfile *file;
	const struct dmg_chunk *chunk;
};

static int load_chunk(void *ctx, struct slot_key key, void *buf, struct err *err)
{
	const struct load *l = ctx;

	(void)key;
	return decode(l->file, l->chunk, buf, err);
}

int dmg_read_chunk(struct bfile *file, const struct dmg *d, const struct dmg_chunk *c, void *buf,
		   size_t at, size_t len, struct err *err)
{
	struct load l = {file, c};
	const uint8_t *whole;

	if (at == 0 && len == c->sectors * DMG_SECTOR)
		return decode(file, c, buf, err);
	if (slots_get(d->decoded, (struct slot_key){c->sector, 0}, load_chunk, &l, &whole, err) < 0)
		return -1;
	memcpy(buf, whole + at, len);
	slots_put(d->decoded, whole);
	return 0;
}
