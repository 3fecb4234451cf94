/* Images from pipes: raw is read once and in order, other formats go through a nameless file in TMPDIR. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/iszero.h"
#include "libcommon/base/stop.h"
#include "libcommon/image/layers.h"

struct stream {
	int fd;
	bool ended;
	uint64_t pos; /* bytes given so far */
	uint8_t *peeked;
	size_t peeked_len, peeked_at;
};

int stream_new(struct image **ret, int fd, const char *name, const void *peeked, size_t peeked_len,
	       struct err *err)
{
	CLEANUP_CLOSE int owned = fd;
	CLEANUP_FREE struct stream *s = calloc(1, sizeof(*s));
	CLEANUP_FREE uint8_t *copy = malloc(peeked_len + 1);
	struct image *img;

	if (!s || !copy)
		return err_nomem(err);
	if (image_new(&img, name, 0, err) < 0)
		return -1;
	memcpy(copy, peeked, peeked_len);
	s->peeked = steal_ptr(&copy);
	s->peeked_len = peeked_len;
	s->fd = steal_fd(&owned);
	img->priv = steal_ptr(&s);
	img->stream = true;
	img->size = IMAGE_SIZE_UNKNOWN;
	*ret = img;
	return 0;
}

ssize_t stream_read(struct image *img, void *buf, size_t len, struct err *err)
{
	struct stream *s = img->priv;
	size_t done = (size_t)min_u64(len, s->peeked_len - s->peeked_at);

	memcpy(buf, s->peeked + s->peeked_at, done);
	s->peeked_at += done;
	if (done < len && !s->ended) {
		ssize_t n = io_read_upto(s->fd, (uint8_t *)buf + done, len - done, err);

		if (n < 0)
			return err_object(err, img->name);
		s->ended = (size_t)n < len - done;
		done += (size_t)n;
	}
	s->pos += done;
	if (s->ended && s->peeked_at == s->peeked_len)
		img->size = s->pos;
	return (ssize_t)done;
}

void stream_free(struct image *img)
{
	struct stream *s = img->priv;

	if (!s)
		return;
	(void)close(s->fd);
	free(s->peeked);
	free(s);
	img->priv = NULL;
}

enum { SPOOL_BLOCK = 4096, SPOOL_CHUNK = 1 << 20 };

/* Zero blocks become holes: a spooled disk must not cost more than its data. */
static int spool_chunk(int out, const uint8_t *buf, size_t len, uint64_t off, struct err *err)
{
	size_t at = 0;

	while (at < len) {
		size_t end = at, n;

		while (end < len &&
		       !is_zero(buf + end, n = (size_t)min_u64(len - end, SPOOL_BLOCK)))
			end += n;
		if (end > at && io_pwrite(out, buf + at, end - at, off + at, err) < 0)
			return -1;
		at = end == len ? len : end + (size_t)min_u64(len - end, SPOOL_BLOCK);
	}
	return 0;
}

int stream_spool(int fd, const char *name, const void *peeked, size_t peeked_len,
		 struct bfile **ret, struct err *err)
{
	CLEANUP_CLOSE int out = -1;
	CLEANUP_FREE uint8_t *buf = malloc(SPOOL_CHUNK);
	uint64_t total = peeked_len;

	if (io_nameless(&out, err) < 0)
		return -1;
	if (!buf)
		return err_nomem(err);
	if (spool_chunk(out, peeked, peeked_len, 0, err) < 0)
		return err_prefix(err, "spooling %s", name);
	for (;;) {
		if (stop_check(err) < 0)
			return -1;

		ssize_t n = io_read_upto(fd, buf, SPOOL_CHUNK, err);

		if (n < 0 || spool_chunk(out, buf, (size_t)n, total, err) < 0)
			return err_prefix(err, "spooling %s", name);
		total += (size_t)n;
		if (n < SPOOL_CHUNK)
			break;
	}
	if (ftruncate(out, (off_t)total) < 0)
		return err_sys(err, "spooling %s", name);
	return bfile_of_fd(ret, steal_fd(&out), name, false, err);
}
