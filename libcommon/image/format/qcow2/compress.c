/* Clusters to compressed streams. Compressors are kept in a pool, so that there are as many as threads that compress at
 * once, and their tables stay in the processor's cache.
 *
 * zstd without a level looks for the same bytes as level 3 in less time: in a run of clusters each 32nd is compressed
 * twice, by a dense and by a fast search, and the rest of them by the fast one unless the dense one saves 3 %. On 64
 * KiB clusters of an ext4 disk (2026): 0.88 times the time of level 3 at 1.001 times its size.
 *
 * qcow2 "zlib" is raw deflate with a window of 4 KiB, since readers inflate with -12. ISA-L can limit its
 * window and is about 12 times as fast as zlib at 10 % more bytes (2026, 64 KiB clusters of an ext4 disk);
 * zlib is there for those who ask for the bytes (levels 6 to 9). libdeflate cannot limit its window.
 */
#include "libcommon/base/simd.h"
#include "libcommon/image/format/qcow2/bulk_writer.h"

#include <isa-l/igzip_lib.h>
#include <pthread.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define ZSTD_DEFAULT_LEVEL 3
#define ZLIB_FIRST_LEVEL   6	       /* below: ISA-L */
#define ADAPTIVE_CLUSTER   (64U << 10) /* what the searches were measured with */
#define ADAPTIVE_STEP	   32	       /* clusters between two trials */
#define ADAPTIVE_LEAST	   4	       /* shorter runs are not worth a trial */
#define ADAPTIVE_GAIN	   33	       /* dense is taken when it saves one byte in so many */

struct qcow2_compressor {
	struct qcow2_compressor *next; /* in the pool */
	enum codec codec;
	size_t room; /* the most bytes that are still worth it */
	ZSTD_CCtx *zstd;
	ZSTD_CCtx *fast;	/* NULL: always the one above */
	size_t run_at, run_len; /* clusters of the run: done, all */
	bool run_fast;
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

struct zstd_parameter {
	ZSTD_cParameter name;
	int value;
};

static int zstd_context(ZSTD_CCtx **ret, const struct zstd_parameter *set, size_t n,
			struct err *err)
{
	*ret = ZSTD_createCCtx();
	if (!*ret)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++) {
		size_t r = ZSTD_CCtx_setParameter(*ret, set[i].name, set[i].value);

		if (ZSTD_isError(r))
			return err_set(err, ERR_FAILED, "zstd: %s", ZSTD_getErrorName(r));
	}
	return 0;
}

static int zstd_init(struct qcow2_compressor *c, int level, size_t cluster_size, struct err *err)
{
	static const struct zstd_parameter dense[] = {
		{ZSTD_c_compressionLevel, ZSTD_DEFAULT_LEVEL},
		{ZSTD_c_windowLog, 16},
		{ZSTD_c_strategy, ZSTD_dfast},
		{ZSTD_c_hashLog, 14},
		{ZSTD_c_chainLog, 14},
		{ZSTD_c_minMatch, 4},
	};
	static const struct zstd_parameter fast[] = {
		{ZSTD_c_compressionLevel, 1}, {ZSTD_c_windowLog, 16}, {ZSTD_c_strategy, ZSTD_fast},
		{ZSTD_c_hashLog, 14},	      {ZSTD_c_minMatch, 5},
	};
	const struct zstd_parameter plain[] = {
		{ZSTD_c_compressionLevel, level ? level : ZSTD_DEFAULT_LEVEL}};

	/* Frames carry their content size: ZSTD_compress2() knows it. */
	if (level || cluster_size != ADAPTIVE_CLUSTER)
		return zstd_context(&c->zstd, plain, 1, err);
	if (zstd_context(&c->zstd, dense, sizeof(dense) / sizeof(dense[0]), err) < 0)
		return -1;
	return zstd_context(&c->fast, fast, sizeof(fast) / sizeof(fast[0]), err);
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

static void compressor_free(struct qcow2_compressor *c)
{
	ZSTD_freeCCtx(c->zstd);
	ZSTD_freeCCtx(c->fast);
	if (c->z_ready)
		deflateEnd(&c->z);
	free(c->isal_buf);
	free(c);
}

static int compressor_new(struct qcow2_compressor **ret, enum codec codec, int level,
			  size_t cluster_size, struct err *err)
{
	struct qcow2_compressor *c = calloc(1, sizeof(*c));

	if (!c)
		return err_nomem(err);
	c->codec = codec;
	/* A cluster that saves less than 1/64 is better read plainly, but for those who ask for the bytes. */
	c->room = cluster_size - 1;
	if (codec != CODEC_DEFLATE || level < ZLIB_FIRST_LEVEL)
		c->room -= cluster_size / 64;
	if ((codec == CODEC_ZSTD ? zstd_init(c, level, cluster_size, err)
				 : deflate_init(c, level, err)) < 0) {
		compressor_free(c);
		return -1;
	}
	*ret = c;
	return 0;
}

void qcow2_compressors_init(struct qcow2_compressors *p, enum codec codec, int level,
			    size_t cluster_size)
{
	*p = (struct qcow2_compressors){
		.codec = codec, .level = level, .cluster_size = cluster_size};
	pthread_mutex_init(&p->lock, NULL);
}

void qcow2_compressors_release(struct qcow2_compressors *p)
{
	while (p->idle) {
		struct qcow2_compressor *c = p->idle;

		p->idle = c->next;
		compressor_free(c);
	}
	pthread_mutex_destroy(&p->lock);
}

int qcow2_compressor_take(struct qcow2_compressors *p, size_t run_clusters,
			  struct qcow2_compressor **ret, struct err *err)
{
	pthread_mutex_lock(&p->lock);

	struct qcow2_compressor *c = p->idle;

	if (c)
		p->idle = c->next;
	pthread_mutex_unlock(&p->lock);
	if (!c && compressor_new(&c, p->codec, p->level, p->cluster_size, err) < 0)
		return -1;
	c->run_at = 0;
	c->run_len = run_clusters;
	c->run_fast = false;
	*ret = c;
	return 0;
}

void qcow2_compressor_give(struct qcow2_compressors *p, struct qcow2_compressor *c)
{
	pthread_mutex_lock(&p->lock);
	c->next = p->idle;
	p->idle = c;
	pthread_mutex_unlock(&p->lock);
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

	int r = isal_deflate(s);

	simd_done();
	if (r != COMP_OK || s->internal_state.state != ZSTATE_END)
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

/* *@ret_len is 0 when the bytes do not fit in what is worth it */
static int zstd_once(struct qcow2_compressor *c, ZSTD_CCtx *ctx, const uint8_t *src, size_t len,
		     uint8_t *dst, size_t *ret_len, struct err *err)
{
	size_t n = ZSTD_compress2(ctx, dst, c->room, src, len);

	*ret_len = n;
	if (!ZSTD_isError(n))
		return 0;
	*ret_len = 0;
	if (ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall)
		return 0;
	return err_set(err, ERR_FAILED, "zstd: %s", ZSTD_getErrorName(n));
}

static int zstd_cluster(struct qcow2_compressor *c, const uint8_t *src, size_t len, uint8_t *dst,
			size_t *ret_len, struct err *err)
{
	size_t at = c->run_at++, fast_len;

	if (!c->fast || c->run_len < ADAPTIVE_LEAST)
		return zstd_once(c, c->zstd, src, len, dst, ret_len, err);
	if (at % ADAPTIVE_STEP)
		return zstd_once(c, c->run_fast ? c->fast : c->zstd, src, len, dst, ret_len, err);
	/* The dense bytes come last, so they are the ones kept; they are hardly ever the longer ones. */
	if (zstd_once(c, c->fast, src, len, dst, &fast_len, err) < 0 ||
	    zstd_once(c, c->zstd, src, len, dst, ret_len, err) < 0)
		return -1;
	if (fast_len && *ret_len)
		c->run_fast = *ret_len + fast_len / ADAPTIVE_GAIN >= fast_len;
	else
		c->run_fast = !*ret_len;
	return 0;
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
	return zstd_cluster(c, src, len, dst, ret_len, err);
}
