/* Raw content to standard output in order, and spool files for what cannot be streamed. */
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
#include "libcommon/image/copy/parts.h"

enum { SPOOL_BUFFER = 1 << 20, PIPE_ROOM = 1 << 20 };

void stream_begin(struct target *t)
{
	struct stat st;
	int flags = fcntl(STDOUT_FILENO, F_GETFL);

	/* Fewer wake-ups of the reader; refused above the user's limit, no harm. */
	(void)fcntl(STDOUT_FILENO, F_SETPIPE_SZ, PIPE_ROOM);
	if (fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode) && flags >= 0 &&
	    !(flags & O_APPEND)) {
		off_t pos = lseek(STDOUT_FILENO, 0, SEEK_CUR);

		/* What lies behind the position would show through holes. */
		t->stream_seeks = pos >= 0 && pos >= st.st_size;
	}
}

static int write_zeros(struct target *t, uint64_t len, struct err *err)
{
	static const uint8_t zeros[256 << 10];

	if (t->stream_seeks) {
		if (lseek(STDOUT_FILENO, (off_t)len, SEEK_CUR) < 0)
			return err_sys(err, "cannot seek in standard output");
		return 0;
	}
	while (len) {
		size_t n = (size_t)min_u64(len, sizeof(zeros));

		if (stop_check(err) < 0 || io_write(STDOUT_FILENO, zeros, n, err) < 0)
			return -1;
		len -= n;
	}
	return 0;
}

int stream_write(struct target *t, uint64_t off, const void *buf, size_t len, struct err *err)
{
	const uint8_t *p = buf;

	if (off > t->stream_pos && write_zeros(t, off - t->stream_pos, err) < 0)
		return -1;
	t->stream_pos = off + len;
	while (len && t->stream_seeks) { /* a file: zero blocks become holes */
		size_t n = 0, zeros = 0;

		while (zeros < len && is_zero(p + zeros, (size_t)min_u64(ZERO_BLOCK, len - zeros)))
			zeros += (size_t)min_u64(ZERO_BLOCK, len - zeros);
		if (zeros && write_zeros(t, zeros, err) < 0)
			return -1;
		p += zeros;
		len -= zeros;
		while (n < len && !is_zero(p + n, (size_t)min_u64(ZERO_BLOCK, len - n)))
			n += (size_t)min_u64(ZERO_BLOCK, len - n);
		if (n && io_write(STDOUT_FILENO, p, n, err) < 0)
			return -1;
		p += n;
		len -= n;
	}
	return len ? io_write(STDOUT_FILENO, p, len, err) : 0;
}

int stream_end(struct target *t, uint64_t size, struct err *err)
{
	if (size > t->stream_pos && write_zeros(t, size - t->stream_pos, err) < 0)
		return -1;
	t->stream_pos = size;
	if (!t->stream_seeks)
		return 0;

	off_t pos = lseek(STDOUT_FILENO, 0, SEEK_CUR);

	if (pos < 0 || ftruncate(STDOUT_FILENO, pos) < 0)
		return err_sys(err, "cannot set the size of standard output");
	return 0;
}

/* Behind stream_file(): the size of the bfile is the position in the stream. */
static int pipe_pread(struct bfile *f, void *buf, size_t len, uint64_t off, struct err *err)
{
	(void)f, (void)buf, (void)len, (void)off;
	return err_set(err, ERR_FAILED, "a stream cannot be read back");
}

static int pipe_fill(uint64_t len, struct err *err)
{
	static const uint8_t zeros[64 << 10];

	while (len) {
		size_t n = (size_t)min_u64(len, sizeof(zeros));

		if (io_write(STDOUT_FILENO, zeros, n, err) < 0)
			return -1;
		len -= n;
	}
	return 0;
}

static int pipe_pwrite(struct bfile *f, const void *buf, size_t len, uint64_t off, struct err *err)
{
	uint64_t pos = bfile_size(f);

	if (off < pos)
		return err_set(err, ERR_FAILED, "a stream cannot go back from offset %llu to %llu",
			       (unsigned long long)pos, (unsigned long long)off);
	if (stop_check(err) < 0 || pipe_fill(off - pos, err) < 0)
		return -1;
	return io_write(STDOUT_FILENO, buf, len, err);
}

static int pipe_truncate(struct bfile *f, uint64_t size, struct err *err)
{
	uint64_t pos = bfile_size(f);

	return size < pos ? err_set(err, ERR_FAILED, "a stream cannot be made shorter")
			  : pipe_fill(size - pos, err);
}

static void pipe_close(struct bfile *f)
{
	(void)f; /* standard output is main's */
}

int stream_file(struct bfile **ret, struct err *err)
{
	static const struct bfile_ops ops = {.name = "stream",
					     .pread = pipe_pread,
					     .pwrite = pipe_pwrite,
					     .truncate = pipe_truncate,
					     .close = pipe_close};
	struct bfile *f = calloc(1, sizeof(*f));

	if (!f || !(f->name = strdup("standard output"))) {
		free(f);
		return err_nomem(err);
	}
	f->ops = &ops;
	f->fd = -1;
	f->writable = true;
	*ret = f;
	return 0;
}

int spool_send(int fd, uint64_t size, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(SPOOL_BUFFER);

	if (!buf)
		return err_nomem(err);
	for (uint64_t off = 0; off < size;) {
		size_t n = (size_t)min_u64(size - off, SPOOL_BUFFER);

		if (stop_check(err) < 0 || io_pread(fd, buf, n, off, err) < 0)
			return -1;
		if (io_write(STDOUT_FILENO, buf, n, err) < 0)
			return err_object(err, "standard output");
		off += n;
	}
	return 0;
}

/* All of @stream into @fd, zero blocks as holes. */
static int spool_fill(struct image *stream, int fd, struct progress *progress, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(SPOOL_BUFFER);
	uint64_t off = 0;
	ssize_t n;

	if (!buf)
		return err_nomem(err);
	while ((n = image_read_stream(stream, buf, SPOOL_BUFFER, err)) > 0) {
		for (size_t at = 0; at < (size_t)n; at += 16 * ZERO_BLOCK) {
			size_t len = (size_t)min_u64((uint64_t)n - at, 16 * ZERO_BLOCK);

			if (!is_zero(buf + at, len) &&
			    io_pwrite(fd, buf + at, len, off + at, err) < 0)
				return err_prefix(err, "temporary file");
		}
		off += (uint64_t)n;
		progress_add(progress, (uint64_t)n);
		if (stop_check(err) < 0)
			return -1;
	}
	if (n < 0)
		return err_object(err, image_name(stream));
	if (ftruncate(fd, (off_t)off) < 0)
		return err_sys(err, "cannot set the size of a temporary file");
	return 0;
}

int spool_image(struct image *stream, struct progress *progress, struct image **ret,
		struct err *err)
{
	const struct image_open_opts opts = {.format = "raw", .flags = IMAGE_NO_LOCK};
	CLEANUP_CLOSE int fd = -1;
	struct bfile *file;

	progress_begin(progress, "read", 0);
	if (io_nameless(&fd, err) < 0 || spool_fill(stream, fd, progress, err) < 0)
		return -1;
	if (bfile_of_fd(&file, steal_fd(&fd), image_name(stream), false, err) < 0)
		return -1;
	return image_open_bfile(ret, file, &opts, err);
}
