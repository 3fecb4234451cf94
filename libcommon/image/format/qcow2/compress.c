/* Clusters to compressed streams, one compressor a thread.
 *
 * qcow2 "zlib" is raw deflate with a window of 4 KiB, since readers inflate with -12. ISA-L can limit its
 * window and is about 12 times as fast as zlib at 10 % more bytes (2026, 64 KiB clusters of an ext4 disk);
 * zlib is there for those who ask for the bytes (levels 6 to 9). libdeflate cannot limit its window.
 */
#include "libcommon/image/format/qcow2/bulk_writer.h"

#include <isa-l/igzip_lib.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define ZSTD_DEFAULT_LEVEL 3
#define ZLIB_FIRST_LEVEL   6 /* below: ISA-L */

struct qcow2_compressor {
	enum codec codec;
	size_t room; /* the most bytes that are still worth it */
	ZSTD_CCtx *zstd;
	z_stream z;
	bool z_ready;
	struct isal_zstream isal;
	uint8_t *isal_buf;
	uint32_t isal_buf_len;
	unsigned isal_level;
};

int qcow2_compress_level_check(enum codec codec, int level, struct err *err)
{
	if (!level)
		return 0;
	if (codec == CODEC_ZSTD && (level < -100 || level > ZSTD_maxCLevel()))
		return err_set(err, ERR_USAGE, "zstd has no level %d (-100 to %d)", level,
			       ZSTD_maxCLevel());
	if (codec == CODEC_DEFLATE && (level < 1 || level > 9))
		return err_set(err, ERR_USAGE, "zlib has no level %d (1 to 9)", level);
	return 0;
}

static int zstd_init(struct qcow2_compressor *c, int level, struct err *err)
{
	c->zstd = ZSTD_createCCtx();
	if (!c->zstd)
		return err_nomem(err);

	size_t r = ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_compressionLevel,
					  level ? level : ZSTD_DEFAULT_LEVEL);
	if (!ZSTD_isError(r))
		r = ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_contentSizeFlag, 1);
	if (ZSTD_isError(r))
		return err_set(err, ERR_FAILED, "zstd: %s", ZSTD_getErrorName(r));
	return 0;
}

static int deflate_init(struct qcow2_compressor *c, int level, struct err *err)
{
	static const uint32_t sizes[] = {ISAL_DEF_LVL0_DEFAULT, ISAL_DEF_LVL1_DEFAULT,
					 ISAL_DEF_LVL2_DEFAULT, ISAL_DEF_LVL3_DEFAULT};

	c->isal_level = !level || level == 2 ? 2 : level == 1 || level >= ZLIB_FIRST_LEVEL ? 1 : 3;
	c->isal_buf_len = sizes[c->isal_level];
	c->isal_buf = malloc(c->isal_buf_len);
	if (!c->isal_buf)
		return err_nomem(err);
	if (level < ZLIB_FIRST_LEVEL)
		return 0;
	if (deflateInit2(&c->z, level, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) != Z_OK)
		return err_nomem(err);
	c->z_ready = true;
	return 0;
}

int qcow2_compressor_new(struct qcow2_compressor **ret, enum codec codec, int level,
			 size_t cluster_size, struct err *err)
{
	struct qcow2_compressor *c = calloc(1, sizeof(*c));

	if (!c)
		return err_nomem(err);
	c->codec = codec;
	/* A cluster that saves less than 1/64 is better read plainly. */
	c->room = cluster_size - 1 - cluster_size / 64;
	if ((codec == CODEC_ZSTD ? zstd_init : deflate_init)(c, level, err) < 0) {
		qcow2_compressor_free(c);
		return -1;
	}
	*ret = c;
	return 0;
}

void qcow2_compressor_free(struct qcow2_compressor *c)
{
	if (!c)
		return;
	ZSTD_freeCCtx(c->zstd);
	if (c->z_ready)
		deflateEnd(&c->z);
	free(c->isal_buf);
	free(c);
}

static size_t isal_cluster(struct qcow2_compressor *c, const uint8_t *src, size_t len, uint8_t *dst)
{
	struct isal_zstream *s = &c->isal;

	isal_deflate_init(s);
	s->end_of_stream = 1;
	s->flush = NO_FLUSH;
	s->gzip_flag = IGZIP_DEFLATE;
	s->hist_bits = 12;
	s->level = c->isal_level;
	s->level_buf = c->isal_buf;
	s->level_buf_size = c->isal_buf_len;
	s->next_in = (uint8_t *)(uintptr_t)
		src; /* the library lacks the const; it does not write there */
	s->avail_in = (uint32_t)len;
	s->next_out = dst;
	s->avail_out = (uint32_t)c->room;
	if (isal_deflate(s) != COMP_OK || s->internal_state.state != ZSTATE_END)
		return 0;
	return s->total_out;
}

static size_t zlib_cluster(struct qcow2_compressor *c, const uint8_t *src, size_t len, uint8_t *dst)
{
	deflateReset(&c->z);
	c->z.next_in = (Bytef *)(uintptr_t)src; /* as above */
	c->z.avail_in = (uInt)len;
	c->z.next_out = dst;
	c->z.avail_out = (uInt)c->room;
	return deflate(&c->z, Z_FINISH) == Z_STREAM_END ? c->z.total_out : 0;
}

int qcow2_compress(struct qcow2_compressor *c, const uint8_t *src, size_t len, uint8_t *dst,
		   size_t *ret_len, struct err *err)
{
	if (c->codec != CODEC_ZSTD) {
		/* ISA-L's quick try also tells, for a few percent of zlib's time, what zlib need not try. */
		*ret_len = isal_cluster(c, src, len, dst);
		if (*ret_len && c->z_ready)
			*ret_len = zlib_cluster(c, src, len, dst);
		return 0;
	}

	size_t n = ZSTD_compress2(c->zstd, dst, c->room, src, len);

	*ret_len = n;
	if (!ZSTD_isError(n))
		return 0;
	*ret_len = 0;
	if (ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall)
		return 0;
	return err_set(err, ERR_FAILED, "zstd: %s", ZSTD_getErrorName(n));
}
