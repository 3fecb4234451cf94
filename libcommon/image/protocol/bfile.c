/* Opening, dispatch and bounds of what lies below a format: see protocol.h. */
#include "libcommon/image/protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/holes.h"
#include "libcommon/image/lock.h"
#include "libcommon/image/protocol/backends.h"

static const uint8_t zeros[256 << 10];

int bfile_of_fd(struct bfile **ret, int fd, const char *name, bool writable, struct err *err)
{
	CLEANUP_CLOSE int owned = fd;
	CLEANUP_FREE struct bfile *f = calloc(1, sizeof(*f));
	CLEANUP_FREE char *copy = strdup(name);
	struct stat st;

	if (!f || !copy)
		return err_nomem(err);
	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot look at it");
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, &f->size) < 0)
			return err_sys(err, "cannot ask the device for its size");
		f->ops = &bfile_blockdev_ops;
		f->is_blockdev = true;
	} else if (S_ISREG(st.st_mode)) {
		f->ops = &bfile_file_ops;
		f->size = (uint64_t)st.st_size;
	} else {
		return err_set(err, ERR_UNSUPPORTED, "%s, not a file or a block device",
			       S_ISDIR(st.st_mode)   ? "is a folder"
			       : S_ISCHR(st.st_mode) ? "is a character device"
						     : "is a pipe or socket");
	}
	f->fd = steal_fd(&owned);
	f->name = steal_ptr(&copy);
	f->writable = writable;
	f->can = f->is_blockdev || holes_told(fd) ? ~0U : ~(unsigned)CAN_SEEK_HOLE;
	*ret = steal_ptr(&f);
	return 0;
}

int bfile_open(struct bfile **ret, const char *path, unsigned flags, struct err *err)
{
	bool writable = flags & BFILE_RDWR;
	int mode = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC;
	struct stat st;

	if (stat(path, &st) == 0) {
		/* Only then: opening a tape or a fifo does something to it. */
		if (!S_ISREG(st.st_mode) && ((flags & BFILE_FOLLOWED) || !S_ISBLK(st.st_mode))) {
			err_set(err, ERR_UNSUPPORTED, "is not a regular file%s",
				flags & BFILE_FOLLOWED ? "" : " or a block device");
			return err_object(err, path);
		}
		/* Refused by the kernel while the device is mounted or part of another one. */
		if (writable && S_ISBLK(st.st_mode))
			mode |= O_EXCL;
	}
	if (flags & BFILE_FOLLOWED)
		mode |= O_NONBLOCK | O_NOFOLLOW;

	int fd = open(path, mode);
	struct bfile *f = NULL;

	if (fd < 0) {
		if (errno == EBUSY)
			err_set(err, ERR_BUSY, "the device is mounted or in use");
		else
			err_sys(err, "cannot open");
		return err_object(err, path);
	}
	if (bfile_of_fd(&f, fd, path, writable, err) < 0)
		return err_object(err, path);
	if ((flags & (BFILE_LOCK_SHARED | BFILE_LOCK_WRITE)) &&
	    lock_take(fd, flags & BFILE_LOCK_WRITE, err) < 0) {
		bfile_close(f);
		return err_object(err, path);
	}
	*ret = f;
	return 0;
}

void bfile_close(struct bfile *f)
{
	if (!f)
		return;
	f->ops->close(f);
	free(f->name);
	free(f);
}

uint64_t bfile_size(const struct bfile *f)
{
	return __atomic_load_n(&f->size, __ATOMIC_RELAXED);
}

/* The size only grows by writing; threads may write behind the end at once. */
static void grow_size(struct bfile *f, uint64_t end)
{
	uint64_t old = bfile_size(f);

	while (old < end && !__atomic_compare_exchange_n(&f->size, &old, end, true,
							 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

static int name_it(const struct bfile *f, int r, struct err *err)
{
	if (r < 0)
		err_object(err, f->name);
	return r;
}

int bfile_pread(struct bfile *f, void *buf, size_t len, uint64_t off, struct err *err)
{
	return name_it(f, f->ops->pread(f, buf, len, off, err), err);
}

int bfile_pread_padded(struct bfile *f, void *buf, size_t len, uint64_t off, struct err *err)
{
	uint64_t size = bfile_size(f);
	size_t inside = off >= size ? 0 : (size_t)min_u64(len, size - off);

	if (inside && bfile_pread(f, buf, inside, off, err) < 0)
		return -1;
	if (inside < len)
		memset((uint8_t *)buf + inside, 0, len - inside);
	return 0;
}

static int check_writable(const struct bfile *f, uint64_t off, uint64_t len, struct err *err)
{
	if (!f->writable)
		return err_set(err, ERR_FAILED, "is open for reading only");
	if (off > INT64_MAX || len > INT64_MAX - off)
		return err_set(err, ERR_FAILED, "offset %" PRIu64 " is beyond what a file can have",
			       off);
	return 0;
}

int bfile_pwrite(struct bfile *f, const void *buf, size_t len, uint64_t off, struct err *err)
{
	if (check_writable(f, off, len, err) < 0 || f->ops->pwrite(f, buf, len, off, err) < 0)
		return name_it(f, -1, err);
	grow_size(f, off + len);
	return 0;
}

int bfile_flush(struct bfile *f, struct err *err)
{
	if (!f->writable || !f->ops->flush)
		return 0;
	return name_it(f, f->ops->flush(f, err), err);
}

int bfile_truncate(struct bfile *f, uint64_t size, struct err *err)
{
	if (check_writable(f, 0, size, err) < 0)
		return name_it(f, -1, err);
	if (!f->ops->truncate) {
		if (size <= bfile_size(f))
			return 0; /* a device: the rest is not used */
		err_set(err, ERR_NO_SPACE, "has %" PRIu64 " bytes and cannot grow to %" PRIu64,
			bfile_size(f), size);
		return name_it(f, -1, err);
	}
	if (f->ops->truncate(f, size, err) < 0)
		return name_it(f, -1, err);
	__atomic_store_n(&f->size, size, __ATOMIC_RELAXED);
	return 0;
}

int bfile_write_zeros(struct bfile *f, uint64_t off, uint64_t len, struct err *err)
{
	while (len) {
		size_t n = (size_t)min_u64(len, sizeof(zeros));

		if (f->ops->pwrite(f, zeros, n, off, err) < 0)
			return -1;
		off += n;
		len -= n;
	}
	return 0;
}

int bfile_zero(struct bfile *f, uint64_t off, uint64_t len, bool unmap, struct err *err)
{
	if (!len)
		return 0;
	if (check_writable(f, off, len, err) < 0)
		return name_it(f, -1, err);

	int r = f->ops->zero ? f->ops->zero(f, off, len, unmap, err)
			     : bfile_write_zeros(f, off, len, err);

	if (r < 0)
		return name_it(f, -1, err);
	grow_size(f, off + len);
	return 0;
}

int bfile_discard(struct bfile *f, uint64_t off, uint64_t len, struct err *err)
{
	uint64_t size = bfile_size(f);

	if (off >= size || !len || !f->ops->discard)
		return 0;
	if (check_writable(f, off, 0, err) < 0)
		return name_it(f, -1, err);
	return name_it(f, f->ops->discard(f, off, min_u64(len, size - off), err), err);
}

int bfile_map(struct bfile *f, uint64_t off, uint64_t max, bool *ret_data, uint64_t *ret_len,
	      struct err *err)
{
	uint64_t size = bfile_size(f);

	if (off >= size || !max) {
		err_set(err, ERR_CORRUPT, "file ends at offset %" PRIu64 ", before %" PRIu64, size,
			off);
		return name_it(f, -1, err);
	}
	max = min_u64(max, size - off);
	if (!f->ops->map) {
		*ret_data = true;
		*ret_len = max;
		return 0;
	}
	return name_it(f, f->ops->map(f, off, max, ret_data, ret_len, err), err);
}

uint64_t bfile_allocated(const struct bfile *f)
{
	struct stat st;

	if (f->fd < 0 || f->is_blockdev || fstat(f->fd, &st) < 0)
		return bfile_size(f);
	return (uint64_t)st.st_blocks * 512; /* POSIX leaves the unit open; on Linux it is 512 */
}
