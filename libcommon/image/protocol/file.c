/* Regular files: holes, zeroing that remembers what the file system refused. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/io.h"
#include "libcommon/image/protocol/backends.h"

int fd_pread(struct bfile *f, void *buf, size_t len, uint64_t off, struct err *err)
{
	return io_pread(f->fd, buf, len, off, err);
}

int fd_pwrite(struct bfile *f, const void *buf, size_t len, uint64_t off, struct err *err)
{
	return io_pwrite(f->fd, buf, len, off, err);
}

int fd_flush(struct bfile *f, struct err *err)
{
	if (fdatasync(f->fd) < 0 && errno != EINVAL && errno != ENOTSUP)
		return err_sys(err, "cannot bring data to the disk (fdatasync)");
	return 0;
}

void fd_close(struct bfile *f)
{
	(void)close(f->fd); /* written data are safe after flush; whoever cares called it */
}

static bool can(const struct bfile *f, unsigned bit)
{
	return __atomic_load_n(&f->can, __ATOMIC_RELAXED) & bit;
}

static void cannot(struct bfile *f, unsigned bit)
{
	__atomic_fetch_and(&f->can, ~bit, __ATOMIC_RELAXED);
}

int fd_fallocate(struct bfile *f, unsigned bit, int mode, uint64_t off, uint64_t len,
		 struct err *err)
{
	int r;

	if (!can(f, bit))
		return 0;
	do
		r = fallocate(f->fd, mode, (off_t)off, (off_t)len);
	while (r < 0 && errno == EINTR);
	if (r == 0)
		return 1;
	if (errno == EOPNOTSUPP || errno == ENOSYS || errno == ENODEV) {
		cannot(f, bit);
		return 0;
	}
	/* A device wants whole sectors for it; this range only. */
	if (errno == EINVAL)
		return 0;
	return err_sys(err, "cannot zero %llu bytes at offset %llu", (unsigned long long)len,
		       (unsigned long long)off);
}

static int file_truncate(struct bfile *f, uint64_t size, struct err *err)
{
	int r;

	do
		r = ftruncate(f->fd, (off_t)size);
	while (r < 0 && errno == EINTR);
	return r < 0 ? err_sys(err, "cannot set the size to %llu", (unsigned long long)size) : 0;
}

static int file_zero(struct bfile *f, uint64_t off, uint64_t len, bool unmap, struct err *err)
{
	uint64_t size = bfile_size(f);
	int r;

	/* Behind the end a hole is made by the size alone, but only if nobody wants the blocks. */
	if (unmap && off >= size)
		return file_truncate(f, off + len, err);
	if (unmap && off + len <= size) {
		r = fd_fallocate(f, CAN_PUNCH_HOLE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
				 len, err);
		if (r != 0)
			return r < 0 ? -1 : 0;
	}
	r = fd_fallocate(f, CAN_ZERO_RANGE, FALLOC_FL_ZERO_RANGE, off, len, err);
	if (r != 0)
		return r < 0 ? -1 : 0;
	return bfile_write_zeros(f, off, len, err);
}

static int file_discard(struct bfile *f, uint64_t off, uint64_t len, struct err *err)
{
	int r = fd_fallocate(f, CAN_PUNCH_HOLE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off,
			     len, err);

	return r < 0 ? -1 : 0;
}

static int file_map(struct bfile *f, uint64_t off, uint64_t max, bool *ret_data, uint64_t *ret_len,
		    struct err *err)
{
	*ret_data = true;
	*ret_len = max;
	if (!can(f, CAN_SEEK_HOLE))
		return 0;

	off_t pos = lseek(f->fd, (off_t)off, SEEK_DATA);

	if (pos < 0 && errno == ENXIO) { /* nothing but a hole up to the end */
		*ret_data = false;
		return 0;
	}
	if (pos < 0 && errno == EINVAL) {
		cannot(f, CAN_SEEK_HOLE);
		return 0;
	}
	if (pos < 0)
		return err_sys(err, "cannot look for data");
	if ((uint64_t)pos > off) {
		*ret_data = false;
		*ret_len = min_u64(max, (uint64_t)pos - off);
		return 0;
	}
	pos = lseek(f->fd, (off_t)off, SEEK_HOLE);
	/* The file may have changed between the two calls; "data" is always true enough. */
	if (pos > (off_t)off)
		*ret_len = min_u64(max, (uint64_t)pos - off);
	return 0;
}

const struct bfile_ops bfile_file_ops = {
	.name = "file",
	.pread = fd_pread,
	.pwrite = fd_pwrite,
	.flush = fd_flush,
	.truncate = file_truncate,
	.zero = file_zero,
	.map = file_map,
	.discard = file_discard,
	.close = fd_close,
};
