/* Decoding compressed clusters, with a shared cache so that many small reads of one cluster decode it once. For
 * image core only.
 */
#ifndef VMKIT_IMAGE_CODEC_H
#define VMKIT_IMAGE_CODEC_H

#include "libcommon/image/image.h"

struct codec_cache;

/**
 * codec_decode() - one compression unit
 * @src: may have bytes behind the end of the stream: sector padding
 * @ret_len: decoded bytes, at most @room; fewer only where the stream itself ends before
 *
 * A stream that holds more than @room bytes gives its first @room bytes, as QEMU has it.
 * Return: 0 or -1 (ERR_CORRUPT)
 */
int codec_decode(enum codec codec, const void *src, size_t src_len, void *dst, size_t room,
		 size_t *ret_len, struct err *err);

/** codec_cache_new() - for units of @unit_size bytes (a power of two, at most CODEC_UNIT_MAX) */
int codec_cache_new(struct codec_cache **ret, uint32_t unit_size, struct err *err);
void codec_cache_free(struct codec_cache *c);
#define CODEC_UNIT_MAX (64U << 20)

/** codec_cache_drop() - the file behind was written to */
void codec_cache_drop(struct codec_cache *c);

/**
 * codec_read() - bytes [at, at + len) of a compressed unit
 * @need: bytes that must decode: the unit's size, or less where the disk ends in it
 */
int codec_read(struct codec_cache *c, const struct extent *e, size_t need, void *buf, size_t at,
	       size_t len, struct err *err);

/**
 * codec_read_packed() - a whole unit, decoded and as it is stored
 * @packed: room for e->host_len bytes
 * @dst: room for the unit
 * @ret_len: bytes of @packed that are the unit, no padding; 0: the stream is no exact one, @dst is undefined
 */
int codec_read_packed(struct codec_cache *c, const struct extent *e, uint8_t *packed, uint8_t *dst,
		      size_t *ret_len, struct err *err);

#endif
