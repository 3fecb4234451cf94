/* Decoding compressed clusters: see codec.h. */
#include "libcommon/image/codec.h"

#include <inttypes.h>
#include <libdeflate.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/protocol.h"
#include "libcommon/image/slots.h"

/* What one decoding thread needs; reused through the cache's free list. */
struct decoder {
	struct decoder *next;
	struct libdeflate_decompressor *deflate;
	ZSTD_DCtx *zstd;
	uint8_t *src;
	size_t src_room;
};

struct codec_cache {
	struct slots *slots;
	uint32_t unit_size;
	pthread_mutex_t lock; /* guards idle */
	struct decoder *idle;
};

static void decoder_free(struct decoder *d)
{
	if (!d)
		return;
	libdeflate_free_decompressor(d->deflate);
	ZSTD_freeDCtx(d->zstd);
	free(d->src);
	free(d);
}

/* zlib where libdeflate gives up: a raw stream whose last block is cut off by the sector count, or that would go
 * on behind the unit; QEMU takes both when the unit is full by then. Not for RFC 1950: its sum would not be looked at,
 * and QEMU is strict there as well. */
static bool inflate_leniently(const void *src, size_t src_len, void *dst, size_t room)
{
	z_stream z = {.avail_in = (uInt)src_len, .avail_out = (uInt)room, .next_out = dst};
	bool full;

	memcpy(&z.next_in, &src, sizeof(src)); /* zlib reads only, but its pointer is not const */
	if (inflateInit2(&z, -15) != Z_OK)
		return false;

	int r = inflate(&z, Z_FINISH);

	full = (r == Z_STREAM_END || r == Z_BUF_ERROR) && z.avail_out == 0;
	(void)inflateEnd(&z);
	return full;
}

static int decode_deflate(struct decoder *d, enum codec codec, const void *src, size_t src_len,
			  void *dst, size_t room, size_t *ret_len, struct err *err)
{
	size_t used;
	enum libdeflate_result r;

	if (!d->deflate)
		d->deflate = libdeflate_alloc_decompressor();
	if (!d->deflate)
		return err_nomem(err);
	if (codec == CODEC_ZLIB)
		r = libdeflate_zlib_decompress_ex(d->deflate, src, src_len, dst, room, &used,
						  ret_len);
	else
		r = libdeflate_deflate_decompress_ex(d->deflate, src, src_len, dst, room, &used,
						     ret_len);
	if (r == LIBDEFLATE_SUCCESS)
		return 0;
	if (codec == CODEC_ZLIB || !inflate_leniently(src, src_len, dst, room))
		return err_set(err, ERR_CORRUPT, "the deflate stream is damaged");
	*ret_len = room;
	return 0;
}

/* Frame by frame and in one shot each: no window is allocated, whatever the frame claims. */
static int decode_zstd(struct decoder *d, const uint8_t *src, size_t src_len, uint8_t *dst,
		       size_t room, size_t *ret_len, struct err *err)
{
	size_t done = 0;

	if (!d->zstd)
		d->zstd = ZSTD_createDCtx();
	if (!d->zstd)
		return err_nomem(err);
	while (done < room && src_len) {
		size_t frame = ZSTD_findFrameCompressedSize(src, src_len);

		if (ZSTD_isError(frame)) {
			if (done) /* padding behind the last frame */
				break;
			return err_set(err, ERR_CORRUPT, "the zstd frame is damaged: %s",
				       ZSTD_getErrorName(frame));
		}

		size_t n = ZSTD_decompressDCtx(d->zstd, dst + done, room - done, src, frame);

		if (ZSTD_isError(n))
			return err_set(err, ERR_CORRUPT, "the zstd frame is damaged: %s",
				       ZSTD_getErrorName(n));
		done += n;
		src += frame;
		src_len -= frame;
	}
	*ret_len = done;
	return 0;
}

static int decode(struct decoder *d, enum codec codec, const void *src, size_t src_len, void *dst,
		  size_t room, size_t *ret_len, struct err *err)
{
	switch (codec) {
	case CODEC_DEFLATE:
	case CODEC_ZLIB:
		return decode_deflate(d, codec, src, src_len, dst, room, ret_len, err);
	case CODEC_ZSTD:
		return decode_zstd(d, src, src_len, dst, room, ret_len, err);
	case CODEC_NONE:
	case CODEC_OPAQUE:
		break;
	}
	return err_set(err, ERR_UNSUPPORTED, "no decoder for this cluster");
}

int codec_decode(enum codec codec, const void *src, size_t src_len, void *dst, size_t room,
		 size_t *ret_len, struct err *err)
{
	struct decoder *d = calloc(1, sizeof(*d));
	int r = d ? decode(d, codec, src, src_len, dst, room, ret_len, err) : err_nomem(err);

	decoder_free(d);
	return r;
}

int codec_cache_new(struct codec_cache **ret, uint32_t unit_size, struct err *err)
{
	if (!is_pow2(unit_size) || unit_size < 512 || unit_size > CODEC_UNIT_MAX)
		return err_set(err, ERR_UNSUPPORTED, "compressed clusters of %" PRIu32 " bytes",
			       unit_size);

	CLEANUP_FREE struct codec_cache *c = calloc(1, sizeof(*c));
	/* 4 MiB of decoded clusters a layer: only reads of parts of a cluster come here. */
	unsigned count = (4U << 20) / unit_size;

	if (!c)
		return err_nomem(err);
	if (slots_new(&c->slots, unit_size, count < 2 ? 2 : count > 256 ? 256 : count, err) < 0)
		return -1;
	c->unit_size = unit_size;
	pthread_mutex_init(&c->lock, NULL);
	*ret = steal_ptr(&c);
	return 0;
}

void codec_cache_free(struct codec_cache *c)
{
	if (!c)
		return;
	slots_free(c->slots);
	while (c->idle) {
		struct decoder *d = c->idle;

		c->idle = d->next;
		decoder_free(d);
	}
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void codec_cache_drop(struct codec_cache *c)
{
	if (c)
		slots_drop(c->slots);
}

static struct decoder *decoder_get(struct codec_cache *c)
{
	pthread_mutex_lock(&c->lock);

	struct decoder *d = c->idle;

	if (d)
		c->idle = d->next;
	pthread_mutex_unlock(&c->lock);
	return d ? d : calloc(1, sizeof(*d));
}

static void decoder_put(struct codec_cache *c, struct decoder *d)
{
	pthread_mutex_lock(&c->lock);
	d->next = c->idle;
	c->idle = d;
	pthread_mutex_unlock(&c->lock);
}

static int read_and_decode(struct codec_cache *c, struct decoder *d, const struct extent *e,
			   size_t need, void *dst, struct err *err)
{
	size_t len = (size_t)e->host_len, got;

	/* No encoder makes more of a cluster than itself and a little; a claim beyond is not worth memory. */
	if (e->host_len > (uint64_t)c->unit_size * 2 + 4096)
		return err_set(err, ERR_CORRUPT, "claims %" PRIu64 " bytes", e->host_len);
	if (d->src_room < len) {
		free(d->src);
		d->src_room = 0;
		d->src = malloc(len);
		if (!d->src)
			return err_nomem(err);
		d->src_room = len;
	}
	if (e->host_off >= bfile_size(e->file))
		return err_set(err, ERR_CORRUPT, "the file ends at %" PRIu64, bfile_size(e->file));
	/* The length is in whole sectors, and the last cluster of a file may end before. */
	if (bfile_pread_padded(e->file, d->src, len, e->host_off, err) < 0)
		return -1;
	if (decode(d, e->codec, d->src, len, dst, c->unit_size, &got, err) < 0)
		return -1;
	if (got < need)
		return err_set(err, ERR_CORRUPT, "decodes to %zu bytes instead of %zu", got, need);
	memset((uint8_t *)dst + got, 0, c->unit_size - got);
	return 0;
}

/* Return: bytes that the stream takes; 0: it does not decode to exactly @room bytes in the plain way */
static size_t decode_exactly(struct decoder *d, enum codec codec, const uint8_t *src,
			     size_t src_len, uint8_t *dst, size_t room)
{
	size_t used = 0, got = 0, frame;

	if (codec == CODEC_ZSTD) {
		if (!d->zstd && !(d->zstd = ZSTD_createDCtx()))
			return 0;
		frame = ZSTD_findFrameCompressedSize(src, src_len);
		return !ZSTD_isError(frame) &&
				       ZSTD_decompressDCtx(d->zstd, dst, room, src, frame) == room
			       ? frame
			       : 0;
	}
	if (!d->deflate && !(d->deflate = libdeflate_alloc_decompressor()))
		return 0;
	if ((codec == CODEC_ZLIB
		     ? libdeflate_zlib_decompress_ex(d->deflate, src, src_len, dst, room, &used,
						     &got)
		     : libdeflate_deflate_decompress_ex(d->deflate, src, src_len, dst, room, &used,
							&got)) != LIBDEFLATE_SUCCESS)
		return 0;
	return got == room ? used : 0;
}

int codec_read_packed(struct codec_cache *c, const struct extent *e, uint8_t *packed, uint8_t *dst,
		      size_t *ret_len, struct err *err)
{
	struct decoder *d;

	*ret_len = 0;
	if (!range_inside(e->host_off, 1, bfile_size(e->file)))
		return 0;
	if (bfile_pread_padded(e->file, packed, (size_t)e->host_len, e->host_off, err) < 0)
		return err_object(err, e->file->name);
	d = decoder_get(c);
	if (!d)
		return err_nomem(err);
	*ret_len = decode_exactly(d, e->codec, packed, (size_t)e->host_len, dst, c->unit_size);
	decoder_put(c, d);
	return 0;
}

struct load {
	struct codec_cache *cache;
	const struct extent *extent;
	size_t need;
};

static int load_unit(void *ctx, struct slot_key key, void *buf, struct err *err)
{
	struct load *l = ctx;
	struct decoder *d = decoder_get(l->cache);

	(void)key;
	if (!d)
		return err_nomem(err);

	int r = read_and_decode(l->cache, d, l->extent, l->need, buf, err);

	decoder_put(l->cache, d);
	if (r < 0) {
		err_prefix(err, "compressed cluster at offset %" PRIu64, l->extent->host_off);
		err_object(err, l->extent->file->name);
	}
	return r;
}

int codec_read(struct codec_cache *c, const struct extent *e, size_t need, void *buf, size_t at,
	       size_t len, struct err *err)
{
	struct load l = {c, e, need};
	const uint8_t *unit;

	if (at == 0 && len == c->unit_size) /* all of it: nobody gains from a copy kept here */
		return load_unit(&l, (struct slot_key){0, 0}, buf, err);
	if (slots_get(c->slots, (struct slot_key){e->host_off, e->host_len}, load_unit, &l, &unit,
		      err) < 0)
		return -1;
	memcpy(buf, unit + at, len);
	slots_put(c->slots, unit);
	return 0;
}
